"""The thread that paints a view, so that nobody who waits or goes on has to."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opskit.views import View

logger = logging.getLogger("opskit")

MOMENT_SECONDS: Final = 0.7
"""What ends sooner needs no view."""

TICK_SECONDS: Final = 0.1
IDLE_SECONDS: Final = 0.5
"""Between two looks at what does not change."""

END_SECONDS: Final = 5.0
"""A front end that takes longer than this to take the last picture is not waited for."""


class Painter:
    """Paints a view from a moment after its beginning to the end of what it shows.

    A view that raises is reported once, and painted no more; what it shows goes on.

    Args:
        view: None paints nothing.
        over: Whether what it shows has ended.
    """

    def __init__(self, view: View | None, over: Callable[[], bool]) -> None:
        self._view = view
        self._over = over
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._painting = threading.Lock()
        if view is not None and view.stays:
            self._begin()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody waits for the end: when they do so no more, the last picture is shown if it has ended."""
        if self._view is None:
            yield
            return
        self._begin()
        try:
            yield
        finally:
            if self._over() or not self._view.stays:
                self._end()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is painted meanwhile where a question is asked in the view's own place."""
        if self._view is None or self._view.stays:
            yield
            return
        with self._painting:
            with contextlib.suppress(Exception):  # the painter's thread will meet the same, and tell of it
                self._view.close()
            yield

    def _begin(self) -> None:
        if self._thread is None:
            self._stop.clear()
            work = contextvars.copy_context().run  # a front end knows by the context which cell this belongs to
            self._thread = threading.Thread(target=work, args=(self._work,), name="opskit-view", daemon=True)
            self._thread.start()

    def _end(self) -> None:
        if (thread := self._thread) is not None:
            self._stop.set()
            thread.join(END_SECONDS)
            self._thread = None

    def _work(self) -> None:
        assert self._view is not None
        self._stop.wait(MOMENT_SECONDS)
        if self._over() or self._stop.is_set():
            return
        try:
            while not self._over() and not self._stop.is_set():
                with self._painting:
                    changed = self._view.paint()
                self._stop.wait(TICK_SECONDS if changed else IDLE_SECONDS)
            self._view.close()
        except Exception as error:  # noqa: BLE001 - whatever a display can do
            logger.warning("opskit: progress is not shown any more: %s: %s", type(error).__name__, error)
