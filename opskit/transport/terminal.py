"""A terminal on this machine for a command that asks for one; over SSH the host opens it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Self

from opskit.transport.dialogue import COLUMNS, LINES, TERM

if TYPE_CHECKING:
    from opskit.transport.local import LocalProcess

# The leader of a session that opens a terminal gets it as its controlling one.
_TAKE = 'exec "$@" <>"$0"'


class Terminal(asyncio.Protocol):
    """A terminal whose output goes to a process as its standard output. Made by `Terminal.open`.

    Attributes:
        writer: What is written here is typed.
    """

    writer: asyncio.WriteTransport

    def __init__(self, process: LocalProcess) -> None:
        self._process = process
        self._transports: list[asyncio.BaseTransport] = []
        master, self._side = os.openpty()
        self._master = os.fdopen(master, "rb", 0)

    @classmethod
    async def open(cls, process: LocalProcess) -> Self:
        """Open one; raises OSError."""
        terminal = cls(process)
        try:
            terminal._prepare()
            await terminal._connect()
        except BaseException:
            terminal.close_side()
            terminal.close()
            raise
        return terminal

    def _prepare(self) -> None:
        """Nothing is echoed that we type, and lines end as they do without a terminal."""
        import termios

        attributes = termios.tcgetattr(self._side)
        attributes[1] &= ~termios.ONLCR
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(self._side, termios.TCSANOW, attributes)
        termios.tcsetwinsize(self._side, (LINES, COLUMNS))

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        typed = os.fdopen(os.dup(self._master.fileno()), "wb", 0)
        try:
            self.writer, _ = await loop.connect_write_pipe(lambda: _Typing(self._process), typed)
        except BaseException:
            typed.close()
            raise
        self._transports.append(self.writer)
        reader, _ = await loop.connect_read_pipe(lambda: self, self._master)
        self._transports.append(reader)

    def arguments(self, command: list[str]) -> list[str]:
        """What runs a command at this terminal."""
        return ["/bin/sh", "-c", _TAKE, os.ttyname(self._side), *command]

    def streams(self) -> dict[str, Any]:
        """The process's streams and environment, as options of Popen."""
        environment = {**os.environ, "TERM": TERM}
        return {"stdin": self._side, "stdout": self._side, "stderr": self._side, "env": environment}

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with each piece of output."""
        self._process.pipe_data_received(1, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio when nobody has the terminal any more."""
        self._process.pipe_connection_lost(1, exc)

    def close_side(self) -> None:
        """Leave the command's side of it to the command alone."""
        os.close(self._side)

    def close(self) -> None:
        """Hang up."""
        while self._transports:
            transport = self._transports.pop()
            transport.abort() if isinstance(transport, asyncio.WriteTransport) else transport.close()
        self._master.close()


class _Typing(asyncio.Protocol):
    """Tells a process how fast its terminal takes what is typed."""

    def __init__(self, process: LocalProcess) -> None:
        self._process = process

    def pause_writing(self) -> None:
        self._process.pause_writing()

    def resume_writing(self) -> None:
        self._process.resume_writing()
