"""How the tests of the embedded fleet log in to its hosts, with asyncssh alone."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Any

import asyncssh
import yaml

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opskit.fleetlab import Fleet

PATIENCE = 20
"""Seconds until a test that hangs has failed."""


async def connect(fleet: Fleet, host: str = "app1", **options: Any) -> asyncssh.SSHClientConnection:
    """Log in to one host as its inventory says."""
    inventory = yaml.safe_load(fleet.path.read_text())
    defaults, entry = inventory["defaults"], inventory["hosts"][host]
    settings = {
        "username": defaults["user"],
        "client_keys": defaults["vars"]["identity_files"],
        "known_hosts": defaults["vars"]["known_hosts"],
        "agent_path": None,
        "config": None,
        **options,
    }
    return await asyncssh.connect(entry["address"], entry["port"], **settings)


def run(fleet: Fleet, command: str, host: str = "app1", **options: Any) -> asyncssh.SSHCompletedProcess:
    """Run one command on one host, on a connection of its own."""

    async def once() -> asyncssh.SSHCompletedProcess:
        connection = await connect(fleet, host)
        try:
            return await connection.run(command, **options)
        finally:
            connection.abort()

    return asyncio.run(asyncio.wait_for(once(), PATIENCE))


def on_connection(fleet: Fleet, act: Callable[[asyncssh.SSHClientConnection], Awaitable[None]]) -> None:
    """Do something with a connection to app1."""

    async def once() -> None:
        async with await connect(fleet) as connection:
            await act(connection)

    asyncio.run(asyncio.wait_for(once(), PATIENCE))


def ended(descriptor: int, seconds: float) -> bool:
    """Wait at most so long for the process of a pidfd to end."""
    return bool(select.select([descriptor], [], [], seconds)[0])


def server_pid(fleet: Fleet) -> int:
    """Give the server process's pid: it is the parent of every command."""
    return int(str(run(fleet, "echo $PPID").stdout))
