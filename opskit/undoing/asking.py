"""The asker's side of a rollback of what a live process of somebody's is at: ask that, follow what it does, or give up.

`answering` is the other side. All of it blocks.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opskit import bridge
from opskit.errors import JournalError, RollbackError, give_notes
from opskit.masking import mask
from opskit.record.database import machine
from opskit.record.facts import Request
from opskit.record.moves import GOING_ON
from opskit.record.standing import row
from opskit.results import Results
from opskit.undoing.order import undone_since
from opskit.undoing.rollback import goes_on

if TYPE_CHECKING:
    from opskit.record.facts import Now
    from opskit.record.store import Store

ANSWER_SECONDS: Final = 30.0
"""How long its owner may take to take up what it is asked."""

LOOK_SECONDS: Final = 0.5
"""Between two looks at what became of it."""


def is_anothers(now: Now, store: Store) -> bool:
    """Whether another process, which lives, runs it: that is asked."""
    return now.state == "running" and now.owner.alive and now.owner.id != store.owner_id


def undone_by_owner(store: Store, transaction: str, why: str | None) -> Results | None:
    """Ask the process that is at a transaction, if one is, to roll it back, and wait until it is done.

    Args:
        store: The journal's.
        transaction: Its id.
        why: What is said to the owner, and by that in the journal.

    Returns:
        The rows of the undos; None: nobody is there to do it, or it has ended or died meanwhile.

    Raises:
        RollbackError: Its owner could not do it, or did not answer; it is not asked any more.
        KeyboardInterrupt: Says whether a rollback goes on.
    """
    before = store.now(transaction)
    if not is_anothers(before, store):
        return None
    earlier = store.accounts(transaction, outputs=False)
    now = _asked(store, before, None if why is None else mask(why))
    if now.epoch == before.epoch or now.state not in ("rolled_back", "rollback_partial"):
        return None
    undone = undone_since(earlier, now.transaction.kind, store.parts(transaction), store.accounts(transaction))
    return Results(tuple(row(account, undo=True) for account in undone))


class _Wish:
    """What its owner is asked, by us, or by somebody before us.

    Attributes:
        may_be_taken_up: Whether something that its owner was asked is not asked any more.
    """

    def __init__(self, store: Store, transaction: str, why: str | None) -> None:
        self._store = store
        self._transaction = transaction
        self._own = Request(transaction, store.who, machine(), datetime.now(UTC), why)
        self._is_own = False
        self._said = len(self._words())
        self.may_be_taken_up = False

    def make(self) -> None:
        """Ask, unless somebody else does."""
        self._is_own = self._store.ask(self._own)

    def stands(self) -> bool:
        """Whether its owner is still to take it up; we ask by ourselves as soon as who asked before us does not."""
        if self._store.asked([self._transaction]):
            return True
        self.may_be_taken_up = True
        if self._is_own:
            return False
        self.make()
        return True

    def withdraw(self) -> bool:
        """Ask no more; others may. Whether it was still to be taken up."""
        return self._store.withdraw(self._own) or (not self._is_own and bool(self._store.asked([self._transaction])))

    def refusal(self) -> str | None:
        """What its owner says of why it could not do it."""
        return next(iter(self._words()[self._said :]), None)

    def _words(self) -> list[str]:
        return [note.text for note in self._store.notes(self._transaction) if note.seq is None]

    def end(self) -> str:
        """Ask no more; says what becomes of it."""
        try:
            withdrawn = self.withdraw()
        except JournalError:
            withdrawn, self.may_be_taken_up = True, True
        if not withdrawn:
            return goes_on(self._transaction)
        if not self._is_own or self.may_be_taken_up:
            return f"its owner may still roll it back: opskit journal {self._transaction} tells what became of it"
        return "its owner is not asked any more: nothing was undone"


def _asked(store: Store, before: Now, why: str | None) -> Now:
    """Where it stands then. Of another epoch: it was rolled back; else it has ended, or its owner has died."""
    wish = _Wish(store, before.transaction.id, why)
    try:
        wish.make()
        now = _followed(store, before, wish)
        wish.withdraw()
    except (JournalError, KeyboardInterrupt) as error:
        give_notes(error, [wish.end()])
        raise
    return now


def _followed(store: Store, before: Now, wish: _Wish) -> Now:
    transaction, has_ended = before.transaction.id, False
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        now = store.now(transaction)
        is_undone = now.epoch != before.epoch and now.state != "rolling_back"
        if is_undone or not now.owner.alive:
            return now
        if now.state != "rolling_back":
            stands = wish.stands()
            if now.state not in GOING_ON and not has_ended:
                if not wish.may_be_taken_up:
                    return now
                # A run that is cancelled for it ends before it is rolled back.
                has_ended, deadline = True, time.monotonic() + ANSWER_SECONDS
            if wish.may_be_taken_up and (said := wish.refusal()) is not None:
                raise RollbackError(f"transaction {transaction}: {said}")
            if time.monotonic() > deadline:
                if has_ended:
                    return now
                if stands and wish.withdraw():
                    raise _unanswered(now, wish)
                wish.make()
                deadline = time.monotonic() + ANSWER_SECONDS
        bridge.block(Future(), interrupted=bridge.wait_no_more, timeout=LOOK_SECONDS)


def _unanswered(now: Now, wish: _Wish) -> RollbackError:
    transaction = now.transaction.id
    may = ". It may have taken it up, and still do it" if wish.may_be_taken_up else ""
    return RollbackError(
        f"transaction {transaction}: its owner, {now.owner}, has not answered for {ANSWER_SECONDS:g} s, and is not"
        f" asked any more: it may be stopped, or busy{may}. Try again; or end that process, then anybody can undo what"
        f" it did; or, if nothing of it is under way: opskit rollback {transaction} --force"
    )
