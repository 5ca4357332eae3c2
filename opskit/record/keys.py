"""By what key the journal locks a host, or a name: no two share one, since no address has a blank or a bracket."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opskit.fleet import Host

_PORT: Final = 22
_NAME: Final = "name "


def of_host(host: Host) -> str:
    """A host's address and port, whoever logs in; `local` is another host on each machine."""
    if host.address == "local":
        from opskit.record.database import machine

        return f"local on {machine()}"
    address = host.address.lower().rstrip(".")
    with suppress(ValueError):  # a name
        address = str(ip_address(address))
    return f"[{address}]:{host.port or _PORT}" if ":" in address else f"{address}:{host.port or _PORT}"


def of_name(name: str) -> str:
    """A name that people have agreed on."""
    return f"{_NAME}{name}"


def for_people(key: str) -> str:
    """A key as people call it: an address and a port, or the name."""
    return f"the lock {key.removeprefix(_NAME)!r}" if key.startswith(_NAME) else key
