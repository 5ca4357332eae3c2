"""How we log in to a host: its keys, the trust in it, and asyncssh's options, made once for all hosts that agree."""

from __future__ import annotations

import asyncio
import getpass
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncssh

from opskit import checks
from opskit.errors import AuthenticationError, HostKeyError, InventoryError, PromptRefused
from opskit.results import Results
from opskit.transport.passwords import NoPassword
from opskit.transport.ssh import known_hosts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opskit.fleet import Host
    from opskit.settings import Settings
    from opskit.transport.passwords import Trials
    from opskit.transport.ssh.config import HostConfig

DEFAULT_KNOWN_HOSTS = (Path("~/.ssh/known_hosts"), Path("/etc/ssh/ssh_known_hosts"))
DEFAULT_KEYS = tuple(Path("~/.ssh", f"id_{kind}") for kind in ("ed25519", "ecdsa", "ed25519_sk", "ecdsa_sk", "rsa"))

AGENT_PATIENCE: Final = 3.0
"""Seconds that an agent has to tell which keys it has."""


@dataclass(frozen=True, slots=True)
class Login:
    """What decides how a connection is made. Hosts with equal logins share everything that is made of one.

    A host's vars `known_hosts` and `identity_files` stand in place of the settings of these names, and either in
    place of what ssh's configuration says.

    Attributes:
        named: Which of the lists of files the inventory or a setting has named: those files must be there, and work.
        agent: Where the agent listens; None is no agent.
        own_only: Whether of the agent's keys only those of `identity_files` may be offered.
    """

    user: str
    known_hosts: tuple[Path, ...] | None
    identity_files: tuple[Path, ...] | None
    named: frozenset[str]
    certificate_files: tuple[Path, ...]
    agent: str | None
    own_only: bool
    host_keys: str
    keepalive: float

    def __hash__(self) -> int:
        return hash(self.user)  # asked for each host; a fleet has few logins

    @classmethod
    def of(cls, host: Host, settings: Settings, said: HostConfig) -> Login:
        """The login for a host; raises InventoryError if neither it nor this process has a user."""
        known_hosts, identity_files = (
            getattr(settings, name) if (own := paths_of(host, name)) is None else own
            for name in ("known_hosts", "identity_files")
        )
        return cls(
            user=host.user or said.user or _own_user(host),
            known_hosts=said.known_hosts if known_hosts is None else known_hosts,
            identity_files=(said.identity_files or None) if identity_files is None else identity_files,
            named=_NAMED[known_hosts is not None, identity_files is not None],
            certificate_files=said.certificate_files,
            agent=_agent(said.agent) if settings.agent else None,
            own_only=said.identities_only,
            host_keys=(said.host_keys if settings.host_keys == "strict" else None) or settings.host_keys,
            keepalive=settings.keepalive,
        )


def paths_of(host: Host, name: str) -> tuple[Path, ...] | None:
    """A host's var that names files; raises InventoryError."""
    if name not in host.vars:
        return None
    try:
        return checks.paths(host.vars[name])
    except ValueError as error:
        raise InventoryError(f"host {host.name}: its var {name} {error}") from None


_NAMED: Final = {
    (False, False): frozenset[str](),
    (True, False): frozenset({"known_hosts"}),
    (False, True): frozenset({"identity_files"}),
    (True, True): frozenset({"known_hosts", "identity_files"}),
}


def _agent(said: str | None) -> str | None:
    """The agent's socket: a path, or the name of a variable that has it."""
    if said is not None and (said == "SSH_AUTH_SOCK" or said.startswith("$")):
        return os.environ.get(said.removeprefix("$")) or None
    return said


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
        agent: Where the agent listens whose keys are offered when the others were not enough; None is nowhere.
        offered: The public keys that it may offer; None is all that it has.
        tried: The keys that are offered, in words.
    """

    login: Login
    options: asyncssh.SSHClientConnectionOptions
    known_hosts: known_hosts.KnownHosts | None
    agent: str | None
    offered: frozenset[bytes] | None
    tried: tuple[str, ...]


Unlocked = dict[tuple[Path, int, int, int], asyncssh.SSHKey]
"""Keys whose passphrase was given, by path and by what tells one state of a file from another."""


class Locked(Exception):  # noqa: N818 - told between `prepare` and `Keys.unlock`, never to a user
    """A key is of use once its passphrase is known; `host` is the one it is wanted for."""

    def __init__(self, path: Path, host: Host, *, named: bool) -> None:
        super().__init__(path)
        self.path = path
        self.host = host
        self.named = named


class Keys:
    """The private keys of one run: those on file, and those that this process has unlocked.

    Args:
        unlocked: What the process has unlocked, for to unlock one takes a tenth of a second and more; added to.
        trials: Has the passphrases.

    Attributes:
        left_out: Keys that can't be unlocked and that nobody has named, and why.
    """

    def __init__(self, unlocked: Unlocked, trials: Trials) -> None:
        self._unlocked = unlocked
        self._trials = trials
        self._agents: dict[str, frozenset[bytes]] = {}
        self.left_out: dict[Path, str] = {}

    def read(self, path: Path, certificates: list[str]) -> Sequence[asyncssh.SSHKeyPair]:
        """A key with its certificates; raises what asyncssh and the system do."""
        key = self._unlocked.get(_state_of(path))
        if key is None:
            return asyncssh.load_keypairs([str(path)], certlist=certificates)
        own = path.with_name(f"{path.name}-cert.pub")
        return asyncssh.load_keypairs([(key, str(own)) if own.exists() else key], certlist=certificates)

    def of_agent(self, agent: str | None) -> frozenset[bytes]:
        """The public keys that an agent has. Blocks."""
        if agent is None:
            return frozenset()
        if agent not in self._agents:
            self._agents[agent] = asyncio.run(_held_by(agent))
        return self._agents[agent]

    def is_set_for(self, host: Host) -> bool:
        """Whether a passphrase was set, so that nobody has to be asked."""
        return self._trials.set_for("passphrase", host)

    async def unlock(self, locked: Locked) -> None:
        """Unlock a key, or leave it out where nobody has named it.

        Raises:
            AuthenticationError: The passphrase is wrong, or no passphrase would help.
            PromptRefused: Nobody could be asked for it.
        """
        path = locked.path
        try:
            async with self._trials.trying("passphrase", locked.host, str(path)) as attempt:
                try:
                    await asyncio.to_thread(self._unlock, path, attempt.text)
                except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
                    if _lacks(error):
                        raise
                    raise attempt.refused("this passphrase is wrong") from error
                attempt.accepted()
        except (NoPassword, OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            if not locked.named:
                self.left_out[path] = _why(error)
            elif isinstance(error.__cause__, PromptRefused):
                raise error.__cause__ from None
            else:
                raise AuthenticationError(f"key {path} can't be used: {_why(error)}", Results(())) from error

    def _unlock(self, path: Path, passphrase: str) -> None:
        state = _state_of(path)
        self._unlocked[state] = asyncssh.read_private_key(path, passphrase)


def _state_of(path: Path) -> tuple[Path, int, int, int]:
    found = path.stat()
    return path, found.st_mtime_ns, found.st_size, found.st_ino


async def _held_by(agent: str) -> frozenset[bytes]:
    client = asyncssh.SSHAgentClient(agent)
    try:
        async with asyncio.timeout(AGENT_PATIENCE):
            return frozenset(key.public_data for key in await client.get_keys())
    except (OSError, ValueError):
        return frozenset()
    finally:
        client.close()
        await client.wait_closed()


def prepare(login: Login, host: Host, keys: Keys) -> Credentials:
    """Read keys and known hosts and build the options. Blocks on files: not for the engine's loop.

    Args:
        login: How this host, and others, are logged in to.
        host: The one that may have a passphrase among its vars.
        keys: The run's.

    Raises:
        Locked: A key has to be unlocked first.
        AuthenticationError: A key that was named can't be used.
        HostKeyError: A known_hosts file that was named can't be read.
    """
    trusted = None if login.host_keys == "off" else _trusted(login)
    found, tried, needs_agent = _keys(login, host, keys)
    agent, offered = login.agent, None
    if "identity_files" in login.named and not needs_agent:
        agent = None  # what was named is enough, and asking an agent costs something on every connection
    elif login.own_only:
        offered = _public_parts(login.identity_files or DEFAULT_KEYS)
    options: dict[str, Any] = {
        "username": login.user,
        "client_keys": found or None,
        "known_hosts": trusted,
        "agent_path": None,
        "config": None,
        "preferred_auth": "publickey,keyboard-interactive,password",
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
    return Credentials(login, asyncssh.SSHClientConnectionOptions(**options), trusted, agent, offered, tried)


@lru_cache(maxsize=1)
def _algorithms() -> dict[str, list[str]]:
    """The cheapest strong ones first, and all others; as lists, for a pattern is matched anew for each connection."""
    ordered = asyncssh.SSHClientConnectionOptions(
        kex_algs="^curve25519-sha256", encryption_algs="^aes128-gcm@openssh.com", client_keys=None, config=None
    )
    return {name: [word.decode() for word in getattr(ordered, name)] for name in ("kex_algs", "encryption_algs")}


def _trusted(login: Login) -> known_hosts.KnownHosts:
    files = login.known_hosts
    for file in files or () if "known_hosts" in login.named else ():
        if file.is_dir():
            raise HostKeyError(f"known_hosts file {file} is a folder", Results(()))
        if not file.exists() and login.host_keys == "strict":
            raise HostKeyError(f"known_hosts file {file} does not exist (working folder {Path.cwd()})", Results(()))
        if file.exists() and not os.access(file, os.R_OK):
            raise HostKeyError(f"known_hosts file {file} can't be read: permission denied", Results(()))
    return known_hosts.read([file.expanduser() for file in files or DEFAULT_KNOWN_HOSTS])


def _keys(login: Login, host: Host, keys: Keys) -> tuple[list[asyncssh.SSHKeyPair], tuple[str, ...], bool]:
    """The private keys, their names, and whether one that was named is locked, so that only the agent can use it.

    A key that the inventory or a setting has named must work; any other may be unusable.
    """
    named = "identity_files" in login.named
    found: list[asyncssh.SSHKeyPair] = []
    tried = []
    left: list[Path] = []
    needs_agent = False
    certificates = [str(file) for file in login.certificate_files if file.exists()]
    for file in DEFAULT_KEYS if login.identity_files is None else login.identity_files:
        path = file.expanduser()
        if login.identity_files is None and not path.exists():
            continue
        try:
            found += keys.read(path, certificates)
            tried.append(str(path))
        except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            why = keys.left_out.get(path) or _why(error)
            if not _is_locked(error):
                if named:
                    raise AuthenticationError(f"key {path} can't be used: {_why(error)}", Results(())) from error
            elif _is_served(path, host, keys, login.agent):
                needs_agent, why = needs_agent or named, "left to the agent"
            elif path not in keys.left_out:
                if named or keys.is_set_for(host):
                    raise Locked(path, host, named=named) from error
                left.append(path)
            tried.append(f"not {path} ({why})")
    if left and not found and not keys.of_agent(login.agent):
        raise Locked(left[0], host, named=False)
    return found, tuple(tried), needs_agent


def _is_served(path: Path, host: Host, keys: Keys, agent: str | None) -> bool:
    """Whether the agent may have this key: a locked file of the older kinds does not tell which it is."""
    has, public = keys.of_agent(agent), _public_parts([path])
    return bool(has & public) if public else bool(has) and not keys.is_set_for(host)


def _public_parts(files: Iterable[Path]) -> frozenset[bytes]:
    """What can be known of keys whose private part only the agent may have."""
    found = set()
    for file in files:
        path = file.expanduser()
        for public in (path.with_name(f"{path.name}.pub"), path):
            with suppress(OSError, asyncssh.KeyImportError):
                found.add(asyncssh.read_public_key(public).public_data)
                break
    return frozenset(found)


def _why(error: Exception) -> str:
    if isinstance(error, NoPassword):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if _is_locked(error):
        return "it has a passphrase; add it to the agent with ssh-add"
    return _lacks(error) or "it is no private key that can be read"


def _is_locked(error: Exception) -> bool:
    return str(error).startswith("Passphrase must")


def _lacks(error: Exception) -> str | None:
    """What is missing to unlock a key, whatever its passphrase; None where that is wrong."""
    said = str(error)
    if "bcrypt" in said:
        return "Python's package bcrypt is needed to unlock it: pip install bcrypt, or add it to the agent with ssh-add"
    return f"{said}; add it to the agent with ssh-add" if said.startswith(("Unknown cipher", "Unknown kdf")) else None
