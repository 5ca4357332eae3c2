"""Which way a host is reached: decided by its address, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opskit.transport.local import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractAsyncContextManager

    from opskit.engine.ports import Connection, Transport
    from opskit.fleet import Host
    from opskit.work.plan import Step


class Router:
    """A transport that hands each host to the right one."""

    def __init__(self, ssh: Transport, local: Transport) -> None:
        self._ssh = ssh
        self._local = local

    async def prepare(self, steps: Iterable[Step]) -> None:
        """Make every way ready that these steps need."""
        here: list[Step] = []
        there: list[Step] = []
        for step in steps:
            (here if step.host.address == ADDRESS else there).append(step)
        await self._local.prepare(here)
        await self._ssh.prepare(there)

    def connection(self, host: Host, connect_timeout: float) -> AbstractAsyncContextManager[Connection]:
        """Open a way to the host."""
        return (self._local if host.address == ADDRESS else self._ssh).connection(host, connect_timeout)
