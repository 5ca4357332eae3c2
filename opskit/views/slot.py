"""A piece of HTML among the widgets that is sent when it has changed, and not too often."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipywidgets import HTML  # type: ignore[import-untyped]  # it has no types

if TYPE_CHECKING:
    from collections.abc import Callable


class Slot:
    """A widget that is painted again and again.

    Args:
        seconds: How long nothing is sent after something was.

    Attributes:
        widget: What shows it.
    """

    def __init__(self, seconds: float) -> None:
        self.widget = HTML()
        self._seconds = seconds
        self._due = 0.0
        self._key: object = None

    def paint(self, key: object, content: Callable[[], str], now: float) -> bool:
        """Send the content if it is time, and if the key, which it depends on, has changed.

        Returns whether something was to be sent.
        """
        if key == self._key:
            return False
        if now >= self._due:
            self._key = key
            self.show(content())
            self._due = now + self._seconds
        return True

    def show(self, content: str) -> None:
        """Send it now, if it has changed."""
        if content != self.widget.value:
            self.widget.value = content
