"""Making one connection: paced where many go to one server, and tried again where it turns us away unheard."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import asyncssh

from opskit.engine.ports import Unreachable
from opskit.fleet import Host
from opskit.transport.passwords import NoPassword
from opskit.transport.ssh.failures import Attempt, explained
from opskit.transport.ssh.lean import connect
from opskit.transport.ssh.proxy_command import ProxyCommand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opskit.transport.ssh.link import Link
    from opskit.transport.ssh.route import Endpoint
    from opskit.transport.ssh.way import Opening

AT_ONCE: Final = 8
"""How many may log in to one server at the same time; by default OpenSSH starts to turn people away at ten."""

MOST_TRIES: Final = 6
FIRST_DELAY: Final = 0.1


class Door:
    """Where all come by who want in to one server.

    Attributes:
        wide: Lets several in at once.
        narrow: Lets those in one by one who were turned away.
    """

    def __init__(self) -> None:
        self.wide = asyncio.Semaphore(AT_ONCE)
        self.narrow = asyncio.Lock()


async def dialled(
    endpoint: Endpoint,
    opening: Opening,
    new_link: Callable[[Attempt], Link],
    trunk: Callable[[], Awaitable[Link]] | None,
    door: Door,
) -> Link:
    """Connect and log in, through what `trunk` gives if there is a bastion; raises Unreachable.

    Where keys are not enough, a password is found while nothing is open and no time runs, and then all is done anew.
    """
    reach = partial(_reached, endpoint, opening, new_link, trunk, door)
    trials, user, is_bastion = opening.trials, endpoint.login.user, endpoint in opening.bastions
    host = opening.hosts.get(endpoint) or Host(endpoint.address, port=endpoint.port)
    tried = ""
    if not trials.proven("login", host, user, of_this_alone=is_bastion):
        try:
            return await reach(None)
        except _Asked as error:
            tried = error.tried
    try:
        async with trials.trying("login", host, user, of_this_alone=is_bastion) as attempt:
            try:
                link = await reach(attempt.text)
            except _Asked as error:
                tried = error.tried
                raise attempt.refused(f"{host.name} {error}") from error
            if link.let_in_by_password:
                attempt.accepted()
            return link
    except NoPassword as error:
        raise Unreachable(f"{error} (tried before: {tried})" if tried else str(error), "authentication") from error


class _Asked(Exception):  # noqa: N818 - told between the two below, never to a user
    """The host asks for a password, and was given none, or one that it refused.

    Attributes:
        tried: The keys that were tried before, in words.
    """

    def __init__(self, attempt: Attempt) -> None:
        user = attempt.credentials.login.user
        wants = f"wants more than the password of {user}: {attempt.wants!r}"
        super().__init__(wants if attempt.wants else f"refused the password of {user}")
        self.tried = attempt.tried


async def _reached(
    endpoint: Endpoint,
    opening: Opening,
    new_link: Callable[[Attempt], Link],
    trunk: Callable[[], Awaitable[Link]] | None,
    door: Door,
    password: str | None,
) -> Link:
    """Connect and log in, and no password but this; raises Unreachable, and _Asked."""
    loop = asyncio.get_running_loop()
    through = await trunk() if trunk else None
    credentials, deadline = opening.credentials[endpoint.login], loop.time() + opening.connect_timeout
    fault: tuple[Exception, Attempt] | None = None
    for tries in itertools.count(1):
        attempt = Attempt(endpoint, credentials, opening.connect_timeout, tries, password)
        link = new_link(attempt)
        try:
            async with asyncio.timeout_at(deadline), door.wide if tries == 1 else door.narrow:
                await _connect(link, attempt, through)
                return link
        except (OSError, ValueError, asyncssh.Error) as error:
            on_the_way = through is not None and through.lost
            if not on_the_way and _is_for_want_of_password(error, attempt):
                raise _Asked(attempt) from error
            if fault is None or not isinstance(error, TimeoutError):
                fault = error, attempt  # that time ran out while it was tried again tells nothing
            delay = FIRST_DELAY * 2**tries * random.uniform(0.5, 1)  # noqa: S311 - no secret
            again = _turned_away(error, attempt) or on_the_way
            if not again or tries == MOST_TRIES or loop.time() + delay >= deadline:
                raise explained(*fault) from error
        finally:
            if link.remembering is not None:
                await link.remembering
        await asyncio.sleep(delay)
        if through is not None and through.lost and trunk is not None:
            through = await trunk()
    raise AssertionError  # the last try has returned or raised


async def _connect(link: Link, attempt: Attempt, through: Link | None) -> None:
    endpoint, options = attempt.endpoint, attempt.credentials.options
    own: dict[str, Any] = {"host_key_alias": endpoint.alias} if endpoint.alias else {}
    proxy: ProxyCommand | None = None
    with ExitStack() as held:
        try:
            if through is not None:
                own["tunnel"] = through.tunnel()
                held.callback(through.tunnel_ended)
            elif endpoint.command is not None:
                proxy = ProxyCommand(endpoint.command)
                held.callback(proxy.end)
                own["sock"] = proxy.socket
            elif endpoint.family:
                own["family"] = endpoint.family
            link.connection = await connect(link, options, endpoint.address, endpoint.port, **own)
        except (OSError, ValueError, asyncssh.Error):
            if proxy is not None:
                attempt.proxy_fault = await proxy.last_words()
            raise
        link.cleanup.push(held.pop_all())


def _turned_away(error: Exception, attempt: Attempt) -> bool:
    """Whether a server hung up on us before it said who it is, as one does that is asked by too many at once."""
    if attempt.connection is None or attempt.heard or attempt.endpoint.command is not None:
        return False
    return isinstance(error, (asyncssh.ConnectionLost, ConnectionError))


def _is_for_want_of_password(error: Exception, attempt: Attempt) -> bool:
    """Whether none was given where one was asked for, or it was refused: also by hanging up, not by silence."""
    if attempt.given:
        return not isinstance(error, TimeoutError)
    return attempt.asked and attempt.password is None and isinstance(error, asyncssh.PermissionDenied)
