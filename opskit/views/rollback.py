"""The Rollback button: says what it will undo and how much can be, asks, shows how far it is, and what it came to."""

from __future__ import annotations

import getpass
from concurrent.futures import Future, wait
from datetime import datetime
from typing import TYPE_CHECKING, Final

from opskit.errors import RollbackError
from opskit.rendering.escape import html, one_line
from opskit.results.html import as_html
from opskit.views import markup

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.results import Results
    from opskit.showing import Outlook, Shown
    from opskit.views.stage import Stage

WHY: Final = "the Rollback button"
TICK_SECONDS: Final = 0.2

_LONGEST: Final = 500


class Rollback:
    """The button, and what it asks and tells.

    Args:
        shown: What it undoes.
        stage: Where it speaks.
        changed: Called when the button appears or goes.
        runs: Whether something that it undoes still runs.

    Attributes:
        button: It is gone when everything is undone.
        told: One line on what it came to, as HTML; empty before.
        is_at_it: Whether it undoes something now.
        is_done: Whether nothing is left for it to do.
    """

    def __init__(self, shown: Shown, stage: Stage, changed: Callable[[], object], runs: Callable[[], bool]) -> None:
        self._shown = shown
        self._stage = stage
        self._changed = changed
        self._runs = runs
        self.button = stage.button("Rollback", "Undo what was done; shows what that is, and asks before", self._press)
        self.told = ""
        self.is_at_it = self.is_done = False

    def _press(self) -> None:
        self.button.disabled = True
        self._stage.work(self._work)

    def _work(self) -> None:
        try:
            self._ask()
        finally:
            self.is_at_it = self.button.disabled = False

    def _ask(self) -> None:
        """Say what would be undone, and ask; where nothing would be, only say so."""
        found = self._shown.outlook()
        if found.ended:
            self.is_done = True
            self._stage.say(found.ended)
            self._changed()
        elif not found.undone:
            self._stage.show(_nothing(found))
        elif self._stage.ask(_question(found, still_runs=self._runs()), "Yes, roll back"):
            self.is_at_it = True
            self._stage.say("Rolling back …")
            self._roll_back()

    def _roll_back(self) -> None:
        """Undo it in another thread, showing meanwhile how far that is."""
        answer: Future[Results] = Future()
        assert self._shown.rollback is not None
        rollback = self._shown.rollback

        def work() -> None:
            try:
                answer.set_result(rollback(WHY))
            except BaseException as error:  # noqa: BLE001 - an undo may be a function of the user's
                answer.set_exception(error)

        self._stage.work(work)
        before = 0
        while not wait([answer], TICK_SECONDS).done:
            undone = self._shown.progress.undone
            now = undone.ended.total() + undone.running
            if now != before and not self._runs():  # else the bars of what still runs show it
                before = now
                self._stage.show(markup.bar("rolling back", undone))
        self._tell(answer)

    def _tell(self, answer: Future[Results]) -> None:
        """Say what the rollback came to, with a row for each undo; an incomplete one can be tried again."""
        who = f"by {_user()} at {datetime.now().astimezone():%Y-%m-%d %H:%M}"
        error = answer.exception()
        rows = getattr(error, "results", None) if error is not None else answer.result()
        if error is None:
            count = sum(row.ok for row in rows or ())
            self.told = markup.remark("ok", f"rolled back {who}: {count:,} of {count:,} undone")
            self.is_done = True
        elif isinstance(error, RollbackError) and rows is not None:
            self.told = markup.remark("failed", f"{one_line(str(error), _LONGEST)} ({who})")
        else:
            raise error
        self._stage.show(self.told + (as_html(rows) if rows else ""))
        self._changed()


def _question(found: Outlook, *, still_runs: bool) -> str:
    undone, kept = (sum(alike.steps for alike in some) for some in (found.undone, found.kept))
    cancels = "It still runs, and is cancelled first. " if still_runs else ""
    asked = markup.commands(
        f"{cancels}This undoes {undone:,} of {markup.told_steps(undone + kept)}, newest first:", found.undone
    )
    if found.kept:
        asked += markup.commands(f"{markup.told_steps(kept)} without an undo, which stay as they are:", found.kept)
    if found.newer:
        asked += markup.sentences("Done on the same hosts since, which stays as it is:", found.newer)
    return asked


def _nothing(found: Outlook) -> str:
    if not found.kept:
        return html("Nothing to undo: nothing was sent.")
    return markup.commands("Nothing to undo: what was sent has no undo, and stays as it is:", found.kept)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may give nobody a name
        return "you"
