"""How far a transaction of another process is, as its journal tells: a fold of facts, without clock, store or display.

The same facts give the same figures as the events of that process gave it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from opskit.progress import ChunkProgress, Known, Progress, WorkProgress, cells_of, first_command
from opskit.record.standing import is_under_way, status
from opskit.showing import MOST_WORKS
from opskit.work.branches import CHECK

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from opskit.record.facts import Account, Now, Part, TaskEnded
    from opskit.results import Status

RUNS: Final = frozenset({"run", "parallel"})
"""What has steps of its own; all else is made of parts."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the journal said at one time.

    Attributes:
        moves: At least one; the last says where the transaction stands.
        accounts: Of all its entries; they need no outputs. So with the tasks that have ended.
    """

    moves: Sequence[Now]
    accounts: Sequence[Account]
    parts: Sequence[Part] = ()
    tasks: Sequence[TaskEnded] = ()

    @property
    def now(self) -> Now:
        """Where it stands."""
        return self.moves[-1]


class Picture:
    """How far a transaction is, brought up to date by one look after the other.

    Attributes:
        progress: Of the whole; always the same object.
        look: The last one.
        is_run: Whether it has steps of its own, and hosts; else it is made of parts.
        is_transaction: Whether it lasts until somebody ends it.
    """

    def __init__(self, look: Look) -> None:
        begun = look.now.transaction
        self.is_run, self.is_transaction = begun.kind in RUNS, begun.kind == "transaction"
        if self.is_run:
            self.progress = _progress_of(begun.name, _steps(look.accounts), with_cells=True)
        else:
            self.progress = Progress(begun.name, begun.called if self.is_transaction else begun.name or begun.kind)
        self._runs: dict[int, Progress] = {}
        self._inner: dict[int, list[Part]] = {}
        self.take(look)

    def take(self, look: Look) -> None:
        """Bring it up to date. What has ended stays so, whatever is undone of it later."""
        # Before the look: who paints meanwhile, in another thread, would take a task that has ended for lost.
        self._tasks = {task.number: task for task in look.tasks}
        self.look = look
        of_part: defaultdict[int, list[Account]] = defaultdict(list)
        inner: defaultdict[int, list[Part]] = defaultdict(list)
        for account in look.accounts:
            of_part[account.entry.part].append(account)
        for part in look.parts:
            inner[part.parent].append(part)
            # A command that undoes what no step did is a part, too, with nothing in it that runs.
            if part.kind in RUNS and (steps := _steps(of_part[part.number])):
                self._take_run(part, steps)
        self._inner = dict(inner)
        self._ended = _in_order(look.accounts)
        if self.is_run:
            known = _known(_steps(of_part[0]), look)
        else:
            known = [Known(task.chunk, "", self._fate(task)) for task in inner[0] if task.chunk is not None]
        self.progress.recount(known, _undone(look), over=self.progress.over or not look.now.goes_on)

    def works(self, at: datetime) -> list[WorkProgress]:
        """Its tasks, or what was done in it, as of this time; of many the newest of those that run or went wrong."""
        parts = self._parts_of(0)
        if len(parts) > MOST_WORKS:
            parts = [part for part in parts if part.kind != "task" or self._fate(part) != "ok"]
        found = [self._work(part, at) for part in parts]
        notable = found if len(found) <= MOST_WORKS else [work for work in found if work.status != "ok"]
        return notable[-MOST_WORKS:]

    def ended(self, hosts: Collection[str] = ()) -> list[Account]:
        """The steps that have ended, or those of these hosts, in the order in which they did."""
        return [account for account in self._ended if account.entry.host in hosts] if hosts else self._ended

    def _take_run(self, part: Part, accounts: Sequence[Account]) -> None:
        if part.number not in self._runs:
            self._runs[part.number] = _progress_of(part.name, accounts)
        steps = _known(accounts, self.look)
        # The journal has no end of a part: where nothing runs and something went wrong, what is left was given up.
        fates = {step.status for step in steps}
        is_over = "running" not in fates and (None not in fates or bool(fates - {None, "ok"}))
        over = is_over or not self.look.now.goes_on
        self._runs[part.number].recount(steps, ChunkProgress(0), over=over)

    def _parts_of(self, number: int) -> list[Part]:
        """The parts of a part that something was done in."""
        return [one for one in self._inner.get(number, ()) if one.kind not in RUNS or one.number in self._runs]

    def _work(self, part: Part, at: datetime) -> WorkProgress:
        if (run := self._runs.get(part.number)) is not None:
            return WorkProgress(run.title, run.status, None, (run,))
        inner = [self._work(one, at) for one in self._parts_of(part.number)]
        if part.kind != "task":
            return WorkProgress.of(part.name or part.kind, inner)
        ended = self._tasks.get(part.number)
        fate = self._fate(part)
        seconds = ended.seconds if ended is not None else (at - part.at).total_seconds() if fate == "running" else None
        return WorkProgress(part.name or part.kind, fate, seconds, [run for work in inner for run in work.runs])

    def _fate(self, task: Part) -> Status:
        """What became of a task: what a dead process was at is unknown, and so is what a rollback has overtaken."""
        if (ended := self._tasks.get(task.number)) is not None:
            return ended.status
        return "running" if self.look.now.state == "running" and self.look.now.goes_on else "unknown"


def _progress_of(name: str | None, accounts: Sequence[Account], *, with_cells: bool = False) -> Progress:
    """The progress of a run that has not begun."""
    entries = [account.entry for account in accounts]
    title = name or first_command([(entry.branch, entry.command or "", entry.host or "") for entry in entries])
    hosts = list(dict.fromkeys(entry.host or "" for entry in entries))
    undoable = sum(entry.undo is not None for entry in entries)
    return Progress(name, title, cells=cells_of(hosts) if with_cells else (), undoable=undoable)


def _steps(accounts: Sequence[Account]) -> list[Account]:
    """The steps of a run without its checks."""
    sent = [account for account in accounts if account.entry.command is not None]
    return [account for account in sent if account.entry.branch != CHECK] or sent


def _in_order(accounts: Sequence[Account]) -> list[Account]:
    """Those that have ended, in the order in which they did."""
    found = [
        (last.started_at.timestamp() + (last.seconds or 0.0), account)
        for account in accounts
        for last in account.outcomes[-1:]
        if last.started_at is not None
    ]
    return [account for _, account in sorted(found, key=itemgetter(0))]


def _known(accounts: Sequence[Account], look: Look) -> list[Known]:
    return [Known(account.entry.chunk, account.entry.host or "", _fate_of(account, look.now)) for account in accounts]


def _fate_of(account: Account, now: Now) -> Status | None:
    """What became of a step; None if nothing is known to have been done for it."""
    if is_under_way(account, now):
        return "running"
    if not account.intents and not account.settled and all(fact.undo for fact in account.unsent):
        return None
    return status(account)


def _undone(look: Look) -> ChunkProgress:
    """The undos of the last rollback, as far as they were begun."""
    now = look.now
    claimed = next((move.at for move in look.moves if move.epoch == now.epoch), now.at)
    ended: Counter[Status] = Counter()
    running = 0
    for account in look.accounts:
        if any(intent.epoch == now.epoch for intent in account.undo_intents):
            if is_under_way(account, now, undo=True):
                running += 1
            else:
                ended[status(account, undo=True)] += 1
        elif any(fact.undo and fact.at >= claimed for fact in account.unsent):
            ended[status(account, undo=True)] += 1
    return ChunkProgress(running + ended.total(), running, ended)
