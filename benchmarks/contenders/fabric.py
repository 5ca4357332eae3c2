"""Fabric's own way to many hosts: a `ThreadingGroup`, which starts a thread for each of them."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import fabric  # type: ignore[import-not-found]  # is in the peers' environment
import paramiko  # type: ignore[import-untyped]  # as above

from benchmarks.protocol import serve

if TYPE_CHECKING:
    from benchmarks.protocol import Run, Servers


def prepare(servers: Servers) -> Run:
    """Make the connections, not yet opened; the key and the known hosts are read once for all."""
    identity = paramiko.Ed25519Key.from_private_key_file(servers.identity_file)
    known_hosts = paramiko.HostKeys(servers.known_hosts)
    config = fabric.Config(overrides={"load_ssh_configs": False})
    keys = {"pkey": identity, "allow_agent": False, "look_for_keys": False}

    def connection_to(address: str, port: int) -> Any:
        connection = fabric.Connection(address, servers.user, port, config=config, connect_kwargs=keys)
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        name = f"[{address}]:{port}"
        for kind, key in known_hosts.lookup(name).items():
            connection.client.get_host_keys().add(name, kind, key)
        return connection

    connections = [connection_to(address, port) for address, port in servers.hosts]

    def run(command: str, count: int) -> list[str]:
        group = fabric.ThreadingGroup.from_connections(connections[:count])
        results = group.run(command, hide=True, in_stream=False)
        return [results[connection].stdout for connection in connections[:count]]

    return run


if __name__ == "__main__":
    serve(prepare, f"Fabric {version('fabric')}")
