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

    A view that raises is reported once, and painted no more until it is closed; what it shows goes on.

    Args:
        view: None paints nothing.
        over: Whether what it shows has ended.
    """

    def __init__(self, view: View | None, over: Callable[[], bool]) -> None:
        self._view = view
        self._over = over
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._guard = threading.Lock()
        self._watching = 0
        self._has_failed = False
        self._painting = threading.Lock()
        if view is not None and view.stays:
            self._begin()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Somebody waits for the end: when nobody does any more, the last picture is shown if it has ended."""
        if self._view is None:
            yield
            return
        with self._guard:
            self._watching += 1
            self._begin()
        try:
            yield
        finally:
            with self._guard:
                self._watching -= 1
                if self._over() or not (self._watching or self._view.stays):
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
        self._stop.clear()
        # One that its front end holds up goes on when it is free: two would paint at the same time.
        if self._thread is None or not self._thread.is_alive():
            work = contextvars.copy_context().run  # a front end knows by the context which cell this belongs to
            self._thread = threading.Thread(target=work, args=(self._work,), name="opskit-view", daemon=True)
            self._thread.start()

    def _end(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join(END_SECONDS)

    def _work(self) -> None:
        assert self._view is not None
        self._stop.wait(MOMENT_SECONDS)
        if self._over() or self._stop.is_set():
            return
        while not (self._over() or self._stop.is_set() or (self._has_failed and not self._view.stays)):
            changed = not self._has_failed and self._tried(self._view.paint)
            self._stop.wait(TICK_SECONDS if changed else IDLE_SECONDS)
        self._tried(self._view.close)

    def _tried(self, show: Callable[[], bool | None]) -> bool:
        """Whether something was shown that changes; what goes wrong is told once."""
        try:
            with self._painting:
                return bool(show())
        except Exception as error:  # noqa: BLE001 - whatever a display can do
            if not self._has_failed:
                logger.warning("opskit: progress is not shown any more: %s: %s", type(error).__name__, error)
            self._has_failed = True
            return False
