"""The open connections to one endpoint, shared by all branches of its hosts; what its server has no room for waits."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncssh

from opskit.engine.ports import Lost, Refused, Unreachable
from opskit.transport.ssh.dialling import dialled
from opskit.transport.ssh.link import Link
from opskit.transport.ssh.process import RemoteProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from opskit.engine.capture import Capture
    from opskit.fleet import Host
    from opskit.settings import Settings
    from opskit.transport.passwords import Trials
    from opskit.transport.ssh.failures import Attempt
    from opskit.transport.ssh.login import Credentials, Login
    from opskit.transport.ssh.pool import Pool
    from opskit.transport.ssh.route import Endpoint
    from opskit.work.plan import Step

SECONDS_TO_NOTICE = 0.02
"""How long a server is given to notice that a session has ended, before it is asked for another."""

SECONDS_TO_OBEY = 3.0
"""How long a host may at least take to run a short line of our own."""


class Opening(NamedTuple):
    """On what terms a run opens and uses a way.

    Attributes:
        credentials: Those of every login on the way.
        down: Bastions that could not be reached, until when that is believed, and why.
        trials: The passwords that hosts and sudo may ask for.
        hosts: Whose passwords log in to an endpoint.
        bastions: The endpoints that others are reached through.
    """

    credentials: Mapping[Login, Credentials]
    connect_timeout: float
    settings: Settings
    lines: Mapping[tuple[str, int], str]
    down: dict[Endpoint, tuple[float, Unreachable]]
    trials: Trials
    hosts: Mapping[Endpoint, Host]
    bastions: Collection[Endpoint]


def said_by(step: Step) -> tuple[str, int]:
    """What decides the line that is sent for a step: its command and the terms that it shares with others."""
    return step.command, id(step.terms)


class Way:
    """All connections to one endpoint.

    Args:
        endpoint: Where it goes.
        pool: Where it finds its bastion, and how many others are at the same door.
        closed: Called when nothing is open any more.
    """

    def __init__(self, endpoint: Endpoint, pool: Pool, closed: Callable[[], object]) -> None:
        self._endpoint = endpoint
        self._pool = pool
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
            kind = RemoteProcess if self._endpoint.bastion is None else partial(_ProcessBehind, self._endpoint.bastion)
            process = kind(step, capture, link, partial(self._aside, link, opening), opening.trials)
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
                    raise Refused(f"{self._endpoint.where} grants no session: {error.reason}") from error
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
                await link.connection.create_session(
                    partial(link.began, process), line, encoding=None, **process.terminal
                )
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
                    raise Refused(f"{self._endpoint.where} refused the command: {error}") from error
                process.abandon()
                why = f"the connection was lost while the command was being sent ({_told(error)})"
                raise Lost(f"{why}; it may have run") from error
            link.freed()
            if refused:
                raise
            raise Unreachable(
                f"the connection to {self._endpoint.where} was lost before the command was sent"
            ) from error

    async def _aside(self, link: Link, opening: Opening, line: str, stdin: bytes) -> int | None:
        """Run a line of our own beside a command, over another connection where that one takes no more.

        Gives its exit code, None if no session can be had; raises TimeoutError if the host does not answer.
        """
        async with asyncio.timeout(max(SECONDS_TO_OBEY, opening.connect_timeout / 2)):
            code = await link.aside(line, stdin)
            if code is None and (other := await self._other(link, opening)) is not None:
                code = await other.aside(line, stdin)
            return code

    async def _other(self, link: Link, opening: Opening) -> Link | None:
        """Another connection with room, a new one if allowed; nobody waits here until one has room."""
        others = [other for other in self._links if other is not link]
        if all(other.sessions >= other.room for other in others) and len(self._links) < self._most(opening):
            with suppress(Unreachable):
                await self._dial(opening)
        return next((other for other in self._links if other is not link and other.sessions < other.room), None)

    def _most(self, opening: Opening) -> int:
        return opening.settings.connections_per_host if self._grows else 1

    async def _link_with_room(self, opening: Opening) -> Link:
        """A connection that takes one more session; a new one if allowed; else wait until one ends."""
        while True:
            for link in self._links:
                if link.sessions < link.room:
                    return link
            if len(self._links) < self._most(opening):
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
        with ExitStack() as stack:
            bastion = trunk = None
            if self._endpoint.bastion is not None:
                bastion = self._pool.way(self._endpoint.bastion)
                bastion.hold()
                stack.callback(bastion.release, opening.settings.idle_seconds)
                trunk = partial(bastion.trunk, opening)
            link = await dialled(self._endpoint, opening, self._new_link, trunk, self._pool.door(self._endpoint))
            stack.pop_all()
            if bastion is not None:
                link.cleanup.callback(bastion.release, 0)  # what was kept warm was the connection through it
        if link.lost:
            link.cleanup.close()
            raise Unreachable(f"{self._endpoint.where} ended the connection as soon as it was made")
        self._links.append(link)

    def _new_link(self, attempt: Attempt) -> Link:
        return Link(attempt, self._take_out, self._changed)

    async def trunk(self, opening: Opening) -> Link:
        """A connection for others to go through. That there is none is found out once for all who want it."""
        until, why = opening.down.get(self._endpoint, (0.0, None))
        if why is not None and asyncio.get_running_loop().time() < until:
            raise why
        try:
            await self.open(opening)
        except Unreachable as error:
            why = Unreachable(f"the bastion can't be reached: {error}", error.cause)
            opening.down[self._endpoint] = asyncio.get_running_loop().time() + opening.connect_timeout, why
            raise why from error
        if not self._links:
            raise Unreachable(f"the bastion {self._endpoint.where} ended the connection as soon as it was made")
        return self._links[0]

    def _take_out(self, link: Link) -> None:
        if link in self._links:
            self._links.remove(link)


class _ProcessBehind(RemoteProcess):
    """A command on a host behind a bastion, which is named where the connection is lost."""

    def __init__(self, bastion: Endpoint, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._bastion = bastion

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncssh when the channel is gone."""
        super().connection_lost(exc and ConnectionError(f"{exc}; it went through the bastion {self._bastion.where}"))


def _told(error: Exception) -> str:
    return str(error) or "no answer"
