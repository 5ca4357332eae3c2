"""The face in IPython: the magics, loaded by `%load_ext opskit`. Nothing of IPython is imported before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Called by `%load_ext opskit`: the magics, Tab in their cells, and `%config Opskit`.

    `%%parallel` and `%parallel` are left to who has them; `%%opsparallel` and `%opsparallel` are always ours.
    """
    import IPython  # noqa: F401 - who has none is told so, and not of a package that IPython brings

    from opskit.notebook import completion, config, magic

    magic.install(shell)
    completion.install(shell)
    config.install(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Called by `%unload_ext opskit`: takes away what is ours, and nothing else."""
    from opskit.notebook import completion, config, magic

    config.remove(shell)
    completion.remove(shell)
    magic.remove(shell)
