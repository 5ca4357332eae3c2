"""What may be forgotten, and forgetting it. Below the store, which gives the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, select

from opskit.record.moves import OPEN
from opskit.record.reading import LAST, chunks
from opskit.record.tables import move, owner, tx

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from opskit.record.reading import Living


def forget(connection: Connection, before: datetime) -> int:
    """Delete transactions that last moved before this, but for those that still need somebody; returns how many."""
    old = select(move.c.transaction).where(LAST, move.c.at < before, move.c.after.not_in(OPEN))
    # In portions: a database that works on one statement for long looks as if it hung.
    some = chunks(connection.scalars(old).all())
    return sum(connection.execute(delete(tx).where(tx.c.id.in_(ids))).rowcount for ids in some)


def forget_owners(connection: Connection, living: Living) -> list[str]:
    """Delete those who own nothing any more, unless they live; returns their ids."""
    idle = set(connection.scalars(select(owner.c.id).where(~exists().where(move.c.owner == owner.c.id))))
    gone = sorted(idle.difference(living(connection, idle)))
    for found in gone:
        connection.execute(delete(owner).where(owner.c.id == found))
    return gone
