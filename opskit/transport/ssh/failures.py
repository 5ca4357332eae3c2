"""From asyncssh's and the system's exceptions to one line that says what failed and what to do."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncssh

from opskit.engine.ports import Unreachable
from opskit.transport.ssh.known_hosts import SSH_PORT, described, exported

if TYPE_CHECKING:
    from opskit.transport.ssh.login import Credentials
    from opskit.transport.ssh.route import Endpoint


@dataclass(slots=True)
class Attempt:
    """What is known of one attempt to connect, for who has to explain it.

    Attributes:
        seconds: How long it may take.
        tries: How often it was tried, this time included.
        connection: asyncssh's own, once there is a way for bytes.
        offered: The host key that the host showed and we did not trust.
        peer: The IP address that we reached.
        greeted: Whether the host is trusted, and the login began.
        password: The password that may be given, once.
        asked: Whether a password was asked for.
        given: Whether the password was given.
        wants: What was asked for that a password does not answer, in the host's words.
        agent_fault: Why the agent gave no keys.
        proxy_fault: What the ProxyCommand's end or its last words were.
    """

    endpoint: Endpoint
    credentials: Credentials
    seconds: float
    tries: int = 1
    password: str | None = field(default=None, repr=False)
    connection: asyncssh.SSHClientConnection | None = None
    offered: asyncssh.SSHKey | None = None
    peer: str = ""
    greeted: bool = False
    asked: bool = False
    given: bool = False
    wants: str = ""
    agent_fault: str = ""
    proxy_fault: str = ""

    @property
    def where(self) -> str:
        """The host as errors name it."""
        return self.endpoint.where

    @property
    def heard(self) -> bool:
        """Whether the host introduced itself as an SSH server."""
        return self.connection is not None and self.connection.get_extra_info("server_version") is not None

    @property
    def tried(self) -> str:
        """The keys that were offered, in words."""
        tried = ", ".join(self.credentials.tried) or "nothing: no key was found and no agent runs"
        return f"{tried}, which gave none: {self.agent_fault}" if self.agent_fault else tried

    @property
    def known_name(self) -> str:
        """The host as known_hosts files name it."""
        address, port = self.endpoint.address, self.endpoint.port
        return self.endpoint.alias or (address if port == SSH_PORT else f"[{address}]:{port}")

    def told(self) -> list[str]:
        """The keys that are known of the host."""
        known, endpoint = self.credentials.known_hosts, self.endpoint
        if known is None:
            return []
        if endpoint.alias:
            return known.told(endpoint.alias, "", None)
        return known.told(endpoint.address, self.peer, None if endpoint.port == SSH_PORT else endpoint.port)


def explained(error: Exception, attempt: Attempt) -> Unreachable:  # noqa: C901, PLR0911, PLR0912 - a table of cases
    """Say in one line why there is no connection."""
    where, address = attempt.where, attempt.endpoint.address
    if attempt.endpoint.command is not None and not attempt.heard:
        return Unreachable(_no_proxy(error, attempt))
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return Unreachable(_host_key(str(error.reason), attempt), "host_key")
        case asyncssh.PermissionDenied() if attempt.wants:
            return Unreachable(
                f"{where} asks {attempt.credentials.login.user} for what no password answers: {attempt.wants!r}; "
                f"log in there once by ssh, or put a public key into its authorized_keys (tried: {attempt.tried})",
                "authentication",
            )
        case asyncssh.PermissionDenied():
            return Unreachable(
                f"{where} accepted no key for {attempt.credentials.login.user} (tried: {attempt.tried}); "
                "put a public key into its authorized_keys, or set user or identity_files",
                "authentication",
            )
        case TimeoutError():
            return Unreachable(f"{_phase(attempt)} within {attempt.seconds:g} s; is {where} up and right?")
        case UnicodeError():
            return Unreachable(f"{address!r} is no host name; set the host's address")
        case socket.gaierror():
            return Unreachable(f"the name {address!r} can't be resolved ({error.strerror}); set the host's address")
        case ConnectionRefusedError():
            return Unreachable(f"{where} refused the connection; is an SSH server running there?")
        case OSError() if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return Unreachable(f"no route to {where}; check the network, or reach it through a bastion")
        case OSError() if error.errno in (errno.EMFILE, errno.ENFILE):
            return Unreachable("no file descriptor is left on this side; lower fanout, or raise `ulimit -n`")
        case asyncssh.ChannelOpenError() if attempt.endpoint.bastion is not None:
            return Unreachable(
                f"the bastion {attempt.endpoint.bastion.where} can't reach {address} port {attempt.endpoint.port}: "
                f"{error.reason or 'no reason given'}; is it up, and may the bastion forward there?"
            )
        case asyncssh.KeyExchangeFailed() if "host key" in error.reason and attempt.told():
            return Unreachable(_changed("it shows no key of the kinds that are known", attempt), "host_key")
        case asyncssh.KeyExchangeFailed():
            return Unreachable(f"{where}: no common algorithm: {error.reason}")
        case asyncssh.ProtocolError() | asyncssh.ConnectionLost() | ConnectionError() if not attempt.greeted:
            hint = "; ".join(attempt.told()) or "is the port right?"
            often = f", tried {attempt.tries} times" if attempt.tries > 1 else ""
            return Unreachable(f"{where} ended the connection or is no SSH server ({error}{often}); {hint}")
        case asyncssh.DisconnectError() | ConnectionError():
            return Unreachable(f"{where} ended the connection: {error}")
        case _:
            return Unreachable(f"{where}: {str(error) or type(error).__name__}")


def _phase(attempt: Attempt) -> str:
    if attempt.connection is None:
        return "no connection"
    if attempt.greeted:
        return "connected, but no login"
    return "connected, but the key exchange did not end" if attempt.heard else "connected, but nothing was heard"


def _no_proxy(error: Exception, attempt: Attempt) -> str:
    """The ProxyCommand gave no connection, or one that leads nowhere."""
    command = str(attempt.endpoint.command).removeprefix("exec ")
    why = f"nothing was heard within {attempt.seconds:g} s" if isinstance(error, TimeoutError) else str(error)
    return f"ProxyCommand {command.split()[0]!r} did not reach {attempt.where}: {attempt.proxy_fault or why}"


def _host_key(reason: str, attempt: Attempt) -> str:
    known, offered = attempt.credentials.known_hosts, attempt.offered
    if known is None or offered is None:
        return f"the host key of {attempt.where} can't be trusted: {reason}"
    if attempt.told():
        return _changed(f"it shows {described(offered)}", attempt)
    broken = f" ({', '.join(known.broken)} could not be read)" if known.broken else ""
    return (
        f"the host key of {attempt.where} is not known: it shows {described(offered)}{broken}; compare it, then "
        f"echo '{attempt.known_name} {exported(offered)}' >> {known.files[0]}, or set host_keys=\"accept-new\""
    )


def _changed(shown: str, attempt: Attempt) -> str:
    return (
        f"the host key of {attempt.where} has CHANGED: {shown}, but {'; '.join(attempt.told())}; "
        f"somebody may be in between. If the change is known to be right: ssh-keygen -R '{attempt.known_name}'"
    )
