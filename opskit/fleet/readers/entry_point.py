"""Inventories in formats of other packages, which offer a reader as an entry point named by the file's suffix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import InventoryError
from opskit.fleet.inventory import Inventory
from opskit.fleet.readers.places import at
from opskit.fleet.records import host_from_record

if TYPE_CHECKING:
    import pathlib
    from importlib.metadata import EntryPoint

GROUP: Final = "opskit.inventories"


def find(suffix: str) -> EntryPoint | None:
    """The entry point for files of this suffix, if a package offers one: `hcl` for `.hcl`."""
    return next(iter(entry_points(group=GROUP, name=suffix.removeprefix("."))), None)


def read(entry: EntryPoint, file: pathlib.Path) -> Inventory:
    """Call the entry point with the path: it gives an Inventory, or hosts, or mappings as rows of `from_frame` are.

    Raises:
        InventoryError: It can't be loaded, raises, or gives something else; names it and the cause.
    """
    try:
        found = entry.load()(file)
        return found if isinstance(found, Inventory) else _inventory(found)
    except Exception as error:
        cause = str(error) if isinstance(error, InventoryError) else f"{type(error).__name__}: {error}"
        raise InventoryError(f"{file}: {entry.name} = {entry.value} (entry point of {GROUP}): {cause}") from error


def _inventory(found: object) -> Inventory:
    if isinstance(found, (str, bytes, Mapping)) or not isinstance(found, Iterable):
        raise InventoryError(f"it must give an Inventory, hosts or mappings, not {type(found).__name__}")
    return Inventory(_host(item, number) for number, item in enumerate(found, start=1))


def _host(item: Any, number: int) -> Any:
    with at(partial("item {}".format, number)):
        return host_from_record(item) if isinstance(item, Mapping) else item
