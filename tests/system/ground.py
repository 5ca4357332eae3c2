"""What the tests of faults stand on: the row of one command, a slow line, the hosts' processes, a measured Python."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import opskit
from tests.system.proxy import Proxy

if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable, Iterable, Iterator

    from opskit.results import HostResult, Results
    from tests.system.proxy import Direction
    from tests.system.sshd import SshdFleet

MIB: Final = 1024 * 1024


def row_of(host: opskit.Host, command: str = "true", **options: Any) -> HostResult:
    """The row of a command on one host, whatever becomes of it."""
    results: Results = opskit.run(command, hosts=opskit.Inventory([host]), on_error="continue", **options)
    return results[0]


def first(fleet: SshdFleet, **changes: Any) -> opskit.Host:
    """The fleet's first host, with another name, address, port, user or vars."""
    host = fleet.hosts[0]
    trust = {"known_hosts": str(fleet.known_hosts), "identity_files": [str(fleet.identity_file)]}
    login = {"name": host.name, "address": host.address, "port": host.port, "user": host.user}
    return opskit.Host(**{**login, **changes, "vars": trust | changes.get("vars", {})})


class LongLine(Proxy):
    """A proxy over a line on which each piece is under way for so many seconds, in each direction."""

    def __init__(self, address: str, port: int, seconds: float) -> None:
        super().__init__(address, port)
        self._seconds = seconds

    def _pass_on(self, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        line: SimpleQueue[tuple[float, bytes]] = SimpleQueue()

        def arrive() -> None:
            with suppress(OSError):
                while True:
                    at, piece = line.get()
                    time.sleep(max(0.0, at - time.monotonic()))
                    if not piece:
                        sink.shutdown(2)
                        return
                    sink.sendall(piece)

        arriving = threading.Thread(target=arrive)
        arriving.start()
        piece = b"-"
        with suppress(OSError):
            while piece:
                piece = source.recv(65536)
                line.put((time.monotonic() + self._seconds, piece))
        line.put((0.0, b""))
        arriving.join()


@contextmanager
def behind(proxy: Proxy, fleet: SshdFleet, folder: Path) -> Iterator[opskit.Host]:
    """The fleet's first host, reached through this proxy."""
    with proxy:
        file = folder / f"known_hosts_{proxy.port}"
        key = fleet.known_hosts.read_text().splitlines()[0].partition(" ")[2]
        file.write_text(f"[127.0.0.1]:{proxy.port} {key}\n")
        yield first(fleet, address="127.0.0.1", port=proxy.port, vars={"known_hosts": str(file)})


def proxy_to(fleet: SshdFleet, watch: Any = lambda _direction, _piece: True) -> Proxy:
    """A proxy to the fleet's first host."""
    return Proxy(fleet.hosts[0].address, fleet.hosts[0].port, watch)


def wait_until(condition: Callable[[], object], patience: float = 10.0) -> None:
    """Poll what nothing tells us of; an error if it never comes true."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def unique_sleep() -> tuple[str, str]:
    """A `sleep` that nobody else has, and its argument."""
    argument = f"{1000 + time.monotonic_ns() % 1_000_000 / 1e6:.6f}"
    return f"sleep {argument}", argument


def processes(argument: str) -> list[int]:
    """The processes that have this among their arguments; zombies don't count."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if argument.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def sessions(fleet: SshdFleet) -> list[int]:
    """The sshd processes that serve connections."""
    daemons = {daemon.pid for daemon in fleet.daemons}
    found = []
    for pid in fleet.processes():
        with suppress(OSError):
            if pid not in daemons and Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                found.append(pid)
    return found


def send(sent: signal.Signals, pids: Iterable[int]) -> None:
    """Send a signal to those of these processes that there still are."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, sent)


def descriptors() -> int:
    """How many this process has open, but for the journal's: of those a few are kept, however many were needed once."""
    opened = (descriptor.readlink() for descriptor in Path("/proc/self/fd").iterdir() if descriptor.is_symlink())
    return sum(not path.name.startswith("journal.db") for path in opened)


def python(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python of its own, in which every warning is an error; `grown()` tells its memory's peak in MiB.

    It counts what came on top of what it had when opskit was imported.
    """
    prelude = """
        import sys
        import opskit, opskit.record.store, opskit.transport.ssh
        def peak():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
        at_start = peak()
        def grown():
            return peak() - at_start
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(prelude) + textwrap.dedent(script)]
    return subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said_by(script: str, *arguments: object) -> list[str]:
    """The lines that such a Python prints; it must end well and say nothing else."""
    with python(script, *arguments) as child:
        out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    return out.splitlines()
