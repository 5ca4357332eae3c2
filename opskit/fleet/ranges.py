"""Short texts for many names: `web[1-20]` expanded, and lists split at their commas. `fold` is the way back."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

from opskit.errors import InventoryError
from opskit.rendering.escape import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT: Final = 100_000
"""How many names one pattern may stand for."""

_BRACKETS: Final = re.compile(r"\[([^\[\]]*)\]")
_OUTER_COMMA: Final = re.compile(r",(?![^\[\]]*\])")
_NUMBERS: Final = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
_ANSIBLE: Final = re.compile(r"(?:([0-9]{1,18}):([0-9]{1,18})|([a-z]):([a-z])|([A-Z]):([A-Z]))(?::([1-9][0-9]{0,17}))?")


@dataclass(frozen=True, slots=True)
class _Run:
    """Numbers padded to `width`, or, if it is 0, the letters of these code points."""

    values: range
    width: int

    def __iter__(self) -> Iterator[str]:
        return (f"{value:0{self.width}d}" if self.width else chr(value) for value in self.values)


def expand(pattern: str) -> list[str]:
    """Names that `web[1-20]`, `web[01-20]` (padded), `web[1-3,7]` or several brackets stand for; the last varies first.

    Raises:
        InventoryError: The brackets make no sense, or stand for more than `LIMIT` names; shows where.
    """
    return _expand(pattern, _numbers)


def expand_ansible(pattern: str) -> list[str]:
    """Names that Ansible's `web[1:20]`, `web[01:20]`, `web[a:c]` or, with a step, `web[1:20:2]` stand for.

    Raises:
        InventoryError: As `expand`.
    """
    return _expand(pattern, _ansible)


def split_names(text: str) -> list[str]:
    """The parts of a list such as `db1,web[1-3,7]`, split at commas outside of brackets; blank ones are left out."""
    return [part.strip() for part in _OUTER_COMMA.split(text) if part.strip()]


def _expand(pattern: str, read: Callable[[str, int, str], list[_Run]]) -> list[str]:
    if "[" not in pattern and "]" not in pattern:
        return [pattern]
    outside = _BRACKETS.sub(lambda found: " " * len(found[0]), pattern)
    if lonely := re.search(r"[\[\]]", outside):
        raise _error(pattern, lonely.start(), "this bracket has no partner")
    pieces: list[list[_Run] | str] = []
    end = 0
    for found in _BRACKETS.finditer(pattern):
        pieces += [pattern[end : found.start()], read(found[1], found.start() + 1, pattern)]
        end = found.end()
    pieces.append(pattern[end:])
    count = prod(sum(len(run.values) for run in piece) for piece in pieces if not isinstance(piece, str))
    if count > LIMIT:
        raise _error(pattern, pattern.index("["), f"it stands for {count:,} names, and {LIMIT:,} is the limit")
    choices = ([piece] if isinstance(piece, str) else list(itertools.chain(*piece)) for piece in pieces)
    return list(map("".join, itertools.product(*choices)))


def _numbers(inside: str, start: int, pattern: str) -> list[_Run]:
    runs = []
    for part in inside.split(","):
        found = _NUMBERS.fullmatch(part)
        if found is None:
            raise _error(pattern, start, "a range is written as [1-20], [01-20] or [1-3,7]")
        runs.append(_run(found[1], found[2] or found[1], 1, start, pattern))
        start += len(part) + 1
    return runs


def _ansible(inside: str, start: int, pattern: str) -> list[_Run]:
    found = _ANSIBLE.fullmatch(inside)
    if found is None:
        raise _error(pattern, start, "in Ansible's format a range is written as [1:20], [01:20] or [a:c]")
    first, last = [end for end in found.groups()[:6] if end is not None]
    return [_run(first, last, int(found[7] or 1), start, pattern)]


def _run(first: str, last: str, step: int, start: int, pattern: str) -> _Run:
    digits = first.isdigit()
    low, high = (int(first), int(last)) if digits else (ord(first), ord(last))
    if high < low:
        raise _error(pattern, start, f"it ends before it starts: write {last} first, then {first}")
    if last.startswith("0") and len(last) != len(first):
        raise _error(pattern, start, f"{first} and {last} are padded to different lengths")
    return _Run(range(low, high + 1, step), len(first) if digits else 0)


def _error(pattern: str, at: int, why: str) -> InventoryError:
    before, after = (terminal(part).replace("\n", "␊").replace("\t", "␉") for part in (pattern[:at], pattern[at:]))
    return InventoryError(f"bad range {pattern!r}: {why}\n  {before}{after}\n  {' ' * len(before)}^")
