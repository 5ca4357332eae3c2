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
    from collections.abc import Callable, Mapping

    from IPython.core.interactiveshell import InteractiveShell

# Also `opskit.fanout`, as the package is written: no other class is called so.
_OURS: Final = re.compile(r"\s*opskit\b(.*)", re.IGNORECASE | re.DOTALL)
_SETTING: Final = re.compile(r"\s*\.\s*(\w+)\s*(?:=(?!=)(.+))?", re.DOTALL)

_NAMES: Final = tuple(field.name for field in fields(Settings))


class Setting(TraitType[Any, Any]):
    """One setting: to read it gives what holds now, to set it is `opskit.configure`."""

    def get(self, obj: Any, cls: Any = None) -> Any:  # noqa: ARG002 - traitlets' signature
        """What holds now; of what may hold a password, only what may be shown."""
        assert self.name is not None
        value = getattr(current(), self.name)
        shown = {name: text for name, text, _ in describe()}[self.name]
        return value if shown == repr(value) or not value else _Unquoted(shown)

    def set(self, obj: Any, value: Any) -> None:  # noqa: ARG002 - traitlets' signature
        """Configure it; raises SettingsError."""
        configure(**{str(self.name): value})


class _Unquoted(str):
    """What is shown in place of a value."""

    __slots__ = ()
    __repr__ = str.__str__


class SettingsLayer(Configurable):
    """What the settings are to IPython.

    Attributes:
        magic: `%config` as it is while the settings are in it.
    """

    magic: Callable[[str], object]


Opskit: Final = MetaHasTraits(
    "Opskit",
    (SettingsLayer,),
    {field.name: Setting(help=field.metadata["doc"]).tag(config=True) for field in fields(Settings)},
)
"""By this name `%config` finds it."""


def install(shell: InteractiveShell) -> None:
    """Have `%config` know the settings, and take those that IPython's own configuration has, `c.Opskit.fanout = 5`.

    Raises:
        SettingsError: Of the latter, one is unknown or has a bad value.
    """
    remove(shell)
    if "Opskit" in shell.config:
        _configure("c.Opskit in IPython's configuration", shell.config["Opskit"])
        # It is taken once: when the extension is loaded again, what was set since holds. And it stays nowhere in clear.
        for found in (shell, *shell.configurables):
            found.config.pop("Opskit", None)
    layer = Opskit()
    shell.configurables.append(layer)
    theirs = shell.find_line_magic("config")  # which loads it: since IPython 9.18 a stub stands there before
    shell.magics_manager.magics["line"]["config"] = layer.magic = _with_ours(theirs, layer, shell)


def remove(shell: InteractiveShell) -> None:
    """Have `%config` know them no more."""
    lines = shell.magics_manager.magics["line"]
    ours: list[Any] = [found for found in shell.configurables if type(found).__name__ == Opskit.__name__]
    for layer in ours:
        shell.configurables.remove(layer)
        if lines["config"] is layer.magic:  # else it is another extension's, around ours
            lines["config"] = layer.magic.__wrapped__


def _with_ours(theirs: Callable[[str], object], layer: Any, shell: InteractiveShell) -> Callable[[str], object]:
    """IPython's own `%config`, but for lines that set: those it would keep in clear, and only log what is wrong."""

    @wraps(theirs)
    def config(line: str) -> object:
        ours = _OURS.fullmatch(line)
        if ours is None or layer not in shell.configurables:
            return theirs(line)
        if not ours[1].strip():
            return theirs(Opskit.__name__)
        if (setting := _SETTING.fullmatch(ours[1])) is None:
            raise SettingsError("%config Opskit: write `Opskit.fanout = 5` or `Opskit.fanout`; `Opskit` shows all")
        name, text = setting.groups()
        if name not in _NAMES:
            raise SettingsError(f"%config Opskit: no setting is called {name!r}{did_you_mean(name, _NAMES)}")
        if text is None:
            return getattr(layer, name)
        _configure("%config Opskit", {name: _evaluated(name, text.strip(), shell.user_ns)})
        return None

    return config


def _evaluated(name: str, text: str, variables: dict[str, Any]) -> object:
    try:
        return eval(text, variables)  # noqa: S307 - the user's own code, as IPython takes it
    except (SyntaxError, NameError) as error:
        raise SettingsError(f"%config Opskit: the value of {name} can't be read: {error.args[0]}") from error
    except Exception as error:  # whose message may have the value in it
        raise SettingsError(f"%config Opskit: the value of {name} can't be had: {type(error).__name__}") from error


def _configure(source: str, values: Mapping[str, object]) -> None:
    try:
        configure(**values)
    except SettingsError as error:
        raise SettingsError(f"{source}: {str(error).removeprefix('configure(): ')}") from None
