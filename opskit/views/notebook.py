"""Progress in a notebook: one display of plain HTML that is updated in place, and stays when the run has ended."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from opskit.rendering.escape import html, one_line
from opskit.rendering.palette import LOOKS
from opskit.results import WORST_FIRST
from opskit.views.moment import MOMENT_SECONDS, shown_chunks

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

    from opskit.progress import ChunkProgress, Progress

SECONDS_BETWEEN = 0.25


class NotebookView:
    """Paints into the cell that runs. Shows nothing for a run shorter than a moment."""

    def __init__(self) -> None:
        self._began = self._painted = monotonic()
        self._display: DisplayHandle | None = None

    def paint(self, progress: Progress) -> None:
        """Show how far it is."""
        now = monotonic()
        if now - self._began >= MOMENT_SECONDS and now - self._painted >= SECONDS_BETWEEN:
            self._painted = now
            self._show(drawn(progress, now - self._began))

    def close(self, progress: Progress) -> None:
        """Show how it ended, if it was shown at all."""
        if self._display is not None:
            self._show(drawn(progress, monotonic() - self._began))

    def _show(self, markup: str) -> None:
        from IPython.display import display

        data = {"text/html": markup, "text/plain": ""}
        if self._display is None:
            self._display = display(data, raw=True, display_id=True)
        else:
            self._display.update(data, raw=True)


def drawn(progress: Progress, seconds: float) -> str:
    """The bars as HTML with inline styles alone: it looks the same live, saved and exported."""
    shown = shown_chunks(progress)
    earlier = shown[0][0] - 1 if shown else 0
    rows = [f"<div>{earlier} earlier chunk{'' if earlier == 1 else 's'} ended</div>"] if earlier else []
    rows += [_row(number, len(progress.chunks), chunk) for number, chunk in shown]
    name = html(one_line(progress.name, 60)) + " · " if progress.name else ""
    lines = (
        ""
        if progress.over
        else "".join(f"<div>{html(host)}: {html(one_line(line, 160))}</div>" for host, line in progress.lines)
    )
    return (
        '<div class="opskit-progress tex2jax_ignore mathjax_ignore" style="font-size:90%;line-height:1.7">'
        f"{''.join(rows)}<div>{name}{seconds:.0f} s</div>"
        f'<div style="font-family:monospace;opacity:.8;white-space:pre">{lines}</div></div>'
    )


def _row(number: int, of: int, chunk: ChunkProgress) -> str:
    parts = "".join(
        f'<span style="display:inline-block;height:100%;width:{100 * chunk.ended[status] / chunk.total:.2f}%;'
        f'background:{LOOKS[status].colour}"></span>'
        for status in reversed(WORST_FIRST)
        if chunk.ended[status]
    )
    counts = "".join(
        f'<span style="color:{LOOKS[status].colour};margin-right:.8em">'
        f"{LOOKS[status].symbol} {chunk.ended[status]} {LOOKS[status].word}</span>"
        for status in WORST_FIRST
        if chunk.ended[status]
    )
    going = "" if chunk.over else f"{chunk.running} running, {chunk.left} left"
    return (
        '<div style="display:flex;gap:.8em;align-items:center;flex-wrap:wrap">'
        f'<span style="min-width:6.5em">chunk {number}/{of}</span>'
        '<span style="display:inline-block;width:16em;height:.8em;border:1px solid currentColor;font-size:100%;'
        f'line-height:0;border-radius:3px;overflow:hidden;white-space:nowrap">{parts}</span>'
        f"<span>{counts}{going}</span></div>"
    )
