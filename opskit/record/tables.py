"""The tables behind the journal: facts as in facts.py, column for field, and keys that hold every writer to the rules.

Only what SQLite and PostgreSQL both have. Rows are added and never changed, but for an owner's beats and its end, and
`meta`; of `lock` and `request` they go when what they were for has ended.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)

from opskit.record.facts import Entry, Intent, Note, Outcome, Part, TaskEnded, Unsent
from opskit.record.moves import BEGINNING, CLAIMS, MOVES

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.record.facts import Fact

VERSION: Final = 2
"""Of the schema. Whoever changes a table raises it, and says in UPGRADES how an older journal gets there."""

_TO_2: Final = (
    "ALTER TABLE owner ADD COLUMN beat_at DATETIME",
    "ALTER TABLE owner ADD COLUMN written INTEGER",
    """
    CREATE TABLE lock (
        "key" VARCHAR NOT NULL PRIMARY KEY,
        "transaction" VARCHAR NOT NULL REFERENCES tx (id) ON DELETE CASCADE,
        at VARCHAR NOT NULL
    )
    """,
    """
    CREATE TABLE request (
        "transaction" VARCHAR NOT NULL PRIMARY KEY REFERENCES tx (id) ON DELETE CASCADE,
        who VARCHAR NOT NULL,
        machine VARCHAR NOT NULL,
        at VARCHAR NOT NULL,
        why VARCHAR
    )
    """,
    "CREATE INDEX move_owner ON move (owner)",
    'CREATE INDEX lock_transaction ON lock ("transaction")',
)
"""In SQLite's words: PostgreSQL has had no journal of version 1."""


def _to_2(connection: Connection) -> None:
    for statement in _TO_2:
        connection.exec_driver_sql(statement)


UPGRADES: Final[dict[int, Callable[[Connection], None]]] = {1: _to_2}
"""What makes a journal of this version one of the next."""

Text: Final = String().with_variant(String(collation="C"), "postgresql")
"""It sorts by its characters' numbers, whatever language a database speaks: times and ids as they were made."""


def utc(at: datetime) -> str:
    """A time as text, all of one length, so that text sorts as time does."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


Big: Final = BigInteger().with_variant(Integer, "sqlite")
"""Numbers that others choose, of which SQLite's own kind holds any."""


class Utc(TypeDecorator[datetime]):
    """A time in a column, as `utc` writes it: for reading only."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - SQLAlchemy's
        """Write a time."""
        return None if value is None else utc(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - as above
        """Read a time."""
        return None if value is None else datetime.fromisoformat(value)


metadata = MetaData()


def _belongs(*columns: str, to: str, under: tuple[str, ...] | None = None) -> ForeignKeyConstraint:
    """What goes when the row that it belongs to is pruned."""
    return ForeignKeyConstraint(columns, [f"{to}.{name}" for name in under or columns], ondelete="CASCADE")


def _attempt() -> tuple[Column[str], Column[int], Column[bool], Column[int]]:
    """The key of an attempt: to run an entry's command, or its undo."""
    return (
        Column("transaction", Text, primary_key=True),
        Column("seq", Integer, primary_key=True),
        Column("undo", Boolean, primary_key=True),
        Column("attempt", Integer, primary_key=True),
    )


meta = Table(
    "meta",
    metadata,
    Column("journal", Text, primary_key=True),
    Column("version", Integer, nullable=False),
)

owner = Table(
    "owner",
    metadata,
    Column("id", Text, primary_key=True),
    Column("who", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("since", Utc, nullable=False),
    Column("ended_at", Utc),
    Column("beat_at", DateTime(timezone=True)),
    Column("written", Big),
)
"""Where no kernel tells who lives: `beat_at` is when it did, by the database's clock; `written` counts its commits."""

tx = Table(
    "tx",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text),
    Column("kind", Text, nullable=False),
    Column("notebook", Text),
    Column("at", Utc, nullable=False, index=True),
)

legal_move = Table(
    "legal_move",
    metadata,
    Column("before", Text, primary_key=True),
    Column("after", Text, primary_key=True),
    Column("raises", Integer, nullable=False),
    UniqueConstraint("before", "after", "raises"),
)
"""`raises`: by how much the epoch goes up."""

LEGAL: Final = [
    {"before": before, "after": after, "raises": int(before == BEGINNING or after in CLAIMS)} for before, after in MOVES
]

move = Table(
    "move",
    metadata,
    Column("transaction", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("raises", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("owner", ForeignKey("owner.id"), nullable=False),
    Column("at", Utc, nullable=False),
    Column("why", Text),
    # The move that this one follows. The first follows none: its key is empty, and so refers to nothing.
    Column("earlier", Integer),
    Column("earlier_epoch", Integer, nullable=False),
    _belongs("transaction", to="tx", under=("id",)),
    ForeignKeyConstraint(["before", "after", "raises"], ["legal_move.before", "legal_move.after", "legal_move.raises"]),
    UniqueConstraint("transaction", "number", "after", "epoch"),
    _belongs(
        "transaction",
        "earlier",
        "before",
        "earlier_epoch",
        to="move",
        under=("transaction", "number", "after", "epoch"),
    ),
    CheckConstraint("epoch = earlier_epoch + raises"),
    CheckConstraint(
        f"CASE WHEN before = '{BEGINNING}' THEN number = 1 AND earlier IS NULL AND earlier_epoch = 0"
        " ELSE earlier IS NOT NULL AND earlier = number - 1 END"
    ),
    Index("move_owner", "owner"),
)

part = Table(
    "part",
    metadata,
    Column("transaction", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("parent", Integer, nullable=False),
    Column("name", Text),
    Column("kind", Text, nullable=False),
    Column("chunk", Integer),
    Column("at", Utc, nullable=False),
    _belongs("transaction", to="tx", under=("id",)),
)

task = Table(
    "task",
    metadata,
    Column("transaction", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("status", Text, nullable=False),
    Column("error", Text),
    Column("stdout", Text, nullable=False),
    Column("stderr", Text, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("started_at", Utc),
    Column("seconds", Float),
    _belongs("transaction", "number", to="part"),
)

entry = Table(
    "entry",
    metadata,
    Column("transaction", Text, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("part", Integer, nullable=False),
    Column("host", Text),
    Column("way", Text),
    Column("chunk", Integer, nullable=False),
    Column("branch", Text),
    Column("command", Text),
    Column("undo", Text),
    Column("terms", Text),
    Column("secrets", Text),
    Column("call", Text),
    Column("key", Text),
    Column("undo_once", Boolean, nullable=False),
    _belongs("transaction", to="tx", under=("id",)),
)

_has_key = entry.c.key.is_not(None)
Index("entry_key", entry.c.key, entry.c.host, sqlite_where=_has_key, postgresql_where=_has_key)

intent = Table(
    "intent",
    metadata,
    *_attempt(),
    Column("epoch", Integer, nullable=False),
    Column("at", Utc, nullable=False),
    _belongs("transaction", "seq", to="entry"),
    sqlite_with_rowid=False,
)

outcome = Table(
    "outcome",
    metadata,
    *_attempt(),
    Column("status", Text, nullable=False),
    Column("exit_code", Big),
    Column("signal", Text),
    Column("stdout", Text, nullable=False),
    Column("stderr", Text, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("started_at", Utc),
    Column("seconds", Float),
    Column("error", Text),
    _belongs("transaction", "seq", "undo", "attempt", to="intent"),
)

# An attempt that was not sent has no key: the next rollback may come to the same end under the same number.
unsent = Table(
    "unsent",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("transaction", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("undo", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("error", Text),
    Column("at", Utc, nullable=False),
    _belongs("transaction", "seq", to="entry"),
    Index("unsent_entry", "transaction", "seq"),
)

note = Table(
    "note",
    metadata,
    Column("id", Integer, Identity(), primary_key=True),
    Column("transaction", Text, nullable=False),
    Column("seq", Integer),
    Column("undo", Boolean, nullable=False),
    Column("who", Text, nullable=False),
    Column("at", Utc, nullable=False),
    Column("text", Text, nullable=False),
    Column("old_status", Text),
    Column("new_status", Text),
    _belongs("transaction", to="tx", under=("id",)),
    _belongs("transaction", "seq", to="entry"),
    Index("note_entry", "transaction", "seq"),
)

lock = Table(
    "lock",
    metadata,
    Column("key", Text, primary_key=True),
    Column("transaction", Text, nullable=False),
    Column("at", Utc, nullable=False),
    _belongs("transaction", to="tx", under=("id",)),
    Index("lock_transaction", "transaction"),
)
"""What a transaction keeps others off: an address with its port, or a name."""

request = Table(
    "request",
    metadata,
    Column("transaction", Text, primary_key=True),
    Column("who", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("at", Utc, nullable=False),
    Column("why", Text),
    _belongs("transaction", to="tx", under=("id",)),
)
"""Whose owner, who lives, is asked to roll it back; gone as soon as the owner has taken it up."""

FACTS: Final[dict[type, Table]] = {
    Part: part,
    TaskEnded: task,
    Entry: entry,
    Intent: intent,
    Outcome: outcome,
    Unsent: unsent,
    Note: note,
}
"""Where each kind of fact is kept, in an order in which what is referred to comes first."""

NAMES: Final = {kind: [field.name for field in fields(kind)] for kind in FACTS}
"""Of a fact's fields, and of their columns; `unsent` and `note` have an `id` too, in the order of writing."""

_VALUES: Final = {kind: attrgetter(*names) for kind, names in NAMES.items()}

_TIMES: Final = {
    kind: [place for place, name in enumerate(names) if isinstance(FACTS[kind].c[name].type, Utc)]
    for kind, names in NAMES.items()
}


def row(fact: Fact) -> tuple[Any, ...]:
    """What is written of a fact, in the order of its fields, as the driver takes it."""
    values: tuple[Any, ...] = _VALUES[type(fact)](fact)
    if not (times := _TIMES[type(fact)]):
        return values
    written = list(values)
    for place in times:
        if written[place] is not None:
            written[place] = utc(written[place])
    return tuple(written)
