"""What goes on while a cell waits: the user's own tasks, and nothing of the kernel's; kernels are pretended here."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from concurrent.futures import Future
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from opskit import bridge
from opskit.bridge import block

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


async def idle() -> None:
    """A user's task that waits, for ever."""
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("module", [KERNEL, IPYTHON])
def test_the_users_tasks_go_on_while_a_cell_waits(module: str) -> None:
    """In cells of both kinds, and what the tasks do ends the wait at once."""
    ticks: list[int] = []

    async def cell() -> None:
        future: Future[None] = Future()
        task = asyncio.create_task(bringing(future))
        block(future, lambda: ticks.append(1), nothing, PATIENCE)
        assert future.done()
        await task

    ran(cell, module)
    assert len(ticks) < 100


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


@pytest.mark.parametrize(
    ("cell", "module", "kind"),
    [
        (no_tasks_cell, KERNEL, asyncio.SelectorEventLoop),
        (other_cell, "deploying", asyncio.SelectorEventLoop),
        (other_cell, KERNEL, OthersLoop),
    ],
    ids=["no tasks", "no cell", "a loop of others"],
)
def test_else_the_thread_just_blocks(cell: Cell, module: str, kind: type[asyncio.SelectorEventLoop]) -> None:
    """Without tasks of the user's, in one of these, and on loops that asyncio does not run, nothing is nested."""
    ran(cell, module, kind())


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


async def stopping() -> None:
    """What a kernel does that is told to end."""
    asyncio.get_running_loop().stop()


def test_a_loop_that_is_stopped_meanwhile_is_waited_in_no_more() -> None:
    """The wait goes on to its end, and the loop stops after it."""
    future: Future[None] = Future()
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 5:
            future.set_result(None)

    async def cell() -> None:
        task = asyncio.create_task(stopping())
        block(future, tick, nothing, PATIENCE)
        ended.append(future.done())
        await asyncio.sleep(PATIENCE)
        await task

    ended: list[bool] = []
    with pytest.raises(RuntimeError, match="stopped before Future completed"):
        ran(cell)
    assert ended == [True]


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
