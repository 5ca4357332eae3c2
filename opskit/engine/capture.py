"""What a command prints, kept within bounds: the head and the tail of each stream, and its lines for who listens."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Literal

from opskit import masking
from opskit.masking import MaskedStream

if TYPE_CHECKING:
    from collections.abc import Callable

Stream = Literal["stdout", "stderr"]


class Capture:
    """Both output streams of one step.

    Args:
        limit: Bytes kept of each stream: half of them from its head, half from its tail.
        on_line: Called with the stream and each whole line, without its end, as soon as it is complete.
        on_data: Called whenever something was printed.
        may_leave: Called right before the command is sent; what it raises keeps it from being sent.
    """

    __slots__ = ("_lines", "_masked", "_may_leave", "_on_data", "_stderr", "_stdout")

    def __init__(
        self,
        limit: int,
        on_line: Callable[[Stream, str], object] | None = None,
        on_data: Callable[[], object] | None = None,
        may_leave: Callable[[], object] | None = None,
    ) -> None:
        self._on_data = on_data
        self._may_leave = may_leave
        self._stdout = _Kept(limit)
        self._stderr = _Kept(limit)
        self._masked: dict[Stream, MaskedStream] = {}
        self._lines: dict[Stream, _Lines] = {}
        if on_line is not None:
            self._lines = {"stdout": _Lines("stdout", limit, on_line), "stderr": _Lines("stderr", limit, on_line)}

    def leaves(self) -> None:
        """Tell that the command is about to be sent; raises OpskitError if it must not be any more."""
        if self._may_leave is not None:
            self._may_leave()

    def received(self, stream: Stream, data: bytes) -> None:
        """Take a piece of output as it came from the wire; secrets in it are masked before anything else sees it."""
        if masking.active() or self._masked:
            data = self._masked.setdefault(stream, MaskedStream()).add(data)
        self._add(stream, data)
        if self._on_data is not None:
            self._on_data()

    def _add(self, stream: Stream, data: bytes) -> None:
        (self._stdout if stream == "stdout" else self._stderr).add(data)
        if self._lines:
            self._lines[stream].add(data)

    def finish(self) -> None:
        """Hand out what came after the last line end. What a host sends after this is no line any more."""
        for stream, masked in self._masked.items():
            self._add(stream, masked.finish())
        for lines in self._lines.values():
            lines.finish()
        self._lines = {}

    @property
    def stdout(self) -> str:
        """What was kept of stdout, decoded as UTF-8, bad bytes replaced."""
        return self._stdout.text()

    @property
    def stderr(self) -> str:
        """As `stdout`."""
        return self._stderr.text()

    def tail(self, size: int) -> str:
        """The last bytes of stdout, and then those of stderr, decoded."""
        return f"{self._stdout.end(size)}{self._stderr.end(size)}"

    @property
    def truncated(self) -> bool:
        """Whether more came than was kept."""
        return self._stdout.left_out > 0 or self._stderr.left_out > 0


class _Kept:
    """The head and the tail of one stream, in two buffers: many small pieces cost no more than a few large ones."""

    __slots__ = ("_head", "_head_size", "_size", "_tail", "_tail_size")

    def __init__(self, limit: int) -> None:
        self._head_size = limit // 2
        self._tail_size = limit - limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        room = self._head_size - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data[-self._tail_size :]
        if len(self._tail) > 2 * self._tail_size:  # now and then, since each cut moves what stays
            del self._tail[: -self._tail_size]

    @property
    def left_out(self) -> int:
        """How many bytes came that were not kept."""
        return max(0, self._size - self._head_size - self._tail_size)

    def end(self, size: int) -> str:
        kept = self._tail[-size:] if len(self._tail) >= size else (self._head[-size:] + self._tail)[-size:]
        return kept.decode("utf-8", "replace")

    def text(self) -> str:
        tail = self._tail[-self._tail_size :]
        if not self.left_out:
            return (self._head + tail).decode("utf-8", "replace")
        start = next((i for i in range(min(4, len(tail))) if tail[i] & 0xC0 != 0x80), 0)  # noqa: PLR2004 - UTF-8's own
        whole_characters = codecs.getincrementaldecoder("utf-8")("replace").decode(self._head)
        return f"{whole_characters}\n... {self.left_out} bytes left out ...\n{tail[start:].decode('utf-8', 'replace')}"


class _Lines:
    """One stream cut into whole lines; a line longer than the limit is handed out in pieces."""

    __slots__ = ("_decoder", "_limit", "_on_line", "_pending", "_size", "_stream")

    def __init__(self, stream: Stream, limit: int, on_line: Callable[[Stream, str], object]) -> None:
        self._stream: Stream = stream
        self._limit = limit
        self._on_line = on_line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending: list[str] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        first, *others = self._decoder.decode(data).split("\n")
        self._keep(first)
        for part in others:
            self._hand_out("\r")
            self._keep(part)
        if self._size > self._limit:
            self._hand_out()

    def finish(self) -> None:
        self._keep(self._decoder.decode(b"", final=True))
        if self._pending:
            self._hand_out("\r")

    def _keep(self, part: str) -> None:
        if part:
            self._pending.append(part)
            self._size += len(part)

    def _hand_out(self, end: str = "") -> None:
        line = "".join(self._pending).removesuffix(end)
        self._pending.clear()
        self._size = 0
        self._on_line(self._stream, line)
