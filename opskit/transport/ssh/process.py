"""One command on one host over SSH: its output as it comes, its end, and the ways to end it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import asyncssh

from opskit.engine.ports import DRAIN_SECONDS, GRACE_SECONDS, Ending, Lost
from opskit.errors import OpskitError
from opskit.transport.dialogue import COLUMNS, LINES, TERM, Dialogue
from opskit.transport.ssh.lean import lean_channel
from opskit.transport.wrapper import killed, signalled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from opskit.engine.capture import Capture
    from opskit.transport.passwords import Trials
    from opskit.transport.ssh.link import Link
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
        link: The connection that carries it.
        aside: Runs a line on the host beside this, which reads the given bytes; gives its exit code, None if no session
            can be had for it.
        trials: The passwords that sudo may ask for.
    """

    def __init__(
        self,
        step: Step,
        capture: Capture,
        link: Link,
        aside: Callable[[str, bytes], Awaitable[int | None]],
        trials: Trials,
    ) -> None:
        super().__init__(step, capture, trials, marked=step.terms.shell is not False)
        self._link = link
        self._is_carried = True
        self._aside = aside
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._ending: Ending | None = None
        self._outcome: Ending | Exception | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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
        """Called by asyncssh just before the command is sent; raises OpskitError if it must not be any more."""
        try:
            self._capture.leaves()
        except OpskitError:
            chan.close()
            raise
        self._channel = chan
        lean_channel(chan)

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
        self._settle(error)
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
        self._let_go()
        if self._ending is None and exc is not None:
            outcome: Ending | Exception = Lost(
                f"the connection was lost while the command ran ({exc}); it may have run"
            )
        else:
            ending = self._ending or Ending(None)
            outcome = self.refused(ending) or ending
        self.gone()
        self._settle(outcome)

    def _settle(self, outcome: Ending | Exception) -> None:
        if self._outcome is None:
            self._outcome = outcome
            if not self._ended.done():
                self._ended.set_result(None)

    async def wait(self) -> Ending:
        """Wait for the end of the command."""
        try:
            await self._ended
        except asyncio.CancelledError:
            if self._outcome is None:
                self._ended = asyncio.get_running_loop().create_future()  # the awaited one was cancelled with us
            self.give_up()
            raise
        assert self._outcome is not None
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    async def end(self) -> str | None:
        """End the command's process group: TERM, then KILL. Returns what may be left, in words.

        Where that is not sure the connection is given up: what may be left ends with it, if the wrapper watches.
        """
        if self.never_began:
            self._hang_up()  # and so sudo ends, which reads that there is no password
            return None
        sure = False
        try:
            if self.group:
                sure = await self._end_group(self.group)
            else:
                await self._end_leader()
        except (TimeoutError, OSError, asyncssh.Error):
            pass
        finally:
            if sure:
                self._hang_up()
            else:
                self.abandon()
        if sure:
            return None
        return f"process group {self.group}" if self.group else "what it started"

    async def _end_group(self, group: int) -> bool:
        """Signal the group from a session beside this one; whether it is gone."""
        sudo, asks, typed = self._step.terms.sudo, self.password is not None, self.password or b""
        if await self._aside(signalled(group, "TERM", sudo, asks=asks), typed) is None:
            await self._end_leader()  # and its session may then be had
        else:
            await asyncio.wait([self._ended], timeout=GRACE_SECONDS)
        return await self._aside(killed(group, sudo, asks=asks), typed) == 0

    async def _end_leader(self) -> None:
        """Ask the server to signal the command. It may refuse without a word, and spare what the command started."""
        for signal in ("TERM", "KILL"):
            if self._outcome is None and self._ending is None:
                self._open_channel().send_signal(signal)
                await asyncio.wait([self._ended], timeout=GRACE_SECONDS)

    def abandon(self) -> None:
        """Hang up on a host that may not hear it: the connection ends with the last of its other commands."""
        self._hang_up()
        self._link.retire()
        self._let_go()

    def _let_go(self) -> None:
        if self._is_carried:
            self._is_carried = False
            self._link.ended()

    def _hang_up(self) -> None:
        self._open_channel().abort()

    def _open_channel(self) -> asyncssh.SSHClientChannel[bytes]:
        assert self._channel is not None
        return self._channel
