"""One command on one host over SSH: its output as it comes, its end, and the ways to end it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from opskit.engine.ports import DRAIN_SECONDS, GRACE_SECONDS, Ending, Lost
from opskit.transport.wrapper import MARK, killed, signalled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opskit.engine.capture import Capture

LONGEST_GREETING = 64 * 1024
"""How much a login shell may write before the wrapper's mark is not looked for any more."""

PIECE = 256 * 1024


class RemoteProcess(asyncssh.SSHClientSession[bytes]):
    """The callbacks of one session channel, and what the engine asks of a process.

    Args:
        capture: Takes the output.
        stdin: What the command reads: bytes, a file, or None if its line closes that by itself.
        freed: Called once, when the channel is gone.
        aside: Runs a line on the host beside this; gives its exit code, None if the host grants no session for it.
        marked: Whether the line sent was wrapped, and so tells its group by a mark.
    """

    def __init__(
        self,
        capture: Capture,
        stdin: bytes | Path | None,
        freed: Callable[[], object],
        aside: Callable[[str], Awaitable[int | None]],
        *,
        marked: bool,
    ) -> None:
        self._capture = capture
        self._stdin = stdin
        self._freed = freed
        self._aside = aside
        self._before_mark = b""
        self._group: int | None = None
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not marked:
            self._begun.set_result(None)
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._ending: Ending | None = None
        self._ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._drain: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._feeding: asyncio.Task[None] | None = None

    @property
    def opened(self) -> bool:
        """Whether the channel was open, and so the command may have been sent."""
        return self._channel is not None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Called by asyncssh just before the command is sent."""
        self._channel = chan

    def resume(self) -> None:
        """Listen to a command that was sent, though nobody waited for the host to take it."""
        assert self._channel is not None
        self._channel.resume_reading()

    def session_started(self) -> None:
        """Called by asyncssh when the host took the command."""
        assert self._channel is not None
        if isinstance(self._stdin, Path):
            self._writable.set()
            self._feeding = asyncio.ensure_future(self._feed(self._stdin))
        elif self._stdin is not None:
            with suppress(BrokenPipeError):  # it has ended already, without reading
                self._channel.write(self._stdin)
            self._channel.write_eof()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Called by asyncssh with each piece of output."""
        if datatype is None:
            self._capture.received("stdout", data)
        elif self._begun.done():
            self._capture.received("stderr", data)
        else:
            self._look_for_mark(data)

    def _look_for_mark(self, data: bytes) -> None:
        """Cut the wrapper's mark out of what a login shell may have written around it."""
        self._before_mark += data
        before, mark, after = self._before_mark.partition(MARK.encode())
        number, end, rest = after.partition(b"\n")
        if mark and end:
            self._group = int(number) if number.strip().isdigit() else None
            self._stop_looking(before + rest)
        elif len(self._before_mark) > LONGEST_GREETING:
            self._stop_looking(self._before_mark)

    def _stop_looking(self, output: bytes) -> None:
        if output:
            self._capture.received("stderr", output)
        self._begun.set_result(None)

    def exit_status_received(self, status: int) -> None:
        """Called by asyncssh with the exit code."""
        self._exited(Ending(status))

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002 - asyncssh's
        """Called by asyncssh with the signal that ended the command."""
        self._exited(Ending(None, signal))

    def _exited(self, ending: Ending) -> None:
        """Note how the command ended; what it left behind may hold its output open only so long."""
        self._ending = ending
        self._drain = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._hang_up)

    def pause_writing(self) -> None:
        """Called by asyncssh when the host does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncssh when the host reads again."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncssh when the channel is gone, with a reason if the whole connection is."""
        if self._drain is not None:
            self._drain.cancel()
        if self._feeding is not None:
            self._feeding.cancel()
        self._freed()
        if not self._begun.done():
            self._stop_looking(self._before_mark)
        if self._ended.done():
            return
        if self._ending is None and exc is not None:
            self._ended.set_exception(Lost(f"the connection was lost while the command ran ({exc}); it may have run"))
            self._ended.exception()  # nobody may be waiting
        else:
            self._ended.set_result(self._ending or Ending(None))

    async def wait(self) -> Ending:
        """Wait for the end of the command."""
        return await asyncio.shield(self._ended)

    async def begin(self, patience: float) -> None:
        """Wait until the command began to run, as its wrapper tells, but no longer than `patience` seconds."""
        await asyncio.wait([self._begun], timeout=patience)

    async def end(self) -> str | None:
        """End the command's process group: TERM, then KILL. Returns what may be left, in words."""
        left = f"process group {self._group}" if self._group else "its processes"
        try:
            sure = await self._end_group(self._group) if self._group else None
            if sure is None:
                left, sure = "its processes", await self._end_leader()
        except (TimeoutError, OSError, asyncssh.Error):
            sure = False
        finally:
            self._hang_up()
        return None if sure else left

    async def _end_group(self, group: int) -> bool | None:
        """Signal the group from a session beside this one; None if the host grants none."""
        if await self._aside(signalled(group, "TERM")) is None:
            return None
        await asyncio.wait([self._ended], timeout=GRACE_SECONDS)
        code = await self._aside(killed(group))
        return None if code is None else code == 0

    async def _end_leader(self) -> bool:
        """Ask the server to signal the command; it may refuse without a word."""
        assert self._channel is not None
        for signal in ("TERM", "KILL"):
            self._channel.send_signal(signal)
            await asyncio.wait([self._ended], timeout=GRACE_SECONDS)
            if self._ending is not None:
                return True
        return False

    def _hang_up(self) -> None:
        assert self._channel is not None
        self._channel.abort()

    async def _feed(self, path: Path) -> None:
        """Send a file piece by piece, no faster than the host reads."""
        assert self._channel is not None
        try:
            with path.open("rb") as file:  # a moment; in a thread a cancel would lose the open file
                while piece := await asyncio.to_thread(file.read, PIECE):
                    await self._writable.wait()
                    self._channel.write(piece)
            self._channel.write_eof()
        except BrokenPipeError:
            pass  # it ended without reading all of it
        except OSError as error:
            if not self._ended.done():
                why = f"{path} could not be read ({error.strerror}); the command got a part of it, and may still run"
                self._ended.set_exception(Lost(why))
                self._ended.exception()  # nobody may be waiting
            self._hang_up()
