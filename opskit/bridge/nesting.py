"""The user's own tasks on a kernel's loop go on while a cell waits: for `block`; the only importer of nest-asyncio2.

That patches the class of the loop, so the kernel's loop is of a subclass of its own for as long as it is waited in; the
engine's loop, and asyncio's classes and functions, stay as they are. Queued cells stay queued: in ipykernel 6 the task
that would run them is the cell's own or awaits it; in ipykernel 7 they want a lock that the cell has, or a Context that
it has entered, for which nest-asyncio2 defers them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from concurrent.futures import wait as wait_for_futures
from contextlib import contextmanager, suppress
from functools import partial
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

CELLS: Final = {"ipykernel", "IPython"}
"""The packages in whose coroutines cells run: the kernel's, or IPython's if they await something."""

KERNELS: Final = CELLS | {"tornado", "zmq", "jupyter_client"}
"""The packages whose tasks are on a kernel's loop if the user has none."""

ASYNCIOS: Final = getattr_static(asyncio.BaseEventLoop, "_run_once")
"""How a loop that can be nested runs what is ready, unless nest-asyncio2 has patched it before."""


def waiting(future: Future[Any]) -> Callable[[float], object]:
    """How the calling thread is to wait for the future to end, some seconds at most.

    Tasks of the user's that a cell would hold up go on. The thread just blocks where there are none, outside a kernel's
    main thread, on a loop that is not asyncio's, and on one that nest_asyncio has patched, which loses messages.
    """
    block = partial(wait_for_futures, [future])
    loop = _loop_held_up()
    if loop is None:
        return block
    reentrant = type(type(loop).__name__, (type(loop),), {})
    ended = loop.create_future()

    def end(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody waits on it any more
            loop.call_soon_threadsafe(ended.set_result, None)

    future.add_done_callback(end)

    def wait(seconds: float) -> None:
        try:
            with _interrupts_later(), _reentered(loop, reentrant):
                loop.run_until_complete(asyncio.wait([ended], timeout=seconds))
        except RuntimeError:  # the loop was stopped: the kernel is to end
            block(seconds)

    return wait


def _loop_held_up() -> Any:
    """The loop that runs in this thread, if a cell blocks it, if it has tasks of the user's, and if it can go on."""
    if threading.current_thread() is not threading.main_thread():
        return None  # interrupts come in the main thread alone, and so do the user's tasks
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:
        return None
    cell = asyncio.current_task()
    if cell is None or _origin(cell) not in CELLS or not isinstance(loop, asyncio.BaseEventLoop):
        return None
    if getattr_static(loop, "_run_once") is not ASYNCIOS and not hasattr(loop, "_nest_asyncio2"):
        return None
    return loop if any(_origin(task) not in KERNELS for task in asyncio.all_tasks(loop)) else None


def _origin(task: asyncio.Task[Any]) -> str:
    """The package whose coroutine the task runs, `__main__` for a cell's."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return "" if frame is None else str(frame.f_globals.get("__name__")).partition(".")[0]


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Raise an interrupt at the end: in the midst it would end a task of the user's, or lose a message."""
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if interrupts:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _reentered(loop: Any, reentrant: type[asyncio.BaseEventLoop]) -> Iterator[None]:
    """Let the loop be run by what it runs."""
    import nest_asyncio2  # type: ignore[import-untyped]  # it has no types

    usual, ready = type(loop), loop._ready  # noqa: SLF001 - asyncio tells it nowhere else
    count = len(ready)
    loop.__class__ = reentrant
    try:
        nest_asyncio2._patch_loop(loop)  # noqa: SLF001 - its `apply` would patch all of asyncio, for good
        yield
    finally:
        loop.__class__ = usual
        while len(ready) < count:  # the loop's outer run has counted them before, and takes as many
            loop.call_soon(int)
