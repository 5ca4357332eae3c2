"""The event loop on which the `async` tasks of one session run: never the engine's, never the caller's."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable


class TaskLoop:
    """A loop in a daemon thread of its own, started when it is first needed."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] | None = None

    def finish(self, awaitable: Awaitable[object]) -> None:
        """Await something on the loop, in a copy of the caller's context, and wait for that; raises what it raises."""
        with self._guard:
            if self._begun is None:
                self._begun = Future()
                threading.Thread(
                    target=asyncio.run, args=(_served(self._begun),), name="opskit-async-tasks", daemon=True
                ).start()
        loop, _ = self._begun.result()
        error = asyncio.run_coroutine_threadsafe(_outcome(awaitable), loop).result()
        if error is not None:
            raise error

    def close(self) -> None:
        """End the loop, and cancel what tasks have left on it."""
        if self._begun is not None:
            loop, over = self._begun.result()
            loop.call_soon_threadsafe(over.set)


async def _served(begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    over = asyncio.Event()
    begun.set_result((asyncio.get_running_loop(), over))
    await over.wait()


async def _outcome(awaitable: Awaitable[Any]) -> BaseException | None:
    """What it raised, also what would end the loop if it came out, such as SystemExit."""
    try:
        await awaitable
    except BaseException as error:  # noqa: BLE001 - a task's failure, whatever it is
        return error
    return None
