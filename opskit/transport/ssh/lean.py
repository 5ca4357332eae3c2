"""What asyncssh does for each connection and packet and nobody here has any use for, left out.

It was a sixth of what they cost. This leans on private parts of asyncssh; `pyproject.toml` says which versions will do.
"""

from __future__ import annotations

import asyncio
import logging
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncssh
from asyncssh.connection import _connect
from asyncssh.constants import MSG_IGNORE
from asyncssh.logging import SSHLogger

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_log = logging.getLogger("asyncssh")


async def connect(
    client: asyncssh.SSHClient,
    options: asyncssh.SSHClientConnectionOptions,
    host: str,
    port: int,
    sock: socket.socket | None = None,
    **own: object,
) -> asyncssh.SSHClientConnection:
    """Connect as `asyncssh.connect` does, which would make the options anew for each connection, in a thread.

    Args:
        client: Is told what happens.
        options: Those that this connection has in common with others; they stay as they are.
        host: Where to, by name or address.
        port: Its port.
        sock: A socket that leads there already.
        own: Options of this connection, as asyncssh calls them.
    """
    loop, options = asyncio.get_running_loop(), copy(options)
    vars(options).update(protocol_factory=lambda: client, orig_host=host, host=host, port=port, **own)

    def made() -> asyncssh.SSHClientConnection:
        return asyncssh.SSHClientConnection(loop, options, wait="auth")

    return await _connect(options, None, loop, 0, sock, made, "Opening SSH connection to")


class _Logger(SSHLogger):
    """asyncssh's logger, but it puts the words of a line together only if somebody reads it."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        if self.isEnabledFor(level):
            super().log(level, msg, *args, **kwargs)


def lean_connection(connection: Any) -> None:
    """Spare a connection, before anything is sent, the words of its log and its empty packets.

    asyncssh sends an empty packet ahead of each, which hides what the one before was chained to where the cipher is of
    the CBC kind (Bellare, Kohno and Namprempre 2002). opskit offers none of that kind.
    """
    lean_channel(connection)
    logger = _Logger(_log, context=connection.logger._context)  # noqa: SLF001 - there is no other way to it
    connection._logger = logger  # noqa: SLF001 - as above; channels make theirs of it
    connection.send_packet = partial(_send_packet, connection.send_packet)


def _send_packet(send: Callable[..., None], kind: int, *parts: bytes, handler: Any = None) -> None:
    if kind != MSG_IGNORE:
        send(kind, *parts, handler=handler)


def lean_channel(channel: Any) -> None:
    """Spare a channel, or a connection, its log of packets, unless somebody reads asyncssh's debugging."""
    if not _log.isEnabledFor(logging.DEBUG):
        channel.log_sent_packet = channel.log_received_packet = _nothing


def _nothing(*_: object) -> None:
    """Log nothing."""
