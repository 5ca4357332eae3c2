"""A plan handed to the engine, and the caller's side of it: waiting, painting, questions, callbacks, the last error."""

from __future__ import annotations

import asyncio
import atexit
import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

from opskit import bridge, elsewhere, shared, views
from opskit.asking import confirmed
from opskit.bridge.callbacks import UserThread
from opskit.bridge.callbacks import current as current_callbacks
from opskit.bridge.garbage import collector
from opskit.bridge.own_thread import why_not_passing
from opskit.bridge.questions import Questions
from opskit.engine.ledger import Ledger
from opskit.engine.ports import UNRECORDED
from opskit.engine.run import Run
from opskit.enlistment import Enlistment
from opskit.errors import Cancelled, CommandError, OpskitError, PlanError, TimeoutExceeded, give_notes, give_results
from opskit.events import Event, Output, RunEnded
from opskit.observers import observers
from opskit.progress import Progress, WorkProgress
from opskit.results.failure import failure
from opskit.results.parsing import check_parser
from opskit.scopes import expect_may_block, outside
from opskit.showing import Shown
from opskit.undoing.confirming import confirm_order
from opskit.undoing.rollback import being_undone, goes_on
from opskit.views.painter import Painter
from opskit.work.values import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opskit.record.facts import Kind
    from opskit.results import HostResult, Results
    from opskit.settings import Settings
    from opskit.work.options import Hosts
    from opskit.work.plan import Plan

T = TypeVar("T")

logger = logging.getLogger("opskit")


class Handle:
    """A run that goes on: wait for its end, cancel it, read its rows at any time.

    Args:
        plan: What to do; it begins at once, when whoever must agree has agreed.
        settings: What holds for the whole run.
        kind: What it was begun as.
        attempts_before: How often these steps were tried in an earlier run.

    Attributes:
        plan: What it does.
    """

    def __init__(
        self,
        plan: Plan,
        settings: Settings,
        kind: Kind,
        attempts_before: int = 0,
    ) -> None:
        self.plan = plan
        self._settings = settings
        self._kind: Kind = kind
        self._engine = bridge.engine()
        if self._engine.is_here():
            raise PlanError("opskit can't be called from its own engine's thread")
        _confirm(plan, settings)
        for secret in plan.secrets:
            secret.reveal()
        self._enlistment = enlistment = Enlistment(kind, plan)
        self._waited_for = False
        self._progress = Progress()
        self._guard = threading.Lock()
        self._undone: Future[None] | None = None
        self._questions = Questions(expected=plan.terms.wait)
        self._observers = observers()
        transport = shared.transport(self._engine, settings, self._questions.ask)
        self._run = Run(
            plan,
            transport,
            self._emit,
            enlistment.journal(self._engine, settings, transport, self._emit),
            max_output=settings.max_output,
            check=why_not_passing(plan.terms.check) if callable(plan.terms.check) else None,
            listens=bool(self._observers),
            attempts_before=attempts_before,
        )
        listened = self._observers or any(step.terms.on_output for step in plan.steps)
        self._callbacks = UserThread() if listened else None
        self._future: Future[Results] = self._engine.submit(collector.around(self._run.finish()))
        if not plan.terms.wait:
            left_alone.add(self._future)
        enlistment.hold(self)
        enlistment.scope.steer_by(self._undo)
        self._painter = Painter(None if enlistment.scope.is_silent else views.choose(self._shown()), self._future.done)

    def wait(self, timeout: float | None = None) -> Results:
        """Wait for the end, showing progress meanwhile.

        Args:
            timeout: Seconds to wait at most; the run goes on after that.

        Raises:
            PlanError: `timeout` is no number, or less than 0; or it would wait for itself, or hold up async tasks.
            CommandError: As `run`; also OpskitErrors of what kept it from starting.
            Cancelled: It was cancelled; `.results` has what arrived.
            TimeoutExceeded: It has not ended in time; `.results` has its rows as of now.
            KeyboardInterrupt: The kernel or script was interrupted; the run was cancelled and has ended.
        """
        self._expect_elsewhere()
        timeout = patience(timeout)
        self._waited_for = timeout is None
        try:
            with self._questions.heard(), self._painter.watched():
                bridge.block(self._future, self._tick, self._cancel, timeout)
                if self._undone is not None:
                    bridge.block(self._undone, interrupted=bridge.wait_no_more, timeout=timeout)
        except KeyboardInterrupt as interrupt:
            give_results(interrupt, self._finish())
            self._note(interrupt)
            if self._undone is not None and not self._undone.done():
                give_notes(interrupt, [goes_on(self._enlistment.scope.id)])
            raise
        if not self._future.done():
            assert timeout is not None
            raise TimeoutExceeded(f"the run still goes on after {timeout:g} s; .cancel() would end it", self.results)
        return self._judged(self._finish())

    async def wait_async(self) -> Results:
        """As `wait`, awaited; a caller that is cancelled cancels the run."""
        self._waited_for = True
        try:
            with self._questions.heard(), self._painter.watched():
                await bridge.awaiting(self._future, self._tick, self._cancel)
                if self._undone is not None:
                    await asyncio.wrap_future(self._undone)
        except asyncio.CancelledError as cancellation:
            await asyncio.to_thread(self._catch_up)
            give_results(cancellation, self._finish())
            self._note(cancellation)
            raise
        await asyncio.to_thread(self._catch_up)
        return self._judged(self._finish())

    def cancel(self, hosts: Hosts = None) -> None:
        """End what runs and start nothing more, on these hosts or on all; returns at once, `wait` tells the end.

        Args:
            hosts: As an option's: names, patterns, rows and so on; None: all.

        Raises:
            InventoryError: The run has no such host.
        """
        if hosts is None:
            self._cancel()
        else:
            self._engine.call(self._run.cancel, self.plan.hosts.select(hosts=hosts).names)

    def rollback(self, why: str | None = None) -> Results:
        """Undo what was sent: what still runs is cancelled first. Inside a transaction only this run is undone.

        Returns a row for each undo.

        Raises:
            PlanError: It would wait for itself, or hold up async tasks.
            Cancelled, PromptRefused: As `opskit.journal.rollback`, where later work stands on it; nothing was done.
            RollbackError: Not all could be undone (`.results` has the rows); or it was undone before, says by whom.
        """
        self._expect_elsewhere()  # before anybody is asked
        confirm_order(self._enlistment.scope.rollback())
        return self._undo(why)

    def _undo(self, why: str | None) -> Results:
        """As `rollback`, once whoever wants it knows what stands on it."""
        self._expect_elsewhere()
        self._waited_for = True
        undone: Future[None] = Future()
        with self._guard:
            if self._undone is not None and not self._undone.done():
                raise being_undone(self._enlistment.scope.id)
            self._undone = undone
        try:
            if not self._run.cancelled:  # a second cancel would not wait for what the first is ending
                self._cancel()
            self.join()
            return self._enlistment.rollback(why, self._progress)
        finally:
            undone.set_result(None)

    def join(self) -> None:
        """Wait for the end, whatever it is."""
        with self._questions.heard(), self._painter.watched(), suppress(OpskitError):
            bridge.block(self._future, self._tick, self._cancel)
        self._catch_up()

    def check(self) -> None:
        """Wait for the end of a run that nobody has waited for, and raise as `wait` does."""
        if not self._waited_for:
            self.wait()

    def commands(self) -> Results:
        """The rows as of now, as `results`."""
        return self.results

    def how_far(self) -> WorkProgress:
        """How far it is, for who shows what it is a part of."""
        return WorkProgress(self._progress.title, self._progress.status, None, (self._progress,))

    @property
    def results(self) -> Results:
        """The rows as of now, frozen: what is under way is `running`, what has not begun `not_started`."""
        if self._future.done():
            return self._last
        return self._dressed(self._asked(self._run.results))

    @cached_property
    def _last(self) -> Results:
        """The rows of a run that has ended."""
        return self._dressed(self._run.results())

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self._future.done()

    def __repr__(self) -> str:
        state = "ended" if self.done else f"{self._progress.running} running"
        return f"<{self.plan.name or 'run'}: {state}; .wait(), .cancel(), .results>"

    def _asked(self, question: Callable[..., T], *arguments: object) -> T:
        """What the run says, asked on its own loop; where that is no more, here."""

        async def answered() -> T:
            return question(*arguments)

        return self._engine.submit(answered()).result() if self._engine.usable else question(*arguments)

    def _shown(self) -> Shown:
        scope = self._enlistment.scope
        return Shown(
            self._progress,
            scope.id,
            results=lambda: self.results,
            outlook=scope.outlook,
            rollback=None if scope.is_undone_with_others else self._undo,
            cancel=self.cancel,
            tails=partial(self._asked, self._run.tails),
            retry=self._retry,
        )

    def _retry(self, rows: Results) -> Results:
        """Run rows once more; outside of the transaction that they were a part of, if that has ended."""
        is_left = not self._enlistment.scope.is_whole and self._enlistment.scope.root.over
        return outside().run(rows.retry_failed) if is_left else rows.retry_failed()

    def _emit(self, event: Event) -> None:
        """Take an event on the engine's loop: a few assignments, whatever the number of hosts."""
        self._progress.apply(event)
        if self._callbacks is None:
            return
        if isinstance(event, Output) and event.step.terms.on_output is not None:
            self._callbacks.call(event.step.terms.on_output, event.step.host.name, event.stream, event.text)
        for observer in self._observers:
            self._callbacks.call(observer, event)
        if isinstance(event, RunEnded):
            self._callbacks.close()

    def _tick(self) -> None:
        if not self._engine.usable:
            raise CommandError(
                "nothing runs this any more: its thread has died, or this process is a fork of the one that began it; "
                "what its rows call running may still run",
                self.results,
            )
        if self._questions.are_waiting:
            with self._painter.paused():
                self._questions.answer()

    def _expect_elsewhere(self) -> None:
        """Raise PlanError where a wait for the end would hold up others, or last for ever."""
        expect_may_block()
        if self._callbacks is not None and self._callbacks is current_callbacks():
            raise PlanError(
                "a callback can't wait for the run that it is told of: it would wait for itself. "
                ".cancel() ends the run and does not wait"
            )

    def _cancel(self) -> None:
        self._engine.call(self._run.cancel)

    def _catch_up(self) -> None:
        """Wait until the caller's functions were told everything."""
        if self._callbacks is not None:
            self._callbacks.finish()

    def _finish(self) -> Results:
        """The rows; raises what kept the run from starting."""
        self._catch_up()
        self._future.result()
        return self._last

    def _dressed(self, results: Results) -> Results:
        """Results that parse themselves as the run's options say, and can be run again."""
        parse = self.plan.terms.parse
        return replace(results, parser=None if parse is None else check_parser(parse), again=self._again)

    def _again(self, rows: Sequence[HostResult]) -> Results:
        expect_may_block()
        if not self._future.done():
            raise PlanError("the run still goes on: wait for its end, then run rows of it again")
        positions = {id(row): position for position, row in enumerate(self._run.rows())}
        wanted = {positions[id(row)] for row in rows if id(row) in positions}
        if len(wanted) != len(rows):
            raise PlanError(
                "only rows of a run itself can be run again: these were made anew, or a check's are among them"
            )
        before = max((row.attempt or 1) for row in rows)
        return Handle(self.plan.only(wanted), self._settings, self._kind, before).wait()

    def _judged(self, results: Results) -> Results:
        """The rows of a run that ended well; raises the error of any other."""
        error = self._error(results)
        if error is None:
            return results
        self._note(error)
        raise error

    def _error(self, results: Results) -> OpskitError | None:
        if (fault := self._run.fault) is not None:
            fault.results = results  # type: ignore[attr-defined]  # for who catches it
            return fault
        if self._run.cancelled and any(row.status in _ENDED_EARLY for row in results):
            return Cancelled("the run was cancelled; `.results` has what arrived", results)
        if self.plan.terms.on_error == "continue":
            return None
        if self._run.why_stopped is not None:
            return CommandError(self._run.why_stopped, results)
        return failure(results)

    def _note(self, error: BaseException) -> None:
        """Say with an error what became of the run's transaction."""
        give_notes(error, self._enlistment.notes())
        if isinstance(error, (CommandError, Cancelled)):
            error.rolled_back = self._enlistment.rolled_back


_ENDED_EARLY: Final = frozenset({"cancelled", "not_started", "unknown"})
"""What a cancel leaves; one that came when all had ended well has cancelled nothing."""

left_alone: WeakSet[Future[Any]] = WeakSet()
"""The ends of runs, and of sessions of tasks, that nobody had to wait for."""


@atexit.register
def _tell_of_the_end() -> None:
    if going_on := sum(not future.done() for future in left_alone):
        logger.warning(
            "opskit: %d run%s begun with wait=False had not ended when Python did, and ended with it; "
            'call .wait() before, or give on_disconnect="leave"', going_on, "" if going_on == 1 else "s",
        )  # fmt: skip


def patience(timeout: float | None) -> float | None:
    """The timeout of a `wait`, checked; raises PlanError if it is no number, or less than 0."""
    try:
        return None if timeout is None else pause(timeout)
    except ValueError as error:
        raise PlanError(f"wait: timeout={timeout!r} {error}; use None for no limit") from None


def _confirm(plan: Plan, settings: Settings) -> None:
    """Ask whether the plan shall run, where it says so, can't be undone, or where hosts are protected."""
    protected = {role for step in plan.steps for role in settings.protected_roles if role in step.host.roles}
    reasons = [f"protected: {', '.join(sorted(protected))}"] if protected else []
    if any(step.irreversible for step in plan.steps):
        reasons.append("it can't be undone")
    if not plan.steps or settings.yes or not (plan.terms.confirm or reasons):
        return
    why = f" ({'; '.join(reasons)})" if reasons else ""
    question = f"{elsewhere.seen(plan)}\nRun this{why}?"
    if not confirmed(question, remedy="set OPSKIT_YES=1, or opskit.configure(yes=True)"):
        raise Cancelled("not confirmed: nothing was sent", Ledger(lambda _: None, UNRECORDED).results(plan))
