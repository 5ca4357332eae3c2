"""One session of an SSH connection: a command in a process session of its own, as sshd runs it."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from io import FileIO
from typing import TYPE_CHECKING, Any, Final

import asyncssh
from asyncssh.constants import MSG_CHANNEL_REQUEST
from asyncssh.packet import Boolean, String, UInt32

from opskit.fleetlab.streams import Input, Output
from opskit.fleetlab.terminal import open_terminal, resize, take_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from asyncssh.misc import TermModes, TermSize

    from opskit.fleetlab.processes import Processes

SIGNALS: Final = {
    name: signal.Signals[f"SIG{name}"]
    for name in ("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2")
}
"""The signals that SSH has names for."""

CANNOT_EXECUTE: Final = 126


class Session(asyncssh.SSHServerSession[bytes]):
    """A command and its channel.

    A channel that goes away closes the command's streams and, if it has a terminal, hangs that up; otherwise the
    command lives on, as under sshd.

    Args:
        processes: Runs the command.
        home: The command's folder.
        environment: Its whole environment; a client can't add to it.
        on_end: Called when the command has ended and the channel is closed, at the latest.
    """

    def __init__(
        self, processes: Processes, home: Path, environment: Mapping[str, str], on_end: Callable[[], None]
    ) -> None:
        self._processes = processes
        self._home = home
        self._environment = dict(environment)
        self._on_end: Callable[[], None] | None = on_end
        self._arguments = ["/bin/sh"]
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None  # while it runs
        self._terminal: FileIO | None = None
        self._side: int | None = None  # the command's end of the terminal, until it has it
        self._input: Input | None = None
        self._outputs: list[Output] = []

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Remember the channel."""
        self._channel = chan

    def pty_requested(self, term_type: str, term_size: TermSize, term_modes: TermModes) -> bool:
        """Open a terminal, whose closing will hang up the command's session."""
        try:
            master, self._side = open_terminal(term_size, term_modes)
        except OSError:
            return False  # the system has no terminal left
        self._terminal = FileIO(master)
        self._tie(FileIO(os.dup(master), "w"), [(self._terminal, self._write)])
        self._environment["TERM"] = term_type
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Pass the window's new size on."""
        if self._terminal is not None and not self._terminal.closed:
            resize(self._terminal.fileno(), (width, height, pixwidth, pixheight))

    def shell_requested(self) -> bool:
        """Take a shell: it reads its commands from the channel."""
        return True

    def exec_requested(self, command: str) -> bool:
        """Take a command: it is the login shell's, sh."""
        self._arguments = ["/bin/sh", "-c", command]
        return True

    def session_started(self) -> None:
        """Start the command."""
        try:
            if self._side is None:
                self._start_with_pipes()
            else:
                self._start_in_terminal(self._side)
        except (OSError, ValueError, subprocess.SubprocessError) as error:  # ValueError: a NUL in the command
            assert self._channel is not None
            self._channel.write_stderr(f"opskit fleet: the command can't be started: {error}\n".encode())
            self._channel.exit(CANNOT_EXECUTE)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Pass standard input on."""
        del datatype  # there is only one way in
        if self._input is not None:
            self._input.write(data)

    def eof_received(self) -> bool:
        """Close standard input; a terminal has no such end. The channel stays open for what the command still says."""
        if self._input is not None and self._terminal is None:
            self._input.end()
        return True

    def pause_writing(self) -> None:
        """Stop reading the command's output: the client does not keep up."""
        for output in self._outputs:
            output.pause()

    def resume_writing(self) -> None:
        """Read the command's output again."""
        for output in self._outputs:
            output.resume()

    def signal_received(self, signal: str) -> None:
        """Send a signal that the client asked for to the command's whole group."""
        if self._process is not None and signal in SIGNALS:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, SIGNALS[signal])

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the command's streams and terminal, but leave it alone."""
        del exc
        self._channel = None
        for stream in (self._input, *self._outputs):
            if stream is not None:
                stream.close()
        if self._side is not None:
            os.close(self._side)
        self._close_if_done()

    def _start_with_pipes(self) -> None:
        pipe = subprocess.PIPE
        process = self._start(stdin=pipe, stdout=pipe, stderr=pipe)
        assert isinstance(process.stdin, FileIO)
        assert isinstance(process.stdout, FileIO)
        assert isinstance(process.stderr, FileIO)
        self._tie(process.stdin, [(process.stdout, self._write), (process.stderr, self._write_stderr)])

    def _start_in_terminal(self, side: int) -> None:
        try:
            self._start(stdin=side, stdout=side, stderr=side, preexec_fn=take_terminal)
        finally:
            os.close(side)
            self._side = None

    def _tie(self, way_in: FileIO, ways_out: list[tuple[FileIO, Callable[[bytes], None]]]) -> None:
        assert self._channel is not None
        self._input = Input(way_in, self._channel.pause_reading, self._channel.resume_reading)
        self._outputs = [Output(file, write, self._output_ended) for file, write in ways_out]

    def _start(self, **options: Any) -> subprocess.Popen[bytes]:
        self._process = self._processes.start(
            self._arguments, self._exited, cwd=self._home, env=self._environment, **options
        )
        return self._process

    def _write(self, part: bytes) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(part)

    def _write_stderr(self, part: bytes) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write_stderr(part)

    def _output_ended(self) -> None:
        if self._channel is not None and all(output.closed for output in self._outputs):
            self._channel.write_eof()
            self._close_if_done()

    def _exited(self, code: int) -> None:
        """Tell the client how the command ended, at once: its children may keep the output open for long."""
        self._process = None
        if self._channel is not None:
            self._tell_end(self._channel, code)
        self._close_if_done()

    def _tell_end(self, channel: asyncssh.SSHServerChannel[bytes], code: int) -> None:
        if code < 0:
            name = next((name for name, number in SIGNALS.items() if number == -code), f"{-code}@opskit")
            told = String("exit-signal") + Boolean(False) + String(name) + Boolean(False) + String("") + String("")
        else:
            told = String("exit-status") + Boolean(False) + UInt32(code)
        channel.send_packet(MSG_CHANNEL_REQUEST, told)  # the channel's own `exit` would close it too

    def _close_if_done(self) -> None:
        if self._process is not None or not all(output.closed for output in self._outputs):
            return
        if self._on_end is not None:  # before the client can know, so that it can have a session in place of this one
            self._on_end()
            self._on_end = None
        if self._channel is not None:
            self._channel.close()
