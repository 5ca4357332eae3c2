"""What goes on while a cell waits: the user's own tasks, and nothing of the kernel's; kernels are pretended here."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
from concurrent.futures import Future
from itertools import count
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from opskit import bridge
from opskit.bridge import block, nesting

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Cell = Callable[[], Coroutine[Any, Any, None]]

PATIENCE = 5.0
KERNEL, IPYTHON = "ipykernel.kernelbase", "IPython.core.interactiveshell"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at what is painted here."""
    monkeypatch.setattr(bridge, "TICK_SECONDS", 0.01)


class OthersLoop(asyncio.SelectorEventLoop):
    """A loop that runs what is ready in a way of its own, as one that nest_asyncio has patched."""

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]  # asyncio's own


def nothing() -> None:
    """Do nothing."""


def of(module: str, function: Cell) -> Cell:
    """The same function, as if it stood in this module."""
    names = {**function.__globals__, "__name__": module}
    return FunctionType(function.__code__, names, function.__name__, None, function.__closure__)


def ran(cell: Cell, module: str = KERNEL, loop: asyncio.AbstractEventLoop | None = None, *behind: Cell) -> None:
    """Run a cell as a kernel does, all its messages in one Context, and what is queued behind it."""
    loop, shared = loop or asyncio.SelectorEventLoop(), contextvars.copy_context()
    tasks = [loop.create_task(of(module, function)(), context=shared) for function in (cell, *behind)]
    try:
        for task in tasks:
            loop.run_until_complete(task)
    finally:
        while left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()


async def bringing(future: Future[None]) -> None:
    """A user's task whose steps bring what the cell waits for."""
    for _ in range(3):
        await asyncio.sleep(0.001)
    future.set_result(None)


def ending(future: Future[None]) -> Callable[[], None]:
    """What ends the wait for the future when it has been called a few times."""
    calls = count(1)
    return lambda: future.set_result(None) if next(calls) == 5 else None


async def idle() -> None:
    """A user's task that waits, for ever."""
    await asyncio.get_running_loop().create_future()


def test_the_users_tasks_go_on_while_a_cell_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what the tasks do ends the wait at once, before it is time to paint."""
    monkeypatch.setattr(bridge, "TICK_SECONDS", PATIENCE)
    took: list[float] = []

    async def cell() -> None:
        future: Future[None] = Future()
        task, began = asyncio.create_task(bringing(future)), time.monotonic()
        block(future, nothing, nothing, PATIENCE)
        took.append(time.monotonic() - began)
        assert future.done()
        await task

    ran(cell)
    assert took[0] < PATIENCE


def asyncios() -> list[object]:
    """What asyncio's modules, its policy and the classes of the engine's loop consist of."""
    kinds = [type(asyncio.get_event_loop_policy()), *type(bridge.engine()._loop).__mro__]
    return [dict(vars(each)) for each in (*kinds, asyncio, asyncio.tasks, asyncio.futures, asyncio.events)]


async def looking(future: Future[None], look: Callable[[], None]) -> None:
    """A user's task that looks at the loop while a cell waits."""
    look()
    future.set_result(None)


def test_asyncio_and_the_engines_loop_stay_as_they_are() -> None:
    """Meanwhile too; and the kernel's loop is what it was when the cell goes on."""
    found: list[list[object]] = []

    async def cell() -> None:
        future: Future[None] = Future()
        task = asyncio.create_task(looking(future, lambda: found.append(asyncios())))
        found.append(asyncios())
        block(future, nothing, nothing, PATIENCE)
        assert future.done()
        found.append(asyncios())
        assert type(asyncio.get_running_loop()) is asyncio.SelectorEventLoop
        await task

    ran(cell)
    assert len(found) == 3
    assert found[0] == found[1] == found[2]


async def no_tasks_cell() -> None:
    """A cell without any task of the user's: nothing of the loop goes on."""
    await asyncio.sleep(0)
    went_on: list[int] = []
    future: Future[None] = Future()
    asyncio.get_running_loop().call_soon(went_on.append, 1)
    block(future, lambda: future.set_result(None), nothing)
    assert went_on == []


async def other_cell() -> None:
    """A cell, or another caller, that blocks the loop as if there were no task of the user's."""
    future: Future[None] = Future()
    task = asyncio.create_task(bringing(future))
    ticks: list[int] = []
    block(future, lambda: ticks.append(1), nothing, 0.03)
    assert ticks
    assert not future.done()
    await task


async def uninterruptible_cell() -> None:
    """A cell in a process whose interrupts Python does not handle."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        await other_cell()
    finally:
        signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize(
    ("cell", "module", "kind"),
    [
        (no_tasks_cell, KERNEL, asyncio.SelectorEventLoop),
        (other_cell, "deploying", asyncio.SelectorEventLoop),
        (other_cell, IPYTHON, asyncio.SelectorEventLoop),
        (uninterruptible_cell, KERNEL, asyncio.SelectorEventLoop),
        (other_cell, KERNEL, OthersLoop),
    ],
    ids=["no tasks", "no cell", "a cell that awaits", "no interrupts", "a loop of others"],
)
def test_else_the_thread_just_blocks(cell: Cell, module: str, kind: type[asyncio.SelectorEventLoop]) -> None:
    """Without tasks of the user's, in one of these, and on loops that asyncio does not run, nothing is nested."""
    ran(cell, module, kind())


def test_a_cell_that_awaits_is_not_cancelled_while_it_waits() -> None:
    """Its time runs out meanwhile: a cancellation then would be the kernel's, as the cell can't hear of it."""
    cancelled: list[int] = []

    async def cell() -> None:
        running = asyncio.create_task(idle())
        async with asyncio.timeout(0.01):  # noqa: ASYNC100 - that it does nothing here is the point
            block(Future[None](), nothing, nothing, 0.03)
        task = asyncio.current_task()
        assert task is not None
        cancelled.append(task.cancelling())
        assert not running.done()

    ran(cell, IPYTHON)
    assert cancelled == [0]


def test_a_task_that_cancels_all_others_does_not_end_the_wait() -> None:
    """All but the cell's: there is no task of opskit's among them."""
    found: list[set[asyncio.Task[Any]]] = []

    async def cancelling(future: Future[None], cell: asyncio.Task[None] | None) -> None:
        others = asyncio.all_tasks() - {cell, asyncio.current_task()}
        found.append(others)
        for task in others:
            task.cancel()
        await bringing(future)

    async def cell() -> None:
        future: Future[None] = Future()
        users = [asyncio.create_task(cancelling(future, asyncio.current_task())), asyncio.create_task(idle())]
        block(future, nothing, nothing, PATIENCE)
        assert future.done()
        assert found == [{users[1]}]
        await users[0]

    ran(cell)


def test_a_task_that_would_end_the_loop_ends_it_after_the_cell() -> None:
    """The wait goes on to its end, and the loop gets what it would have got in any other cell."""
    future: Future[None] = Future()
    after: list[bool] = []

    async def leaving() -> None:
        raise SystemExit(3)

    async def cell() -> None:
        task = asyncio.create_task(leaving())
        block(future, ending(future), nothing, PATIENCE)
        after.append(task.done() and future.done())
        await asyncio.sleep(PATIENCE)

    with pytest.raises(SystemExit):
        ran(cell)
    assert after == [True]


class BrokenLoop(asyncio.SelectorEventLoop):
    """A loop that fails once while it is nested, and tells of it to a list."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []
        self.fails = False
        self.set_exception_handler(lambda _, context: self.told.append(context["exception"]))

    def _process_events(self, events: list[Any]) -> None:
        if self.fails:
            raise RuntimeError("broken")
        super()._process_events(events)  # type: ignore[misc]  # asyncio's own


def test_a_loop_that_fails_is_waited_in_no_more_and_tells_it() -> None:
    """Once, and the wait goes on to its end."""
    loop, future = BrokenLoop(), Future[None]()

    async def cell() -> None:
        task = asyncio.create_task(idle())
        loop.fails = True
        block(future, ending(future), nothing, PATIENCE)
        loop.fails = False
        assert future.done()
        await asyncio.sleep(0)
        assert not task.done()

    ran(cell, KERNEL, loop)
    assert [str(error) for error in loop.told] == ["broken"]


def test_the_users_tasks_may_run_the_loop_as_little_as_ever() -> None:
    """What a task tries fails as it does when no cell waits."""

    async def running(future: Future[None]) -> None:
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        ended.set_result(None)
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_until_complete(ended)
        future.set_result(None)

    async def cell() -> None:
        future: Future[None] = Future()
        task = asyncio.create_task(running(future))
        block(future, nothing, nothing, PATIENCE)
        assert future.done()
        await task

    ran(cell)


def test_a_loop_of_another_thread_is_not_nested() -> None:
    """A kernel's subshells are threads, where no interrupt comes."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            ran(other_cell)
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == []


def test_what_is_queued_behind_a_cell_runs_after_it_and_in_its_turn() -> None:
    """Each once, in the order in which it came; also what comes while the user's task goes on."""
    order: list[int] = []

    async def cell() -> None:
        future: Future[None] = Future()
        task = asyncio.create_task(bringing(future))
        block(future, nothing, nothing, PATIENCE)
        assert future.done()
        order.append(0)
        await task

    def queued(number: int) -> Cell:
        async def message() -> None:
            order.append(number)
            await asyncio.sleep(0)

        return message

    ran(cell, KERNEL, None, *map(queued, range(1, 6)))
    assert order == [0, 1, 2, 3, 4, 5]


def test_what_is_ready_behind_the_cell_runs_once_and_the_loop_goes_on() -> None:
    """The loop counts what is ready before it runs the cell, and must find as much when the cell has ended."""
    went_on: list[int] = []

    async def cell() -> None:
        loop, future = asyncio.get_running_loop(), Future[None]()
        task = asyncio.create_task(bringing(future))
        for number in range(5):
            loop.call_at(loop.time(), went_on.append, number)
        await asyncio.sleep(0)
        assert went_on == []
        block(future, nothing, nothing, PATIENCE)
        assert future.done()
        await task

    ran(cell)
    assert went_on == [0, 1, 2, 3, 4]


async def interrupted(steps: list[str]) -> None:
    """A user's task in whose step SIGINT arrives."""
    signal.raise_signal(signal.SIGINT)
    steps.append("after the interrupt")
    await asyncio.sleep(0)
    steps.append("later")


def test_an_interrupt_is_the_cells_and_ends_no_task() -> None:
    """Wherever it arrives, the run is told to end and the cell gets the KeyboardInterrupt; the user's task goes on."""
    steps: list[str] = []

    async def cell() -> None:
        future: Future[None] = Future()
        task = asyncio.create_task(interrupted(steps))
        with pytest.raises(KeyboardInterrupt):
            block(future, nothing, lambda: future.set_result(None), PATIENCE)
        assert future.done()
        await task

    ran(cell)
    assert steps == ["after the interrupt", "later"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_ends_a_task_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised there when the loop is held up for long, and told to the cell, even if the task keeps it."""
    monkeypatch.setattr(nesting, "_STUCK_SECONDS", -PATIENCE)
    steps: list[str] = []

    async def stuck() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            steps.append("ended")

    async def cell() -> None:
        future: Future[None] = Future()
        task = asyncio.create_task(stuck())
        with pytest.raises(KeyboardInterrupt):
            block(future, nothing, lambda: future.set_result(None), PATIENCE)
        await task

    ran(cell)
    assert steps == ["ended"]


async def stopping() -> None:
    """What a kernel does that is told to end."""
    asyncio.get_running_loop().stop()


def test_a_loop_that_is_stopped_meanwhile_is_waited_in_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """The wait goes on to its end, and the loop stops after it, without a complaint."""
    future: Future[None] = Future()

    async def cell() -> None:
        task = asyncio.create_task(stopping())
        block(future, ending(future), nothing, PATIENCE)
        ended.append(future.done())
        await asyncio.sleep(PATIENCE)
        await task

    ended: list[bool] = []
    with pytest.raises(RuntimeError, match="stopped before Future completed"):
        ran(cell)
    assert ended == [True]
    assert caplog.records == []


def test_a_run_that_ends_after_the_kernels_loop_leaves_no_complaint(caplog: pytest.LogCaptureFixture) -> None:
    """A wait that was given up had asked to be told; nobody is there any more."""
    future: Future[None] = Future()

    async def cell() -> None:
        task = asyncio.create_task(idle())
        block(future, nothing, nothing, 0.02)
        assert not task.done()

    ran(cell)
    future.set_result(None)
    assert caplog.records == []
