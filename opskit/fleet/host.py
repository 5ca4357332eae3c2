"""One machine of the fleet, as an immutable value that is cheap to make and can be pickled."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from opskit import checks
from opskit.errors import InventoryError, did_you_mean
from opskit.masking import SHORTEST, conceal, mask

LARGEST_PORT: Final = 65535

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:@%+][A-Za-z0-9_.:@%+-]*")
"""What nearly every name looks like: nothing to look closer at."""

# What a shell reads is refused too: whoever hands a host to `ssh` or a ProxyCommand shall not run a part of its name.
_FORBIDDEN_IN_NAMES: Final = re.compile(r"""[\s,/\[\](){}<>|;&$`'"\\]""")
_FORBIDDEN_IN_USERS: Final = re.compile(r"""[(){}<>|;&$`'"]""")
_FORBIDDEN_IN_ROLES: Final = re.compile(r"[\s,]")


class Vars(Mapping[str, Any]):
    """A host's variables: an immutable mapping whose keys are attributes too, `vars.dc`; so are nested mappings."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self._values = {key: _frozen(value) for key, value in dict(values).items()}
        for name in checks.PASSWORDS:
            password = self._values.get(name)
            is_text = isinstance(password, (str, int)) and not isinstance(password, bool)
            if is_text and len(str(password)) >= SHORTEST:
                conceal(str(password))

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no var is called {name!r}{did_you_mean(name, self._values)}") from None

    def __dir__(self) -> list[str]:
        return sorted([*super().__dir__(), *map(str, self._values)])

    def __repr__(self) -> str:
        return mask(f"Vars({self._values!r})")

    def __reduce__(self) -> tuple[type[Vars], tuple[dict[str, Any]]]:
        return Vars, (self._values,)


def _frozen(value: Any) -> Any:
    if isinstance(value, (str, Vars)):
        return value
    if isinstance(value, Mapping):
        return Vars(value)
    return [_frozen(item) for item in value] if isinstance(value, list) else value


_NO_VARS: Final = Vars()


@dataclass(frozen=True, slots=True, init=False)
class Host:
    """One machine.

    Attributes:
        name: What it is called here; unique in its inventory.
        address: What is dialled, by default the name; `local` runs without SSH.
        port: 1 to 65535; None is SSH's own, 22.
        user: Who logs in; None is who runs this process.
        roles: The groups that it is in.
        vars: Anything else that is known of it; keys are attributes too.

    Raises:
        InventoryError: A value can't be right, or could be taken for an option or a piece of shell.
    """

    name: str
    address: str
    port: int | None
    user: str | None
    roles: frozenset[str]
    vars: Vars

    def __init__(
        self,
        name: str,
        address: str | None = None,
        port: int | None = None,
        user: str | None = None,
        roles: str | Iterable[str] = (),
        vars: Mapping[str, Any] = _NO_VARS,  # noqa: A002 - the contract's name
    ) -> None:
        _check("a host's name", name, _FORBIDDEN_IN_NAMES)
        place = f"host {name!r}: "
        if address is not None:
            _check(f"{place}address", address, _FORBIDDEN_IN_NAMES)
        if user is not None:
            _check(f"{place}user", user, _FORBIDDEN_IN_USERS)
        put = object.__setattr__  # the dataclass is frozen
        put(self, "name", name)
        put(self, "address", name if address is None else address)
        put(self, "port", None if port is None else _port(port, place))
        put(self, "user", user)
        put(self, "roles", _roles(roles, place))
        put(self, "vars", vars if type(vars) is Vars else _vars(vars, place))

    def __hash__(self) -> int:
        return hash(self.name)

    def as_user(self, user: str | None) -> Host:
        """This host with somebody else who logs in; None leaves that as it is."""
        if user is None or user == self.user:
            return self
        return Host(self.name, self.address, self.port, user, self.roles, self.vars)


def _check(what: str, text: object, forbidden: re.Pattern[str]) -> None:
    if isinstance(text, str):
        if _PLAIN.fullmatch(text):
            return
        if not text or text.isspace():
            raise InventoryError(f"{what} is empty")
        if text.startswith("-"):
            raise InventoryError(f"{what} can't be {text!r}: with a leading '-' a program would take it for an option")
        bad = forbidden.search(text) or _unprintable(text)
        if not bad:
            return
        raise InventoryError(f"{what} can't be {text!r}: {bad[0]!r} is not allowed (character {bad.start() + 1})")
    raise InventoryError(f"{what} must be text, not {type(text).__name__} ({text!r})")


def _unprintable(text: str) -> re.Match[str] | None:
    """The first control character, or one that can't be seen."""
    hidden = "".join(character for character in text if not character.isprintable())
    return re.search(re.escape(hidden[0]), text) if hidden else None


def _port(port: object, place: str) -> int:
    try:
        number = 0 if isinstance(port, bool) else operator.index(port)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        number = 0
    if 1 <= number <= LARGEST_PORT:
        return number
    raise InventoryError(f"{place}port must be a whole number, 1-{LARGEST_PORT}, not {port!r}")


def _roles(roles: object, place: str) -> frozenset[str]:
    if isinstance(roles, str):
        roles = (roles,)
    if not isinstance(roles, Iterable):
        raise InventoryError(f"{place}roles must be text or a list of texts, not {type(roles).__name__} ({roles!r})")
    found = tuple(roles)
    for role in found:
        _check(f"{place}a role", role, _FORBIDDEN_IN_ROLES)
    return frozenset(found)


def _vars(given: object, place: str) -> Vars:
    if not isinstance(given, Mapping):
        raise InventoryError(f"{place}vars must be a mapping, not {type(given).__name__} ({given!r})")
    for key in given:
        if not isinstance(key, str):
            raise InventoryError(f"{place}vars: a key must be text, not {type(key).__name__} ({key!r})")
    return Vars(given)
