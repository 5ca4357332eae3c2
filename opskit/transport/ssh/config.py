"""What ssh's own configuration files say of a host: found once for all hosts that they treat alike."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import SettingsError
from opskit.fleet import Host
from opskit.transport.ssh.parser import Survey, address_of, filled, looked_up, parsed, tokens_of, warn_once

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USERS_FILE: Final = Path("~/.ssh/config")
DEFAULT_FILES: Final = (USERS_FILE, Path("/etc/ssh/ssh_config"))
NO_FILES: Final = (Path("none"),)
"""What stands for no file at all, as with `ssh -F`."""

LARGEST_PORT: Final = 65535

_OPENSSH_KNOWN_HOSTS: Final = {
    "UserKnownHostsFile": ["~/.ssh/known_hosts"],
    "GlobalKnownHostsFile": ["/etc/ssh/ssh_known_hosts"],
}
_TRUST: Final = {"no": "off", "off": "off", "accept-new": "accept-new", "yes": "strict", "ask": "strict"}


@dataclass(frozen=True, slots=True)
class HostConfig:
    """What the files say of one host; None or empty where they say nothing.

    Attributes:
        agent: The agent's socket; "SSH_AUTH_SOCK" is what the environment says, None is no agent.
        known_hosts: The files to trust, ssh's own ones included where only one kind is named.
        host_keys: As the setting of this name.
        proxy_jump: Bastions, as ssh writes them.
        proxy_command: A line for the shell.
    """

    address: str | None = None
    port: int | None = None
    user: str | None = None
    identity_files: tuple[Path, ...] = ()
    identities_only: bool = False
    certificate_files: tuple[Path, ...] = ()
    agent: str | None = "SSH_AUTH_SOCK"
    known_hosts: tuple[Path, ...] | None = None
    host_keys: str | None = None
    host_key_alias: str | None = None
    proxy_jump: str | None = None
    proxy_command: str | None = None
    family: int = socket.AF_UNSPEC


SILENT: Final = HostConfig()


class SshConfig:
    """Some files as they are now."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        survey = parsed(Survey, files)
        self._patterns = survey.patterns
        self._conditional, self._volatile = survey.conditional, survey.volatile
        self._stamps = {path: _stamp(path) for path in (*files, *survey.seen)}
        self._alike: dict[object, dict[str, Any]] = {}
        self._known: dict[object, HostConfig] = {}

    @property
    def changed(self) -> bool:
        """Whether a file is another than when it was read."""
        return any(_stamp(path) != stamp for path, stamp in self._stamps.items())

    def of(self, host: Host) -> HostConfig:
        """What holds for a host: looked up by its name; its own address, port and user win.

        Raises:
            SettingsError: A file can't be understood, or a value can't be filled in.
        """
        asked = (host.name, host.address, host.port, host.user)
        found = self._known.get(asked)
        if found is None:
            found = _host_config(host, self._options(host))
            if not self._volatile:
                self._known[asked] = found
        return found

    def _options(self, host: Host) -> dict[str, Any]:
        if self._conditional:
            return looked_up(self._files, host)
        alike = tuple([pattern.matches(host.name) for pattern in self._patterns])
        if alike not in self._alike:
            self._alike[alike] = looked_up(self._files, Host(host.name))
        return self._alike[alike]


def read(files: tuple[Path, ...] | None) -> SshConfig | None:
    """Read the files, or take what was read if none has changed since; None if there is nothing to read.

    `files` is the setting `ssh_config`. Blocks: not for the engine's loop.

    Raises:
        SettingsError: A file that was named is missing, or one can't be understood; says where.
    """
    if files is None:
        chosen = tuple(path for file in DEFAULT_FILES if os.access(path := file.expanduser(), os.R_OK))
        _check_owner(USERS_FILE.expanduser())
    else:
        chosen = () if files == NO_FILES else files
    for file in chosen:
        if not file.is_file() or not os.access(file, os.R_OK):
            why = "can't be read" if file.exists() else f"does not exist (working folder {Path.cwd()})"
            raise SettingsError(f"ssh_config file {file} {why}")
    if not chosen:
        return None
    config = _read.get(chosen)
    if config is None or config.changed:
        config = _read[chosen] = SshConfig(chosen)
    return config


_read: Final[dict[tuple[Path, ...], SshConfig]] = {}


def _check_owner(file: Path) -> None:
    """What others may write could make us run their commands; ssh refuses it too."""
    try:
        found = file.stat()
    except OSError:
        return
    if found.st_uid not in (0, os.getuid()) or found.st_mode & 0o022:
        raise SettingsError(f"{file} can be written by others than you: chmod 600 {file}")


def _host_config(host: Host, options: dict[str, Any]) -> HostConfig:
    """Make a host's own of what was found for it and all that are treated alike."""
    port = options.get("Port")
    if port is not None and not 1 <= port <= LARGEST_PORT:
        raise SettingsError(f"ssh_config: Port {port} of {host.name} is none")
    user = options.get("User")
    tokens: dict[str, str] = {}

    def with_tokens(value: str) -> str:
        if "%" not in value and "${" not in value:
            return value
        if not tokens:
            at = host.address if host.address != host.name else address or host.name
            tokens.update(tokens_of(host.name, at, host.port or port, host.user or user, options.get("HostKeyAlias")))
        return filled(value, tokens, host.name)

    def paths(name: str) -> tuple[Path, ...]:
        return tuple(Path(with_tokens(file)).expanduser() for file in dict.fromkeys(options.get(name) or ()))

    address = options.get("Hostname")
    if address:
        address = address_of(host.name, address)
    host_keys = _TRUST.get(str(options.get("StrictHostKeyChecking")).lower())
    if host_keys == "off":
        warn_once("ssh_config says `StrictHostKeyChecking no`: host keys are not checked where that holds")
    jump, command = _way(options)
    agent = options.get("IdentityAgent", "SSH_AUTH_SOCK")
    return HostConfig(
        address=address,
        port=port,
        user=user,
        identity_files=paths("IdentityFile"),
        identities_only=bool(options.get("IdentitiesOnly")),
        certificate_files=paths("CertificateFile"),
        agent=agent and str(Path(with_tokens(agent)).expanduser()),
        known_hosts=_known_hosts(options, with_tokens),
        host_keys=host_keys,
        host_key_alias=options.get("HostKeyAlias"),
        proxy_jump=jump and with_tokens(jump),
        proxy_command=command and with_tokens(command),
        family=options.get("AddressFamily", socket.AF_UNSPEC),
    )


def _way(options: dict[str, Any]) -> tuple[str | None, str | None]:
    """ProxyJump and ProxyCommand: of the two, the one that was said first holds."""
    said = next((name for name in options if name in ("ProxyJump", "ProxyCommand")), "")
    return (options[said], None) if said == "ProxyJump" else (None, options.get(said))


def _known_hosts(options: dict[str, Any], with_tokens: Callable[[str], str]) -> tuple[Path, ...] | None:
    if not any(name in options for name in _OPENSSH_KNOWN_HOSTS):
        return None
    files = [file for name, ours in _OPENSSH_KNOWN_HOSTS.items() for file in options.get(name, ours)]
    return tuple(Path(with_tokens(file)).expanduser() for file in files)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)
