"""The user's own tasks on a kernel's loop go on while a cell waits: for `block`; the only importer of nest-asyncio2.

That patches the class of the loop, so the kernel's loop is of a subclass of its own for as long as it is waited in; the
engine's loop, and asyncio's classes and functions, stay as they are. Queued cells stay queued: in ipykernel 6 the task
that would run them is the cell's own; in ipykernel 7 they want a lock that the cell has, or a Context that it has
entered, for which nest-asyncio2 defers them.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from concurrent.futures import wait as wait_for_futures
from contextlib import contextmanager, suppress
from functools import partial
from inspect import getattr_static
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from types import FrameType

_CELL_PACKAGE: Final = "ipykernel"
"""In whose task a cell runs, unless it awaits something: then in one of IPython's, which may be cancelled meanwhile (by
`asyncio.timeout`, say), and the kernel with it as soon as it awaits again."""

_KERNEL_PACKAGES: Final = {_CELL_PACKAGE, "IPython", "tornado", "zmq", "jupyter_client"}
"""Whose tasks are on a kernel's loop if the user has none."""

_USUAL_RUN_ONCE: Final = getattr_static(asyncio.BaseEventLoop, "_run_once")
"""How a loop that can be nested runs what is ready, unless nest-asyncio2 has patched it before."""

_STUCK_SECONDS: Final = 1.0
"""How much longer than it should a wait may take before an interrupt ends what holds it up."""


def waiting(future: Future[Any]) -> Callable[[float], object]:
    """How the calling thread is to wait for the future to end, some seconds at most; it raises KeyboardInterrupt only.

    Tasks of the user's that a cell would hold up go on, and what they start; what is no task (a server without
    `serve_forever`, a callback that another thread gives to the loop) only if there is one. The thread just blocks if
    there is none, in a cell that awaits, outside a kernel's main thread, on a loop that is not asyncio's, and on one
    that nest_asyncio has patched, which loses messages.
    """
    loop = _loop_held_up()
    return partial(wait_for_futures, [future]) if loop is None else _NestedWait(future, loop).wait


class _NestedWait:
    """A wait for a future in a cell whose loop goes on."""

    def __init__(self, future: Future[Any], loop: Any) -> None:
        self._future, self._loop, self._run = future, loop, _reentrant(loop)
        self._turn = loop.create_future()  # a task could be cancelled by the user's
        self._failed = False
        future.add_done_callback(self._end)

    def _end(self, _: object) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody waits on it any more
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._turn.done():
            self._turn.set_result(None)

    def wait(self, seconds: float) -> None:
        """Let the loop go on until the future has ended, for some seconds at most."""
        if not self._failed:
            self._turn = self._loop.create_future()
            self._loop.call_later(seconds, self._wake)
            try:
                with _interrupts_later(seconds + _STUCK_SECONDS):
                    self._run(self._turn)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 - the loop's own, which gets it when the cell has ended
                self._failed = True
                if not self._loop._stopping:  # noqa: SLF001 - asyncio tells it nowhere else
                    self._loop.call_soon(_raise, error)
        if self._failed:
            wait_for_futures([self._future], seconds)


def _raise(error: BaseException) -> None:
    raise error


def _loop_held_up() -> Any:
    """The loop that runs in this thread, if a cell blocks it, if it has tasks of the user's, and if it can go on."""
    if threading.current_thread() is not threading.main_thread():
        return None  # interrupts come in the main thread alone, and so do the user's tasks
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:
        return None
    cell = asyncio.current_task()
    if cell is None or _origin(cell) != _CELL_PACKAGE or not isinstance(loop, asyncio.BaseEventLoop):
        return None
    if not callable(signal.getsignal(signal.SIGINT)):
        return None  # an interrupt could not be kept for later
    if getattr_static(loop, "_run_once") is not _USUAL_RUN_ONCE and not hasattr(loop, "_nest_asyncio2"):
        return None
    return loop if any(_origin(task) not in _KERNEL_PACKAGES for task in asyncio.all_tasks(loop)) else None


def _origin(task: asyncio.Task[Any]) -> str:
    """The package whose coroutine the task runs, `__main__` for a cell's."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return "" if frame is None else str(frame.f_globals.get("__name__")).partition(".")[0]


def _reentrant(loop: Any) -> Callable[[asyncio.Future[None]], object]:
    """What runs the loop until a future is done, called by what the loop runs."""
    import nest_asyncio2  # type: ignore[import-untyped]  # it has no types

    usual: Any = type(loop)
    nested: Any = type(usual.__name__, (usual,), {})
    loop.__class__ = nested
    try:
        nest_asyncio2._patch_loop(loop)  # noqa: SLF001 - its `apply` would patch all of asyncio, for good
    finally:
        loop.__class__ = usual
    run_until_complete = nested.run_until_complete
    for name in ("run_forever", "run_until_complete", "_check_running"):
        setattr(nested, name, getattr(usual, name))  # the user's tasks may not nest it, as at any other time

    def run(turn: asyncio.Future[None]) -> None:
        ready = loop._ready  # noqa: SLF001 - asyncio tells it nowhere else
        count = len(ready)
        loop.__class__ = nested
        try:
            run_until_complete(loop, turn)
        finally:
            loop.__class__ = usual
            while len(ready) < count:  # the loop's outer run has counted them before, and takes as many
                loop.call_soon(int)

    return run


@contextmanager
def _interrupts_later(seconds: float) -> Iterator[None]:
    """Raise an interrupt at the end: in the midst it would end a task of the user's, or lose a message.

    One that comes when more than these seconds are over ends what is stuck: it is raised there, too.
    """
    interrupts: list[int] = []
    handler: Any = signal.getsignal(signal.SIGINT)
    patience = time.monotonic() + seconds

    def keep(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        if time.monotonic() > patience:
            handler(number, frame)

    signal.signal(signal.SIGINT, keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if interrupts:
            signal.raise_signal(signal.SIGINT)
