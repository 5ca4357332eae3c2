"""How far a run is: a fold of its events, without clock or display. The same events give the same progress.

Of tasks, which have no events, whoever runs them tells the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from opskit import events
from opskit.masking import mask
from opskit.rendering.alike import as_template
from opskit.results.result import worst

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from opskit.results import Status
    from opskit.work.plan import Plan, Step

MOST_CELLS: Final = 400
"""Up to so many hosts each has a cell of its own; of more, several share one."""

_GOOD: Final = frozenset({"not_started", "running", "ok", "skipped"})


def foremost(statuses: Collection[Status]) -> Status:
    """The one that matters most: something went wrong, something runs, something waits; else `ok`."""
    if not _GOOD.issuperset(statuses):
        return worst(set(statuses) - _GOOD)
    return next((status for status in ("running", "not_started") if status in statuses), "ok")


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
class Cell:
    """A host, or, of many hosts, some that stand together in the inventory.

    Attributes:
        hosts: Their names.
        counts: How many of them are in each state; a host that waits is `not_started`.
    """

    hosts: tuple[str, ...]
    counts: Counter[Status] = field(default_factory=Counter)

    @property
    def status(self) -> Status:
        """The state that matters most."""
        # A copy, made at once: who paints asks in another thread, while events are counted.
        return foremost({status for status, count in list(self.counts.items()) if count})


@dataclass(slots=True)
class _Host:
    """One host's steps."""

    cell: Cell
    left: int
    running: int = 0
    worst: Status | None = None

    @property
    def status(self) -> Status:
        if self.running or (self.worst is not None and self.left):
            return "running"
        return self.worst or "not_started"


@dataclass(slots=True)
class Progress:
    """The whole run. Each event costs the same, whatever the number of hosts.

    Attributes:
        name: What it is called.
        title: The same; of a run without a name its first command, as a template where hosts' names are all that is
            different, and how many branches more there are.
        chunks: In order; also those that have not begun.
        cells: The hosts, in order, at most `MOST_CELLS`.
        undone: The undos of a rollback, as they are begun.
        undoable: How many of its steps have an undo; None where that is not known beforehand.
        over: Whether the run has ended.
        changes: How many events were taken: a view that knows this number has nothing to paint.
    """

    name: str | None = None
    title: str = ""
    chunks: list[ChunkProgress] = field(default_factory=list)
    cells: Sequence[Cell] = ()
    undone: ChunkProgress = field(default_factory=lambda: ChunkProgress(0))
    undoable: int | None = None
    over: bool = False
    changes: int = 0
    _sent: set[int] = field(default_factory=set)
    _hosts: dict[str, _Host] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name, self.title = None if self.name is None else mask(self.name), mask(self.title)

    def apply(self, event: events.Event) -> None:
        """Take the next event."""
        self.changes += 1
        match event:
            case events.RunStarted(plan):
                self._begin(plan)
            case events.StepStarted(step):
                self.chunks[step.chunk - 1].running += 1
                self._sent.add(id(step))
                self._move(step, running=1)
            case events.StepEnded(step, result):
                chunk = self.chunks[step.chunk - 1]
                ran = id(step) in self._sent
                if ran:
                    self._sent.discard(id(step))
                    chunk.running -= 1
                chunk.ended[result.status] += 1
                self._move(step, running=-ran, ended=result.status)
            case events.UndoStarted():
                self.undone.total += 1
                self.undone.running += 1
            case events.UndoEnded(_, result):
                self.undone.running -= 1
                self.undone.ended[result.status] += 1
            case events.ChunkEnded(number):
                self.chunks[number - 1].over = True
            case events.RunEnded():
                self.over = True
            case _:
                pass

    def _begin(self, plan: Plan) -> None:
        self.name, self.title = plan.name, plan.name or _first_command(plan)
        self.__post_init__()
        self.undoable = plan.undoable
        self.chunks = [ChunkProgress(len(steps)) for steps in plan.chunks]
        steps = Counter(step.host.name for step in plan.steps)
        names = list(steps)
        size = max(1, -(-len(names) // MOST_CELLS))
        self.cells = [Cell(tuple(names[at : at + size])) for at in range(0, len(names), size)]
        for cell in self.cells:
            cell.counts["not_started"] = len(cell.hosts)
            self._hosts |= {name: _Host(cell, steps[name]) for name in cell.hosts}

    def _move(self, step: Step, *, running: int, ended: Status | None = None) -> None:
        """Let a host's cell know what became of a step."""
        host = self._hosts[step.host.name]
        before = host.status
        host.running += running
        if ended is not None:
            host.left -= 1
            host.worst = ended if host.worst is None else worst((host.worst, ended))
        host.cell.counts[before] -= 1
        host.cell.counts[host.status] += 1

    def task_started(self, chunk: int) -> None:
        """A task of this chunk has begun; sessions of tasks have no events."""
        self.changes += 1
        self.chunks[chunk - 1].running += 1

    def tasks_ended(self, chunk: int, fates: Collection[Status]) -> None:
        """Tasks of this chunk have ended like this."""
        self.changes += 1
        self.chunks[chunk - 1].running -= len(fates)
        self.chunks[chunk - 1].ended.update(fates)

    def chunk_ended(self, chunk: int) -> None:
        """All tasks of this chunk that began have ended."""
        self.changes += 1
        self.chunks[chunk - 1].over = True

    def begin_undoing(self) -> None:
        """A rollback begins: its undos are counted by themselves."""
        self.changes += 1
        self.undone = ChunkProgress(0)

    def finish(self) -> None:
        """All is over."""
        self.changes += 1
        self.over = True

    @property
    def status(self) -> Status:
        """`running` until it is over; then the fate of its steps that matters most."""
        if not self.over:
            return "running"
        return foremost({status for chunk in self.chunks for status in chunk.ended})

    @property
    def running(self) -> int:
        """Steps that run now."""
        return sum(chunk.running for chunk in self.chunks)


def _first_command(plan: Plan) -> str:
    branches = list(dict.fromkeys(step.branch for step in plan.steps))
    if not branches:
        return ""
    steps = [step for step in plan.steps if step.branch == branches[0]]
    command, more = steps[0].command, len(branches) - 1
    if steps[-1].command != command:
        template, other = (as_template(step.command, step.host.name) for step in (steps[0], steps[-1]))
        command = template if template == other else command
    return f"{command} (and {more} more)" if more else command


@dataclass(frozen=True, slots=True)
class WorkProgress:
    """How far a task is, or what a cell has begun in a transaction.

    Attributes:
        title: What it is called.
        status: Of it as of now.
        seconds: How long a task has taken; None if it has not begun, and for all else.
        runs: The commands that it ran.
    """

    title: str
    status: Status
    seconds: float | None
    runs: Sequence[Progress]

    @classmethod
    def of(cls, title: str, works: Sequence[WorkProgress]) -> Self:
        """What several come to."""
        return cls(title, foremost({work.status for work in works}), None, [run for work in works for run in work.runs])

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", mask(self.title))
