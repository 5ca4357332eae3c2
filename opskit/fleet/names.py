"""What a condition or a template may name: the call's variables, the caller's own names, and the settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opskit.errors import did_you_mean

if TYPE_CHECKING:
    from types import FrameType

NOTEBOOKS_OWN: Final = frozenset({"In", "Out", "get_ipython", "exit", "quit", "open"})
"""What a notebook's module has from the start, beside names that begin with an underscore."""

_COMPREHENSIONS: Final = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"})


@dataclass(frozen=True, slots=True)
class Names:
    """Where names are looked up, nearest first: variables, then locals, then globals.

    Attributes:
        variables: The call's `variables=`.
        locals: The caller's local names.
        globals: The caller's module, or the notebook.
        settings: What `configuration` offers besides the variables.
    """

    variables: Mapping[str, object]
    locals: Mapping[str, object]
    globals: Mapping[str, object]
    settings: object

    @classmethod
    def of(cls, frame: FrameType | None, variables: Mapping[str, object], settings: object) -> Names:
        """The names that the code of `frame` sees; without a frame only the variables."""
        if frame is None:
            return cls(variables, {}, {}, settings)
        return cls(variables, _seen_in(frame), frame.f_globals, settings)

    def pick(self, wanted: Iterable[str]) -> dict[str, object]:
        """The values that the wanted names have now; an unknown name is left out."""
        scopes = (self.variables, self.locals, self.globals)
        found = {}
        for name in wanted:
            scope = next((scope for scope in scopes if name in scope), None)
            if scope is not None:
                found[name] = scope[name]
        return found

    def known(self) -> set[str]:
        """Every name that can be picked and may be meant."""
        found = {name for name in (*self.variables, *self.locals, *self.globals) if name.isidentifier()}
        return found - NOTEBOOKS_OWN

    def configuration(self) -> Configuration:
        """What `configuration` is in a condition or template: the variables as they are now, and the settings."""
        return Configuration(dict(self.variables), self.settings)


def _seen_in(frame: FrameType) -> Mapping[str, object]:
    """The local names of a frame; in a comprehension, which may have a frame of its own, also those around it."""
    seen: Mapping[str, object] = frame.f_locals
    while frame.f_code.co_name in _COMPREHENSIONS and (outer := _around(frame)):
        frame = outer
        seen = {**frame.f_locals, **seen}
    return seen


def _around(frame: FrameType) -> FrameType | None:
    """The caller in whose text the code of this frame stands; whoever draws from a generator is another."""
    outer = frame.f_back
    while outer is not None and frame.f_code not in outer.f_code.co_consts:
        outer = outer.f_back
    return outer


@dataclass(frozen=True, slots=True, repr=False)
class Configuration:
    """Variables and settings, as `configuration.x` or `configuration["x"]`; a variable wins over a setting.

    Raises:
        AttributeError, KeyError: An unknown name; the message has near ones.
    """

    _variables: Mapping[str, object]
    _settings: object

    def __getattr__(self, name: str) -> object:
        try:
            return self[name]
        except KeyError as unknown:
            raise AttributeError(*unknown.args) from None

    def __getitem__(self, name: str) -> object:
        if name in self._variables:
            return self._variables[name]
        if not name.startswith("_") and hasattr(self._settings, name):
            return getattr(self._settings, name)
        raise KeyError(f"configuration has no {name!r}{did_you_mean(name, dir(self))}")

    def __dir__(self) -> Iterable[str]:
        return [*self._variables, *_attributes(self._settings)]


def near_attributes(owner: object, name: str) -> str:
    """End an error's sentence about an attribute or key that `owner` lacks, as `did_you_mean` does."""
    keys = [str(key) for key in owner] if isinstance(owner, Mapping) else []
    return did_you_mean(name, keys or _attributes(owner))


def _attributes(owner: object) -> list[str]:
    return [name for name in dir(owner) if not name.startswith("_")]
