"""A ProxyCommand of the user's own: a process whose input and output take the place of a TCP connection."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
import weakref
from contextlib import ExitStack, suppress

SECONDS_FOR_LAST_WORDS = 0.5
"""How long a command that has hung up may take to end, for its exit code."""


class ProxyCommand:
    """A running command, in a process group of its own.

    Args:
        line: For the user's own shell, as ssh does it.

    Attributes:
        socket: What it reads and writes; for who opens a connection over it.
    """

    def __init__(self, line: str) -> None:
        with ExitStack() as stack:
            self.socket, theirs = (stack.enter_context(end) for end in socket.socketpair())
            self._said = stack.enter_context(tempfile.TemporaryFile())
            self.socket.setblocking(False)
            # Started here and not in a thread: it takes a moment, and no cancel can lose it.
            self._process = subprocess.Popen(  # noqa: S603 - that is what the user wrote it for
                [os.environ.get("SHELL") or "/bin/sh", "-c", line if line.startswith("exec ") else f"exec {line}"],
                stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=self._said, start_new_session=True,
            )  # fmt: skip
            theirs.close()
            self._open = stack.pop_all()
        self._at_exit = weakref.finalize(self, _kill, self._process.pid, os.getpid())

    async def last_words(self) -> str:
        """Why it hung up: its exit code, and the last line that it wrote to stderr; empty if it still runs."""
        with suppress(subprocess.TimeoutExpired):
            code = await asyncio.to_thread(self._process.wait, SECONDS_FOR_LAST_WORDS)
            self._said.seek(0)
            said = self._said.read().decode("utf-8", "replace").split("\n")
            last = next((line.strip() for line in reversed(said) if line.strip()), "")
            return f"exit code {code}" + (f": {last}" if last else "")
        return ""

    def end(self) -> None:
        """End it and what it started."""
        self._open.close()
        self._at_exit()
        self._process.wait()  # it was killed


def _kill(group: int, owner: int) -> None:
    if os.getpid() == owner:  # and no child that was forked since
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
