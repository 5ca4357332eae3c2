"""One run of a plan: chunk after chunk, each host as soon as there is room, every step to exactly one fate."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from opskit import events
from opskit.engine.capture import Capture
from opskit.engine.ports import Lost, Refused, Unreachable
from opskit.results import HostResult, Results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opskit.engine.capture import Stream
    from opskit.engine.ports import Connection, Ending, Process, Transport
    from opskit.results import Status
    from opskit.work.plan import Plan, Step

logger = logging.getLogger("opskit")


class Run:
    """A plan on its way. `finish` runs it, `cancel` ends it early; `results` may be read at any time.

    Everything here belongs to one event loop.

    Args:
        plan: What to do.
        transport: How hosts are reached.
        emit: Takes every event, at once and without blocking.
        max_output: Bytes kept of each output stream.
        tell_lines: Whether output is told as events, also where no branch asks for it.
    """

    def __init__(
        self,
        plan: Plan,
        transport: Transport,
        emit: Callable[[events.Event], object],
        *,
        max_output: int,
        tell_lines: bool = False,
    ) -> None:
        self.plan = plan
        self._transport = transport
        self._emit = emit
        self._max_output = max_output
        self._tell_lines = tell_lines
        self._rows: dict[int, HostResult] = {}
        self._bad_hosts: set[str] = set()
        limit = plan.terms.max_failures
        self._tolerated = 0 if limit is None else limit.of(len({step.host.name for step in plan.steps}))
        self._working: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self.cancelled = False

    async def finish(self) -> Results:
        """Run every chunk until done, or until a stop rule or a cancel says no. The end event always comes.

        Raises:
            OpskitError: The transport lacks something, such as a readable key; nothing was dialled.
        """
        await self._transport.prepare({step.host.name: step.host for step in self.plan.steps}.values())
        self._emit(events.RunStarted(self.plan))
        try:
            for chunk in self.plan.chunks:
                if self._stopping:
                    break
                await self._run_chunk(chunk)
        finally:
            results = self.results()
            self._emit(events.RunEnded(results))
        return results

    def cancel(self) -> None:
        """End what runs, start nothing more. Every step gets its fate, and `finish` returns soon."""
        self.cancelled = self._stopping = True
        for task in list(self._working.values()):
            task.cancel()

    def results(self) -> Results:
        """A row for each step and each skipped host, in inventory order; what has not run is `not_started`."""
        rows = (self._rows.get(id(step)) or _row(step, "not_started") for step in self.plan.steps)
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
        first = steps[0]
        try:
            async with self._transport.connection(first.host, first.terms.connect_timeout) as connection:
                if len(steps) == 1:
                    await self._work_step(connection, first)
                else:
                    await asyncio.gather(*(self._work_step(connection, step) for step in steps))
        except Unreachable as error:
            for step in steps:
                self._ended(step, _row(step, "unreachable", error=str(error), cause=error.cause))
        except Exception as error:  # noqa: BLE001 - a fault with one host is no other host's
            for step in steps:
                if id(step) not in self._rows:
                    self._ended(step, _row(step, "unknown", error=_fault(error, step)))

    async def _work_step(self, connection: Connection, step: Step) -> None:
        """Send one command and see it to its end, whatever that is."""
        if self._stopping:
            return
        capture = Capture(self._max_output, self._teller(step))
        self._emit(events.StepStarted(step))
        started_at, clock = datetime.now(UTC), time.monotonic()

        def row(status: Status, **more: Any) -> HostResult:
            capture.finish()
            return _row(
                step,
                status,
                stdout=capture.stdout,
                stderr=capture.stderr,
                truncated=capture.truncated,
                started_at=started_at,
                seconds=time.monotonic() - clock,
                attempt=1,
                **more,
            )

        try:
            process = await connection.start(step, capture)
        except Unreachable as error:
            self._ended(step, _row(step, "unreachable", error=str(error), cause=error.cause))
        except Refused as error:
            self._ended(step, row("failed", error=str(error)))
        except Lost as error:
            self._ended(step, row("unknown", error=str(error)))
        except asyncio.CancelledError:
            self._ended(step, _row(step, "not_started"))
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._ended(step, row("unknown", error=_fault(error, step)))
        else:
            await self._see_through(process, step, row)

    async def _see_through(self, process: Process, step: Step, row: Callable[..., HostResult]) -> None:
        """Wait for the end of a command that was sent, or end it."""
        limit = step.terms.timeout
        try:
            if limit is None:
                ending = await process.wait()
            else:
                await process.begin(step.terms.connect_timeout)
                async with asyncio.timeout(limit):
                    ending = await process.wait()
        except Lost as error:
            self._ended(step, row("unknown", error=str(error)))
        except TimeoutError:
            await self._end(process, step, row, "timeout", f"did not end within {limit:g} s")
        except asyncio.CancelledError:
            await self._end(process, step, row, "cancelled", "cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._ended(step, row("unknown", error=_fault(error, step)))
        else:
            status: Status = "ok" if ending.exit_code == 0 else "failed"
            ended = row(status, exit_code=ending.exit_code, signal=ending.signal)
            self._ended(step, ended if ended.ok else _explained(ended, ending))

    async def _end(
        self, process: Process, step: Step, row: Callable[..., HostResult], status: Status, why: str
    ) -> None:
        """End a command that shall run no longer, and tell what became of it; a cancel no longer waits for that."""
        host = step.host.name
        try:
            left = await process.end()
        except asyncio.CancelledError:
            lost = "a cancel did not wait for its end"
            self._ended(step, row("unknown", error=f"{why}; {lost}; it may still run on {host}"))
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._ended(step, row(status, error=f"{why}; {_fault(error, step)}"))
        else:
            ended = "it was ended" if left is None else f"it may still run on {host}: {left}"
            self._ended(step, row(status, error=f"{why}; {ended}"))

    def _teller(self, step: Step) -> Callable[[Stream, str], object] | None:
        if step.terms.on_output is None and not self._tell_lines:
            return None
        return lambda stream, line: self._emit(events.Output(step, stream, line))

    def _ended(self, step: Step, result: HostResult) -> None:
        self._rows[id(step)] = result
        if result.bad:
            self._bad_hosts.add(result.host)
            if self.plan.terms.max_failures is not None and len(self._bad_hosts) > self._tolerated:
                self._stopping = True
        self._emit(events.StepEnded(step, result))


def _fault(error: Exception, step: Step) -> str:
    """Report what no transport may raise, which says nothing about the command."""
    logger.error("opskit: a fault of its own with %s", step.host.name, exc_info=error)
    return f"a fault of opskit's own ({type(error).__name__}: {error}); it may still run on {step.host.name}"


def _row(step: Step, status: Status, **more: Any) -> HostResult:
    return HostResult(step.host.name, step.branch, step.command, status, chunk=step.chunk, **more)


def _explained(row: HostResult, ending: Ending) -> HostResult:
    """Say how a command failed, with the last line that it complained with."""
    from dataclasses import replace

    how = f"killed by signal {ending.signal}" if ending.signal else f"exit code {ending.exit_code}"
    if ending.exit_code is None and ending.signal is None:
        how = "ended without an exit code"
    last = next((line.strip() for line in reversed(row.stderr.splitlines()) if line.strip()), "")
    return replace(row, error=f"{how}: {last[:200]}" if last else how)
