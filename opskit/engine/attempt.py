"""One sending of one step: its output, its clock, and the row that it becomes."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from opskit.masking import mask
from opskit.results import HostResult

if TYPE_CHECKING:
    from opskit.engine.capture import Capture
    from opskit.engine.ports import Ending
    from opskit.results import Status
    from opskit.work.plan import Step

LONGEST_COMPLAINT = 200


class Attempt:
    """What is known of a step while it is under way.

    Args:
        step: What is sent.
        capture: Takes its output.
        number: From 1, a round of retries each.
        transaction: What it is a part of.
    """

    __slots__ = ("_clock", "_number", "_sent_at", "_transaction", "capture", "step")

    def __init__(self, step: Step, capture: Capture, number: int, transaction: str | None) -> None:
        self.step = step
        self.capture = capture
        self._number = number
        self._transaction = transaction
        self._sent_at: datetime | None = None
        self._clock = 0.0

    def sent(self) -> None:
        """Note that the command was sent, or may have been; its time counts from here."""
        self._sent_at, self._clock = datetime.now(UTC), time.monotonic()

    def row(self, status: Status, **more: Any) -> HostResult:
        """The row of a step whose command was sent, or may have been."""
        self.capture.finish()
        return self._row(status, **more)

    def so_far(self) -> HostResult:
        """The row of a step that is under way, for a snapshot."""
        if self._sent_at is None:
            return row_of(self.step, "not_started", self._transaction)
        return self._row("running")

    def _row(self, status: Status, **more: Any) -> HostResult:
        return row_of(
            self.step,
            status,
            self._transaction,
            stdout=self.capture.stdout,
            stderr=self.capture.stderr,
            truncated=self.capture.truncated,
            started_at=self._sent_at,
            seconds=None if self._sent_at is None else time.monotonic() - self._clock,
            attempt=self._number,
            **more,
        )

    def ended(self, ending: Ending) -> HostResult:
        """The row of a command that ended by itself."""
        if ending.exit_code == 0:
            return self.row("ok", exit_code=0)
        how = "ended without an exit code" if ending.exit_code is None else f"exit code {ending.exit_code}"
        if ending.signal is not None:
            how = f"killed by signal {ending.signal}"
        lines = (line.strip() for line in reversed(self.capture.stderr.splitlines()))
        complaint = next((line for line in lines if line), "")[:LONGEST_COMPLAINT]
        error = f"{how}: {complaint}" if complaint else how
        return self.row("failed", exit_code=ending.exit_code, signal=ending.signal, error=error)


def row_of(step: Step, status: Status, transaction: str | None, *, error: str | None = None, **more: Any) -> HostResult:
    """The row of a step; `more` if anything was sent. No secret gets into any row: output came masked."""
    branch, error = step.branch and mask(step.branch), error and mask(error)
    return HostResult(
        step.host.name,
        branch,
        mask(step.command),
        status,
        chunk=step.chunk,
        transaction=transaction,
        error=error,
        **more,
    )
