"""What follows from the facts of an entry: whether its command was sent, whether its undo is owed, and its row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from opskit.errors import PlanError
from opskit.masking import mask
from opskit.results import HostResult

if TYPE_CHECKING:
    from opskit.record.facts import Account, Intent, Now, Outcome, Unsent
    from opskit.results import Status
    from opskit.work.plan import Step

SURELY_NOT_SENT: Final[frozenset[Status]] = frozenset({"unreachable", "not_started"})

LOST: Final = "sent or about to be sent when its owner died, and not heard of since: it may have run"


def status(account: Account, *, undo: bool = False) -> Status:
    """What is known of an entry's command, or of its undo; a person's word holds. `not_started`: surely never sent."""
    for note in reversed(account.settled):
        if note.undo is undo and note.new_status is not None:
            return note.new_status
    intents, outcomes = _facts(account, undo=undo)
    by_attempt = {outcome.attempt: outcome.status for outcome in outcomes}
    fates: list[Status] = [by_attempt.get(intent.attempt, "unknown") for intent in intents]
    sent = [fate for fate in fates if fate not in SURELY_NOT_SENT]
    if sent:
        return "ok" if "ok" in sent else sent[-1]
    unsent = [fact.status for fact in account.unsent if fact.undo is undo]
    return (fates or unsent or ["not_started"])[-1]


def was_sent(account: Account) -> bool:
    """Whether there is anything to undo: its command was or may have been sent, or it is an undo alone."""
    return account.entry.command is None or status(account) not in SURELY_NOT_SENT


def is_under_way(account: Account, now: Now, *, undo: bool = False) -> bool:
    """Whether whoever owns its transaction, and lives, is at its command, or at its undo: its end is to be told yet."""
    intents, outcomes = _facts(account, undo=undo)
    if not intents or intents[-1].epoch != now.epoch or not now.goes_on:
        return False
    return all(outcome.attempt != intents[-1].attempt for outcome in outcomes)


def may_run(account: Account) -> bool:
    """Whether its command, or its undo, may still be running: its owner died, or its line broke, before the end."""
    return any(
        by_attempt.get(intent.attempt, "unknown") == "unknown"
        for intents, outcomes in (_facts(account, undo=False), _facts(account, undo=True))
        for by_attempt in [{outcome.attempt: outcome.status for outcome in outcomes}]
        for intent in intents
    )


def is_owed(account: Account) -> bool:
    """Whether a rollback has to undo this."""
    if account.entry.undo is None or not was_sent(account):
        return False
    fate = status(account, undo=True)
    return fate != "ok" and not (fate == "unknown" and account.entry.undo_once)


def is_left(account: Account) -> bool:
    """Whether something of it is still to be undone, be it by a person."""
    return account.entry.undo is not None and was_sent(account) and status(account, undo=True) != "ok"


def tries(account: Account) -> int:
    """How often its undo was tried."""
    facts: tuple[Intent | Unsent, ...] = (*account.undo_intents, *account.unsent)
    return max([fact.attempt for fact in facts if fact.undo], default=0)


def row(account: Account, *, undo: bool = False) -> HostResult:
    """The row of an entry's command, or of its undo, by its last attempt."""
    entry, fate = account.entry, status(account, undo=undo)
    intents, outcomes = _facts(account, undo=undo)
    last = next((found for found in reversed(outcomes) if found.status == fate), None)
    unsent = next((fact.error for fact in reversed(account.unsent) if fact.undo is undo), None)
    settled = next((note.text for note in reversed(account.settled) if note.undo is undo), None)
    error = last.error if last is not None else LOST if fate == "unknown" and settled is None else unsent
    return HostResult(
        entry.host or "",
        entry.branch,
        entry.undo if undo else entry.command,
        fate,
        exit_code=last.exit_code if last else None,
        signal=last.signal if last else None,
        stdout=last.stdout if last else "",
        stderr=last.stderr if last else "",
        truncated=last.truncated if last else False,
        started_at=last.started_at if last else intents[-1].at if intents and fate == "unknown" else None,
        seconds=last.seconds if last else None,
        chunk=entry.chunk,
        attempt=last.attempt if last else intents[-1].attempt if intents else None,
        transaction=entry.transaction,
        error=error if settled is None else f"settled by a person: {settled}",
    )


def _facts(account: Account, *, undo: bool) -> tuple[tuple[Intent, ...], tuple[Outcome, ...]]:
    return (account.undo_intents, account.undo_outcomes) if undo else (account.intents, account.outcomes)


def row_done_before(account: Account, step: Step) -> HostResult:
    """The row of a step whose key stands for what this entry has done.

    Raises:
        PlanError: That was another command.
    """
    if account.entry.command != mask(step.command):
        raise PlanError(
            f"key {step.key!r} stands for another command on {step.host.name}: {account.entry.command!r}, in "
            f"transaction {account.entry.transaction}; give this one a key of its own"
        )
    return replace(row(account), branch=step.branch and mask(step.branch), chunk=step.chunk, attempt=0)
