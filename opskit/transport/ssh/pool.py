"""Connections kept warm between runs, found by where they go and how they log in."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from opskit.transport.command_line import remote_line, within_limit
from opskit.transport.ssh.dialling import Door
from opskit.transport.ssh.login import Keys, Locked, prepare
from opskit.transport.ssh.route import Routes
from opskit.transport.ssh.way import Opening, Way, said_by

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from opskit.engine.capture import Capture
    from opskit.engine.ports import Unreachable
    from opskit.fleet import Host
    from opskit.settings import Settings
    from opskit.transport.passwords import Trials
    from opskit.transport.ssh.login import Credentials, Login, Unlocked
    from opskit.transport.ssh.process import RemoteProcess
    from opskit.transport.ssh.route import Endpoint
    from opskit.work.plan import Step


class Pool:
    """All open ways, for the life of the process. Belongs to one event loop.

    Attributes:
        unlocked: The private keys whose passphrase was given.
    """

    def __init__(self) -> None:
        self.unlocked: Unlocked = {}
        self._ways: dict[Endpoint, Way] = {}
        self._doors: WeakValueDictionary[tuple[str, int], Door] = WeakValueDictionary()

    def way(self, endpoint: Endpoint) -> Way:
        """The way to an endpoint, warm if there is one; it is forgotten when it closes."""
        way = self._ways.get(endpoint)
        if way is None:
            closed = partial(self._ways.pop, endpoint, None)
            way = self._ways[endpoint] = Way(endpoint, self, closed)
        return way

    def door(self, endpoint: Endpoint) -> Door:
        """The door of the endpoint's server, or of what a ProxyCommand is likely to ask for all its hosts."""
        key = (endpoint.command.split()[0], 0) if endpoint.command else (endpoint.address, endpoint.port)
        door = self._doors.get(key)
        if door is None:
            door = self._doors[key] = Door()
        return door


class SshTransport:
    """The SSH way to reach hosts, under the settings of one run, over the pool that all runs share."""

    def __init__(self, pool: Pool, settings: Settings, trials: Trials) -> None:
        self._pool = pool
        self._settings = settings
        self._trials = trials
        self._keys = Keys(pool.unlocked, self._trials)
        self._endpoints: dict[tuple[str, str | None], Endpoint] = {}
        self._hosts: dict[Endpoint, Host] = {}
        self._bastions: set[Endpoint] = set()
        self._credentials: dict[Login, Credentials] = {}
        self._lines: dict[tuple[str, int], str] = {}
        self._down: dict[Endpoint, tuple[float, Unreachable]] = {}

    async def prepare(self, steps: Iterable[Step]) -> None:
        """Read keys and known hosts, once for all hosts that log in alike, and measure what will be sent.

        A person may be asked for the passphrases of keys.

        Raises:
            AuthenticationError: A key that was named can't be used.
            PromptRefused: Such a key has a passphrase, and nobody could be asked for it.
            HostKeyError: A known_hosts file that was named can't be read.
            InventoryError: A host names no user, and this process has none; or a var of its can't be right.
            SettingsError: ssh's configuration can't be followed.
            TemplateError: A command is longer, as sent, than a host takes.
        """
        wanted = list(steps)
        while True:
            try:
                return await asyncio.to_thread(self._prepare, wanted)
            except Locked as locked:
                await self._keys.unlock(locked)

    def _prepare(self, steps: list[Step]) -> None:
        routes = Routes(self._settings)
        for step in steps:
            # Most hosts run the same: what is sent is made, and measured, once.
            if (said := said_by(step)) not in self._lines:
                self._lines[said] = remote_line(step)
                within_limit(step, [self._lines[said]])
            host = step.host
            if (host.name, host.user) not in self._endpoints:
                endpoint = routes.to(host)
                for hop in endpoint.chain():
                    if hop.login not in self._credentials:
                        self._credentials[hop.login] = prepare(hop.login, host, self._keys)
                    if hop is not endpoint:
                        self._bastions.add(hop)
                self._hosts.setdefault(endpoint, host)
                self._endpoints[host.name, host.user] = endpoint

    def connection(self, host: Host, connect_timeout: float) -> Lease:
        """An open way to the host, for a `async with` block."""
        opening = Opening(
            self._credentials,
            connect_timeout,
            self._settings,
            self._lines,
            self._down,
            self._trials,
            self._hosts,
            self._bastions,
        )
        return Lease(self._pool.way(self._endpoints[host.name, host.user]), opening)


class Lease:
    """A block's hold on a way, on the terms of its own run: the way stays open at least as long."""

    __slots__ = ("_opening", "_way")

    def __init__(self, way: Way, opening: Opening) -> None:
        self._way = way
        self._opening = opening

    async def __aenter__(self) -> Lease:  # noqa: PYI034 - nobody derives from it
        self._way.hold()
        try:
            await self._way.open(self._opening)
        except BaseException:
            self._way.release(self._opening.settings.idle_seconds)
            raise
        return self

    async def start(self, step: Step, capture: Capture) -> RemoteProcess:
        """Send a command; see `Way.start`."""
        return await self._way.start(step, capture, self._opening)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._way.release(self._opening.settings.idle_seconds)
