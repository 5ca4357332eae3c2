"""Progress in, pixels out: a terminal, a notebook, or nothing. Views know the progress and never what made it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opskit.progress import Progress


class View(Protocol):
    """Shows a run while it goes on. Both are called in the caller's thread."""

    def paint(self, progress: Progress) -> None:
        """Show how far it is; called about ten times a second."""

    def close(self, progress: Progress) -> None:
        """Show how it ended; called once."""


class Silent:
    """Shows nothing."""

    def paint(self, progress: Progress) -> None:
        """Show nothing."""

    def close(self, progress: Progress) -> None:
        """Show nothing."""


def choose() -> View:
    """The view that fits where the caller is: a notebook's kernel, a terminal, or neither."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None and getattr(shell, "kernel", None) is not None:
        from opskit.views.notebook import NotebookView

        return NotebookView()
    if sys.stderr is not None and sys.stderr.isatty():
        from opskit.views.terminal import TerminalView

        return TerminalView()
    return Silent()
