"""`opskit.journal`: who ran what, where, when and how it ended; and what was left behind, undone from anywhere.

`opskit.journal.df` has a row for each of the newest 1,000 transactions, newest first: `transaction` (its id), `name`,
`kind`, `state` (`abandoned` where its owner died), `who`, `machine`, `notebook`, `started_at` and `ended_at` (UTC),
`hosts`, `ok` and `failed` (how many hosts and steps), `undone` and `owed` (how many undos), `reason`.

Wherever a transaction is named, the beginning of its id is enough. Everything here blocks, and raises JournalError if
the journal can't be read or written, and RollbackError of a transaction that is not there.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, get_args

from opskit import checks, shared
from opskit.asking import confirmed
from opskit.begun import begun_here
from opskit.errors import JournalError, PlanError, PromptRefused, RollbackError, did_you_mean
from opskit.frames.journal import COLUMNS, journal_frame
from opskit.journal.display import Listing
from opskit.journal.history import NEWEST, History, summaries
from opskit.journal.history import unfinished as needing_somebody
from opskit.masking import mask
from opskit.record.facts import Note
from opskit.record.standing import status as standing
from opskit.rendering.escape import one_line
from opskit.results import Results, Status
from opskit.undoing.asking import is_anothers, undone_by_owner
from opskit.undoing.confirming import confirm, confirm_order
from opskit.undoing.rollback import Rollback, expect_undone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pandas as pd

    from opskit.journal.history import Summary
    from opskit.record.facts import Account, Now
    from opskit.record.store import Store

__all__ = [
    "close", "df", "last", "prune", "results", "rollback", "settle", "show", "transactions", "unfinished",
]  # fmt: skip

logger = logging.getLogger("opskit")

Moment = datetime | timedelta | str
"""A time; how long ago; or the text of either, such as `2026-01-31 10:00`, `90m`, `2h`, `30d`."""

df: pd.DataFrame

_SETTLED: Final = tuple(word for word in get_args(Status) if word not in ("running", "skipped"))


def __getattr__(name: str) -> Any:
    if name == "df":
        return transactions()
    raise AttributeError(f"module 'opskit.journal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def transactions(
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    name: str | None = None,
    host: str | None = None,
    who: str | None = None,
) -> pd.DataFrame:
    """As `df`, of those transactions that all of this holds for.

    Args:
        since: Begun then or later: a time, or how long ago, such as `"2h"`.
        until: Begun before then.
        name: Called so.
        host: With a step or an undo on the host of this name.
        who: Begun or taken over by this user.

    Raises:
        PlanError: A time can't be read.
    """
    found = listing(since=since, until=until, name=name, host=host, who=who)
    return _frame(found.summaries).drop(columns="what_to_do")


def listing(
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    name: str | None = None,
    host: str | None = None,
    who: str | None = None,
    limit: int = NEWEST,
) -> Listing:
    """As `transactions`, at most so many of them, as a value that displays itself as text and as HTML."""
    begun = None if since is None else _moment("since", since)
    ended = None if until is None else _moment("until", until)
    return Listing(summaries(shared.store(), since=begun, until=ended, name=name, host=host, who=who, limit=limit))


def listing_of_unfinished() -> Listing:
    """As `unfinished`, as a value that displays itself as text and as HTML."""
    return Listing(needing_somebody(shared.store()))


def unfinished() -> pd.DataFrame:
    """What needs somebody: what a dead process left, and what was not wholly undone; `what_to_do` says how.

    A transaction that a dead process left is here if anything of it was or may have been sent, if it has undos, or if
    it keeps others off something.
    """
    return _frame(listing_of_unfinished().summaries)


def show(transaction: str) -> History:
    """One transaction: its moves, steps, undos, tasks and notes; displays itself as text and as HTML."""
    return History.of(shared.store(), _id(transaction))


def last(name: str | None = None) -> Results:
    """The rows of the newest transaction, or of the newest of this name; see `results`.

    Raises:
        JournalError: There is none.
    """
    store = shared.store()
    newest = store.transactions(name=name, limit=1)
    if not newest:
        known = [now.transaction.name for now in store.transactions(limit=NEWEST) if now.transaction.name is not None]
        called = "" if name is None else f" called {name!r}{did_you_mean(name, known)}"
        raise JournalError(f"the journal has no transaction{called}")
    return results(newest[0].transaction.id)


def results(transaction: str) -> Results:
    """The rows of a transaction, or of a part of it (`"TX.3"`): a row for each command and each task, as planned.

    What a dead process sent and did not hear of is `unknown`, what a live one is at is `running`.
    """
    return Results(show(transaction).rows(part_of(transaction)))


def part_of(transaction: str) -> int:
    """The number of the part that an id names; 0: the whole."""
    number = _id(transaction).partition(".")[2].strip()
    if number and not number.isdecimal():
        raise RollbackError(f"{transaction!r} names no part: write the transaction's id, a dot, and a number")
    return int(number or 0)


def rollback(transaction: str, why: str | None = None, *, force: bool = False) -> Results:
    """Undo what was or may have been done in a transaction and is not undone, newest first, from any process.

    What a live process is at, that is asked to roll back: within seconds it cancels what runs, and undoes all of it,
    with its functions. That is waited for; an interrupt withdraws what was not taken up.

    What nobody is at any more is undone from here: commands from the journal alone; functions of another process are
    called if they can be imported by name, and only if a person, who is asked here, agrees; the others are left to
    their notebook.

    Args:
        transaction: Its id.
        why: What the journal says of it.
        force: Whether a live owner is not asked, but robbed: one on another machine, or one with nothing under way.

    Returns:
        A row for each undo.

    Raises:
        Cancelled, PromptRefused: Later work on the same hosts, with undos of its own, stands on it, and a person who
            was asked said no, or nobody could answer; `opskit.configure(yes=True)` answers.
        RollbackError: Something is left (`.results` has the rows); or its owner can't do it, or has not answered for
            30 s; or it is rolled back or closed already, or is being rolled back by somebody else: says who, and since
            when; or it runs in this very process.
    """
    return _rolled_back(transaction, why, lambda undoing, _: confirm_order(undoing), force=force)


def confirmed_rollback(transaction: str, why: str | None = None, *, remedy: str, force: bool = False) -> Results:
    """As `rollback`, for a person at a prompt, who first sees all that it would undo.

    Args:
        transaction: Its id.
        why: What the journal says of it.
        remedy: What to set where nobody can answer, for the error.
        force: As of `rollback`.
    """
    return _rolled_back(transaction, why, lambda undoing, runs: confirm(undoing, remedy, runs), force=force)


def agreed_rollback(transaction: str, why: str | None = None) -> Results:
    """As `rollback`, for a person who has seen what it would undo, has agreed, and sees that it goes on."""
    return _rolled_back(transaction, why, lambda *_: None, force=False, is_seen=True)


def _rolled_back(
    transaction: str,
    why: str | None,
    agree: Callable[[Rollback, str | None], object],
    *,
    force: bool,
    is_seen: bool = False,
) -> Results:
    """Roll back, or have it rolled back; `agree` is told what, and who still runs it and would be asked."""
    store = shared.store()
    now = _whole(store, transaction)
    _expect_left(
        now, "its own .rollback() ends and undoes it (%opskit transaction rollback, where it was begun by hand)"
    )
    found = now.transaction.id
    undoing = Rollback(store, found, root=begun_here(found), force=force)
    asked = str(now.owner) if is_anothers(now, store) and not force else None
    agree(undoing, asked)
    if asked is not None and not is_seen:
        logger.warning("opskit: asking %s to roll back transaction %s; waiting", asked, found)
    if not force and (rows := undone_by_owner(store, found, why)) is not None:
        return expect_undone(rows, found)
    if undoing.is_foreign and (calls := [account for account in undoing.owed() if account.entry.call is not None]):
        undoing = Rollback(store, found, force=force, calls=_agreed(calls))
    return expect_undone(undoing.wait(why), found)


def close(transaction: str, why: str, *, force: bool = False) -> None:
    """Leave a transaction as it is, for good: what of it is not undone will never be, and its locks are free.

    Args:
        transaction: Its id.
        why: What the journal says of it.
        force: Whether a live owner is robbed of it: one on another machine, or one with nothing under way.

    Raises:
        PlanError: There is no reason in `why`.
        RollbackError: It has ended well or was undone, or somebody is at it: says who, and since when.
    """
    store = shared.store()
    now, reason = _whole(store, transaction), _reason("close", why)
    _expect_left(now, "cancel it, or end it")
    store.claim(now.transaction.id, "closed", reason, force=force)


def settle(
    transaction: str, host: str, status: Status, why: str, *, undo: bool = False, branch: str | None = None
) -> Results:
    """Say what became of steps of which the journal does not know, or has it wrong. A note is added; no row changes.

    Args:
        transaction: Its id.
        host: Whose steps; those that are unknown, or all if none of them is. `""`: functions.
        status: What became of them, a word such as `ok` or `not_started`.
        why: How that is known.
        undo: Whether this is said of their undos.
        branch: Only steps of this branch.

    Returns:
        Their rows, as they are now.

    Raises:
        PlanError: `status` is no such word, or there is no reason in `why`.
        RollbackError: There is no such step, or somebody is at it still.
    """
    if status not in _SETTLED:
        raise PlanError(f"settle: {status!r} is no status{did_you_mean(status, _SETTLED)}")
    store, reason = shared.store(), _reason("settle", why)
    now = _whole(store, transaction)
    accounts = _steps_on(host, store.accounts(now.transaction.id), undo=undo, branch=branch)
    if now.goes_on:
        raise RollbackError(f"transaction {now.transaction.id} is still under way by {now.owner}: wait for its end")
    unknown = [account for account in accounts if standing(account, undo=undo) == "unknown"]
    settled, at, who = unknown or accounts, datetime.now(UTC), store.who
    store.write(
        [
            Note(now.transaction.id, one.entry.seq, undo, who, at, reason, standing(one, undo=undo), status)
            for one in settled
        ]
    )
    numbers = {one.entry.seq for one in settled}
    after = show(now.transaction.id)
    return Results(tuple(after.row(one, undo=undo) for one in after.accounts if one.entry.seq in numbers))


def prune(before: Moment) -> int:
    """Forget transactions that ended before a time, or so long ago (`"90d"`); returns how many.

    Those that still need somebody are kept.

    Raises:
        PlanError: The time can't be read.
    """
    return shared.store().prune(_moment("before", before))


def _expect_left(now: Now, remedy: str) -> None:
    """Raise RollbackError if somebody in this process is still at it."""
    root = begun_here(now.transaction.id)
    if now.state == "running" and root is not None and not root.left:
        raise RollbackError(f"transaction {now.transaction.id} runs in this process: {remedy}")


def _frame(found: Iterable[Summary]) -> pd.DataFrame:
    return journal_frame(list(map(attrgetter(*COLUMNS), found)))


def _moment(what: str, given: Moment) -> datetime:
    try:
        return checks.moment(given)
    except ValueError as error:
        raise PlanError(f"journal: {what}={given!r} {error}") from None


def _id(transaction: object) -> str:
    if not isinstance(transaction, str) or not transaction.strip():
        raise RollbackError(f"a transaction is named by its id, as text, not by {transaction!r}")
    return transaction.strip()


def _whole(store: Store, transaction: str) -> Now:
    """Where a whole transaction stands."""
    given, dot, _ = _id(transaction).partition(".")
    if dot:
        raise RollbackError(
            f"{transaction!r} is a part of a transaction; from here only all of it can be named: {given}"
        )
    return store.now(given)


def _reason(verb: str, why: object) -> str:
    if not isinstance(why, str) or not why.strip():
        raise PlanError(f"{verb}: say why, for whoever reads the journal later")
    return mask(why)


def _steps_on(host: str, accounts: Sequence[Account], *, undo: bool, branch: str | None) -> list[Account]:
    able = [one for one in accounts if (one.entry.undo if undo else one.entry.command) is not None]
    found = [one for one in able if (one.entry.host or "") == host and branch in (None, one.entry.branch)]
    if not found:
        of = "" if branch is None else f" of the branch {branch!r}"
        near = did_you_mean(host, {one.entry.host or "" for one in able}, plural="its hosts")
        raise RollbackError(f"the transaction has no {'undo' if undo else 'step'}{of} on {host!r}{near}")
    return found


def _agreed(calls: Sequence[Account]) -> bool:
    """Whether a person wants these functions called; where nobody can answer, nobody does."""
    listed = "\n".join(f"  {_function(account)}" for account in calls)
    try:
        return confirmed(
            f"undoing this calls functions that another process registered, imported by name:\n{listed}\n"
            "Call them here?",
            remedy="only a person can agree to that, at a terminal or in a notebook",
        )
    except PromptRefused:
        return False


def _function(account: Account) -> str:
    call = json.loads(account.entry.call or "{}")
    words = [
        repr(call["function"]),
        *map(repr, call["args"]),
        *(f"{key}={value!r}" for key, value in call["kwargs"].items()),
    ]
    return one_line(" ".join(words), 300)
