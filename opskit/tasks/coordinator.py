"""The thread of a session that begins its tasks chunk by chunk, writes down what becomes of them, and undoes them."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING

from opskit.bridge.task_loop import TaskLoop
from opskit.bridge.task_output import diverted
from opskit.defaults import keep_all
from opskit.enlistment import outcome, stays_open
from opskit.errors import Cancelled, InventoryError, OpskitError, give_notes
from opskit.progress import ChunkProgress, Progress, WorkProgress
from opskit.rendering.escape import said_by
from opskit.results import Results
from opskit.scopes import outside
from opskit.settings import current
from opskit.showing import MOST_WORKS
from opskit.undoing.undos import Callback

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.results import Status
    from opskit.scopes import Scope
    from opskit.tasks.task import Task
    from opskit.work.options import Hosts


class Coordinator:
    """What becomes of the tasks.

    Args:
        scope: The session's; the tasks are parts of it.
        tasks: All of them.
        chunk: How many run at once.
        name: What the session is called.

    Attributes:
        progress: How far it is.
        ended: Done when all has ended, the rollback too.
        error: What the session raises in the end; it is known before the tasks are undone because of it.
        undone: The rows of its rollback; None if there was none.
        why: What the journal is to say of its rollback; None: the error.
    """

    def __init__(self, scope: Scope, tasks: Sequence[Task], chunk: int, name: str | None) -> None:
        self.scope = scope
        self._tasks = tasks
        self._chunks = [tasks[at : at + chunk] for at in range(0, len(tasks), chunk)]
        self._loop = TaskLoop()
        self._fault: OpskitError | None = None
        self._last: Results | None = None
        self.progress = Progress(name, name or "parallelize", [ChunkProgress(len(some)) for some in self._chunks])
        self.ended: Future[None] = Future()
        self.error: BaseException | None = None
        self.undone: Results | None = None
        self.why: str | None = None

    def begin(self) -> None:
        """Begin with the tasks, with what holds for the caller now; returns at once."""
        context = copy_context()
        context.run(keep_all)
        threading.Thread(target=context.run, args=(self._work,), name="opskit-tasks", daemon=True).start()

    def results(self, under_way: Status = "running") -> Results:
        """A row for each task, as of now.

        Args:
            under_way: The status of what has not ended.
        """
        if self._last is not None:
            return self._last
        rows = tuple(task.row(self.scope.root.id, under_way) for task in self._tasks)
        return Results(rows, commands=self.commands())

    def commands(self) -> Results:
        """The rows of all commands that the tasks ran, as of now, task by task."""
        return self.scope.commands()

    def works(self) -> list[WorkProgress]:
        """The tasks; of many the newest of those that run or went wrong."""
        if len(self._tasks) <= MOST_WORKS:
            return [task.how_far() for task in self._tasks]
        notable = [task for task in self._tasks if task.status not in ("ok", "not_started")]
        return [task.how_far() for task in notable[-MOST_WORKS:]]

    def cancel(self, hosts: Hosts) -> None:
        """End the tasks' remote work, on these hosts; None: on all, and begin nothing any more.

        Raises:
            InventoryError: Nothing that runs has such a host.
        """
        if self.ended.done():
            return
        if hosts is None:
            self.scope.cancel()
            return
        missed: list[InventoryError] = []
        runs = [run for task in self._tasks if task.scope is not None for run in task.scope.work()]
        for run in runs:
            try:
                run.cancel(hosts)
            except InventoryError as error:
                missed.append(error)
        if missed and len(missed) == len(runs):
            raise missed[0]

    def _work(self) -> None:
        try:
            with diverted():
                for number, tasks in enumerate(self._chunks, 1):
                    self._run(number, tasks)
                    if self._fault is not None or self.scope.cancelled or any(task.status != "ok" for task in tasks):
                        break
            error, notes = self._judged()
            self._last = self.results()
            if error is not None:
                _attach(error, notes, self._last)
            self.error = error
        except BaseException as error:  # noqa: BLE001 - who waits must not wait for ever
            self.error = error
        finally:
            self.scope.leave()
            self._loop.close()
            self.progress.finish()
            self.ended.set_result(None)

    def _run(self, chunk: int, tasks: Sequence[Task]) -> None:
        """Start the tasks of a chunk, and return when all that began have ended."""
        limit, running = current().max_output, 0
        ended: SimpleQueue[Task] = SimpleQueue()
        try:
            parts = [self.scope.part("task", task.name, task.chunk) for task in tasks]
            self.scope.root.store.write([fact for part in parts for fact in part.facts()])
            for part in parts:
                part.written()
                self.scope.hold(part)
            for task, part in zip(tasks, parts, strict=True):
                if self.scope.cancelled:
                    break
                if task.undo is not None:
                    part.register(Callback(task.undo, (), {}, outside()))
                self.progress.task_started(chunk)
                running += 1
                task.start(part, limit, self._loop, ended)
        except OpskitError as error:
            self._fault = error
        while running:
            some = [ended.get()]
            while not ended.empty():  # those that ended together are written together
                some.append(ended.get())
            running -= len(some)
            self.progress.tasks_ended(chunk, [task.status for task in some])
            try:
                self.scope.write([task.fact() for task in some])
            except OpskitError as error:
                self._fault = error
        self.progress.chunk_ended(chunk)

    def _judged(self) -> tuple[BaseException | None, list[str]]:
        """End well; or undo, and give the error that tells of it, with its notes."""
        failed: list[tuple[BaseException, str]] = [
            (task.error, f"also failed: {task.name}: {said_by(task.error)}")
            for task in self._tasks
            if task.error is not None and task.status == "failed"
        ]
        if self._fault is not None:
            failed.append((self._fault, f"also failed: {said_by(self._fault)}"))
        if self.scope.cancelled:
            failed.insert(0, (Cancelled("the tasks were cancelled; `.results` has what arrived", Results(())), ""))
        if not failed:
            return self._well_ended(), []
        (error, _), *others = failed
        self.error = error
        # What somebody has asked for undoes these tasks together with all else.
        undone = self._undo(error) if self.scope.is_whole or self.scope.root.asked is None else ""
        return error, [*(note for _, note in others), *filter(None, [undone]), *stays_open(self.scope)]

    def _well_ended(self) -> OpskitError | None:
        """A transaction of its own ends; what keeps the journal from saying so is the session's error."""
        try:
            if self.scope.is_whole:
                self.scope.root.end("succeeded")
        except OpskitError as error:
            return error
        return None

    def _undo(self, error: BaseException) -> str:
        """Undo what the tasks did, because of an error; says what that came to."""
        try:
            self.undone = self.scope.rollback().wait(self.why or said_by(error), self.progress)
        except OpskitError as fault:
            return f"the rollback failed: {fault}"
        return outcome(self.scope, self.undone, error)


def _attach(error: BaseException, notes: Sequence[str], results: Results) -> None:
    """Let what a task raised, whatever it is, carry the rows of all tasks."""
    with suppress(AttributeError):  # an exception may be frozen
        error.results = results  # type: ignore[attr-defined]  # for who catches it
    give_notes(error, notes)
