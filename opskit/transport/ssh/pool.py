"""Connections kept warm between runs, found by where they go and how they log in."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from opskit.transport.command_line import remote_line, within_limit
from opskit.transport.ssh.known_hosts import SSH_PORT
from opskit.transport.ssh.login import Login, prepare
from opskit.transport.ssh.way import Opening, Way, said_by

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from opskit.engine.capture import Capture
    from opskit.fleet import Host
    from opskit.settings import Settings
    from opskit.transport.ssh.login import Credentials
    from opskit.transport.ssh.process import RemoteProcess
    from opskit.work.plan import Step


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
        """The way to an endpoint, warm if there is one; it is forgotten when it closes."""
        way = self._ways.get(endpoint)
        if way is None:
            closed = partial(self._ways.pop, endpoint, None)
            way = self._ways[endpoint] = Way(endpoint.address, endpoint.port, endpoint.login, closed)
        return way


class SshTransport:
    """The SSH way to reach hosts, under the settings of one run, over the pool that all runs share."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings
        self._ready: dict[str, tuple[Endpoint, Credentials]] = {}
        self._lines: dict[tuple[str, int], str] = {}

    async def prepare(self, steps: Iterable[Step]) -> None:
        """Read keys and known hosts, once for all hosts that log in alike, and measure what will be sent.

        Raises:
            AuthenticationError: A key that was named can't be used.
            HostKeyError: A known_hosts file that was named can't be read.
            InventoryError: A host names no user, and this process has none.
            TemplateError: A command is longer, as sent, than a host takes.
        """
        await asyncio.to_thread(self._prepare, list(steps))

    def _prepare(self, steps: list[Step]) -> None:
        credentials: dict[Login, Credentials] = {}
        for step in steps:
            # Most hosts run the same: what is sent is made, and measured, once.
            if (said := said_by(step)) not in self._lines:
                self._lines[said] = remote_line(step)
                within_limit(step, [self._lines[said]])
            host = step.host
            if host.name not in self._ready:
                login = Login.of(host, self._settings)
                if login not in credentials:
                    credentials[login] = prepare(login)
                endpoint = Endpoint(host.address, host.port or SSH_PORT, login)
                self._ready[host.name] = (endpoint, credentials[login])

    def connection(self, host: Host, connect_timeout: float) -> Lease:
        """An open way to the host, for a `async with` block."""
        endpoint, credentials = self._ready[host.name]
        return Lease(self._pool.way(endpoint), Opening(credentials, connect_timeout, self._settings, self._lines))


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
