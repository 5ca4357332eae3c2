"""When the commands of a run ran: one line a host, as HTML for notebooks and reports, as SVG files, as text.

JupyterLab takes SVG out of untrusted notebooks; the HTML is made of elements and inline styles that it keeps.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opskit.errors import OpskitError
from opskit.rendering.escape import attribute, html, one_line
from opskit.rendering.palette import LOOKS
from opskit.results import exports
from opskit.results.html import framed, note
from opskit.results.html import summary as summary_html
from opskit.results.lanes import Bar, Chart, Lane, laid_out
from opskit.results.result import WORST_FIRST
from opskit.results.text import summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from opskit.results.result import HostResult

_NAME: Final = 30
_TITLE: Final = 300
_CAPTION: Final = 130

_LABELS, _PLOT = 24, 70
"""The percentages of the width that the names and the bars have; what is left is for marks."""
_LINE, _AXIS, _WIDTH = 16, 20, 960
"""Pixels."""
_BLOCKS: Final = 50
_NARROWEST: Final = 0.004
"""The share of the width that a bar has at least."""
_GRID: Final = "1px solid #80808a66"
_GROUND: Final = (
    "<style>:root{color:#1f2328;background:#fff}"
    "@media(prefers-color-scheme:dark){:root{color:#e2e6eb;background:#14171b}}</style>"
)
_FAINT: Final = "opacity:0.7;white-space:nowrap"


@dataclass(frozen=True, slots=True, repr=False)
class Timeline:
    """When each command ran, one line a host; it displays itself, and `save` writes it.

    Above 60 hosts the slowest of each status keep their lines, and the others are folded by status.

    Attributes:
        rows: The rows that it is of.
    """

    rows: tuple[HostResult, ...]

    def __repr__(self) -> str:
        return _as_text(laid_out(self.rows), summary(self.rows))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - IPython's signature
        chart = laid_out(self.rows)
        markup = framed(summary_html(self.rows) + as_html(chart))
        return {"text/html": markup, "text/plain": _as_text(chart, summary(self.rows))}

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as an SVG file, 960 pixels wide, in the colours of light and dark screens.

        Raises:
            OpskitError: The name does not end in `.svg`; the file can't be written.
        """
        if not str(path).lower().endswith(".svg"):
            raise OpskitError(f"Timeline.save: {str(path)!r} does not end in .svg, and SVG is all that it writes")
        chart = laid_out(self.rows)
        captions = [summary(self.rows), *chart.notes]
        lines = [line for caption in captions for line in textwrap.wrap(one_line(caption, 4 * _TITLE), _CAPTION)]
        exports.write("Timeline.save", path, as_svg(chart, lines).encode())


def as_html(chart: Chart) -> str:
    """Elements with inline styles, of any width; under the pointer each bar says what it is."""
    notes = "".join(map(note, chart.notes))
    if not chart.lanes:
        return notes
    lines = "".join(
        f'<div style="position:absolute;top:0;bottom:0;left:{_percent(tick, chart)};border-left:{_GRID}"></div>'
        f'<div style="position:absolute;top:0;left:{_percent(tick, chart)};padding-left:3px;{_FAINT}">{label}</div>'
        for tick, label in chart.ticks
    )
    plot = f"position:absolute;top:0;bottom:0;left:{_LABELS}%;width:{_PLOT}%"
    lanes = "".join(_html_lane(lane, chart) for lane in chart.lanes)
    style = f"position:relative;padding-top:{_AXIS}px;max-width:{_WIDTH}px;line-height:1.2;font-size:12px"
    return f'<div style="{style}"><div style="{plot}">{lines}</div>{lanes}</div>{notes}'


def _html_lane(lane: Lane, chart: Chart) -> str:
    colour = LOOKS[lane.status].colour
    name = attribute(one_line(lane.label, _TITLE))
    label = f'<b style="color:{colour}">{LOOKS[lane.status].symbol}</b> {html(one_line(lane.label, _NAME))}'
    clipped = f"position:absolute;left:0;width:{_LABELS}%;overflow:hidden;white-space:nowrap;text-overflow:ellipsis"
    bars = "".join(_html_bar(bar, top, height, chart) for bar, top, height in _placed(lane))
    plot = f'<div style="position:absolute;left:{_LABELS}%;width:{_PLOT}%">{bars}</div>'
    return (
        f'<div style="position:relative;height:{lane.height}px">'
        f'<div title="{name}" style="{clipped}">{label}</div>{plot}</div>'
    )


def _html_bar(bar: Bar, top: int, height: int, chart: Chart) -> str:
    colour, symbol = LOOKS[bar.status].colour, LOOKS[bar.status].symbol
    place = f"position:absolute;top:{top}px;left:{_percent(bar.start, chart)};height:{height}px"
    drawn_bar = (
        f'<div title="{attribute(one_line(bar.title, _TITLE))}" style="{place};width:{_length(bar, chart)};'
        f'background-color:{colour};border-radius:2px"></div>'
    )
    at = f"position:absolute;top:{top - 2}px;left:{_percent(bar.end, chart)};padding-left:4px;font-size:11px"
    return drawn_bar + (f'<b style="{at};color:{colour}">{symbol}</b>' if bar.marked else "")


def as_svg(chart: Chart, captions: Sequence[str]) -> str:
    """A file of its own, these lines on top, with a ground for light and dark."""
    above = _LINE * len(captions)
    text = "".join(f'<text y="{_LINE * number + 12}">{attribute(line)}</text>' for number, line in enumerate(captions))
    body = above + _AXIS
    names, bars, y = [], [], body
    for lane in chart.lanes:
        names.append(_svg_name(lane, y))
        bars += [_svg_bar(bar, y + top, height, chart) for bar, top, height in _placed(lane)]
        y += lane.height
    lines = "".join(_svg_tick(_percent(tick, chart), label, above, y) for tick, label in chart.ticks)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y + 4}" role="img" aria-label="Timeline"'
        f' font-family="system-ui, sans-serif" font-size="12" fill="currentColor">{_GROUND}{text}'
        f'<svg width="{_LABELS - 1}%">{"".join(names)}</svg>'
        f'<svg x="{_LABELS}%" width="{_PLOT}%" overflow="visible">{lines}{"".join(bars)}</svg></svg>'
    )


def _svg_tick(x: str, label: str, top: int, bottom: int) -> str:
    line = f'<line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}" stroke="#80808a" stroke-opacity="0.4"/>'
    return f'{line}<text x="{x}" dx="3" y="{top + 12}" fill-opacity="0.7">{label}</text>'


def _svg_name(lane: Lane, y: int) -> str:
    look, name = LOOKS[lane.status], attribute(one_line(lane.label, _NAME))
    title = attribute(one_line(lane.label, _TITLE))
    symbol = f'<tspan fill="{look.colour}" font-weight="bold">{look.symbol}</tspan>'
    return f'<text y="{y + 13}"><title>{title}</title>{symbol} {name}</text>'


def _svg_bar(bar: Bar, y: int, height: int, chart: Chart) -> str:
    look, title = LOOKS[bar.status], attribute(one_line(bar.title, _TITLE))
    place = f'x="{_percent(bar.start, chart)}" y="{y}" width="{_length(bar, chart)}" height="{height}"'
    rectangle = f'<rect {place} rx="2" fill="{look.colour}"><title>{title}</title></rect>'
    if not bar.marked:
        return rectangle
    at = f'x="{_percent(bar.end, chart)}" dx="4" y="{y + height // 2 + 4}" font-size="11" font-weight="bold"'
    return f'{rectangle}<text {at} fill="{look.colour}">{look.symbol}</text>'


def _placed(lane: Lane) -> list[tuple[Bar, int, int]]:
    """Each bar with its top within the lane and its height, in pixels."""
    height = 12 if lane.tracks == 1 else 8
    return [(bar, 3 + 10 * bar.track, height) for bar in lane.bars]


def _percent(seconds: float, chart: Chart) -> str:
    return f"{100 * seconds / chart.seconds:.2f}%"


def _length(bar: Bar, chart: Chart) -> str:
    return _percent(max(bar.end - bar.start, _NARROWEST * chart.seconds), chart)


def _as_text(chart: Chart, head: str) -> str:
    """Lines of blocks: what overlaps shows the worst; the last block of what is not ok is its symbol."""
    width = max((len(_text_name(lane)) for lane in chart.lanes), default=0)
    lines = [
        f"{LOOKS[lane.status].symbol} {_text_name(lane).ljust(width)} {_blocks(lane, chart)}" for lane in chart.lanes
    ]
    if lines:
        lines.append(" " * (width + 4) + _text_axis(chart))
    return "\n".join((head, *lines, *chart.notes))


def _text_name(lane: Lane) -> str:
    return one_line(lane.label, _NAME)


def _blocks(lane: Lane, chart: Chart) -> str:
    cells = [" "] * _BLOCKS
    for bar in sorted(lane.bars, key=lambda bar: -WORST_FIRST.index(bar.status)):
        first = min(int(bar.start / chart.seconds * _BLOCKS), _BLOCKS - 1)
        last = max(first, math.ceil(bar.end / chart.seconds * _BLOCKS) - 1)
        cells[first : last + 1] = "█" * (last + 1 - first)
        if bar.status != "ok":
            cells[last] = LOOKS[bar.status].symbol
    return f"│{''.join(cells)}│"


def _text_axis(chart: Chart) -> str:
    line = ""
    for tick, label in chart.ticks:
        place = round(tick / chart.seconds * _BLOCKS)
        if len(line) <= place:
            line = f"{line.ljust(place)}{label} "
    return line.rstrip()
