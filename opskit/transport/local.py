"""This machine as a host (`address: local`): the same commands, as child processes, without SSH."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from opskit.engine.ports import DRAIN_SECONDS, GRACE_SECONDS, Ending, Refused
from opskit.errors import PlanError
from opskit.transport.command_line import local_words, reads_a_file_alone, within_limit
from opskit.transport.dialogue import Dialogue
from opskit.transport.terminal import Terminal
from opskit.transport.wrapper import killed, signalled

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from types import TracebackType

    from opskit.engine.capture import Capture
    from opskit.fleet import Host
    from opskit.transport.passwords import Trials
    from opskit.work.plan import Step

ADDRESS = "local"

SECONDS_TO_OBEY = 3.0
"""How long sudo may take to run a short line of our own."""


class LocalTransport:
    """Runs commands here. There is nothing to connect to.

    Args:
        trials: The passwords that sudo may ask for.
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    async def prepare(self, steps: Iterable[Step]) -> None:
        """Measure what will be run.

        Raises:
            PlanError: A step is somebody else's: nobody logs in here.
            TemplateError: A command is too long.
        """
        for step in steps:
            if (user := step.terms.user) is not None:
                raise PlanError(
                    f"{step.host.name} is this machine, where nobody logs in: user={user!r} can't be had; "
                    f"sudo={user!r} can"
                )
            within_limit(step, local_words(step))

    def connection(self, host: Host, connect_timeout: float) -> LocalConnection:  # noqa: ARG002 - the port's
        """Always open."""
        return LocalConnection(self._trials)


class LocalConnection:
    """Starts a process group for each command."""

    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    async def start(self, step: Step, capture: Capture) -> LocalProcess:
        """Start the command; raises Refused if the system does not."""
        process = LocalProcess(step, capture, self._trials)
        capture.leaves()
        try:
            await (process.start_at_terminal() if step.terms.pty else process.start())
        except OSError as error:
            raise Refused(f"this machine could not start the command: {error.strerror}") from error
        return process


class LocalProcess(Dialogue, asyncio.SubprocessProtocol):
    """One command and its process group.

    Args:
        step: What is run.
        capture: Takes the output.
        trials: The passwords that sudo may ask for.
    """

    def __init__(self, step: Step, capture: Capture, trials: Trials) -> None:
        super().__init__(step, capture, trials, marked=step.terms.shell is not False)
        self._arguments = local_words(step)
        self._transport: asyncio.SubprocessTransport | None = None
        self._terminal: Terminal | None = None
        self._ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._failure: Exception | None = None
        self._drain: asyncio.TimerHandle | None = None
        self._open_streams = 1 if step.terms.pty else 2

    async def start(self) -> None:
        """Start it with pipes; raises OSError."""
        stdin = self._step.terms.stdin
        alone = reads_a_file_alone(self._step) and not self._keeps_back
        # Opened here and not in a thread: it takes no longer than what follows, and no cancel can lose it.
        with stdin.open("rb") if isinstance(stdin, Path) and alone else nullcontext(asyncio.subprocess.PIPE) as source:
            await self._spawn(self._arguments, stdin=source)
        if not alone:
            self.listens()

    async def start_at_terminal(self) -> None:
        """Start it at a terminal of its own; raises OSError."""
        self._terminal = await Terminal.open(self)
        try:
            await self._spawn(self._terminal.arguments(self._arguments), **self._terminal.streams())
        except BaseException:
            self._terminal.close()
            raise
        finally:
            self._terminal.close_side()
        self.listens()

    async def _spawn(self, arguments: list[str], **options: Any) -> None:
        loop = asyncio.get_running_loop()
        await _whole(
            loop.subprocess_exec(lambda: self, *arguments, start_new_session=True, cwd=Path.home(), **options)
        )  # fmt: skip

    def write(self, data: bytes) -> None:
        """Send to its standard input, or type at its terminal."""
        self._way_in().write(data)

    def write_eof(self) -> None:
        """Close its standard input."""
        self._way_in().write_eof()

    def _way_in(self) -> asyncio.WriteTransport:
        pipe = self._terminal.writer if self._terminal is not None else self._of_system().get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        return pipe

    def fail(self, error: Exception) -> None:
        """Let go of it: this is what became of it."""
        self._failure = error
        self._drain = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._finish)
        self._close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the process runs."""
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Called by asyncio with each piece of output."""
        self.heard("stdout" if fd == 1 else "stderr", data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Called by asyncio at the end of each stream."""
        if fd:
            self._open_streams -= 1
            self._finish_if_over()

    def process_exited(self) -> None:
        """Called by asyncio when the process is gone; a child may still hold its streams."""
        if self._drain is None:
            self._drain = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._finish)
        self._finish_if_over()

    def _finish_if_over(self) -> None:
        if self._open_streams == 0 and self._transport is not None and self._transport.get_returncode() is not None:
            self._finish()

    def _finish(self) -> None:
        if self._drain is not None:
            self._drain.cancel()
        if not self._ended.done():
            ending = self._ending()
            failure = self._failure or self.refused(ending)
            if failure is None:
                self._ended.set_result(ending)
            else:
                self._ended.set_exception(failure)
                self._ended.exception()  # nobody may be waiting
        self._close()

    def _ending(self) -> Ending:
        code = self._of_system().get_returncode()
        return Ending(code) if code is None or code >= 0 else Ending(None, _signal_name(-code))

    def _close(self) -> None:
        self.gone()
        if self._terminal is not None:
            self._terminal.close()
        with suppress(PermissionError):  # it is another user's
            self._of_system().close()

    async def wait(self) -> Ending:
        """Wait for the end of the command."""
        try:
            return await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            self.give_up()
            raise

    async def end(self) -> str | None:
        """End the process group: TERM, and KILL to what does not listen."""
        group = self.group or self._of_system().get_pid()
        try:
            if self.never_began:
                return None
            sure = await (self._end_group(group) if self._step.terms.sudo is None else self._end_as_other(group))
        except asyncio.CancelledError:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)  # nobody waits any more until it has cleaned up
            raise
        finally:
            self._close()
        return None if sure else f"process group {group}"

    async def _end_group(self, group: int) -> bool:
        try:
            os.killpg(group, signal.SIGTERM)
            await asyncio.wait([self._ended], timeout=GRACE_SECONDS)
            os.killpg(group, signal.SIGKILL)
            await asyncio.wait([self._ended], timeout=GRACE_SECONDS)
        except ProcessLookupError:
            return True
        except PermissionError:  # it has become another user's
            return False
        return self._ended.done()

    async def _end_as_other(self, group: int) -> bool:
        """The same by sudo, as the user whose the group is."""
        sudo, password = self._step.terms.sudo, self.password
        await _aside(signalled(group, "TERM", sudo, asks=password is not None), password)
        await asyncio.wait([self._ended], timeout=GRACE_SECONDS)
        return await _aside(killed(group, sudo, asks=password is not None), password) == 0

    def _of_system(self) -> asyncio.SubprocessTransport:
        assert self._transport is not None
        return self._transport


async def _aside(line: str, password: bytes | None) -> int | None:
    """Run a line of our own; gives its exit code, None if it takes too long."""
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", line, stdin=asyncio.subprocess.PIPE, stdout=nothing, stderr=nothing, start_new_session=True
    )
    try:
        async with asyncio.timeout(SECONDS_TO_OBEY):
            await process.communicate(password)
    except TimeoutError:
        with suppress(ProcessLookupError, PermissionError):
            process.kill()
    return process.returncode


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
