"""Inventories in Ansible's INI format: groups become roles, and a host's vars are those of its groups and its own."""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import InventoryError, did_you_mean
from opskit.fleet.host import Host
from opskit.fleet.ranges import expand_ansible
from opskit.fleet.readers.places import at, inventory_of
from opskit.fleet.records import whole

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

    from opskit.fleet.inventory import Inventory

_SECTION: Final = re.compile(r"\[([^:\[\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?")
_KINDS: Final = ("children", "vars")
_WITH_PORT: Final = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])+):([0-9]{1,9})")
_MAYBE_LITERAL: Final = re.compile(r"""[-+.0-9'"\[({TFN]""")

_Lineages = dict[str, frozenset[tuple[int, str]]]
_NO_ROLES: Final = frozenset({"all", "ungrouped"})
"""Ansible's own groups: of all hosts, and of those that are in no other group."""

_ADDRESS: Final = ("ansible_host", "ansible_ssh_host")
_PORT: Final = ("ansible_port", "ansible_ssh_port")
_USER: Final = ("ansible_user", "ansible_ssh_user")
_KEY: Final = ("ansible_ssh_private_key_file", "ansible_private_key_file")


@dataclass(slots=True)
class _Content:
    """What the file says, before groups are related: everything by the name of a group or a host."""

    hosts: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    host_lines: dict[str, int] = field(default_factory=dict)
    groups_of: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    group_vars: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    defined: set[str] = field(default_factory=lambda: set(_NO_ROLES))
    parents: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    named: dict[str, int] = field(default_factory=dict)
    """The line that first named a group, as a child or to give it vars."""


def read(text: str, path: pathlib.Path) -> Inventory:
    """Read groups, ranges and vars. The vars of `all` yield to a parent group's, those to a child's, all to the host's.

    Raises:
        InventoryError: A line makes no sense, a group is undefined or contains itself; says in which line.
    """
    with warnings.catch_warnings():  # a value that looks like doubtful Python is merely a text
        warnings.simplefilter("ignore")
        content = _content(text, path)
    for group, number in content.named.items():
        if group not in content.defined:
            near = did_you_mean(group, content.defined - _NO_ROLES, plural="known groups")
            raise InventoryError(f"{path}:{number}: no group is called {group!r}{near}")
    lineages: _Lineages = {}
    for group in sorted(content.defined):
        _lineage(content, group, lineages, (), path)
    return inventory_of(_hosts(content, lineages, path))


def _content(text: str, path: pathlib.Path) -> _Content:
    content = _Content()
    group, kind = "ungrouped", None
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if not line or line[0] in "#;":
            continue
        with at(partial("{}:{}".format, path, number)):
            if section := _SECTION.fullmatch(line):
                group, kind = section[1], section[2]
                _open(content, group, kind, number)
            elif kind == "vars":
                content.group_vars[group].update([_assignment(line)])
            elif kind == "children":
                child = line.partition("#")[0].strip()
                content.parents[child][group] = None
                content.named.setdefault(child, number)
            else:
                _add_hosts(content, group, line, number)
    return content


def _open(content: _Content, group: str, kind: str | None, number: int) -> None:
    if kind is not None and kind not in _KINDS:
        raise InventoryError(f"a section is [{group}], [{group}:children] or [{group}:vars], not [{group}:{kind}]")
    if kind == "vars":
        content.named.setdefault(group, number)
    else:
        content.defined.add(group)


def _add_hosts(content: _Content, group: str, line: str, number: int) -> None:
    try:
        pattern, *words = shlex.split(line, comments=True)
    except ValueError as error:  # the line itself may hold a password
        raise InventoryError("a quote is not closed, or nothing follows a backslash") from error
    own = dict(map(_assignment, words))
    if with_port := _WITH_PORT.fullmatch(pattern):
        pattern = with_port[1]
        own.setdefault("ansible_port", int(with_port[2]))
    for name in expand_ansible(pattern):
        content.host_lines.setdefault(name, number)
        content.groups_of[name].append(group)
        content.hosts[name].update(own)


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise InventoryError(f"expected key=value, not {text!r}; a value with blanks needs quotes")
    literal = _literal(value)
    return key, value if key in (*_ADDRESS, *_USER, *_KEY) and not isinstance(literal, str) else literal


def _literal(text: str) -> Any:
    """A Python literal's value, as Ansible reads them; any other text as it is."""
    if not _MAYBE_LITERAL.match(text):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _hosts(content: _Content, lineages: _Lineages, path: pathlib.Path) -> Iterator[tuple[Host, Callable[[], str]]]:
    for name, own in content.hosts.items():
        direct = [group for group in content.groups_of[name] if group not in _NO_ROLES] or ["ungrouped"]
        groups = [group for _, group in sorted(frozenset().union(*(lineages[group] for group in direct)))]
        given: dict[str, Any] = {}
        for group in groups:
            given |= content.group_vars.get(group, {})
        place = partial("{}:{}".format, path, content.host_lines[name])
        with at(place):
            host = _host(name, given | own, set(groups) - _NO_ROLES)
        yield host, place


def _lineage(
    content: _Content, group: str, known: _Lineages, below: tuple[str, ...], path: pathlib.Path
) -> frozenset[tuple[int, str]]:
    """A group and all that contain it, each with how far it is from `all` by its longest way; notes what it finds."""
    if group in below:
        cycle = (group, *reversed(below[below.index(group) :]))
        line = max(content.named.get(name, 0) for name in cycle)
        raise InventoryError(f"{path}:{line}: groups contain themselves: {' > '.join(cycle)}")
    if group not in known:
        parents = content.parents.get(group) or (["all"] if group != "all" else [])
        above = frozenset().union(*(_lineage(content, parent, known, (*below, group), path) for parent in parents))
        known[group] = above | {(1 + max((depth for depth, _ in above), default=0), group)}
    return known[group]


def _host(name: str, given: dict[str, Any], roles: set[str]) -> Host:
    address, port, user, key = (_taken(given, names) for names in (_ADDRESS, _PORT, _USER, _KEY))
    if given.get("ansible_connection") == "local":
        del given["ansible_connection"]
        address = "local"
    if key is not None:
        given["identity_files"] = [key]
    return Host(name, address, whole(port), user, roles, given)


def _taken(given: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first of these vars that is there; none of them stays a var."""
    values = [given.pop(name) for name in names if name in given]
    return values[0] if values else None
