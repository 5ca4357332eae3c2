"""What tasks print and log, kept with them: who stands in for sys.stdout, sys.stderr and the root logger meanwhile.

Whose task it is, the context tells; what others print and log goes where it went before.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from opskit.engine.capture import Capture, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO


_STREAMS: Final[tuple[Stream, Stream]] = ("stdout", "stderr")


class Output:
    """What one task has printed and logged so far, within bounds.

    Args:
        limit: Bytes kept of each stream.
    """

    def __init__(self, limit: int) -> None:
        self._capture = Capture(limit)
        self._guard = threading.Lock()

    def add(self, stream: Stream, text: str) -> None:
        """Take what was printed, in whichever thread."""
        with self._guard:
            self._capture.received(stream, text.encode("utf-8", "backslashreplace"))

    def finish(self) -> None:
        """Give out what was held back because it may have become a secret."""
        with self._guard:
            self._capture.finish()

    def kept(self) -> tuple[str, str, bool]:
        """What it printed, what it logged (or wrote to sys.stderr), and whether there was more."""
        with self._guard:
            return self._capture.stdout, self._capture.stderr, self._capture.truncated


_here: Final[ContextVar[Output | None]] = ContextVar("opskit_task_output", default=None)


def keep(output: Output) -> None:
    """Keep from now on what is printed and logged in this context."""
    _here.set(output)


def in_task() -> bool:
    """Whether the caller is a task, of which nothing is shown live."""
    return _here.get() is not None


class _Diverted:
    """Stands in for a stream of `sys`; all but what tasks write goes to the stream itself."""

    def __init__(self, name: Stream, stream: TextIO) -> None:
        self._name: Stream = name
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        if (output := _here.get()) is None:
            return self.stream.write(text)
        output.add(self._name, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


class _Keeper(logging.Handler):
    """Keeps the records of tasks; for all others it is as if it were not there."""

    def emit(self, record: logging.LogRecord) -> None:
        if (output := _here.get()) is not None:
            output.add("stderr", f"{self.format(record)}\n")
        elif self._alone(logging.getLogger(record.name)):
            _as_if_alone(record)

    def _alone(self, logger: logging.Logger | None) -> bool:
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True


def _as_if_alone(record: logging.LogRecord) -> None:
    """What Python does with a record that nobody handles."""
    usual = logging.lastResort
    if usual is not None and record.levelno >= usual.level:
        usual.handle(record)


class _Diversion:
    """What stands in while any session runs; the last one to end takes it away."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._sessions = 0
        self._keeper = _Keeper()
        self._keeper.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def begin(self) -> None:
        with self._guard:
            self._sessions += 1
            logging.getLogger().addHandler(self._keeper)  # which does nothing if it is there
            for name in _STREAMS:
                stream = getattr(sys, name)
                if stream is not None and not isinstance(stream, _Diverted):
                    setattr(sys, name, _Diverted(name, stream))

    def end(self) -> None:
        with self._guard:
            self._sessions -= 1
            if self._sessions:
                return
            logging.getLogger().removeHandler(self._keeper)
            for name in _STREAMS:
                # Somebody may have put yet another stream there. What they put back later lets all pass.
                if isinstance(stream := getattr(sys, name), _Diverted):
                    setattr(sys, name, stream.stream)


_diversion: Final = _Diversion()


@contextlib.contextmanager
def diverted() -> Iterator[None]:
    """Keep what tasks print and log with them, for as long as the block lasts."""
    _diversion.begin()
    try:
        yield
    finally:
        _diversion.end()
