"""Transactions as people use them: `with opskit.transaction(...)`, or one over many cells by `opskit.begin`."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, Self

from opskit.calling import caller, place
from opskit.errors import OpskitError, PlanError, RollbackError, RollbackRequested
from opskit.fleet.names import Names
from opskit.in_use import default_inventory
from opskit.scopes import Scope, open_scope
from opskit.settings import current
from opskit.undoing import failed_to_undo, told
from opskit.undos import Callback
from opskit.whole import Whole
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from opskit.results import Results
    from opskit.scope import Change


class Transaction:
    """What is undone together; inside another transaction, a part of that one.

    Args:
        name: What the journal calls it.
    """

    def __init__(self, name: str | None = None) -> None:
        if name is not None and not isinstance(name, str):
            raise PlanError(f"transaction: its name must be text, not {type(name).__name__}")
        self.name = name
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
        state = "ended" if self._scope.whole.over else "open"
        return f"<transaction {self.name or ''} {self.id}: {state}; .rollback() undoes it>".replace("  ", " ")

    def on_rollback(self, undo: str | Callable[..., object], /, *args: object, **options: Any) -> None:
        """Have a function called, or a command run, when this is rolled back.

        Args:
            undo: A function, called with `args` and `options`; or a command, whose hosts and text are fixed now.
            args: For a function.
            options: For a function its keyword arguments; for a command as of `opskit.run`.

        Raises:
            RollbackError: The transaction has ended.
            JournalError: It could not be written down.
        """
        register(self.scope, undo, args, options, caller())

    def rollback(self, why: str | None = None) -> Results:
        """Undo all that was or may have been done in it, newest first; what still runs is cancelled before.

        Returns a row for each undo.

        Raises:
            RollbackError: Something could not be undone (`.results` has the rows); or it was rolled back before, or is
                being rolled back: says by whom.
        """
        return roll_back(self.scope, why)

    def end(self) -> None:
        """Keep what was done: a transaction that `opskit.begin` opened ends here.

        Raises:
            CommandError: What was begun in it with `wait=False` has failed; it stays open.
            RollbackError: Somebody else has taken it over.
        """
        scope = self.scope
        scope.check()
        try:
            scope.whole.end("succeeded")
        finally:
            if open_scope.get() is scope:
                open_scope.set(None)

    def __enter__(self) -> Self:
        if self._scope is not None:
            raise PlanError("a transaction can be opened once; make another one")
        outer = open_scope.get()
        if outer is None:
            self._scope = Scope(Whole("transaction", self.name), "transaction", self.name, None)
        else:
            self._scope = outer.part("transaction", self.name)
            outer.hold(self._scope)
        self._change = open_scope.set(self._scope)
        self._change.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(kind, error, traceback)
        if (fault := self._left(error)) is not None:
            raise fault

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(kind, error, traceback)
        if (fault := await asyncio.to_thread(self._left, error)) is not None:
            raise fault

    def _close(self, *error: Any) -> None:
        assert self._change is not None
        self._change.__exit__(*error)

    def _left(self, error: BaseException | None) -> BaseException | None:
        """End it well, or undo it; returns what is to be raised in place of nothing."""
        scope, fault = self.scope, self._fault() if error is None else None
        failing = error or fault
        if failing is None:
            if not scope.number:
                scope.whole.end("succeeded")
            return None
        if not (scope.number == 0 and scope.whole.over):
            undo_for(scope, failing)
        return fault

    def _fault(self) -> BaseException | None:
        """What went wrong though nobody raised it in the block."""
        try:
            self.scope.check()
        except BaseException as error:  # noqa: BLE001 - an interrupt undoes as well
            return error
        return None if self.scope.asked is None else RollbackRequested(self.scope.asked)


def undo_for(scope: Scope, failing: BaseException) -> None:
    """Undo what was done in a scope because of an error, which is told what became of that."""
    scope.cancel()
    scope.join()
    try:
        rows = scope.undoing().wait(f"{type(failing).__name__}: {failing}")
    except OpskitError as error:
        failing.add_note(f"the rollback failed: {error}")
    else:
        failing.add_note(told(rows, scope.whole.id))


def roll_back(scope: Scope, why: str | None) -> Results:
    """Roll a scope back because somebody wants it."""
    scope.cancel()
    scope.join()
    if scope.by_hand is not None and open_scope.get() is scope:
        open_scope.set(None)
    rows = scope.undoing().wait(why)
    if (error := failed_to_undo(rows, scope.whole.id)) is not None:
        raise error
    return rows


def transaction(name: str | None = None) -> Transaction:
    """Undo together what is done in a block, if an exception leaves it: `with opskit.transaction("deploy") as tx:`.

    Inside another transaction it is a part of that: an exception undoes this part; ended well, its undos are the
    outer one's.
    """
    return Transaction(name)


def begin(name: str | None = None) -> Transaction:
    """Open a transaction over many cells, until its `end()` or `rollback()`.

    Raises:
        PlanError: One is open already.
    """
    if (outer := open_scope.get()) is not None:
        raise PlanError(
            f"transaction {outer.whole.id} is open: end it or roll it back before you begin "
            "another; `with opskit.transaction():` makes a part of it"
        )
    begun = Transaction(name)
    begun._scope = Scope(Whole("transaction", name), "transaction", name, None)  # noqa: SLF001 - of this module
    begun._scope.by_hand = begun  # noqa: SLF001 - as above
    open_scope.set(begun._scope)  # noqa: SLF001 - as above
    return begun


def begun() -> Transaction | None:
    """The transaction that `begin` opened and that is still open."""
    scope = open_scope.get()
    while scope is not None and scope.by_hand is None:
        scope = scope.parent
    return None if scope is None or scope.whole.over else scope.by_hand


def on_rollback(undo: str | Callable[..., object], /, *args: object, **options: Any) -> None:
    """As `Transaction.on_rollback`, for the transaction or task that this is called in.

    Raises:
        RollbackError: It is called outside of any.
    """
    register(_open("on_rollback"), undo, args, options, caller())


def rollback(why: str = "asked for by opskit.rollback()") -> None:
    """End the task or the block of the transaction that this is called in, and have it undone.

    Raises:
        RollbackRequested: Always, with `why`; to catch it does not keep the task.
        RollbackError: It is called outside of any.
    """
    scope = _open("rollback")
    while scope.kind not in ("task", "transaction") and scope.parent is not None:
        scope = scope.parent
    scope.asked = why
    raise RollbackRequested(why)


def _open(what: str) -> Scope:
    scope = open_scope.get()
    if scope is None:
        raise RollbackError(
            f"opskit.{what}() is for code inside a transaction or a task: nothing is open here. "
            "Write `with opskit.transaction():`, or opskit.begin()"
        )
    return scope


def register(
    scope: Scope, undo: str | Callable[..., object], args: tuple[object, ...], options: dict[str, Any], frame: FrameType
) -> None:
    """Have a scope remember an undo."""
    if scope.whole.over:
        raise RollbackError(f"transaction {scope.whole.id} has ended: nothing can be registered in it any more")
    if callable(undo):
        context = contextvars.copy_context()
        context.run(open_scope.here, None)
        scope.register(Callback(undo, args, options, context))
        return
    if args or not isinstance(undo, str):
        raise PlanError(
            f"on_rollback takes a function with its arguments, or a command with options, not {type(undo).__name__}"
        )
    settings = current()
    draft = Draft(options, settings, "on_rollback")
    draft.everywhere(undo, Names.of(frame, draft.terms.variables, settings), place(frame))
    scope.register(draft.plan(default_inventory))
