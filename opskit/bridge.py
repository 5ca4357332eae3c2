"""One engine loop in one thread, and the ways for callers to wait for it: blocking, awaiting, painting meanwhile.

A synchronous call blocks on a future of the engine's loop, so nothing of the caller's loop is patched or nested; user
code never runs on the engine's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import math
import os
import queue
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_futures
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from opskit.asking import ask
from opskit.errors import PromptRefused

if sys.platform == "win32":
    from asyncio import ProactorEventLoop as SystemsLoop
else:
    from asyncio import SelectorEventLoop as SystemsLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

logger = logging.getLogger("opskit")

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


class Collector:
    """Python's garbage collector, held back while a run makes many objects that it would walk through for nothing.

    That is an eighth of the processor time of a run on 200 hosts. What holds it back is counted; it is given back when
    the last has ended, or after `LONGEST`, for a long run's caller goes on meanwhile.
    """

    LONGEST = 20.0
    THRESHOLDS = (50_000, 50, 50)

    def __init__(self) -> None:
        self._holders = 0
        self._before: tuple[int, int, int] | None = None

    async def around(self, work: Coroutine[Any, Any, T]) -> T:
        """Hold it back while this is awaited, on the engine's loop."""
        self._holders += 1
        if self._before is None and gc.isenabled() and gc.get_freeze_count() == 0:
            self._before = gc.get_threshold()
            gc.freeze()
            gc.set_threshold(*self.THRESHOLDS)
        late = asyncio.get_running_loop().call_later(self.LONGEST, self._give_back)
        try:
            return await work
        finally:
            late.cancel()
            self._holders -= 1
            if self._holders == 0:
                self._give_back()

    def _give_back(self) -> None:
        if self._before is not None:
            if gc.get_threshold() == self.THRESHOLDS:
                gc.set_threshold(*self._before)
            gc.unfreeze()
            self._before = None


collector = Collector()


def block(
    future: Future[T], tick: Callable[[], object], interrupted: Callable[[], object], timeout: float | None = None
) -> None:
    """Wait in the calling thread until the future is done, however it ended.

    Args:
        future: What to wait for.
        tick: Called about ten times a second.
        interrupted: Called on each KeyboardInterrupt; the wait goes on, since the end is near.
        timeout: Seconds after which to wait no more.

    Raises:
        KeyboardInterrupt: There was one; the future has ended.
    """
    interrupt: KeyboardInterrupt | None = None
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    waits = True
    while waits:
        try:  # around everything: an interrupt that slips through would be waited for without an end being asked for
            while not future.done() and time.monotonic() < deadline:
                wait_for_futures([future], timeout=max(0.0, min(TICK_SECONDS, deadline - time.monotonic())))
                tick()
            waits = False
        except KeyboardInterrupt as error:
            interrupt, deadline = error, math.inf
            interrupted()
    if interrupt is not None:
        raise interrupt


async def awaiting(future: Future[T], tick: Callable[[], object], cancelled: Callable[[], object]) -> None:
    """Wait on the caller's own loop, as `block` does in a thread; a cancelled caller waits for the end it asked for."""
    wrapped = asyncio.wrap_future(future)
    cancellation: asyncio.CancelledError | None = None
    while not wrapped.done():
        try:
            await asyncio.wait([wrapped], timeout=TICK_SECONDS)
            tick()
        except asyncio.CancelledError as error:
            cancellation = error
            cancelled()
    wrapped.exception()  # what it came to is told by `future`; asyncio must not miss a reader
    if cancellation is not None:
        raise cancellation


def harmless(show: Callable[[], object]) -> Callable[[], None]:
    """What is shown of a run must not end the wait for it: reported once if it raises, and then called no more."""
    shows = True

    def call() -> None:
        nonlocal shows
        if shows:
            try:
                show()
            except Exception as error:  # noqa: BLE001 - whatever a display can do
                shows = False
                logger.warning("opskit: progress is not shown any more: %s: %s", type(error).__name__, error)

    return call


class UserThread:
    """Runs the user's callbacks one after the other, in a thread that carries the caller's context.

    A callback that raises, or falls too far behind, is reported once and dropped; what it is called for goes on.
    """

    FURTHEST_BEHIND = 32 * 1024 * 1024
    """How much text may wait, in characters; each call counts as `CALL` more."""

    CALL = 300
    SECONDS_TO_CATCH_UP = 10.0

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[..., object], tuple[object, ...]] | None] = queue.SimpleQueue()
        self._dropped: list[Callable[..., object]] = []
        self._given = self._made = 0  # one is counted by who calls, the other by the thread: their difference waits
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._work,), name="opskit-callbacks", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function soon; returns at once."""
        if self._is_dropped(function):
            return
        if self._given - self._made > self.FURTHEST_BEHIND:
            self._drop(function, "it is too slow")
            return
        self._given += self._weight(arguments)
        self._calls.put((function, arguments))

    def close(self) -> None:
        """Take no more calls; the thread ends when it has made those that it has."""
        self._calls.put(None)

    def finish(self) -> None:
        """Wait until all calls were made; a callback that needs too long for that is dropped."""
        self.close()
        self._thread.join(self.SECONDS_TO_CATCH_UP)
        if self._thread.is_alive():
            logger.warning(
                "opskit: a callback did not catch up within %g s; the rest is left out", self.SECONDS_TO_CATCH_UP
            )
            with contextlib.suppress(queue.Empty):
                while True:
                    self._calls.get_nowait()
            self._calls.put(None)

    def _work(self) -> None:
        while (entry := self._calls.get()) is not None:
            function, arguments = entry
            self._made += self._weight(arguments)
            if self._is_dropped(function):
                continue
            try:
                function(*arguments)
            except BaseException as error:  # noqa: BLE001 - whatever the user's code raises; this thread ends by `finish`
                self._drop(function, f"it raised {type(error).__name__}: {error}")

    def _weight(self, arguments: tuple[object, ...]) -> int:
        return self.CALL + sum(len(text) for argument in arguments if isinstance(text := _text_of(argument), str))

    def _is_dropped(self, function: Callable[..., object]) -> bool:
        """By identity: a callable need not be hashable, and may be equal to another."""
        return any(dropped is function for dropped in self._dropped)

    def _drop(self, function: Callable[..., object], why: str) -> None:
        self._dropped.append(function)
        logger.warning("opskit: %s is not called any more: %s", getattr(function, "__qualname__", function), why)


def _text_of(argument: object) -> object:
    """What makes an argument large: a line of output, or the event that tells of one."""
    return getattr(argument, "text", argument)


class Questions:
    """What a person is asked while a run goes on: it comes up on the engine's loop, and is asked where is waited.

    Args:
        expected: Whether somebody is about to wait: what comes up before is kept for them.
    """

    def __init__(self, *, expected: bool = False) -> None:
        self._expected = expected
        self._asked: queue.SimpleQueue[tuple[str, str, Future[str]]] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._listeners = 0

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Somebody waits, and calls `answer` now and then. What is not answered in the end is refused."""
        with self._guard:
            self._expected = False
            self._listeners += 1
        try:
            yield
        finally:
            with self._guard:
                self._listeners -= 1
                if not self._listeners:
                    self._each(lambda question, remedy, answer: answer.set_exception(_unheard(question, remedy)))

    async def ask(self, question: str, remedy: str) -> str:
        """Wait on the engine's loop for an answer; raises PromptRefused where nobody waits for the run."""
        answer: Future[str] = Future()
        with self._guard:
            if not self._listeners and not self._expected:
                raise _unheard(question, remedy)
            self._asked.put((question, remedy, answer))
        return await asyncio.wrap_future(answer)

    def answer(self) -> None:
        """Ask what has come up, in the calling thread."""
        self._each(_answer)

    def _each(self, settle: Callable[[str, str, Future[str]], object]) -> None:
        """Settle every question that still wants an answer; others may do so at the same time."""
        with contextlib.suppress(queue.Empty):
            while True:
                question, remedy, answer = self._asked.get_nowait()
                if answer.set_running_or_notify_cancel():
                    settle(question, remedy, answer)


def _answer(question: str, remedy: str, answer: Future[str]) -> None:
    try:
        answer.set_result(ask(question, hidden=True, remedy=remedy))
    except PromptRefused as error:
        answer.set_exception(error)
    except BaseException:
        answer.set_exception(PromptRefused(f"{question.strip(' :')}: not answered; {remedy}"))
        raise


def _unheard(question: str, remedy: str) -> PromptRefused:
    return PromptRefused(f"nobody waits for this run who could answer: {question.strip(' :')}; {remedy}")


_engine: EngineLoop | None = None
_guard = threading.Lock()


def engine() -> EngineLoop:
    """The process's engine loop; a new one if its thread died, or after a fork."""
    global _engine  # noqa: PLW0603 - one loop a process is the point
    with _guard:
        if _engine is None or not _engine.usable:
            _engine = EngineLoop()
        return _engine
