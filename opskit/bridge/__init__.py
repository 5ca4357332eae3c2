"""The caller's side of the engine: its loop in one thread, and the ways to wait for it.

A synchronous call blocks on a future of the engine's loop, so nothing of the caller's loop is patched or nested, except
where the wait would hold up the user's own tasks (see `nesting`); user code never runs on the engine's loop.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Never, TypeVar

from opskit.bridge import nesting

if sys.platform == "win32":
    from asyncio import ProactorEventLoop as SystemsLoop
else:
    from asyncio import SelectorEventLoop as SystemsLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

TICK_SECONDS = 0.1

LOOKUPS = 256
"""How many names are looked up at once."""


class _Loop(SystemsLoop):
    """An event loop that looks names up in threads of their own, so that a slow resolver holds up nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._resolvers = ThreadPoolExecutor(LOOKUPS, "opskit-names")

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        return await self.run_in_executor(self._resolvers, partial(socket.getaddrinfo, host, port, **hints))


class EngineLoop:
    """An event loop in a daemon thread, started when it is first needed."""

    def __init__(self) -> None:
        self._loop = _Loop()
        self._thread = threading.Thread(target=self._run, name="opskit-engine", daemon=True)
        self._process = os.getpid()
        self._submitted: set[Future[Any]] = set()
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    @property
    def usable(self) -> bool:
        """Whether its thread runs, in this very process: a fork has the object without the thread."""
        return self._thread.is_alive() and self._process == os.getpid()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop; it goes on also if nobody keeps the future."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._submitted.add(future)
        future.add_done_callback(self._submitted.discard)
        return future

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the loop, soon."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def is_here(self) -> bool:
        """Whether the caller runs on this loop's own thread, where blocking would be for ever."""
        return threading.current_thread() is self._thread


_engine: EngineLoop | None = None
_guard = threading.Lock()


def engine() -> EngineLoop:
    """The process's engine loop; a new one if its thread died, or after a fork."""
    global _engine  # noqa: PLW0603 - one loop a process is the point
    with _guard:
        if _engine is None or not _engine.usable:
            _engine = EngineLoop()
        return _engine


def block(
    future: Future[T],
    tick: Callable[[], object] | None = None,
    interrupted: Callable[[], object] | None = None,
    timeout: float | None = None,
) -> None:
    """Wait in the calling thread until the future is done, however it ended.

    In a cell of a kernel the user's own tasks on its loop go on meanwhile, where `nesting.waiting` can give them that.

    Args:
        future: What to wait for.
        tick: Called about ten times a second.
        interrupted: Called on each KeyboardInterrupt; the wait goes on, since the end is near, unless it raises.
        timeout: Seconds after which to wait no more.

    Raises:
        KeyboardInterrupt: There was one; the future has ended.
    """
    interrupt: KeyboardInterrupt | None = None
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    waits = True
    while waits:
        try:  # around everything: an interrupt that slips through would be waited for without an end being asked for
            wait = nesting.waiting(future)
            while not future.done() and time.monotonic() < deadline:
                wait(max(0.0, min(TICK_SECONDS, deadline - time.monotonic())))
                if tick is not None:
                    tick()
            waits = False
        except KeyboardInterrupt as error:
            interrupt, deadline = error, math.inf
            if interrupted is not None:
                interrupted()
    if interrupt is not None:
        raise interrupt


def wait_no_more() -> Never:
    """What an interrupt does where what is waited for goes on without whoever waits: for `block`."""
    raise KeyboardInterrupt


async def awaiting(
    future: Future[T], tick: Callable[[], object] | None = None, cancelled: Callable[[], object] | None = None
) -> None:
    """Wait on the caller's own loop, as `block` does in a thread; a cancelled caller waits for the end it asked for."""
    wrapped = asyncio.wrap_future(future)
    cancellation: asyncio.CancelledError | None = None
    while not wrapped.done():
        try:
            await asyncio.wait([wrapped], timeout=TICK_SECONDS)
            if tick is not None:
                tick()
        except asyncio.CancelledError as error:
            cancellation = error
            if cancelled is not None:
                cancelled()
    wrapped.exception()  # what it came to is told by `future`; asyncio must not miss a reader
    if cancellation is not None:
        raise cancellation
