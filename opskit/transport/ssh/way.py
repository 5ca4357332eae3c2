"""The open connections to one endpoint, shared by all branches of its hosts; what its server has no room for waits."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import asyncssh

from opskit.engine.ports import Lost, Refused, Unreachable
from opskit.transport.command_line import command_line, reads_nothing
from opskit.transport.ssh.failures import Attempt, explained
from opskit.transport.ssh.known_hosts import remember
from opskit.transport.ssh.process import RemoteProcess

if TYPE_CHECKING:
    from opskit.engine.capture import Capture
    from opskit.settings import Settings
    from opskit.transport.ssh.login import Credentials, Login
    from opskit.work.plan import Step


class Terms(NamedTuple):
    """On what terms a way is opened: those of the run that asks."""

    credentials: Credentials
    connect_timeout: float
    settings: Settings


class Way:
    """All connections to one endpoint; to the engine, a connection."""

    def __init__(self, address: str, port: int, login: Login) -> None:
        self._address = address
        self._port = port
        self._login = login
        self._links: list[Link] = []
        self._opening = asyncio.Lock()
        self._changed = asyncio.Event()
        self._holders = 0
        self._idle: asyncio.TimerHandle | None = None
        self._terms: Terms

    def hold(self) -> None:
        """Keep the way open until `release`."""
        self._holders += 1
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def release(self) -> None:
        """Let go. When nobody holds it for `settings.idle_seconds`, it closes."""
        self._holders -= 1
        if self._holders == 0 and self._links:
            self._idle = asyncio.get_running_loop().call_later(self._terms.settings.idle_seconds, self.close)

    def close(self) -> None:
        """Close every connection."""
        for link in list(self._links):
            link.connection.abort()

    async def open(self, terms: Terms) -> None:
        """See that there is a connection; raises Unreachable."""
        self._terms = terms
        if not self._links:
            await self._connect(0)

    async def start(self, step: Step, capture: Capture) -> RemoteProcess:
        """Send a command over a connection with room; waits for room where the server grants no more.

        A connection that turns out to have died while nobody used it is replaced, once.
        """
        retried = False
        while True:
            link = await self._link_with_room()
            was_warm = link.used
            stdin = None if reads_nothing(step) else step.terms.stdin
            process = RemoteProcess(capture, stdin, partial(self._freed, link))
            link.sessions += 1
            link.used = True
            try:
                await link.connection.create_session(partial(_given, process), command_line(step), encoding=None)
            except asyncssh.ChannelOpenError as error:
                if process.opened:
                    raise Refused(f"{self._address} refused the command: {error.reason}") from error
                self._freed(link)
                if link.sessions == 0:
                    raise Refused(f"{self._address} grants no session: {error.reason}") from error
                link.room = link.sessions
            except (OSError, asyncssh.Error) as error:
                if process.opened:
                    raise Lost(f"the connection was lost while the command was being sent ({error})") from error
                self._dropped(link)
                if retried or not was_warm:
                    raise Unreachable(
                        f"the connection to {self._address} was lost before the command was sent"
                    ) from error
                retried = True
            else:
                return process

    async def _link_with_room(self) -> Link:
        """A connection that takes one more session; a new one if allowed; else wait until one ends."""
        while True:
            for link in self._links:
                if link.sessions < link.room:
                    return link
            if len(self._links) < self._terms.settings.connections_per_host:
                try:
                    await self._connect(len(self._links))
                except Unreachable:
                    if not self._links:
                        raise
                else:
                    continue
            self._changed.clear()
            await self._changed.wait()

    def _freed(self, link: Link) -> None:
        link.sessions -= 1
        self._changed.set()

    def _dropped(self, link: Link) -> None:
        if link in self._links:
            self._links.remove(link)
        self._changed.set()

    async def _connect(self, open_before: int) -> None:
        """Add a connection, unless somebody else just did."""
        async with self._opening:
            if len(self._links) > open_before:
                return
            terms = self._terms
            attempt = Attempt(self._address, self._port, self._login.user, terms.credentials, terms.connect_timeout)
            link = Link(self, attempt)
            try:
                async with asyncio.timeout(terms.connect_timeout):
                    link.connection = await asyncssh.connect(
                        self._address, self._port, options=terms.credentials.options, config=None,
                        client_factory=lambda: link,
                    )  # fmt: skip
            except (OSError, asyncssh.Error) as error:
                raise explained(error, attempt) from error
            self._links.append(link)


def _given(process: RemoteProcess) -> RemoteProcess:
    """What asyncssh calls to make a session."""
    return process


class Link(asyncssh.SSHClient):
    """One connection, to which asyncssh tells what happens: its sessions, and how many its server grants."""

    connection: asyncssh.SSHClientConnection

    def __init__(self, way: Way, attempt: Attempt) -> None:
        self._way = way
        self._attempt = attempt
        self.sessions = 0
        self.room = sys.maxsize
        self.used = False

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:  # noqa: ARG002 - asyncssh's
        """TCP is up."""
        self._attempt.reached = True

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002 - asyncssh's
        """The host shows a key that is not trusted."""
        attempt = self._attempt
        attempt.offered, attempt.peer = key, addr
        known = attempt.credentials.known_hosts
        if known is None or attempt.credentials.login.host_keys != "accept-new" or attempt.told():
            return False
        asyncio.get_running_loop().run_in_executor(None, remember, known.accept(attempt.known_name, key))
        return True

    def begin_auth(self, username: str) -> None:  # noqa: ARG002 - asyncssh's
        """The host is trusted; the login begins."""
        self._attempt.greeted = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's
        """The connection is gone."""
        self._way._dropped(self)  # noqa: SLF001 - two halves of one idea
