"""What the owners of transactions are asked by others: their rollback, one request at a time. Below the store."""

from __future__ import annotations

from dataclasses import asdict, astuple
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from opskit.record.facts import Request
from opskit.record.tables import request

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection


def ask(connection: Connection, wish: Request) -> bool:
    """Ask the owner of a transaction to roll it back, unless somebody has; whether it is this that it is asked."""
    standing = _standing(connection, wish.transaction)
    if standing is None:
        connection.execute(insert(request).values(asdict(wish)))
    return standing in (None, wish)


def withdrawn(connection: Connection, wish: Request) -> bool:
    """Ask this no more; whether it was still asked."""
    own = [column == value for column, value in zip(request.c, astuple(wish), strict=True) if value is not None]
    return bool(connection.execute(delete(request).where(*own)).rowcount)


def asked(connection: Connection, transactions: Collection[str]) -> list[str]:
    """Those of these whose rollback somebody has asked for."""
    return list(connection.scalars(select(request.c.transaction).where(request.c.transaction.in_(transactions))))


def taken(connection: Connection, transaction: str) -> Request | None:
    """What is asked of the owner of a transaction; from now on it is not asked any more. One of many gets it."""
    standing = _standing(connection, transaction)
    return standing if standing is not None and withdrawn(connection, standing) else None


def _standing(connection: Connection, transaction: str) -> Request | None:
    row = connection.execute(select(*request.c).where(request.c.transaction == transaction)).first()
    return None if row is None else Request(*row)
