"""What a user holds of a task block: it collects the tasks, and then waits for them, steers and reads them.

A session is a transaction, or a part of one, and so is each task in it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import wait as wait_for_futures
from itertools import count
from typing import TYPE_CHECKING, Final, Never, Self

from opskit import bridge, checks, views
from opskit.errors import Cancelled, PlanError, TimeoutExceeded, did_you_mean, give_notes, give_results
from opskit.handle import left_alone, patience
from opskit.progress import WorkProgress
from opskit.scopes import expect_may_block, open_scope, opened
from opskit.settings import current
from opskit.showing import Shown
from opskit.tasks.coordinator import Coordinator
from opskit.tasks.task import Task
from opskit.undoing.confirming import confirm_order
from opskit.undoing.rollback import expect_undone
from opskit.views.painter import Painter

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from opskit.results import Results
    from opskit.work.options import Hosts

_OPTIONS: Final = ("chunk", "name", "wait")
_GOES_ON: Final = "the tasks and their rollback go on: .wait() of the session tells how they end"


def parallelize(
    chunk: int | None = None, *, name: str | None = None, wait: bool = True, **unknown: Never
) -> Parallelize:
    """Run functions side by side, and undo all of them if one fails: `with opskit.parallelize(5) as session:`.

    They are collected in the block, and run when it ends, at most `chunk` at once. The next chunk starts when every
    task of this one has succeeded. If the block raises, nothing runs.

    Args:
        chunk: How many at once; None: the setting `parallelize_chunk`.
        name: Shown in the journal.
        wait: False lets the block end at once; `session.wait()`, `.cancel()` and `.results` steer and read it.
        unknown: There are no others.

    Raises:
        PlanError: `chunk` is no whole number of 1 or more; or there is no such option.
    """
    if "dry_run" in unknown:
        raise PlanError("parallelize has no dry run: what a task does is known when it has run")
    for option in unknown:
        raise PlanError(f"parallelize has no option {option!r}{did_you_mean(option, _OPTIONS)}")
    if isinstance(chunk, str):
        raise PlanError(f"parallelize: chunk={chunk!r} must be a whole number, 1 or more, not text")
    if name is not None and not isinstance(name, str):
        raise PlanError(f"parallelize: its name must be text, not {type(name).__name__}")
    try:
        size = current().parallelize_chunk if chunk is None else checks.count(chunk)
    except ValueError as error:
        raise PlanError(f"parallelize: chunk={chunk!r} {error}") from None
    return Parallelize(size, name, wait=wait)


class Parallelize:
    """The tasks of one `parallelize`; after its block, what becomes of them."""

    def __init__(self, chunk: int, name: str | None, *, wait: bool) -> None:
        self._chunk = chunk
        self._name = name
        self._wait = wait
        self._tasks: list[Task] = []
        self._coordinator: Coordinator | None = None
        self._waited_for = False
        self._painter = Painter(None, lambda: True)

    def run(
        self,
        function: Callable[..., object],
        /,
        *args: object,
        undo: Callable[[], object] | None = None,
        name: str | None = None,
        **kwargs: object,
    ) -> None:
        """Add a task: a function, plain or `async`, and its arguments.

        Args:
            function: What is called when the block has ended.
            args: For the function.
            undo: Called, without arguments, if the task has begun and is rolled back.
            name: Shown as its row's branch; the function's own name if None.
            kwargs: For the function.

        Raises:
            PlanError: `function` or `undo` can't be called, `name` is no text, or the block has ended.
        """
        self._expect_open()
        if not callable(function):
            raise PlanError(f"session.run needs a function, and then its arguments, not {type(function).__name__}")
        if undo is not None and not callable(undo):
            raise PlanError(f"session.run: undo= needs a function without arguments, not {type(undo).__name__}")
        if name is not None and not isinstance(name, str):
            raise PlanError(f"session.run: name= must be text, not {type(name).__name__}")
        self._tasks.append(Task(function, args, kwargs, undo, name, len(self._tasks) // self._chunk + 1))

    @property
    def results(self) -> Results:
        """A row for each task, in the order given, as of now; `.results.commands`: those of every command they ran.

        Raises:
            PlanError: The block has not ended, or not well.
        """
        return self._begun.results()

    def wait(self, timeout: float | None = None) -> Results:
        """Wait for the end, and for the rollback of tasks that failed, showing progress meanwhile.

        Args:
            timeout: Seconds to wait at most; the tasks go on after that.

        Raises:
            PlanError: `timeout` is no number, nothing was begun, or a task of the session itself asks.
            Exception: What the first failing task raised, itself; with `.results`, and a note for each other failure.
            RollbackRequested: A task has called `opskit.rollback`, and kept it to itself.
            Cancelled: The session was cancelled, and its tasks were undone.
            JournalError: The journal could not be written.
            TimeoutExceeded: It has not ended in time; `.results` has its rows as of now.
            KeyboardInterrupt: The kernel or script was interrupted: the tasks' remote work was ended, and they were
                undone. A second interrupt does not wait for that.
        """
        coordinator = self._begun
        self._expect_outside(coordinator)
        timeout = patience(timeout)
        try:
            with self._painter.watched():
                bridge.block(coordinator.ended, interrupted=self._interrupted(KeyboardInterrupt), timeout=timeout)
        except KeyboardInterrupt as interrupt:
            self._leave(coordinator, interrupt)
            raise
        if not coordinator.ended.done():
            assert timeout is not None
            raise TimeoutExceeded(f"tasks still run after {timeout:g} s; .cancel() would end them", self.results)
        return self._judged(coordinator)

    async def wait_async(self) -> Results:
        """As `wait`, awaited; a caller that is cancelled cancels the session."""
        coordinator = self._begun
        try:
            with self._painter.watched():
                await bridge.awaiting(coordinator.ended, cancelled=self._interrupted(asyncio.CancelledError))
        except asyncio.CancelledError as cancellation:
            self._leave(coordinator, cancellation)
            raise
        return self._judged(coordinator)

    def cancel(self, hosts: Hosts = None) -> None:
        """End the tasks' remote work, on these hosts or on all; returns at once.

        Unless hosts are named, every further call of opskit in the tasks raises Cancelled, no task begins any more,
        and the tasks are undone. Python code of their own is waited for.

        Raises:
            PlanError: Nothing was begun.
            InventoryError: Nothing that runs has such a host.
        """
        self._begun.cancel(hosts)

    def rollback(self, why: str | None = None) -> Results:
        """Undo what the tasks did, newest first; those that still run are cancelled first.

        Returns a row for each undo.

        Raises:
            PlanError: Nothing was begun; or a task of the session itself asks, or it would hold up async tasks.
            Cancelled, PromptRefused: As `opskit.journal.rollback`, where later work stands on it; nothing was done.
            RollbackError: Something could not be undone (`.results` has the rows); or all was undone before, or
                somebody is at it: says who.
        """
        self._expect_outside(self._begun)  # before anybody is asked
        confirm_order(self._begun.scope.rollback())
        return self._undo(why)

    def _undo(self, why: str | None) -> Results:
        """As `rollback`, once whoever wants it knows what stands on it."""
        coordinator, rows = self._begun, None
        self._expect_outside(coordinator)
        self._waited_for = True
        if not self.done:
            coordinator.why = coordinator.why or why
            if not coordinator.scope.cancelled:  # a second cancel would not wait for what the first is ending
                coordinator.cancel(None)
            self.join()
            rows = coordinator.undone
        scope = coordinator.scope
        if rows is None:
            rows = scope.rollback().wait(why, coordinator.progress)
        return expect_undone(rows, scope.id)

    def join(self) -> None:
        """Wait for the end, whatever it is."""
        wait_for_futures([self._begun.ended])

    def check(self) -> None:
        """Wait for the end of a session that nobody has waited for, and raise as `wait` does."""
        if not self._waited_for:
            self.wait()

    def commands(self) -> Results:
        """The rows of all commands that the tasks ran, as of now, task by task."""
        return self._begun.commands()

    def how_far(self) -> WorkProgress:
        """How far it is, for who shows what it is a part of."""
        return WorkProgress.of(self._name or "parallelize", self._begun.works())

    def _shown(self, coordinator: Coordinator) -> Shown:
        scope = coordinator.scope
        return Shown(
            coordinator.progress,
            scope.id,
            results=coordinator.results,
            outlook=scope.outlook,
            rollback=None if scope.is_undone_with_others else self._undo,
            cancel=self.cancel,
            works=coordinator.works,
        )

    @property
    def done(self) -> bool:
        """Whether all has ended, the rollback too."""
        return self._coordinator is not None and self._coordinator.ended.done()

    def __repr__(self) -> str:
        begun = "not begun" if self._coordinator is None else f"{self._coordinator.progress.running} running"
        state = "ended" if self.done else begun
        return f"<{self._name or 'parallelize'}, {len(self._tasks)} tasks: {state}; .wait(), .cancel(), .results>"

    def __enter__(self) -> Self:
        if self._wait:
            expect_may_block()
        self._expect_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._begin()
            if self._wait:
                self.wait()

    async def __aenter__(self) -> Self:
        self._expect_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._begin()
            if self._wait:
                await self.wait_async()

    @property
    def _begun(self) -> Coordinator:
        if self._coordinator is None:
            raise PlanError("nothing was begun: tasks begin when the block of their `parallelize` has ended well")
        return self._coordinator

    def _expect_outside(self, coordinator: Coordinator) -> None:
        """Raise PlanError where a wait for the end would hold up others, or last for ever."""
        expect_may_block()
        scope = open_scope.get()
        while scope is not None and scope is not coordinator.scope:
            scope = scope.parent
        if scope is not None:
            raise PlanError(
                "a task can't wait for the session that it is a task of: it would wait for itself. "
                "opskit.rollback() ends a task and has all of them undone"
            )

    def _expect_open(self) -> None:
        if self._coordinator is not None:
            raise PlanError("the block of this `parallelize` has ended: nothing can be added, and it can't run again")

    def _begin(self) -> None:
        self._expect_open()
        scope = opened("parallelize", self._name)
        self._coordinator = coordinator = Coordinator(scope, self._tasks, self._chunk, self._name)
        coordinator.begin()
        if not scope.is_silent:
            self._painter = Painter(views.choose(self._shown(coordinator)), coordinator.ended.done)
        if not self._wait:
            left_alone.add(self._coordinator.ended)
        if scope.parent is not None:
            scope.parent.hold(self)
        scope.steer_by(self._undo)

    def _interrupted(self, kind: type[BaseException]) -> Callable[[], None]:
        """What an interrupt does: the first one cancels, the second one waits no more."""
        interrupts = count()

        def cancel() -> None:
            if next(interrupts):
                raise kind
            self.cancel()

        return cancel

    def _leave(self, coordinator: Coordinator, interrupt: BaseException) -> None:
        """Let an interrupt tell what became of the tasks, and what failed before it; what still runs is not known."""
        self._waited_for = True
        error = coordinator.error
        give_results(interrupt, coordinator.results("unknown"))
        give_notes(interrupt, getattr(error, "__notes__", ()) if self.done else [_GOES_ON])
        if error is not None and not isinstance(error, Cancelled):
            interrupt.__cause__ = error

    def _judged(self, coordinator: Coordinator) -> Results:
        self._waited_for = True
        if coordinator.error is not None:
            raise coordinator.error
        return coordinator.results()
