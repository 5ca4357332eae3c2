"""What the tests of ways in stand on: ssh configurations that lead to fleets, and what the servers' logs tell."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import opskit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.sshd import SshdFleet


def entry(fleet: SshdFleet, name: str, *lines: str, number: int = 0) -> str:
    """The lines of an ssh configuration for one host of a fleet; `lines` come first, and so hold."""
    host = fleet.hosts[number]
    own = [
        f"HostName {host.address}",
        f"Port {host.port}",
        f"User {host.user}",
        f"IdentityFile {fleet.identity_file}",
        f"UserKnownHostsFile {fleet.known_hosts}",
    ]
    return "\n  ".join([f"Host {name}", *lines, *own]) + "\n"


@contextmanager
def configured(folder: Path, *entries: str) -> Iterator[Path]:
    """Let this be the user's ssh configuration."""
    file = folder / "ssh_config"
    file.write_text("\n".join(entries))
    with opskit.configure(ssh_config=file):
        yield file


def told(fleet: SshdFleet, words: str) -> int:
    """How often the daemons' logs have these words."""
    return sum(log.read_text().count(words) for log in fleet.folder.glob("sshd_*.log"))


def logins(fleet: SshdFleet) -> int:
    """How often somebody logged in."""
    return told(fleet, "Accepted publickey")


def forwards(fleet: SshdFleet) -> int:
    """How many connections went on from here; for a fleet with `LogLevel=DEBUG1`."""
    return told(fleet, "server_request_direct_tcpip: originator")
