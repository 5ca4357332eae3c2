"""Inventories in CSV: the columns of `Inventory.from_frame`, without pandas."""

from __future__ import annotations

from functools import partial
from io import StringIO
from typing import TYPE_CHECKING

from opskit.errors import InventoryError
from opskit.fleet.readers.places import at, inventory_of
from opskit.fleet.records import host_from_record

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from opskit.fleet.host import Host
    from opskit.fleet.inventory import Inventory
    from opskit.fleet.readers.places import Here


def read(text: str, path: pathlib.Path) -> Inventory:
    """Read a host from each row; empty cells are left out.

    Raises:
        InventoryError: There is no column of names, a row has too few or too many cells, or a value can't be right.
    """
    import csv

    rows = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        return inventory_of(_hosts(((rows.line_num, [cell.strip() for cell in row]) for row in rows), path))
    except csv.Error as error:
        raise InventoryError(f"{path}:{rows.line_num}: not CSV: {error}") from error


def _hosts(rows: Iterator[tuple[int, list[str]]], path: pathlib.Path) -> Iterator[tuple[Host, Here]]:
    filled = ((line, row) for line, row in rows if any(row))
    start, columns = next(filled, (1, ["name"]))
    if "name" not in columns and "host" not in columns:
        raise InventoryError(f"{path}:{start}: no column is called 'name' or 'host'; the columns: {', '.join(columns)}")
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise InventoryError(f"{path}:{start}: more than one column is called {', '.join(map(repr, twice))}")
    labels = columns if "name" in columns else ["name" if column == "host" else column for column in columns]
    for line, row in filled:
        if len(row) != len(columns):
            raise InventoryError(f"{path}:{line}: a row of {len(row)} cells, where the heading has {len(columns)}")
        place = partial("{}:{}".format, path, line)
        with at(place):
            host = host_from_record({label: cell for label, cell in zip(labels, row, strict=True) if cell})
        yield host, place
