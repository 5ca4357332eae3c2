"""parallel-ssh with its native client, on libssh2 and gevent. It checks no host keys."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from pssh.clients import ParallelSSHClient  # type: ignore[import-not-found]  # is in the peers' environment
from pssh.config import HostConfig  # type: ignore[import-not-found]  # as above

from benchmarks.protocol import FANOUT, serve

if TYPE_CHECKING:
    from benchmarks.protocol import Run, Servers


def prepare(servers: Servers) -> Run:
    """Make the client of all hosts."""
    addresses = [address for address, _ in servers.hosts]
    client = ParallelSSHClient(
        addresses,
        host_config=[HostConfig(port=port) for _, port in servers.hosts],
        user=servers.user,
        pkey=servers.identity_file,
        pool_size=FANOUT,
        allow_agent=False,
        identity_auth=False,
    )

    def run(command: str, count: int) -> list[str]:
        client.hosts = addresses[:count]
        # Its outputs are lines without their ends.
        return ["".join(f"{line}\n" for line in output.stdout) for output in client.run_command(command)]

    return run


if __name__ == "__main__":
    serve(prepare, f"parallel-ssh {version('parallel-ssh')}")
