"""From asyncssh's and the system's exceptions to one line that says what failed and what to do."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncssh

from opskit.engine.ports import Unreachable
from opskit.transport.ssh.known_hosts import SSH_PORT, described

if TYPE_CHECKING:
    from opskit.transport.ssh.login import Credentials


@dataclass(slots=True)
class Attempt:
    """What is known of one attempt to connect, for who has to explain it.

    Attributes:
        offered: The host key that the host showed and we did not trust.
        peer: The IP address that we reached.
        reached: Whether TCP was up.
        greeted: Whether the host introduced itself as an SSH server.
    """

    address: str
    port: int
    user: str
    credentials: Credentials
    seconds: float
    offered: asyncssh.SSHKey | None = None
    peer: str = ""
    reached: bool = False
    greeted: bool = False

    @property
    def where(self) -> str:
        """The host as errors name it."""
        return f"{self.address} port {self.port}"

    @property
    def known_name(self) -> str:
        """The host as known_hosts files name it."""
        return self.address if self.port == SSH_PORT else f"[{self.address}]:{self.port}"

    def told(self) -> list[str]:
        """The keys that are known of the host."""
        known = self.credentials.known_hosts
        return known.told(self.address, self.peer, None if self.port == SSH_PORT else self.port) if known else []


def explained(error: Exception, attempt: Attempt) -> Unreachable:  # noqa: C901, PLR0911, PLR0912 - a table of cases
    """Say in one line why there is no connection."""
    where = attempt.where
    match error:
        case asyncssh.HostKeyNotVerifiable():
            return Unreachable(_host_key(str(error.reason), attempt), "host_key")
        case asyncssh.PermissionDenied():
            tried = ", ".join(attempt.credentials.tried) or "nothing: no key was found and no agent runs"
            return Unreachable(
                f"{where} accepted no key for {attempt.user} (tried: {tried}); "
                "put a public key into its authorized_keys, or set user or identity_files",
                "authentication",
            )
        case TimeoutError():
            return Unreachable(f"{_phase(attempt)} within {attempt.seconds:g} s; is {where} up and right?")
        case UnicodeError():
            return Unreachable(f"{attempt.address!r} is no host name; set the host's address")
        case socket.gaierror():
            return Unreachable(
                f"the name {attempt.address!r} can't be resolved ({error.strerror}); set the host's address"
            )
        case ConnectionRefusedError():
            return Unreachable(f"{where} refused the connection; is an SSH server running there?")
        case OSError() if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            return Unreachable(f"no route to {where}; check the network, or reach it through a bastion")
        case OSError() if error.errno in (errno.EMFILE, errno.ENFILE):
            return Unreachable("no file descriptor is left on this side; lower fanout, or raise `ulimit -n`")
        case asyncssh.KeyExchangeFailed() if "host key" in error.reason and attempt.told():
            return Unreachable(_changed("it shows no key of the kinds that are known", attempt), "host_key")
        case asyncssh.KeyExchangeFailed():
            return Unreachable(f"{where}: no common algorithm: {error.reason}")
        case asyncssh.ProtocolError() | asyncssh.ConnectionLost() | ConnectionError() if not attempt.greeted:
            hint = "; ".join(attempt.told()) or "is the port right?"
            return Unreachable(f"{where} ended the connection or is no SSH server ({error}); {hint}")
        case asyncssh.DisconnectError() | ConnectionError():
            return Unreachable(f"{where} ended the connection: {error}")
        case _:
            return Unreachable(f"{where}: {str(error) or type(error).__name__}")


def _phase(attempt: Attempt) -> str:
    if not attempt.reached:
        return "no connection"
    return "connected, but no login" if attempt.greeted else "connected, but nothing was heard"


def _host_key(reason: str, attempt: Attempt) -> str:
    known, offered = attempt.credentials.known_hosts, attempt.offered
    if known is None or offered is None:
        return f"the host key of {attempt.where} can't be trusted: {reason}"
    if attempt.told():
        return _changed(f"it shows {described(offered)}", attempt)
    broken = f" ({', '.join(known.broken)} could not be read)" if known.broken else ""
    return (
        f"the host key of {attempt.where} is not known: it shows {described(offered)}{broken}; compare it, then "
        f'ssh-keyscan -p {attempt.port} {attempt.address} >> {known.files[0]}, or set host_keys="accept-new"'
    )


def _changed(shown: str, attempt: Attempt) -> str:
    return (
        f"the host key of {attempt.where} has CHANGED: {shown}, but {'; '.join(attempt.told())}; "
        f"somebody may be in between. If the change is known to be right: ssh-keygen -R '{attempt.known_name}'"
    )
