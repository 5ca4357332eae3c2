"""A run's place in the journal: which transaction it is, or is a part of, and what becomes of that at its end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from opskit import shared
from opskit.errors import OpskitError, PlanError
from opskit.scopes import Scope, open_scope
from opskit.undoing import failed_to_undo, told
from opskit.whole import Whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit import bridge
    from opskit.engine.ports import How, Journal, Transport
    from opskit.events import Event
    from opskit.record.facts import Kind
    from opskit.record.recorder import Writer
    from opskit.results import Results
    from opskit.scopes import Begun
    from opskit.settings import Settings
    from opskit.work.plan import Plan


class Booking:
    """One run: a transaction of its own, or a part of the one that it was begun in.

    Args:
        kind: What it was begun as.
        plan: What it does.

    Raises:
        Cancelled, RollbackError: Nothing can be begun here any more.
        JournalError, SettingsError: The journal can't be opened.

    Attributes:
        rolled_back: Whether all that was sent was undone, since the run ended badly; None if it was not tried.
    """

    def __init__(self, kind: Kind, plan: Plan) -> None:
        outer = open_scope.get()
        self._outer = outer
        self._plan = plan
        if outer is None:
            self._scope = Scope(Whole(kind, plan.name), kind, plan.name, None)
        else:
            self._scope = outer.part(kind, plan.name)
        self._told: list[str] = []
        self.rolled_back: bool | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it paints nothing: somebody else does, for all that runs beside it."""
        return self._outer is not None and self._outer.is_silent

    def begun(self, run: Begun) -> None:
        """Let the transaction around know of the run, which can be cancelled and read from now on."""
        if self._outer is not None:
            self._outer.hold(run)

    def journal(
        self,
        engine: bridge.EngineLoop,
        settings: Settings,
        transport: Transport,
        emit: Callable[[Event], object],
    ) -> Journal:
        """What the engine writes to."""
        writer = shared.writer(engine, self._scope.whole.store)
        return self._scope.recorder(writer, partial(self._ended, settings, transport, writer, emit))

    async def _ended(
        self, settings: Settings, transport: Transport, writer: Writer, emit: Callable[[Event], object], how: How
    ) -> None:
        """Undo a run that ended badly, if it says so; a transaction of its own ends."""
        scope = self._scope
        if how != "succeeded" and self._plan.terms.on_error == "rollback":
            try:
                rows = await scope.undoing().finish(
                    'on_error="rollback"', scope.whole.known, settings, transport, writer, emit
                )
            except OpskitError as error:
                self.rolled_back, self._told = False, [f"the rollback failed: {error}"]
            else:
                self.rolled_back, self._told = all(row.ok for row in rows), [told(rows, scope.whole.id)]
        elif scope.number:
            await writer.flush()
        else:
            await scope.whole.ended(how, writer)

    def notes(self) -> list[str]:
        """What is to be said along with the error of the run."""
        scope = self._outer
        while scope is not None and scope.by_hand is None:
            scope = scope.parent
        if scope is None or self._outer is not scope:
            return self._told
        name = f"{scope.name or 'the transaction'} ({scope.id})"
        return [*self._told, f"{name} stays open: .rollback() undoes all of it, .end() keeps it"]

    def rollback(self, why: str | None) -> Results:
        """Undo it because somebody wants that; the run has ended. Raises RollbackError."""
        rows = self._scope.undoing().wait(why)
        if (error := failed_to_undo(rows, self._scope.whole.id)) is not None:
            raise error
        return rows


def expect_may_block() -> None:
    """Raise PlanError where a call that waits would hold up the event loop of tasks."""
    scope = open_scope.get()
    if scope is None or not scope.awaits:
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise PlanError(
        "a call that waits would hold up all async tasks: `await opskit.arun(...)`, or `async with` for the others"
    )
