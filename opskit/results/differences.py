"""What differs: between the hosts of one run, and between two runs. stdout is compared, and how the commands ended."""

from __future__ import annotations

import difflib
from collections import Counter
from functools import cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, Literal

from opskit.errors import InventoryError, PlanError, did_you_mean
from opskit.results.gather import Group, grouped, names
from opskit.results.result import HostResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Change = Literal["appeared", "gone", "status", "exit_code", "output"]

CHANGES: Final[tuple[Change, ...]] = ("appeared", "gone", "status", "exit_code", "output")
"""What may have become of a row since an earlier run; the first that applies is the one that is told."""

_LONGEST: Final = 5_000
"""Lines that are compared one by one: difflib's time grows with their square, to seconds for so many."""
_SHOWN: Final = 50


def between_hosts(rows: Sequence[HostResult], reference: str | None) -> list[tuple[Any, ...]]:
    """Records for `DIFFERENCE_COLUMNS`: the rows of each branch that differ from the reference's in the same way.

    Raises:
        InventoryError: No row has this host.
    """
    if reference is not None and reference not in (hosts := names(rows)):
        raise InventoryError(f"diff: no host {reference!r} in these results{did_you_mean(reference, hosts)}")
    places: dict[tuple[str | None, int], list[HostResult]] = {}
    for (host, branch, number), row in _by_place(rows).items():
        if host:
            places.setdefault((branch, number), []).append(row)
    return [record for members in places.values() for record in _records(members, reference)]


def between_runs(rows: Sequence[HostResult], earlier: object) -> list[tuple[Any, ...]]:
    """Records for `CHANGE_COLUMNS`: the rows that have changed, in order, then those that are gone.

    Raises:
        PlanError: `earlier` has no rows.
    """
    given = getattr(earlier, "rows", earlier)
    if not isinstance(given, (tuple, list)) or not all(isinstance(row, HostResult) for row in given):
        raise PlanError(f"compare: needs the Results of an earlier run, not {type(earlier).__name__}")
    before, after = _by_place(given), _by_place(rows)
    # Many hosts change alike, and each of them would be compared anew.
    compared = cache(lambda old, new: _difference(old, new, "before", "after"))
    records = []
    for place in {**after, **before}:
        was, now = before.get(place), after.get(place)
        if (change := _change(was, now)) is not None:
            text = compared(was.stdout, now.stdout) if was and now else ""
            records.append((place[0] or None, place[1], change, _word(change, was), _word(change, now), text))
    return records


def _by_place(rows: Iterable[HostResult]) -> dict[tuple[str, str | None, int], HostResult]:
    """Each row by its host, its branch, and how many such rows came before it: a session may run many commands."""
    met: Counter[tuple[str, str | None]] = Counter()
    found = {}
    for row in rows:
        found[row.host, row.branch, met[row.host, row.branch]] = row
        met[row.host, row.branch] += 1
    return found


def _outcome(row: HostResult) -> tuple[Any, ...]:
    return row.status, row.exit_code, row.signal, row.stdout


def _records(members: Sequence[HostResult], reference: str | None) -> list[tuple[Any, ...]]:
    """The rows of one branch, a record for each outcome; those of most hosts first, and like the reference's last."""
    if reference is None:
        usual = Counter(_outcome(row) for row in members if row.ok) or Counter(map(_outcome, members))
        expected = usual.most_common(1)[0][0]
        title = f"{Group(tuple(row for row in members if _outcome(row) == expected)).hosts} (most hosts)"
    else:
        own = [row for row in members if row.host == reference]
        members = [row for row in members if row.host != reference]
        if not own:
            return [
                (group.first.branch, group.hosts, len(group.rows), *_outcome(group.first)[:-1], None)
                for group in grouped(members, lambda row: _outcome(row)[:-1])
            ]
        expected, title = _outcome(own[0]), reference
    groups = grouped(members, _outcome)
    groups.sort(key=lambda group: (_outcome(group.first) == expected, -len(group.rows)))
    return [
        (row.branch, group.hosts, len(group.rows), *ended, _difference(expected[-1], stdout, title, group.hosts))
        for group in groups
        for row in (group.first,)
        for *ended, stdout in (_outcome(row),)
    ]


def _change(was: HostResult | None, now: HostResult | None) -> Change | None:
    if was is None or now is None:
        return "appeared" if was is None else "gone"
    if was.status != now.status:
        return "status"
    if _ended(was) != _ended(now):
        return "exit_code"
    return "output" if was.stdout != now.stdout else None


def _word(change: Change, row: HostResult | None) -> str | None:
    if row is None:
        return None
    return _ended(row) if change == "exit_code" else row.status


def _ended(row: HostResult) -> str:
    if row.signal is not None:
        return f"signal {row.signal}"
    return "no exit code" if row.exit_code is None else f"exit {row.exit_code}"


def _difference(before: str, after: str, old_title: str, new_title: str) -> str:
    """A unified diff; empty if nothing differs."""
    if before == after:
        return ""
    old, new = _lines(before), _lines(after)
    if max(len(old), len(new)) > _LONGEST:
        return "\n".join([f"--- {old_title}", f"+++ {new_title}", *_first_lines(old, new)])
    return "\n".join(difflib.unified_diff(old, new, old_title, new_title, lineterm=""))


def _lines(text: str) -> list[str]:
    *lines, last = text.split("\n")
    return [*lines, f"{last}\n\\ No newline at end of file"] if last else lines


def _first_lines(old: list[str], new: list[str]) -> list[str]:
    """One hunk: what lies between the lines that both have at their start and at their end, the first of it."""
    start = _shared(old, new)
    old, new = old[start:], new[start:]
    end = _shared(old[::-1], new[::-1])
    old, new = old[: len(old) - end], new[: len(new) - end]
    gone, come = old[:_SHOWN], new[:_SHOWN]
    # A diff numbers no lines at all after the line before them.
    hunk = f"@@ -{start + bool(gone)},{len(gone)} +{start + bool(come)},{len(come)} @@"
    lines = [hunk, *(f"-{line}" for line in gone), *(f"+{line}" for line in come)]
    if len(gone) < len(old) or len(come) < len(new):
        lines.append(
            f"… more than {_LONGEST:,} lines, so only the first differing ones are shown: between the first and the"
            f" last difference lie {len(old):,} and {len(new):,} lines"
        )
    return lines


def _shared(one: list[str], other: list[str]) -> int:
    """How many lines both start with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
