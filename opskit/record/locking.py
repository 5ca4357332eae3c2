"""What transactions keep others off, what is open beside them, and what their owners are asked. Below the store."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, bindparam, delete, exists, insert, or_, select

from opskit.errors import HostsBusy
from opskit.record import reading
from opskit.record.claiming import refusal_to_lock
from opskit.record.facts import Request
from opskit.record.moves import GOING_ON
from opskit.record.tables import entry, intent, lock, move, owner, request, tx

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

    from opskit.record.facts import Now
    from opskit.record.reading import Living

LOCKING: Final = "locking"
"""What is held, as transactions are, by who takes locks: one at a time."""

_RELEASE: Final = delete(lock).where(lock.c.transaction == bindparam("of"))


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
        raise HostsBusy("; ".join(refusal_to_lock(now, held[now.transaction.id], keys) for now in holders))
    at = datetime.now(UTC)
    if missing := [{"key": key, "transaction": transaction, "at": at} for key in keys if key not in mine]:
        connection.execute(insert(lock), missing)


def release(connection: Connection, transaction: str) -> None:
    """Let others at what this one has kept them off: it has ended."""
    connection.execute(_RELEASE, {"of": transaction})


def open_elsewhere(
    connection: Connection, living: Living, me: str, hosts: Collection[str], keys: Collection[str]
) -> list[Now]:
    """Transactions of other processes that are open on these hosts, or keep others off these keys; newest first.

    Of those that a dead process left only what has sent something, or keeps others off something.
    """
    holds = exists().where(lock.c.transaction == tx.c.id)
    sent = or_(holds, exists().where(intent.c.transaction == tx.c.id))
    touches = or_(
        exists().where(entry.c.transaction == tx.c.id, entry.c.host.in_(hosts)),
        exists().where(lock.c.transaction == tx.c.id, lock.c.key.in_(keys)),
    )
    # In two steps, each by an index: who may still own something has not ended.
    unended = set(connection.scalars(select(owner.c.id).where(owner.c.ended_at.is_(None), owner.c.id != me)))
    lives = unended.intersection(living(connection, unended))
    found = []
    for owners, which in ((lives, ()), (unended - lives, (sent,))):
        for some in reading.chunks(sorted(owners)):
            going_on = move.c.owner.in_(some), move.c.after.in_(GOING_ON)
            found += reading.stands(connection, living, reading.LAST, *going_on, touches, *which)
    partly = and_(move.c.after == "rollback_partial", move.c.owner != me)
    found += reading.stands(connection, living, reading.LAST, partly, touches)
    return sorted(found, key=lambda now: (now.transaction.at, now.transaction.id), reverse=True)


def keys_of(connection: Connection, transaction: str) -> list[str]:
    """What it keeps others off."""
    return list(connection.scalars(select(lock.c.key).where(lock.c.transaction == transaction).order_by(lock.c.key)))


def ask(connection: Connection, wish: Request) -> None:
    """Ask the owner of a transaction to roll it back, unless somebody has."""
    if connection.execute(select(request.c.who).where(request.c.transaction == wish.transaction)).first() is None:
        connection.execute(insert(request).values(asdict(wish)))


def asked(connection: Connection, transactions: Collection[str]) -> list[str]:
    """Those of these whose rollback somebody has asked for."""
    return list(connection.scalars(select(request.c.transaction).where(request.c.transaction.in_(transactions))))


def taken(connection: Connection, transaction: str) -> Request | None:
    """What is asked of the owner of a transaction; from now on it is not asked any more. One of many gets it."""
    row = connection.execute(select(*request.c).where(request.c.transaction == transaction)).first()
    gone = connection.execute(delete(request).where(request.c.transaction == transaction)).rowcount
    return Request(*row) if row is not None and gone else None
