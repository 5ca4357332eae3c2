"""The engine's journal: what runs intend and what becomes of it, written for all of them in as few commits as can be.

Everything here belongs to the engine's loop; the store is written in one thread of its own.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opskit.errors import JournalError, OpskitError, RollbackError
from opskit.record.clock import boot_clock
from opskit.record.facts import Entry, Intent, Outcome, Unsent
from opskit.rendering.excerpt import head_and_tail

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from opskit.engine.ports import How
    from opskit.record.facts import Ended, Fact
    from opskit.record.store import Store
    from opskit.results import HostResult
    from opskit.work.plan import Plan, Step

LATEST: Final = 0.05
"""Seconds after which what nobody waits for is written."""

GATHERED: Final = 0.02
"""Seconds that a step of many may wait for the intents of others: a commit costs as much as many rows."""

MANY: Final = 16

_KEPT: Final = 64 * 1024
"""Characters of each output stream that are kept."""


class _Batch:
    """What is written in one commit.

    Attributes:
        awaited: What somebody waits for; it is given up if it can't be written.
        others: What may come along; it is kept until it is written.
        wanted: Whether it is to be written now.
        at: When its commit began; see `Store.written_at`.
    """

    def __init__(self) -> None:
        self.awaited: list[Fact] = []
        self.others: list[Fact] = []
        self.wanted = False
        self.at = 0.0
        self.written = asyncio.Event()
        self.error: OpskitError | None = None
        self.refused: frozenset[str] = frozenset()


class Writer:
    """Writes facts to a store: all that is ready at one moment in one commit, one commit after the other.

    Attributes:
        rolling_back: Which parts of which transactions are being undone through it; with what each is a part of.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.rolling_back: dict[tuple[str, int], frozenset[int]] = {}
        self._thread = ThreadPoolExecutor(1, "opskit-journal")
        self._next = _Batch()
        self._working: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Write nothing more."""
        self._thread.shutdown()

    async def write(self, facts: Sequence[Fact], within: float = 0.0) -> float:
        """Return when these facts are durable: what `expect_lease` takes.

        Args:
            facts: What to write.
            within: Seconds that may pass before they are, for others to come along.

        Raises:
            JournalError: They could not be written, and are not; or that is not known.
            RollbackError: The transaction belongs to somebody else by now.
        """
        batch = self._next
        batch.awaited += facts
        owned = {fact.transaction for fact in facts if isinstance(fact, (Entry, Intent))}
        await self._written(batch, owned, within)
        return batch.at

    def expect_lease(self, at: float) -> None:
        """Raise JournalError if somebody else may have taken over what was written then: nothing may be sent any more.

        This process was paused, or could hear nothing of the database.
        """
        age = boot_clock() - at
        if age > self.store.lease:
            raise JournalError(
                f"lease lost on the journal {self.store.place}: this process wrote down what it was about to send"
                f" {age:.0f} s ago, and was paused or cut off since; it was not sent, run it again"
            )

    async def settle(self, fact: Ended) -> None:
        """As `write`; but what can't be written now is kept until it can be."""
        batch = self._next
        batch.others.append(fact)
        await self._written(batch, {fact.transaction})

    async def flush(self) -> None:
        """Return when all is durable; raises JournalError."""
        await self.write(())

    async def _written(self, batch: _Batch, owned: set[str], within: float = 0.0) -> None:
        """Return when a batch is written; these transactions must be this process's."""
        self._begin(within)
        await batch.written.wait()
        if batch.error is not None:
            raise batch.error
        for transaction in owned.intersection(batch.refused):
            raise await asyncio.to_thread(lost, self.store, transaction)

    def add(self, fact: Fact) -> None:
        """Write a fact with the next commit, or soon."""
        self._next.others.append(fact)
        self._begin(LATEST)

    def _begin(self, within: float = 0.0) -> None:
        """Write what there is, now or within some seconds; what becomes ready until then comes along."""
        loop = asyncio.get_running_loop()
        if self._soon is not None and (not within or self._soon.when() > loop.time() + within):
            self._soon.cancel()
            self._soon = None
        if within:
            self._soon = self._soon or loop.call_later(within, self._begin)
            return
        self._next.wanted = True
        if self._working is None:
            self._working = loop.create_task(self._work())

    async def _work(self) -> None:
        while self._next.wanted:
            await asyncio.sleep(0)
            batch, self._next = self._next, _Batch()
            if facts := [*batch.awaited, *batch.others]:
                try:
                    loop = asyncio.get_running_loop()
                    batch.refused, batch.at = await loop.run_in_executor(self._thread, self._commit, facts)
                except OpskitError as error:
                    batch.error = error
                    self._next.others[:0] = batch.others
            batch.written.set()
        self._working = None

    def _commit(self, facts: Sequence[Fact]) -> tuple[frozenset[str], float]:
        return self.store.write(facts), self.store.written_at


_NEVER: Final[Mapping[int, int]] = {}


@dataclass(frozen=True, slots=True)
class Entered:
    """A plan as it is entered in the journal.

    Attributes:
        numbers: The number of each step's entry, by the step's `id`.
        done: The rows of steps that were done before, and are not sent again; likewise.
        written: Called when the facts are written.
    """

    facts: Sequence[Fact]
    numbers: Mapping[int, int]
    done: Mapping[int, HostResult] = field(default_factory=dict)
    written: Callable[[], object] = tuple


class Recorder:
    """The journal of one run, or of the undoing of some steps.

    Args:
        writer: Writes for all runs.
        transaction: The id of the transaction, which has been begun.
        epoch: Under which this process owns it.
        enter: Says what to write down before anything is dialled. Called in a thread.
        admit: Awaited before that; returns when nobody else keeps the run off its hosts. None: nobody does.
        ended: Awaited when the run has ended; sees to it that all is written. None: nothing but that is to be done.
        undo: Whether the steps are undos.
        tried: How often the undo of an entry was tried before.
    """

    def __init__(
        self,
        writer: Writer,
        transaction: str,
        epoch: int,
        enter: Callable[[Plan], Entered],
        *,
        admit: Callable[[Plan], Awaitable[None]] | None = None,
        ended: Callable[[How], Awaitable[None]] | None = None,
        undo: bool = False,
        tried: Mapping[int, int] = _NEVER,
    ) -> None:
        self.transaction = transaction
        self._writer = writer
        self._epoch = epoch
        self._enter = enter
        self._admit = admit
        self._ended = ended
        self._undo = undo
        self._tried = tried
        self._numbers: Mapping[int, int] = {}
        self._attempts: dict[int, int] = {}
        self._intended: dict[int, float] = {}
        self._unsent: dict[int, int] = {}

    async def admit(self, plan: Plan) -> None:
        """Return when nobody else keeps the run off its hosts."""
        if self._admit is not None:
            await self._admit(plan)

    async def begin(self, plan: Plan) -> Mapping[int, HostResult]:
        """Write down what is planned; gives the rows of what was done before."""
        entered = await asyncio.to_thread(self._enter, plan)
        self._numbers = entered.numbers
        if entered.facts:
            await self._writer.write(entered.facts)
        entered.written()
        return entered.done

    async def intend(self, step: Step, attempt: int) -> None:
        """Return when it is written that a step is about to be sent."""
        seq = self._numbers[id(step)]
        attempt += self._tried.get(seq, 0)
        intent = Intent(self.transaction, seq, self._undo, attempt, self._epoch, datetime.now(UTC))
        self._intended[seq] = await self._writer.write([intent], GATHERED if len(self._numbers) >= MANY else 0.0)
        self._attempts[seq] = attempt

    def expect_may_leave(self, step: Step) -> None:
        """Raise JournalError if its lease may have run out since it was intended."""
        self._writer.expect_lease(self._intended[self._numbers[id(step)]])

    def ended(self, step: Step, row: HostResult) -> None:
        """Take what became of a step or an attempt of it."""
        seq = self._numbers.get(id(step))
        if seq is None:
            return  # it failed before anything was written down
        attempt = self._attempts.pop(seq, None)
        if attempt is not None:
            self._writer.add(outcome_of(row, self.transaction, seq, attempt, undo=self._undo))
        elif row.status != "not_started":
            self._unsent[seq] = number = self._unsent.get(seq, self._tried.get(seq, 0)) + 1
            self._writer.add(
                Unsent(self.transaction, seq, self._undo, number, row.status, row.error, datetime.now(UTC))
            )

    async def end(self, how: How) -> None:
        """Return when all is written."""
        if self._ended is None:
            await self._writer.flush()
        else:
            await self._ended(how)


def outcome_of(row: HostResult, transaction: str, seq: int, attempt: int, *, undo: bool) -> Outcome:
    """What is kept of a row."""
    stdout, stderr, truncated = kept_output(row)
    return Outcome(
        transaction,
        seq,
        undo,
        attempt,
        row.status,
        row.exit_code,
        row.signal,
        stdout,
        stderr,
        truncated,
        row.started_at,
        row.seconds,
        row.error,
    )


def kept_output(row: HostResult) -> tuple[str, str, bool]:
    """What the journal keeps of a row's outputs, and whether that is not all."""
    stdout, stderr = (head_and_tail(text, characters=_KEPT, lines=_KEPT) for text in (row.stdout, row.stderr))
    return stdout, stderr, row.truncated or (stdout, stderr) != (row.stdout, row.stderr)


def lost(store: Store, transaction: str) -> RollbackError:
    """The error of a transaction that belongs to somebody else by now. Blocks."""
    now = store.now(transaction)
    return RollbackError(
        f"transaction {transaction} belongs to {now.owner} since {now.at:%Y-%m-%d %H:%M:%S} UTC "
        f"({now.state.replace('_', ' ')}); nothing more is done in it"
    )
