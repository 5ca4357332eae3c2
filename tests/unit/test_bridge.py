"""The engine's loop in its thread, the ways to wait for it, and the thread of the user's callbacks."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

import pytest

from opskit import bridge
from opskit.bridge import EngineLoop, awaiting, block, engine
from opskit.bridge.callbacks import UserThread

if TYPE_CHECKING:
    from collections.abc import Callable

colour = contextvars.ContextVar("colour", default="none")


def nothing() -> None:
    """Do nothing."""


async def answer(value: int) -> int:
    """Come back on the loop."""
    await asyncio.sleep(0)
    return value


def test_there_is_one_engine_and_it_runs_in_a_thread_of_its_own() -> None:
    """Every caller gets the same loop; code on it knows where it is."""
    found = engine()
    assert engine() is found
    assert found.usable
    assert not found.is_here()
    assert found.submit(in_thread(found)).result(5) == (True, "opskit-engine")


async def in_thread(found: EngineLoop) -> tuple[bool, str]:
    """Tell where this runs."""
    return found.is_here(), threading.current_thread().name


def test_threads_that_ask_at_the_same_time_get_the_same_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many callers come first, one engine is made."""
    monkeypatch.setattr(bridge, "_engine", None)
    barrier = threading.Barrier(8)
    found: list[EngineLoop] = []

    def ask() -> None:
        barrier.wait()
        found.append(engine())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(loop) for loop in found}) == 1
    stop(found[0])


def stop(loop: EngineLoop) -> None:
    """End an engine's thread, and close its loop."""
    loop.call(loop._loop.stop)
    loop._thread.join()
    loop._loop.close()


def test_an_engine_whose_thread_died_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """F31, R9: the next call gets a new loop that works."""
    dead = EngineLoop()
    stop(dead)
    monkeypatch.setattr(bridge, "_engine", dead)
    assert not dead.usable
    found = engine()
    assert found is not dead
    assert found.submit(answer(3)).result(5) == 3
    stop(found)


def test_an_engine_of_another_process_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """F44: what a fork left in the child is no engine there."""
    parents = EngineLoop()
    parents._process += 1
    monkeypatch.setattr(bridge, "_engine", parents)
    found = engine()
    assert found is not parents
    stop(found)
    stop(parents)


def test_block_waits_and_paints_meanwhile() -> None:
    """The calling thread waits for the result; `tick` is called in it again and again."""
    painted: list[str] = []
    future: Future[int] = Future()

    def tick() -> None:
        painted.append(threading.current_thread().name)
        if len(painted) == 3:
            future.set_result(5)

    block(future, tick, nothing)
    assert future.result() == 5
    assert painted == ["MainThread"] * 3


def test_waiting_leaves_the_outcome_to_who_asks() -> None:
    """Both ways to wait end when the future does, whatever it came to, and raise nothing of it."""
    future: Future[int] = Future()
    future.set_exception(ZeroDivisionError("no"))
    block(future, nothing, nothing)
    asyncio.run(awaiting(future, nothing, nothing))
    assert isinstance(future.exception(), ZeroDivisionError)


def test_who_waits_need_not_be_told_anything() -> None:
    """Both ways to wait go on to the end if nobody is called meanwhile, neither at an interrupt nor at a cancel."""
    blocked, awaited = Future[int](), Future[int]()
    threading.Timer(0.03, signal.raise_signal, [signal.SIGINT]).start()
    threading.Timer(0.06, blocked.set_result, [1]).start()
    with pytest.raises(KeyboardInterrupt):
        block(blocked)
    assert blocked.done()

    async def cancel_it() -> None:
        task = asyncio.ensure_future(awaiting(awaited))
        asyncio.get_running_loop().call_later(0.03, task.cancel)
        asyncio.get_running_loop().call_later(0.06, awaited.set_result, 1)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert awaited.done()

    asyncio.run(cancel_it())


def test_an_interrupt_asks_for_the_end_and_waits_for_it() -> None:
    """R8: each interrupt is passed on; KeyboardInterrupt comes when the run has ended, and not before."""
    future: Future[int] = Future()
    interrupts: list[bool] = []

    def interrupted() -> None:
        interrupts.append(future.done())
        if len(interrupts) == 2:
            future.set_result(1)

    with pytest.raises(KeyboardInterrupt):
        block(future, lambda: signal.raise_signal(signal.SIGINT), interrupted)
    assert interrupts == [False, False]
    assert future.done()


def test_awaiting_lets_the_callers_own_tasks_go_on() -> None:
    """The caller's loop stays alive: its own task is what brings the result."""

    async def both() -> int:
        future: Future[int] = Future()

        async def own() -> None:
            await asyncio.sleep(0)
            future.set_result(9)

        task = asyncio.ensure_future(own())
        await awaiting(future, nothing, nothing)
        await task
        return future.result()

    assert asyncio.run(both()) == 9


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_task_asks_for_the_end_and_waits_for_it(*, fails: bool) -> None:
    """Each cancel is passed on; CancelledError comes when the run has ended, and no exception is left unread."""
    complaints: list[object] = []

    def cancel_one() -> None:
        future: Future[int] = Future()

        def cancelled() -> None:
            if fails:
                future.set_exception(ZeroDivisionError("no"))
            else:
                future.set_result(1)

        async def cancel_it() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            task = asyncio.ensure_future(awaiting(future, nothing, cancelled))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(cancel_it())
        assert future.done()

    cancel_one()
    gc.collect()  # asyncio complains when a future is thrown away whose exception nobody read
    assert complaints == []


def test_callbacks_are_called_in_order_in_one_thread_with_the_callers_context() -> None:
    """They run one after the other, outside of the caller's thread, and see its context variables."""
    token = colour.set("blue")
    calls: list[tuple[int, str, str]] = []
    thread = UserThread()
    colour.reset(token)
    for number in range(200):
        thread.call(lambda number: calls.append((number, colour.get(), threading.current_thread().name)), number)
    thread.finish()
    assert calls == [(number, "blue", "opskit-callbacks") for number in range(200)]


def raises_error(*told: object) -> None:
    """Raise what users' code raises."""
    raise ValueError("no")


def raises_exit(*told: object) -> None:
    """Try to leave."""
    raise SystemExit(3)


@pytest.mark.parametrize("broken", [raises_error, raises_exit])
def test_a_callback_that_raises_is_reported_once_and_dropped(
    broken: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:
    """A34, F27: also one that tries to leave; the callbacks of others are still called."""
    heard: list[int] = []
    thread = UserThread()
    for number in range(3):
        thread.call(broken, number)
        thread.call(heard.append, number)
    thread.finish()
    assert heard == [0, 1, 2]
    assert len(caplog.records) == 1
    assert f"{broken.__qualname__} is not called any more: it raised" in caplog.text


def test_a_callable_object_that_has_no_hash_works() -> None:
    """Callables need not be hashable, nor unequal to others."""

    class Same:
        __hash__ = None  # type: ignore[assignment]

        def __init__(self) -> None:
            self.heard = 0

        def __eq__(self, other: object) -> bool:
            return True

        def __call__(self, number: int) -> None:
            self.heard += 1
            if number == 13:
                raise ValueError

    thread, lucky, unlucky = UserThread(), Same(), Same()
    for number in (1, 13, 2):
        thread.call(unlucky, number)
    for number in (1, 2):
        thread.call(lucky, number)
    thread.finish()
    assert (unlucky.heard, lucky.heard) == (2, 2)


@pytest.mark.parametrize("text", ["", "x" * 1000])
def test_a_slow_callback_is_dropped_before_it_costs_too_much(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """F27: what waits for a slow callback is bounded, by its calls and by its text; `call` never blocks."""
    thread = UserThread()
    thread.FURTHEST_BEHIND = 10_000
    begun, go_on = threading.Event(), threading.Event()
    calls: list[str] = []

    def slow(text: str) -> None:
        calls.append(text)
        begun.set()
        go_on.wait()

    thread.call(slow, text)
    assert begun.wait(5)
    for _ in range(100):
        thread.call(slow, text)
    assert "slow is not called any more: it is too slow" in caplog.text
    assert thread._calls.qsize() <= 10_000 / (thread.CALL + len(text)) + 1
    go_on.set()
    thread.finish()
    assert len(calls) == 1
    assert len(caplog.records) == 1


def test_finish_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that does not come back is given up with a warning, and what waited behind it is not called."""
    thread = UserThread()
    thread.SECONDS_TO_CATCH_UP = 0.05
    go_on = threading.Event()
    calls: list[int] = []
    thread.call(go_on.wait)
    thread.call(calls.append, 1)
    thread.finish()
    assert "did not catch up within 0.05 s" in caplog.text
    go_on.set()
    thread._thread.join(5)
    assert not thread._thread.is_alive()
    assert calls == []


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at what is painted here."""
    monkeypatch.setattr(bridge, "TICK_SECONDS", 0.01)
