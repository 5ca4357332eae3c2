"""Results as HTML, for notebooks and reports: a folded table, failures first, bounded, for light and dark themes.

Styles stand inline and are ones that a sanitised, untrusted notebook keeps. The classes tell both MathJaxes,
JupyterLab's and that of exported notebooks, to leave it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opskit.rendering.escape import html, html_with_colours, one_line
from opskit.rendering.excerpt import excerpt, last_line, last_states
from opskit.rendering.palette import LOOKS
from opskit.results.gather import Group, counts, elapsed, grouped, how_many, look, names, plural
from opskit.results.text import TRUNCATED, skipped_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.results.result import HostResult, Status

_GROUPS: Final = 100
_LINES: Final = 200
_CHARACTERS: Final = 6_000
_SHORT_LINES: Final = 6
_SHORT_CHARACTERS: Final = 800
_SHORT: Final = 120
_NAMES: Final = 400
_ERROR: Final = 1_000

_QUIET: Final = "opacity:0.75"
_CELL: Final = "padding:4px 12px 4px 0;text-align:left;vertical-align:top;border-top:1px solid #888888"
# JupyterLab takes `break-word` out of untrusted notebooks, and its own `break-all` keeps the table narrow there.
_PRE: Final = (
    "margin:0;padding:0;font-family:monospace;font-size:12px;line-height:1.35;"
    "white-space:pre-wrap;word-break:break-word"
)


def as_html(rows: Sequence[HostResult]) -> str:
    """Lay out the rows: a line of counts, and the table of outcomes."""
    return framed(summary(rows) + outcomes(rows, all_are_in=".gather() or .df"))


def framed(markup: str) -> str:
    """Put what is shown into the outermost element."""
    style = "margin:4px 0;text-align:left;font-size:13px"
    return f'<div class="opskit-results tex2jax_ignore mathjax_ignore" style="{style}">{markup}</div>'


def outcomes(rows: Sequence[HostResult], *, all_are_in: str, most: int = _GROUPS) -> str:
    """The table of groups, the worst first, what was left out, and one line for all that was skipped."""
    groups = grouped((row for row in rows if row.status != "skipped"), look)
    parts = [_table(groups[:most]) if groups else ""]
    if left := groups[most:]:
        left_rows = [row for group in left for row in group.rows]
        parts.append(note(f"… {len(left):,} more outcomes, {how_many(left_rows)}: {all_are_in} has them all"))
    if skipped := skipped_line(rows):
        parts.append(note(_shortened(skipped)))
    return "".join(parts)


def summary(rows: Sequence[HostResult]) -> str:
    """The line of counts, with symbols and words."""
    if not rows:
        return note("no rows")
    fates = " ".join(
        f'<span style="padding-left:12px">{fate(status, f"{count:,}")}</span>' for status, count in counts(rows)
    )
    seconds = elapsed(rows)
    time = f'<span style="padding-left:12px;{_QUIET}">{seconds:.1f} s</span>' if seconds is not None else ""
    return f'<div style="padding:4px 0"><b>{html(how_many(rows))}</b>{fates}{time}</div>'


def fate(status: Status, count: str = "") -> str:
    """A status as its symbol and word, in its colour."""
    shown = LOOKS[status]
    words = " ".join(filter(None, (shown.symbol, count, shown.word)))
    return f'<b style="color:{shown.colour};white-space:nowrap">{html(words)}</b>'


def _table(groups: Sequence[Group]) -> str:
    branches = any(group.first.branch is not None for group in groups)
    named = "branch" if any(group.hosts for group in groups) else "task"
    titles = ["status", "hosts", *([named] if branches else []), "exit", "seconds", "output"]
    head = "".join(f'<th style="{_CELL};{_QUIET};border-top:none;font-weight:normal">{title}</th>' for title in titles)
    body = "".join(f'<tr style="background:transparent">{_cells(group, branches=branches)}</tr>' for group in groups)
    table = "border-collapse:collapse;table-layout:auto;margin:0;border:none;font-size:13px"
    return f'<table style="{table}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cells(group: Group, *, branches: bool) -> str:
    row = group.first
    rows = len(names(group.rows)) or len(group.rows)
    folded = html(_shortened(group.hosts)).replace(",", ",<wbr>")
    many = f' <span style="{_QUIET};white-space:nowrap">({rows:,})</span>' if rows > 1 else ""
    ended = html(row.signal) if row.signal is not None else str(row.exit_code if row.exit_code is not None else "")
    branch = [_bounded(html(one_line(row.branch or "", _NAMES)))] if branches else []
    cells = [fate(row.status), _bounded(folded + many), *branch, ended, group.seconds, _output(group)]
    return "".join(f'<td style="{_CELL}">{content}</td>' for content in cells)


def _bounded(markup: str) -> str:
    return f'<div style="max-width:240px;overflow-wrap:break-word">{markup}</div>'


def _output(group: Group) -> str:
    parts = []
    if group.error:
        colour = LOOKS[group.first.status].colour
        parts.append(f'<pre style="{_PRE};color:{colour}">{html(one_line(group.error, _ERROR))}</pre>')
    parts += [_stream(name, text, bad=group.first.bad) for name, text in group.outputs]
    if group.first.truncated:
        parts.append(note(TRUNCATED))
    return "".join(parts)


def _stream(name: str, text: str, *, bad: bool) -> str:
    """Short output as it is; long output behind a line of it: the last one of what went wrong, else the first one."""
    shown = excerpt(text, lines=_LINES, characters=_CHARACTERS)
    label = f'<span style="{_QUIET};font-size:11px">stderr </span>' if name == "stderr" else ""
    block = f'<pre style="{_PRE}">{html_with_colours(shown)}</pre>'
    if shown.count("\n") < _SHORT_LINES and len(shown) <= _SHORT_CHARACTERS:
        return label + block
    line = last_line(text) if bad else last_states(text[:_CHARACTERS]).strip().partition("\n")[0]
    size = f'<span style="{_QUIET}">{plural(len(text.splitlines()), "line")} </span>'
    code = f'<code style="background:transparent;font-size:12px">{html(one_line(line, _SHORT))}</code>'
    return f'<details><summary style="cursor:pointer">{label}{size}{code}</summary>{block}</details>'


def note(text: str) -> str:
    """A line about what is shown."""
    return f'<div style="padding:4px 0;{_QUIET}">{html(text)}</div>'


def _shortened(names_folded: str) -> str:
    if len(names_folded) <= _NAMES:
        return names_folded
    return names_folded[:_NAMES].rpartition(",")[0] + ", …"
