"""From rows to facts: every question that the store answers. Below the store, which gives the connection."""

from __future__ import annotations

import difflib
from collections import defaultdict
from functools import reduce
from itertools import groupby
from operator import add, itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import String, cast, exists, func, literal, or_, select

from opskit.errors import RollbackError, did_you_mean
from opskit.record.facts import Account, Entry, Intent, Note, Now, Outcome, Owner, Transaction, Unsent
from opskit.record.moves import GOING_ON
from opskit.record.outline import Outline
from opskit.record.standing import status
from opskit.record.tables import FACTS, NAMES, entry, intent, lock, move, note, outcome, owner, tx

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Connection, ScalarSelect

    from opskit.record.facts import Fact
    from opskit.record.moves import State

    Living = Callable[[Connection, Collection[str]], Collection[str]]
    """Of these owners those who live."""

K = TypeVar("K", bound="Fact")

_AT_ONCE: Final = 500
"""Values in one statement: databases have a limit."""

_OUTPUTS: Final = frozenset({"stdout", "stderr"})

_NEAR: Final = 500
"""Among how many ids a mistyped one is looked for."""

_follower = move.alias()
LAST: Final = ~exists().where(_follower.c.transaction == move.c.transaction, _follower.c.number == move.c.number + 1)
"""Of moves: it is its transaction's last."""

OWNS_OPEN: Final = exists().where(move.c.owner == owner.c.id, move.c.after.in_(GOING_ON), LAST)
"""Of owners: a transaction of theirs goes on."""

_OWNER: Final = (owner.c.id, owner.c.who, owner.c.machine, owner.c.pid, owner.c.since)

_MOVES: Final = (
    select(*tx.c, move.c.number, move.c.after, move.c.epoch, move.c.at, move.c.why, *_OWNER)
    .join_from(tx, move, tx.c.id == move.c.transaction)
    .join(owner, move.c.owner == owner.c.id)
)
"""What a `Now` is made of."""


def stands(connection: Connection, living: Living, *which: ColumnElement[bool], limit: int | None = None) -> list[Now]:
    """Where transactions stood after these moves, newest transaction first, a transaction's moves in their order.

    Args:
        connection: To the journal.
        living: Tells which owners live.
        which: Of the moves, transactions and owners.
        limit: How many at most.
    """
    rows = connection.execute(
        _MOVES.where(*which).order_by(tx.c.at.desc(), tx.c.id.desc(), move.c.number).limit(limit)
    ).all()
    lives = living(connection, {row[10] for row in rows})
    found = []
    for row in rows:
        number, state, epoch, at, why, id_, who, machine, pid, since = row[5:]
        by = Owner(id_, who, machine, pid, since, alive=id_ in lives)
        found.append(Now(Transaction(*row[:5]), number, state, epoch, by, at, why))
    return found


def named(connection: Connection, living: Living, journal: str, given: str) -> Now:
    """Where the transaction of this id stands, or of the one that begins so, or of the part of this id.

    Raises:
        RollbackError: The journal has none, or several that begin so.
    """
    wanted = given.partition(".")[0].strip()
    exactly = tx.c.id.in_([wanted, wanted.upper()])
    begins = func.upper(tx.c.id).startswith(wanted.upper(), autoescape=True)
    for which in (exactly, begins) if wanted else ():
        found = stands(connection, living, LAST, which, limit=3)
        if len(found) == 1:
            return found[0]
        if found:
            some = ", ".join(now.transaction.id for now in found)
            raise RollbackError(f"several transactions begin with {wanted!r}, such as {some}: give more of the id")
    known = connection.scalars(select(tx.c.id).order_by(tx.c.at.desc(), tx.c.id.desc()).limit(_NEAR)).all()
    near = difflib.get_close_matches(wanted.upper(), known) or known[:3]
    hint = did_you_mean(wanted.upper(), near, plural="the newest")
    raise RollbackError(f"the journal {journal} has no transaction {given!r}{hint}")


def outlines(
    connection: Connection, living: Living, transactions: Sequence[Now], on: Collection[str] | None
) -> list[Outline]:
    """Transactions in outline, but those forgotten since; of all their entries, or of those on these hosts."""
    moves: defaultdict[str, list[Now]] = defaultdict(list)
    hosts: defaultdict[str, int] = defaultdict(int)
    locks: dict[str, int] = {}
    alike: defaultdict[str, list[tuple[Account, int]]] = defaultdict(list)
    examples: dict[tuple[Any, ...], Account] = {}
    for ids in chunks([now.transaction.id for now in transactions]):
        for made in stands(connection, living, tx.c.id.in_(ids)):
            moves[made.transaction.id].append(made)
        locks |= {row[0]: row[1] for row in connection.execute(_LOCKS.where(lock.c.transaction.in_(ids)))}
        for which in [()] if on is None else [(entry.c.host.in_(names),) for names in chunks(sorted(on))]:
            for found, number in connection.execute(_HOSTS.where(entry.c.transaction.in_(ids), *which)):
                hosts[found] += number
            for found, seq, number, *pattern in connection.execute(_ALIKE.where(entry.c.transaction.in_(ids), *which)):
                if (key := tuple(pattern)) not in examples:
                    (examples[key],) = accounts(connection, found, [seq])
                alike[found].append((examples[key], number))
    return [
        Outline(now, moves[found], hosts[found], alike[found], locks.get(found, 0))
        for now in transactions
        if (found := now.transaction.id) in moves
    ]


def _told(kind: type[Fact], *names: str) -> ScalarSelect[str]:
    """Of an entry: what all facts of a kind tell of it in these columns, in their order, as one text."""
    table = FACTS[kind]
    words = [func.coalesce(cast(table.c[name], String), "") + " " for name in names]
    each = (
        select(reduce(add, words).label("words"))
        .where(table.c.transaction == entry.c.transaction, table.c.seq == entry.c.seq)
        .order_by(*table.primary_key)
        .correlate(entry)
        .subquery()
    )
    return select(func.aggregate_strings(each.c.words, ",")).scalar_subquery()


_HOSTS: Final = select(entry.c.transaction, func.count(entry.c.host.distinct())).group_by(entry.c.transaction)
"""How many hosts each transaction has entries on."""

_LOCKS: Final = select(lock.c.transaction, func.count()).group_by(lock.c.transaction)
"""How many hosts and names each transaction keeps others off."""

# All that standing.py, and who is at a step still, ask of an account; what is the same in it is alike.
_PATTERN: Final = (
    entry.c.command.is_(None).label("without_command"),
    entry.c.undo.is_(None).label("without_undo"),
    entry.c.undo_once,
    _told(Intent, "undo", "attempt", "epoch").label("intents"),
    _told(Outcome, "undo", "attempt", "status").label("outcomes"),
    _told(Unsent, "undo", "attempt", "status").label("unsent"),
    _told(Note, "undo", "new_status").label("notes"),
)

_ALIKE: Final = select(entry.c.transaction, func.min(entry.c.seq), func.count(), *_PATTERN).group_by(
    entry.c.transaction, *(column.name for column in _PATTERN)
)
"""For each transaction and pattern the first entry, and how many there are."""


def matching(
    since: datetime | None,
    until: datetime | None,
    name: str | None,
    host: str | Collection[str] | None,
    who: str | None,
    states: Collection[State] | None,
) -> list[ColumnElement[bool]]:
    """The last moves of transactions that all of this holds for; see `Store.transactions`."""
    which = [LAST]
    if since is not None:
        which.append(tx.c.at >= since)
    if until is not None:
        which.append(tx.c.at < until)
    if name is not None:
        which.append(tx.c.name == name)
    if host is not None:
        hosts = (host,) if isinstance(host, str) else host
        which.append(exists().where(entry.c.transaction == tx.c.id, entry.c.host.in_(hosts)))
    if who is not None:
        which.append(_moved_by(who))
    if states is not None:
        which.append(move.c.after.in_(states))
    return which


def _moved_by(who: str) -> ColumnElement[bool]:
    """Of transactions: a process of this user began it, or has taken it over."""
    made, mover = move.alias(), owner.alias()
    return exists().where(made.c.transaction == tx.c.id, made.c.owner == mover.c.id, mover.c.who == who)


def owners(connection: Connection, living: Living) -> list[Owner]:
    """Every process that has not said that it ended."""
    rows = connection.execute(select(*_OWNER).where(owner.c.ended_at.is_(None))).all()
    lives = living(connection, {row[0] for row in rows})
    return [Owner(*row, alive=row[0] in lives) for row in rows]


def facts(connection: Connection, kind: type[K], *which: ColumnElement[bool], outputs: bool = True) -> list[K]:
    """All facts of a kind that these conditions hold for, in the order of their keys; or all of them but outputs."""
    table = FACTS[kind]
    columns = [table.c[name] if outputs or name not in _OUTPUTS else literal("") for name in NAMES[kind]]
    return [kind(*row) for row in connection.execute(select(*columns).where(*which).order_by(*table.primary_key))]


def accounts(
    connection: Connection, transaction: str, seqs: Sequence[int] | None = None, *, outputs: bool = True
) -> list[Account]:
    """The entries of a transaction, or these of them, and all that is known of each; by seq."""

    def of(kind: type[K]) -> list[K]:
        columns = FACTS[kind].c
        narrowed = () if seqs is None else (columns.seq.in_(seqs),)
        return facts(connection, kind, columns.transaction == transaction, *narrowed, outputs=outputs)

    def by_seq(found: Iterable[Any]) -> defaultdict[int, tuple[Any, ...]]:
        together: defaultdict[int, tuple[Any, ...]] = defaultdict(tuple)
        for fact in found:
            together[fact.seq] += (fact,)
        return together

    intents, outcomes = of(Intent), of(Outcome)
    sent = by_seq(fact for fact in intents if not fact.undo)
    ended = by_seq(fact for fact in outcomes if not fact.undo)
    undos = by_seq(fact for fact in intents if fact.undo)
    undone = by_seq(fact for fact in outcomes if fact.undo)
    unsent, settled = by_seq(of(Unsent)), by_seq(of(Note))
    return [
        Account(one, sent[one.seq], ended[one.seq], undos[one.seq], undone[one.seq], unsent[one.seq], settled[one.seq])
        for one in of(Entry)
    ]


def done_under(connection: Connection, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Account]:
    """For each key and host the newest account whose command is known to have ended ok and is not undone."""
    asked = set(keys)
    newest = {}
    for some in chunks(sorted({key for key, _ in asked})):
        found = connection.execute(
            select(entry.c.transaction, entry.c.seq, entry.c.key, entry.c.host)
            .join(tx, entry.c.transaction == tx.c.id)
            .where(entry.c.key.is_not(None), entry.c.key.in_(some), _may_be_ok())
            .order_by(tx.c.at, tx.c.id, entry.c.seq)
        )
        wanted = {(row.transaction, row.seq): (row.key, row.host) for row in found if (row.key, row.host) in asked}
        for transaction, places in groupby(wanted, key=itemgetter(0)):
            for seqs in chunks([seq for _, seq in places]):
                for account in accounts(connection, transaction, seqs):
                    if status(account) == "ok" and status(account, undo=True) != "ok":
                        newest[wanted[transaction, account.entry.seq]] = account
    return newest


def _may_be_ok() -> ColumnElement[bool]:
    """Of entries: an attempt of the command ended ok, or a person said so."""
    ended = outcome.c.transaction == entry.c.transaction, outcome.c.seq == entry.c.seq, outcome.c.status == "ok"
    told = note.c.transaction == entry.c.transaction, note.c.seq == entry.c.seq, note.c.new_status == "ok"
    return or_(exists().where(*ended, ~outcome.c.undo), exists().where(*told, ~note.c.undo))


def in_flight(connection: Connection, transaction: str) -> int:
    """How many commands and undos of it were intended and have no outcome."""
    keys = ("transaction", "seq", "undo", "attempt")
    ended = exists().where(*(outcome.c[name] == intent.c[name] for name in keys))
    return connection.scalars(
        select(func.count()).select_from(intent).where(intent.c.transaction == transaction, ~ended)
    ).one()


def chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Values in portions that fit into a statement."""
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
