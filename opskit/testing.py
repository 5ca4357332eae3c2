"""Public fakes, for tests of what is built on opskit: a transport that answers from a script instead of hosts."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opskit.engine.ports import Ending, Lost, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from opskit.engine.capture import Capture
    from opskit.fleet import Host
    from opskit.results import Cause
    from opskit.work.plan import Step


@dataclass(frozen=True, slots=True)
class Reply:
    """How a scripted host answers a command.

    Attributes:
        exit_code: None if a signal ended it.
        signal: The signal's name without SIG.
        hangs: Whether it runs until it is ended.
        lost: Whether the connection is lost while it runs.
        unreachable: Why there is no connection; nothing is sent then.
        cause: As `HostResult.cause`, with `unreachable`.
    """

    exit_code: int | None = 0
    stdout: bytes = b""
    stderr: bytes = b""
    signal: str | None = None
    hangs: bool = False
    lost: bool = False
    unreachable: str | None = None
    cause: Cause | None = None


class ScriptedTransport:
    """Answers each command from a function, and remembers what happened.

    Args:
        script: From a host's name and a command to a reply. It is asked with an empty command while a host is
            connected to, and of that reply `unreachable` alone counts.

    Attributes:
        dialled: The hosts that were connected to, in order.
        sent: Host and command of each step, in order.
        ended: Host and command of each step that had to be ended.
        most_at_once: How many connections were open at the same time, at most.
    """

    def __init__(self, script: Callable[[str, str], Reply] = lambda host, command: Reply()) -> None:  # noqa: ARG005 - a default answer
        self._script = script
        self._open = 0
        self.dialled: list[str] = []
        self.sent: list[tuple[str, str]] = []
        self.ended: list[tuple[str, str]] = []
        self.most_at_once = 0

    async def prepare(self, steps: Iterable[Step]) -> None:
        """Nothing is needed."""

    @asynccontextmanager
    async def connection(self, host: Host, connect_timeout: float) -> AsyncIterator[ScriptedConnection]:  # noqa: ARG002 - the port's
        """Open, unless the script says that the host is unreachable."""
        self.dialled.append(host.name)
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            await asyncio.sleep(0)
            reply = self._script(host.name, "")
            if reply.unreachable is not None:
                raise Unreachable(reply.unreachable, reply.cause)
            yield ScriptedConnection(self)
        finally:
            self._open -= 1

    def answer(self, step: Step) -> Reply:
        """Remember that a step was sent, and look its reply up."""
        self.sent.append((step.host.name, step.command))
        return self._script(step.host.name, step.command)


class ScriptedConnection:
    """An open way to a scripted host."""

    def __init__(self, transport: ScriptedTransport) -> None:
        self._transport = transport

    async def start(self, step: Step, capture: Capture) -> ScriptedProcess:
        """Answer the step's command."""
        capture.leaves()
        reply = self._transport.answer(step)
        capture.received("stdout", reply.stdout)
        capture.received("stderr", reply.stderr)
        return ScriptedProcess(reply, lambda: self._transport.ended.append((step.host.name, step.command)))


class ScriptedProcess:
    """A command that ends as its reply says."""

    def __init__(self, reply: Reply, ended: Callable[[], object]) -> None:
        self._reply = reply
        self._note_end = ended

    async def wait(self) -> Ending:
        """Wait for its end."""
        await asyncio.sleep(0)
        if self._reply.hangs:
            await asyncio.Event().wait()
        if self._reply.lost:
            raise Lost("the connection was lost while the command ran; it may have run")
        return Ending(self._reply.exit_code, self._reply.signal)

    async def begin(self, patience: float) -> None:
        """It begins at once."""

    async def end(self) -> None:
        """End it; always sure."""
        self._note_end()
