"""Results as one HTML file for who has no opskit: counts, a timeline, the folded table, and all of each host.

Nothing in it runs, and nothing is fetched: the policy in its head says so to the browser.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final

from opskit import checks
from opskit.errors import PlanError
from opskit.rendering.colours import without_sequences
from opskit.rendering.escape import attribute, html, html_with_colours, one_line
from opskit.rendering.excerpt import head_and_tail, last_states
from opskit.results import exports
from opskit.results.gather import Group, how_many, spans
from opskit.results.html import fate, framed, note, outcomes, summary
from opskit.results.lanes import laid_out
from opskit.results.result import WORST_FIRST, worst
from opskit.results.text import TRUNCATED
from opskit.results.timeline import as_html

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from opskit.results.result import HostResult
    from opskit.results.results import Results

_BYTES: Final = 18_000_000
_TABLE_BYTES: Final = 3_000_000
_LEAST_BYTES: Final = 200
"""What each text has at least, however many there are."""
_SEQUENCES: Final = 200_000
"""How many escape sequences are read for their colours, which takes a second or two."""
_ROWS: Final = 10_000
_OUTCOMES: Final = (100, 10)
"""How many rows the table has, and how many if those take too much."""
_TRANSACTIONS: Final = 20
_ROW_BYTES: Final = 500
"""What a row takes besides its texts and facts."""
_NAME, _ERROR = 120, 100

_HEAD: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
"""

_STYLE: Final = """
:root { color-scheme: light dark;
  --text: #1f2328; --ground: #ffffff; --faint: #59606a; --line: #d0d4da; --panel: #f6f7f9 }
@media screen and (prefers-color-scheme: dark) {
  :root { --text: #e2e6eb; --ground: #14171b; --faint: #9aa3ae; --line: #3a4048; --panel: #1d2126 }
}
body { margin: 0 auto; max-width: 1200px; padding: 16px 24px 48px; color: var(--text); background: var(--ground);
  font: 14px/1.45 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 22px; margin: 8px 0 }
h2 { font-size: 16px; margin: 28px 0 6px; padding-bottom: 4px; border-bottom: 1px solid var(--line) }
.about { color: var(--faint); margin: 2px 0 }
figure { margin: 0 }
.wide { overflow-x: auto; overflow-wrap: normal }
th, td:nth-last-child(2) { white-space: nowrap }
td:last-child { overflow-wrap: anywhere; min-width: 240px }
.hosts > details { border-bottom: 1px solid var(--line) }
.hosts > details > summary { cursor: pointer; padding: 6px 0 }
.row { margin: 4px 0 16px 16px }
.label { color: var(--faint); font-size: 12px; margin: 6px 0 2px }
.row pre { margin: 0; padding: 8px; background: var(--panel); border-radius: 4px; overflow-wrap: anywhere;
  white-space: pre-wrap; font: 12px/1.4 ui-monospace, monospace }
.printed { display: none }
@media (max-width: 640px) {
  body { padding: 8px 12px 32px }
  .row { margin-left: 0 }
  thead { display: none }
  table, tbody, tr { display: block }
  tr { border-top: 1px solid var(--line); padding: 6px 0 }
  td { display: inline-block; border: none !important; padding: 0 8px 2px 0 !important }
  td:empty { display: none }
  td:last-child { display: block; min-width: 0 }
  td:nth-last-child(2)::after { content: " s" }
  td:nth-last-child(3)::before { content: "exit " }
}
@media print {
  body { max-width: none; padding: 0; print-color-adjust: exact; -webkit-print-color-adjust: exact }
  details::details-content { content-visibility: visible; block-size: auto }
  tr, figure > div { break-inside: avoid }
  .hosts { display: none }
  .printed { display: block }
}
"""


def write(results: Results, path: str | PathLike[str], title: str | None) -> None:
    """Write the file; see `Results.report`."""
    try:
        title = title if title is None else checks.text(title)
    except ValueError as error:
        raise PlanError(f"Results.report: title={title!r} {error}") from None
    exports.write("Results.report", path, as_report(results, title).encode())


def as_report(results: Results, title: str | None) -> str:
    """The whole document."""
    commands = results.commands.rows if results.commands is not None else ()
    name = one_line(title if title is not None else f"Results of {how_many(results)}", _NAME)
    heads = [_head_of(results.rows)]
    if commands:
        heads.append("<h2>Commands of the tasks</h2>" + _head_of(commands))
    fixed = [
        f"{_HEAD}<title>{attribute(name)}</title>\n<style>{_STYLE}</style>\n</head>",
        f'<body class="tex2jax_ignore mathjax_ignore">\n<h1>{attribute(name)}</h1>',
        *_about((*results.rows, *commands)),
        *heads,
    ]
    left = _BYTES - sum(len(part.encode()) for part in fixed)
    return "\n".join([*fixed, _each((*results.rows, *commands), left), "</body>\n</html>\n"])


def _about(rows: Sequence[HostResult]) -> Iterator[str]:
    """When it was, and under which transactions."""
    if timed := spans(rows):
        first, last = min(start for _, start, _ in timed), max(end for _, _, end in timed)
        began, ended = datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)
        day = f"{ended:%Y-%m-%d} " if ended.date() != began.date() else ""
        yield _about_line(f"{began:%Y-%m-%d %H:%M:%S} to {day}{ended:%H:%M:%S} UTC, {last - first:,.1f} s")
    if transactions := list(dict.fromkeys(row.transaction for row in rows if row.transaction)):
        shown = ", ".join(transactions[:_TRANSACTIONS])
        more = f", and {len(transactions) - _TRANSACTIONS:,} more" if len(transactions) > _TRANSACTIONS else ""
        yield _about_line(f"Transaction{'s' * (len(transactions) > 1)} {shown}{more}")


def _about_line(text: str) -> str:
    return f'<p class="about">{attribute(text)}</p>'


def _head_of(rows: Sequence[HostResult]) -> str:
    """The counts, the timeline, and the table of outcomes."""
    figure = as_html(laid_out(rows))
    table = ""
    for most in _OUTCOMES:
        table = outcomes(rows, all_are_in="“In full” below", most=most)
        if len(table) <= _TABLE_BYTES:
            break
    return f'{framed(summary(rows))}<figure>{figure}</figure><div class="wide">{framed(table)}</div>'


def _each(rows: Sequence[HostResult], size: int) -> str:
    """All rows of each host and task, the worst hosts first, within some bytes."""
    if not rows:
        return ""
    found: dict[tuple[str, str], list[HostResult]] = {}
    for row in rows:
        found.setdefault(_whose(row), []).append(row)
    ordered = sorted(found.values(), key=lambda its: WORST_FIRST.index(worst(row.status for row in its)))
    kept = [row for its in ordered for row in its][:_ROWS]
    facts = list(map(_facts, kept))
    texts = cut_to_size(
        [text for row in kept for text in (row.command or "", row.error or "", row.stdout, row.stderr)],
        size - sum(len(text.encode()) + _ROW_BYTES for text in facts),
    )
    pairs = [
        (row, _row(said, texts[4 * number : 4 * number + 4]))
        for number, (row, said) in enumerate(zip(kept, facts, strict=True))
    ]
    hosts = "\n".join(_host(list(its)) for _, its in groupby(pairs, key=lambda pair: _whose(pair[0])))
    left = note(f"… {len(rows) - len(kept):,} more rows would make this file too large") if len(rows) > _ROWS else ""
    printed = '<p class="printed">All rows and outputs stand in the file itself.</p>'
    return f'<h2>In full</h2>\n{printed}\n<div class="hosts">\n{hosts}\n{left}</div>'


def _whose(row: HostResult) -> tuple[str, str]:
    """The host, or else the task."""
    return row.host, "" if row.host else row.branch or ""


def _host(pairs: Sequence[tuple[HostResult, str]]) -> str:
    rows = [row for row, _ in pairs]
    host, task = _whose(rows[0])
    name = f"{'' if host else 'task '}<b><bdi>{attribute(one_line(host or task, _NAME))}</bdi></b>"
    many = f"{len(rows):,} rows" if len(rows) > 1 else ""
    error = next((one_line(row.error, _ERROR) for row in rows if row.error), "")
    said = " · ".join(attribute(part) for part in (many, error) if part)
    markup = "".join(markup for _, markup in pairs)
    head = f'<summary>{fate(worst(row.status for row in rows))} {name} <span class="about">{said}</span></summary>'
    return f"<details>{head}{markup}</details>"


def _facts(row: HostResult) -> str:
    """The line above a row's texts."""
    facts = [
        f"branch {row.branch}" if row.branch and row.host else "",
        Group((row,)).ended or ("exit 0" if row.exit_code == 0 else ""),
        f"{row.seconds:.2f} s" if row.seconds is not None else "",
        f"from {row.started_at.astimezone(UTC):%H:%M:%S.%f}"[:-3] + " UTC" if row.started_at is not None else "",
        f"chunk {row.chunk}" if row.chunk is not None else "",
        "taken from the journal" if row.attempt == 0 else f"attempt {row.attempt}" if (row.attempt or 1) > 1 else "",
        f"transaction {row.transaction}" if row.transaction else "",
        TRUNCATED if row.truncated else "",
    ]
    return " · ".join([fate(row.status), *(attribute(one_line(fact, _NAME)) for fact in facts if fact)])


def _row(facts: str, texts: Sequence[str]) -> str:
    """One row; `texts` are its command, error line and outputs as markup."""
    blocks = "".join(
        f'<div class="label">{label}</div><pre>{markup}</pre>'
        for label, markup in zip(("command", "error", "stdout", "stderr"), texts, strict=True)
        if markup
    )
    return f'<div class="row"><div>{facts}</div>{blocks}</div>'


def cut_to_size(texts: Sequence[str], size: int) -> list[str]:
    """Texts as markup, within so many bytes: the short ones whole, the longest cut to what is left for each.

    The shortest have their colours, until there were `_SEQUENCES` escape sequences.
    """
    markups = [""] * len(texts)
    sequences = 0
    shortest_first = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for left, number in zip(range(len(texts), 0, -1), shortest_first, strict=True):
        sequences += texts[number].count("\x1b")
        coloured = sequences <= _SEQUENCES
        markups[number] = _within(texts[number], max(size // left, _LEAST_BYTES), coloured=coloured)
        size -= len(markups[number].encode())
    return markups


def _within(text: str, size: int, *, coloured: bool) -> str:
    """One text as markup of so many bytes; markup may be many times as long as what it shows."""
    shown = last_states(text).rstrip("\n")
    limit = min(size, len(shown))
    while True:
        cut = head_and_tail(shown, lines=limit, characters=limit)
        markup = html_with_colours(cut) if coloured else html(without_sequences(cut))
        length = len(markup.encode())
        if length <= size:
            return markup
        # A fiftieth less than fits if all of it were alike, so that the next pass is mostly the last one.
        limit = limit * size * 49 // (50 * length)
