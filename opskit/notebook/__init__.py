"""The face in IPython: the magics, loaded by `%load_ext opskit`. Nothing of IPython is imported before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Called by `%load_ext opskit`: the magics, Tab in their cells, and `%config Opskit`.

    `%%parallel` and `%parallel` are left to who has them; `%%opsparallel` and `%opsparallel` are always ours.

    Raises:
        SettingsError: `c.Opskit` in IPython's configuration has an unknown setting or a bad value; nothing is loaded.
    """
    import IPython  # noqa: F401 - who has none is told so, and not of a package that IPython brings

    from opskit.notebook import completion, config, magic

    config.install(shell)
    magic.install(shell)
    completion.install(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Called by `%unload_ext opskit`: takes away what is ours, and nothing else."""
    from opskit.notebook import completion, config, magic

    completion.remove(shell)
    magic.remove(shell)
    config.remove(shell)
