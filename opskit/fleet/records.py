"""One flat record of a table, a row of CSV or of a DataFrame, as a Host: known columns, and anything else a var."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from opskit.fleet.host import Host

if TYPE_CHECKING:
    from collections.abc import Mapping

_BETWEEN_WORDS: Final = re.compile(r"[\s,;]+")


def host_from_record(record: Mapping[str, Any]) -> Host:
    """Make a host of `name`, `address`, `port`, `user` and `roles`; blank text in those says nothing.

    Raises:
        InventoryError: As Host.
    """
    left = dict(record)
    known = {}
    for column in ("name", "address", "port", "user", "roles"):
        value = left.pop(column, None)
        if value is not None and not (isinstance(value, str) and not value.strip()):
            known[column] = value
    known["port"] = whole(known.get("port"))
    known["roles"] = words(known.get("roles", ()))
    return Host(known.pop("name", ""), **known, vars=left)


def words(roles: Any) -> Any:
    """The words of a text, between blanks, commas or semicolons; anything else as it is."""
    return tuple(filter(None, _BETWEEN_WORDS.split(roles))) if isinstance(roles, str) else roles


def whole(port: Any) -> Any:
    """A number written as text, or as the float that a column with gaps makes of it; anything else as it is."""
    if isinstance(port, str) and re.fullmatch(r"[0-9]{1,5}", port.strip()):
        return int(port)
    return int(port) if isinstance(port, float) and port.is_integer() else port
