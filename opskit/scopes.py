"""The open parts of transactions: what is written down of them, what was begun in them, and undoing them.

A scope is what a call finds when it asks where it is made; see `transactions`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from opskit import bridge, shared
from opskit.bridge.questions import Questions
from opskit.errors import Cancelled, InventoryError, RollbackError
from opskit.observers import observers
from opskit.record.ids import new_id
from opskit.results import Results
from opskit.rollbacks import Callback, Rollback, arranged, entries
from opskit.scope import Scoped
from opskit.settings import current as settings_now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opskit.engine.ports import How, Transport
    from opskit.events import Event
    from opskit.record.entering import PackedTerms
    from opskit.record.facts import Account, Fact, Kind
    from opskit.record.moves import State
    from opskit.record.recorder import Entered, Recorder, Writer
    from opskit.record.store import Store
    from opskit.results import HostResult
    from opskit.rollbacks import Known
    from opskit.settings import Settings
    from opskit.work.options import Hosts
    from opskit.work.plan import Plan

BELOW: Final = 8


class Begun(Protocol):
    """What was begun in a transaction, and ends by itself: a run, a session of tasks."""

    def cancel(self, hosts: Hosts = None) -> None:
        """End it soon."""

    def join(self) -> None:
        """Wait for its end, whatever that is."""

    def check(self) -> None:
        """Wait for its end, and raise what nobody was told yet."""

    def commands(self) -> Results:
        """The rows of its commands as of now."""


class Whole:
    """A transaction in the process that began it.

    Attributes:
        id: A ULID.
        epoch: Under which this process owns it.
        known: What this process can undo its entries by.
        over: Whether it has ended, or was rolled back.
        written: Whether the journal knows of it.
    """

    def __init__(self, kind: Kind, name: str | None) -> None:
        self.id = new_id()
        self.kind: Kind = kind
        self.name = name
        self.epoch = 1
        self.known: dict[int, Known] = {}
        self.over = False
        self.store: Store = shared.store()
        self._numbers = itertools.count(1)
        self.written = False
        self._guard = threading.Lock()

    def number(self) -> int:
        """The next number of an entry or a part; they share them, and so stand in order."""
        return next(self._numbers)

    def write(self, facts: Sequence[Fact]) -> None:
        """Write facts down, after the fact that there is such a transaction. Blocks; raises JournalError."""
        self.begin()
        self.store.write(facts)

    def begin(self) -> None:
        """Write down that there is such a transaction, once. Blocks; raises JournalError."""
        from opskit.record.facts import Transaction

        with self._guard:
            if not self.written:
                self.store.begin(Transaction(self.id, self.name, self.kind, _notebook(), datetime.now(UTC)))
                self.written = True

    def end(self, how: How) -> None:
        """Write down how it ended, if it did not before. Blocks; raises JournalError."""
        if not self.over:
            self.over = True
            if self.written:
                self.store.move(self.id, how)


class Scope:
    """An open part of a transaction, or the whole of it.

    Attributes:
        whole: The transaction.
        number: Of the part; 0 is the whole.
        parent: What it is a part of; None for the whole.
        asked: Why somebody asked for its rollback, by `opskit.rollback`.
        awaits: Whether code in it runs on an event loop that must not be blocked.
        by_hand: What `opskit.begin` gave; None for what ends with a block.
    """

    def __init__(
        self, whole: Whole, kind: Kind, name: str | None, parent: Scope | None, chunk: int | None = None
    ) -> None:
        self.whole = whole
        self.kind: Kind = kind
        self.name = name
        self.chunk = chunk
        self.number = 0 if parent is None else whole.number()
        self.asked: str | None = None
        self.awaits = False
        self.by_hand: Any = None
        self.parent = parent
        self._cancelled = False
        self._written = parent is None
        self._guard = threading.Lock()
        self._begun: list[Begun] = []

    @property
    def id(self) -> str:
        """The transaction's id, and of a part its number."""
        return f"{self.whole.id}.{self.number}" if self.number else self.whole.id

    def part(self, kind: Kind, name: str | None, chunk: int | None = None) -> Scope:
        """Open a part of this one.

        Raises:
            Cancelled: This one was cancelled.
            RollbackError: It has ended.
        """
        if self.cancelled:
            raise Cancelled("cancelled: nothing more is sent from here", Results(()))
        if self.whole.over:
            raise RollbackError(f"transaction {self.whole.id} has ended: nothing can be done in it any more")
        return Scope(self.whole, kind, name, self, chunk)

    @property
    def is_silent(self) -> bool:
        """Whether it runs beside others, and paints nothing by itself."""
        return self.kind == "task" or (self.parent is not None and self.parent.is_silent)

    @property
    def cancelled(self) -> bool:
        """Whether it, or what it is a part of, was cancelled."""
        return self._cancelled or (self.parent is not None and self.parent.cancelled)

    def hold(self, begun: Begun) -> None:
        """Know of something that was begun in it."""
        with self._guard:
            self._begun.append(begun)
        if self.cancelled:
            begun.cancel()

    def begun(self) -> list[Begun]:
        """What was begun in it, in order."""
        with self._guard:
            return list(self._begun)

    def cancel(self, hosts: Hosts = None) -> None:
        """End what was begun in it; unless that is for some hosts alone, nothing more can be begun."""
        if hosts is None:
            self._cancelled = True
        for begun in self.begun():
            with suppress(InventoryError):  # it has no such host
                begun.cancel(hosts)

    def join(self) -> None:
        """Wait for the end of all that was begun in it."""
        for begun in self.begun():
            begun.join()

    def commands(self) -> Results:
        """The rows of all commands that were sent from it, in the order of their runs."""
        return Results(tuple(row for begun in self.begun() for row in begun.commands()))

    def facts(self) -> list[Fact]:
        """What the journal does not know yet of this part, and of those that it is a part of."""
        from opskit.record.facts import Part

        if self.parent is None:
            return []
        found = self.parent.facts()
        with self._guard:
            if not self._written:
                self._written = True
                above, now = self.parent.number, datetime.now(UTC)
                found.append(Part(self.whole.id, self.number, above, self.name, self.kind, self.chunk, now))
        return found

    def recorder(self, writer: Writer, ended: Callable[[How], Any]) -> Recorder:
        """The journal of a run that is this part; `ended` is awaited when all of it is written."""
        from opskit.record.recorder import Recorder

        return Recorder(writer, self.whole.id, lambda: self.whole.epoch, self._enter, ended=ended)

    def _enter(self, plan: Plan) -> Entered:
        """Number the steps that are to be sent, and say what to write down of them. Blocks."""
        from opskit.record.entering import entry_of
        from opskit.record.recorder import Entered

        done = self._done_before(plan)
        numbers = [(step, self.whole.number()) for step in (*plan.steps, *plan.checks) if id(step) not in done]
        if not numbers:
            return Entered((), {}, done)
        self.whole.begin()
        packed: PackedTerms = {}
        entries = [entry_of(step, self.whole.id, number, self.number, packed) for step, number in numbers]
        self.whole.known.update((number, step.undoing()) for step, number in numbers if step.undo is not None)
        return Entered([*self.facts(), *entries], {id(step): number for step, number in numbers}, done)

    def _done_before(self, plan: Plan) -> dict[int, HostResult]:
        """The rows of the steps whose keys stand for what was done."""
        from opskit.record.standing import row_done_before

        keyed = {(step.key, step.host.name): step for step in plan.steps if step.key is not None}
        found = self.whole.store.done_under(list(keyed)) if keyed else {}
        return {id(keyed[place]): row_done_before(account, keyed[place]) for place, account in found.items()}

    def register(self, undo: Callback | Plan) -> None:
        """Have something undone that no step of it did: a function, or the commands of a plan. Blocks.

        Raises:
            JournalError: It could not be written down.
        """
        from opskit.record.entering import entry_of_call, entry_of_undo

        if isinstance(undo, Callback):
            number = self.whole.number()
            entry = entry_of_call(str(undo), undo.packed(), self.whole.id, number, self.number)
            self.whole.write([*self.facts(), entry])
            self.whole.known[number] = undo
            return
        part = self.part("run", undo.name)
        packed: PackedTerms = {}
        numbers = [(step, self.whole.number()) for step in undo.steps]
        entered = [entry_of_undo(step, self.whole.id, number, part.number, packed) for step, number in numbers]
        self.whole.write([*part.facts(), *entered])
        self.whole.known.update((number, step) for step, number in numbers)

    def undoing(self) -> Undoing:
        """What undoes it."""
        return Undoing(self.whole.store, self.whole.id, self.number, self.whole)


def _notebook() -> str | None:
    """Which notebook or script this is, as far as is known."""
    name = os.environ.get("JPY_SESSION_NAME") or getattr(sys.modules.get("__main__"), "__file__", None)
    return None if name is None else str(name)


class Undoing:
    """A rollback, from its claim to its end.

    Args:
        store: The journal's.
        transaction: Its id.
        part: The part that is undone; 0: all of it.
        whole: The transaction, where this process has begun it.
        calls: Whether functions of another process may be imported and called.
        force: Whether an owner that is still alive is not asked.
    """

    def __init__(
        self,
        store: Store,
        transaction: str,
        part: int = 0,
        whole: Whole | None = None,
        *,
        calls: bool = False,
        force: bool = False,
    ) -> None:
        self._store = store
        self._transaction = transaction
        self._part = part
        self._whole = whole
        self._calls = calls
        self._force = force
        self._rollback: Rollback | None = None
        self._cancelled = False

    def owed(self) -> list[Account]:
        """What would be undone, in order. Blocks."""
        return entries(self._arranged(self._store.now(self._transaction).transaction.kind))

    def _arranged(self, kind: Kind) -> Any:
        parts = self._store.parts(self._transaction)
        own = next((part.kind for part in parts if part.number == self._part), kind)
        return arranged(own, parts, self._store.accounts(self._transaction), self._part)

    async def finish(
        self, why: str | None, settings: Settings, transport: Transport, writer: Writer, emit: Callable[[Event], object]
    ) -> Results:
        """Undo it, on the engine's loop; a row for each undo.

        Raises:
            RollbackError: It is being rolled back already, is rolled back, or can't be for another reason; says who.
            JournalError: It can't be written down.
        """
        if self._whole is not None and not self._whole.written:
            self._whole.over = self._whole.over or not self._part
            return Results(())
        await writer.flush()
        epoch, kind = await asyncio.to_thread(self._claimed, why)
        node = await asyncio.to_thread(self._arranged, kind)
        known: Mapping[int, Known] = self._whole.known if self._whole is not None else {}
        rollback = Rollback(writer, self._transaction, epoch, known, settings, transport, emit, calls=self._calls)
        self._rollback = rollback
        if self._cancelled:
            rollback.cancel()
        rows = await rollback.finish(node)
        await writer.flush()
        if not self._part:
            complete = all(row.ok for row in rows) and not rollback.cancelled
            after: State = "rolled_back" if complete else "rollback_partial"
            await asyncio.to_thread(self._store.move, self._transaction, after)
        return rows

    def _claimed(self, why: str | None) -> tuple[int, Kind]:
        if self._part and self._whole is not None:
            return self._whole.epoch, self._whole.kind
        now = self._store.claim(self._transaction, "rolling_back", why, force=self._force)
        if self._whole is not None:
            self._whole.epoch, self._whole.over = now.epoch, True
        return now.epoch, now.transaction.kind

    def cancel(self) -> None:
        """End what runs, and undo nothing more."""
        self._cancelled = True
        if self._rollback is not None:
            self._rollback.cancel()

    def wait(self, why: str | None) -> Results:
        """Undo it, and wait for the end in the calling thread. Raises as `finish`, and KeyboardInterrupt."""
        engine, settings, questions = bridge.engine(), settings_now(), Questions(expected=True)
        transport = shared.transport(engine, settings, questions.ask)
        watching = observers()

        def emit(event: Event) -> None:
            for observer in watching:
                bridge.harmless(partial(observer, event))()

        with questions.heard():
            future = engine.submit(self.finish(why, settings, transport, shared.writer(engine, self._store), emit))
            bridge.block(future, questions.answer, lambda: engine.call(self.cancel))
        return future.result()


def told(rows: Results, transaction: str) -> str:
    """One line on what a rollback came to."""
    left = [row for row in rows if not row.ok]
    if not left:
        return f"rolled back: {len(rows)} of {len(rows)} undone" if rows else "rolled back: nothing was to be undone"
    named = "; ".join(f"{row.host or row.command}: {row.error or row.status}" for row in left[:BELOW])
    more = f"; and {len(left) - BELOW} more" if len(left) > BELOW else ""
    return (
        f"rollback incomplete: {len(rows) - len(left)} of {len(rows)} undone; {named}{more}; "
        f"to try the rest again: opskit rollback {transaction}"
    )


open_scope: Scoped[Scope | None] = Scoped("opskit_transaction", None)
"""The scope that calls are made in; None outside of any transaction."""


def failed_to_undo(rows: Results, transaction: str) -> RollbackError | None:
    """The error of a rollback that could not undo everything."""
    if all(row.ok for row in rows):
        return None
    error = RollbackError(told(rows, transaction))
    error.results = rows
    return error
