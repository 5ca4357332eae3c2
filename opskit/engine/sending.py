"""Working on hosts: open a connection, send the steps of a host, and see each to exactly one fate."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from opskit.engine.attempt import Attempt, row_of
from opskit.engine.capture import Capture
from opskit.engine.ports import Lost, Refused, Unreachable
from opskit.errors import OpskitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opskit.engine.ledger import Ledger
    from opskit.engine.ports import Connection, Process, Transport
    from opskit.results import HostResult, Status
    from opskit.work.plan import Step

logger = logging.getLogger("opskit")

SECONDS_TO_BEGIN = 2.0
"""How long a command that shall be ended may take to begin."""


class Sender:
    """Sends steps and writes what becomes of them into a ledger.

    Args:
        transport: How hosts are reached.
        ledger: Takes the rows.
        max_output: Bytes kept of each output stream.
        attempt: From 1; what a retry sends is another one.
        last_round: Whether a host that can't be reached now is not tried again.
        in_turn: Whether the steps of a host wait for each other.
        stopping: Whether nothing more is to be sent.
        unrecorded: Called when a step can't be sent, since it could not be written down before.
    """

    def __init__(
        self,
        transport: Transport,
        ledger: Ledger,
        max_output: int,
        stopping: Callable[[], bool],
        unrecorded: Callable[[OpskitError], object],
        *,
        attempt: int,
        last_round: bool,
        in_turn: bool,
    ) -> None:
        self._transport = transport
        self._ledger = ledger
        self._max_output = max_output
        self._stopping = stopping
        self._unrecorded = unrecorded
        self._attempt = attempt
        self._last_round = last_round
        self._in_turn = in_turn

    async def work(self, steps: Iterable[Step]) -> None:
        """All steps of a host, in turn or at the same time, over one connection for each user who logs in."""
        if self._in_turn:
            for step in steps:
                await self._work_as_user([step])
            return
        of_users: dict[str | None, list[Step]] = {}
        for step in steps:
            of_users.setdefault(step.host.user, []).append(step)
        if len(of_users) == 1:
            await self._work_as_user(*of_users.values())
        else:
            await _all(map(self._work_as_user, of_users.values()))

    async def _work_as_user(self, steps: list[Step]) -> None:
        host, patience = steps[0].host, max(step.terms.connect_timeout for step in steps)
        try:
            async with self._transport.connection(host, patience) as connection:
                if len(steps) == 1:
                    await self._work_step(connection, steps[0])
                else:
                    await _all(self._work_step(connection, step) for step in steps)
        except Unreachable as error:
            for step in steps:
                if not self._ledger.has(step):
                    self._unreachable(step, error)
        except Exception as error:  # noqa: BLE001 - a fault with one host is no other host's
            for step in steps:
                if not self._ledger.has(step):
                    self._ledger.ended(step, self._row(step, "unreachable", error=_fault(error, step)))

    async def _work_step(self, connection: Connection, step: Step) -> None:
        """Send one command and see it to its end, whatever that is."""
        if self._stopping():
            return
        journal = self._ledger.journal
        capture = Capture(
            self._max_output,
            self._ledger.listener(step),
            partial(self._ledger.printed, step),
            partial(journal.expect_may_leave, step),
        )
        attempt = Attempt(step, capture, self._attempt, journal.transaction)
        self._ledger.sending(attempt)
        try:
            await journal.intend(step, self._attempt)
            process = await connection.start(step, capture)
        except Unreachable as error:
            self._unreachable(step, error)
        except Refused as error:
            self._ledger.ended(step, attempt.row("failed", error=str(error)))
        except Lost as error:
            attempt.sent()
            self._ledger.ended(step, attempt.row("unknown", error=str(error)))
        except OpskitError as error:
            self._ledger.ended(step, self._ledger.not_started(step, str(error)))
            self._unrecorded(error)
        except asyncio.CancelledError:
            self._ledger.ended(step, self._ledger.not_started(step))
            raise
        except Exception as error:  # noqa: BLE001 - as above
            attempt.sent()
            self._ledger.ended(step, attempt.row("unknown", error=f"{_fault(error, step)}; {_may_run(step)}"))
        else:
            attempt.sent()
            self._ledger.began(step)
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
            self._ledger.ended(step, attempt.row("unknown", error=str(error)))
        except Refused as error:
            self._ledger.ended(step, attempt.row("failed", error=str(error)))
        except TimeoutError:
            await self._end(process, attempt, "timeout", f"did not end within {limit:g} s")
        except asyncio.CancelledError:
            await self._end(process, attempt, "cancelled", "cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._ledger.ended(step, attempt.row("unknown", error=f"{_fault(error, step)}; {_may_run(step)}"))
        else:
            self._ledger.ended(step, attempt.ended(ending))

    async def _end(self, process: Process, attempt: Attempt, status: Status, why: str) -> None:
        """End a command, and say what became of it. A cancel meanwhile does not wait for that."""
        step = attempt.step
        try:
            await process.begin(SECONDS_TO_BEGIN)  # only what has begun can be ended
            left = await process.end()
        except asyncio.CancelledError:
            error = f"{why}; a cancel did not wait for its end; {_may_run(step)}"
            self._ledger.ended(step, attempt.row("unknown", error=error))
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._ledger.ended(step, attempt.row(status, error=f"{why}; {_fault(error, step)}; {_may_run(step)}"))
        else:
            became = "it was ended" if left is None else f"{_may_run(step)}: {left}"
            self._ledger.ended(step, attempt.row(status, error=f"{why}; {became}"))

    def _row(self, step: Step, status: Status, **more: Any) -> HostResult:
        return row_of(step, status, self._ledger.journal.transaction, **more)

    def _unreachable(self, step: Step, error: Unreachable) -> None:
        row = self._row(step, "unreachable", error=str(error), cause=error.cause)
        # Who lets nobody in, or may be somebody else, is not asked again.
        self._ledger.ended(step, row, final=self._last_round or error.cause is not None)


async def _all(works: Iterable[object]) -> None:
    """Until all have ended, also when one of them is cancelled or fails."""
    await asyncio.gather(*works, return_exceptions=True)  # type: ignore[call-overload]  # coroutines


def _may_run(step: Step) -> str:
    return f"it may still run on {step.host.name}"


def _fault(error: Exception, step: Step) -> str:
    """Report what no transport may raise, which says nothing about the command."""
    logger.error("opskit: a fault of its own with %s", step.host.name, exc_info=error)
    return f"a fault of opskit's own ({type(error).__name__}: {error})"
