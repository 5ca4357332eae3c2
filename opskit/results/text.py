"""Results as text, for a terminal and for logs: folded, failures first, and no longer than a screen or two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opskit.rendering.escape import one_line, without_colours
from opskit.rendering.excerpt import excerpt
from opskit.rendering.palette import LOOKS
from opskit.results.gather import Group, counts, elapsed, grouped, how_many, look, names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.results.result import HostResult

TRUNCATED: Final = "truncated: there was more than settings.max_output"

_GROUPS: Final = 20
_LINES: Final = 9
_CHARACTERS: Final = 1_500
_WIDTH: Final = 100
_HOSTS: Final = 60
_ENDED: Final = 20


def as_text(rows: Sequence[HostResult]) -> str:
    """Lay out the rows: a line of counts, then each group with its output, each line behind the name of its stream."""
    groups = grouped((row for row in rows if row.status != "skipped"), look)
    shown = groups[:_GROUPS]
    lines = [summary(rows), *_table(shown)]
    if left := groups[_GROUPS:]:
        left_rows = [row for group in left for row in group.rows]
        lines.append(f"... {len(left):,} more outcomes, {how_many(left_rows)}: .gather() or .df has them all")
    if skipped := skipped_line(rows):
        lines.append(one_line(skipped, _WIDTH))
    return "\n".join(lines)


def summary(rows: Sequence[HostResult]) -> str:
    """Such as `60 hosts: ✘ 3 failed, ✔ 57 ok in 12.3 s`; `no rows` of none."""
    if not rows:
        return "no rows"
    fates = ", ".join(f"{LOOKS[status].symbol} {count:,} {LOOKS[status].word}" for status, count in counts(rows))
    seconds = elapsed(rows)
    return f"{how_many(rows)}: {fates}" + (f" in {seconds:.1f} s" if seconds is not None else "")


def skipped_line(rows: Sequence[HostResult]) -> str:
    """What became of all skipped rows, in a sentence; empty if there is none."""
    skipped = [row for row in rows if row.status == "skipped"]
    if not skipped:
        return ""
    return f"{LOOKS['skipped'].symbol} skipped: no branch matched on {how_many(skipped)}: {Group(tuple(skipped)).hosts}"


def _table(groups: Sequence[Group]) -> list[str]:
    cells = [_cells(group) for group in groups]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for group, row in zip(groups, cells, strict=True):
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width)
        lines.append("  ".join(padded).rstrip())
        for name, text in [("error", group.error), *group.outputs]:
            shown = without_colours(excerpt(text, lines=_LINES, characters=_CHARACTERS))
            lines += [f"  {name:>6} │ {line}" for line in shown.split("\n") if shown]
        if group.first.truncated:
            lines.append(f"  {TRUNCATED}")
    return lines


def _cells(group: Group) -> tuple[str, ...]:
    status = LOOKS[group.first.status]
    many = len(names(group.rows)) or len(group.rows)
    return (
        f"{status.symbol} {status.word}",
        one_line(group.ended, _ENDED),
        f"{many:,}" if many > 1 else "",
        one_line(group.hosts, _HOSTS),
        f"{group.seconds} s" if group.seconds else "",
        one_line(group.first.branch or "", _HOSTS),
    )
