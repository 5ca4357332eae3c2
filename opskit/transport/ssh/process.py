"""One command on one host over SSH: its output as it comes, its end, and the ways to end it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import asyncssh

from opskit.engine.ports import DRAIN_SECONDS, GRACE_SECONDS, Ending, Lost
from opskit.transport.dialogue import COLUMNS, LINES, TERM, Dialogue
from opskit.transport.wrapper import killed, signalled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from opskit.engine.capture import Capture
    from opskit.transport.passwords import Trials
    from opskit.work.plan import Step

NO_TERMINAL: Final[Mapping[str, Any]] = {}
TERMINAL: Final[Mapping[str, Any]] = {
    "term_type": TERM,
    "term_size": (COLUMNS, LINES),
    # Nothing is echoed that we type, and lines end as they do without a terminal.
    "term_modes": {asyncssh.PTY_ECHO: 0, asyncssh.PTY_ONLCR: 0},
}


class RemoteProcess(Dialogue, asyncssh.SSHClientSession[bytes]):
    """The callbacks of one session channel, and what the engine asks of a process.

    Args:
        step: What is run.
        capture: Takes the output.
        freed: Called once, when the channel is gone.
        aside: Runs a line on the host beside this, which reads the given bytes; gives its exit code, None if the host
            grants no session for it.
        trials: The passwords that sudo may ask for.
    """

    def __init__(
        self,
        step: Step,
        capture: Capture,
        freed: Callable[[], object],
        aside: Callable[[str, bytes], Awaitable[int | None]],
        trials: Trials,
    ) -> None:
        super().__init__(step, capture, trials, marked=step.terms.shell is not False)
        self._freed = freed
        self._aside = aside
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._ending: Ending | None = None
        self._ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._drain: asyncio.TimerHandle | None = None

    @property
    def terminal(self) -> Mapping[str, Any]:
        """What is asked for when the channel is opened."""
        return TERMINAL if self._step.terms.pty else NO_TERMINAL

    @property
    def opened(self) -> bool:
        """Whether the channel was open, and so the command may have been sent."""
        return self._channel is not None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """Called by asyncssh just before the command is sent."""
        self._channel = chan

    def resume(self) -> None:
        """Listen to a command that was sent, though nobody waited for the host to take it."""
        self._open_channel().resume_reading()

    def session_started(self) -> None:
        """Called by asyncssh when the host took the command."""
        self.listens()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Called by asyncssh with each piece of output."""
        self.heard("stdout" if datatype is None else "stderr", data)

    def write(self, data: bytes) -> None:
        """Send to its standard input."""
        with suppress(BrokenPipeError):  # it has ended already, without reading
            self._open_channel().write(data)

    def write_eof(self) -> None:
        """Close its standard input."""
        with suppress(BrokenPipeError):
            self._open_channel().write_eof()

    def fail(self, error: Exception) -> None:
        """Hang up: this is what became of it."""
        if not self._ended.done():
            self._ended.set_exception(error)
            self._ended.exception()  # nobody may be waiting
        self._hang_up()

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

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncssh when the channel is gone, with a reason if the whole connection is."""
        if self._drain is not None:
            self._drain.cancel()
        self._freed()
        self.gone()
        if self._ended.done():
            return
        if self._ending is None and exc is not None:
            self._ended.set_exception(Lost(f"the connection was lost while the command ran ({exc}); it may have run"))
            self._ended.exception()  # nobody may be waiting
        else:
            self._ended.set_result(self._ending or Ending(None))

    async def wait(self) -> Ending:
        """Wait for the end of the command."""
        try:
            return await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            self.give_up()
            raise

    async def end(self) -> str | None:
        """End the command's process group: TERM, then KILL. Returns what may be left, in words."""
        if self.never_began:
            self._hang_up()  # and so sudo ends, which reads that there is no password
            return None
        group = self.group
        left = f"process group {group}" if group else "its processes"
        try:
            sure = await self._end_group(group) if group else None
            if sure is None:
                left, sure = "its processes", await self._end_leader()
        except (TimeoutError, OSError, asyncssh.Error):
            sure = False
        finally:
            self._hang_up()
        return None if sure else left

    async def _end_group(self, group: int) -> bool | None:
        """Signal the group from a session beside this one; None if the host grants none."""
        sudo, asks, typed = self._step.terms.sudo, self.password is not None, self.password or b""
        if await self._aside(signalled(group, "TERM", sudo, asks=asks), typed) is None:
            return None
        await asyncio.wait([self._ended], timeout=GRACE_SECONDS)
        code = await self._aside(killed(group, sudo, asks=asks), typed)
        return None if code is None else code == 0

    async def _end_leader(self) -> bool:
        """Ask the server to signal the command; it may refuse without a word."""
        for signal in ("TERM", "KILL"):
            self._open_channel().send_signal(signal)
            await asyncio.wait([self._ended], timeout=GRACE_SECONDS)
            if self._ending is not None:
                return True
        return False

    def _hang_up(self) -> None:
        self._open_channel().abort()

    def _open_channel(self) -> asyncssh.SSHClientChannel[bytes]:
        assert self._channel is not None
        return self._channel
