"""How far a run is: a fold of its events, without clock or display. The same events give the same progress.

Of tasks, which have no events, whoever runs them tells the same; of what another process runs, who reads its journal.
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


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one step, or of a task, where no events are.

    Attributes:
        host: Its name; empty of a task.
        status: `running`, or as it ended; None if it has not begun.
    """

    chunk: int
    host: str
    status: Status | None


def cells_of(hosts: Sequence[str]) -> Sequence[Cell]:
    """The cells of hosts that wait, in order, at most `MOST_CELLS`."""
    size = max(1, -(-len(hosts) // MOST_CELLS))
    groups = [tuple(hosts[at : at + size]) for at in range(0, len(hosts), size)]
    return [Cell(group, Counter({"not_started": len(group)})) for group in groups]


@dataclass(slots=True)
class _Host:
    """One host's steps."""

    cell: Cell
    left: int = 0
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
        commands = [(step.branch, step.command, step.host.name) for step in plan.steps]
        self.name, self.title = plan.name, plan.name or first_command(commands)
        self.__post_init__()
        self.undoable = plan.undoable
        self.chunks = [ChunkProgress(len(steps)) for steps in plan.chunks]
        steps = Counter(step.host.name for step in plan.steps)
        self.cells = cells_of(list(steps))
        self._hosts = {name: _Host(cell, steps[name]) for cell in self.cells for name in cell.hosts}

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

    def recount(self, steps: Sequence[Known], undone: ChunkProgress, *, over: bool) -> None:
        """Take what is known of all steps by now, where no events are.

        Args:
            steps: All of them, on the hosts of `cells` if there are any.
            undone: The undos of a rollback.
            over: Whether all has ended.
        """
        chunks, hosts = _chunks(steps, over=over), _hosts_of(steps, self.cells)
        counts = [Counter(hosts[name].status for name in cell.hosts) for cell in self.cells]
        told = chunks, undone, over, counts
        if told == (self.chunks, self.undone, self.over, [cell.counts for cell in self.cells]):
            return
        # Each in one assignment: who paints reads them in another thread.
        for cell, count in zip(self.cells, counts, strict=True):
            cell.counts = count
        self.chunks, self.undone, self.over = chunks, undone, over
        self.changes += 1

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


def first_command(steps: Sequence[tuple[str | None, str, str]]) -> str:
    """What a run without a name is called: by the branches, commands and hosts of its steps."""
    branches = list(dict.fromkeys(branch for branch, _, _ in steps))
    if not branches:
        return ""
    of_first = [(command, host) for branch, command, host in steps if branch == branches[0]]
    (command, _), more = of_first[0], len(branches) - 1
    if of_first[-1][0] != command:
        template, other = (as_template(*step) for step in (of_first[0], of_first[-1]))
        command = template if template == other else command
    return f"{command} (and {more} more)" if more else command


def _chunks(steps: Sequence[Known], *, over: bool) -> list[ChunkProgress]:
    """The counts of each chunk. One is over when a later one has begun, too: steps may be left of a cancelled host."""
    chunks = [ChunkProgress(0) for _ in range(max((step.chunk for step in steps), default=0))]
    for step in steps:
        chunk = chunks[step.chunk - 1]
        chunk.total += 1
        if step.status == "running":
            chunk.running += 1
        elif step.status is not None:
            chunk.ended[step.status] += 1
    is_past = over
    for chunk in reversed(chunks):
        has_begun = chunk.left < chunk.total
        chunk.over = (is_past and has_begun) or not (chunk.running or chunk.left)
        is_past = is_past or has_begun
    return chunks


def _hosts_of(steps: Sequence[Known], cells: Sequence[Cell]) -> dict[str, _Host]:
    """Each host's steps, of those that have a cell."""
    hosts = {name: _Host(cell) for cell in cells for name in cell.hosts}
    for step in steps if hosts else ():
        host = hosts[step.host]
        host.running += step.status == "running"
        if step.status is None or step.status == "running":
            host.left += 1
        else:
            host.worst = step.status if host.worst is None else worst((host.worst, step.status))
    return hosts


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
