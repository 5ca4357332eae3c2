"""Progress in a terminal: a bar for each chunk, on standard error, gone when the run has ended."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from opskit.rendering.escape import one_line
from opskit.rendering.palette import LOOKS
from opskit.results.result import worst_first
from opskit.views.figures import last_lines, seconds_in_words, shown_chunks, time_in_words

if TYPE_CHECKING:
    from rich.constrain import Constrain
    from rich.live import Live
    from rich.text import Text

    from opskit.progress import ChunkProgress, WorkProgress
    from opskit.showing import Shown

BAR_CELLS: Final = 30
MARGIN: Final = 3
"""Cells on the right that stay free: a terminal's own `^C` would begin a new line there, which nobody takes away."""

LINES: Final = 6
WORKS: Final = 12


class TerminalView:
    """Paints with rich, while somebody waits."""

    stays = False

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._began = monotonic() - shown.seconds_before
        self._live: Live | None = None

    def paint(self) -> bool:
        """Show how far it is."""
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._shown.look()
        self._live.update(drawn(self._shown, monotonic() - self._began, self._live.console.width), refresh=True)
        return True

    def close(self) -> None:
        """Take the bars away: the results say how it ended, and a question needs the room."""
        if self._live is not None:
            self._live.update("")  # what is higher than the terminal would be shown whole once more, and stay
            self._live.stop()
            self._live = None


def drawn(shown: Shown, seconds: float, width: int) -> Constrain:
    """What it is and how long it takes, bars of the chunks that matter now, the tasks, the last lines of output.

    Each is one line: of what is too long for a terminal of this width the end is left out.
    """
    from rich.console import Group
    from rich.constrain import Constrain
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    progress = shown.progress
    bars, works, lines = (Table.grid(padding=(0, 1)) for _ in range(3))
    for table, names in ((bars, 2), (works, 1), (lines, 1)):
        for _ in range(names):
            table.add_column(no_wrap=True)
        table.add_column()  # what may be wrapped gives way first, and its text lets nothing be wrapped
    for number, chunk in shown_chunks(progress):
        bar = ProgressBar(total=chunk.total, completed=chunk.ended.total(), width=min(BAR_CELLS, width // 4))
        bars.add_row(f"chunk {number}/{len(progress.chunks)}", bar, _counts(chunk))
    for work in shown.works()[-WORKS:]:
        works.add_row(Text(f"  {one_line(work.title, min(BAR_CELLS, width // 3))}"), _fate(work))
    if progress.undone.total:
        bars.add_row("undoing", "", _counts(progress.undone))
    for host, line in last_lines(shown.tails(()), LINES):
        lines.add_row(Text(one_line(host, width // 2)), Text(line, no_wrap=True, overflow="ellipsis"))
    name = f"{one_line(progress.title, min(60, width // 2))}: " if progress.title else ""
    time = Text(f"{name}{time_in_words(progress, seconds)}", no_wrap=True, overflow="ellipsis")
    return Constrain(Group(time, bars, works, lines), max(1, width - MARGIN))


def _fate(work: WorkProgress) -> Text:
    from rich.text import Text

    look = LOOKS[work.status]
    seconds = "" if work.seconds is None else f" {seconds_in_words(work.seconds)}"
    text = Text(f"{look.symbol} {look.word}{seconds}", style=look.colour, no_wrap=True, overflow="ellipsis")
    if work.status == "running" and work.seconds is None:
        for run in [run for run in work.runs if not run.over][-1:]:
            for number, chunk in shown_chunks(run)[-1:]:
                text.append(f"  chunk {number}/{len(run.chunks)}  ", style="default").append_text(_counts(chunk))
    return text


def _counts(chunk: ChunkProgress) -> Text:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis")
    for status, number in worst_first(chunk.ended):
        look = LOOKS[status]
        text.append(f"{look.symbol} {number} {look.word}  ", style=look.colour)
    return text.append(f"{chunk.running} running  {chunk.left} left")
