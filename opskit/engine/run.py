"""One run of a plan: chunk after chunk, each host as soon as there is room, every step to exactly one fate."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, TypeVar

from opskit import events
from opskit.engine.ledger import Ledger
from opskit.engine.ports import UNRECORDED
from opskit.engine.sending import Sender
from opskit.errors import OpskitError
from opskit.rendering.escape import one_line
from opskit.results import Results

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator

    from opskit.engine.ports import How, Journal, Transport
    from opskit.results import HostResult
    from opskit.showing import Tail
    from opskit.work.plan import Plan, Step

T = TypeVar("T")

logger = logging.getLogger("opskit")

FIRST_BACKOFF = 1.0
"""Seconds before the unreachable are tried again; doubled with each round, and never the same for two runs."""

DOUBLINGS: Final = 5


class Run:
    """A plan on its way. `finish` runs it, `cancel` ends it early; `results` may be read at any time.

    Everything here belongs to one event loop.

    Args:
        plan: What to do.
        transport: How hosts are reached.
        emit: Takes every event, at once and without blocking.
        journal: Where is written down what is intended, and what became of it.
        max_output: Bytes kept of each output stream.
        check: Judges the results of a chunk that has ended: None if they pass, else why not.
        listens: Whether somebody wants every line of output.
        attempts_before: How often these steps were tried in an earlier run.

    Attributes:
        cancelled: Whether somebody wanted its end.
        why_stopped: What a check said that did not pass.
        fault: Why nothing more could be written down, and so nothing more was sent.
    """

    def __init__(
        self,
        plan: Plan,
        transport: Transport,
        emit: Callable[[events.Event], object],
        journal: Journal = UNRECORDED,
        *,
        max_output: int,
        check: Callable[[Results], Awaitable[str | None]] | None = None,
        listens: bool = False,
        attempts_before: int = 0,
    ) -> None:
        self.plan = plan
        self._transport = transport
        self._emit = emit
        self._max_output = max_output
        self._check = check
        self._attempts_before = attempts_before
        self._journal = journal
        self._ledger = Ledger(self._take, journal, listens=listens)
        self._failed_checks: list[HostResult] = []
        limit = plan.terms.max_failures
        self._tolerated = 0 if limit is None else limit.of(len({step.host.name for step in plan.steps}))
        self._working: dict[str, asyncio.Task[None]] = {}
        self._waiting: set[asyncio.Future[Any]] = set()
        self._unwanted: set[str] = set()
        self._stopping = False
        self._over = False
        self.cancelled = False
        self.why_stopped: str | None = None
        self.fault: OpskitError | None = None

    async def finish(self) -> Results:
        """Run every chunk until done, or until a stop rule or a cancel says no. The end event always comes.

        Raises:
            OpskitError: The transport lacks something, such as a readable key; nothing was dialled.
        """
        self._emit(events.RunStarted(self.plan))
        try:
            await self._unless_cancelled(self._transport.prepare((*self.plan.steps, *self.plan.checks)))
            if not self._stopping:
                await self._unless_cancelled(self._journal.admit(self.plan))
            if not self._stopping:
                done = await self._journal.begin(self.plan)
                for step in self.plan.steps if done else ():
                    if (row := done.get(id(step))) is not None:
                        self._ledger.settle(step, row)
            for number, chunk in enumerate(self.plan.chunks):
                if number and not self._stopping:
                    await self._unless_cancelled(asyncio.sleep(self.plan.terms.pause))
                if self._stopping:
                    break
                await self._run_chunk(chunk)
            await self._written()
        finally:
            self._over = True
            results = self.results()
            self._emit(events.RunEnded(results))
        return results

    async def _written(self) -> None:
        """See that all is written down; where it can't be, that is told when the run is judged."""
        how: How = "failed" if self.failed else "succeeded"
        try:
            await self._journal.end("cancelled" if self.cancelled else how)
        except OpskitError as error:
            self.fault = self.fault or error

    @property
    def failed(self) -> bool:
        """Whether it went on to its end, but not well."""
        return self.fault is not None or self.why_stopped is not None or bool(self._ledger.bad_hosts)

    def _unrecorded(self, error: OpskitError) -> None:
        self._stopping, self.fault = True, self.fault or error

    def cancel(self, hosts: Collection[str] | None = None) -> None:
        """End what runs and start nothing more, everywhere or on some hosts. Every step gets its fate.

        A second call does not wait for what the first is ending: those steps are `unknown`. One that comes when all
        has ended does nothing.
        """
        if self._over:
            return
        if hosts is not None:
            self._unwanted.update(hosts)
            ending = [self._working[name] for name in hosts if name in self._working]
        else:
            self.cancelled = self._stopping = True
            ending = list(self._working.values())
            for waiting in self._waiting:
                waiting.cancel()
        for task in ending:
            task.cancel()

    def results(self) -> Results:
        """A row for each step and each skipped host, in inventory order, then those of checks that did not pass.

        What has not run is `not_started`; what is under way is `running`.
        """
        results = self._ledger.results(self.plan)
        return Results((*results, *self._failed_checks)) if self._failed_checks else results

    def rows(self) -> list[HostResult]:
        """The row of each step, in the plan's order."""
        return list(map(self._ledger.row, self.plan.steps))

    def tails(self, hosts: Collection[str]) -> list[Tail]:
        """What the steps of these hosts have printed last; of none named, those that printed last, the latest last."""
        named = [step for name in hosts for step in self._steps_of.get(name, ())]
        return self._ledger.tails(named if hosts else self._ledger.printers)

    @cached_property
    def _steps_of(self) -> dict[str, list[Step]]:
        found: dict[str, list[Step]] = {}
        for step in self.plan.steps:
            found.setdefault(step.host.name, []).append(step)
        return found

    def _take(self, event: events.Event) -> None:
        """Pass an event on, and see whether there are too many bad hosts now."""
        self._emit(event)
        limited = self.plan.terms.max_failures is not None
        if limited and isinstance(event, events.StepEnded) and len(self._ledger.bad_hosts) > self._tolerated:
            self._stopping = True

    async def _unless_cancelled(self, waiting: Awaitable[T]) -> T | None:
        """Wait for something that a cancel ends, also one that came before it began; None then."""
        future = asyncio.ensure_future(waiting)
        if self.cancelled:
            future.cancel()
        self._waiting.add(future)
        try:
            return await future
        except asyncio.CancelledError:
            if not self.cancelled:
                raise
            return None
        finally:
            self._waiting.discard(future)

    async def _run_chunk(self, steps: tuple[Step, ...]) -> None:
        number = steps[0].chunk
        self._emit(events.ChunkStarted(number, len({step.host.name for step in steps}), len(steps)))
        await self._run_rounds(steps)
        stops = self.plan.terms.on_error != "continue"
        if stops and len(self._ledger.bad_hosts) > self._tolerated:
            self._stopping = True
        if not self._stopping and (why := await self._why_not_passing(steps)) is not None:
            if stops:
                self._stopping = True
                self.why_stopped = why
            else:
                logger.warning("opskit: %s; the run goes on", why)
        self._emit(events.ChunkEnded(number, not self._stopping))

    async def _run_rounds(self, steps: tuple[Step, ...]) -> None:
        """All hosts once, then so many times those that could not be reached."""
        left = [step for step in steps if not self._ledger.has(step)]
        for number in range(self.plan.terms.retries + 1):
            last = number == self.plan.terms.retries
            await self._round(left, self._sender(self._ledger, number + 1, last_round=last))
            left = [] if last or self._stopping else self._to_retry(steps)
            if not left:
                break
            pause = FIRST_BACKOFF * 2 ** min(number, DOUBLINGS) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            await self._unless_cancelled(asyncio.sleep(pause))
        for step in self._ledger.open(steps):
            self._ledger.finish(step)

    def _to_retry(self, steps: Iterable[Step]) -> list[Step]:
        return [step for step in self._ledger.open(steps) if step.host.name not in self._unwanted]

    def _sender(self, ledger: Ledger, round_number: int = 1, *, last_round: bool = True) -> Sender:
        return Sender(
            self._transport,
            ledger,
            self._max_output,
            lambda: self._stopping,
            self._unrecorded,
            attempt=self._attempts_before + round_number,
            last_round=last_round,
            in_turn=self.plan.terms.in_turn,
        )

    async def _round(self, steps: Iterable[Step], sender: Sender) -> None:
        """Each host's steps, at most `fanout` hosts at once."""
        hosts = [list(found) for _, found in groupby(steps, key=lambda step: step.host.name)]
        waiting = iter(hosts)
        await asyncio.gather(*(self._work(waiting, sender) for _ in range(min(self.plan.fanout, len(hosts)))))

    async def _work(self, waiting: Iterator[list[Step]], sender: Sender) -> None:
        """One of `fanout` workers: take the next host until none is left."""
        worker = asyncio.current_task()
        assert worker is not None
        for steps in waiting:
            if self._stopping:
                return
            name = steps[0].host.name
            if name in self._unwanted:
                continue
            self._working[name] = worker
            try:
                await sender.work(steps)
            except asyncio.CancelledError:
                if not self.cancelled and name not in self._unwanted:
                    raise
            finally:
                del self._working[name]
                if worker.cancelling():
                    await _calm(worker)

    async def _why_not_passing(self, steps: tuple[Step, ...]) -> str | None:
        """Check a chunk that ended well: by the plan's command on its hosts, or by a function."""
        chunk, total = steps[0].chunk, len(self.plan.chunks)
        why = None
        if checks := [step for step in self.plan.checks if step.chunk == chunk]:
            ledger = Ledger(lambda _: None, self._journal)
            await self._round(checks, self._sender(ledger))
            self._failed_checks += [row for row in map(ledger.row, checks) if row.status not in ("ok", "not_started")]
            self._ledger.bad_hosts |= ledger.bad_hosts
            if (bad := len(ledger.bad_hosts)) and len(self._ledger.bad_hosts) > self._tolerated:
                command = one_line(checks[0].command, 80)
                why = f"`{command}` did not pass on {bad} {'host' if bad == 1 else 'hosts'}"
        elif self._check is not None:
            why = await self._unless_cancelled(self._check(Results(tuple(map(self._ledger.row, steps)))))
        return None if why is None else f"the check after chunk {chunk} of {total}: {why}"


async def _calm(worker: asyncio.Task[None]) -> None:
    """Take a cancel that came too late for what it was meant for."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    while worker.cancelling():
        worker.uncancel()
