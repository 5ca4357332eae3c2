"""A Dropbear server on loopback, that lets in the calling root with a key of its own, under a login shell of choice."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import opskit
from tests.needs import need_program

if TYPE_CHECKING:
    from collections.abc import Iterator

# Another test may just now make an account, for which /etc/passwd is replaced.
ALONE = (
    "until mount --bind {passwd} /etc/passwd; do sleep 0.1; done; "
    "exec {dropbear} -F -E -s -p 127.0.0.1:{port} -P '' -r {key} 2>{log}"
)


@contextmanager
def dropbear(shell: str = "/bin/sh") -> Iterator[opskit.Host]:
    """Give the server as a host, h1, until the end of the block.

    It looks for authorized keys in root's home alone. So it runs where it sees another /etc/passwd, with a home and a
    shell of the test's, in a mount namespace of its own; only root may make one, so for others the test is skipped.
    """
    program = need_program("dropbear", "dropbear-bin")
    if os.geteuid() != 0:
        pytest.skip("Dropbear can be given a home of its own by root alone")
    folder = Path(tempfile.mkdtemp(prefix="opskit-dropbear-"))
    port = _free_port()
    (folder / ".ssh").mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id"], check=True)
    shutil.copy(folder / "id.pub", folder / ".ssh" / "authorized_keys")
    made = subprocess.run(
        ["dropbearkey", "-t", "ed25519", "-f", folder / "key"], check=True, capture_output=True, text=True
    ).stdout
    public = next(line for line in made.splitlines() if line.startswith("ssh-ed25519 "))
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n")
    (folder / "passwd").write_text(f"root:x:0:0:root:{folder}:{shell}\n")
    names = {name: shlex.quote(str(folder / name)) for name in ("passwd", "key", "log")}
    line = ALONE.format(dropbear=program, port=port, **names)
    server = subprocess.Popen(["unshare", "--mount", "sh", "-c", line], stdin=subprocess.DEVNULL)
    try:
        _wait_for(port, server, folder / "log")
        own = {"known_hosts": str(folder / "known_hosts"), "identity_files": [str(folder / "id")]}
        yield opskit.Host("h1", "127.0.0.1", port, "root", vars=own)
    finally:
        for pid in (server.pid, *_sessions(server)):
            os.kill(pid, signal.SIGTERM)
        server.wait()
        shutil.rmtree(folder)


def _sessions(server: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            said = log.read_text() if log.exists() else ""
            assert server.poll() is None, f"dropbear did not start: {said}"
            assert time.monotonic() < deadline, f"dropbear does not answer: {said}"
            time.sleep(0.01)
