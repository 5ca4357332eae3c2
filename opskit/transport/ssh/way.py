"""The open connections to one endpoint, shared by all branches of its hosts; what its server has no room for waits."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import asyncssh

from opskit.engine.ports import Lost, Refused, Unreachable
from opskit.transport.command_line import reads_nothing
from opskit.transport.ssh.failures import Attempt, explained
from opskit.transport.ssh.known_hosts import remember
from opskit.transport.ssh.process import RemoteProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opskit.engine.capture import Capture
    from opskit.settings import Settings
    from opskit.transport.ssh.login import Credentials, Login
    from opskit.work.plan import Step

SECONDS_TO_NOTICE = 0.02
"""How long a server is given to notice that a session has ended, before it is asked for another."""

SECONDS_TO_OBEY = 3.0
"""How long a host may take to run a short line of our own."""


class Opening(NamedTuple):
    """On what terms a run opens and uses a way."""

    credentials: Credentials
    connect_timeout: float
    settings: Settings
    lines: Mapping[tuple[str, int], str]


def said_by(step: Step) -> tuple[str, int]:
    """What decides the line that is sent for a step: its command and the terms that it shares with others."""
    return step.command, id(step.terms)


class Way:
    """All connections to one endpoint.

    Args:
        address: Where it goes.
        port: The port there.
        login: How it logs in.
        closed: Called when nothing is open any more.
    """

    def __init__(self, address: str, port: int, login: Login, closed: Callable[[], object]) -> None:
        self._address = address
        self._port = port
        self._login = login
        self._closed = closed
        self._links: list[Link] = []
        self._dialling: asyncio.Future[None] | None = None
        self._changed = asyncio.Event()
        self._grows = True
        self._holders = 0
        self._idle: asyncio.TimerHandle | None = None

    def hold(self) -> None:
        """Keep the way open until `release`."""
        self._holders += 1
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def release(self, idle_seconds: float) -> None:
        """Let go. When nobody holds it for that long, it closes."""
        self._holders -= 1
        if self._holders == 0:
            wait = idle_seconds if self._links else 0
            self._idle = asyncio.get_running_loop().call_later(wait, self._close)

    def _close(self) -> None:
        if self._dialling is not None:
            self._dialling.cancel()
        for link in list(self._links):
            link.connection.abort()
        self._closed()

    async def open(self, opening: Opening) -> None:
        """See that there is a connection; raises Unreachable."""
        if not self._links:
            self._grows = True  # until a second connection is refused
            await self._dial(opening)

    async def start(self, step: Step, capture: Capture, opening: Opening) -> RemoteProcess:
        """Send a command over a connection with room; waits for room where the server grants no more.

        A connection that turns out to have died while nobody used it is replaced, once.
        """
        patience, retried = opening.connect_timeout, False
        while True:
            link = await self._link_with_room(opening)
            was_warm = link.granted > 0
            stdin = None if reads_nothing(step) else step.terms.stdin
            process = RemoteProcess(capture, stdin, link.ended, link.aside, marked=step.terms.shell is not False)
            try:
                await self._send(link, process, opening.lines[said_by(step)], opening.connect_timeout)
            except Unreachable:
                if retried or not was_warm:
                    raise
                retried = True
            except asyncssh.ChannelOpenError as error:
                if link.running < link.granted and patience > 0:
                    # It granted more before, and has only not yet noticed that those ended.
                    patience -= SECONDS_TO_NOTICE
                    await asyncio.sleep(SECONDS_TO_NOTICE)
                elif link.sessions == 0:
                    raise Refused(f"{self._address} grants no session: {error.reason}") from error
                else:
                    link.granted = link.running
                    link.room = link.sessions
            else:
                return process

    async def _send(self, link: Link, process: RemoteProcess, line: str, patience: float) -> None:
        """Send a command over this connection; a ChannelOpenError says that its server grants no more sessions."""
        link.sessions += 1
        try:
            async with asyncio.timeout(patience):
                await link.connection.create_session(partial(link.began, process), line, encoding=None)
        except asyncio.CancelledError:
            sender = asyncio.current_task()
            assert sender is not None
            if not process.opened:
                link.retire()
                link.freed()
                raise
            process.resume()
            sender.uncancel()
            sender.cancel()  # takes effect where the command is waited for, and there it is ended
        except (OSError, asyncssh.Error) as error:
            refused = isinstance(error, asyncssh.ChannelOpenError) and not link.lost
            if not refused:
                link.retire()
            if process.opened:
                if refused:
                    raise Refused(f"{self._address} refused the command: {error}") from error
                raise Lost(f"the connection was lost while the command was being sent ({_told(error)})") from error
            link.freed()
            if refused:
                raise
            raise Unreachable(f"the connection to {self._address} was lost before the command was sent") from error

    async def _link_with_room(self, opening: Opening) -> Link:
        """A connection that takes one more session; a new one if allowed; else wait until one ends."""
        while True:
            for link in self._links:
                if link.sessions < link.room:
                    return link
            most = opening.settings.connections_per_host if self._grows else 1
            if len(self._links) < most:
                try:
                    await self._dial(opening)
                except Unreachable:
                    if not self._links:
                        raise
                    self._grows = False
                continue
            self._changed.clear()
            await self._changed.wait()

    async def _dial(self, opening: Opening) -> None:
        """Add a connection. Who wants one while another is being made waits for that one."""
        if self._dialling is None:
            self._dialling = asyncio.ensure_future(self._connect(opening))
            self._dialling.add_done_callback(self._dialled)
        await asyncio.shield(self._dialling)

    def _dialled(self, dialling: asyncio.Future[None]) -> None:
        self._dialling = None
        if not dialling.cancelled():
            dialling.exception()  # nobody may be waiting any more

    async def _connect(self, opening: Opening) -> None:
        credentials, patience = opening.credentials, opening.connect_timeout
        attempt = Attempt(self._address, self._port, self._login.user, credentials, patience)
        link = Link(attempt, self._take_out, self._changed)
        try:
            async with asyncio.timeout(patience):
                link.connection = await asyncssh.connect(
                    self._address, self._port, options=credentials.options, config=None, client_factory=lambda: link
                )
        except (OSError, UnicodeError, asyncssh.Error) as error:
            raise explained(error, attempt) from error
        finally:
            if link.remembering is not None:
                await link.remembering
        if link.lost:
            raise Unreachable(f"{attempt.where} ended the connection as soon as it was made")
        self._links.append(link)

    def _take_out(self, link: Link) -> None:
        if link in self._links:
            self._links.remove(link)


def _told(error: Exception) -> str:
    return str(error) or "no answer"


class Link(asyncssh.SSHClient):
    """One connection, to which asyncssh tells what happens: its sessions, and how many its server grants.

    Args:
        attempt: What is noted while it is made.
        take_out: Called when it must not be given to anybody any more.
        changed: Set when there may be room for who waits.

    Attributes:
        sessions: How many sessions it carries, or has asked for.
        running: How many of them were granted.
        granted: How many of those it has carried at once, at most.
        room: How many it can carry, as far as is known.
        lost: Whether it is gone.
        remembering: Writes down the key that was accepted.
    """

    connection: asyncssh.SSHClientConnection

    def __init__(self, attempt: Attempt, take_out: Callable[[Link], object], changed: asyncio.Event) -> None:
        self._attempt = attempt
        self._take_out = take_out
        self._changed = changed
        self._retired = False
        self.sessions = self.running = self.granted = 0
        self.room = sys.maxsize
        self.lost = False
        self.remembering: asyncio.Future[None] | None = None

    async def aside(self, line: str) -> int | None:
        """Run a line of our own in a session of its own; gives its exit code, None if the server grants no session.

        Raises TimeoutError if the host does not answer.
        """
        self.sessions += 1
        try:
            async with asyncio.timeout(SECONDS_TO_OBEY):
                return (await self.connection.run(line)).exit_status
        except asyncssh.ChannelOpenError:
            return None
        finally:
            self.freed()

    def began(self, process: RemoteProcess) -> RemoteProcess:
        """Called by asyncssh when the server grants a session for a command."""
        self.running += 1
        self.granted = max(self.granted, self.running)
        return process

    def ended(self) -> None:
        """Called when the session of a command is gone."""
        self.running -= 1
        self.freed()

    def freed(self) -> None:
        """Called when it carries one session less, or one that was asked for was not granted."""
        self.sessions -= 1
        if self._retired and self.sessions == 0:
            self.connection.abort()
        self._changed.set()

    def retire(self) -> None:
        """Take no more commands: it is closed when the last one is gone."""
        self._retired = True
        self._take_out(self)
        self._changed.set()

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
        line = known.accept(attempt.known_name, key)
        self.remembering = asyncio.get_running_loop().run_in_executor(None, remember, line)
        return True

    def begin_auth(self, username: str) -> None:  # noqa: ARG002 - asyncssh's
        """The host is trusted; the login begins."""
        self._attempt.greeted = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's
        """The connection is gone."""
        self.lost = True
        self.retire()
