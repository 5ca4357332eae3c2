"""This machine as a host (`address: local`): the same commands, as child processes, without SSH."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from opskit.engine.ports import DRAIN_SECONDS, GRACE_SECONDS, Ending, Refused
from opskit.transport.command_line import within_limit, words

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from types import TracebackType

    from opskit.engine.capture import Capture
    from opskit.fleet import Host
    from opskit.work.plan import Step

ADDRESS = "local"


class LocalTransport:
    """Runs commands here. There is nothing to connect to."""

    async def prepare(self, steps: Iterable[Step]) -> None:
        """Measure what will be run; raises TemplateError if a command is too long."""
        for step in steps:
            within_limit(step, words(step))

    def connection(self, host: Host, connect_timeout: float) -> LocalConnection:  # noqa: ARG002 - the port's
        """Always open."""
        return LocalConnection()


class LocalConnection:
    """Starts a process group for each command."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    async def start(self, step: Step, capture: Capture) -> LocalProcess:
        """Start the command; raises Refused if the system does not."""
        loop = asyncio.get_running_loop()
        stdin = step.terms.stdin
        process = LocalProcess(capture)
        try:
            # Opened here and not in a thread: it takes no longer than what follows, and no cancel can lose it.
            with stdin.open("rb") if isinstance(stdin, Path) else nullcontext(asyncio.subprocess.PIPE) as source:
                await _whole(
                    loop.subprocess_exec(
                        lambda: process, *words(step), start_new_session=True, cwd=Path.home(), stdin=source
                    )
                )  # fmt: skip
        except OSError as error:
            raise Refused(f"this machine could not start the command: {error.strerror}") from error
        if isinstance(stdin, bytes):
            process.feed(stdin)
        return process


class LocalProcess(asyncio.SubprocessProtocol):
    """One command and its process group."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._transport: asyncio.SubprocessTransport | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drain: asyncio.TimerHandle | None = None
        self._open_streams = 2

    def feed(self, stdin: bytes) -> None:
        """Hand over what the command reads, and close it."""
        pipe = self._of_system().get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        pipe.write(stdin)
        pipe.write_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the process runs."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Called by asyncio with each piece of output."""
        self._capture.received("stdout" if fd == 1 else "stderr", data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Called by asyncio at the end of each stream."""
        if fd:
            self._open_streams -= 1
            self._finish_if_over()

    def process_exited(self) -> None:
        """Called by asyncio when the process is gone; a child may still hold its streams."""
        self._drain = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._finish)
        self._finish_if_over()

    def _finish_if_over(self) -> None:
        if self._open_streams == 0 and self._of_system().get_returncode() is not None:
            self._finish()

    def _finish(self) -> None:
        if self._drain is not None:
            self._drain.cancel()
        if not self._ended.done():
            self._ended.set_result(None)
        self._of_system().close()

    async def wait(self) -> Ending:
        """Wait for the end of the command."""
        await asyncio.shield(self._ended)
        code = self._of_system().get_returncode()
        assert code is not None
        return Ending(code) if code >= 0 else Ending(None, _signal_name(-code))

    async def begin(self, patience: float) -> None:
        """It began when it was started."""

    async def end(self) -> str | None:
        """End the process group: TERM, and KILL to what does not listen."""
        group = self._of_system().get_pid()
        try:
            os.killpg(group, signal.SIGTERM)
            await asyncio.wait([self._ended], timeout=GRACE_SECONDS)
            os.killpg(group, signal.SIGKILL)
            await asyncio.wait([self._ended], timeout=GRACE_SECONDS)
        except ProcessLookupError:
            return None
        except PermissionError:  # it has become another user's
            return f"process group {group}"
        else:
            return None if self._ended.done() else f"process group {group}"
        finally:
            self._of_system().close()

    def _of_system(self) -> asyncio.SubprocessTransport:
        assert self._transport is not None
        return self._transport


async def _whole(starting: Coroutine[Any, Any, object]) -> None:
    """Wait for what a cancel must not cut in two: one that comes meanwhile takes effect where is waited next."""
    task = asyncio.ensure_future(starting)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled and (waiting := asyncio.current_task()) is not None:
        waiting.cancel()
    task.result()


def _signal_name(number: int) -> str:
    """As SSH names them; real-time signals have no name."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
