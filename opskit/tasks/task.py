"""One task of a `parallelize`: a function of the user's, run in a thread of its own, and what is known of it."""

from __future__ import annotations

import contextvars
import functools
import inspect
import threading
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from opskit.bridge.task_output import Output, keep
from opskit.errors import Cancelled, RollbackRequested
from opskit.progress import WorkProgress
from opskit.record.facts import TaskEnded
from opskit.record.recorder import kept_output
from opskit.rendering.escape import said_by
from opskit.results import HostResult
from opskit.scopes import open_scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from queue import SimpleQueue

    from opskit.bridge.task_loop import TaskLoop
    from opskit.results import Status
    from opskit.scopes import Scope


class Task:
    """A function and its arguments; from its start on also its scope, and in the end what became of it.

    Args:
        undo: What undoes it, called without arguments.
        name: None: the function's own.

    Attributes:
        scope: None as long as it has not begun.
        status: Of it as of now.
        error: What it raised; or what its runs raised that nobody waited for; or RollbackRequested, if it has called
            `opskit.rollback` and kept that to itself.
    """

    def __init__(
        self,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        undo: Callable[[], object] | None,
        name: str | None,
        chunk: int,
    ) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self.undo = undo
        self.name = name or _name_of(function)
        self.chunk = chunk
        self.scope: Scope | None = None
        self.status: Status = "not_started"
        self.error: BaseException | None = None
        self._output: Output | None = None
        self._started_at: datetime | None = None
        self._began = 0.0
        self._seconds: float | None = None

    def start(self, scope: Scope, limit: int, loop: TaskLoop, ended: SimpleQueue[Task]) -> None:
        """Begin, in a thread with a copy of the caller's context.

        Args:
            scope: What its calls are made in.
            limit: Bytes kept of what it prints, and of what it logs.
            loop: Where it is awaited, if it is `async`.
            ended: Takes the task when it has ended.
        """
        self.scope, self.status = scope, "running"
        self._output, self._started_at, self._began = Output(limit), datetime.now(UTC), monotonic()
        work, name = contextvars.copy_context().run, f"opskit-task-{self.name}"
        try:
            threading.Thread(target=work, args=(self._work, scope, loop, ended), name=name, daemon=True).start()
        except RuntimeError as error:  # there can be no more threads
            self._end(scope, error)
            ended.put(self)

    def _work(self, scope: Scope, loop: TaskLoop, ended: SimpleQueue[Task]) -> None:
        """Call the function and see to the end of what it has begun, whatever is raised."""
        assert self._output is not None
        open_scope.here(scope)
        keep(self._output)
        try:
            self._call(scope, loop)
        except BaseException as error:  # noqa: BLE001 - a task's failure, whatever it is: the thread ends here
            self._end(scope, error)
            scope.cancel()
            scope.join()
        else:
            self._end(scope, None if scope.asked is None else RollbackRequested(scope.asked))
        finally:
            ended.put(self)

    def _call(self, scope: Scope, loop: TaskLoop) -> None:
        answer = self._function(*self._args, **self._kwargs)
        if inspect.isawaitable(answer):
            scope.awaits = True
            loop.finish(answer)
        scope.check()

    def _end(self, scope: Scope, error: BaseException | None) -> None:
        assert self._output is not None
        self._output.finish()
        self._seconds = monotonic() - self._began
        self.error = error
        if error is None:
            self.status = "ok"
        else:
            self.status = "cancelled" if isinstance(error, Cancelled) and scope.cancelled else "failed"

    def row(self, transaction: str, under_way: Status = "running") -> HostResult:
        """Its row as of now.

        Args:
            transaction: The id of the transaction.
            under_way: The status of a task that has not ended.
        """
        if self._output is None:
            return HostResult("", self.name, None, "not_started", chunk=self.chunk, transaction=transaction)
        status, error = self.status, self.error
        stdout, stderr, truncated = self._output.kept()
        return HostResult(
            "",
            self.name,
            None,
            under_way if status == "running" else status,
            stdout=stdout,
            stderr=stderr,
            truncated=truncated,
            started_at=self._started_at,
            seconds=self._taken,
            chunk=self.chunk,
            attempt=1,
            transaction=transaction,
            error=None if status == "running" or error is None else said_by(error),
        )

    def how_far(self) -> WorkProgress:
        """How far it is."""
        runs = () if self.scope is None else self.scope.how_far().runs
        return WorkProgress(self.name, self.status, self._taken, runs)

    @property
    def _taken(self) -> float | None:
        """Seconds since it began, or from there to its end."""
        if self._output is None:
            return None
        return monotonic() - self._began if self._seconds is None else self._seconds

    def fact(self) -> TaskEnded:
        """What the journal keeps of its end."""
        assert self.scope is not None
        row = self.row(self.scope.root.id)
        stdout, stderr, truncated = kept_output(row)
        return TaskEnded(
            self.scope.root.id,
            self.scope.number,
            row.status,
            row.error,
            stdout,
            stderr,
            truncated,
            row.started_at,
            row.seconds,
        )


def _name_of(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))
