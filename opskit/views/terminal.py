"""Progress in a terminal: a bar for each chunk, on standard error, gone when the run has ended."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final

from opskit.rendering.escape import one_line
from opskit.rendering.palette import LOOKS
from opskit.results.result import worst_first
from opskit.views.figures import last_lines, seconds_in_words, shown_chunks, time_in_words

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from opskit.progress import ChunkProgress, WorkProgress
    from opskit.showing import Shown

BAR_CELLS: Final = 30
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
        self._live.update(drawn(self._shown, monotonic() - self._began), refresh=True)
        return True

    def close(self) -> None:
        """Take the bars away: the results say how it ended, and a question needs the room."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def drawn(shown: Shown, seconds: float) -> Table:
    """The bars of the chunks that matter now, the tasks, the last lines of output."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    progress = shown.progress
    table = Table.grid(padding=(0, 1))
    for number, chunk in shown_chunks(progress):
        bar = ProgressBar(total=chunk.total, completed=chunk.ended.total(), width=BAR_CELLS)
        table.add_row(f"chunk {number}/{len(progress.chunks)}", bar, _counts(chunk))
    for work in shown.works()[-WORKS:]:
        table.add_row(Text(f"  {one_line(work.title, BAR_CELLS)}"), _fate(work))
    if progress.undone.total:
        table.add_row("undoing", "", _counts(progress.undone))
    name = f"{one_line(progress.name, 60)}: " if progress.name else ""
    table.add_row(Text(f"{name}{time_in_words(progress, seconds)}"))
    for host, line in last_lines(shown.tails(()), LINES):
        table.add_row(Text(host), Text(line))
    return table


def _fate(work: WorkProgress) -> Text:
    from rich.text import Text

    look = LOOKS[work.status]
    seconds = "" if work.seconds is None else f" {seconds_in_words(work.seconds)}"
    return Text(f"{look.symbol} {look.word}{seconds}", style=look.colour)


def _counts(chunk: ChunkProgress) -> Text:
    from rich.text import Text

    text = Text()
    for status, number in worst_first(chunk.ended):
        look = LOOKS[status]
        text.append(f"{look.symbol} {number} {look.word}  ", style=look.colour)
    return text.append(f"{chunk.running} running  {chunk.left} left")
