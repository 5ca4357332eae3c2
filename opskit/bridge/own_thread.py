"""A thread for one call of the user's code: it may block for ever, and may call opskit, without holding anything up."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

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
    threading.Thread(target=call, name="opskit-user", daemon=True).start()
    return await asyncio.wrap_future(outcome)
