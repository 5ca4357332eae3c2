"""The shape that YAML, TOML and JSON inventories share: `hosts`, by name or as a list, and `defaults` for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import InventoryError
from opskit.fleet.host import Host
from opskit.fleet.ranges import expand
from opskit.fleet.readers.ansible_document import ansible_inventory, is_ansible
from opskit.fleet.readers.places import at, check_keys, inventory_of, kind
from opskit.fleet.records import words

if TYPE_CHECKING:
    from opskit.fleet.inventory import Inventory
    from opskit.fleet.readers.places import Here, Path, Place

_FIELDS: Final = ("address", "port", "user", "roles", "vars")


def inventory_from(document: object, place: Place) -> Inventory:
    """Make the inventory that a file's content describes, in this shape or in Ansible's.

    Raises:
        InventoryError: A key is unknown, a value can't be right, a host is there twice; says where.
    """
    if not isinstance(document, Mapping):
        raise InventoryError(f"{place(())}: an inventory is a mapping with `hosts`, not {kind(document)}")
    if is_ansible(document):
        return ansible_inventory(document, place)
    check_keys(document, ("hosts", "defaults"), (), place)
    defaults = _fields(document.get("defaults"), ("defaults",), place)
    _host("defaults", defaults, {}, ("defaults",), place)  # a mistake in them is told once, where it stands
    return inventory_of(_hosts(document.get("hosts") or {}, defaults, place))


def _hosts(entries: object, defaults: Mapping[str, Any], place: Place) -> Iterator[tuple[Host, Here]]:
    for path, pattern, own in _entries(entries, place):
        here = partial(place, path)
        with at(here):
            if not isinstance(pattern, str):
                raise InventoryError(f"a host's name must be text, not {kind(pattern)}; put quotes around it")
            names = expand(pattern)
        for name in names:
            yield _host(name, own, defaults, path, place), here


def _entries(entries: object, place: Place) -> Iterator[tuple[Path, object, dict[str, Any]]]:
    """Path, name or range, and fields of each entry."""
    if isinstance(entries, Mapping):
        for name, fields in entries.items():
            yield ("hosts", name), name, _fields(fields, ("hosts", name), place)
    elif isinstance(entries, list):
        for index, entry in enumerate(entries):
            path = ("hosts", index)
            if not isinstance(entry, Mapping) or entry.get("name") is None:
                raise InventoryError(f"{place(path)}: each entry of a list of hosts is a mapping with a `name`")
            fields = {key: value for key, value in entry.items() if key != "name"}
            yield path, entry["name"], _fields(fields, path, place)
    else:
        raise InventoryError(f"{place(('hosts',))}: `hosts` is a mapping by name, or a list, not {kind(entries)}")


def _fields(given: object, path: Path, place: Place) -> dict[str, Any]:
    """The fields that say something: null is as good as nothing."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InventoryError(
            f"{place(path)}: {'.'.join(map(str, path))} must be a mapping of {', '.join(_FIELDS)}, not {kind(given)}"
        )
    check_keys(given, _FIELDS, path, place)
    fields = {key: value for key, value in given.items() if value is not None}
    if "roles" in fields:
        fields["roles"] = words(fields["roles"])
    for field, allowed, wanted in (
        ("roles", (list, tuple), "a list of texts, or one text"),
        ("vars", Mapping, "a mapping"),
    ):
        if field in fields and not isinstance(fields[field], allowed):
            raise InventoryError(f"{place((*path, field))}: {field} must be {wanted}, not {kind(fields[field])}")
    return fields


def _host(name: str, own: Mapping[str, Any], defaults: Mapping[str, Any], path: Path, place: Place) -> Host:
    fields = {**defaults, **own}
    fields["roles"] = (*defaults.get("roles", ()), *own.get("roles", ()))
    fields["vars"] = {**defaults.get("vars", {}), **own.get("vars", {})}
    try:
        return Host(name, **fields)
    except InventoryError as error:
        raise InventoryError(f"{place((*path, *_culprit(own)))}: {error}") from None


def _culprit(fields: Mapping[str, Any]) -> Path:
    """The first field that makes no host, as the last part of a path; none if it is the name."""
    for field, value in fields.items():
        try:
            Host("any", **{field: value})
        except InventoryError:
            return (field,)
    return ()
