"""From a host to the way that leads to it: what inventory, settings and ssh's configuration say, put together."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from opskit.errors import InventoryError, SettingsError
from opskit.fleet import Host
from opskit.transport.ssh import config
from opskit.transport.ssh.known_hosts import SSH_PORT
from opskit.transport.ssh.login import Login, paths_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opskit.settings import Settings
    from opskit.transport.ssh.config import HostConfig

Lent = tuple[tuple[Path, ...] | None, tuple[Path, ...] | None]
"""The known hosts and the keys that the inventory brings for a host."""

_HOP: Final = re.compile(r"(?:ssh://)?(?:(.+)@)?(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?/?")


class Endpoint(NamedTuple):
    """Where a connection goes, and how it logs in: two hosts with equal endpoints share their connections.

    Attributes:
        family: Which kind of address is meant where the name has several, as `socket` numbers them.
        alias: What the host's key is known as, where that is not its address.
        command: A line for the user's own shell whose input and output take the place of TCP.
        bastion: What the connection goes through.
    """

    address: str
    port: int
    login: Login
    family: int = socket.AF_UNSPEC
    alias: str | None = None
    command: str | None = None
    bastion: Endpoint | None = None

    def __hash__(self) -> int:
        # Looked up several times for each host: that all of it is equal is only asked where this is.
        return hash((self.address, self.port))

    @property
    def where(self) -> str:
        """The endpoint as errors name it."""
        through = f" through the bastion {self.bastion.where}" if self.bastion else ""
        return f"{self.address} port {self.port}{through}"

    def chain(self) -> Iterator[Endpoint]:
        """This endpoint, and all that its connection goes through."""
        endpoint: Endpoint | None = self
        while endpoint is not None:
            yield endpoint
            endpoint = endpoint.bastion


class Routes:
    """Finds the ways for one run. Blocks on files, and runs what `Match exec` says: not for the engine's loop.

    Raises:
        SettingsError: ssh's configuration can't be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._config = config.read(settings.ssh_config)
        self._bastions: dict[tuple[str, Lent], Endpoint | None] = {}

    def to(self, host: Host) -> Endpoint:
        """The way to a host.

        Raises:
            SettingsError: What ssh's configuration says can't be followed.
            InventoryError: A var can't be right, or the host has no user, and neither has this process.
        """
        said = self._config.of(host) if self._config else config.SILENT
        return self._endpoint(host, said, None, ())

    def _endpoint(self, host: Host, said: HostConfig, through: Endpoint | None, trail: tuple[str, ...]) -> Endpoint:
        """`through` is the bastion where that is known already; `trail` are the hosts that asked for this one."""
        if host.name in trail:
            circle = " -> ".join((*trail[trail.index(host.name) :], host.name))
            raise SettingsError(f"ProxyJump goes round in a circle: {circle}; write `ProxyJump none` for one of them")
        own_address = host.address if host.address != host.name else None
        command = None
        if through is None:
            through, command = self._way_in(host, said, (*trail, host.name))
        return Endpoint(
            own_address or said.address or host.name,
            host.port or said.port or SSH_PORT,
            Login.of(host, self._settings, said),
            said.family,
            said.host_key_alias,
            command,
            through,
        )

    def _way_in(self, host: Host, said: HostConfig, trail: tuple[str, ...]) -> tuple[Endpoint | None, str | None]:
        """The bastion and the ProxyCommand; at most one of them is not None."""
        if "proxy_jump" not in host.vars:
            return (
                self._last_of(said.proxy_jump, (None, None), trail) if said.proxy_jump else None
            ), said.proxy_command
        jump = host.vars["proxy_jump"]
        if jump is not None and not isinstance(jump, str):
            raise InventoryError(f'host {host.name}: its var proxy_jump must be text such as "me@bastion:22,other"')
        # Inventories give their vars to all hosts alike, their bastions too.
        hops = [hop for hop in (jump or "none").split(",") if hop != "none"]
        own = next((at for at, hop in enumerate(hops) if _parts(hop)[1] == host.name), len(hops))
        lent = paths_of(host, "known_hosts"), paths_of(host, "identity_files")
        return self._last_of(",".join(hops[:own]), lent, trail), None

    def _last_of(self, jump: str, lent: Lent, trail: tuple[str, ...]) -> Endpoint | None:
        """The last bastion of a list, reached through those before it."""
        asked = (jump, lent)
        if asked not in self._bastions:
            through = None
            for hop in filter(None, jump.split(",")):
                user, name, port = _parts(hop)
                bastion = Host(name, port=port, user=user)
                said = self._config.of(bastion) if self._config else config.SILENT
                through = self._endpoint(bastion, _lent(said, lent), through, trail)
            self._bastions[asked] = through
        return self._bastions[asked]


def _lent(said: HostConfig, lent: Lent) -> HostConfig:
    """Let a bastion that an inventory names be trusted, and be logged in to, by what the inventory brings too."""
    if lent == (None, None):
        return said
    known_hosts, identity_files = lent
    return replace(
        said,
        known_hosts=(*(said.known_hosts or ()), *(known_hosts or ())) or None,
        identity_files=(*said.identity_files, *(identity_files or ())),
    )


def _parts(hop: str) -> tuple[str | None, str, int | None]:
    """User, name and port of a bastion, as ssh writes it."""
    match = _HOP.fullmatch(hop.strip())
    if not match:
        raise SettingsError(f"{hop!r} is no bastion; write it as user@name:port")
    user, bracketed, name, port = match.groups()
    return user, bracketed or name, int(port) if port else None
