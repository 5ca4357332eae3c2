"""Who wants to know what happens: functions that take every event of every run."""

from __future__ import annotations

import contextlib
import logging
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opskit import checks
from opskit.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.events import Event

logger = logging.getLogger("opskit")

ENTRY_POINTS: Final = "opskit.observers"

_observers: list[Observer] = []
_guard = threading.RLock()  # a package that is being installed may ask who observes


class Observer:
    """One function. It may raise once: that is reported, and it is not called again."""

    def __init__(self, function: Callable[[Event], object]) -> None:
        self._function = function
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)  # for who reports of it

    def __call__(self, event: Event) -> None:
        """Tell it of an event, unless it has stopped."""
        if self not in _observers:
            return
        try:
            self._function(event)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises, also to leave
            self.stop()
            why = f"it raised {type(error).__name__}: {error}"
            logger.warning("opskit: observer %s is not called any more: %s", self.__qualname__, why)

    def stop(self) -> None:
        """Call it no more."""
        with contextlib.suppress(ValueError):
            _observers.remove(self)


def observe(function: Callable[[Event], object]) -> Callable[[], None]:
    """Call a function with every event of every run that begins from now on; see `opskit.events`.

    It is called in a thread of its own, in order, and never holds up or stops a run: one that raises is reported once
    and dropped. An installed package has itself called by the entry point group `opskit.observers`.

    Returns:
        What stops it.

    Raises:
        PlanError: It is no function.
    """
    try:
        checks.function(function)
    except ValueError as error:
        raise PlanError(f"observe: the observer {error}") from None
    observer = Observer(function)
    _observers.append(observer)
    return observer.stop


def observers() -> tuple[Observer, ...]:
    """Who observes now, installed packages too."""
    with _guard:
        _install()
    return tuple(_observers)


@lru_cache(maxsize=1)
def _install() -> None:
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS):
        try:
            observe(point.load())
        except Exception as error:  # noqa: BLE001 - somebody else's package shall not stop a run
            logger.warning("opskit: the observer %r can't be used: %s: %s", point.name, type(error).__name__, error)
