"""What one command on one host came to: the row that everything else is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

Status = Literal["ok", "failed", "unreachable", "timeout", "cancelled", "skipped", "not_started", "unknown", "running"]

WORST_FIRST: Final[tuple[Status, ...]] = (
    "failed",
    "timeout",
    "unreachable",
    "unknown",
    "cancelled",
    "not_started",
    "running",
    "ok",
    "skipped",
)
"""Every status, in the order in which a person wants to read them; also the order of the DataFrame's category."""

RETRIED: Final[tuple[Status, ...]] = ("failed", "timeout", "cancelled", "unreachable", "not_started")
"""What `retry_failed` runs again."""

BAD: Final[frozenset[Status]] = frozenset({"failed", "timeout", "unreachable", "unknown"})
"""The fates that make a run a failed one."""

Cause = Literal["host_key", "authentication"]
"""Why a host was unreachable, where that has an error of its own (HostKeyError, AuthenticationError)."""


@dataclass(frozen=True, slots=True)
class HostResult:
    """One row: what became of one branch's command on one host.

    Attributes:
        host: The host's name in the inventory.
        branch: The condition's text (a callable's name), `"else"`, or a task's name; None if the command had no
            condition, or no branch matched.
        command: As sent; None where no branch matched.
        status: ok, failed, unreachable, timeout, cancelled, skipped, not_started or unknown; running in a snapshot.
        exit_code: None if there was none.
        signal: The signal's name without SIG, None if there was none.
        stdout: Decoded as UTF-8, bad bytes replaced.
        stderr: As stdout.
        truncated: Whether output was longer than `settings.max_output`.
        started_at: When the command was sent, in UTC; None if never.
        seconds: From the command's start to its end; None if it never started.
        chunk: From 1; None if skipped.
        attempt: From 1; 0 if taken from the journal; None if never sent.
        transaction: The id of the transaction, None outside of one.
        error: One line: what failed and what to do; None if nothing did.
        cause: Which subclass of CommandError the row asks for, where its status alone does not tell; not in the
            DataFrame.
    """

    host: str
    branch: str | None
    command: str | None
    status: Status
    exit_code: int | None = None
    signal: str | None = None
    stdout: str = ""
    stderr: str = ""
    truncated: bool = False
    started_at: datetime | None = None
    seconds: float | None = None
    chunk: int | None = None
    attempt: int | None = None
    transaction: str | None = None
    error: str | None = None
    cause: Cause | None = None

    @property
    def ok(self) -> bool:
        """Whether the command ran and ended with exit code 0."""
        return self.status == "ok"

    @property
    def bad(self) -> bool:
        """Whether this row makes its run a failed one."""
        return self.status in BAD


def worst(statuses: Iterable[Status]) -> Status:
    """The most serious of some statuses, at least one."""
    return min(statuses, key=WORST_FIRST.index)


def worst_first(counts: Mapping[Status, int]) -> list[tuple[Status, int]]:
    """The statuses that were counted at all, each with its count, worst first."""
    return [(status, counts[status]) for status in WORST_FIRST if counts.get(status)]
