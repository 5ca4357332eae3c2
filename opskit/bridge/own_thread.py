"""A thread for one call of the user's code: it may block for ever, and may call opskit, without holding anything up."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from opskit.rendering.escape import one_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opskit.results import Results

T = TypeVar("T")


async def in_own_thread(function: Callable[[], T]) -> T:
    """Call a function in a daemon thread, and await what it returns. Who is cancelled waits no more; the call goes on.

    Not in the event loop's own threads: there are few of them, opskit needs them itself, and Python waits for them
    when it ends.
    """
    outcome: Future[T] = Future()

    def call() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            outcome.set_exception(error)

    outcome.set_running_or_notify_cancel()
    try:
        threading.Thread(target=call, name="opskit-user", daemon=True).start()
    except RuntimeError:  # Python 3.12 begins none when it ends, and a rollback may be finished then
        asyncio.get_running_loop().run_in_executor(None, call)
    return await asyncio.wrap_future(outcome)


def why_not_passing(check: Callable[[Results], object]) -> Callable[[Results], Awaitable[str | None]]:
    """A caller's check, to be called in a thread with the caller's context: None if it passes, else why not."""
    context = copy_context()

    def why_not(results: Results) -> str | None:
        name = getattr(check, "__qualname__", repr(check))
        try:
            answer = context.run(check, results)
            return None if answer else f"{name} gave {one_line(repr(answer), 80)}"
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises: to leave would end the engine
            return f"{name} raised {type(error).__name__}: {error}"

    async def judged(results: Results) -> str | None:
        return await in_own_thread(partial(why_not, results))

    return judged
