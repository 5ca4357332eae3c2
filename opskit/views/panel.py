"""The widgets of one run: bars, a grid of hosts, the last lines of output, and the buttons."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from ipywidgets import HTML, HBox, VBox  # type: ignore[import-untyped]  # it has no types

from opskit.rendering.escape import attribute, html
from opskit.rendering.excerpt import last_line
from opskit.results.html import as_html
from opskit.views import account, front_end, markup
from opskit.views.export import Export
from opskit.views.figures import last_lines
from opskit.views.grid import Grid
from opskit.views.retry import Retry
from opskit.views.rollback import Rollback
from opskit.views.slot import Slot
from opskit.views.stage import Stage, close_all
from opskit.views.style import SHEET

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

NO_CLICKS: Final = (
    "This front end can't deliver clicks while a cell runs: interrupt the kernel (stop button, or I I) to cancel."
)


class Panel:
    """The widgets, alive as long as the kernel is.

    Args:
        shown: What they show.
        settled: Called when a rollback or a retry has ended after the run.
        is_within: Whether they stand in another view: there is no static display before them then, and that view
            retries what failed here, too.

    Attributes:
        box: All of them.
        is_over: Whether they show how it ended.
    """

    def __init__(self, shown: Shown, settled: Callable[[], object], *, is_within: bool) -> None:
        self._shown = shown
        self._settled = settled
        self._is_within = is_within
        self._began = monotonic()
        self._outlook: Outlook | None = None
        self._grid: Grid | None = None
        self._found: Sequence[tuple[str, str]] = ()
        self.is_over = False
        self._stage = stage = Stage()
        self._bars, self._lines, self._hovers = Slot(BARS_SECONDS), Slot(LINES_SECONDS), Slot(HOVERS_SECONDS)
        self._cancel = stage.button("Cancel", "End what runs, and start nothing more", self._cancel_all)
        self._cancel_chosen = stage.button("Cancel", "End what runs on the chosen hosts alone", self._cancel_hosts)
        self._all_hosts = stage.button("All hosts", "Choose no host: show the lines of all", self._choose_none)
        self._rollback = Rollback(shown, stage, self._changed, self._runs)
        self._retry = Retry(shown.retry, stage, self._changed)
        self._export = Export(self._newest, shown.transaction, stage)
        buttons = HBox(
            (
                *(self._cancel, self._cancel_chosen, self._all_hosts),
                *(self._rollback.button, self._retry.button, self._export.button),
            )
        )
        buttons.add_class("opskit-buttons")
        self._cells, self._gone = VBox(), HTML()
        self._gone.add_class("opskit-gone")
        answers = (self._export.choice, stage.note, stage.dialog)
        shows = (self._hovers.widget, self._cells, self._lines.widget, self._retry.below)
        self.box = VBox((HTML(SHEET), self._bars.widget, buttons, *answers, *shows, self._gone))
        self.box.add_class("opskit-view")
        self._arrange()

    @property
    def said(self) -> str:
        """What rollbacks and retries came to, as HTML."""
        return self._retry.verdicts + self._rollback.verdict

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
            if self.is_over:
                return False
            self._found = found
            key = (
                shown.progress.changes,
                shown.is_transaction or int(seconds),
                [(work.status, [run.changes for run in work.runs]) for work in works],
                outlook,
                self._stage.was_heard or now < self._began + OPENING_SECONDS,
            )
            changed = self._bars.paint(key, lambda: self._top(seconds, works, outlook), now)
            changed |= self._lines.paint((hosts, found), lambda: self._pane("opskit-lines"), now)
        if self._grid is not None:
            changed |= self._hovers.paint((shown.progress.changes, found), self._last_lines, now)
        self.know(outlook)
        return changed

    def end(self, seconds: float, works: Sequence[WorkProgress], outlook: Outlook | None) -> None:
        """Show how it ended; its account is to be seen in the static display, if that could be updated."""
        self._open_grid()
        results = self._shown.results()
        with self._stage.guard:
            self.is_over = True
            self._retry.end(results)
            if not (self._rollback.is_at_it or self._rollback.verdict):
                self._stage.say("")  # it may say that it was being cancelled
            name = "opskit-progress" if self._is_within else "opskit-ended"
            title = html(f"{markup.titled(self._shown.progress.title)} {self._shown.transaction}")
            told = account.as_html(self._shown, seconds, works, outlook, name=name)
            self._bars.show(f'{told}<div class="opskit-title" style="opacity:.75">{title}</div>{self._states()}')
            if self._grid is not None:
                last = {row.host: last_line(row.stdout + row.stderr) for row in results} if self._grid.alone else {}
                self._hovers.show(self._grid.hovers(last))
            self._lines.show(self._pane("opskit-lines opskit-lines-last"))
            self.know(outlook)
            self._choose()

    def know(self, outlook: Outlook | None) -> None:
        """Take what a rollback would do now, where that is known."""
        if outlook is not self._outlook:
            self._outlook = outlook
            self._arrange()

    def forget(self) -> None:
        """Close all widgets; what they can do goes with them."""
        self._stage.close()
        with self._stage.guard:
            close_all([self.box])

    def _open_grid(self) -> None:
        cells = self._shown.progress.cells
        if self._grid is None and cells:
            with self._stage.guard:
                self._grid = Grid(cells, self._choose)
                self._cells.children = (self._grid.widget,)
                self._arrange()

    def _newest(self) -> Results:
        return self._shown.results() if self._retry.results is None else self._retry.results

    def _runs(self) -> bool:
        if self._shown.is_transaction:
            return any(work.status == "running" for work in self._shown.works())
        return not self.is_over

    @property
    def _chosen(self) -> tuple[str, ...]:
        return () if self._grid is None else self._grid.hosts

    def _top(self, seconds: float, works: Sequence[WorkProgress], outlook: Outlook | None) -> str:
        """Everything above the grid, and the look of its cells."""
        waits = self._stage.was_heard or monotonic() < self._began + OPENING_SECONDS
        holds = self._shown.cancel is not None  # else no cell needs to wait for it, and clicks come in between
        no_clicks = markup.quiet(NO_CLICKS) if holds and not waits and not front_end.delivers_clicks() else ""
        return account.as_html(self._shown, seconds, works, outlook) + no_clicks + self._states()

    def _states(self) -> str:
        return "" if self._grid is None else self._grid.states()

    def _pane(self, names: str) -> str:
        """The last lines of output."""
        if not self._found:
            return ""
        whose = f" of {self._grid.name}" if self._grid is not None and self._grid.name else ""
        # Read aloud, it would never end.
        label = f'role="log" aria-live="off" aria-label="{attribute(f"Last lines of output{whose}")}"'
        return f'<div class="{names}" {label}>{markup.lines(self._found)}</div>'

    def _last_lines(self) -> str:
        """What the cells say: of single hosts also what each has printed last."""
        assert self._grid is not None
        hosts = [host for cell in self._shown.progress.cells for host in cell.hosts]
        tails = self._shown.tails(hosts) if self._grid.alone else ()
        return self._grid.hovers({tail.host: last_line(tail.text) for tail in tails})

    def _choose(self) -> None:
        """Show the lines, or after the end the rows, of the hosts that are chosen now."""
        with self._stage.guard:
            hosts = self._chosen
            if self._grid is not None and hosts:
                self._stage.was_heard = True
                self._cancel_chosen.description = f"Cancel {self._grid.name}"
            if self.is_over and (hosts or not self._found):
                rows = [row for row in self._newest() if row.host in hosts]
                self._lines.show(as_html(rows) if rows else "")
                self._found = ()
            self._arrange()

    def _choose_none(self) -> None:
        assert self._grid is not None
        self._grid.clear()

    def _cancel_all(self) -> None:
        assert self._shown.cancel is not None
        self._shown.cancel(None)
        self._cancel.disabled = True
        self._stage.say("Cancelling …")

    def _cancel_hosts(self) -> None:
        assert self._shown.cancel is not None
        assert self._grid is not None
        self._shown.cancel(self._grid.hosts)
        self._stage.say(f"Cancelling {self._grid.name} …")

    def _changed(self) -> None:
        if self.is_over:
            self._choose()
        self._settled()

    def _arrange(self) -> None:
        """Show the buttons that can do something now; and have at hand what to say when none can any more."""
        shown, chosen = self._shown, bool(self._chosen)
        runs = shown.cancel is not None and not self.is_over
        # Also where nothing has an undo: whoever presses it is told what was sent and stays.
        undoes = shown.rollback is not None and not (self._outlook is not None and self._outlook.ended)
        with self._stage.guard:
            for button, is_possible in (
                (self._cancel, runs),
                (self._cancel_chosen, runs and chosen),
                (self._all_hosts, chosen),
                (self._rollback.button, undoes),
                (self._retry.button, self.is_over and self._retry.is_possible and not self._is_within),
                (self._export.button, not runs),
            ):
                self._stage.offer(button, is_possible=is_possible)
            how = account.what_undoes(shown, self._outlook)
            said = "The kernel behind this view has restarted" + (f": {how}" if how else ".")
            self._gone.value = f"<div>{markup.coded(said)}</div>"
