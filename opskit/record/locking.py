"""What transactions keep others off, and what is open beside them. Below the store."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import and_, bindparam, delete, exists, insert, or_, select

from opskit.errors import HostsBusy
from opskit.record import keys as keys_of_hosts
from opskit.record import reading
from opskit.record.claiming import refusal_to_lock
from opskit.record.moves import GOING_ON
from opskit.record.tables import entry, intent, lock, move, owner, tx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from opskit.record.facts import Now
    from opskit.record.reading import Living

LOCKING: Final = "locking"
"""What is held, as transactions are, by who takes locks: one at a time."""

_PLACES: Final = select(entry.c.transaction, entry.c.host, entry.c.way).where(entry.c.host.is_not(None)).distinct()
"""The hosts of transactions, and how each is reached, where it has an undo."""

_HELD: Final = select(lock.c.transaction, lock.c.key)

_RELEASE: Final = delete(lock).where(lock.c.transaction == bindparam("of"))


class Beside(NamedTuple):
    """What others have open on some of these hosts.

    Attributes:
        now: Where it stands.
        hosts: How many of these hosts it has something on, or keeps others off.
        locked: How many of them it keeps others off.
    """

    now: Now
    hosts: int
    locked: int


def take(connection: Connection, living: Living, transaction: str, keys: Mapping[str, str]) -> None:
    """Keep others off all of these keys, which are named for people, or raise HostsBusy."""
    held: defaultdict[str, dict[str, datetime]] = defaultdict(dict)
    for some in reading.chunks(sorted(keys)):
        for key, holder, at in connection.execute(
            select(lock.c.key, lock.c.transaction, lock.c.at).where(lock.c.key.in_(some))
        ):
            held[holder][key] = at
    mine = held.pop(transaction, {})
    if held:
        holders = reading.stands(connection, living, reading.LAST, tx.c.id.in_(held))
        busy = HostsBusy("; ".join(refusal_to_lock(now, held[now.transaction.id], keys) for now in holders))
        busy.is_abandoned = any(now.abandoned for now in holders)
        raise busy
    at = datetime.now(UTC)
    if missing := [{"key": key, "transaction": transaction, "at": at} for key in keys if key not in mine]:
        connection.execute(insert(lock), missing)


def release(connection: Connection, transaction: str) -> None:
    """Let others at what this one has kept them off: it has ended."""
    connection.execute(_RELEASE, {"of": transaction})


def open_elsewhere(connection: Connection, living: Living, me: str, hosts: Mapping[str, str]) -> list[Beside]:
    """Transactions of other processes that are open on these hosts, or keep others off them; newest first.

    A host is the same by its key, where the transaction has an undo on it or keeps others off it; else by its name.
    Of those that a dead process left only what has sent something, or keeps others off something.

    Args:
        connection: To the journal.
        living: Tells which owners live.
        me: Whose are left out.
        hosts: The key of each, by its name.
    """
    holds = exists().where(lock.c.transaction == tx.c.id)
    sent = or_(holds, exists().where(intent.c.transaction == tx.c.id))
    # In two steps, each by an index: who may still own something has not ended.
    unended = set(connection.scalars(select(owner.c.id).where(owner.c.ended_at.is_(None), owner.c.id != me)))
    lives = unended.intersection(living(connection, unended))
    found = []
    for owners, which in ((lives, ()), (unended - lives, (sent,))):
        for some in reading.chunks(sorted(owners)):
            going_on = move.c.owner.in_(some), move.c.after.in_(GOING_ON)
            found += reading.stands(connection, living, reading.LAST, *going_on, *which)
    partly = and_(move.c.after == "rollback_partial", move.c.owner != me)
    found += reading.stands(connection, living, reading.LAST, partly)
    found.sort(key=lambda now: (now.transaction.at, now.transaction.id), reverse=True)
    return _on(connection, found, hosts)


def _on(connection: Connection, found: Sequence[Now], hosts: Mapping[str, str]) -> list[Beside]:
    """Those of these transactions that have to do with these hosts."""
    names: defaultdict[str, set[str]] = defaultdict(set)
    for name, key in hosts.items():
        names[key].add(name)
    machines = {now.transaction.id: now.owner.machine for now in found}
    reached: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    touched: defaultdict[str, set[str]] = defaultdict(set)
    locked: defaultdict[str, set[str]] = defaultdict(set)
    for some in reading.chunks(sorted(machines)):
        for transaction, host, way in connection.execute(_PLACES.where(entry.c.transaction.in_(some))):
            known = reached[transaction, host]
            if (place := keys_of_hosts.of_way(way, machines[transaction])) is not None:
                known.add(place)
        for transaction, held in connection.execute(_HELD.where(lock.c.transaction.in_(some))):
            locked[transaction] |= names.get(held, set())
    for (transaction, host), known in reached.items():
        same = [names.get(key, set()) for key in known] if known else [{host} & hosts.keys()]
        touched[transaction].update(*same)
    each = ((now, touched[now.transaction.id], locked[now.transaction.id]) for now in found)
    return [Beside(now, len(on | off), len(off)) for now, on, off in each if on or off]


def keys_of(connection: Connection, transaction: str) -> list[str]:
    """What it keeps others off."""
    return list(connection.scalars(select(lock.c.key).where(lock.c.transaction == transaction).order_by(lock.c.key)))
