"""One connection to a server: what it carries, and what asyncssh tells of it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import asyncssh

from opskit.rendering.escape import one_line, terminal
from opskit.transport.ssh.known_hosts import remember
from opskit.transport.ssh.lean import lean_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opskit.transport.ssh.failures import Attempt
    from opskit.transport.ssh.process import RemoteProcess

LONGEST_WORDS = 200
"""How many characters of what a host asks for are told."""


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
        tunnels: How many connections go on through it.
        lost: Whether it is gone.
        remembering: Writes down the key that was accepted.
        cleanup: What is to be let go when it is gone.
    """

    connection: asyncssh.SSHClientConnection

    def __init__(self, attempt: Attempt, take_out: Callable[[Link], object], changed: asyncio.Event) -> None:
        self._attempt = attempt
        self._take_out = take_out
        self._changed = changed
        self._retired = False
        self.sessions = self.running = self.granted = self.tunnels = 0
        self.room = sys.maxsize
        self.lost = False
        self.remembering: asyncio.Future[None] | None = None
        self.cleanup = ExitStack()
        self._agent: asyncssh.SSHAgentClient | None = None

    async def aside(self, line: str, stdin: bytes) -> int | None:
        """Run a line of our own in a session of its own; gives its exit code, None if the server grants no session."""
        self.sessions += 1
        try:
            return (await self.connection.run(line, input=stdin, encoding=None)).exit_status
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
        self._close_if_done()
        self._changed.set()

    def tunnel(self) -> asyncssh.SSHClientConnection:
        """Carry one connection more; `tunnel_ended` says when it is gone."""
        self.tunnels += 1
        return self.connection

    def tunnel_ended(self) -> None:
        """Carry one connection less."""
        self.tunnels -= 1
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._retired and self.sessions == self.tunnels == 0:
            self.connection.abort()

    def retire(self) -> None:
        """Take no more commands: it is closed when the last one is gone."""
        self._retired = True
        self._take_out(self)
        self._changed.set()

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """TCP is up."""
        self._attempt.connection = conn
        lean_connection(conn)

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

    async def public_key_auth_requested(self) -> Sequence[asyncssh.SSHKeyPair] | None:
        """The keys on file were not enough: the agent's may be. It may have gone away; then it has none."""
        credentials = self._attempt.credentials
        if credentials.agent is None or self._agent is not None:
            return None
        self._agent = asyncssh.SSHAgentClient(credentials.agent)
        self.cleanup.callback(self._agent.close)
        if credentials.offered == frozenset():
            return None
        try:
            keys = await self._agent.get_keys(list(credentials.offered or ()))
        except ValueError as error:
            self._attempt.agent_fault = str(error) or "it does not answer"
            return None
        tried = {key.public_data for key in credentials.options.client_keys or ()}
        return [key for key in keys if key.public_data not in tried]

    def kbdint_auth_requested(self) -> str | None:
        """The keys were not enough, and the host would ask questions."""
        return "" if self._may_give_password() else None

    def kbdint_challenge_received(
        self,
        name: str,
        instructions: str,
        lang: str,  # noqa: ARG002 - asyncssh's
        prompts: Sequence[tuple[str, bool]],
    ) -> Sequence[str] | None:
        """The host asks its questions: one whose answer is hidden is for the password, the first time."""
        attempt = self._attempt
        if not prompts:
            return []  # it only tells something
        if len(prompts) == 1 and not prompts[0][1] and self._may_give_password():
            return [self._give_password()]
        attempt.wants = _short(" ".join([name, instructions, *(question for question, _ in prompts)]))
        return None

    def password_auth_requested(self) -> str | None:
        """The keys were not enough, and the host would take a password."""
        return self._give_password() if self._may_give_password() else None

    def password_change_requested(self, prompt: str, lang: str) -> tuple[str, str]:  # noqa: ARG002 - asyncssh's
        """The password has expired."""
        self._attempt.wants = _short(f"a new password. {prompt}")
        return cast("tuple[str, str]", NotImplemented)  # asyncssh's word for no

    def _may_give_password(self) -> bool:
        """Note that the host asks. Without a password the login fails, and is tried again when there is one."""
        self._attempt.asked = True
        return self._attempt.password is not None and not self._attempt.given

    def _give_password(self) -> str:
        assert self._attempt.password is not None
        self._attempt.given, self._attempt.wants = True, ""
        return self._attempt.password

    @property
    def let_in_by_password(self) -> bool:
        """Whether it was a password that the host accepted."""
        return self._attempt.given

    def auth_completed(self) -> None:
        """We are in."""
        if self._agent is not None:
            self._agent.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's
        """The connection is gone."""
        self.lost = True
        self.retire()
        self.cleanup.close()


def _short(text: str) -> str:
    return one_line(terminal(text), LONGEST_WORDS)
