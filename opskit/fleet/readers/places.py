"""Where in a file something stands, for errors: looked up only when one is raised."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opskit.errors import InventoryError
from opskit.fleet.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from opskit.fleet.host import Host


@contextmanager
def at(place: Callable[[], str]) -> Iterator[None]:
    """Put the place, such as `hosts.yaml:12`, before the message of an InventoryError from inside."""
    try:
        yield
    except InventoryError as error:
        raise type(error)(f"{place()}: {error}") from error.__cause__


def inventory_of(found: Iterable[tuple[Host, Callable[[], str]]]) -> Inventory:
    """Make an inventory of hosts and their places.

    Raises:
        InventoryError: A host is there twice; names both places.
    """
    places: dict[str, Callable[[], str]] = {}
    hosts = []
    for host, place in found:
        if host.name in places:
            raise InventoryError(f"{place()}: host {host.name!r} is there twice, first at {places[host.name]()}")
        places[host.name] = place
        hosts.append(host)
    return Inventory(hosts)
