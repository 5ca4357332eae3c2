"""Open transactions and their parts: what is written down of them, what was begun in them.

A scope is what a call finds when it asks where it is made; see `transactions`.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakMethod

from opskit import locks
from opskit.answering import answer_for
from opskit.begun import RootTransaction
from opskit.defaults import Default
from opskit.errors import Cancelled, InventoryError, PlanError, RollbackError
from opskit.locks import Waiting
from opskit.masking import mask
from opskit.progress import WorkProgress
from opskit.results import Results
from opskit.undoing.rollback import Rollback
from opskit.undoing.undos import Callback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opskit.begun import Steer
    from opskit.engine.ports import How
    from opskit.locks import Lock
    from opskit.record.entering import PackedTerms
    from opskit.record.facts import Fact, Kind
    from opskit.record.recorder import Entered, Recorder, Writer
    from opskit.results import HostResult
    from opskit.showing import Outlook
    from opskit.work.options import Hosts
    from opskit.work.plan import Plan


class Work(Protocol):
    """Work that was begun in a transaction: a run, a session of tasks, a nested transaction."""

    def cancel(self, hosts: Hosts = None) -> None:
        """End it soon."""

    def join(self) -> None:
        """Wait for its end, whatever that is."""

    def check(self) -> None:
        """Wait for its end, and raise what nobody was told yet."""

    def commands(self) -> Results:
        """The rows of its commands as of now."""

    def how_far(self) -> WorkProgress:
        """How far it is."""


class Scope:
    """An open part of a transaction, or the whole of it.

    Attributes:
        root: The transaction.
        number: Of the part; 0 is the whole.
        parent: What it is a part of; None for the whole.
        asked: Why somebody asked for its rollback, by `opskit.rollback`.
        awaits: Whether code in it runs on an event loop that must not be blocked.
        is_async: Whether `async with` entered it, or what it is a part of.
        by_hand: Whether `opskit.begin` opened it; else it ends with a block.
        lock: What it keeps others off by itself, if anything.
    """

    def __init__(
        self, root: RootTransaction, kind: Kind, name: str | None, parent: Scope | None, chunk: int | None = None
    ) -> None:
        self.root = root
        self.kind: Kind = kind
        self.name = name
        self.chunk = chunk
        self.number = 0 if parent is None else root.number()
        self.asked: str | None = None
        self.awaits: bool = parent is not None and parent.awaits
        self.is_async: bool = parent is not None and parent.is_async
        self.by_hand = False
        self.lock: Lock | None = None
        self.parent = parent
        self._cancelled = False
        self._is_written = False
        self._guard = threading.Lock()
        self._work: list[Work] = []
        self._steered_by: Steer | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is no part, but the whole transaction."""
        return self.parent is None

    @property
    def id(self) -> str:
        """The transaction's id, and of a part its number."""
        return self.root.id if self.is_whole else f"{self.root.id}.{self.number}"

    def part(self, kind: Kind, name: str | None, chunk: int | None = None) -> Scope:
        """Open a part of this one.

        Raises:
            Cancelled: This one was cancelled.
            RollbackError: It has ended.
        """
        if self.cancelled:
            raise Cancelled("cancelled: nothing more is sent from here", Results(()))
        if self.root.over:
            raise RollbackError(f"transaction {self.root.id} has ended: nothing can be done in it any more")
        return Scope(self.root, kind, name, self, chunk)

    @property
    def is_silent(self) -> bool:
        """Whether it runs beside others, and paints nothing by itself."""
        return self.kind == "task" or (self.parent is not None and self.parent.is_silent)

    @property
    def is_undone_with_others(self) -> bool:
        """Whether it, or what it is a part of, was opened by hand: a person undoes that as one."""
        return self.by_hand or (self.parent is not None and self.parent.is_undone_with_others)

    @property
    def cancelled(self) -> bool:
        """Whether it, or what it is a part of, was cancelled."""
        return self._cancelled or (self.parent is not None and self.parent.cancelled)

    @property
    def lock_of_hosts(self) -> Lock | None:
        """How the hosts of each plan that is made in it are locked; None if they are not."""
        if self.lock is not None and self.lock.name is None:
            return self.lock
        return None if self.parent is None else self.parent.lock_of_hosts

    def waiting(self) -> Waiting | None:
        """The wait for the name that it locks by itself, before it is entered; None if it locks none."""
        if self.lock is None or self.lock.name is None:
            return None
        wanted = locks.of_name(self.lock.name)
        return Waiting(self.root, wanted, self.lock.patience, lambda: self.cancelled, ends=self.is_whole)

    async def admit(self, plan: Plan) -> None:
        """Lock the hosts of a plan, where that is wanted; on the engine's loop. Raises as `locks.take`."""
        if (lock := self.lock_of_hosts) is not None:
            await locks.take(self.root, locks.of_plan(plan), lock.patience)

    def hold(self, work: Work) -> None:
        """Know of something that was begun in it."""
        with self._guard:
            self._work.append(work)
        if self.cancelled:
            work.cancel()

    def work(self) -> list[Work]:
        """What was begun in it, in order."""
        with self._guard:
            return list(self._work)

    def cancel(self, hosts: Hosts = None) -> None:
        """End what was begun in it; unless that is for some hosts alone, nothing more can be begun."""
        if hosts is None:
            self._cancelled = True
        for work in self.work():
            with suppress(InventoryError):  # it has no such host
                work.cancel(hosts)

    def join(self) -> None:
        """Wait for the end of all that was begun in it."""
        for work in self.work():
            work.join()

    def check(self) -> None:
        """Wait for the end of all that was begun in it, and raise the first thing that nobody was told yet."""
        for work in self.work():
            work.check()

    def commands(self) -> Results:
        """The rows of all commands that were sent from it, in the order of their runs."""
        return Results(tuple(row for work in self.work() for row in work.commands()))

    def works(self) -> list[WorkProgress]:
        """How far all is that was begun in it, in order."""
        return [work.how_far() for work in self.work()]

    def how_far(self) -> WorkProgress:
        """How far it is, as work of what is around it."""
        return WorkProgress.of(self.name or self.kind, self.works())

    def facts(self) -> list[Fact]:
        """What the journal does not know yet of this part, and of all that it is a part of."""
        from opskit.record.facts import Part

        if self.parent is None:
            return self.root.facts()
        if self._is_written:
            return []
        name, above = None if self.name is None else mask(self.name), self.parent.number
        part = Part(self.root.id, self.number, above, name, self.kind, self.chunk, datetime.now(UTC))
        return [*self.parent.facts(), part]

    def written(self) -> None:
        """The journal knows of this part now, and of all that it is a part of."""
        self._is_written = self.root.written = True
        if self.parent is not None:
            self.parent.written()

    def write(self, facts: Sequence[Fact]) -> None:
        """Write facts down, and what they are a part of. Blocks.

        Raises:
            JournalError: They could not be written.
            RollbackError: The transaction belongs to somebody else by now.
        """
        from opskit.record.recorder import lost

        if self.root.store.write([*self.facts(), *facts]):
            raise lost(self.root.store, self.root.id)
        self.written()

    def recorder(self, writer: Writer, ended: Callable[[How], Any]) -> Recorder:
        """The journal of a run that is this part; `ended` is awaited when all of it is written."""
        from opskit.record.recorder import Recorder

        return Recorder(writer, self.root.id, self.root.epoch, self._enter, admit=self.admit, ended=ended)

    def _enter(self, plan: Plan) -> Entered:
        """Number the steps that are to be sent, and say what to write down of them. Blocks."""
        from opskit.record.entering import entry_of
        from opskit.record.recorder import Entered

        done = self._done_before(plan)
        numbers = [(step, self.root.number()) for step in (*plan.steps, *plan.checks) if id(step) not in done]
        if not numbers:
            return Entered((), {}, done)
        packed: PackedTerms = {}
        entries = [entry_of(step, self.root.id, number, self.number, packed) for step, number in numbers]
        self.root.known.update((number, step.undoing()) for step, number in numbers if step.undo is not None)
        return Entered([*self.facts(), *entries], {id(step): number for step, number in numbers}, done, self.written)

    def _done_before(self, plan: Plan) -> dict[int, HostResult]:
        """The rows of the steps whose keys stand for what was done."""
        from opskit.record.standing import row_done_before

        keyed = {(step.key, step.host.name): step for step in plan.steps if step.key is not None}
        found = self.root.store.done_under(list(keyed)) if keyed else {}
        return {id(keyed[place]): row_done_before(account, keyed[place]) for place, account in found.items()}

    def register(self, undo: Callback | Plan) -> None:
        """Have something undone that no step of it did: a function, or the commands of a plan. Blocks.

        Raises:
            HostsBusy: Others keep it off hosts of the plan, where it locks them; they are waited for if that holds up
                no loop.
            JournalError: It could not be written down.
        """
        from opskit.record.entering import entry_of_call, entry_of_undo

        if isinstance(undo, Callback):
            number = self.root.number()
            entry = entry_of_call(str(undo), undo.packed(), self.root.id, number, self.number)
            self.root.known[number] = undo  # first: if this is told to have failed, it may be written all the same
            self.write([entry])
            self.root.remember()
            return
        if (lock := self.lock_of_hosts) is not None:
            patience = 0.0 if _would_hold_up_a_loop() else lock.patience
            Waiting(self.root, locks.of_plan(undo), patience, lambda: self.cancelled).wait()
        part = self.part("run", undo.name)
        packed: PackedTerms = {}
        numbers = [(step, self.root.number()) for step in undo.steps]
        entered = [entry_of_undo(step, self.root.id, number, part.number, packed) for step, number in numbers]
        self.root.known.update((number, step) for step, number in numbers)  # as above
        part.write(entered)

    def steer_by(self, rollback: Steer) -> None:
        """Have the whole rolled back by this method where another process asks for that."""
        if self.is_whole:
            self._steered_by = rollback  # who began it by hand may have nobody in a variable who can
            self.root.steer, self.root.context = WeakMethod(rollback), contextvars.copy_context()
            answer_for(self.root)

    def leave(self) -> None:
        """Who opened it is done with it; a part's transaction goes on."""
        self.root.left = self.root.left or self.is_whole

    def rollback(self) -> Rollback:
        """What undoes it."""
        return Rollback(self.root.store, self.root.id, self.number, self.root)

    def outlook(self) -> Outlook:
        """What a rollback of it would do now. Blocks."""
        return self.rollback().outlook()


open_scope: Default[Scope | None] = Default("opskit_transaction", None)
"""The scope that calls are made in; None outside of any transaction."""


def here() -> Scope | None:
    """The scope that the caller stands in; one that was opened by hand, and is over, is none any more."""
    scope = open_scope.get()
    if scope is not None and scope.by_hand and scope.root.over:
        if scope.root.asked is None:  # else that is said first: see `opened`
            open_scope.set(None)
        return None
    return scope


def opened(kind: Kind, name: str | None) -> Scope:
    """A new part of the transaction that is open here, or a transaction of its own.

    Raises:
        Cancelled, RollbackError: Nothing can be begun here any more; or, once, what was opened by hand here was rolled
            back for another process: who goes on must know that.
        JournalError, SettingsError: The journal can't be opened.
    """
    outer = here()
    if outer is None and (gone := open_scope.get()) is not None:
        open_scope.set(None)
        raise RollbackError(f"{gone.root.asked}: what follows is in no transaction; run it again if you mean it")
    return Scope(RootTransaction(kind, name), kind, name, None) if outer is None else outer.part(kind, name)


def outside() -> contextvars.Context:
    """A copy of the caller's context in which no transaction is open."""
    context = contextvars.copy_context()
    context.run(open_scope.here, None)
    return context


def would_hold_up_tasks() -> bool:
    """Whether a call that waits would hold up the event loop of tasks."""
    scope = open_scope.get()
    return scope is not None and scope.awaits and _is_on_a_loop()


def _would_hold_up_a_loop() -> bool:
    """Whether a call that waits would hold up the event loop of tasks, or one on which `async with` stands."""
    scope = open_scope.get()
    return scope is not None and (scope.awaits or scope.is_async) and _is_on_a_loop()


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def expect_may_block() -> None:
    """Raise PlanError where a call that waits would hold up the event loop of tasks."""
    if would_hold_up_tasks():
        raise PlanError(
            "a call that waits would hold up all async tasks: `await opskit.arun(...)`, or `async with` for the others"
        )
