"""The fleet, or a part of it: hosts in order, as an immutable value. Every narrowing gives a new one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import InventoryError, PlanError, did_you_mean
from opskit.fleet.host import Host, Vars
from opskit.fleet.html import as_html
from opskit.fleet.records import host_from_record
from opskit.fleet.selection import LEFT_OUT, choose
from opskit.frames.hosts import host_records, host_vars, hosts_frame, is_frame
from opskit.rendering.folding import fold

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

_CRITERIA: Final = ("roles", "hosts", "only", "except_", "limit", "once")
_SHOWN: Final = 400


class Inventory:
    """Hosts, in order, each name once.

    `inv["web1"]` is a host; `in` takes a name or a Host. `a | b` has a's hosts, then the new ones of b; `a & b` and
    `a - b` are a's hosts that are, or are not, in b by name. `str(inv)` is folded: `web[1-20],db1`.

    Raises:
        InventoryError: Two hosts have the same name, or something is no host; in `a | b`, two hosts of the same name
            differ in address, port or user.
    """

    __slots__ = ("_by_name", "_roles")

    def __init__(self, hosts: Iterable[Host]) -> None:
        self._by_name: dict[str, Host] = {}
        self._roles: frozenset[str] | None = None
        if not isinstance(hosts, Iterable):
            raise InventoryError(f"an inventory is made of hosts, not of {type(hosts).__name__} ({hosts!r})")
        for host in hosts:
            if not isinstance(host, Host):
                raise InventoryError(f"an inventory is made of hosts: {host!r} ({type(host).__name__}) is no Host")
            if host.name in self._by_name:
                both = f"{_whereabouts(self._by_name[host.name])} and {_whereabouts(host)}"
                raise InventoryError(f"two hosts are called {host.name!r}: {both}; a name can be there once")
            self._by_name[host.name] = host

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Inventory:
        """Make an inventory of a DataFrame, one row a host; missing cells are left out.

        Args:
            frame: Its columns are name (or host), address, port, user, roles (a list, or text with blanks, `,` or `;`
                between); any other is a var.

        Raises:
            InventoryError: There is no column with names, a name is missing or there twice, or a value can't be right.
        """
        hosts = list(map(host_from_record, host_records(frame)))
        rows: dict[str, int] = {}
        for row, host in enumerate(hosts):
            first = rows.setdefault(host.name, row)
            if first != row:
                raise InventoryError(
                    f"host {host.name!r} is there twice, in rows {first} and {row} of the DataFrame, "
                    "counted from 0 as .iloc does"
                )
        return cls(hosts)

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Host]:
        return iter(self._by_name.values())

    def __contains__(self, host: object) -> bool:
        return (host.name if isinstance(host, Host) else host) in self._by_name

    def __getitem__(self, name: str) -> Host:
        try:
            return self._by_name[name]
        except (KeyError, TypeError):
            near = did_you_mean(name, self._by_name, plural="known hosts")
            raise InventoryError(f"the inventory has no host {name!r}{near}") from None

    def __or__(self, other: Inventory) -> Inventory:
        if not isinstance(other, Inventory):
            return NotImplemented
        for host in self & other:
            here, there = _whereabouts(host), _whereabouts(other[host.name])
            if here != there:
                raise InventoryError(f"host {host.name!r} is another one in each inventory: {here} and {there}")
        return Inventory([*self, *(other - self)])

    def __and__(self, other: Inventory) -> Inventory:
        if not isinstance(other, Inventory):
            return NotImplemented
        return Inventory(host for host in self if host.name in other)

    def __sub__(self, other: Inventory) -> Inventory:
        if not isinstance(other, Inventory):
            return NotImplemented
        return Inventory(host for host in self if host.name not in other)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Inventory) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts' names, in order."""
        return tuple(self._by_name)

    @property
    def roles(self) -> frozenset[str]:
        """Every role that a host has."""
        if self._roles is None:
            self._roles = frozenset().union(*(host.roles for host in self))
        return self._roles

    @property
    def df(self) -> pd.DataFrame:
        """A new DataFrame, one row a host, in order: name address port (Int64) user roles, and a column for each var.

        Roles are sorted, with blanks between; what a host does not have is missing.
        """
        return hosts_frame(tuple(self))

    def select(
        self,
        *,
        roles: Any = LEFT_OUT,
        hosts: Any = LEFT_OUT,
        only: Any = LEFT_OUT,
        except_: Any = LEFT_OUT,
        limit: Any = LEFT_OUT,
        once: bool = False,
        **unknown: Any,
    ) -> Inventory:
        """Narrow to the hosts for which all of these hold, in this inventory's order.

        Args:
            roles: Any of these roles: a list, or text such as `"app,web"`.
            hosts: These hosts: patterns (`"web[1-20],db*"`), hosts, an Inventory, Results or rows of them, a DataFrame
                (its `host` or `name` column, or an index so named), a Series (its text values; of booleans, the index
                where true), or a list of those.
            only: These vars: `{"dc": "ams"}`, a list of values for any of them; a name for a var that is true.
            except_: As `only`, but a host goes if any entry holds.
            limit: The first so many.
            once: The first one.
            **unknown: Refused, with the option that is near.

        Raises:
            InventoryError: A host is unknown, or a criterion can't be read. None can't: left out means all.
            NoMatchingHosts: A role is unknown, or no host is left. It never falls back to all.
            PlanError: `limit` is not a whole number, 1 or more; or an option is unknown.
        """
        for name in unknown:
            raise PlanError(f"select: no option is called {name!r}{did_you_mean(name, _CRITERIA)}")
        return choose(
            self, roles=roles, hosts=hosts, only=only, except_=except_, limit=limit, once=once, at_least_one=True
        )

    def with_vars(self, given: pd.DataFrame | Mapping[str, Mapping[str, Any]]) -> Inventory:
        """Give vars to the hosts; a host of which nothing is given stays as it is.

        Args:
            given: A DataFrame, such as Results' `.df`: its column `host` or `name`, or an index so named, says whose
                the other columns are, which become vars of these names; missing cells are left out, and so are rows
                of hosts that are not in the inventory. Or a mapping of hosts' names to mappings of vars. A var that
                a host has already is replaced.

        Raises:
            InventoryError: The DataFrame names no hosts, or one of them twice; in a mapping, a host is unknown, or its
                vars are no mapping with text as keys.
        """
        if is_frame(given):
            found: Mapping[str, Mapping[str, Any]] = host_vars(given)
        elif isinstance(given, Mapping):
            found = {self[name].name: Host(name, vars=own).vars for name, own in given.items()}
        else:
            kind = type(given).__name__
            raise InventoryError(f"with_vars takes a DataFrame, or a mapping of hosts' names to mappings, not {kind}")
        return Inventory(
            replace(host, vars=Vars({**host.vars, **found[host.name]})) if host.name in found else host for host in self
        )

    def __str__(self) -> str:
        return fold(self._by_name)

    def __repr__(self) -> str:
        return f"<Inventory: {self._summary()}>"

    def _summary(self) -> str:
        names = str(self)
        shown = names if len(names) <= _SHOWN else names[:_SHOWN].rpartition(",")[0] + ", …"
        return f"{len(self):,} host{'' if len(self) == 1 else 's'}{': ' if self else ''}{shown}"

    def _repr_html_(self) -> str:
        return as_html(tuple(self), self._summary())


def _whereabouts(host: Host) -> str:
    user = "" if host.user is None else f"{host.user}@"
    return f"{user}{host.address}" + ("" if host.port is None else f" port {host.port}")
