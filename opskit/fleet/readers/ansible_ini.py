"""Inventories in Ansible's INI format: sections of hosts, children and vars, with a value for each `key=value`."""

from __future__ import annotations

import ast
import re
import shlex
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import InventoryError
from opskit.fleet.readers.groups import TEXTS, Groups
from opskit.fleet.readers.places import at

if TYPE_CHECKING:
    import pathlib

    from opskit.fleet.inventory import Inventory
    from opskit.fleet.readers.places import Here

_SECTION: Final = re.compile(r"\[([^:\[\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?")
_KINDS: Final = ("children", "vars")
_MAYBE_LITERAL: Final = re.compile(r"""[-+.0-9'"\[({TFN]""")


def read(text: str, path: pathlib.Path) -> Inventory:
    """Read groups, ranges and vars. The vars of `all` yield to a parent group's, those to a child's, all to the host's.

    Raises:
        InventoryError: A line makes no sense, a group is undefined or contains itself; says in which line.
    """
    with warnings.catch_warnings():  # a value that looks like doubtful Python is merely a text
        warnings.simplefilter("ignore")
        return _groups(text, path).inventory()


def _groups(text: str, path: pathlib.Path) -> Groups:
    groups = Groups()
    group, kind = "ungrouped", None
    for number, line in enumerate(map(str.strip, text.split("\n")), start=1):
        if not line or line[0] in "#;":
            continue
        place = partial("{}:{}".format, path, number)
        with at(place):
            if section := _SECTION.fullmatch(line):
                group, kind = section[1], section[2]
                _open(groups, group, kind, place)
            elif kind == "vars":
                groups.add_vars(group, dict([_assignment(line)]))
            elif kind == "children":
                groups.add_child(group, line.partition("#")[0].strip(), place)
            else:
                _add_hosts(groups, group, line, place)
    return groups


def _open(groups: Groups, group: str, kind: str | None, place: Here) -> None:
    if kind is not None and kind not in _KINDS:
        raise InventoryError(f"a section is [{group}], [{group}:children] or [{group}:vars], not [{group}:{kind}]")
    if kind == "vars":
        groups.name(group, place)
    else:
        groups.define(group)


def _add_hosts(groups: Groups, group: str, line: str, place: Here) -> None:
    try:
        pattern, *words = shlex.split(line, comments=True)
    except ValueError as error:  # the line itself may hold a password
        raise InventoryError("a quote is not closed, or nothing follows a backslash") from error
    groups.add_hosts(group, pattern, dict(map(_assignment, words)), place)


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise InventoryError(f"expected key=value, not {text!r}; a value with blanks needs quotes")
    literal = _literal(value)
    return key, value if key in TEXTS and not isinstance(literal, str) else literal


def _literal(text: str) -> Any:
    """A Python literal's value, as Ansible reads them; any other text as it is."""
    if not _MAYBE_LITERAL.match(text):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
