"""A TCP proxy that breaks connections where a test wants it, and servers that are none."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

Direction = Literal["up", "down"]


class Proxy:
    """Passes connections on to a server, as a context manager.

    Args:
        address, port: The server.
        watch: Called with each piece before it is passed on, `up` to the server or `down` from it; a piece for which
            it returns False goes nowhere, and its connection is reset on both sides.
        most: How many connections are passed on; what comes later is accepted and hears nothing.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        connections: How many came.
    """

    def __init__(
        self,
        address: str,
        port: int,
        watch: Callable[[Direction, bytes], bool] = lambda _direction, _piece: True,
        most: int = 1000,
    ) -> None:
        self._server = (address, port)
        self._most = most
        self.watch = watch
        self.connections = 0
        self._sockets: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listening.close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._sockets.append(client)
                self.connections += 1
                if self.connections <= self._most:
                    server = socket.create_connection(self._server)
                    self._sockets.append(server)
                    self._start("up", client, server)
                    self._start("down", server, client)

    def _start(self, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        thread = threading.Thread(target=self._pass_on, args=(direction, source, sink))
        self._threads.append(thread)
        thread.start()

    def _pass_on(self, direction: Direction, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(4096):
                if not self.watch(direction, piece):
                    reset(source, sink)
                    return
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)


def reset(*sockets: socket.socket) -> None:
    """End connections as a crash does, also for who waits in another thread."""
    for one in sockets:
        with suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.shutdown(socket.SHUT_RD)
            one.close()


@contextmanager
def server(says: bytes = b"", *, for_ever: bool = False) -> Iterator[int]:
    """Give the port of a server on 127.0.0.1 that says this to all who come and hangs up, or says it for ever.

    With nothing to say it accepts and stays silent.
    """
    listening = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        with suppress(OSError), ExitStack() as stack:
            while True:
                client = stack.enter_context(listening.accept()[0])
                if says:
                    with suppress(OSError), client:
                        client.sendall(says)
                        while for_ever:
                            client.sendall(says)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        listening.close()
