"""Progress in, pixels out: a terminal, a notebook, or nothing. Views know what they show, and never what made it."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from opskit.showing import Shown

standing_in: Final[ContextVar[Any]] = ContextVar("opskit_view_standing_in", default=None)
"""The widget that a view stands in; None: it has a display of its own, below the cell."""


class View(Protocol):
    """Shows something while it goes on. A painter calls it, in a thread of its own.

    Attributes:
        stays: Whether it may be seen while nobody waits for the end; a terminal has room only where somebody does.
    """

    stays: bool

    def paint(self) -> bool:
        """Show how far it is; called at most ten times a second, never before a moment has passed.

        Returns whether anything had changed: where nothing does, it is called less often.
        """

    def close(self) -> None:
        """Show how it ended, or make room; only after it was painted, and `paint` may show it again."""


silent: Final[ContextVar[bool]] = ContextVar("opskit_views_silent", default=False)
"""Whether nothing that begins here is shown: somebody wants it quiet, or shows what it belongs to."""


def choose(shown: Shown) -> View | None:
    """The view that fits where the caller is: a notebook's kernel, a terminal, or none."""
    if silent.get():
        return None
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and getattr(shell, "kernel", None) is not None:
        from opskit.views.notebook import NotebookView

        return NotebookView(shown)
    if sys.stderr is not None and sys.stderr.isatty():
        from opskit.views.terminal import TerminalView

        return TerminalView(shown)
    return None
