"""What happens during a run, told as frozen values. A new field breaks nobody; `event.kind` is the event's word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from opskit.results import HostResult, Results
    from opskit.work.plan import Plan, Step


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A run begins; nothing was dialled yet."""

    kind: ClassVar = "run_started"
    plan: Plan


@dataclass(frozen=True, slots=True)
class ChunkStarted:
    """A chunk begins.

    Attributes:
        chunk: From 1.
        hosts: How many hosts it has.
        steps: How many steps it has.
    """

    kind: ClassVar = "chunk_started"
    chunk: int
    hosts: int
    steps: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step's command was sent, and its host took it."""

    kind: ClassVar = "step_started"
    step: Step


@dataclass(frozen=True, slots=True)
class Output:
    """A whole line that a step printed; only where somebody listens.

    Attributes:
        stream: `stdout` or `stderr`.
        text: The line, decoded, without its end.
    """

    kind: ClassVar = "output"
    step: Step
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step has its fate."""

    kind: ClassVar = "step_ended"
    step: Step
    result: HostResult


@dataclass(frozen=True, slots=True)
class UndoStarted:
    """An undo is about to be sent; the step is that of the undo."""

    kind: ClassVar = "undo_started"
    step: Step


@dataclass(frozen=True, slots=True)
class UndoEnded:
    """An undo has its fate."""

    kind: ClassVar = "undo_ended"
    step: Step
    result: HostResult


@dataclass(frozen=True, slots=True)
class ChunkEnded:
    """A chunk has ended.

    Attributes:
        chunk: From 1.
        good: Whether the next chunk may start.
    """

    kind: ClassVar = "chunk_ended"
    chunk: int
    good: bool


@dataclass(frozen=True, slots=True)
class RunEnded:
    """A run has ended, however it ended. It always comes, and comes last."""

    kind: ClassVar = "run_ended"
    results: Results


Event = RunStarted | ChunkStarted | StepStarted | Output | StepEnded | ChunkEnded | RunEnded | UndoStarted | UndoEnded
