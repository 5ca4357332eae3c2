"""How far a run is: a fold of its events, without clock or display. The same events give the same progress."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opskit import events

if TYPE_CHECKING:
    from opskit.results import Status

LINES_KEPT = 6


@dataclass(slots=True)
class ChunkProgress:
    """The counts of one chunk, in steps.

    Attributes:
        total: Steps of the chunk.
        running: Sent and not ended.
        ended: How many ended with each status.
        over: Whether the chunk has ended.
    """

    total: int
    running: int = 0
    ended: Counter[Status] = field(default_factory=Counter)
    over: bool = False

    @property
    def left(self) -> int:
        """Steps that have not ended and don't run."""
        return self.total - self.running - self.ended.total()


@dataclass(slots=True)
class Progress:
    """The whole run. Each event costs the same, whatever the number of hosts.

    Attributes:
        name: What the run is called.
        chunks: In order; also those that have not begun.
        over: Whether the run has ended.
    """

    name: str | None = None
    chunks: list[ChunkProgress] = field(default_factory=list)
    _lines: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    over: bool = False
    _sent: set[int] = field(default_factory=set)

    def apply(self, event: events.Event) -> None:
        """Take the next event."""
        match event:
            case events.RunStarted(plan):
                self.name = plan.name
                self.chunks = [ChunkProgress(len(steps)) for steps in plan.chunks]
            case events.StepStarted(step):
                self.chunks[step.chunk - 1].running += 1
                self._sent.add(id(step))
            case events.Output(step, _, text):
                self._lines.append((step.host.name, text))
            case events.StepEnded(step, result):
                chunk = self.chunks[step.chunk - 1]
                if id(step) in self._sent:
                    self._sent.discard(id(step))
                    chunk.running -= 1
                chunk.ended[result.status] += 1
            case events.ChunkEnded(number):
                self.chunks[number - 1].over = True
            case events.RunEnded():
                self.over = True
            case _:
                pass

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """The last lines that hosts printed, as (host, line), where output is told; a copy, for painting meanwhile."""
        return tuple(self._lines)

    @property
    def running(self) -> int:
        """Steps that run now."""
        return sum(chunk.running for chunk in self.chunks)
