"""A rollback of a transaction or of a part of it, from its claim to its end, and what is told of it."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from opskit import bridge, shared
from opskit.asking import is_elsewhere
from opskit.bridge.callbacks import UserThread
from opskit.bridge.questions import Questions
from opskit.errors import RollbackError, give_notes, give_results
from opskit.masking import mask
from opskit.observers import observers
from opskit.record.facts import Ended
from opskit.record.standing import is_left, row
from opskit.results import Results
from opskit.settings import current as settings_now
from opskit.showing import Outlook
from opskit.undoing.compensation import Compensation
from opskit.undoing.confirming import newer_than
from opskit.undoing.order import around, arranged, entries, within
from opskit.undoing.outlook import outlook
from opskit.undoing.undos import recovered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from opskit.begun import RootTransaction
    from opskit.engine.ports import Transport
    from opskit.events import Event
    from opskit.progress import Progress
    from opskit.record.facts import Account, Now, Part
    from opskit.record.recorder import Writer
    from opskit.record.store import Store
    from opskit.results import HostResult
    from opskit.settings import Settings
    from opskit.undoing.order import Node
    from opskit.undoing.undos import Undo

LEFT: Final = "it may have run, and must not run twice (undo_once): look at the host, then opskit settle"
_MOST_TOLD: Final = 8
_LOOK_SECONDS: Final = 0.1


class _Standing(NamedTuple):
    """What the journal knows of a transaction."""

    now: Now
    parts: Sequence[Part]
    accounts: Sequence[Account]
    owed: Node


class Rollback:
    """A rollback, from its claim to its end.

    Args:
        store: The journal's.
        transaction: Its id.
        part: The part that is undone; 0: all of it.
        root: The transaction, where this process has begun it.
        calls: Whether functions that another process has registered may be imported and called.
        force: Whether an owner that is still alive is not asked.

    Attributes:
        transaction: Its id.
    """

    def __init__(
        self,
        store: Store,
        transaction: str,
        part: int = 0,
        root: RootTransaction | None = None,
        *,
        calls: bool = False,
        force: bool = False,
    ) -> None:
        self._store = store
        self.transaction = transaction
        self._part = part
        self._root = root
        self._calls = calls
        self._force = force
        self._known: Mapping[int, Undo] = {} if root is None else root.known
        self._compensation: Compensation | None = None
        self._cancelled = False

    @property
    def is_foreign(self) -> bool:
        """Whether another process began it, or this one has forgotten it: the journal alone knows how it is undone."""
        return self._root is None

    def owed(self) -> list[Account]:
        """What would be undone, in order. Blocks."""
        return entries(self._standing().owed)

    def outlook(self) -> Outlook:
        """What it would do, for a person who decides. Blocks."""
        if self._is_unwritten:
            return Outlook("running")
        found = self._standing()
        newer = self._newer(found)
        return outlook(found.now, found.owed, found.parts, found.accounts, self._part, newer)

    def newer(self) -> list[str]:
        """What stands on what this would undo, a line each; see `newer_than`. Blocks."""
        return [] if self._is_unwritten else self._newer(self._standing())

    def _newer(self, found: _Standing) -> list[str]:
        return newer_than(self._store, found.now, (account.entry for account in entries(found.owed)))

    def _standing(self) -> _Standing:
        now, parts = self._store.now(self.transaction), self._store.parts(self.transaction)
        accounts = self._store.accounts(self.transaction)
        own = next((part.kind for part in parts if part.number == self._part), now.transaction.kind)
        return _Standing(now, parts, accounts, arranged(own, parts, accounts, self._part))

    async def finish(
        self,
        why: str | None,
        settings: Settings,
        transport: Transport,
        writer: Writer,
        emit: Callable[[Event], object],
    ) -> Results:
        """Undo it, on the engine's loop, by what is known of each entry; a row for each undo.

        Raises:
            RollbackError: It is being rolled back already, is rolled back, or can't be for another reason; says who.
            JournalError: It can't be written down.
        """
        if self._is_unwritten:
            self._leave(complete=True)
            if self._root is not None and not self._part:
                await self._root.ended("cancelled", writer)  # its locks may be written though nobody knows
            return Results(())
        await writer.flush()
        parts = await asyncio.to_thread(self._store.parts, self.transaction)
        async with self._alone(writer, around(self._part, parts)):
            epoch = await asyncio.to_thread(self._claimed, why)
            compensation = Compensation(writer, self.transaction, epoch, self._known, settings, transport, emit)
            complete = False
            try:
                rows = await self._carried_out(compensation, writer)
                complete = all(row.ok for row in rows)
            finally:
                self._leave(complete=complete)
        return rows

    def _leave(self, *, complete: bool) -> None:
        """Let the transaction, where this process began it, know what it came to."""
        if self._root is None:
            return
        self._root.is_partly_undone |= not complete
        if not self._part:
            self._root.finish()
            if complete:
                self._root.forget()

    @asynccontextmanager
    async def _alone(self, writer: Writer, trail: frozenset[int]) -> AsyncIterator[None]:
        """Keep this process from undoing one thing twice at the same time; other processes the claim keeps off.

        What another process has asked for waits for the ends of parts that are being undone already.
        """
        while others := [
            part
            for (transaction, part), other in writer.rolling_back.items()
            if transaction == self.transaction and (part in trail or self._part in other)
        ]:
            if not is_elsewhere.get() or trail.intersection(others):
                raise being_undone(self.transaction)
            await asyncio.sleep(_LOOK_SECONDS)
        writer.rolling_back[self.transaction, self._part] = trail
        try:
            yield
        finally:
            del writer.rolling_back[self.transaction, self._part]

    async def _carried_out(self, compensation: Compensation, writer: Writer) -> Results:
        """Undo it, and write down how that ended."""
        try:
            found = await asyncio.to_thread(self._standing)
            self._compensation = compensation
            if self._cancelled:
                compensation.cancel()
            undone = await compensation.finish(found.owed)
            tried = {account.entry.seq for account in entries(found.owed)}
            rows = Results((*undone, *await asyncio.to_thread(self._for_a_person, found.parts, tried)))
        except BaseException:
            if not self._part:
                writer.add(Ended(self.transaction, "rollback_partial"))
            raise
        if not self._part:
            complete = all(row.ok for row in rows)
            await writer.settle(Ended(self.transaction, "rolled_back" if complete else "rollback_partial"))
        return rows

    def _for_a_person(self, parts: Sequence[Part], tried: Collection[int]) -> list[HostResult]:
        """The rows of undos that are not sent again by themselves, though it is not known that they worked."""
        own = within(self._part, parts)
        return [
            replace(row(account, undo=True), error=LEFT)
            for account in self._store.accounts(self.transaction)
            if is_left(account) and account.entry.seq not in tried and account.entry.part in own
        ]

    def _claimed(self, why: str | None) -> int:
        """The epoch under which this process owns it now."""
        if self._part and self._root is not None:
            return self._root.epoch
        reason = None if why is None else mask(why)
        now = self._store.claim(self.transaction, "rolling_back", reason, force=self._force)
        if self._root is not None:
            self._root.epoch, self._root.over = now.epoch, True
        return now.epoch

    def cancel(self) -> None:
        """End what runs, and undo nothing more."""
        self._cancelled = True
        if self._compensation is not None:
            self._compensation.cancel()

    def wait(self, why: str | None, progress: Progress | None = None) -> Results:
        """Undo it, and wait for the end in the calling thread.

        Args:
            why: What the journal says of it.
            progress: Is told of the undos.

        Raises as `finish`, and KeyboardInterrupt.
        """
        engine, settings, questions = bridge.engine(), settings_now(), Questions(expected=True)
        if progress is not None:
            progress.begin_undoing()
        if self._root is None:
            self._known = recovered(self.owed(), calls=self._calls)
        transport, writer = shared.transport(engine, settings, questions.ask), shared.writer(engine, self._store)
        watching, callbacks = observers(), UserThread()

        def emit(event: Event) -> None:
            if progress is not None:
                progress.apply(event)
            for observer in watching:
                callbacks.call(observer, event)

        try:
            with questions.heard():
                future = engine.submit(self.finish(why, settings, transport, writer, emit))
                bridge.block(future, questions.answer, self._interrupted(engine))
        except KeyboardInterrupt as interrupt:
            note = interrupted(self.transaction)
            if future.done() and future.exception() is None:
                give_results(interrupt, future.result())
                note = told(future.result(), self.transaction)
            give_notes(interrupt, [note])
            raise
        finally:
            callbacks.finish()
        return future.result()

    def _interrupted(self, engine: bridge.EngineLoop) -> Callable[[], None]:
        """What an interrupt does: the first ends what runs, the second no longer waits for it."""
        interrupts = itertools.count(1)

        def interrupted() -> None:
            if next(interrupts) > 1:
                raise KeyboardInterrupt
            engine.call(self.cancel)

        return interrupted

    @property
    def _is_unwritten(self) -> bool:
        """Whether nothing was ever done in it: the journal knows nothing of it then."""
        return self._root is not None and not self._root.written


def interrupted(transaction: str) -> str:
    """What is told of a rollback that nobody has waited for to its end."""
    return f"the rollback was interrupted: opskit rollback {transaction} tries the rest"


def goes_on(transaction: str) -> str:
    """What is told of a rollback that goes on when nobody waits for it any more."""
    return f"a rollback goes on: opskit journal {transaction} tells its end"


def being_undone(transaction: str) -> RollbackError:
    """The error of who wants to roll back what this very process is at."""
    return RollbackError(f"transaction {transaction} is being rolled back in this process: wait for its end")


def told(rows: Results, given: str) -> str:
    """One line on what a rollback of a transaction, or of a part of one, came to."""
    transaction, _, part = given.partition(".")
    left = [row for row in rows if not row.ok]
    if not left:
        return f"rolled back: {len(rows)} of {len(rows)} undone" if rows else "rolled back: nothing was to be undone"
    named = "; ".join(f"{row.host or row.command}: {row.error or row.status}" for row in left[:_MOST_TOLD])
    more = f"; and {len(left) - _MOST_TOLD} more" if len(left) > _MOST_TOLD else ""
    again = f"a rollback of {transaction} tries again" if part else f"to try again: opskit rollback {transaction}"
    return f"rollback incomplete: {len(rows) - len(left)} of {len(rows)} undone; {named}{more}; {again}"


def expect_undone(rows: Results, transaction: str) -> Results:
    """The rows of a rollback; raises RollbackError, with `.results`, if not everything is undone."""
    if all(row.ok for row in rows):
        return rows
    error = RollbackError(told(rows, transaction))
    error.results = rows
    raise error
