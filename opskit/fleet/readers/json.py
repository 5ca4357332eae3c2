"""Inventories in JSON; the text is walked again for a line only when there is something to complain of."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import InventoryError
from opskit.fleet.readers.document import inventory_from

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from opskit.fleet.inventory import Inventory
    from opskit.fleet.readers.places import Path, Place

_BLANKS: Final = re.compile(r"[ \t\r\n]*")


class _Twins(Exception):  # noqa: N818 - a signal from inside the parser, which knows no places
    """An object has a key twice."""


def read(text: str, path: pathlib.Path) -> Inventory:
    """Read the common document shape from JSON.

    Raises:
        InventoryError: It is no JSON, has a key twice, or does not describe hosts; says in which line.
    """
    return inventory_from(*parse(text, path))


def parse(text: str, source: object) -> tuple[object, Place]:
    """Read JSON from a source that errors name: what it describes, and where in it something stands.

    Raises:
        InventoryError: It is no JSON, or has a key twice; says in which line.
    """
    import json

    try:
        document = json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        raise InventoryError(f"{source}:{error.lineno}: not JSON: {error.msg} (column {error.colno})") from error
    except _Twins:
        key, first, second = next(_twins(text, 0))
        raise InventoryError(
            f"{source}:{_line(text, second)}: {key!r} is there twice, first in line {_line(text, first)}"
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise InventoryError(f"{source}: not JSON: {error}") from error
    return document, partial(_place, source, text)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twins
    return found


def _twins(text: str, start: int) -> Iterator[tuple[str | int, int, int]]:
    """Each key that its object has twice, and both positions."""
    seen: dict[str | int, int] = {}
    for key, position, value in _members(text, start):
        if key in seen:
            yield key, seen[key], position
        seen[key] = position
        yield from _twins(text, value)


def _place(source: object, text: str, keys: Path) -> str:
    position = value = 0
    for key in keys:
        found = next(((here, inside) for name, here, inside in _members(text, value) if name == key), None)
        if found is None:
            break
        position, value = found
    return f"{source}:{_line(text, position)}"


def _members(text: str, start: int) -> Iterator[tuple[str | int, int, int]]:
    """Of the object or array that starts here: each key or index, where it stands, and where its value starts."""
    import json

    decode = json.JSONDecoder().raw_decode
    position = _skip(text, start)
    opening, index = text[position], 0
    if opening not in "{[":
        return
    position = _skip(text, position + 1)
    while text[position] not in "}]":
        here, key = position, index
        if opening == "{":
            key, position = decode(text, position)
            position = _skip(text, _skip(text, position) + 1)  # over the colon
        yield key, here, position
        position = _skip(text, decode(text, position)[1])
        if text[position] == ",":
            position = _skip(text, position + 1)
        index += 1


def _skip(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    assert found is not None
    return found.end()


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
