"""What of a commit may be written, and by which statements. Below the store."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import insert

from opskit.record import tables
from opskit.record.facts import Entry, Intent, Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Dialect

    from opskit.record.facts import Fact
    from opskit.record.moves import State


class Last(NamedTuple):
    """The last move of a transaction."""

    number: int
    state: State
    epoch: int
    why: str | None


def lost_among(owned: Mapping[str, Last], of: Mapping[type, list[Any]]) -> set[str]:
    """The transactions that something is planned or intended in, by who does not own them, or not any more."""
    lost = {planned.transaction for planned in of.get(Entry, ()) if planned.transaction not in owned}
    for intent in of.get(Intent, ()):
        if (last := owned.get(intent.transaction)) is None or last.epoch != intent.epoch:
            lost.add(intent.transaction)
    return lost


def is_fenced(fact: Fact, lost: set[str]) -> bool:
    """Whether it may not be written, for it belongs to a transaction that is lost."""
    return isinstance(fact, (Entry, Intent)) and fact.transaction in lost


@cache
def insertion(kind: type, dialect: Dialect) -> str:
    """Made once: SQLAlchemy would take longer over the values of a step than the database does."""
    made = str(insert(tables.FACTS[kind]).inline().compile(dialect=dialect, column_keys=tables.NAMES[kind]))
    return f"{made} ON CONFLICT DO NOTHING" if kind is Part else made
