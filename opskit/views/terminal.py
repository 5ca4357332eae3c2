"""Progress in a terminal: a bar for each chunk, on standard error, gone when the run has ended."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from opskit.rendering.escape import one_line
from opskit.rendering.palette import LOOKS
from opskit.results import WORST_FIRST
from opskit.views.moment import MOMENT_SECONDS, shown_chunks

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    from opskit.progress import ChunkProgress, Progress

BAR_CELLS = 30


class TerminalView:
    """Paints with rich. Shows nothing for a run shorter than a moment."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._live: Live | None = None

    def paint(self, progress: Progress) -> None:
        """Show how far it is."""
        if monotonic() - self._began < MOMENT_SECONDS:
            return
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(drawn(progress, monotonic() - self._began), refresh=True)

    def close(self, progress: Progress) -> None:  # noqa: ARG002 - the results say how it ended
        """Take the bars away."""
        if self._live is not None:
            self._live.stop()


def drawn(progress: Progress, seconds: float) -> Table:
    """The bars of the chunks that have begun, the count of those that have not, and the last lines of output."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    for number, chunk in shown_chunks(progress):
        bar = ProgressBar(total=chunk.total, completed=chunk.ended.total(), width=BAR_CELLS)
        table.add_row(f"chunk {number}/{len(progress.chunks)}", bar, _counts(chunk))
    name = f"{one_line(progress.name, 60)}: " if progress.name else ""
    table.add_row(Text(f"{name}{seconds:.0f} s"))
    for host, line in progress.lines:
        table.add_row(Text(host), Text(one_line(line, 100)))
    return table


def _counts(chunk: ChunkProgress) -> Text:
    from rich.text import Text

    text = Text()
    for status in WORST_FIRST:
        if number := chunk.ended[status]:
            look = LOOKS[status]
            text.append(f"{look.symbol} {number} {look.word}  ", style=look.colour)
    return text.append(f"{chunk.running} running  {chunk.left} left")
