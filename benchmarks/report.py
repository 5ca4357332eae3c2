"""What was measured, as ratios to the yardstick: for a terminal as text, for other programs as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.protocol import Measured

YARDSTICK: Final = "bare"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One quantity of one contender, a value for each round, beside the yardstick's in the same rounds.

    Attributes:
        yardstick: None if it was not measured.
    """

    values: Sequence[float]
    yardstick: Sequence[float] | None

    @property
    def ratio(self) -> float | None:
        """Of the medians."""
        return None if self.yardstick is None else median(self.values) / median(self.yardstick)

    @property
    def by_round(self) -> list[float]:
        """The ratio in each round."""
        if self.yardstick is None:
            return []
        return [value / base for value, base in zip(self.values, self.yardstick, strict=True)]

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        values = {"rounds": list(self.values), "median": median(self.values)}
        return {**values, "ratio": self.ratio, "ratio_by_round": self.by_round}

    def cells(self, digits: int) -> list[str]:
        """Median, spread, ratio and the ratio of each round, as text."""
        low, middle, high = (
            f"{value:.{digits}f}" for value in (min(self.values), median(self.values), max(self.values))
        )
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return [middle, f"{low}..{high}", ratio, " ".join(f"{one:.2f}" for one in self.by_round)]


@dataclass(frozen=True, slots=True)
class Record:
    """What a run has brought so far.

    Attributes:
        machine: What tells this machine and run from others, by name.
        versions: Of each contender that got ready.
        connects_anew: The contenders that keep no connections.
        errors: Of each contender that failed; it is in no table and no ratio.
        measured: By work and contender, round by round.
    """

    machine: dict[str, str | int]
    versions: dict[str, str] = field(default_factory=dict)
    connects_anew: set[str] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)
    measured: dict[str, dict[str, list[Measured]]] = field(default_factory=dict)

    def add(self, work: str, contender: str, measured: Measured) -> None:
        """Take one round of one contender."""
        self.measured.setdefault(work, {}).setdefault(contender, []).append(measured)

    def as_json(self) -> dict[str, Any]:
        """All of it; CPU in milliseconds a host, wall in seconds."""
        return {
            "machine": self.machine,
            "versions": self.versions,
            "connects_anew": sorted(self.connects_anew),
            "errors": self.errors,
            "works": {
                work: {
                    contender: {"cpu_ms_host": cpu.as_json(), "wall_s": wall.as_json()}
                    for contender, cpu, wall in self._quantities(work)
                }
                for work in self.measured
            },
        }

    def as_text(self) -> str:
        """A table for each work, the leanest first, and what failed."""
        lines = [", ".join(f"{name} {value}" for name, value in self.machine.items())]
        lines += [", ".join(self.versions[name] for name in sorted(self.versions))]
        for work in self.measured:
            lines += ["", *self._table(work)]
        if self.connects_anew:
            lines += ["", f"* connects for each command: {', '.join(sorted(self.connects_anew))}"]
        lines += [f"FAILED {name}: {error}" for name, error in self.errors.items()]
        return "\n".join(lines)

    def _quantities(self, work: str) -> Iterator[tuple[str, Quantity, Quantity]]:
        """Each contender that did not fail, with its CPU in milliseconds a host and its wall in seconds."""
        good = {name: rounds for name, rounds in self.measured[work].items() if name not in self.errors}
        cpu = {name: [1000 * one.cpu / one.hosts for one in rounds] for name, rounds in good.items()}
        wall = {name: [one.wall for one in rounds] for name, rounds in good.items()}
        for name in good:
            yield name, Quantity(cpu[name], cpu.get(YARDSTICK)), Quantity(wall[name], wall.get(YARDSTICK))

    def _table(self, work: str) -> list[str]:
        quantities = sorted(self._quantities(work), key=lambda one: median(one[1].values))
        hosts = next(iter(self.measured[work].values()))[0].hosts
        heads = [f"{work}, {hosts} hosts", "CPU ms/host", "spread", "ratio", "by round"]
        rows = [[*heads, "wall s", "spread", "ratio", "by round"]]
        for name, cpu, wall in quantities:
            rows.append([f"{name}{' *' if name in self.connects_anew else ''}", *cpu.cells(2), *wall.cells(2)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
