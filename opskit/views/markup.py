"""How far something is as HTML, with inline styles alone: it looks the same live, saved, exported and on GitHub."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from opskit.rendering.escape import attribute, html, one_line
from opskit.rendering.folding import fold
from opskit.rendering.palette import LOOKS
from opskit.results import WORST_FIRST
from opskit.results.html import fate
from opskit.results.result import worst_first
from opskit.showing import MOST_WORKS
from opskit.views.figures import seconds_in_words, shown_chunks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opskit.progress import ChunkProgress, Progress, WorkProgress
    from opskit.results import HostResult, Status
    from opskit.showing import Alike

TITLE: Final = 80
RUNS: Final = 5
LISTED: Final = 8
HOSTS: Final = 120
"""How many characters of folded names are shown."""

_QUIET: Final = "opacity:.75"
_LABEL: Final = 96
_GAP: Final = 12
_INDENT: Final = 20
"""In pixels: what comes first in a line, what lies between, and before what is listed."""
_ROW: Final = f"display:flex;flex-wrap:wrap;align-items:center;gap:0 {_GAP}px"
_TRACK: Final = (
    "display:inline-block;width:224px;max-width:100%;height:10px;border-radius:5px;overflow:hidden;"
    "white-space:nowrap;line-height:0;background:rgba(128,128,128,.25)"
)


def framed(*parts: str, name: str = "opskit-progress") -> str:
    """Put what is shown into the outermost element, of the class `name`; neither MathJax looks into it."""
    style = "font-size:13px;line-height:1.6;margin:2px 0;text-align:left"
    return f'<div class="{name} tex2jax_ignore mathjax_ignore" style="{style}">{"".join(parts)}</div>'


def heading(status: Status | None, title: str, *facts: str, is_command: bool = False) -> str:
    """The line on top: symbol and word of a status if there is one, a title, and facts in words."""
    name = _code(titled(title)) if is_command else f"<b>{html(titled(title))}</b>"
    ended = "" if status is None else f"<span>{fate(status)}</span>"
    return f'<div style="{_ROW}">{ended}{name}{_facts(*facts)}</div>'


def bars(progress: Progress) -> str:
    """A bar and counts for each chunk that matters now, and for the undos."""
    shown = shown_chunks(progress)
    earlier = shown[0][0] - 1 if shown else 0
    rows = [quiet(f"{earlier} earlier chunk{'' if earlier == 1 else 's'} ended")] if earlier else []
    rows += [bar(f"chunk {number}/{len(progress.chunks)}", chunk) for number, chunk in shown]
    if progress.undone.total:
        rows.append(bar("undoing", progress.undone))
    return "".join(rows)


def bar(label: str, chunk: ChunkProgress) -> str:
    """One line: what it is of, how far it is as a bar, and in words."""
    ended = chunk.ended.total()
    going = "" if chunk.over or not chunk.running + chunk.left else f"{chunk.running:,} running, {chunk.left:,} left"
    pieces = "".join(
        f'<span style="display:inline-block;height:10px;width:{100 * count / max(1, chunk.total):.2f}%;'
        f'background:{LOOKS[status].colour};opacity:{opacity}"></span>'
        for status, count, opacity in [
            *((status, chunk.ended[status], 1) for status in reversed(WORST_FIRST)),
            ("running", chunk.running, 0.45),
        ]
        if count
    )
    said = f"{label}: {ended} of {chunk.total} ended"
    return (
        f'<div style="{_ROW}"><span style="min-width:{_LABEL}px">{html(label)}</span>'
        f'<span role="progressbar" aria-label="{attribute(said)}" aria-valuemin="0" aria-valuenow="{ended}" '
        f'aria-valuemax="{chunk.total}" style="{_TRACK}">{pieces}</span>'
        f"{_going(counts(chunk.ended), going)}</div>"
    )


def counts(ended: Mapping[Status, int]) -> str:
    """How many ended with each status, the worst first, with symbol and word."""
    return "".join(
        f'<span style="margin-right:10px">{fate(status, f"{count:,}")}</span>' for status, count in worst_first(ended)
    )


def titled(text: str) -> str:
    """What something is called, on one line, cut."""
    return one_line(text, TITLE)


def remark(status: Status, text: str) -> str:
    """A sentence behind the symbol of a status."""
    look = LOOKS[status]
    return f'<div><b style="color:{look.colour}">{look.symbol}</b> {html(text)}</div>'


def works(found: Sequence[WorkProgress], total: int) -> str:
    """A line for each task, or for what a cell did in a transaction, and under it its commands; the last ones.

    Args:
        found: Those that matter now.
        total: How many tasks there are; a transaction has none.
    """
    left = max(len(found), total) - min(len(found), MOST_WORKS)
    rows = [quiet(f"{left:,} not shown")] if left > 0 else []
    return "".join([*rows, *map(_work, found[-MOST_WORKS:])])


def _work(work: WorkProgress) -> str:
    seconds = "" if work.seconds is None else seconds_in_words(work.seconds)
    # What a cell has run is work of one command, its own.
    own = next((run for run in work.runs if run.title == work.title), None)
    runs = [run for run in work.runs if run is not own]
    title = titled(work.title)
    name = _code(title) if own is not None and own.name is None else f"<span>{html(title)}</span>"
    left = len(runs) - RUNS
    below = [quiet(f"{left} earlier commands", indent=_LABEL + _GAP)] if left > 0 else []
    below += map(_run, runs[-RUNS:])
    return (
        f'<div style="{_ROW}"><span style="min-width:{_LABEL}px">{fate(work.status)}</span>{name}'
        f"{'' if own is None else _run_counts(own)}{_facts(seconds)}</div>{''.join(below)}"
    )


def _run(run: Progress) -> str:
    title = _code(titled(run.title))
    return f'<div style="{_ROW};padding-left:{_LABEL + _GAP}px">{title}{_run_counts(run)}</div>'


def _run_counts(run: Progress) -> str:
    # Looked up status by status: a run goes on meanwhile, and what it counts in must not be gone through.
    ended = Counter({status: sum(chunk.ended[status] for chunk in run.chunks) for status in WORST_FIRST})
    going = f"{run.running:,} running" if run.running else ""
    return _going(counts(ended), going)


def _going(ended: str, going: str) -> str:
    """What has ended, and in quieter words what has not."""
    return f"<span>{ended}{_facts(going)}</span>" if ended or going else ""


def _facts(*facts: str) -> str:
    return "".join(f'<span style="{_QUIET}">{html(fact)}</span>' for fact in facts if fact)


def commands(title: str, found: Sequence[Alike]) -> str:
    """Commands with the hosts where they were or would be sent, folded; the first ones."""
    return _listed(title, [_where(alike.hosts) + _code(one_line(alike.text, HOSTS)) for alike in found])


def _where(hosts: Sequence[str]) -> str:
    return html(one_line(fold(hosts), HOSTS)) + ": " if hosts else ""


def sentences(title: str, found: Sequence[str]) -> str:
    """Lines below a title; the first ones."""
    return _listed(title, [html(one_line(line, HOSTS)) for line in found])


def _listed(title: str, rows: Sequence[str]) -> str:
    left = len(rows) - LISTED
    shown = "".join(f'<div style="padding-left:{_INDENT}px">{row}</div>' for row in rows[:LISTED])
    return f"<div>{html(title)}</div>{shown}" + (quiet(f"and {left} more", indent=_INDENT) if left > 0 else "")


def _code(text: str) -> str:
    return f'<code style="background:transparent;padding:0;font-size:12px">{html(text)}</code>' if text else ""


def lines(found: Sequence[tuple[str, str]]) -> str:
    """The last lines of output, each behind its host."""
    return "".join(
        f'<div class="opskit-line"><span class="opskit-host">{html(host)}</span> {html(line)}</div>'
        for host, line in found
    )


def retried(rows: Sequence[HostResult]) -> str:
    """A line on what a retry came to."""
    counted = ", ".join(
        f"{count:,} {LOOKS[status].word}" for status, count in worst_first(Counter(row.status for row in rows))
    )
    transaction = next((f" ({row.transaction})" for row in rows if row.transaction), "")
    return quiet(f"retried: {counted}{transaction}")


def coded(text: str) -> str:
    """A sentence with `code` in it."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html(text))


def quiet(text: str, *, indent: int = 0) -> str:
    """A line about what is shown, so many pixels from the left."""
    return f'<div style="{_QUIET};padding-left:{indent}px">{html(text)}</div>'


def steps_in_words(count: int) -> str:
    """Such as `1 step`, `12 steps`."""
    return f"{count:,} step{'' if count == 1 else 's'}"
