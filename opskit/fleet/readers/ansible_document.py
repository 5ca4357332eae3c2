"""Ansible's inventories as documents: its YAML format, and the JSON of its dynamic inventories, which differ little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import InventoryError
from opskit.fleet.readers.groups import Groups
from opskit.fleet.readers.places import at, check_keys, kind

if TYPE_CHECKING:
    from opskit.fleet.inventory import Inventory
    from opskit.fleet.readers.places import Path, Place

_KEYS: Final = ("hosts", "vars", "children")


def is_ansible(document: Mapping[Any, Any]) -> bool:
    """Whether this is Ansible's: it has `all` or `_meta`, or groups that hold `hosts` or `children`."""
    if "all" in document or "_meta" in document:
        return True
    values = (value for key, value in document.items() if key not in ("hosts", "defaults"))
    return any(isinstance(value, Mapping) and ("hosts" in value or "children" in value) for value in values)


def ansible_inventory(document: object, place: Place) -> Inventory:
    """Make the inventory of a document's groups.

    A group is a mapping of `hosts` and `children` (by name, or lists of names) and `vars`, or a list of hosts.
    `_meta.hostvars` has vars of hosts; a host that is in no group is none.

    Raises:
        InventoryError: A key is unknown, a value can't be right, a group contains itself; says where.
    """
    if not isinstance(document, Mapping):
        raise InventoryError(f"{place(())}: an inventory is a mapping of groups, not {kind(document)}")
    groups = Groups()
    meta = _mapping(document.get("_meta"), ("_meta",), place)
    for path, name, group in _entries({key: document[key] for key in document if key != "_meta"}, (), place):
        _add_group(groups, name, group, path, place)
    for path, name, own in _entries(meta.get("hostvars"), ("_meta", "hostvars"), place):
        groups.add_own(name, _mapping(own, path, place))
    return groups.inventory()


def _add_group(groups: Groups, group: str, content: object, path: Path, place: Place) -> None:
    groups.define(group)
    if isinstance(content, list):
        _add_hosts(groups, group, content, path, place)
        return
    found = _mapping(content, path, place)
    check_keys(found, _KEYS, path, place)
    for key, value in found.items():  # hosts stand in the order of the file
        inside = (*path, key)
        if key == "hosts":
            _add_hosts(groups, group, value, inside, place)
        elif key == "vars":
            given = _mapping(value, inside, place)
            with at(partial(place, (*inside, "ansible_group_priority"))):
                groups.add_vars(group, given)
        else:
            for below, child, its_content in _entries(value, inside, place):
                groups.add_child(group, child, partial(place, below))
                _add_group(groups, child, its_content, below, place)


def _add_hosts(groups: Groups, group: str, given: object, path: Path, place: Place) -> None:
    for here, pattern, own in _entries(given, path, place):
        variables = _mapping(own, here, place)
        with at(partial(place, here)):
            groups.add_hosts(group, pattern, variables, partial(place, here))


def _entries(given: object, path: Path, place: Place) -> Iterator[tuple[Path, str, object]]:
    """Path, name and content of what is given by name, or as a list of names, or as one name."""
    if isinstance(given, str):
        given = [given]
    found: list[tuple[str | int, Any, object]]
    if isinstance(given, list):
        found = [(index, name, None) for index, name in enumerate(given)]
    else:
        found = [(name, name, content) for name, content in _mapping(given, path, place).items()]
    for key, name, content in found:
        if not isinstance(name, str):
            raise InventoryError(f"{place((*path, key))}: a name must be text, not {kind(name)}; put quotes around it")
        yield (*path, key), name, content


def _mapping(given: object, path: Path, place: Place) -> Mapping[Any, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InventoryError(f"{place(path)}: {'.'.join(map(str, path))} must be a mapping, not {kind(given)}")
    return given
