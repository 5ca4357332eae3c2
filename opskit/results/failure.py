"""The error that a run with bad rows raises: which class fits, and a message worth reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opskit.errors import AuthenticationError, CommandError, HostKeyError, TimeoutExceeded, UnreachableError
from opskit.rendering.escape import one_line
from opskit.rendering.excerpt import last_line
from opskit.rendering.palette import LOOKS
from opskit.results.gather import Group, alike_error, grouped, how_many
from opskit.results.result import WORST_FIRST, worst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.results.result import HostResult
    from opskit.results.results import Results

_GROUPS: Final = 5
_WHO: Final = 80
_WHY: Final = 500


def failure(results: Results) -> CommandError | None:
    """The error that fits the bad rows of `results` and carries all of them; None if no row is bad."""
    bad = [row for row in results if row.bad]
    return _fitting(bad)(_message(bad, results), results) if bad else None


def _fitting(bad: Sequence[HostResult]) -> type[CommandError]:
    if len({(row.status, row.cause) for row in bad}) == 1:
        by_cause = {"host_key": HostKeyError, "authentication": AuthenticationError}
        if bad[0].cause is not None:
            return by_cause[bad[0].cause]
    fates = {row.status for row in bad}
    if fates == {"unreachable"}:
        return UnreachableError
    return TimeoutExceeded if fates == {"timeout"} else CommandError


def _message(bad: Sequence[HostResult], results: Results) -> str:
    """One line for each thing that went wrong, each host in the worst of its own alone."""
    by_host: dict[str, HostResult] = {}
    for row in sorted(bad, key=lambda row: WORST_FIRST.index(row.status)):
        by_host.setdefault(row.host or row.branch or "", row)
    groups = grouped(by_host.values(), _what_failed)
    lines = [f"{len(by_host):,} of {how_many(results)} did not end well", *map(_line, groups[:_GROUPS])]
    if left := groups[_GROUPS:]:
        lines.append(f"  and {sum(len(group.rows) for group in left):,} more, in {len(left):,} other ways")
    fate = worst(row.status for row in bad)
    narrowed = f".{fate}" if fate in ("failed", "unreachable") else f".where({fate!r})"
    return "\n".join([*lines, f"Every row is in the error's .results; .results{narrowed}.df has the worst as a table."])


def _what_failed(row: HostResult) -> tuple[Any, ...]:
    return row.status, row.exit_code, row.signal, alike_error(row) or row.command


def _line(group: Group) -> str:
    row, status = group.first, LOOKS[group.first.status]
    who = group.hosts or ",".join(dict.fromkeys(row.branch or "" for row in group.rows))
    why = group.error or ": ".join(filter(None, (group.ended, row.command, last_line(row.stderr))))
    return f"{status.symbol} {len(group.rows):,} {status.word}: {one_line(who, _WHO)}: {one_line(why, _WHY)}"
