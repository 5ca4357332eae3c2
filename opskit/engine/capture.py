"""What a command prints, kept within bounds: the head and the tail of each stream, and its lines for who listens."""

from __future__ import annotations

import codecs
from collections import deque
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Stream = Literal["stdout", "stderr"]


class Capture:
    """Both output streams of one step.

    Args:
        limit: Bytes kept of each stream: half of them from its head, half from its tail.
        on_line: Called with the stream and each whole line, without its end, as soon as it is complete.
    """

    __slots__ = ("_lines", "_stderr", "_stdout")

    def __init__(self, limit: int, on_line: Callable[[Stream, str], object] | None = None) -> None:
        self._stdout = _Kept(limit)
        self._stderr = _Kept(limit)
        self._lines: dict[Stream, _Lines] = {}
        if on_line is not None:
            self._lines = {"stdout": _Lines("stdout", limit, on_line), "stderr": _Lines("stderr", limit, on_line)}

    def received(self, stream: Stream, data: bytes) -> None:
        """Take a piece of output as it came from the wire."""
        (self._stdout if stream == "stdout" else self._stderr).add(data)
        if self._lines:
            self._lines[stream].add(data)

    def finish(self) -> None:
        """Hand out what came after the last line end. Nothing is received after this."""
        for lines in self._lines.values():
            lines.finish()

    @property
    def stdout(self) -> str:
        """What was kept of stdout, decoded as UTF-8, bad bytes replaced."""
        return self._stdout.text()

    @property
    def stderr(self) -> str:
        """As `stdout`."""
        return self._stderr.text()

    @property
    def truncated(self) -> bool:
        """Whether more came than was kept."""
        return self._stdout.left_out > 0 or self._stderr.left_out > 0


class _Kept:
    """The head and the tail of one stream."""

    __slots__ = ("_head", "_limit", "_size", "_tail", "_tail_size", "left_out")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head: list[bytes] = []
        self._tail: deque[bytes] | None = None
        self._size = 0
        self._tail_size = 0
        self.left_out = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        if self._tail is None:
            self._head.append(data)
            if self._size > self._limit:
                self._overflow()
            return
        self._tail.append(data)
        self._tail_size += len(data)
        self._shorten(self._tail)

    def _overflow(self) -> None:
        """From here on keep a head of fixed length, and a tail that moves."""
        everything = b"".join(self._head)
        middle = self._limit // 2
        self._head = [everything[:middle]]
        self._tail = deque([everything[middle:]])
        self._tail_size = len(everything) - middle
        self._shorten(self._tail)

    def _shorten(self, tail: deque[bytes]) -> None:
        surplus = self._tail_size - (self._limit - self._limit // 2)
        while surplus > 0:
            piece = tail.popleft()
            if len(piece) > surplus:
                tail.appendleft(piece[surplus:])
            cut = min(surplus, len(piece))
            self._tail_size -= cut
            self.left_out += cut
            surplus -= cut

    def text(self) -> str:
        head = b"".join(self._head)
        if self._tail is None:
            return head.decode("utf-8", "replace")
        tail = b"".join(self._tail)
        start = next((i for i in range(min(4, len(tail))) if tail[i] & 0xC0 != 0x80), 0)  # noqa: PLR2004 - UTF-8's own
        whole_characters = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
        return f"{whole_characters}\n... {self.left_out} bytes left out ...\n{tail[start:].decode('utf-8', 'replace')}"


class _Lines:
    """One stream cut into whole lines; a line longer than the limit is handed out in pieces."""

    __slots__ = ("_decoder", "_limit", "_on_line", "_pending", "_stream")

    def __init__(self, stream: Stream, limit: int, on_line: Callable[[Stream, str], object]) -> None:
        self._stream: Stream = stream
        self._limit = limit
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending: list[str] = []

    def add(self, data: bytes) -> None:
        *whole, rest = self._decoder.decode(data).split("\n")
        for line in whole:
            self._pending.append(line)
            self._hand_out()
        if rest:
            self._pending.append(rest)
            if sum(map(len, self._pending)) > self._limit:
                self._hand_out()

    def finish(self) -> None:
        rest = self._decoder.decode(b"", final=True)
        if rest or self._pending:
            self._pending.append(rest)
            self._hand_out()

    def _hand_out(self) -> None:
        line = "".join(self._pending)
        self._pending.clear()
        self._on_line(self._stream, line.removesuffix("\r"))
