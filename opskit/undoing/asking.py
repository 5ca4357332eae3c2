"""The asker's side of a rollback of what a live process of somebody's is at: ask that, follow what it does, or give up.

`answering` is the other side. All of it blocks.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from opskit import bridge
from opskit.errors import JournalError, RollbackError, give_notes
from opskit.masking import mask
from opskit.record.moves import GOING_ON
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


def ask(store: Store, before: Now, why: str | None) -> Now:
    """Ask the owner of a transaction to roll it back, and wait until it is done, or until nobody is there to do it.

    Args:
        store: The journal's.
        before: Where the transaction stood.
        why: What is said to the owner, and by that in the journal.

    Returns:
        Where it stands then. Of another epoch: it was rolled back; else it has ended, or its owner has died.

    Raises:
        RollbackError: Its owner did not answer; it is not asked any more.
        KeyboardInterrupt: Says whether a rollback goes on.
    """
    transaction, reason = before.transaction.id, None if why is None else mask(why)
    try:
        store.ask(transaction, reason)
        now = _followed(store, before, reason)
        store.take_request(transaction)
    except (JournalError, KeyboardInterrupt) as error:
        give_notes(error, [_withdrawn(store, transaction)])
        raise
    return now


def _followed(store: Store, before: Now, why: str | None) -> Now:
    transaction, has_ended = before.transaction.id, False
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        now = store.now(transaction)
        is_undone = now.epoch != before.epoch and now.state != "rolling_back"
        if is_undone or not now.owner.alive:
            return now
        if now.state not in GOING_ON and not has_ended:
            if store.take_request(transaction) is not None:
                return now
            # It was taken up: a run that is cancelled for it ends before it is rolled back.
            has_ended, deadline = True, time.monotonic() + ANSWER_SECONDS
        if now.state != "rolling_back" and time.monotonic() > deadline:
            if has_ended:
                return now
            if store.take_request(transaction) is not None:
                raise _unanswered(now)
            # It was taken up. Or somebody else who asked as well has given up: then it is asked anew.
            store.ask(transaction, why)
            deadline = time.monotonic() + ANSWER_SECONDS
        bridge.block(Future(), interrupted=bridge.wait_no_more, timeout=LOOK_SECONDS)


def _unanswered(now: Now) -> RollbackError:
    transaction = now.transaction.id
    return RollbackError(
        f"transaction {transaction}: its owner, {now.owner}, has not answered for {ANSWER_SECONDS:g} s, and is not"
        " asked any more: it may be stopped, or busy. Try again; or end that process, then anybody can undo what it"
        f" did; or, if nothing of it is under way: opskit rollback {transaction} --force"
    )


def _withdrawn(store: Store, transaction: str) -> str:
    """Ask no more; says whether it is done all the same."""
    try:
        withdrawn = store.take_request(transaction) is not None
    except JournalError:
        return f"its owner may have been asked: opskit journal {transaction} tells what became of it"
    if withdrawn:
        return "its owner is not asked any more: nothing was undone"
    return goes_on(transaction)
