"""paramiko, a client for each host, in threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import paramiko  # type: ignore[import-untyped]  # is in the peers' environment

from benchmarks.protocol import FANOUT, serve

if TYPE_CHECKING:
    from benchmarks.protocol import Run, Servers


def prepare(servers: Servers) -> Run:
    """Read the key and the known hosts, once for all clients."""
    identity = paramiko.Ed25519Key.from_private_key_file(servers.identity_file)
    known_hosts = paramiko.HostKeys(servers.known_hosts)
    clients: dict[tuple[str, int], Any] = {}

    def client_of(host: tuple[str, int]) -> Any:
        address, port = host
        client = paramiko.SSHClient()
        name = f"[{address}]:{port}"
        for kind, key in known_hosts.lookup(name).items():
            client.get_host_keys().add(name, kind, key)
        client.connect(address, port, servers.user, pkey=identity, allow_agent=False, look_for_keys=False)
        return client

    def output_of(command: str, host: tuple[str, int]) -> str:
        if host not in clients:
            clients[host] = client_of(host)
        _, stdout, _ = clients[host].exec_command(command)
        return str(stdout.read(), "utf-8")

    threads = ThreadPoolExecutor(FANOUT)
    return lambda command, count: list(threads.map(partial(output_of, command), servers.hosts[:count]))


if __name__ == "__main__":
    serve(prepare, f"paramiko {version('paramiko')}")
