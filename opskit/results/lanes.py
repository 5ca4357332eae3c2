"""What a timeline shows, before it is drawn: a lane for each host, and on it a bar for each command."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from opskit.rendering.palette import LOOKS
from opskit.results.gather import Group, counts, how_many, spans
from opskit.results.result import WORST_FIRST, HostResult, Status, worst

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LANES: Final = 60
_ALONE: Final = 40
"""How many hosts have a lane of their own where there are more than `_LANES`."""
_BARS: Final = 40
_TRACKS: Final = 4
_NEAR: Final = 0.004
"""The share of the width below which two bars can't be told apart."""
_MARK: Final = 0.05
"""The share of the width that the mark after a bar takes on a narrow screen."""
_TICKS: Final = 5
_SHORTEST: Final = 0.001
"""The seconds that an axis has at least."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A command, or several of one status that ran about the same time.

    Attributes:
        status: Of all that it stands for.
        start: Seconds since the first command's start.
        end: As `start`.
        track: Which line within its lane, from 0: bars that overlap stand under each other.
        title: What it says under the pointer, not yet escaped.
        marked: Whether the status's symbol has room behind it.
    """

    status: Status
    start: float
    end: float
    track: int
    title: str
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of the timeline: a host, a task, or what was folded.

    Attributes:
        status: The worst of its bars'.
        label: Who it is, not yet escaped or cut.
        bars: What ran there, at least one.
    """

    status: Status
    label: str
    bars: tuple[Bar, ...]

    @property
    def tracks(self) -> int:
        """How many bars stand under each other, at least 1."""
        return 1 + max(bar.track for bar in self.bars)

    @property
    def height(self) -> int:
        """Its height in pixels."""
        return 18 if self.tracks == 1 else 4 + 10 * self.tracks


@dataclass(frozen=True, slots=True)
class Chart:
    """What a timeline shows, before it is drawn.

    Attributes:
        seconds: The length of its axis, more than 0.
        notes: What is not on it, or folded, in sentences.
    """

    lanes: tuple[Lane, ...]
    seconds: float
    notes: tuple[str, ...]

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Where the axis has lines, in seconds, and what stands at them."""
        power = 10.0 ** math.floor(math.log10(self.seconds / _TICKS))
        step = power * next(factor for factor in (1, 2, 5, 10) if self.seconds / (power * factor) <= _TICKS)
        places = max(0, -math.floor(math.log10(step) + 1e-9))
        return [(tick * step, f"{tick * step:,.{places}f} s") for tick in range(int(self.seconds / step) + 1)]


@dataclass(frozen=True, slots=True)
class _Ran:
    """A row with its times, in seconds since the first command's start."""

    row: HostResult
    start: float
    end: float


def laid_out(rows: Sequence[HostResult]) -> Chart:
    """Lay out the rows that have times: a lane for each host, in their order, or folded if they are too many."""
    ran = _ran(rows)
    seconds = max([_SHORTEST, *(it.end for it in ran)])
    lines: dict[str, list[_Ran]] = {}
    for it in ran:
        lines.setdefault(it.row.host or it.row.branch or "", []).append(it)
    if len(lines) <= _LANES:
        lanes = [_lane(name, found, seconds) for name, found in lines.items()]
        return Chart(tuple(lanes), seconds, tuple(_left_out(rows)))
    lanes = _folded(lines, seconds)
    note = (
        f"Of {len(lines):,} lines the slowest of each status are shown. The others are folded: a bar there reaches over"
        " all that ran about then."
    )
    return Chart(tuple(lanes), seconds, (note, *_left_out(rows)))


def _ran(rows: Iterable[HostResult]) -> list[_Ran]:
    timed = spans(rows)
    origin = min((start for _, start, _ in timed), default=0.0)
    return [_Ran(row, start - origin, end - origin) for row, start, end in timed]


def _worst(ran: Iterable[_Ran]) -> Status:
    return worst(it.row.status for it in ran)


def _folded(lines: Mapping[str, Sequence[_Ran]], seconds: float) -> list[Lane]:
    """A lane for each of the slowest of each status, worst first, and one for all others of that status."""
    by_status: dict[Status, list[tuple[str, Sequence[_Ran]]]] = {}
    for line in sorted(lines.items(), key=lambda line: -sum(it.end - it.start for it in line[1])):
        by_status.setdefault(_worst(line[1]), []).append(line)
    alone = _ALONE // len(by_status)
    lanes = []
    for status in sorted(by_status, key=WORST_FIRST.index):
        lanes += [_lane(name, ran, seconds) for name, ran in by_status[status][:alone]]
        if others := by_status[status][alone:]:
            lanes.append(_lane(f"{len(others):,} more", [it for _, ran in others for it in ran], seconds))
    return lanes


def _left_out(rows: Sequence[HostResult]) -> list[str]:
    notes = []
    if all(row.started_at is None for row in rows):
        notes.append("Nothing was started.")
    if never := [row for row in rows if row.started_at is None]:
        fates = ", ".join(f"{LOOKS[status].symbol} {count:,} {LOOKS[status].word}" for status, count in counts(never))
        notes.append(f"Not shown, without a time: {fates}.")
    if known := [row for row in rows if row.started_at is not None and row.attempt == 0]:
        notes.append(f"Not shown, done before and taken from the journal: {how_many(known)}.")
    return notes


def _lane(label: str, ran: Sequence[_Ran], seconds: float) -> Lane:
    bars = _one_by_one(ran) if len(ran) <= _BARS else []
    if not bars or any(bar.track >= _TRACKS for bar in bars):
        bars = _merged(ran, _NEAR * seconds)
    return Lane(_worst(ran), label, tuple(_marked(bars, _MARK * seconds)))


def _one_by_one(ran: Iterable[_Ran]) -> list[Bar]:
    """A bar for each, on the first track that is free."""
    ends: list[float] = []
    bars = []
    for it in sorted(ran, key=lambda it: it.start):
        track = next((number for number, end in enumerate(ends) if end <= it.start), len(ends))
        ends[track : track + 1] = [it.end]
        row = it.row
        took = f"{row.seconds:.2f} s" if row.seconds is not None else ""
        parts = (row.host, row.branch, _fate(row.status), took, f"from {it.start:.2f} s")
        bars.append(Bar(row.status, it.start, it.end, track, " · ".join(filter(None, parts))))
    return bars


def _merged(ran: Sequence[_Ran], near: float) -> list[Bar]:
    """A track for each status, and on it a bar for each time in which something of it ran."""
    bars = []
    for track, (status, _) in enumerate(counts(it.row for it in ran)):
        groups: list[list[_Ran]] = []
        end = -math.inf
        for it in sorted((it for it in ran if it.row.status == status), key=lambda it: it.start):
            if it.start > end + near:
                groups.append([])
            groups[-1].append(it)
            end = max(end, it.end)
        for group in groups:
            rows = Group(tuple(it.row for it in group))
            parts = (how_many(rows.rows), _fate(status), rows.seconds and f"{rows.seconds} s", rows.hosts)
            last = max(it.end for it in group)
            bars.append(Bar(status, group[0].start, last, track, " · ".join(filter(None, parts))))
    return bars


def _marked(bars: Sequence[Bar], room: float) -> list[Bar]:
    """Mark what is not ok, where the next bar leaves room for it."""
    starts = [(bar.track, bar.start) for bar in bars]
    return [
        replace(bar, marked=not any(track == bar.track and 0 <= start - bar.end < room for track, start in starts))
        if bar.status != "ok"
        else bar
        for bar in bars
    ]


def _fate(status: Status) -> str:
    return f"{LOOKS[status].symbol} {LOOKS[status].word}"
