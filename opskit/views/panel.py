"""The widgets of one run: bars, a grid of hosts, the last lines of output, and the buttons."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from ipywidgets import HTML, HBox, VBox  # type: ignore[import-untyped]  # it has no types

from opskit.rendering.excerpt import last_line
from opskit.results.html import as_html
from opskit.views import facts, front_end, markup
from opskit.views.export import Export
from opskit.views.grid import Grid
from opskit.views.now import last_lines
from opskit.views.retry import Retry
from opskit.views.rollback import Rollback
from opskit.views.slot import Slot
from opskit.views.stage import Stage, close_all
from opskit.views.style import SHEET, what_undoes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opskit.progress import WorkProgress
    from opskit.results import Results
    from opskit.showing import Outlook, Shown

LINES: Final = 6
BARS_SECONDS, LINES_SECONDS, HOVERS_SECONDS = 0.2, 0.25, 1.0
"""Between two messages of each kind: ten a second in all."""

OPENING_SECONDS: Final = 1.0
"""A front end that delivers clicks has shown that by then."""

CANT: Final = (
    "This front end can't deliver clicks while a cell runs: interrupt the kernel (stop button, or I I) to cancel."
)


class Panel:
    """The widgets, alive as long as the kernel is.

    Args:
        shown: What they show.
        is_within: Whether they stand in another view: there is no static display before them then, and that view
            retries what failed here, too.
        settled: Called when a rollback has ended.

    Attributes:
        box: All of them.
        rollback: The Rollback button.
    """

    def __init__(self, shown: Shown, settled: Callable[[], object], *, is_within: bool) -> None:
        self._shown = shown
        self._settled = settled
        self._is_within = is_within
        self._began = monotonic()
        self._results: Results | None = None
        self._grid: Grid | None = None
        self._stage = stage = Stage()
        self._bars, self._lines, self._hovers = Slot(BARS_SECONDS), Slot(LINES_SECONDS), Slot(HOVERS_SECONDS)
        self._cancel = stage.button("Cancel", "End what runs, and start nothing more", self._cancel_all)
        self._cancel_chosen = stage.button("Cancel", "End what runs on the chosen hosts alone", self._cancel_hosts)
        self._all_hosts = stage.button("All hosts", "Choose no host: show the lines of all", self._choose_none)
        self.rollback = Rollback(shown, stage, self._undone, self._runs)
        self._retry = Retry(stage, self._arrange)
        self._export = Export(shown.results, shown.transaction, stage)
        self._cells, self._buttons = VBox(), HBox()
        self._buttons.add_class("opskit-buttons")
        self._gone = HTML()
        self._gone.add_class("opskit-gone")
        shows = (self._bars.widget, self._hovers.widget, self._cells, self._lines.widget, self._buttons)
        answers = (self._export.choice, stage.note, stage.dialog, self._retry.below)
        self.box = VBox((HTML(SHEET), *shows, *answers, self._gone))
        self.box.add_class("opskit-view")
        self._arrange()

    def paint(self, seconds: float, works: Sequence[WorkProgress], outlook: Outlook | None) -> bool:
        """Show how far it is; returns whether anything had changed.

        Args:
            seconds: Since it began.
            works: Its tasks, or what was done in it.
            outlook: What a rollback would do, where that is known.
        """
        shown, now = self._shown, monotonic()
        self._open_grid()
        hosts = self._chosen
        found = last_lines(shown.tails(hosts), LINES)
        with self._stage.guard:
            if self._is_over:
                return False
            key = (
                shown.progress.changes,
                shown.is_transaction or int(seconds),
                [(work.status, [run.changes for run in work.runs]) for work in works],
                outlook,
                self._stage.was_heard or now < self._began + OPENING_SECONDS,
            )
            changed = self._bars.paint(key, lambda: self._top(seconds, works, outlook), now)
            changed |= self._lines.paint((hosts, found), lambda: _pane(found), now)
        if self._grid is not None:
            changed |= self._hovers.paint((shown.progress.changes, found), self._last_lines, now)
        return changed

    def end(self, seconds: float, works: Sequence[WorkProgress], outlook: Outlook | None) -> None:
        """Show how it ended; its facts are to be seen in the static display, if that could be updated."""
        self._open_grid()
        results = self._shown.results()
        with self._stage.guard:
            self._results = self._retry.results = results
            self.rollback.is_done |= facts.is_undone(outlook)
            if not self.rollback.is_at_it:
                self._stage.say("")  # it may say that it was being cancelled
            name = "opskit-progress" if self._is_within else "opskit-ended"
            self._bars.show(facts.as_html(self._shown, seconds, works, outlook, name=name) + self._states())
            if self._grid is not None:
                last = {row.host: last_line(row.stdout + row.stderr) for row in results} if self._grid.alone else {}
                self._hovers.show(self._grid.hovers(last))
            self._choose()

    def forget(self) -> None:
        """Close all widgets; what they can do goes with them."""
        self._stage.refuse()
        with self._stage.guard:
            close_all([self.box, self._cancel, self._cancel_chosen, self._all_hosts, *self._elsewhere()])

    def _elsewhere(self) -> tuple[object, ...]:
        """The buttons that may not be shown now."""
        return self.rollback.button, self._retry.button, self._export.button, *self._export.forms

    def _open_grid(self) -> None:
        cells = self._shown.progress.cells
        if self._grid is None and cells:
            with self._stage.guard:
                self._grid = Grid(cells, self._choose)
                self._cells.children = (self._grid.widget,)

    @property
    def _is_over(self) -> bool:
        return self._results is not None

    def _runs(self) -> bool:
        if self._shown.is_transaction:
            return any(work.status == "running" for work in self._shown.works())
        return not self._is_over

    @property
    def _chosen(self) -> tuple[str, ...]:
        return () if self._grid is None else self._grid.hosts

    def _top(self, seconds: float, works: Sequence[WorkProgress], outlook: Outlook | None) -> str:
        """Everything above the grid, and the look of its cells."""
        waits = self._stage.was_heard or monotonic() < self._began + OPENING_SECONDS
        can_not = "" if waits or front_end.delivers_clicks() else markup.quiet(CANT)
        return facts.as_html(self._shown, seconds, works, outlook) + can_not + self._states()

    def _states(self) -> str:
        return "" if self._grid is None else self._grid.states()

    def _last_lines(self) -> str:
        """What the cells say: of single hosts also what each has printed last."""
        assert self._grid is not None
        hosts = [host for cell in self._shown.progress.cells for host in cell.hosts]
        tails = self._shown.tails(hosts) if self._grid.alone else ()
        return self._grid.hovers({tail.host: last_line(tail.text) for tail in tails})

    def _choose(self) -> None:
        """Show the lines, or in the end the rows, of the hosts that are chosen now."""
        with self._stage.guard:
            hosts = self._chosen
            if self._grid is not None and hosts:
                self._stage.was_heard = True
                self._cancel_chosen.description = f"Cancel {self._grid.name}"
            if self._results is not None:
                rows = [row for row in self._results if row.host in hosts]
                self._lines.show(as_html(rows) if rows else "")
            self._arrange()

    def _choose_none(self) -> None:
        assert self._grid is not None
        self._grid.clear()

    def _cancel_all(self) -> None:
        assert self._shown.cancel is not None
        if self._is_over:  # a click that came late
            return
        self._cancel.disabled = True
        self._shown.cancel(None)
        self._stage.say("Cancelling …")

    def _cancel_hosts(self) -> None:
        assert self._shown.cancel is not None
        if self._grid is None or self._is_over:
            return
        self._shown.cancel(self._grid.hosts)
        self._stage.say(f"Cancelling {self._grid.name} …")

    def _undone(self) -> None:
        self._arrange()
        if self._is_over:
            self._settled()

    def _arrange(self) -> None:
        """Show the buttons that can do something now; and have at hand what to say when none can any more."""
        with self._stage.guard:
            chosen, runs = bool(self._chosen), self._shown.cancel is not None and not self._is_over
            buttons = (
                (self._cancel, runs),
                (self._cancel_chosen, runs and chosen),
                (self._all_hosts, chosen),
                (self.rollback.button, self._shown.rollback is not None and not self.rollback.is_done),
                (self._retry.button, self._is_over and self._retry.is_possible and not self._is_within),
                (self._export.button, not runs),
            )
            children = tuple(button for button, is_shown in buttons if is_shown)
            if children != self._buttons.children:
                self._buttons.children = children
            undoes = self._shown.rollback is not None and not self.rollback.is_done
            how = f": {what_undoes(self._shown.transaction)}" if undoes else "."
            self._gone.value = f"<div>The kernel that ran this has restarted{how}</div>"


def _pane(found: Sequence[tuple[str, str]]) -> str:
    if not found:
        return ""
    label = 'role="log" aria-live="off" aria-label="Last lines of output"'  # read aloud, it would never end
    return f'<div class="opskit-lines" {label}>{markup.lines(found)}</div>'
