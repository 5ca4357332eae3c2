"""Who may move a transaction where, and how it is said that somebody may not. Pure, below the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opskit.record.moves import CLAIMS, FINAL, MOVES, words
from opskit.rendering.escape import one_line
from opskit.rendering.folding import fold

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from opskit.record.facts import Now
    from opskit.record.moves import State


_NAME: Final = 60
_HOSTS: Final = 300


def refusal_to_move(now: Now, after: State, owner: str) -> str | None:
    """Why this owner may not move a transaction on; None if it may."""
    if now.owner.id != owner:
        return f"{_in_hands(now)}: nothing more is done with it here"
    if after in CLAIMS:
        return f"transaction {now.transaction.id} becomes {words(after)} only by a claim"
    return _illegal(now, after)


def refusal_to_claim(now: Now, after: State, owner: str, machine: str, in_flight: int, *, force: bool) -> str | None:
    """Why this owner may not take a transaction over; None if it may.

    Args:
        now: Where it stands.
        after: What it is to become.
        owner: Who wants it.
        machine: Where that one is.
        in_flight: How many of its commands and undos are under way, as far as is recorded.
        force: Whether an owner on another machine does not count as alive, and what is idle may be closed.
    """
    if now.state in FINAL:
        return _in_hands(now)
    if after not in CLAIMS:
        return f"a claim makes a transaction {' or '.join(map(words, sorted(CLAIMS)))}, not {words(after)}"
    theirs = now.owner.id != owner and now.owner.alive and not (force and now.owner.machine != machine)
    return _illegal(now, after) or (_busy(now, after, in_flight, force=force) if theirs else None)


def refusal_to_lock(now: Now, held: Mapping[str, datetime], names: Mapping[str, str]) -> str:
    """Why nobody else may take what this transaction, which is not over, keeps others off.

    Args:
        now: Where it stands.
        held: Those of its keys that are wanted, and when it took each.
        names: What people call them.
    """
    begun = now.transaction
    called = one_line(begun.called, _NAME)
    hosts = f"{one_line(fold(names[key] for key in held), _HOSTS)} {'is' if len(held) == 1 else 'are'}"
    what = f"{hosts} held by {now.owner} since {_time(min(held.values()))}, for {called}"
    if now.owner.alive:
        return f"{what} ({begun.id}): opskit attach {begun.id} shows it"
    return (
        f"{what} ({begun.id}), and that process has died: opskit rollback {begun.id} undoes what it left,"
        f" opskit close {begun.id} --why '...' leaves it; either frees them"
    )


def no_lock_any_more(now: Now, owner: str) -> str:
    """Why nothing is locked for a transaction that this owner began: it is somebody else's by now, or has ended."""
    if now.owner.id != owner:
        return _in_hands(now)
    return f"transaction {now.transaction.id} is {words(now.state)} already: nothing is locked for it any more"


def already_undone(now: Now) -> str:
    """Who has undone or closed it, in a sentence; empty while it can be undone."""
    return _in_hands(now) if now.state in FINAL else ""


def _busy(now: Now, after: State, in_flight: int, *, force: bool) -> str | None:
    """What its owner, who lives, is at. What is idle has its locks, and means to go on, all the same."""
    found, is_robbed = now.transaction.id, after == "closed" and not force
    if now.state == "rolling_back":
        return f"{_in_hands(now)}: wait until that has ended"
    if now.state != "running" or not (in_flight or is_robbed):
        return None
    steps = "" if not in_flight else " 1 step" if in_flight == 1 else f" {in_flight} steps"
    forced = "; --force closes what is idle" if is_robbed else ""
    return (
        f"transaction {found} still runs{steps} in the kernel of {now.owner}, since {_time(now.at)}: cancel it there,"
        f" or wait; opskit rollback {found} has it undo all of it{forced}"
    )


def _illegal(now: Now, after: State) -> str | None:
    if (now.state, after) in MOVES:
        return None
    return f"transaction {now.transaction.id} can't become {words(after)}: it is {words(now.state)}"


def _in_hands(now: Now) -> str:
    """Who has it, or ended it, and since when."""
    ways = {"rolling_back": "is being rolled back", "rolled_back": "was rolled back", "closed": "was closed"}
    since = "since" if now.state == "rolling_back" else "at"
    what = f"transaction {now.transaction.id} {ways.get(now.state, f'is {words(now.state)}, and was taken over')}"
    return f"{what} by {now.owner} {since} {_time(now.at)}" + (f" ({now.why})" if now.why else "")


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
