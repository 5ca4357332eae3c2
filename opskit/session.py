"""The verbs that users call, and the place where the rooms are wired together."""

from __future__ import annotations

import asyncio
import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from opskit import bridge, views
from opskit.engine.run import Run
from opskit.errors import Cancelled, InventoryError, PlanError, give_results, place_in
from opskit.events import Event, Output
from opskit.fleet import Inventory, load_inventory
from opskit.fleet.names import Names
from opskit.progress import Progress
from opskit.results import Results
from opskit.scope import Change, Scoped
from opskit.settings import current
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from concurrent.futures import Future
    from os import PathLike
    from pathlib import Path
    from types import FrameType, TracebackType

    from opskit.engine.ports import Transport
    from opskit.fleet import Host
    from opskit.transport.ssh import Pool
    from opskit.work.options import BranchOptions, RunOptions
    from opskit.work.plan import Plan

_inventory: Scoped[Inventory | None] = Scoped("opskit_inventory", None)
_pools: dict[bridge.EngineLoop, Pool] = {}


def use(inventory: Inventory | str | PathLike[str]) -> Change[Inventory | None]:
    """Make an inventory (or the file of one) the default of every call.

    As a statement it holds for the process; as `with opskit.use(inventory):` for the block alone, and blocks nest.

    Raises:
        InventoryError: The file can't be read.
    """
    return _inventory.set(inventory if isinstance(inventory, Inventory) else load_inventory(inventory))


def forget(inventory: Inventory) -> None:
    """Use this inventory no more; does nothing if another one is in use."""
    if _inventory.get() == inventory:
        _inventory.set(None)


def default_inventory() -> Inventory:
    """The inventory that calls select from: the one in use, else that of the setting `inventory`.

    Raises:
        InventoryError: There is none.
    """
    if (inventory := _inventory.get()) is not None:
        return inventory
    if (path := current().inventory) is not None:
        return _read_once(path, path.stat().st_mtime_ns if path.exists() else 0)
    raise InventoryError(
        "there is no inventory: opskit.use(opskit.load_inventory('hosts.yaml')), or %opskit use hosts.yaml in a "
        "notebook; %opskit fleet up 8 makes one to play with"
    )


@lru_cache(maxsize=1)
def _read_once(path: Path, changed: int) -> Inventory:  # noqa: ARG001 - the cache's key
    return load_inventory(path)


@overload
def run(command: str, *, dry_run: Literal[True], **options: Unpack[RunOptions]) -> Plan: ...
@overload
def run(command: str, *, dry_run: Literal[False] = False, **options: Unpack[RunOptions]) -> Results: ...
@overload
def run(command: str, *, dry_run: bool, **options: Unpack[RunOptions]) -> Results | Plan: ...
def run(command: str, *, dry_run: bool = False, **options: Unpack[RunOptions]) -> Results | Plan:
    """Run one command on every selected host, all at once.

    Args:
        command: A template: `{{ server.name }}` and the caller's variables are filled in, quoted for the shell.
        dry_run: Return the Plan and send nothing.
        options: See `opskit.work.options.OPTIONS`, or `%%parallel?` in a notebook.

    Returns:
        A row for each host, in inventory order.

    Raises:
        InventoryError, TemplateError, PlanError, SettingsError: Before anything was sent.
        CommandError: The run has ended, with rows that failed, timed out, were unreachable or are unknown; `.results`
            has every row. Not with `on_error="continue"`.
        KeyboardInterrupt: The kernel or script was interrupted; remote work was ended; `.results` has what arrived.
    """
    draft = _single(command, {**options, "dry_run": dry_run}, _caller())
    return execute(draft)


@overload
def arun(command: str, *, dry_run: Literal[True], **options: Unpack[RunOptions]) -> Awaitable[Plan]: ...
@overload
def arun(command: str, *, dry_run: Literal[False] = False, **options: Unpack[RunOptions]) -> Awaitable[Results]: ...
@overload
def arun(command: str, *, dry_run: bool, **options: Unpack[RunOptions]) -> Awaitable[Results | Plan]: ...
def arun(command: str, *, dry_run: bool = False, **options: Unpack[RunOptions]) -> Awaitable[Results | Plan]:
    """As `run`, awaited: the caller's own tasks go on meanwhile."""
    # Not `async def`: the caller's variables and inventory are seen now, also where a task awaits this later.
    draft = _single(command, {**options, "dry_run": dry_run}, _caller())
    return _executed(draft, draft.plan(default_inventory))


async def _executed(draft: Draft, plan: Plan) -> Results | Plan:
    return plan if draft.terms.dry_run else await _Execution(plan, draft).wait_async()


def _single(command: str, options: Mapping[str, Any], frame: FrameType) -> Draft:
    settings = current()
    draft = Draft(options, settings, "run")
    draft.everywhere(command, Names.of(frame, draft.terms.variables, settings), _place(frame))
    return draft


def execute(draft: Draft) -> Results | Plan:
    """Run what was drafted and wait for its end; a dry run gives the plan."""
    plan = draft.plan(default_inventory)
    return plan if draft.terms.dry_run else _Execution(plan, draft).wait()


def parallel(*, dry_run: bool = False, **options: Unpack[RunOptions]) -> Parallel:
    """Route commands to hosts by conditions: `with opskit.parallel(...) as session:`, or `async with`.

    Branches are collected in the block and run when it ends, on all hosts at once. If the block raises, nothing runs.

    Args:
        dry_run: Make `session.plan` and send nothing.
        options: See `opskit.work.options.OPTIONS`, or `%%parallel?` in a notebook.

    Raises:
        PlanError: An option is unknown, or its value is bad.
    """
    return Parallel({**options, "dry_run": dry_run})


class Parallel:
    """The branches of one `parallel`; after its block, the plan and the results."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._draft = Draft(options, current(), "parallel")
        self._plan: Plan | None = None
        self._results: Results | None = None

    def when(
        self,
        condition: str | Callable[[Host], object],
        command: str,
        *,
        last: bool = False,
        **options: Unpack[BranchOptions],
    ) -> None:
        """Run `command` on every host for which `condition` holds.

        Args:
            condition: A Python expression with `in_(role)`, `server`, `configuration` and the caller's variables, or a
                callable that takes the server.
            command: A template; several lines are one script that stops at its first failing line.
            last: Whether a host that matches looks no further.
            options: What this branch sets for itself, such as `env`, `cwd` and `timeout`.

        Raises:
            ConditionError, TemplateError: It does not compile.
            PlanError: An option is unknown, or its value is bad.
        """
        self._expect_open()
        frame = _caller()
        self._draft.when(condition, command, self._names(frame), _place(frame), last=last, options=options)

    def otherwise(self, command: str, **options: Unpack[BranchOptions]) -> None:
        """Run `command` on every host that no `when` matched. There can be one.

        Raises:
            TemplateError, PlanError: As `when`.
        """
        self._expect_open()
        frame = _caller()
        self._draft.otherwise(command, self._names(frame), _place(frame), options)

    @property
    def plan(self) -> Plan:
        """What was planned, once the block has ended."""
        if self._plan is None:
            raise PlanError("the plan is made when the block of `parallel` ends")
        return self._plan

    @property
    def results(self) -> Results:
        """A row for each step and each skipped host, in inventory order, once the run has ended; none if it was dry."""
        if self._results is None:
            raise PlanError("the results are there when the block of `parallel` has ended and run")
        return self._results

    def _names(self, frame: FrameType) -> Names:
        return Names.of(frame, self._draft.terms.variables, self._draft.settings)

    def _expect_open(self) -> None:
        if self._plan is not None:
            raise PlanError("the block of this `parallel` has ended: nothing can be added, and it can't run again")

    def _begin(self) -> _Execution | None:
        """Make the plan; with what runs it, unless this is a dry run."""
        self._plan = self._draft.plan(default_inventory)
        if self._draft.terms.dry_run:
            self._results = Results(())
            return None
        return _Execution(self._plan, self._draft, self._take)

    def _take(self, results: Results) -> None:
        self._results = results

    def __enter__(self) -> Self:
        self._expect_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and (execution := self._begin()) is not None:
            execution.wait()

    async def __aenter__(self) -> Self:
        self._expect_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and (execution := self._begin()) is not None:
            await execution.wait_async()


class _Execution:
    """A plan handed to the engine, and the caller's side of it: painting, callbacks, interrupts, the final error."""

    def __init__(self, plan: Plan, draft: Draft, take: Callable[[Results], object] = lambda _: None) -> None:
        self._raises = draft.terms.on_error == "stop"
        self._take = take
        self._progress = Progress()
        self._view = views.choose()
        listened = any(step.terms.on_output for step in plan.steps)
        self._callbacks = bridge.UserThread() if listened else None
        self._engine = bridge.engine()
        if self._engine.is_here():
            raise PlanError("opskit can't be called from its own engine's thread")
        self._run = Run(plan, _transport(self._engine, draft), self._emit, max_output=draft.settings.max_output)

    def wait(self) -> Results:
        future = self._engine.submit(self._run.finish())
        try:
            bridge.block(future, self._paint, self._cancel)
        except KeyboardInterrupt as interrupt:
            give_results(interrupt, self._finish(future))
            raise
        return self._judged(self._finish(future))

    async def wait_async(self) -> Results:
        future = self._engine.submit(self._run.finish())
        try:
            await bridge.awaiting(future, self._paint, self._cancel)
        except asyncio.CancelledError as cancellation:
            give_results(cancellation, await self._finish_async(future))
            raise
        return self._judged(await self._finish_async(future))

    def _emit(self, event: Event) -> None:
        """Take an event on the engine's loop: a few assignments, whatever the number of hosts."""
        self._progress.apply(event)
        if isinstance(event, Output) and event.step.terms.on_output is not None and self._callbacks is not None:
            self._callbacks.call(event.step.terms.on_output, event.step.host.name, event.stream, event.text)

    def _paint(self) -> None:
        self._view.paint(self._progress)

    def _cancel(self) -> None:
        self._engine.call(self._run.cancel)

    def _finish(self, future: Future[Results]) -> Results:
        self._view.close(self._progress)
        if self._callbacks is not None:
            self._callbacks.finish()
        return self._taken(future)

    async def _finish_async(self, future: Future[Results]) -> Results:
        self._view.close(self._progress)
        if self._callbacks is not None:
            await asyncio.to_thread(self._callbacks.finish)
        return self._taken(future)

    def _taken(self, future: Future[Results]) -> Results:
        """The rows; raises what kept the run from starting."""
        results = future.result()
        self._take(results)
        return results

    def _judged(self, results: Results) -> Results:
        if self._run.cancelled:
            raise Cancelled("the run was cancelled; `.results` has what arrived", results)
        if self._raises:
            results.raise_for_failed()
        return results


def _transport(engine: bridge.EngineLoop, draft: Draft) -> Transport:
    """Every way to reach hosts, over the connections that this engine keeps warm."""
    from opskit.transport.router import Router
    from opskit.transport.ssh import Pool, SshTransport

    if engine not in _pools:
        _pools.clear()
        _pools[engine] = Pool()
    return Router(SshTransport(_pools[engine], draft.settings))


def _caller() -> FrameType:
    """The frame of who called the function that asks."""
    asking = inspect.currentframe()
    assert asking is not None
    assert asking.f_back is not None
    assert asking.f_back.f_back is not None
    return asking.f_back.f_back


def _place(frame: FrameType) -> str:
    """Where the caller stands, for errors."""
    return place_in(frame.f_code, frame.f_lineno)
