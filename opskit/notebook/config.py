"""`%config Opskit`: the settings where IPython keeps its own, one layer with `opskit.configure`."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from traitlets import MetaHasTraits, TraitType
from traitlets.config import Configurable

from opskit.errors import SettingsError, did_you_mean
from opskit.settings import Settings, configure, current, describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

_NAME: Final = re.compile(r"^\s*opskit\b", re.IGNORECASE)
"""What is written for `Opskit`, which is no other class: IPython would show a traceback for `opskit.fanout`."""

_NAMES: Final = tuple(field.name for field in fields(Settings))


class Setting(TraitType[Any, Any]):
    """One setting: to read it gives what holds now, to set it is `opskit.configure`."""

    def get(self, obj: Any, cls: Any = None) -> Any:  # noqa: ARG002 - traitlets' signature
        """What holds now; of what may hold a password, only what may be shown."""
        assert self.name is not None
        value = getattr(current(), self.name)
        shown = {name: text for name, text, _ in describe()}[self.name]
        return value if shown == repr(value) or not value else _Told(shown)

    def set(self, obj: Any, value: Any) -> None:  # noqa: ARG002 - traitlets' signature
        """Configure it; raises SettingsError."""
        configure(**{str(self.name): value})


class _Told(str):
    """What is shown in place of a value."""

    __slots__ = ()
    __repr__ = str.__str__


class SettingsLayer(Configurable):
    """What the settings are to IPython.

    Attributes:
        refused: Why the last change was refused; None if it was not.
    """

    refused: SettingsError | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise SettingsError(f"%config Opskit: no setting is called {name!r}{did_you_mean(name, _NAMES)}")

    def update_config(self, config: Config) -> None:
        """Take what `%config` was given: all of it, or none."""
        # Not traitlets' own, which would only log what it does not know.
        try:
            configure(**config.get("Opskit", {}))
        except SettingsError as error:
            self.refused = SettingsError(f"%config Opskit: {str(error).removeprefix('configure(): ')}")


Opskit: Final = MetaHasTraits(
    "Opskit",
    (SettingsLayer,),
    {field.name: Setting(help=field.metadata["doc"]).tag(config=True) for field in fields(Settings)},
)
"""By this name `%config` finds it."""


def install(shell: InteractiveShell) -> None:
    """Have `%config` know the settings."""
    remove(shell)
    configurable = Opskit()
    shell.configurables.append(configurable)
    lines = shell.magics_manager.magics["line"]
    lines["config"] = _raising(lines["config"], configurable)


def remove(shell: InteractiveShell) -> None:
    """Have `%config` know them no more."""
    shell.configurables[:] = [found for found in shell.configurables if type(found).__name__ != Opskit.__name__]
    lines = shell.magics_manager.magics["line"]
    if (theirs := getattr(lines["config"], "opskit_stands_before", None)) is not None:
        lines["config"] = theirs


def _raising(config: Callable[[str], object], configurable: Any) -> Callable[[str], object]:
    """IPython's own `%config`, which logs each error and goes on, as if all was well; ours are raised."""

    @wraps(config)
    def raising(line: str) -> object:
        configurable.refused = None
        outcome = config(_NAME.sub("Opskit", line))
        if configurable.refused is not None:
            raise configurable.refused
        return outcome

    raising.opskit_stands_before = config  # type: ignore[attr-defined]  # for `remove`
    return raising
