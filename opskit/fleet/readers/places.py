"""Where in a file something stands, and what is said of it: places are looked up only when an error is raised."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opskit.errors import InventoryError, did_you_mean
from opskit.fleet.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opskit.fleet.host import Host

Path = tuple[str | int, ...]
"""The keys and list indexes that lead to a value."""

Place = Callable[[Path], str]
"""Says where in its file a value stands: `hosts.yaml:12`."""

Here = Callable[[], str]
"""Says where the thing at hand stands."""


@contextmanager
def at(place: Here) -> Iterator[None]:
    """Put the place, such as `hosts.yaml:12`, before the message of an InventoryError from inside."""
    try:
        yield
    except InventoryError as error:
        raise type(error)(f"{place()}: {error}") from error.__cause__


def check_keys(given: Mapping[Any, Any], known: tuple[str, ...], path: Path, place: Place) -> None:
    """Raise InventoryError for the first key that has no meaning here."""
    for key in given:
        if key not in known:
            inside = f" in {'.'.join(map(str, path))}" if path else ""
            raise InventoryError(f"{place((*path, key))}: unknown key {key!r}{inside}{did_you_mean(key, known)}")


def kind(value: object) -> str:
    """What stands where something else was expected: its type, and the start of it."""
    return "nothing" if value is None else f"{type(value).__name__} ({repr(value)[:80]})"


def inventory_of(found: Iterable[tuple[Host, Here]]) -> Inventory:
    """Make an inventory of hosts and their places.

    Raises:
        InventoryError: A host is there twice; names both places.
    """
    places: dict[str, Here] = {}
    hosts = []
    for host, place in found:
        if host.name in places:
            raise InventoryError(f"{place()}: host {host.name!r} is there twice, first at {places[host.name]()}")
        places[host.name] = place
        hosts.append(host)
    return Inventory(hosts)
