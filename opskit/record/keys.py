"""By what key a host is known again, and locked, or a name: no two share one, since no address has a blank."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from opskit.errors import JournalError
from opskit.work.kept import unpacked_way

if TYPE_CHECKING:
    from opskit.fleet import Host

_PORT: Final = 22
_OLD_IP: Final = 4
_NAME: Final = "name "


def of_host(host: Host, seen_from: str | None = None) -> str:
    """A host's address and port, whoever logs in; `local`, and what is dialled over loopback, is of one machine.

    Args:
        host: The host.
        seen_from: The machine that reaches it; None for this one.
    """
    if host.address == "local":
        return f"local on {seen_from or _here()}"
    address = host.address.lower().rstrip(".")
    try:
        known = ip_address(address)
    except ValueError:
        is_loopback = address == "localhost"
    else:
        address, is_loopback = f"[{known}]" if known.version != _OLD_IP else str(known), known.is_loopback
    key = f"{address}:{host.port or _PORT}"
    return f"{key} on {seen_from or _here()}" if is_loopback else key


def _here() -> str:
    from opskit.record.database import machine

    return machine()


@lru_cache(maxsize=10_000)  # each of many transactions may have the same thousands
def of_way(way: str | None, seen_from: str) -> str | None:
    """As `of_host`, by what the journal keeps of how a host is reached; None where it keeps nothing."""
    try:
        return None if way is None else of_host(unpacked_way(way), seen_from)
    except JournalError:  # of another opskit
        return None


def of_name(name: str) -> str:
    """A name that people have agreed on."""
    return f"{_NAME}{name}"


def for_people(key: str) -> str:
    """A key as people call it: an address and a port, or the name."""
    return f"the lock {key.removeprefix(_NAME)!r}" if key.startswith(_NAME) else key
