"""Ansible's groups, hosts and vars as its formats name them, related and made into Hosts: groups become roles."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import InventoryError, did_you_mean
from opskit.fleet.host import Host
from opskit.fleet.ranges import expand_ansible
from opskit.fleet.readers.places import at, inventory_of
from opskit.fleet.records import whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opskit.fleet.inventory import Inventory
    from opskit.fleet.readers.places import Here

logger = logging.getLogger("opskit")

_NO_ROLES: Final = frozenset({"all", "ungrouped"})
"""Ansible's own groups: of all hosts, and of those that are in no other group."""

_ADDRESS: Final = ("ansible_host", "ansible_ssh_host")
_PORT: Final = ("ansible_port", "ansible_ssh_port")
_USER: Final = ("ansible_user", "ansible_ssh_user")
_KEY: Final = ("ansible_ssh_private_key_file", "ansible_private_key_file")
_LOGIN: Final = ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password")
_SUDO: Final = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")
TEXTS: Final = frozenset({*_ADDRESS, *_USER, *_KEY, *_LOGIN, *_SUDO})
"""The vars that are text, even if it looks like a number."""

_NOT_FOLLOWED: Final = {
    "ansible_ssh_common_args": "a bastion is the host's var proxy_jump, or stands in ssh's configuration",
    "ansible_ssh_extra_args": "what decides about a connection stands in ssh's configuration",
    "ansible_connection": "every host is reached by SSH, unless it is `local`",
}
"""Vars that decide how Ansible connects, and what to do instead."""

_WITH_PORT: Final = re.compile(r"((?:[^:\[\]]|\[[^\]]*\])+):([0-9]{1,9})")

_Lineage = frozenset[tuple[int, int, str]]
"""A group and all that contain it, each with its distance from `all` by the longest way, and its priority."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A host where it first stands, the groups that list it, and its own vars; both grow as reading goes on."""

    place: Here
    groups: list[str] = field(default_factory=list)
    own: dict[str, Any] = field(default_factory=dict)


class Groups:
    """What an inventory says, in the order in which it says it; `inventory` puts it together.

    Where a method is given a place, it stands in errors that only the whole inventory can show.
    """

    def __init__(self) -> None:
        self._members: dict[str, _Member] = {}
        self._defined: set[str] = set(_NO_ROLES)
        self._named: dict[str, Here] = {}
        self._children: dict[tuple[str, str], Here] = {}
        self._vars: dict[str, dict[str, Any]] = defaultdict(dict)
        self._priorities: dict[str, int] = {}
        self._told: set[str] = set()

    def define(self, group: str) -> None:
        """Let there be this group."""
        self._defined.add(group)

    def name(self, group: str, place: Here) -> None:
        """Note that a group is spoken of here, which has to be defined somewhere."""
        self._named.setdefault(group, place)

    def add_child(self, group: str, child: str, place: Here) -> None:
        """Put a group, defined somewhere, into another."""
        self.name(child, place)
        self._children.setdefault((group, child), place)

    def add_vars(self, group: str, given: Mapping[str, Any]) -> None:
        """Give vars to the hosts of a group; raises InventoryError for a priority that is no number."""
        self._vars[group].update(given)
        priority = self._vars[group].pop("ansible_group_priority", None)
        if priority is not None:
            if type(priority) is not int:
                raise InventoryError(f"ansible_group_priority must be a whole number, not {priority!r}")
            self._priorities[group] = priority

    def add_hosts(self, group: str, pattern: str, own: Mapping[str, Any], place: Here) -> None:
        """Put the hosts that `web[01:20]`, perhaps with a port behind a colon, stands for into a group.

        Raises:
            InventoryError: The range makes no sense.
        """
        if with_port := _WITH_PORT.fullmatch(pattern):
            pattern = with_port[1]
            own = {"ansible_port": int(with_port[2]), **own}
        for name in expand_ansible(pattern):
            member = self._members.setdefault(name, _Member(place))
            member.groups.append(group)
            member.own.update(own)

    def add_own(self, name: str, own: Mapping[str, Any]) -> None:
        """Give vars to a host; one that is in no group stays unknown."""
        if name in self._members:
            self._members[name].own.update(own)

    def inventory(self) -> Inventory:
        """Make the hosts. The vars of `all` yield to a parent group's, those to a child's, all to the host's.

        Raises:
            InventoryError: A group is undefined or contains itself, or a value can't be right; says where.
        """
        for group, place in self._named.items():
            if group not in self._defined:
                near = did_you_mean(group, self._defined - _NO_ROLES, plural="known groups")
                raise InventoryError(f"{place()}: no group is called {group!r}{near}")
        parents: dict[str, list[str]] = defaultdict(list)
        for parent, child in self._children:
            parents[child].append(parent)
        lineages: dict[str, _Lineage] = {}
        for group in sorted(self._defined):
            self._lineage(group, parents, lineages, ())
        return inventory_of(self._hosts(lineages))

    def _lineage(
        self, group: str, parents: Mapping[str, list[str]], known: dict[str, _Lineage], below: tuple[str, ...]
    ) -> _Lineage:
        """Find a group's lineage, and those of the groups above it on the way; notes them as known."""
        if group in below:
            cycle = (group, *reversed(below[below.index(group) :]))
            steps = set(pairwise(cycle))
            place = next(place for step, place in reversed(self._children.items()) if step in steps)
            raise InventoryError(f"{place()}: groups contain themselves: {' > '.join(cycle)}")
        if group not in known:
            above_it = parents.get(group) or (["all"] if group != "all" else [])
            lineages = (self._lineage(parent, parents, known, (*below, group)) for parent in above_it)
            above: _Lineage = frozenset().union(*lineages)
            depth = 1 + max((depth for depth, _, _ in above), default=0)
            known[group] = above | {(depth, self._priorities.get(group, 1), group)}
        return known[group]

    def _hosts(self, lineages: Mapping[str, _Lineage]) -> Iterator[tuple[Host, Here]]:
        for name, member in self._members.items():
            direct = [group for group in member.groups if group not in _NO_ROLES] or ["ungrouped"]
            groups = [group for *_, group in sorted(frozenset().union(*(lineages[group] for group in direct)))]
            given: dict[str, Any] = {}
            for group in groups:
                given |= self._vars.get(group, {})
            with at(member.place):
                host = _host(name, given | member.own, set(groups) - _NO_ROLES)
            self._tell(host)
            yield host, member.place

    def _tell(self, host: Host) -> None:
        """Say once of each var that decides how Ansible connects that it does not here."""
        for name, instead in _NOT_FOLLOWED.items():
            if name in host.vars and host.vars[name] != "ssh" and name not in self._told:
                self._told.add(name)
                logger.warning("opskit: %s of host %s is not followed: %s", name, host.name, instead)


def _host(name: str, given: dict[str, Any], roles: set[str]) -> Host:
    address, port, user, key = (_taken(given, names) for names in (_ADDRESS, _PORT, _USER, _KEY))
    if given.get("ansible_connection") == "local":
        del given["ansible_connection"]
        address = "local"
    if key is not None:
        given["identity_files"] = [key]
    for var, names in (("login", _LOGIN), ("sudo", _SUDO)):
        if (password := _taken(given, names)) is not None:
            given[var] = password
    return Host(name, address, whole(port), user, roles, given)


def _taken(given: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The value of the first of these vars that is there; none of them stays a var."""
    values = [given.pop(name) for name in names if name in given]
    return values[0] if values else None
