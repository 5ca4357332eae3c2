"""Many names as one short text, `web[1-20],db1`; `opskit.fleet.ranges.expand` reads it back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBER: Final = re.compile(r"([0-9]{1,18})")


def fold(names: Iterable[str]) -> str:
    """Fold names that differ in a number alone: `web[1-3,7],db1`, padded `web[01-09]`, a grid `r[1-4]n[1-32]`.

    Groups stand in the order in which their first names came, the numbers of a group in ascending order. Each name
    counts once.
    """
    # Texts stand at even places, numbers at odd ones; each pass folds one place of all names alike elsewhere.
    split = [_NUMBER.split(name) for name in dict.fromkeys(names)]
    longest = max(map(len, split), default=0)
    for place in range(longest - 2, 0, -2):
        split = _folded_at(place, split)
    return ",".join(map("".join, split))


def _folded_at(place: int, split: list[list[str]]) -> list[list[str]]:
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    for parts in split:  # a name too short to have this place keeps all its parts, and so is alone in its group
        groups.setdefault((*parts[:place], *parts[place + 1 :]), []).append(parts)
    return [
        [*group[0][:place], _runs([parts[place] for parts in group]), *group[0][place + 1 :]]
        if len(group) > 1
        else group[0]
        for group in groups.values()
    ]


def _runs(numbers: list[str]) -> str:
    """Numbers as `[1-3,7]`. A run pads its numbers to the length of its first one."""
    left = dict.fromkeys(sorted(numbers, key=lambda number: (int(number), len(number))))
    runs = []
    while left:
        first = last = next(iter(left))
        while True:
            del left[last]
            following = str(int(last) + 1).zfill(len(first))
            if following not in left:
                break
            last = following
        runs.append(first if first == last else f"{first}-{last}")
    return f"[{','.join(runs)}]"
