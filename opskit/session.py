"""The verbs that users call, and the place where the rooms are wired together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack, overload

from opskit.calling import caller, place
from opskit.elsewhere import seen, tell_beside
from opskit.errors import PlanError
from opskit.fleet.names import Names
from opskit.handle import Handle
from opskit.in_use import default_inventory
from opskit.results import Results
from opskit.scopes import expect_may_block
from opskit.settings import current
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from os import PathLike
    from types import FrameType, TracebackType

    from opskit.fleet import Host
    from opskit.record.facts import Kind
    from opskit.settings import Settings
    from opskit.work.options import BranchOptions, Hosts, RunOptions
    from opskit.work.plan import Plan


@overload
def run(command: str, *, dry_run: Literal[True], wait: bool = True, **options: Unpack[RunOptions]) -> Plan: ...
@overload
def run(
    command: str, *, dry_run: Literal[False] = False, wait: Literal[False], **options: Unpack[RunOptions]
) -> Handle: ...
@overload
def run(
    command: str, *, dry_run: Literal[False] = False, wait: Literal[True] = True, **options: Unpack[RunOptions]
) -> Results: ...
@overload
def run(
    command: str, *, dry_run: bool, wait: Literal[True] = True, **options: Unpack[RunOptions]
) -> Results | Plan: ...
@overload
def run(
    command: str, *, dry_run: bool = False, wait: bool = True, **options: Unpack[RunOptions]
) -> Results | Plan | Handle: ...
def run(
    command: str, *, dry_run: bool = False, wait: bool = True, **options: Unpack[RunOptions]
) -> Results | Plan | Handle:
    """Run one command on every selected host, all at once.

    Args:
        command: A template: `{{ server.name }}` and the caller's variables are filled in, quoted for the shell.
        dry_run: Return the Plan and send nothing.
        wait: False returns a Handle at once, to wait for, cancel and read the run by.
        options: See docs/options.md, or `%%parallel?` in a notebook.

    Returns:
        A row for each host, in inventory order.

    Raises:
        InventoryError, TemplateError, PlanError, SettingsError, PromptRefused: Before anything was sent.
        CommandError: The run has ended, with rows that failed, timed out, were unreachable or are unknown; `.results`
            has every row. Not with `on_error="continue"`.
        KeyboardInterrupt: The kernel or script was interrupted; remote work was ended; `.results` has what arrived.
    """
    return execute(_single(command, {**options, "dry_run": dry_run, "wait": wait}, caller()))


def plan(command: str, **options: Unpack[RunOptions]) -> Plan:
    """Decide what `run` would do, and send nothing; `.apply()` runs it. Arguments and errors are those of `run`.

    Its warnings tell of what others have open on these hosts, as far as the journal knows.
    """
    return seen(_planned(_single(command, options, caller())))


@overload
def arun(
    command: str, *, dry_run: Literal[True], wait: bool = True, **options: Unpack[RunOptions]
) -> Awaitable[Plan]: ...
@overload
def arun(
    command: str, *, dry_run: Literal[False] = False, wait: Literal[False], **options: Unpack[RunOptions]
) -> Awaitable[Handle]: ...
@overload
def arun(
    command: str, *, dry_run: Literal[False] = False, wait: Literal[True] = True, **options: Unpack[RunOptions]
) -> Awaitable[Results]: ...
@overload
def arun(
    command: str, *, dry_run: bool, wait: Literal[True] = True, **options: Unpack[RunOptions]
) -> Awaitable[Results | Plan]: ...
@overload
def arun(
    command: str, *, dry_run: bool = False, wait: bool = True, **options: Unpack[RunOptions]
) -> Awaitable[Results | Plan | Handle]: ...
def arun(
    command: str, *, dry_run: bool = False, wait: bool = True, **options: Unpack[RunOptions]
) -> Awaitable[Results | Plan | Handle]:
    """As `run`, awaited: the caller's own tasks go on meanwhile."""
    # Not `async def`: the caller's variables and inventory are seen now, also where a task awaits this later.
    draft = _single(command, {**options, "dry_run": dry_run, "wait": wait}, caller())
    return _executed(draft, _planned(draft))


async def _executed(draft: Draft, plan: Plan) -> Results | Plan | Handle:
    if draft.terms.dry_run:
        return await asyncio.to_thread(seen, plan)
    handle = _started(plan, draft.settings)
    return await handle.wait_async() if draft.terms.wait else handle


def _single(command: str, options: Mapping[str, Any], frame: FrameType) -> Draft:
    settings = current()
    draft = Draft(options, settings, "run")
    names, where = Names.of(frame, draft.terms.variables, settings), place(frame)
    draft.compile_check(names, where)
    draft.everywhere(command, names, where)
    return draft


def execute(draft: Draft) -> Results | Plan | Handle:
    """Start what was drafted, and wait for its end if it says so; a dry run gives the plan."""
    if draft.terms.wait:
        expect_may_block()
    begun = begin(draft)
    return begun.wait() if draft.terms.wait and isinstance(begun, Handle) else begun


def begin(draft: Draft) -> Plan | Handle:
    """Start what was drafted, whatever it says of waiting; a dry run gives the plan."""
    plan = _planned(draft)
    return seen(plan) if draft.terms.dry_run else _started(plan, draft.settings)


def _planned(draft: Draft) -> Plan:
    return replace(draft.plan(default_inventory), performer=_perform_as_made if draft.brings_hosts else _perform)


def _started(plan: Plan, settings: Settings, kind: Kind = "run") -> Handle:
    handle = Handle(plan, settings, kind)
    tell_beside(plan)
    return handle


def _perform(plan: Plan) -> Results:
    """Run a plan that was kept, on its hosts as the inventory in use has them now."""
    from opskit.work.saved import refreshed

    expect_may_block()
    return _started(refreshed(plan, default_inventory()), current()).wait()


def _perform_as_made(plan: Plan) -> Results:
    """Run a plan whose hosts came with the call, and stand in no inventory in use."""
    expect_may_block()
    return _started(plan, current()).wait()


def load_plan(path: str | PathLike[str]) -> Plan:
    """Read a plan that `Plan.save` wrote.

    Raises:
        PlanError: It can't be read, or is no plan.
    """
    from opskit.work.saved import load

    return seen(replace(load(path), performer=_perform))


def parallel(*, dry_run: bool = False, wait: bool = True, **options: Unpack[RunOptions]) -> Parallel:
    """Route commands to hosts by conditions: `with opskit.parallel(...) as session:`, or `async with`.

    Branches are collected in the block and run when it ends, on all hosts at once. If the block raises, nothing runs.

    Args:
        dry_run: Make `session.plan` and send nothing.
        wait: False lets the block end at once; `session.wait()`, `.cancel()` and `.results` steer and read the run.
        options: See docs/options.md, or `%%parallel?` in a notebook.

    Raises:
        PlanError: An option is unknown, or its value is bad.
    """
    return Parallel({**options, "dry_run": dry_run, "wait": wait}, caller())


class Parallel:
    """The branches of one `parallel`; after its block, the plan and the results."""

    def __init__(self, options: Mapping[str, Any], frame: FrameType) -> None:
        self._draft = Draft(options, current(), "parallel")
        self._draft.compile_check(self._names(frame), place(frame))
        self._plan: Plan | None = None
        self._handle: Handle | None = None

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
        frame = caller()
        self._draft.when(condition, command, self._names(frame), place(frame), last=last, options=options)

    def otherwise(self, command: str, **options: Unpack[BranchOptions]) -> None:
        """Run `command` on every host that no `when` matched. There can be one.

        Raises:
            TemplateError, PlanError: As `when`.
        """
        self._expect_open()
        frame = caller()
        self._draft.otherwise(command, self._names(frame), place(frame), options)

    @property
    def plan(self) -> Plan:
        """What was planned, once the block has ended."""
        if self._plan is None:
            raise PlanError("the plan is made when the block of `parallel` ends")
        return self._plan

    @property
    def results(self) -> Results:
        """A row for each step and each skipped host, in inventory order, as of now; none if the run is dry."""
        if self._draft.terms.dry_run and self._plan is not None:
            return Results(())
        return self._running.results

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self._running.done

    def __repr__(self) -> str:
        return "<parallel: nothing has begun>" if self._handle is None else repr(self._handle)

    def wait(self, timeout: float | None = None) -> Results:
        """Wait for the end of a run that was begun with `wait=False`; see `Handle.wait`."""
        return self._running.wait(timeout)

    def cancel(self, hosts: Hosts = None) -> None:
        """End what runs, on these hosts or on all; see `Handle.cancel`."""
        self._running.cancel(hosts)

    def rollback(self, why: str | None = None) -> Results:
        """Undo what was sent; see `Handle.rollback`."""
        return self._running.rollback(why)

    @property
    def _running(self) -> Handle:
        if self._handle is None:
            raise PlanError("nothing was begun: a run begins when the block of its `parallel` has ended well")
        return self._handle

    def _names(self, frame: FrameType) -> Names:
        return Names.of(frame, self._draft.terms.variables, self._draft.settings)

    def _expect_open(self) -> None:
        if self._plan is not None:
            raise PlanError("the block of this `parallel` has ended: nothing can be added, and it can't run again")

    def _begin(self) -> Handle | None:
        """Make the plan and start it; with the run to wait for, if there is one."""
        self._plan = _planned(self._draft)
        if self._draft.terms.dry_run:
            return None
        self._handle = _started(self._plan, self._draft.settings, "parallel")
        return self._handle if self._draft.terms.wait else None

    def __enter__(self) -> Self:
        self._expect_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            expect_may_block()
            if (handle := self._begin()) is not None:
                handle.wait()
            elif self._draft.terms.dry_run:
                self._plan = seen(self.plan)

    async def __aenter__(self) -> Self:
        self._expect_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            if (handle := self._begin()) is not None:
                await handle.wait_async()
            elif self._draft.terms.dry_run:
                self._plan = await asyncio.to_thread(seen, self.plan)
