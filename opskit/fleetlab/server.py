"""The embedded fleet's server process: every host's SSH server, started by `Fleet` as `python -m` this module.

Its argument is the fleet's folder, with settings.json in it. When all hosts listen it prints their ports, a JSON object
on one line. Each line of standard input, `stop NAME` or `start NAME`, is answered by one line, "ok" or what went wrong.
It ends at the end of standard input, which comes however its owner ended, or by SIGTERM, and ends all that it started.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncssh

from opskit.fleetlab.processes import Processes
from opskit.fleetlab.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

ADDRESS: Final = "127.0.0.1"
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Gate(asyncssh.SSHServer):
    """One connection: lets in who has the fleet's key, and opens sessions, nothing else."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._sessions = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Remember the connection, so that it can be dropped."""
        self._connection = conn
        self._host.connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        del exc
        self._host.connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        """Ask everybody for a key."""
        del username
        return True

    def public_key_auth_supported(self) -> bool:
        """Offer keys as the only way in."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Let in the fleet's own key alone."""
        return username in self._host.users and key == self._host.client_key

    def session_requested(self) -> Session | bool:
        """Open a session, unless the connection has as many as it may."""
        if self._sessions >= self._host.max_sessions:
            return False
        self._sessions += 1
        environment = self._host.environment(self._connection.get_extra_info("username"))
        return Session(self._host.processes, self._host.home, environment, self._session_ended)

    def _session_ended(self) -> None:
        self._sessions -= 1


class Host:
    """One host of the fleet: a home, a host key, a port, and a server that can go away and come back."""

    def __init__(
        self, name: str, folder: Path, settings: dict[str, Any], client_key: asyncssh.SSHKey, processes: Processes
    ) -> None:
        self.name = name
        self.home = folder / "homes" / name
        self.users: list[str] = settings["users"]
        self.max_sessions: int = settings["max_sessions"]
        self.client_key = client_key
        self.processes = processes
        self.connections: set[asyncssh.SSHServerConnection] = set()
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0  # the kernel's choice at the first start, kept from then on
        self._path = f"{folder / 'bin'}:{SYSTEM_PATH}"
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._placeholder: socket.socket | None = None

    def environment(self, user: str) -> dict[str, str]:
        """Give the whole environment of a command."""
        return {
            "HOME": str(self.home),
            "HOSTNAME": self.name,
            "LANG": "C.UTF-8",
            "LOGNAME": user,
            "PATH": self._path,
            "SHELL": "/bin/sh",
            "USER": user,
        }

    async def start(self) -> None:
        """Listen, at the port of last time if there is one."""
        if self._acceptor is not None:
            return
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
        self._acceptor = await asyncssh.listen(
            ADDRESS,
            self.port,
            server_factory=lambda: Gate(self),
            server_host_keys=[self.key],
            config=None,
            encoding=None,
            line_editor=False,
            agent_forwarding=False,
            host_based_auth=False,
            kbdint_auth=False,
            password_auth=False,
            compression_algs=None,
            gss_host=None,
            x509_trusted_certs=None,
        )
        self.port = self._acceptor.get_port()

    async def stop(self) -> None:
        """Drop every connection and listen no more; the port stays ours, so that it is free at the next start."""
        if self._acceptor is None:
            return
        self._acceptor.close()
        self._acceptor = None
        for connection in tuple(self.connections):
            connection.abort()
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._placeholder.bind((ADDRESS, self.port))


class Owner:
    """The process that made the fleet, heard on standard input and answered on standard output."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self._loop = asyncio.get_running_loop()
        self._hosts = hosts
        self._said = b""
        self._tasks: set[asyncio.Task[None]] = set()
        self.gone = asyncio.Event()
        self._loop.add_reader(0, self._read)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._loop.add_signal_handler(number, self.gone.set)
        if sys.platform == "linux":  # a fork of the owner may keep our standard input open
            with suppress(OSError):
                self._loop.add_reader(os.pidfd_open(os.getppid()), self.gone.set)

    def _read(self) -> None:
        part = os.read(0, 4096)
        if not part:
            self._loop.remove_reader(0)
            self.gone.set()
        *lines, self._said = (self._said + part).split(b"\n")
        for line in lines:
            task = self._loop.create_task(self._do(*line.decode().split()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _do(self, verb: str, name: str) -> None:
        host = self._hosts[name]
        try:
            await (host.stop() if verb == "stop" else host.start())
        except OSError as error:
            say(str(error))
        else:
            say("ok")


async def serve(folder: Path) -> None:
    """Serve the fleet of `folder` until its owner is gone."""
    settings = json.loads((folder / "settings.json").read_text())
    processes = Processes()
    private_key = asyncssh.generate_private_key("ssh-ed25519")
    private_key.write_private_key(folder / "id_ed25519")
    client_key = private_key.convert_to_public()
    hosts = {name: Host(name, folder, settings, client_key, processes) for name in settings["hosts"]}
    owner = Owner(hosts)
    try:
        shutil.copytree(Path(__file__).parent / "bin", folder / "bin")
        for script in (folder / "bin").iterdir():
            script.chmod(0o755)  # an installer may lose the mode
        for host in hosts.values():
            make_home(host.home, settings["hosts"][host.name])
            await host.start()
        (folder / "known_hosts").write_text("".join(known_hosts(hosts.values())))
        say(json.dumps({host.name: host.port for host in hosts.values()}))
        await owner.gone.wait()
    finally:
        processes.end_all()
        if not settings["keep"]:
            shutil.rmtree(folder, ignore_errors=True)


def say(line: str) -> None:
    """Tell the owner one line."""
    print(line, flush=True)  # noqa: T201 - standard output is the way to the owner


def make_home(home: Path, roles: Iterable[str]) -> None:
    """Make a host's home, with a running service for each of its roles (see bin/service)."""
    services = home / ".services"
    services.mkdir(parents=True)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for role in roles:
        (services / role).write_text(f"running {now} v1\n")


def known_hosts(hosts: Iterable[Host]) -> Iterable[str]:
    """Give the lines of the known_hosts file."""
    for host in hosts:
        yield f"[{ADDRESS}]:{host.port} {host.key.export_public_key().decode()}"


def main() -> None:
    """Serve the folder that the command line names."""
    os.umask(0o077)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a system may count fewer than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with suppress(BrokenPipeError):  # the owner ended while we started
        asyncio.run(serve(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
