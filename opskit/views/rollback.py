"""The Rollback button: says what it will undo and how much can be, asks, shows how far it is, and what it came to."""

from __future__ import annotations

import getpass
import secrets
from concurrent.futures import wait
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from opskit.errors import RollbackError
from opskit.progress import ChunkProgress
from opskit.rendering.escape import html, one_line
from opskit.results.html import as_html
from opskit.views import markup
from opskit.views.style import unless_told_above

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

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
        settled: Called when it may be that nothing is left to undo.
        runs: Whether something that it undoes still runs.

    Attributes:
        button: What begins it.
        verdict: One line on what it came to, as HTML; empty before.
        is_at_it: Whether it undoes something now.
    """

    def __init__(self, shown: Shown, stage: Stage, settled: Callable[[], object], runs: Callable[[], bool]) -> None:
        self._shown = shown
        self._stage = stage
        self._settled = settled
        self._runs = runs
        self.button = stage.action("Rollback", "Undo what was done; shows what that is, and asks before", self._press)
        self.verdict = ""
        self.is_at_it = False

    def _press(self) -> None:
        found = self._agreed()
        if found is None:
            return
        self.is_at_it = True
        try:
            self._tell(self._rolled_back(found))
        finally:
            self.is_at_it = False

    def _agreed(self) -> Outlook | None:
        """What would be undone, once somebody wants it: asked anew for as long as that changes meanwhile."""
        agreed: tuple[object, ...] | None = None
        while True:
            runs, found = self._runs(), self._shown.outlook()
            if found.ended:
                self._stage.say(found.ended)
                self._settled()
                return None
            if not found.undone:
                self._stage.show(_nothing(found))
                return None
            # Of what still runs more is sent until it is cancelled: that was said.
            asked = (runs, found.newer) if runs else (runs, found.undone, found.kept, found.newer)
            if agreed == asked:
                return found
            is_stale = partial(lambda before: self._runs() != before, runs)
            answer = self._stage.ask(_question(found, still_runs=runs), "Yes, roll back", is_stale)
            if answer is False:
                return None
            agreed = asked if answer else None

    def _rolled_back(self, found: Outlook) -> Future[Results]:
        """Undo it in another thread, showing meanwhile how far that is."""
        self._stage.say("Rolling back …")
        progress, rollback, before = self._shown.progress, self._shown.rollback, self._shown.progress.changes
        assert rollback is not None
        answer = self._stage.begin(lambda: rollback(WHY))
        while not wait([answer], TICK_SECONDS).done:
            self._shown.look()
            if progress.changes != before and not self._runs():  # else the bars of what still runs show it
                before, undone = progress.changes, progress.undone
                total = max(sum(alike.steps for alike in found.undone), undone.total)
                self._stage.show(markup.bar("rolling back", ChunkProgress(total, undone.running, undone.ended)))
        return answer

    def _tell(self, answer: Future[Results]) -> None:
        """Say what the rollback came to, with a row for each undo; an incomplete one can be tried again."""
        who = f"by {_user()} at {datetime.now().astimezone():%Y-%m-%d %H:%M}"
        error = answer.exception()
        rows = getattr(error, "results", None) if error is not None else answer.result()
        if error is None:
            count = sum(row.ok for row in rows or ())
            verdict = markup.remark("ok", f"rolled back {who}: {count:,} of {count:,} undone")
        elif isinstance(error, RollbackError) and rows is not None:
            self.button.description = "Roll back the rest"
            verdict = markup.remark("failed", f"{one_line(str(error), _LONGEST)} ({who})")
        else:
            raise error
        name = f"opskit-{secrets.token_hex(4)}"
        self.verdict = f'<div class="{name}">{verdict}</div>'
        self._stage.show(unless_told_above(name) + self.verdict + (as_html(rows) if rows else ""))
        self._settled()


def _question(found: Outlook, *, still_runs: bool) -> str:
    undone, kept = (sum(alike.steps for alike in some) for some in (found.undone, found.kept))
    cancels = (
        "It still runs, and is cancelled first: what it has sent until then is undone, too. " if still_runs else ""
    )
    least = "at least " if still_runs else ""
    asked = markup.commands(
        f"{cancels}This undoes {least}{undone:,} of {markup.steps_in_words(undone + kept)}, newest first:", found.undone
    )
    if found.kept:
        asked += markup.commands(f"{markup.steps_in_words(kept)} without an undo, which stay as they are:", found.kept)
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
