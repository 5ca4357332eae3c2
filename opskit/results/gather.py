"""Rows of one outcome folded into one group: what every display of results, and `Results.gather()`, starts from."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opskit.rendering.folding import fold
from opskit.results.result import WORST_FIRST, HostResult, Status, worst_first

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

_DIGIT: Final = re.compile(r"\d")


@dataclass(frozen=True, slots=True)
class Group:
    """Rows, at least one, that have the same outcome."""

    rows: tuple[HostResult, ...]

    @property
    def first(self) -> HostResult:
        """The row that speaks for all."""
        return self.rows[0]

    @property
    def hosts(self) -> str:
        """The names, folded: `web[1-20],db1`; empty for tasks."""
        return fold(names(self.rows))

    @property
    def seconds(self) -> str:
        """How long the commands took: `0.2`, or from the shortest to the longest, `0.2-1.5`; empty if none started."""
        known = [row.seconds for row in self.rows if row.seconds is not None]
        if not known:
            return ""
        least, most = f"{min(known):.1f}", f"{max(known):.1f}"
        return least if least == most else f"{least}-{most}"

    @property
    def error(self) -> str:
        """The first row's error line, marked where those of the others differ in a number or a name."""
        alike = all(row.error == self.first.error for row in self.rows)
        return (self.first.error or "") + ("" if alike else " (others alike)")

    @property
    def outputs(self) -> list[tuple[str, str]]:
        """The streams that say more than the error line does: `stdout`, `stderr`, each with its text."""
        said = self.first.error or ""
        streams = (("stdout", self.first.stdout), ("stderr", self.first.stderr))
        return [(name, text) for name, text in streams if text.strip() not in said]

    @property
    def ended(self) -> str:
        """How the command ended: `exit 3`, `signal KILL`; empty where it ended well, or where that is not known."""
        if self.first.signal is not None:
            return f"signal {self.first.signal}"
        return f"exit {self.first.exit_code}" if self.first.exit_code else ""


def names(rows: Iterable[HostResult]) -> tuple[str, ...]:
    """The hosts of the rows, each once, in order; tasks have none."""
    return tuple(dict.fromkeys(row.host for row in rows if row.host))


def outcome(row: HostResult) -> tuple[Any, ...]:
    """What makes two rows alike: all but host, branch, command and times."""
    return row.status, row.exit_code, row.signal, row.stdout, row.stderr, row.truncated, row.error


def look(row: HostResult) -> tuple[Any, ...]:
    """What makes two rows look alike: as `outcome`, but each branch for itself, and one error for all addresses."""
    return row.branch, *outcome(row)[:-1], alike_error(row)


def alike_error(row: HostResult) -> str:
    """The error line without what is of this host alone: its name, and words with digits (addresses, groups)."""
    words = (row.error or "").split()
    return " ".join("#" if _DIGIT.search(word) or word.strip(",;:'\"()") == row.host else word for word in words)


def grouped(rows: Iterable[HostResult], alike: Callable[[HostResult], Hashable]) -> list[Group]:
    """Put rows that are alike into one group; the most serious groups come first, then the largest, then as met."""
    groups: dict[Hashable, list[HostResult]] = {}
    for row in rows:
        groups.setdefault(alike(row), []).append(row)
    return sorted(
        (Group(tuple(members)) for members in groups.values()),
        key=lambda group: (WORST_FIRST.index(group.first.status), -len(group.rows)),
    )


def counts(rows: Iterable[HostResult]) -> list[tuple[Status, int]]:
    """How many rows have each status, worst first."""
    return worst_first(Counter(row.status for row in rows))


def spans(rows: Iterable[HostResult]) -> list[tuple[HostResult, float, float]]:
    """Rows with when their commands began and ended, in seconds since 1970.

    Those that never began are left out, and those taken from the journal: they ran at another time. What still runs
    without saying for how long reaches to the last moment that is known of any.
    """
    timed = [(row, row.started_at.timestamp()) for row in rows if row.started_at is not None and row.attempt != 0]
    last = max((start + (row.seconds or 0) for row, start in timed), default=0.0)
    return [
        (row, start, last if row.status == "running" and row.seconds is None else start + (row.seconds or 0))
        for row, start in timed
    ]


def elapsed(rows: Iterable[HostResult]) -> float | None:
    """Seconds from the first command's start to the last one's end; None if none started now."""
    timed = spans(rows)
    return max(end for _, _, end in timed) - min(start for _, start, _ in timed) if timed else None


def how_many(rows: Sequence[HostResult]) -> str:
    """The rows in words: `60 hosts`, `2 tasks`, `61 rows on 60 hosts`."""
    hosts = len(names(rows))
    if not hosts:
        return plural(len(rows), "task" if rows else "row")
    return plural(hosts, "host") if hosts == len(rows) else f"{plural(len(rows), 'row')} on {plural(hosts, 'host')}"


def plural(number: int, word: str) -> str:
    """A count in words: `1 line`, `1,001 lines`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")
