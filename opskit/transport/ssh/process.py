"""One command on one host over SSH: its output as it comes, its end, and the ways to end it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh

from opskit.engine.ports import Ending, Lost

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.engine.capture import Capture

DRAIN_SECONDS = 2.0
"""How long output may still come after a command has ended, from a child that kept its stdout."""

GRACE_SECONDS = 2.0
"""How long a command may clean up after TERM before it is killed."""

PIECE = 256 * 1024


class RemoteProcess(asyncssh.SSHClientSession[bytes]):
    """The callbacks of one session channel, and what the engine asks of a process.

    Args:
        capture: Takes the output.
        stdin: What the command reads: bytes, a file, or None if its line closes that by itself.
        freed: Called once, when the channel is gone.
    """

    def __init__(self, capture: Capture, stdin: bytes | Path | None, freed: Callable[[], object]) -> None:
        self._capture = capture
        self._stdin = stdin
        self._freed = freed
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

    def session_started(self) -> None:
        """Called by asyncssh when the host took the command."""
        assert self._channel is not None
        if isinstance(self._stdin, Path):
            self._writable.set()
            self._feeding = asyncio.ensure_future(self._feed(self._stdin))
        elif self._stdin is not None:
            if self._stdin:
                self._channel.write(self._stdin)
            self._channel.write_eof()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Called by asyncssh with each piece of output."""
        self._capture.received("stdout" if datatype is None else "stderr", data)

    def exit_status_received(self, status: int) -> None:
        """Called by asyncssh with the exit code."""
        self._ending = Ending(status)
        self._drain = asyncio.get_running_loop().call_later(DRAIN_SECONDS, self._hang_up)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002 - asyncssh's
        """Called by asyncssh with the signal that ended the command."""
        self._ending = Ending(None, signal)
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

    async def end(self) -> bool:
        """Ask the host to end the command: TERM, and KILL if it does not listen. Returns whether it surely ended."""
        assert self._channel is not None
        try:
            for signal in ("TERM", "KILL"):
                self._channel.send_signal(signal)
                async with asyncio.timeout(GRACE_SECONDS):
                    await asyncio.wait([self._ended])
                if self._ending is not None:
                    return True
        except (OSError, asyncssh.Error):
            pass
        except TimeoutError:
            pass
        finally:
            self._hang_up()
        return False

    def _hang_up(self) -> None:
        assert self._channel is not None
        self._channel.abort()

    async def _feed(self, path: Path) -> None:
        """Send a file piece by piece, no faster than the host reads."""
        assert self._channel is not None
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            while piece := await asyncio.to_thread(file.read, PIECE):
                await self._writable.wait()
                self._channel.write(piece)
        self._channel.write_eof()
