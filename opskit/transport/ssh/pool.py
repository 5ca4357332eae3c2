"""Connections kept warm between runs, found by where they go and how they log in."""

from __future__ import annotations

import asyncio
import getpass
from typing import TYPE_CHECKING, NamedTuple

from opskit.transport.ssh.known_hosts import SSH_PORT
from opskit.transport.ssh.login import Login, prepare
from opskit.transport.ssh.way import Terms, Way

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from opskit.fleet import Host
    from opskit.settings import Settings
    from opskit.transport.ssh.login import Credentials


class Endpoint(NamedTuple):
    """Where a connection goes, and how it logs in: two hosts with equal endpoints share their connections."""

    address: str
    port: int
    login: Login


class Pool:
    """All open ways, for the life of the process. Belongs to one event loop."""

    def __init__(self) -> None:
        self._ways: dict[Endpoint, Way] = {}

    def way(self, endpoint: Endpoint) -> Way:
        """The way to an endpoint, warm if there is one."""
        way = self._ways.get(endpoint)
        if way is None:
            way = self._ways[endpoint] = Way(endpoint.address, endpoint.port, endpoint.login)
        return way

    def close(self) -> None:
        """Close every connection."""
        for way in self._ways.values():
            way.close()


class SshTransport:
    """The SSH way to reach hosts, under the settings of one run, over the pool that all runs share."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._user = getpass.getuser()
        self._credentials: dict[Login, Credentials] = {}

    async def prepare(self, hosts: Iterable[Host]) -> None:
        """Read keys and known hosts, once for all hosts that log in alike.

        Raises:
            AuthenticationError: A key that was named can't be used.
            HostKeyError: A known_hosts file that was named can't be read.
        """
        wanted = {Login.of(host, self._settings, self._user) for host in hosts} - self._credentials.keys()
        if wanted:
            made = await asyncio.to_thread(lambda: [(login, prepare(login)) for login in wanted])
            self._credentials.update(made)

    def connection(self, host: Host, connect_timeout: float) -> _Lease:
        """An open way to the host, for a `async with` block."""
        login = Login.of(host, self._settings, self._user)
        way = self._pool.way(Endpoint(host.address, host.port or SSH_PORT, login))
        return _Lease(way, Terms(self._credentials[login], connect_timeout, self._settings))


class _Lease:
    """A block's hold on a way: it stays open at least as long."""

    __slots__ = ("_terms", "_way")

    def __init__(self, way: Way, terms: Terms) -> None:
        self._way = way
        self._terms = terms

    async def __aenter__(self) -> Way:
        self._way.hold()
        try:
            await self._way.open(self._terms)
        except BaseException:
            self._way.release()
            raise
        return self._way

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._way.release()
