"""A run's place in the journal: which transaction it is, or is a part of, and what becomes of that at its end.

And what is said, with an error, of what became of the transaction: `outcome`, `stays_open`, `wait_for_asked`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from opskit import bridge, shared
from opskit.errors import OpskitError, give_notes
from opskit.rendering.escape import one_line
from opskit.scopes import opened
from opskit.undoing.rollback import expect_undone, goes_on, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.engine.ports import How, Journal, Transport
    from opskit.events import Event
    from opskit.progress import Progress
    from opskit.record.facts import Kind
    from opskit.record.recorder import Writer
    from opskit.results import Results
    from opskit.scopes import Scope, Work
    from opskit.settings import Settings
    from opskit.work.plan import Plan

_NAME: Final = 60


class Enlistment:
    """One run: a transaction of its own, or a part of the one that it was begun in.

    Args:
        kind: What it was begun as.
        plan: What it does.

    Raises:
        Cancelled, RollbackError: Nothing can be begun here any more.
        JournalError, SettingsError: The journal can't be opened.

    Attributes:
        scope: Its part of the transaction.
        rolled_back: Whether all that was sent was undone, since the run ended badly; None if it was not tried.
    """

    def __init__(self, kind: Kind, plan: Plan) -> None:
        self._plan = plan
        self.scope = opened(kind, plan.name)
        self._told: list[str] = []
        self.rolled_back: bool | None = None

    def hold(self, run: Work) -> None:
        """Let the transaction around know of the run, which can be cancelled and read from now on."""
        if self.scope.parent is not None:
            self.scope.parent.hold(run)

    def journal(
        self,
        engine: bridge.EngineLoop,
        settings: Settings,
        transport: Transport,
        emit: Callable[[Event], object],
    ) -> Journal:
        """What the engine writes to."""
        writer = shared.writer(engine, self.scope.root.store)
        return self.scope.recorder(writer, partial(self._ended, settings, transport, writer, emit))

    async def _ended(
        self, settings: Settings, transport: Transport, writer: Writer, emit: Callable[[Event], object], how: How
    ) -> None:
        """Undo a run that ended badly, if it says so and nobody else undoes it; a transaction of its own ends."""
        scope = self.scope
        scope.leave()
        if how != "succeeded" and self._plan.terms.on_error == "rollback" and scope.root.asked is None:
            try:
                rows = await scope.rollback().finish('on_error="rollback"', settings, transport, writer, emit)
            except OpskitError as error:
                self.rolled_back, self._told = False, [f"the rollback failed: {error}"]
            else:
                self.rolled_back, self._told = all(row.ok for row in rows), [told(rows, scope.id)]
        elif not scope.is_whole:
            await writer.flush()
        else:
            await scope.root.ended(how, writer)

    def notes(self) -> list[str]:
        """What is to be said along with the error of the run."""
        return [*self._told, *stays_open(self.scope)]

    def rollback(self, why: str | None, progress: Progress) -> Results:
        """Undo it because somebody wants that; the run has ended. Raises RollbackError."""
        rows = self.scope.rollback().wait(why, progress)
        self.rolled_back, self._told = all(row.ok for row in rows), [told(rows, self.scope.id)]
        return expect_undone(rows, self.scope.id)


def outcome(scope: Scope, rows: Results, error: BaseException) -> str:
    """What a rollback because of an error came to; says of what, where the error says the same of a part already.

    Empty where nothing was to be undone, and the error tells of something that was.
    """
    line, notes = told(rows, scope.id), getattr(error, "__notes__", ())
    if not rows and any(note.startswith("rolled back") for note in notes):
        return ""
    same = line in notes
    return f"{scope.kind} {one_line(scope.name or scope.id, _NAME)}: {line}" if same else line


def wait_for_asked(scope: Scope, failing: BaseException) -> None:
    """Where another process has asked for a rollback of this whole scope: wait for its end, which the error is told.

    An interrupt meanwhile is raised from that error, and says that the rollback goes on.
    """
    asked = scope.root.asked
    if asked is None or not scope.is_whole:
        return
    try:
        bridge.block(asked.ended, interrupted=bridge.wait_no_more)
    except KeyboardInterrupt as interrupt:
        give_notes(interrupt, [str(asked), goes_on(scope.id)])
        raise interrupt from failing
    said = getattr(failing, "__notes__", ())
    give_notes(failing, [note for note in (str(asked), asked.ended.result()) if note not in (*said, str(failing))])


def stays_open(scope: Scope) -> list[str]:
    """What to say with an error that leaves a scope: that what `opskit.begin` opened goes on, or who ended it."""
    if scope.root.asked is not None:
        return [str(scope.root.asked)]
    outer = scope.parent
    if outer is None or not outer.by_hand or outer.root.over:
        return []
    name = one_line(outer.name or "the transaction", _NAME)
    return [f"{name} ({outer.id}) stays open: .rollback() undoes all of it, .end() keeps it"]
