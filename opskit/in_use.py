"""The inventory in use: what calls select from where they name none."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from opskit.defaults import Change, Default
from opskit.errors import InventoryError
from opskit.fleet import Inventory, load_inventory
from opskit.settings import current

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

_inventory: Default[Inventory | None] = Default("opskit_inventory", None)


def use(inventory: Inventory | str | PathLike[str]) -> Change[Inventory | None]:
    """Make an inventory (or the file of one) the default of every call.

    As a statement it holds for the process; as `with opskit.use(inventory):` for the block alone, and blocks nest.

    Raises:
        InventoryError: The file can't be read.
    """
    return _inventory.set(inventory if isinstance(inventory, Inventory) else load_inventory(inventory))


def forget(inventory: Inventory) -> None:
    """Use this inventory no more; does nothing if another one is in use."""
    if _inventory.get() == inventory:
        _inventory.set(None)


def default_inventory() -> Inventory:
    """The inventory that calls select from: the one in use, else that of the setting `inventory`.

    Raises:
        InventoryError: There is none.
    """
    if (inventory := _inventory.get()) is not None:
        return inventory
    if (path := current().inventory) is not None:
        return _read_once(path, path.stat().st_mtime_ns if path.exists() else 0)
    raise InventoryError(
        "there is no inventory: opskit.use(opskit.load_inventory('hosts.yaml')), %opskit use hosts.yaml in a notebook, "
        "-i hosts.yaml in a shell, or OPSKIT_INVENTORY; %opskit fleet up 8 makes one to play with"
    )


@lru_cache(maxsize=1)
def _read_once(path: Path, changed: int) -> Inventory:  # noqa: ARG001 - the cache's key
    return load_inventory(path)
