"""The face in IPython: the magics, loaded by `%load_ext opskit`. Nothing of IPython is imported before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Called by `%load_ext opskit`: registers `%%parallel`, `%parallel` and `%opskit`."""
    from opskit.notebook.magic import OpskitMagics

    shell.register_magics(OpskitMagics(shell))


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Called by `%unload_ext opskit`."""
    for kind, name in (("line", "opskit"), ("line", "parallel"), ("cell", "parallel")):
        shell.magics_manager.magics[kind].pop(name, None)
