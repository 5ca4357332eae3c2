"""Inventories in TOML; its parser tells no places of what is well-formed, so a line is sought by its keys."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from opskit.errors import InventoryError
from opskit.fleet.readers.document import inventory_from

if TYPE_CHECKING:
    import pathlib

    from opskit.fleet.inventory import Inventory
    from opskit.fleet.readers.places import Path


def read(text: str, path: pathlib.Path) -> Inventory:
    """Read the common document shape from TOML.

    Raises:
        InventoryError: It is no TOML, has a key twice, or does not describe hosts; says in which line.
    """
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line = f":{found[1]}" if found else ""
        first = _earlier(text, int(found[1])) if found else ""
        raise InventoryError(f"{path}{line}: not TOML: {error}{first}") from error
    except ValueError as error:  # a number of thousands of digits
        raise InventoryError(f"{path}: not TOML: {error}") from error
    return inventory_from(document, partial(_place, path, text))


def _earlier(text: str, number: int) -> str:
    """Where the table or key of this line was first, if it is there twice."""
    lines = [line.partition("=")[0].strip() for line in text.splitlines()]
    place = lines.index(lines[number - 1]) + 1
    return f", first in line {place}" if place < number else ""


def _place(path: pathlib.Path, text: str, keys: Path) -> str:
    """The file and the line of the last of these keys that can be found."""
    lines = text.splitlines()
    number = 0
    for key in keys:
        if isinstance(key, int):  # the entry of an array of tables
            found = [at for at, line in enumerate(lines) if re.match(r"\s*\[\[", line)][key : key + 1]
        else:
            name = re.compile(rf"""(?:^|[\[.{{,])\s*(["']?){re.escape(key)}\1\s*[=.\]]""")
            found = [at for at, line in enumerate(lines) if at >= number and name.search(line)]
        if not found:
            break
        number = found[0]
    return f"{path}:{number + 1}"
