"""How we log in to a host: its keys, the trust in it, and asyncssh's options, made once for all hosts that agree."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from opskit import checks
from opskit.errors import AuthenticationError, HostKeyError, InventoryError
from opskit.results import Results
from opskit.transport.ssh import known_hosts

if TYPE_CHECKING:
    from opskit.fleet import Host
    from opskit.settings import Settings

DEFAULT_KNOWN_HOSTS = (Path("~/.ssh/known_hosts"), Path("/etc/ssh/ssh_known_hosts"))
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_ed25519_sk", "id_ecdsa_sk", "id_rsa")


@dataclass(frozen=True, slots=True)
class Login:
    """What decides how a connection is made. Hosts with equal logins share everything that is made of one.

    A host's vars `known_hosts` and `identity_files` stand in place of the settings of these names.
    """

    user: str
    known_hosts: tuple[Path, ...] | None
    identity_files: tuple[Path, ...] | None
    agent: bool
    host_keys: str
    keepalive: float

    @classmethod
    def of(cls, host: Host, settings: Settings) -> Login:
        """The login for a host; raises InventoryError if neither it nor this process has a user."""
        own = {}
        for name in ("known_hosts", "identity_files"):
            own[name] = getattr(settings, name)
            if name in host.vars:
                try:
                    own[name] = checks.paths(host.vars[name])
                except ValueError as error:
                    raise InventoryError(f"host {host.name}: its var {name} {error}") from None
        return cls(
            user=host.user or _own_user(host), agent=settings.agent, host_keys=settings.host_keys,
            keepalive=settings.keepalive, **own,
        )  # fmt: skip


def _own_user(host: Host) -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        raise InventoryError(f"host {host.name} names no user, and this process has none: set its user") from None


@dataclass(frozen=True, slots=True, eq=False)
class Credentials:
    """A login made ready: asyncssh's options, and what an error has to name.

    Attributes:
        known_hosts: The trusted keys; None where host keys are not checked.
        tried: The keys that are offered, in words.
    """

    login: Login
    options: asyncssh.SSHClientConnectionOptions
    known_hosts: known_hosts.KnownHosts | None
    tried: tuple[str, ...]


def prepare(login: Login) -> Credentials:
    """Read keys and known hosts and build the options. Blocks on files: not for the engine's loop.

    Raises:
        AuthenticationError: A key that was named can't be used.
        HostKeyError: A known_hosts file that was named can't be read.
    """
    trusted = None if login.host_keys == "off" else _trusted(login)
    agent = (login.agent and os.environ.get("SSH_AUTH_SOCK")) or None
    keys, tried, locked = _keys(login, agent=agent is not None)
    if login.identity_files is not None and not locked:
        agent = None  # what was named is enough, and asking an agent costs something on every connection
    options: dict[str, Any] = {
        "username": login.user,
        "client_keys": keys or (_NoKeys() if agent else None),
        "known_hosts": trusted,
        "agent_path": agent,
        "config": None,
        "preferred_auth": "publickey",
        "keepalive_interval": login.keepalive,
        "keepalive_count_max": 3,
        **_algorithms(),
        "compression_algs": None,
        # Not asked for, and each costs something on every connection.
        "x509_trusted_certs": None,
        "gss_host": None,
        "login_timeout": 0,
    }
    tried = (*tried, "the agent's keys") if agent else tried
    return Credentials(login, asyncssh.SSHClientConnectionOptions(**options), trusted, tried)


class _NoKeys(list[asyncssh.SSHKeyPair]):
    """No key of our own: asyncssh asks an agent only where it is given keys, and what is false counts as none given."""

    def __bool__(self) -> bool:
        return True


@lru_cache(maxsize=1)
def _algorithms() -> dict[str, list[str]]:
    """The cheapest strong ones first, and all others; as lists, for a pattern is matched anew for each connection."""
    ordered = asyncssh.SSHClientConnectionOptions(
        kex_algs="^curve25519-sha256", encryption_algs="^aes128-gcm@openssh.com", client_keys=None, config=None
    )
    return {name: [word.decode() for word in getattr(ordered, name)] for name in ("kex_algs", "encryption_algs")}


def _trusted(login: Login) -> known_hosts.KnownHosts:
    files = login.known_hosts
    for file in files or ():
        if file.is_dir():
            raise HostKeyError(f"known_hosts file {file} is a folder", Results(()))
        if not file.exists() and login.host_keys == "strict":
            raise HostKeyError(f"known_hosts file {file} does not exist (working folder {Path.cwd()})", Results(()))
        if file.exists() and not os.access(file, os.R_OK):
            raise HostKeyError(f"known_hosts file {file} can't be read: permission denied", Results(()))
    return known_hosts.read([file.expanduser() for file in files or DEFAULT_KNOWN_HOSTS])


def _keys(login: Login, *, agent: bool) -> tuple[list[asyncssh.SSHKeyPair], tuple[str, ...], bool]:
    """The private keys, their names, and whether one that was named is locked, so that only the agent can use it.

    A key that was named must work; one that is merely there may be unusable.
    """
    named = login.identity_files is not None
    files = login.identity_files
    if files is None:
        files = tuple(Path("~/.ssh", name).expanduser() for name in DEFAULT_KEYS)
    found: list[asyncssh.SSHKeyPair] = []
    tried = []
    locked = False
    for file in files:
        if not named and not file.exists():
            continue
        try:
            found += asyncssh.load_keypairs([str(file)])
            tried.append(str(file))
        except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            if named and agent and _is_locked(error):
                locked = True
            elif named:
                raise AuthenticationError(f"key {file} can't be used: {_why(error)}", Results(())) from error
            tried.append(f"not {file} ({_why(error)})")
    return found, tuple(tried), locked


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if _is_locked(error):
        return "it has a passphrase; add it to the agent with ssh-add"
    return "it is no private key that can be read"


def _is_locked(error: Exception) -> bool:
    return isinstance(error, asyncssh.KeyEncryptionError) or str(error).startswith("Passphrase must")
