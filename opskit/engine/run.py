"""One run of a plan: chunk after chunk, each host as soon as there is room, every step to exactly one fate."""

from __future__ import annotations

import asyncio
import logging
from itertools import groupby
from typing import TYPE_CHECKING

from opskit import events
from opskit.engine.attempt import Attempt, unsent
from opskit.engine.capture import Capture
from opskit.engine.ports import Lost, Refused, Unreachable
from opskit.results import HostResult, Results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opskit.engine.capture import Stream
    from opskit.engine.ports import Connection, Process, Transport
    from opskit.results import Status
    from opskit.work.plan import Plan, Step

logger = logging.getLogger("opskit")

SECONDS_TO_BEGIN = 2.0
"""How long a command that shall be ended may take to begin."""


class Run:
    """A plan on its way. `finish` runs it, `cancel` ends it early; `results` may be read at any time.

    Everything here belongs to one event loop.

    Args:
        plan: What to do.
        transport: How hosts are reached.
        emit: Takes every event, at once and without blocking.
        max_output: Bytes kept of each output stream.
    """

    def __init__(
        self,
        plan: Plan,
        transport: Transport,
        emit: Callable[[events.Event], object],
        *,
        max_output: int,
    ) -> None:
        self.plan = plan
        self._transport = transport
        self._emit = emit
        self._max_output = max_output
        self._rows: dict[int, HostResult] = {}
        self._bad_hosts: set[str] = set()
        self._told: set[int] = set()
        limit = plan.terms.max_failures
        self._tolerated = 0 if limit is None else limit.of(len({step.host.name for step in plan.steps}))
        self._working: dict[str, asyncio.Task[None]] = {}
        self._preparing: list[asyncio.Future[None]] = []
        self._stopping = False
        self.cancelled = False

    async def finish(self) -> Results:
        """Run every chunk until done, or until a stop rule or a cancel says no. The end event always comes.

        Raises:
            OpskitError: The transport lacks something, such as a readable key; nothing was dialled.
        """
        self._emit(events.RunStarted(self.plan))
        try:
            await self._prepare()
            for chunk in self.plan.chunks:
                if self._stopping:
                    break
                await self._run_chunk(chunk)
        finally:
            results = self.results()
            self._emit(events.RunEnded(results))
        return results

    def cancel(self) -> None:
        """End what runs, start nothing more. Every step gets its fate, and `finish` returns soon.

        A second call does not wait for what the first is ending: those steps are `unknown`.
        """
        self.cancelled = self._stopping = True
        for task in [*self._working.values(), *self._preparing]:
            task.cancel()

    async def _prepare(self) -> None:
        self._preparing = [asyncio.ensure_future(self._transport.prepare(self.plan.steps))]
        try:
            await self._preparing[0]
        except asyncio.CancelledError:
            if not self.cancelled:
                raise
        finally:
            self._preparing = []

    def results(self) -> Results:
        """A row for each step and each skipped host, in inventory order; what has not run is `not_started`."""
        rows = (self._rows.get(id(step)) or unsent(step, "not_started") for step in self.plan.steps)
        if not self.plan.skipped:
            return Results(tuple(rows))
        by_host = {name: list(found) for name, found in groupby(rows, key=lambda row: row.host)}
        by_host |= {host.name: [HostResult(host.name, None, None, "skipped")] for host in self.plan.skipped}
        return Results(tuple(row for host in self.plan.hosts for row in by_host[host.name]))

    async def _run_chunk(self, steps: tuple[Step, ...]) -> None:
        hosts = [list(found) for _, found in groupby(steps, key=lambda step: step.host.name)]
        number = steps[0].chunk
        self._emit(events.ChunkStarted(number, len(hosts), len(steps)))
        waiting = iter(hosts)
        await asyncio.gather(*(self._work(waiting) for _ in range(min(self.plan.fanout, len(hosts)))))
        if self.plan.terms.on_error == "stop" and len(self._bad_hosts) > self._tolerated:
            self._stopping = True
        self._emit(events.ChunkEnded(number, not self._stopping))

    async def _work(self, waiting: Iterator[list[Step]]) -> None:
        """One of `fanout` workers: take the next host until none is left."""
        for steps in waiting:
            if self._stopping:
                return
            worker = asyncio.current_task()
            assert worker is not None
            self._working[steps[0].host.name] = worker
            try:
                await self._work_host(steps)
            except asyncio.CancelledError:
                if not self.cancelled:
                    raise
                worker.uncancel()
            finally:
                del self._working[steps[0].host.name]

    async def _work_host(self, steps: list[Step]) -> None:
        """All steps of a host, at the same time, over one connection."""
        host, patience = steps[0].host, max(step.terms.connect_timeout for step in steps)
        try:
            async with self._transport.connection(host, patience) as connection:
                if len(steps) == 1:
                    await self._work_step(connection, steps[0])
                else:
                    # Until all have ended, also when one of them is cancelled or fails.
                    await asyncio.gather(*(self._work_step(connection, step) for step in steps), return_exceptions=True)
        except Unreachable as error:
            for step in steps:
                self._ended(step, unsent(step, "unreachable", error=str(error), cause=error.cause))
        except Exception as error:  # noqa: BLE001 - a fault with one host is no other host's
            for step in steps:
                if id(step) not in self._rows:
                    self._ended(step, unsent(step, "unreachable", error=_fault(error, step)))

    async def _work_step(self, connection: Connection, step: Step) -> None:
        """Send one command and see it to its end, whatever that is."""
        if self._stopping:
            return
        attempt = Attempt(step, Capture(self._max_output, self._teller(step)))
        try:
            process = await connection.start(step, attempt.capture)
        except Unreachable as error:
            self._ended(step, unsent(step, "unreachable", error=str(error), cause=error.cause))
        except Refused as error:
            self._ended(step, attempt.row("failed", error=str(error)))
        except Lost as error:
            attempt.sent()
            self._ended(step, attempt.row("unknown", error=str(error)))
        except asyncio.CancelledError:
            self._ended(step, unsent(step, "not_started"))
            raise
        except Exception as error:  # noqa: BLE001 - as above
            attempt.sent()
            self._ended(step, attempt.row("unknown", error=f"{_fault(error, step)}; {_may_run(step)}"))
        else:
            attempt.sent()
            self._began(step)
            await self._see_through(process, attempt)

    async def _see_through(self, process: Process, attempt: Attempt) -> None:
        """Wait for the end of a command that was sent, or end it."""
        step, limit = attempt.step, attempt.step.terms.timeout
        try:
            if limit is None:
                ending = await process.wait()
            else:
                await process.begin(step.terms.connect_timeout)
                attempt.sent()
                async with asyncio.timeout(limit):
                    ending = await process.wait()
        except Lost as error:
            self._ended(step, attempt.row("unknown", error=str(error)))
        except TimeoutError:
            await self._end(process, attempt, "timeout", f"did not end within {limit:g} s")
        except asyncio.CancelledError:
            await self._end(process, attempt, "cancelled", "cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._ended(step, attempt.row("unknown", error=f"{_fault(error, step)}; {_may_run(step)}"))
        else:
            self._ended(step, attempt.ended(ending))

    async def _end(self, process: Process, attempt: Attempt, status: Status, why: str) -> None:
        """End a command, and say what became of it. A cancel meanwhile does not wait for that."""
        step = attempt.step
        try:
            await process.begin(SECONDS_TO_BEGIN)  # only what has begun can be ended
            left = await process.end()
        except asyncio.CancelledError:
            error = f"{why}; a cancel did not wait for its end; {_may_run(step)}"
            self._ended(step, attempt.row("unknown", error=error))
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._ended(step, attempt.row(status, error=f"{why}; {_fault(error, step)}; {_may_run(step)}"))
        else:
            became = "it was ended" if left is None else f"{_may_run(step)}: {left}"
            self._ended(step, attempt.row(status, error=f"{why}; {became}"))

    def _teller(self, step: Step) -> Callable[[Stream, str], object] | None:
        if step.terms.on_output is None:
            return None

        def tell(stream: Stream, line: str) -> None:
            self._began(step)
            self._emit(events.Output(step, stream, line))

        return tell

    def _began(self, step: Step) -> None:
        """Say so once, be it that the host took the command or that it printed something."""
        if id(step) not in self._told:
            self._told.add(id(step))
            self._emit(events.StepStarted(step))

    def _ended(self, step: Step, result: HostResult) -> None:
        self._rows[id(step)] = result
        if result.bad:
            self._bad_hosts.add(result.host)
            if self.plan.terms.max_failures is not None and len(self._bad_hosts) > self._tolerated:
                self._stopping = True
        self._emit(events.StepEnded(step, result))


def _may_run(step: Step) -> str:
    return f"it may still run on {step.host.name}"


def _fault(error: Exception, step: Step) -> str:
    """Report what no transport may raise, which says nothing about the command."""
    logger.error("opskit: a fault of its own with %s", step.host.name, exc_info=error)
    return f"a fault of opskit's own ({type(error).__name__}: {error})"
