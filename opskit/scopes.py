"""The open parts of transactions: what is written down of them, what was begun in them, and undoing them.

A scope is what a call finds when it asks where it is made; see `transactions`.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from opskit.errors import Cancelled, InventoryError, RollbackError
from opskit.results import Results
from opskit.scope import Scoped
from opskit.undoing import Undoing
from opskit.undos import Callback

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opskit.engine.ports import How
    from opskit.record.entering import PackedTerms
    from opskit.record.facts import Fact, Kind
    from opskit.record.recorder import Entered, Recorder, Writer
    from opskit.results import HostResult
    from opskit.whole import Whole
    from opskit.work.options import Hosts
    from opskit.work.plan import Plan


class Begun(Protocol):
    """What was begun in a transaction: a run, a session of tasks, a nested transaction."""

    def cancel(self, hosts: Hosts = None) -> None:
        """End it soon."""

    def join(self) -> None:
        """Wait for its end, whatever that is."""

    def check(self) -> None:
        """Wait for its end, and raise what nobody was told yet."""

    def commands(self) -> Results:
        """The rows of its commands as of now."""


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
        self._is_written = False
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

    def check(self) -> None:
        """Wait for the end of all that was begun in it, and raise the first thing that nobody was told yet."""
        for begun in self.begun():
            begun.check()

    def commands(self) -> Results:
        """The rows of all commands that were sent from it, in the order of their runs."""
        return Results(tuple(row for begun in self.begun() for row in begun.commands()))

    def facts(self) -> list[Fact]:
        """What the journal does not know yet of this part, and of all that it is a part of."""
        from opskit.record.facts import Part

        if self.parent is None:
            return self.whole.facts()
        if self._is_written:
            return []
        part = Part(self.whole.id, self.number, self.parent.number, self.name, self.kind, self.chunk, datetime.now(UTC))
        return [*self.parent.facts(), part]

    def written(self) -> None:
        """The journal knows of this part now, and of all that it is a part of."""
        self._is_written = self.whole.written = True
        if self.parent is not None:
            self.parent.written()

    def write(self, facts: Sequence[Fact]) -> None:
        """Write facts down, and what they are a part of. Blocks; raises JournalError."""
        self.whole.store.write([*self.facts(), *facts])
        self.written()

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
        packed: PackedTerms = {}
        entries = [entry_of(step, self.whole.id, number, self.number, packed) for step, number in numbers]
        self.whole.known.update((number, step.undoing()) for step, number in numbers if step.undo is not None)
        return Entered([*self.facts(), *entries], {id(step): number for step, number in numbers}, done, self.written)

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
            self.write([entry])
            self.whole.known[number] = undo
            return
        part = self.part("run", undo.name)
        packed: PackedTerms = {}
        numbers = [(step, self.whole.number()) for step in undo.steps]
        entered = [entry_of_undo(step, self.whole.id, number, part.number, packed) for step, number in numbers]
        part.write(entered)
        self.whole.known.update((number, step) for step, number in numbers)

    def undoing(self) -> Undoing:
        """What undoes it."""
        return Undoing(self.whole.store, self.whole.id, self.number, self.whole)


open_scope: Scoped[Scope | None] = Scoped("opskit_transaction", None)
"""The scope that calls are made in; None outside of any transaction."""
