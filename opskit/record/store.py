"""The store behind the journal: it writes facts, moves transactions under the rules, and answers. All of it blocks.

Made on SQLAlchemy Core; above it stands only who has to remember something. It is slow to import: do that in the
function that needs it.
"""

from __future__ import annotations

import atexit
import getpass
import os
import re
import socket
import threading
import uuid
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import bindparam, exists, insert, select, update

from opskit.errors import JournalError, RollbackError, SettingsError
from opskit.record import owner as owners
from opskit.record import pruning, reading, tables
from opskit.record.claiming import refusal_to_claim, refusal_to_move
from opskit.record.facts import Ended, Entry, Intent, Note, Part, TaskEnded, Transaction
from opskit.record.moves import BEGINNING, CLAIMS, MOVES
from opskit.record.sqlite import Database
from opskit.record.tables import entry, move, owner, tx

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Dialect

    from opskit.record.facts import Account, Fact, Now
    from opskit.record.moves import State
    from opskit.record.outline import Outline

_stores: Final[dict[tuple[int, Path], Store]] = {}
_guard: Final = threading.Lock()

# Statements of every run, made once: to make one takes longer than to carry it out.
_OWNED: Final = select(move.c.transaction, move.c.number, move.c.after, move.c.epoch).where(
    reading.LAST,
    move.c.owner == bindparam("owner"),
    move.c.transaction.in_(bindparam("transactions", expanding=True)),
)
_KNOWN: Final = select(tx.c.id).where(tx.c.id == bindparam("id"))
_BEGIN: Final = insert(tx)
_MOVE: Final = insert(move)


class _Last(NamedTuple):
    """The last move of a transaction."""

    number: int
    state: State
    epoch: int


def opened(url: str | None) -> Store:
    """The store at a place, one in each process; it is made if there is none.

    Args:
        url: A path, or `sqlite:///path`; None for `journal.db` in the user's state folder.

    Raises:
        SettingsError: The URL has a scheme that no store is made for.
        JournalError: The journal can't be opened.
    """
    path = _path(url)
    with _guard:
        key = os.getpid(), path
        if key not in _stores:
            _stores[key] = Store(path)
            atexit.register(_stores[key].close)
        return _stores[key]


def _path(url: str | None) -> Path:
    if url is None:
        import platformdirs

        return Path(platformdirs.user_state_dir("opskit", appauthor=False)) / "journal.db"
    scheme, found, rest = url.partition("://")
    if not found:
        return Path(os.path.abspath(Path(url).expanduser()))  # noqa: PTH100 - a link is refused, not followed
    if scheme == "sqlite" and rest.startswith("/") and rest != "/":
        return _path(rest[1:])
    if re.match(r"postgres(ql)?(\+\w+)?$", scheme):
        raise JournalError("a journal in PostgreSQL comes with a later version of opskit: name a path for now")
    # Not more of it than the scheme: it may hold a password.
    raise SettingsError(f"a journal can't be at {scheme}://...: give a path, or sqlite:///path")


class Store:
    """A journal. Every method blocks, may be called from any thread, and raises JournalError.

    Attributes:
        path: Its file.
        owner_id: By which this process owns what it begins and claims; recorded at its first writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner_id = uuid.uuid4().hex
        self._folder = path.parent
        self._lock = owners.Lock(self._folder, self.owner_id)
        self._recorded = False
        self._process = os.getpid()
        self._database = Database(path)
        self._database.who_else = self._others

    @property
    def who(self) -> str:
        """The name of the user whose process this is."""
        try:
            return getpass.getuser()
        except (KeyError, OSError):  # a user without a name, as in some containers
            return str(os.getuid())

    def write(self, facts: Sequence[Fact]) -> frozenset[str]:
        """Record all of these in one commit. A transaction or a part that is recorded already stays as it is.

        Returns:
            The ids of transactions that this process owns no more: their entries, intents and ends, and those alone,
            were left out.
        """
        with self._writing() as connection:
            of: dict[type, list[Any]] = {}
            for fact in facts:
                of.setdefault(type(fact), []).append(fact)
            for begun in of.pop(Transaction, ()):
                self._begin(connection, begun)
            ends: list[Ended] = of.pop(Ended, [])
            fenced = (*of.get(Entry, ()), *of.get(Intent, ()), *ends)
            owned = self._owned(connection, {fact.transaction for fact in fenced})
            lost = _lost(owned, of)
            for kind in tables.FACTS:
                if written := [tables.row(fact) for fact in of.get(kind, ()) if not _is_fenced(fact, lost)]:
                    connection.exec_driver_sql(_insertion(kind, connection.dialect), written)
            for fact in ends:
                last = owned.get(fact.transaction)
                if last is not None and (last.state, fact.state) in MOVES:
                    self._move(connection, fact.transaction, last, fact.state, None)
                else:
                    lost.add(fact.transaction)
            return frozenset(lost)

    def _begin(self, connection: Connection, transaction: Transaction) -> None:
        """Record a transaction, running, in the hands of this process."""
        if connection.execute(_KNOWN, {"id": transaction.id}).first() is None:
            connection.execute(_BEGIN, {name: getattr(transaction, name) for name in tx.c.keys()})  # noqa: SIM118 - columns
            self._move(connection, transaction.id, None, "running", None)

    def move(self, transaction: str, after: State, why: str | None = None) -> Now:
        """Move a transaction of this process on; to take one over is `claim`.

        Raises:
            RollbackError: Somebody else has claimed it, or it can't go there from where it is.
        """
        with self._writing() as connection:
            now = self._now(connection, transaction)
            if refusal := refusal_to_move(now, after, self.owner_id):
                raise RollbackError(refusal)
            self._move(connection, now.transaction.id, now, after, why)
            return self._now(connection, now.transaction.id)

    def claim(self, transaction: str, after: State, why: str | None, *, force: bool = False) -> Now:
        """Take a transaction over to roll it back (`rolling_back`), or to close it (`closed`). One of many wins.

        Args:
            transaction: Its id.
            after: What it becomes.
            why: What is said of it.
            force: Also from an owner on another machine who seems to live.

        Raises:
            RollbackError: Somebody else did or does it, or it still runs; says who, and since when.
        """
        with self._writing() as connection:
            now = self._now(connection, transaction)
            flying = reading.in_flight(connection, now.transaction.id)
            if refusal := refusal_to_claim(now, after, self.owner_id, _machine(), flying, force=force):
                raise RollbackError(refusal)
            self._move(connection, now.transaction.id, now, after, why)
            return self._now(connection, now.transaction.id)

    def now(self, given: str) -> Now:
        """Where a transaction stands.

        Args:
            given: Its id, the beginning of its id, or the id of a part of it, in capitals or not.

        Raises:
            RollbackError: There is none of this id, or there are several that begin so.
        """
        with self._database.reading() as connection:
            return self._now(connection, given)

    def transactions(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        name: str | None = None,
        host: str | None = None,
        who: str | None = None,
        states: Collection[State] | None = None,
        limit: int | None = None,
    ) -> list[Now]:
        """The transactions that all of this holds for, newest first.

        Args:
            since: Begun then or later.
            until: Begun before.
            name: Called so.
            host: With an entry on this host.
            who: Begun or taken over by this user.
            states: In one of these.
            limit: How many at most.
        """
        which = [reading.LAST]
        if since is not None:
            which.append(tx.c.at >= since)
        if until is not None:
            which.append(tx.c.at < until)
        if name is not None:
            which.append(tx.c.name == name)
        if host is not None:
            which.append(exists().where(entry.c.transaction == tx.c.id, entry.c.host == host))
        if who is not None:
            which.append(reading.moved_by(who))
        if states is not None:
            which.append(move.c.after.in_(states))
        with self._database.reading() as connection:
            return reading.stands(connection, self._alive, *which, limit=limit)

    def outlines(self, transactions: Sequence[Now], on: Collection[str] | None = None) -> list[Outline]:
        """These transactions in outline, in the same order; one that was pruned since is left out.

        Args:
            transactions: Where they stand.
            on: Only their entries on these hosts are looked at; None for all.
        """
        with self._database.reading() as connection:
            return reading.outlines(connection, self._alive, transactions, on)

    def moves(self, transaction: str) -> list[Now]:
        """Every move of a transaction, the first one first."""
        with self._database.reading() as connection:
            return reading.stands(connection, self._alive, tx.c.id == transaction)

    def parts(self, transaction: str) -> list[Part]:
        """The parts of a transaction, by number."""
        with self._database.reading() as connection:
            return reading.facts(connection, Part, tables.part.c.transaction == transaction)

    def tasks(self, transaction: str) -> list[TaskEnded]:
        """The tasks of a transaction that have ended, by number."""
        with self._database.reading() as connection:
            return reading.facts(connection, TaskEnded, tables.task.c.transaction == transaction)

    def notes(self, transaction: str) -> list[Note]:
        """What persons said of a transaction, in the order in which they did."""
        with self._database.reading() as connection:
            return reading.facts(connection, Note, tables.note.c.transaction == transaction)

    def accounts(self, transaction: str) -> list[Account]:
        """The entries of a transaction and all that is known of them, by seq."""
        with self._database.reading() as connection:
            return reading.accounts(connection, transaction)

    def done_under(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Account]:
        """For each of these (key, host) the newest account whose command ended ok and is not undone since.

        What a person settled counts. Where there is none, it is left out.
        """
        with self._database.reading() as connection:
            return reading.done_under(connection, keys)

    def prune(self, before: datetime) -> int:
        """Delete transactions that last moved before this, but for those that still need somebody; returns how many."""
        with self._writing() as connection:
            pruned = pruning.forget(connection, before)
            gone = pruning.forget_owners(connection, self._alive)
        for found in gone:
            owners.bury(self._folder, found)
        return pruned

    def close(self) -> None:
        """Write no more: this process ends as an owner, and what it left open may be taken over."""
        if os.getpid() != self._process:
            return
        with _guard:
            _stores.pop((self._process, self.path), None)
        atexit.unregister(self.close)
        if self._recorded:
            with suppress(JournalError), self._writing() as connection:
                connection.execute(update(owner).where(owner.c.id == self.owner_id).values(ended_at=datetime.now(UTC)))
        self._lock.let_go()
        self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A transaction of the database in which this process is recorded as an owner."""
        with self._database.writing() as connection:
            if not self._recorded:
                self._lock.hold()
                connection.execute(
                    insert(owner).values(
                        id=self.owner_id,
                        who=self.who,
                        machine=_machine(),
                        pid=self._process,
                        since=datetime.now(UTC),
                    )
                )
            yield connection
        self._recorded = True

    def _owned(self, connection: Connection, transactions: Collection[str]) -> dict[str, _Last]:
        """The last moves of those that are in the hands of this process."""
        if not transactions:
            return {}
        found = connection.execute(_OWNED, {"owner": self.owner_id, "transactions": list(transactions)})
        return {transaction: _Last(*last) for transaction, *last in found}

    def _move(
        self, connection: Connection, transaction: str, now: Now | _Last | None, after: State, why: str | None
    ) -> None:
        before = BEGINNING if now is None else now.state
        epoch = 0 if now is None else now.epoch
        raises = int(now is None or after in CLAIMS)
        connection.execute(
            _MOVE,
            {
                "transaction": transaction,
                "number": 1 if now is None else now.number + 1,
                "before": before,
                "after": after,
                "raises": raises,
                "epoch": epoch + raises,
                "owner": self.owner_id,
                "at": datetime.now(UTC),
                "why": why,
                "earlier": None if now is None else now.number,
                "earlier_epoch": epoch,
            },
        )

    def _now(self, connection: Connection, given: str) -> Now:
        return reading.named(connection, self._alive, self.path, given)

    def _alive(self, found: str) -> bool:
        return found == self.owner_id or owners.alive(self._folder, found)

    def _others(self) -> str:
        """Who else may hold the lock, for the end of a sentence."""
        with self._database.reading() as connection:
            known = reading.owners(connection, self._alive)
        found = [str(other) for other in known if other.alive and other.id != self.owner_id]
        return f" (it may be {' or '.join(found)})" if found else ""


def _lost(owned: Mapping[str, _Last], of: Mapping[type, list[Any]]) -> set[str]:
    """The transactions that something is planned or intended in, by who does not own them, or not any more."""
    lost = {planned.transaction for planned in of.get(Entry, ()) if planned.transaction not in owned}
    for intent in of.get(Intent, ()):
        if (last := owned.get(intent.transaction)) is None or last.epoch != intent.epoch:
            lost.add(intent.transaction)
    return lost


def _is_fenced(fact: Fact, lost: set[str]) -> bool:
    return isinstance(fact, (Entry, Intent)) and fact.transaction in lost


@cache
def _insertion(kind: type, dialect: Dialect) -> str:
    """Made once: SQLAlchemy would take longer over the values of a step than the database does."""
    made = str(insert(tables.FACTS[kind]).compile(dialect=dialect, column_keys=tables.NAMES[kind]))
    return f"{made} ON CONFLICT DO NOTHING" if kind is Part else made


def _machine() -> str:
    return socket.gethostname()
