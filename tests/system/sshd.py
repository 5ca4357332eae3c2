"""Real OpenSSH servers on loopback: `SshdFleet`, for the system tests and the benchmarks."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import yaml

if TYPE_CHECKING:
    from types import TracebackType

PORTS_OF_A_DAEMON: Final = 16
"""sshd listens on at most so many sockets."""

PATIENCE: Final = 20.0
"""Seconds until a daemon that does not answer, or a process that does not end, is an error."""

DEFAULTS: Final[dict[str, str | int]] = {
    "KbdInteractiveAuthentication": "no",
    "MaxSessions": 100,
    "MaxStartups": 1000,
    "PasswordAuthentication": "no",
    "PidFile": "none",
    "StrictModes": "no",
    "UsePAM": "no",
}


@dataclass(frozen=True, slots=True)
class SshdHost:
    """One host: a port of the fleet's own loopback address."""

    name: str
    address: str
    port: int
    user: str


def find_sshd() -> str | None:
    """Give the path of this machine's sshd, None if it has none."""
    return shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


class SshdFleet:
    """`count` hosts, h1 h2 ..., as a context manager; every command's HOME is a folder of the fleet's.

    The daemons run as the calling user and let in that user with `identity_file` alone. Their address is the fleet's
    own, one of 127.0.0.0/8, so that no other socket of the machine is in the way of its ports.

    Args:
        count: How many hosts; each 16 share a daemon.
        config: Lines of sshd_config for all daemons, beside and above `DEFAULTS`, such as `MaxSessions=1`.

    Attributes:
        folder: Everything below, and the daemons' logs (sshd_0.log ...) and configurations.
        inventory_path: The hosts as an opskit inventory; all have the role `sshd`.
        known_hosts: Has the key of every host.
        identity_file: The only key that is let in.
        hosts: In order.
        daemons: The listening sshd processes, while they run.
    """

    def __init__(self, count: int = 16, **config: str | int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="opskit-sshd-"))
        self.inventory_path = self.folder / "hosts.yaml"
        self.known_hosts = self.folder / "known_hosts"
        self.identity_file = self.folder / "id_ed25519"
        self.hosts = _free_hosts(count)
        self.daemons: list[subprocess.Popen[bytes]] = []
        self._mark = f"OPSKIT_SSHD={self.folder.name}"
        self._config = {**DEFAULTS, **_no_penalties(), **config}
        (self.folder / "home").mkdir()
        for key in (self.identity_file, self.folder / "host_ed25519"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self._write_files()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.down)
            self.start()
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()

    def start(self) -> None:
        """Start the daemons, also again after `kill`, and wait until each port answers as SSH does."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where root's sshd locks its unprivileged part in
        program = find_sshd()
        assert program is not None, "install openssh-server"
        for config in sorted(self.folder.glob("sshd_*.conf")):
            command = [program, "-D", "-f", str(config), "-E", str(config.with_suffix(".log"))]
            self.daemons.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        for host in self.hosts:
            self._wait_for(host)

    def kill(self) -> None:
        """End the daemons, their sessions and all commands at once, as a loss of power would."""
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGSTOP)  # it must start no session while we look for them
        deadline = time.monotonic() + PATIENCE
        left = self.processes()
        while left:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for daemon in self.daemons:
                daemon.wait()
            assert time.monotonic() < deadline, f"these processes of {self.folder.name} do not end: {left}"
            time.sleep(0.005)
            left = [pid for pid in {*left, *self.processes()} if _alive(pid)]
        self.daemons.clear()

    def down(self) -> None:
        """End everything and remove the folder."""
        self.kill()
        shutil.rmtree(self.folder)

    def processes(self) -> list[int]:
        """Give the pids of all daemons, their sessions, and the commands, those whose session is gone too."""
        children: dict[int, list[int]] = {}
        found = [daemon.pid for daemon in self.daemons if daemon.poll() is None]
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(process.name))
                if self._mark.encode() in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        for pid in found:
            found.extend(child for child in children.get(pid, ()) if child not in found)
        return found

    def _write_files(self) -> None:
        host_key = " ".join((self.folder / "host_ed25519.pub").read_text().split()[:2])
        lines = [f"[{host.address}]:{host.port} {host_key}\n" for host in self.hosts]
        self.known_hosts.write_text("".join(lines))
        shared = {"known_hosts": str(self.known_hosts), "identity_files": [str(self.identity_file)]}
        inventory = {
            "defaults": {"user": _user(), "vars": shared},
            "hosts": {
                host.name: {"address": host.address, "port": host.port, "roles": ["sshd"]} for host in self.hosts
            },
        }
        self.inventory_path.write_text(yaml.safe_dump(inventory, sort_keys=False))
        environment = f"HOME={self.folder / 'home'} {self._mark}"
        if "SetEnv" in self._config:
            environment += f" {self._config.pop('SetEnv')}"  # sshd obeys the first such line alone
        for number in range(0, len(self.hosts), PORTS_OF_A_DAEMON):
            config = [
                *(f"ListenAddress {host.address}:{host.port}" for host in self.hosts[number:][:PORTS_OF_A_DAEMON]),
                f"HostKey {self.folder / 'host_ed25519'}",
                f"AuthorizedKeysFile {self.identity_file}.pub",
                f"SetEnv {environment}",
                *(f"{name} {value}" for name, value in self._config.items()),
                "",
            ]
            (self.folder / f"sshd_{number // PORTS_OF_A_DAEMON}.conf").write_text("\n".join(config))

    def _wait_for(self, host: SshdHost) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            with suppress(OSError), socket.create_connection((host.address, host.port), timeout=1) as connection:
                if connection.recv(4) == b"SSH-":
                    return
            ended = any(daemon.poll() is not None for daemon in self.daemons)
            if ended or time.monotonic() > deadline:
                said = "\n".join(log.read_text() for log in sorted(self.folder.glob("sshd_*.log")))
                raise RuntimeError(f"sshd on {host.address}:{host.port} did not start. It said:\n{said}")
            time.sleep(0.01)


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name  # sshd asks for this one, whatever the environment says


def _free_hosts(count: int) -> tuple[SshdHost, ...]:
    address = f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
    with ExitStack() as stack:  # all are open at once, so that no port is given twice
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((address, 0))
        ports = [one.getsockname()[1] for one in sockets]
    return tuple(SshdHost(f"h{n}", address, port, _user()) for n, port in enumerate(ports, start=1))


def _no_penalties() -> dict[str, str | int]:
    """Newer servers lock an address out for a while that often connects without logging in, as our waiting does."""
    said = subprocess.run([find_sshd() or "sshd", "-V"], capture_output=True, text=True, check=False).stderr
    version = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
    return {"PerSourcePenalties": "no"} if version and (int(version[1]), int(version[2])) >= (9, 8) else {}


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
