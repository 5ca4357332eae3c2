"""The engine's ports to the outside world: a way to reach hosts, and a journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from opskit.engine.capture import Capture
    from opskit.fleet import Host
    from opskit.results import Cause, HostResult
    from opskit.work.plan import Plan, Step


DRAIN_SECONDS: Final = 2.0
"""How long output may still come after a command has ended, from a child that kept its stdout."""

GRACE_SECONDS: Final = 2.0
"""How long a command may clean up after TERM before it is killed."""

DEAD_MAN_SECONDS: Final = 4.0
"""How long a host may need to end what runs on it for a process that has died: to notice, and to let it clean up."""


Ask = Callable[[str, str], Awaitable[str]]
"""Asks the person who called, who answers unseen in their own thread: of a question, and what to set instead where
nobody can answer; raises PromptRefused then."""


class Unreachable(Exception):  # noqa: N818 - a fate, told between the engine and its transports, never to a user
    """No session could be had; surely nothing was sent.

    Attributes:
        cause: Set where the fate has an error of its own.
    """

    def __init__(self, message: str, cause: Cause | None = None) -> None:
        super().__init__(message)
        self.cause = cause


class Lost(Exception):  # noqa: N818 - as above
    """The connection was lost after the command was sent; it may have run."""


class Refused(Exception):  # noqa: N818 - as above
    """The host took the connection but refused to start the command; it did not run."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended by itself: an exit code, or the name of a signal without SIG."""

    exit_code: int | None
    signal: str | None = None


class Process(Protocol):
    """A command that was sent to a host."""

    async def wait(self) -> Ending:
        """Wait for its end; raises Lost."""

    async def begin(self, patience: float) -> None:
        """Wait until it began to run, for `patience` seconds at most; its timeout counts from there."""

    async def end(self) -> str | None:
        """End it and what it started. Returns None if that is sure, else in words what may still run."""


class Connection(Protocol):
    """An open way to one host."""

    async def start(self, step: Step, capture: Capture) -> Process:
        """Send the step's command; its output goes to `capture`, which is told right before it leaves: `leaves`.

        A cancel is raised only where surely nothing was sent; one that comes later takes effect at the next waiting.

        Raises:
            Unreachable: Surely not sent: the connection was gone before.
            Refused: Surely not run: the host refused it.
            Lost: The connection was lost while the command was being sent.
        """


class Transport(Protocol):
    """A way to reach hosts."""

    async def prepare(self, steps: Iterable[Step]) -> None:
        """Make ready what these steps need; raises an OpskitError if something is missing. Nothing is dialled yet."""

    def connection(self, host: Host, connect_timeout: float) -> AbstractAsyncContextManager[Connection]:
        """Open a way to the host, or take a warm one; entering raises Unreachable."""


How = Literal["succeeded", "failed", "cancelled"]
"""How a run has ended."""


class Journal(Protocol):
    """Where a run writes down what it intends, before it does it, and what became of it."""

    @property
    def transaction(self) -> str | None:
        """What the rows of the run are to name as their transaction."""

    async def admit(self, plan: Plan) -> None:
        """Return when nobody else keeps the run off the hosts of its plan. Nothing is written of that, nor dialled.

        Raises:
            HostsBusy: Somebody does, and is not waited for any more.
            JournalError, RollbackError: As `begin` and `intend`.
        """

    async def begin(self, plan: Plan) -> Mapping[int, HostResult]:
        """Write down what is planned. Nothing is dialled yet.

        Returns the rows of steps that were done before, under their key, and are not sent again; by the step's `id`.

        Raises:
            JournalError: It can't be written.
            PlanError: A key stands for another command.
        """

    async def intend(self, step: Step, attempt: int) -> None:
        """Return when it is written, and durable, that a step is about to be sent.

        Raises:
            JournalError: It can't be written: the step must not be sent.
            RollbackError: The transaction belongs to somebody else by now: nothing may be sent any more.
        """

    def expect_may_leave(self, step: Step) -> None:
        """Raise JournalError if what was intended may not be sent any more; asked right before it leaves."""

    def ended(self, step: Step, row: HostResult) -> None:
        """Take what became of a step, or of one attempt of it; it is written in the background, soon."""

    async def end(self, how: How) -> None:
        """Return when all is written; raises JournalError."""


class Unrecorded(Journal):
    """A journal of what nobody needs to know afterwards."""

    @property
    def transaction(self) -> None:
        """It is no part of any."""

    async def admit(self, plan: Plan) -> None:
        """Nobody is kept off anything."""

    async def begin(self, plan: Plan) -> Mapping[int, HostResult]:  # noqa: ARG002 - the port's
        """Nothing is written."""
        return {}

    async def intend(self, step: Step, attempt: int) -> None:
        """Nothing is written."""

    def expect_may_leave(self, step: Step) -> None:
        """Nothing keeps it."""

    def ended(self, step: Step, row: HostResult) -> None:
        """Nothing is written."""

    async def end(self, how: How) -> None:
        """Nothing is written."""


UNRECORDED: Final = Unrecorded()
