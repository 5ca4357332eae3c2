"""A command's streams, tied to its channel with bounded memory: neither side is read faster than the other takes it."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

PART: Final = 65536
"""Bytes read at once: what a pipe holds."""


class Output:
    """A stream out of a command: read when it has something, unless paused.

    Args:
        file: The reading end, taken over.
        write: Gets each part.
        on_end: Called once, when there will be no more.
    """

    def __init__(self, file: FileIO, write: Callable[[bytes], None], on_end: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._file = file
        self._write = write
        self._on_end = on_end
        os.set_blocking(file.fileno(), False)
        self.resume()

    @property
    def closed(self) -> bool:
        """Whether the stream has ended, or was closed from here."""
        return self._file.closed

    def pause(self) -> None:
        """Stop reading; the command waits when its pipe is full."""
        if not self.closed:
            self._loop.remove_reader(self._file)

    def resume(self) -> None:
        """Read again."""
        if not self.closed:
            self._loop.add_reader(self._file, self._read)

    def close(self) -> None:
        """Give the stream up: the command gets SIGPIPE when it writes more."""
        self.pause()
        self._file.close()

    def _read(self) -> None:
        try:
            part = self._file.read(PART)
        except OSError:  # how a terminal says that its last process is gone
            part = b""
        if part:
            self._write(part)
        elif part is not None:
            self.close()
            self._on_end()


class Input:
    """A command's standard input: written as fast as the command reads it.

    Args:
        file: The writing end, taken over.
        pause: Called when the command does not keep up.
        resume: Called when it has caught up.
    """

    def __init__(self, file: FileIO, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._file = file
        self._pause = pause
        self._resume = resume
        self._waiting = bytearray()
        self._ending = False
        os.set_blocking(file.fileno(), False)

    def write(self, data: bytes) -> None:
        """Pass `data` on; it is dropped if the command has closed its standard input."""
        if self._file.closed:
            return
        self._waiting += data
        if len(self._waiting) == len(data):
            self._flush()

    def end(self) -> None:
        """Close the stream once all is written."""
        self._ending = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Close the stream now; what was not written yet is dropped."""
        if not self._file.closed:
            self._loop.remove_writer(self._file)
            self._file.close()

    def _flush(self) -> None:
        try:
            written = self._file.write(self._waiting)
        except OSError:  # nobody reads it any more
            self._waiting.clear()
            self.close()
            self._resume()
            return
        del self._waiting[: written or 0]
        if self._waiting:
            self._pause()
            self._loop.add_writer(self._file, self._flush)
            return
        self._loop.remove_writer(self._file)
        if self._ending:
            self.close()
        self._resume()
