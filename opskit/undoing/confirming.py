"""The questions before a rollback: whether it is wanted, and whether it still is where later work stands on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opskit.asking import confirmed
from opskit.errors import Cancelled
from opskit.record import keys
from opskit.record.moves import words
from opskit.record.standing import is_left
from opskit.rendering.escape import one_line
from opskit.rendering.folding import fold
from opskit.results import Results
from opskit.settings import current

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from opskit.record.facts import Entry, Now
    from opskit.record.store import Store
    from opskit.undoing.rollback import Rollback

_LISTED: Final = 8
_LINE: Final = 160


def newer_than(store: Store, earlier: Now, undone: Iterable[Entry]) -> list[str]:
    """What stands on what is to be undone, a line each, newest first. Blocks.

    That is every transaction begun later whose undos on one of these hosts, of this name and key, are owed, and every
    other one, of another process, that keeps others off one of them.
    """
    hosts = {
        entry.host: key
        for entry in undone
        if entry.host is not None and (key := keys.of_way(entry.way, earlier.owner.machine)) is not None
    }
    if not hosts:
        return []
    later = store.transactions(since=earlier.transaction.at, host=list(hosts))
    owed = {
        outline.now.transaction.id: _line(outline.now)
        for outline in store.outlines([now for now in later if now.transaction != earlier.transaction], list(hosts))
        if any(is_left(account) for account, _ in outline.alike) and _owes_on(store, outline.now, set(hosts.values()))
    }
    locked = {
        other.now.transaction.id: f"{_line(other.now)}, which has locked them"
        for other in store.open_elsewhere(hosts)
        if other.locked and other.now.transaction != earlier.transaction
    }
    lines = owed | locked
    return [lines[found] for found in sorted(lines, reverse=True)]  # ids begin with the time


def _owes_on(store: Store, now: Now, wanted: Collection[str]) -> bool:
    """Whether something is left to be undone on the hosts of these keys: others may have the same names."""
    left = filter(is_left, store.accounts(now.transaction.id, outputs=False))
    return any(keys.of_way(account.entry.way, now.owner.machine) in wanted for account in left)


def confirm_order(rollback: Rollback) -> None:
    """Ask before something is undone on which later work stands. Blocks.

    Raises:
        Cancelled: The answer was no: nothing was undone.
        PromptRefused: Nobody can answer, and the setting `yes` does not.
    """
    if not current().yes and (newer := rollback.newer()):
        question = ["open or done since on the same hosts, and not undone:", *_bounded(newer)]
        remedy = "roll those back first, or set OPSKIT_YES=1, or opskit.configure(yes=True)"
        _expect_yes([*question, "Undo what lies under it all the same?"], remedy)


def confirm(rollback: Rollback, remedy: str, runs: str | None = None) -> None:
    """Show a person all that would be undone, and ask; where nothing would, nobody is asked. Raises as `confirm_order`.

    Args:
        rollback: What is to be done.
        remedy: What to set where nobody can answer, for the error.
        runs: Who still runs it, and is asked to end it before: that is asked for, too.
    """
    if current().yes or not ((found := rollback.outlook()).undone or runs):
        return
    question = []
    if runs is not None:
        question += [f"it still runs by {runs}, and is cancelled first: what it has sent until then is undone, too."]
    if found.undone:
        undos = [f"{fold(alike.hosts) or 'a function'}: {alike.text}" for alike in found.undone]
        question += [f"this would undo, newest first, of {rollback.transaction}:", *_bounded(undos)]
    if found.newer:
        question += ["what was done later on the same hosts stays:", *_bounded(found.newer)]
    _expect_yes([*question, "Undo it?"], remedy)


def _expect_yes(question: Sequence[str], remedy: str) -> None:
    if not confirmed("\n".join(question), remedy=remedy):
        raise Cancelled("not confirmed: nothing was undone", Results(()))


def _line(now: Now) -> str:
    begun = now.transaction
    return f"{begun.id} {begun.called} by {now.owner.who}, begun {begun.at:%Y-%m-%d %H:%M} UTC, {words(now.state)}"


def _bounded(lines: Sequence[str]) -> list[str]:
    more = [f"  ... and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return [*(f"  {one_line(line, _LINE)}" for line in lines[:_LISTED]), *more]
