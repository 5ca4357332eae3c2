"""Which hosts of an inventory are meant, by roles, names and vars. Reach never grows by mistake: nothing means none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING, Any, Final, Literal

from opskit import checks
from opskit.errors import InventoryError, NoMatchingHosts, PlanError, did_you_mean
from opskit.fleet.host import Host
from opskit.fleet.ranges import expand, split_names
from opskit.frames.hosts import is_frame, is_series, names_in
from opskit.rendering.escape import terminal
from opskit.rendering.folding import fold

if TYPE_CHECKING:
    from opskit.fleet.inventory import Inventory

_SHOWN: Final = 200


class _LeftOut:
    def __repr__(self) -> str:
        return "<left out>"


LEFT_OUT: Final[Any] = _LeftOut()
"""The default of every criterion, since None says something else: a mistake."""


@dataclass(frozen=True, slots=True)
class _Criterion:
    """What a host must be like; for the error if no host is, the words for it, and what may help."""

    holds: Callable[[Host], bool]
    words: Callable[[], str]
    hint: Callable[[], str] = str


def choose(
    inventory: Inventory,
    *,
    roles: Any = LEFT_OUT,
    hosts: Any = LEFT_OUT,
    only: Any = LEFT_OUT,
    except_: Any = LEFT_OUT,
    limit: Any = LEFT_OUT,
    once: Any = False,
    at_least_one: bool = False,
) -> Inventory:
    """Choose the hosts for which all criteria hold, in the inventory's order; see `Inventory.select` for each of them.

    Raises:
        InventoryError: A host is unknown, or a criterion can't be read (None can't).
        NoMatchingHosts: A role is unknown; or, with `at_least_one`, no host is left.
        PlanError: `limit` or `once` is bad.
    """
    criteria = []
    if roles is not LEFT_OUT:
        criteria.append(_by_role(roles, inventory))
    if hosts is not LEFT_OUT:
        criteria.append(_by_name(hosts, inventory))
    if only is not LEFT_OUT:
        criteria.append(_by_vars("only", only, inventory))
    if except_ is not LEFT_OUT:
        criteria.append(_by_vars("except_", except_, inventory))
    most = _most(limit, once)
    chosen = [host for host in inventory if all(criterion.holds(host) for criterion in criteria)]
    if at_least_one and not chosen:
        raise _no_match(inventory, criteria)
    return type(inventory)(chosen[:most])


def _no_match(inventory: Inventory, criteria: list[_Criterion]) -> NoMatchingHosts:
    if not inventory:
        return NoMatchingHosts("the inventory has no hosts")
    words = ", ".join(criterion.words() for criterion in criteria)
    hints = "".join(criterion.hint() for criterion in criteria)
    hints = hints or did_you_mean("", inventory.roles, plural="known roles")
    return NoMatchingHosts(f"none of {len(inventory):,} hosts matches {words}{hints}")


def _by_role(given: Any, inventory: Inventory) -> _Criterion:
    parts = _texts(given)
    if parts is None:
        raise _unreadable("roles", given, "a role, or a list of roles")
    wanted = dict.fromkeys(role for part in parts for role in split_names(part))
    for role in wanted:
        if role not in inventory.roles:
            near = did_you_mean(role, inventory.roles, plural="known roles")
            raise NoMatchingHosts(f"none of {len(inventory):,} hosts has the role {role!r}{near}")
    return _Criterion(
        lambda host: not host.roles.isdisjoint(wanted),
        lambda: _words("roles", ",".join(wanted)),
        lambda: did_you_mean("", inventory.roles, plural="known roles"),
    )


def _by_name(given: Any, inventory: Inventory) -> _Criterion:
    patterns: list[str] = []
    names: list[str] = []
    _collect(given, patterns, names)
    given_names = tuple(names)
    known = inventory.names
    wanted: set[str] = set()
    for name in (name for pattern in patterns for part in split_names(pattern) for name in expand(part)):
        if "*" in name or "?" in name:
            wanted.update(filter(re.compile(translate(name)).match, known))
        else:
            names.append(name)
    if unknown := [name for name in names if name not in inventory]:
        near = did_you_mean(unknown[0], known, plural="known hosts")
        raise InventoryError(f"the inventory has no host {_short(repr(fold(unknown)))}{near}")
    wanted.update(names)
    return _Criterion(
        lambda host: host.name in wanted,
        lambda: _words("hosts", ",".join([*patterns, *([fold(given_names)] if given_names else [])])),
    )


def _collect(given: Any, patterns: list[str], names: list[str]) -> None:
    """Sort what was given into patterns, which a person wrote, and names, which data holds: nothing reads those."""
    if isinstance(given, str):
        patterns.append(given)
    elif isinstance(given, Host):
        names.append(given.name)
    elif isinstance(row := getattr(given, "host", None), str):
        names += [row] if row else []  # the row of a task has no host
    elif is_frame(given) or is_series(given):
        names += names_in(given)
    elif isinstance(given, Iterable) and not isinstance(given, bytes):
        for item in given:
            _collect(item, patterns, names)
    else:
        takes = "names, patterns, hosts, an Inventory, Results, rows, a DataFrame or Series, or a list of those"
        raise _unreadable("hosts", given, takes)


def _by_vars(option: Literal["only", "except_"], given: Any, inventory: Inventory) -> _Criterion:
    """`only`: every entry must hold; `except_`: none may."""
    entries = _entries(option, given)

    def words() -> str:
        return _words(option, given if isinstance(given, str) else repr(given))

    def hint() -> str:
        known = {key for host in inventory for key in host.vars}
        unknown = (key for key, _ in entries if key not in known)
        return "".join(f"; no host has a var {key!r}{did_you_mean(key, known)}" for key in unknown)

    if option == "except_":
        return _Criterion(lambda host: not any(holds(host) for _, holds in entries), words)
    return _Criterion(lambda host: all(holds(host) for _, holds in entries), words, hint)


def _entries(option: str, given: Any) -> list[tuple[str, Callable[[Host], bool]]]:
    if isinstance(given, Mapping):
        pairs = list(given.items())
        if all(isinstance(key, str) for key, _ in pairs):
            return [(key, _equals(key, value)) for key, value in pairs]
    elif (parts := _texts(given)) is not None and all(part.strip() for part in parts):
        return [_entry(word.strip()) for part in parts for word in part.split(",")]
    raise _unreadable(option, given, 'a mapping of vars to values, or names of vars that must be true, as "primary"')


def _entry(word: str) -> tuple[str, Callable[[Host], bool]]:
    """From `primary` (the var is true) or, as on a magic's line, `dc=ams` (the var's text is this)."""
    key, equals, text = word.partition("=")
    if equals:
        return key, lambda host: key in host.vars and _text(host.vars[key]) == text
    return key, lambda host: bool(host.vars.get(key))


def _equals(key: str, value: Any) -> Callable[[Host], bool]:
    values = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
    return lambda host: key in host.vars and any(host.vars[key] == one for one in values)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(given: Any) -> list[str] | None:
    """One text, or an iterable of texts, as a list; None if it is anything else."""
    parts: list[Any] = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [None]
    return parts if all(isinstance(part, str) for part in parts) else None


def _most(limit: Any, once: Any) -> int | None:
    if not isinstance(once, bool):
        raise PlanError(f"once={once!r} must be True or False")
    most = None
    if limit is not LEFT_OUT:
        try:
            most = checks.whole(limit)
        except ValueError as error:
            raise PlanError(f"limit={limit!r} {error}; leave it out for no limit") from None
    return 1 if once else most


def _unreadable(option: str, given: object, takes: str) -> InventoryError:
    if given is None:
        return InventoryError(f"{option}=None selects nothing, surely not all hosts: leave {option} out to mean all")
    return InventoryError(f"{option}= takes {takes}, not {_short(repr(given))} ({type(given).__name__})")


def _words(option: str, text: str) -> str:
    return f"{option}={terminal(_short(text)) or 'nothing'}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
