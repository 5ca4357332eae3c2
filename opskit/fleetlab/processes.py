"""Every process that a fleet's hosts run: started, reaped and ended here, in the server process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PR_SET_CHILD_SUBREAPER: Final = 36
"""Linux's prctl(2): orphans below this process become its own children, so that none can escape by a double fork."""

PATIENCE: Final = 1.5
"""Seconds until processes that do not end even when killed are left alone."""


class Processes:
    """The processes of the fleet. There is one in a server process: it reaps every child."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[subprocess.Popen[bytes], Callable[[int], None]]] = {}
        if sys.platform == "linux":
            import ctypes

            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def start(
        self, arguments: Sequence[str], on_exit: Callable[[int], None], **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own; `on_exit` gets its exit code, below 0 if it is a signal's.

        Raises OSError if it can't be started. `options` are those of Popen.
        """
        process = subprocess.Popen(  # noqa: S603 - running what the client says is what a server is for
            arguments, bufsize=0, start_new_session=True, umask=0o022, **options
        )
        self._running[process.pid] = process, on_exit
        return process

    def end_all(self) -> None:
        """Kill whatever was started and all that it started, in sessions of its own too. Blocks until it is gone."""
        deadline = time.monotonic() + PATIENCE
        while (left := self._left()) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
                with suppress(ProcessLookupError, PermissionError):
                    if pid in self._running:
                        os.killpg(pid, signal.SIGKILL)
            self._reap()
            time.sleep(0.005)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if pid in self._running:
                    process, on_exit = self._running.pop(pid)
                    process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for the pid again
                    on_exit(process.returncode)

    def _left(self) -> list[int]:
        if sys.platform != "linux":
            return list(self._running)
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parent = entry.read_text(errors="replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.parent.name))
        found = [os.getpid()]
        for pid in found:
            found.extend(children.get(pid, ()))
        return found[1:]
