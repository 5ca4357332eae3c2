"""The thread in which the functions of who called are told of a run; none of them holds it up."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("opskit")

_of_thread = threading.local()


def current() -> UserThread | None:
    """Whose callback calls this: it can't wait for the end of what it is told of."""
    return getattr(_of_thread, "current", None)


class UserThread:
    """Runs the user's callbacks one after the other, in a thread that carries the caller's context.

    A callback that raises, or falls too far behind, is reported once and dropped; what it is called for goes on.
    """

    FURTHEST_BEHIND = 32 * 1024 * 1024
    """How much text may wait, in characters; each call counts as `CALL` more."""

    CALL = 300
    SECONDS_TO_CATCH_UP = 10.0

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[..., object], tuple[object, ...]] | None] = queue.SimpleQueue()
        self._dropped: list[Callable[..., object]] = []
        self._given = self._made = 0  # one is counted by who calls, the other by the thread: their difference waits
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="opskit-callbacks", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function soon; returns at once."""
        if self._is_dropped(function):
            return
        if self._given - self._made > self.FURTHEST_BEHIND:
            self._drop(function, "it is too slow")
            return
        self._given += self._weight(arguments)
        self._calls.put((function, arguments))

    def close(self) -> None:
        """Take no more calls; the thread ends when it has made those that it has."""
        self._calls.put(None)

    def finish(self) -> None:
        """Wait until all calls were made; a callback that needs too long for that is dropped."""
        self.close()
        self._thread.join(self.SECONDS_TO_CATCH_UP)
        if self._thread.is_alive():
            logger.warning(
                "opskit: a callback did not catch up within %g s; the rest is left out", self.SECONDS_TO_CATCH_UP
            )
            with contextlib.suppress(queue.Empty):
                while True:
                    self._calls.get_nowait()
            self._calls.put(None)

    def _work(self) -> None:
        _of_thread.current = self
        while (entry := self._calls.get()) is not None:
            function, arguments = entry
            self._made += self._weight(arguments)
            if self._is_dropped(function):
                continue
            try:
                function(*arguments)
            except BaseException as error:  # noqa: BLE001 - whatever the user's code raises; this thread ends by `finish`
                self._drop(function, f"it raised {type(error).__name__}: {error}")

    def _weight(self, arguments: tuple[object, ...]) -> int:
        return self.CALL + sum(len(text) for argument in arguments if isinstance(text := _text_of(argument), str))

    def _is_dropped(self, function: Callable[..., object]) -> bool:
        """By identity: a callable need not be hashable, and may be equal to another."""
        return any(dropped is function for dropped in self._dropped)

    def _drop(self, function: Callable[..., object], why: str) -> None:
        self._dropped.append(function)
        logger.warning("opskit: %s is not called any more: %s", getattr(function, "__qualname__", function), why)


def _text_of(argument: object) -> object:
    """What makes an argument large: a line of output, or the event that tells of one."""
    return getattr(argument, "text", argument)
