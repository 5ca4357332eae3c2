"""What the notebook's front end can do: whether somebody can press buttons, and whether while a cell runs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

NOT_INSTALLED: Final = "No buttons: ipywidgets is not installed (pip install ipywidgets)."
NOBODY: Final = "No buttons: this notebook is executed where nobody can press them."


def why_no_buttons() -> str | None:
    """Why nothing can be pressed here, in a sentence; None if it can."""
    if find_spec("ipywidgets") is None:
        return NOT_INSTALLED
    # Who executes a notebook without a person (nbclient, papermill, nbconvert) allows no questions either. Widgets
    # would be stored there with all that they show, and drawn again by scripts from the network.
    return None if getattr(_kernel(), "_allow_stdin", False) else NOBODY


def delivers_clicks() -> bool:
    """Whether clicks come while a cell runs; a front end shows it within a second of its first widget."""
    kernel = _kernel()
    if not getattr(kernel, "_supports_kernel_subshells", False):
        return False
    return bool(kernel.shell_channel_thread.manager.list_subshell())


def hear(widget: Any) -> Any:
    """Let a widget's clicks come at once, and give it back.

    ipykernel sends what a front end says to a widget to the thread that published the widget's last message: the main
    one's, which the cell blocks. The front end's own choice is a thread that is free.
    """
    widget.comm._reply_subshell_for = lambda _, chosen: chosen  # noqa: SLF001 - ipykernel has no public way
    return widget


def _kernel() -> Any:
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None)
