"""The yardstick: asyncssh alone, as lean as we know how. What can be made once is, and sessions are callbacks."""

from __future__ import annotations

import asyncio
import gc
from importlib.metadata import version
from typing import TYPE_CHECKING

import asyncssh

from benchmarks.protocol import FANOUT, serve

if TYPE_CHECKING:
    from benchmarks.protocol import Run, Servers


class Command(asyncssh.SSHClientSession[bytes]):
    """A command that runs: the pieces of its standard output, and its end."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Keep standard output."""
        if datatype is None:
            self.pieces.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The session is over, or the connection broke."""
        if exc is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(exc)


def prepare(servers: Servers) -> Run:
    """Read keys and known hosts and make one set of options for all connections."""
    options = asyncssh.SSHClientConnectionOptions(
        username=servers.user,
        client_keys=[asyncssh.read_private_key(servers.identity_file)],
        known_hosts=asyncssh.read_known_hosts(servers.known_hosts),
        preferred_auth="publickey",
        server_host_key_algs=["ssh-ed25519"],
        kex_algs=["curve25519-sha256"],
        encryption_algs=["aes128-gcm@openssh.com"],
        compression_algs=None,
        agent_path=None,
        config=None,
        gss_host=None,
        x509_trusted_certs=None,
    )
    connections: dict[int, asyncssh.SSHClientConnection] = {}

    async def output_of(number: int, command: str) -> str:
        connection = connections.get(number)
        if connection is None:
            address, port = servers.hosts[number]
            connection = connections[number] = await asyncssh.connect(address, port, config=None, options=options)
        running = Command()
        await connection.create_session(lambda: running, command, encoding=None)
        await running.ended
        return b"".join(running.pieces).decode()

    async def run(command: str, count: int) -> list[str]:
        outputs = [""] * count
        numbers = iter(range(count))

        async def work() -> None:
            for number in numbers:  # shared: each worker takes the next one
                outputs[number] = await output_of(number, command)

        await asyncio.gather(*(work() for _ in range(FANOUT)))
        return outputs

    runner = asyncio.Runner()
    runner.get_loop()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    return lambda command, count: runner.run(run(command, count))


if __name__ == "__main__":
    serve(prepare, f"asyncssh {version('asyncssh')}")
