"""The `ssh` binary, a process for each command, with OpenSSH's own choice of algorithms."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.protocol import FANOUT, serve

if TYPE_CHECKING:
    from benchmarks.protocol import Run, Servers


def prepare(servers: Servers) -> Run:
    """Put together what all command lines share."""
    options = ["BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={servers.known_hosts}"]
    shared = ["ssh", "-F", "none", "-i", servers.identity_file, "-l", servers.user]
    for option in options:
        shared += ["-o", option]

    def output_of(command: str, host: tuple[str, int]) -> str:
        address, port = host
        done = subprocess.run(  # noqa: S603 - the hosts are our own
            [*shared, "-p", str(port), address, command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"ssh ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    threads = ThreadPoolExecutor(FANOUT)
    return lambda command, count: list(threads.map(partial(output_of, command), servers.hosts[:count]))


def version() -> str:
    """What ssh says of itself, such as `OpenSSH_9.2p1`."""
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True)  # noqa: S607 - the user's own
    return said.stderr.partition(",")[0].split()[0]


if __name__ == "__main__":
    serve(prepare, version(), keeps_connections=False)
