"""Transactions as people use them: `with opskit.transaction(...)`, or one over many cells by `opskit.begin`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self

from opskit import shared, views
from opskit.asking import is_elsewhere
from opskit.bridge import callbacks
from opskit.calling import caller, place
from opskit.enlistment import outcome, stays_open, wait_for_asked
from opskit.errors import Cancelled, OpskitError, PlanError, RollbackError, RollbackRequested, give_notes, give_results
from opskit.fleet.names import Names
from opskit.in_use import default_inventory
from opskit.locks import Lock
from opskit.rendering.escape import one_line, said_by
from opskit.results import Results
from opskit.scopes import expect_may_block, here, open_scope, opened, outside
from opskit.settings import current
from opskit.showing import Shown
from opskit.undoing.confirming import confirm_order
from opskit.undoing.rollback import expect_undone, interrupted
from opskit.undoing.undos import Callback
from opskit.views.painter import Painter
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from opskit.defaults import Change
    from opskit.scopes import Scope

_NAME: Final = 60


class Transaction:
    """What is undone together; inside another transaction, a part of that one.

    Args:
        name: What the journal calls it.
        lock: As of `transaction`.
        wait_for_lock: As of `transaction`.
    """

    def __init__(self, name: str | None = None, *, lock: str | None = None, wait_for_lock: float | None = None) -> None:
        if name is not None and not isinstance(name, str):
            raise PlanError(f"transaction: its name must be text, not {type(name).__name__}")
        self.name = name
        self._lock = Lock.of(lock, wait_for_lock)
        self._scope: Scope | None = None
        self._change: Change[Scope | None] | None = None

    @property
    def scope(self) -> Scope:
        """Its scope, once it is open."""
        if self._scope is None:
            raise PlanError("this transaction is not open yet: write `with opskit.transaction(...) as tx:`")
        return self._scope

    @property
    def id(self) -> str:
        """What the journal knows it by; of a nested one the outer one's, a dot, and a number."""
        return self.scope.id

    @property
    def results(self) -> Results:
        """The rows of all commands that were run in it, as of now."""
        return self.scope.commands()

    def __repr__(self) -> str:
        if self._scope is None:
            return "<transaction, not open yet>"
        state = "ended" if self._scope.root.over else "open"
        called = one_line(f"transaction {self.name or ''}", _NAME).strip()
        return f"<{called} {self.id}: {state}; .rollback() undoes it>"

    def on_rollback(self, undo: str | Callable[..., object], /, *args: object, **options: Any) -> None:
        """Have a function called, or a command run, when this is rolled back.

        Args:
            undo: A function, called with `args` and `options`; or a command, whose hosts and text are fixed now.
            args: For a function.
            options: For a function its keyword arguments; for a command as of `opskit.run`.

        Raises:
            RollbackError: The transaction has ended.
            HostsBusy: It locks its hosts, and somebody else has locked some of the command's.
            JournalError: It could not be written down.
        """
        _register(self.scope, undo, args, options, caller())

    def rollback(self, why: str | None = None) -> Results:
        """Undo all that was or may have been done in it, newest first; what still runs is cancelled before.

        Returns a row for each undo.

        Raises:
            PlanError: It would hold up async tasks.
            Cancelled, PromptRefused: As `opskit.journal.rollback`, where later work stands on it; nothing was done.
            RollbackError: Something could not be undone (`.results` has the rows); or it was rolled back before, or is
                being rolled back: says by whom; or it is called in a task or a callback of its own.
        """
        _expect_elsewhere(self.scope)  # before anybody is asked
        confirm_order(self.scope.rollback())
        return self._undo(why)

    def _undo(self, why: str | None) -> Results:
        """As `rollback`, once whoever wants it knows what stands on it."""
        _expect_elsewhere(self.scope)
        return expect_undone(_undone(self.scope, why), self.scope.id)

    @classmethod
    def of(cls, scope: Scope) -> Self:
        """The transaction of an open scope."""
        found = cls(scope.name)
        found._scope = scope
        return found

    def open_by_hand(self) -> None:
        """Open it for all that follows, until its `end` or `rollback`; see `opskit.begin`."""
        scope = self._opened()
        if (waiting := scope.waiting()) is not None:
            waiting.wait()
        self._scope = scope
        scope.by_hand = True
        scope.steer_by(self._undo)
        open_scope.set(scope)
        Painter(views.choose(self._shown(scope)), lambda: scope.root.progress.over)

    def _shown(self, scope: Scope) -> Shown:
        return Shown(
            scope.root.progress,
            scope.id,
            results=scope.commands,
            outlook=scope.outlook,
            rollback=self._undo,
            works=scope.works,
            is_transaction=True,
        )

    def end(self) -> None:
        """Keep what was done: a transaction that `opskit.begin` opened ends here.

        Raises:
            PlanError: It ends with its block.
            CommandError: What was begun in it with `wait=False` has failed; it stays open.
            RollbackError: Somebody else has taken it over.
        """
        scope = self.scope
        if not scope.by_hand:
            raise PlanError(
                "a transaction of a `with` block ends with its block; end() is for what opskit.begin opened"
            )
        scope.check()
        if (asked := scope.root.asked) is not None:
            raise RollbackError(f"{asked}: it can't be kept any more")
        try:
            scope.root.end("succeeded")
        finally:
            scope.leave()
            _close_by_hand(scope)

    def __enter__(self) -> Self:
        expect_may_block()
        scope = self._opened()
        if (waiting := scope.waiting()) is not None:
            waiting.wait()
        return self._entered(scope)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._change is not None
        self._change.__exit__(kind, error, traceback)
        if (fault := self._left(error)) is not None:
            raise fault

    async def __aenter__(self) -> Self:
        if here() is None:
            await asyncio.to_thread(shared.store)  # a journal far away may take long to be opened
        scope = self._opened()
        scope.is_async = True
        if (waiting := scope.waiting()) is not None:
            await waiting.wait_async()
        return self._entered(scope)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._change is not None
        self._change.__exit__(kind, error, traceback)
        if (fault := await asyncio.to_thread(self._left, error)) is not None:
            raise fault

    def _opened(self) -> Scope:
        """Its scope, in which nothing is done yet."""
        if self._scope is not None:
            raise PlanError("a transaction can be opened once; make another one")
        scope = opened("transaction", self.name)
        scope.lock = self._lock
        return scope

    def _entered(self, scope: Scope) -> Self:
        self._scope = scope
        if scope.parent is not None:
            scope.parent.hold(scope)
        scope.steer_by(self._undo)
        self._change = open_scope.set(scope)
        self._change.__enter__()
        return self

    def _left(self, error: BaseException | None) -> BaseException | None:
        """End it well, or undo it; returns what is to be raised in place of nothing."""
        scope = self.scope
        try:
            fault = self._fault() if error is None else None
            failing = error or fault
            if failing is not None:
                wait_for_asked(scope, failing)
            if failing is None and scope.is_whole:
                scope.root.end("succeeded")
            elif failing is not None and not (scope.root.over if scope.is_whole else scope.root.asked):
                _undo_for(scope, failing)
        finally:
            scope.leave()
        return fault

    def _fault(self) -> BaseException | None:
        """What went wrong though nobody raised it in the block."""
        try:
            self.scope.check()
        except BaseException as error:  # noqa: BLE001 - an interrupt undoes as well
            return error
        if (asked := self.scope.root.asked) is not None:
            return Cancelled(str(asked), self.results)
        return None if self.scope.asked is None else RollbackRequested(self.scope.asked)


def _undo_for(scope: Scope, failing: BaseException) -> None:
    """Undo what was done in a scope because of an error, which is told what became of that.

    An interrupt meanwhile is raised from that error, and has its `.results`.
    """
    interrupt, told = None, ()
    try:
        note = outcome(scope, _undone(scope, said_by(failing)), failing)
    except OpskitError as error:
        note = f"the rollback failed: {error}"
    except KeyboardInterrupt as error:
        told = getattr(error, "__notes__", ())
        interrupt, note = error, next(iter(told), interrupted(scope.root.id))
    notes = [*filter(None, [note]), *stays_open(scope)]
    give_notes(failing, notes)
    if interrupt is not None:
        if isinstance(results := getattr(failing, "results", None), Results):
            give_results(interrupt, results)
        give_notes(interrupt, [one for one in notes if one not in told])
        raise interrupt from failing


def _undone(scope: Scope, why: str | None) -> Results:
    """Undo what was done in a scope; what still runs in it is cancelled before. The rows of the undos."""
    try:
        scope.cancel()
        scope.join()
        return scope.rollback().wait(why, scope.root.progress)
    finally:
        scope.leave()
        # For somebody elsewhere it stays: who goes on here is told, or, where that failed, is still in it.
        if not is_elsewhere.get():
            _close_by_hand(scope)


def _close_by_hand(scope: Scope) -> None:
    if scope.by_hand and open_scope.get() is scope:
        open_scope.set(None)


def _expect_elsewhere(scope: Scope) -> None:
    """Raise an error where a rollback of this would hold up async tasks, or wait for the end of who asks for it."""
    expect_may_block()
    inner, is_waited_for = open_scope.get(), callbacks.current() is not None
    while inner is not None and inner is not scope:
        is_waited_for = is_waited_for or inner.kind == "task"
        inner = inner.parent
    if inner is scope and is_waited_for:
        raise RollbackError(
            f"transaction {scope.id} can't be rolled back by a task or a callback of its own: the rollback would wait "
            "for that to end. In a task, opskit.rollback() ends it, and has it undone"
        )


def transaction(name: str | None = None, *, lock: str | None = None, wait_for_lock: float | None = None) -> Transaction:
    """Undo together what is done in a block, if an exception leaves it: `with opskit.transaction("deploy") as tx:`.

    Inside another transaction it is a part of that: an exception undoes this part; ended well, its undos are the
    outer one's.

    Args:
        name: What the journal calls it.
        lock: What it keeps every other transaction off that locks the same. `"hosts"`: the hosts of each run in it, by
            address and port, all of them before anything is sent. Any other text: a name on which you have agreed,
            locked when the block is entered. Until the whole transaction has ended: also where this is a part of it.
        wait_for_lock: Seconds for which each lock that somebody else holds is waited for; None: not at all.

    Raises:
        PlanError: An argument can't be right.
        HostsBusy: On entering, or from a run in the block: somebody else holds the lock; says who, and since when.
    """
    return Transaction(name, lock=lock, wait_for_lock=wait_for_lock)


def begin(name: str | None = None, *, lock: str | None = None, wait_for_lock: float | None = None) -> Transaction:
    """Open a transaction over many cells, until its `end()` or `rollback()`.

    Args:
        name: What the journal calls it.
        lock: As of `transaction`; a name is locked at once.
        wait_for_lock: As of `transaction`.

    Raises:
        PlanError: One is open already, or an argument can't be right.
        HostsBusy: Somebody else holds the lock; nothing is open then.
    """
    if (outer := here()) is not None:
        raise PlanError(
            f"transaction {outer.root.id} is open: end it or roll it back before you begin "
            "another; `with opskit.transaction():` makes a part of it"
        )
    open_scope.set(None)  # what was open here may have been rolled back for another process
    begun = Transaction(name, lock=lock, wait_for_lock=wait_for_lock)
    begun.open_by_hand()
    return begun


def by_hand() -> Transaction | None:
    """The transaction that `begin` opened and that is still open."""
    scope = here()
    while scope is not None and not scope.by_hand:
        scope = scope.parent
    return None if scope is None or scope.root.over else Transaction.of(scope)


def on_rollback(undo: str | Callable[..., object], /, *args: object, **options: Any) -> None:
    """As `Transaction.on_rollback`, for the transaction or task that this is called in.

    Raises:
        RollbackError: It is called outside of any.
    """
    _register(_open("on_rollback"), undo, args, options, caller())


def rollback(why: str = "asked for by opskit.rollback()") -> None:
    """End the task or the block of the transaction that this is called in, and have it undone.

    A transaction that `begin` opened is undone at once.

    Raises:
        RollbackRequested: Always, with `why`; to catch it does not keep the task.
        RollbackError: It is called outside of any.
    """
    scope = _open("rollback")
    requested = RollbackRequested(why)
    if scope.by_hand:
        _expect_elsewhere(scope)
        _undo_for(scope, requested)
    else:
        scope.asked = why
    raise requested


def _open(what: str) -> Scope:
    scope = here()
    if scope is None:
        raise RollbackError(
            f"opskit.{what}() is for code inside a transaction or a task: nothing is open here. "
            "Write `with opskit.transaction():`, or opskit.begin()"
        )
    return scope


def _register(
    scope: Scope, undo: str | Callable[..., object], args: tuple[object, ...], options: dict[str, Any], frame: FrameType
) -> None:
    """Have a scope remember an undo."""
    if scope.root.over:
        raise RollbackError(f"transaction {scope.root.id} has ended: nothing can be registered in it any more")
    if callable(undo):
        scope.register(Callback(undo, args, options, outside()))
        return
    if args or not isinstance(undo, str):
        raise PlanError(
            f"on_rollback takes a function with its arguments, or a command with options, not {type(undo).__name__}"
        )
    settings = current()
    draft = Draft(options, settings, "on_rollback")
    draft.everywhere(undo, Names.of(frame, draft.terms.variables, settings), place(frame))
    scope.register(draft.plan(default_inventory))
