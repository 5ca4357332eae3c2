"""The store behind the journal: it writes facts, moves transactions under the rules, and answers. All of it blocks.

Made on SQLAlchemy Core; above it stands only who has to remember something. It is slow to import: do that in the
function that needs it.
"""

from __future__ import annotations

import atexit
import os
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, insert, select

from opskit.errors import JournalError, RollbackError
from opskit.record import locking, pruning, reading, requests, tables
from opskit.record.claiming import no_lock_any_more, refusal_to_claim, refusal_to_move
from opskit.record.database import machine
from opskit.record.facts import Ended, Entry, Intent, Note, Part, Request, TaskEnded, Transaction
from opskit.record.moves import BEGINNING, CLAIMS, GOING_ON, MOVES
from opskit.record.places import placed
from opskit.record.tables import move, tx
from opskit.record.writing import Last, insertion, is_fenced, lost_among

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.engine import URL

    from opskit.record.database import Database
    from opskit.record.facts import Account, Fact, Now
    from opskit.record.locking import Beside
    from opskit.record.moves import State
    from opskit.record.outline import Outline

_stores: Final[dict[tuple[int, Path | URL], Store]] = {}
_guard: Final = threading.Lock()

# Statements of every run, made once: to make one takes longer than to carry it out.
_OWNED: Final = select(move.c.transaction, move.c.number, move.c.after, move.c.epoch, move.c.why).where(
    reading.LAST,
    move.c.owner == bindparam("owner"),
    move.c.transaction.in_(bindparam("transactions", expanding=True)),
)
_KNOWN: Final = select(tx.c.id).where(tx.c.id == bindparam("id"))
_BEGIN: Final = insert(tx)
_MOVE: Final = insert(move)


def opened(url: str | None) -> Store:
    """The store at a place, one in each process; a file is made if there is none.

    Args:
        url: A path, `sqlite:///path` or `postgresql://...`; None for `journal.db` in the user's state folder.

    Raises:
        SettingsError: The URL has a scheme that no store is made for, or can't be read.
        JournalError: The journal can't be opened.
    """
    place = placed(url)
    with _guard:
        key = os.getpid(), place
        if key not in _stores:
            _stores[key] = Store(place)
            atexit.register(_stores[key].close)
        return _stores[key]


def _database(place: Path | URL) -> Database:
    if isinstance(place, Path):
        from opskit.record.sqlite import SqliteDatabase

        return SqliteDatabase(place)
    from opskit.record.postgres.database import PostgresDatabase

    return PostgresDatabase(place)


class Store:
    """A journal. Every method blocks, may be called from any thread, and raises JournalError.

    Attributes:
        place: Where it is, for people: without a password.
        owner_id: By which this process owns what it begins and claims; recorded at its first writing.
        lease: Seconds after `written_at` for which surely nobody takes over what this process owns.
    """

    def __init__(self, place: Path | URL) -> None:
        self._key = place
        self._process = os.getpid()
        self._database = _database(place)
        self._database.who_else = self._others
        self.place = self._database.place
        self.owner_id = self._database.owner
        self.lease = self._database.lease

    @property
    def path(self) -> Path:
        """Its file, of a journal that is one."""
        return Path(self.place)

    @property
    def written_at(self) -> float:
        """When the last commit of the calling thread began, by `boot_clock`: from then on its lease counts."""
        return self._database.written_at

    @property
    def who(self) -> str:
        """The name of the user whose process this is."""
        return self._database.who

    def write(self, facts: Sequence[Fact]) -> frozenset[str]:
        """Record all of these in one commit. A transaction or a part that is recorded already stays as it is.

        Returns:
            The ids of transactions that this process owns no more: their entries, intents and ends, and those alone,
            were left out.
        """
        return self._database.write(partial(self._write, facts), facts)

    def _write(self, facts: Sequence[Fact], connection: Connection) -> frozenset[str]:
        of: dict[type, list[Any]] = {}
        known = self._database.written
        for fact in facts:
            if not known or fact not in known:
                of.setdefault(type(fact), []).append(fact)
        for begun in of.pop(Transaction, ()):
            self._begin(connection, begun)
        ends: list[Ended] = of.pop(Ended, [])
        fenced = (*of.get(Entry, ()), *of.get(Intent, ()), *ends)
        owned = self._owned(connection, {fact.transaction for fact in fenced})
        lost = lost_among(owned, of)
        for kind in tables.FACTS:
            if written := [tables.row(fact) for fact in of.get(kind, ()) if not is_fenced(fact, lost)]:
                connection.exec_driver_sql(insertion(kind, connection.dialect), written)
        for fact in ends:
            last = owned.get(fact.transaction)
            if last is not None and (last.state, fact.state) in MOVES:
                self._move(connection, fact.transaction, last, fact.state, last.why)  # of a rollback also its end's
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

        def change(connection: Connection) -> Now:
            now = self._held(connection, transaction)
            if refusal := refusal_to_move(now, after, self.owner_id):
                raise RollbackError(refusal)
            self._move(connection, now.transaction.id, now, after, why)
            return self._now(connection, now.transaction.id)

        return self._database.write(change)

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

        def change(connection: Connection) -> Now:
            now = self._held(connection, transaction)
            flying = reading.in_flight(connection, now.transaction.id)
            if refusal := refusal_to_claim(now, after, self.owner_id, machine(), flying, force=force):
                raise RollbackError(refusal)
            self._move(connection, now.transaction.id, now, after, why)
            return self._now(connection, now.transaction.id)

        return self._database.write(change)

    def lock(self, begun: Transaction, keys: Mapping[str, str]) -> None:
        """Keep others off all of these keys until a transaction has ended, or off none; it is recorded if need be.

        Args:
            begun: The transaction, of this process.
            keys: What to keep others off, and how people call it.

        Raises:
            HostsBusy: Other transactions keep others off some of them; says whose, and since when.
            RollbackError: Somebody else has taken the transaction over, or it has ended.
        """

        def change(connection: Connection) -> None:
            self._begin(connection, begun)
            last = self._owned(connection, {begun.id}).get(begun.id)
            if last is None or last.state != "running":
                now = self._now(connection, begun.id)
                raise RollbackError(no_lock_any_more(now, self.owner_id))
            self._database.hold(connection, [locking.LOCKING])
            locking.take(connection, self._living, begun.id, keys)

        self._database.write(change)

    def locked(self, transaction: str) -> list[str]:
        """The keys that a transaction keeps others off."""
        return self._database.read(lambda connection: locking.keys_of(connection, transaction))

    def open_elsewhere(self, hosts: Mapping[str, str]) -> list[Beside]:
        """What others have open on these hosts, each with its key, newest first; see `locking.open_elsewhere`."""
        return self._database.read(
            lambda connection: locking.open_elsewhere(connection, self._living, self.owner_id, hosts)
        )

    def ask(self, wish: Request) -> bool:
        """Ask whoever owns a transaction, and lives, to roll it back; see `asked`. False: another is asked already."""

        def change(connection: Connection) -> bool:
            self._database.hold(connection, [wish.transaction])
            return requests.ask(connection, wish)

        return self._database.write(change)

    def withdraw(self, wish: Request) -> bool:
        """Ask this no more, whatever else is asked; False: it was taken up."""
        return self._database.write(lambda connection: requests.withdrawn(connection, wish))

    def asked(self, transactions: Collection[str]) -> list[str]:
        """Those of these transactions whose owner is asked to roll them back."""
        return self._database.read(lambda connection: requests.asked(connection, transactions))

    def take_request(self, transaction: str) -> Request | None:
        """What its owner is asked, and from now on is not any more: it takes it up. None: nothing is asked."""
        return self._database.write(lambda connection: requests.taken(connection, transaction))

    def now(self, given: str) -> Now:
        """Where a transaction stands.

        Args:
            given: Its id, the beginning of its id, or the id of a part of it, in capitals or not.

        Raises:
            RollbackError: There is none of this id, or there are several that begin so.
        """
        return self._database.read(lambda connection: self._now(connection, given))

    def transactions(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        name: str | None = None,
        host: str | Collection[str] | None = None,
        who: str | None = None,
        states: Collection[State] | None = None,
        limit: int | None = None,
    ) -> list[Now]:
        """The transactions that all of this holds for, newest first.

        Args:
            since: Begun then or later.
            until: Begun before.
            name: Called so.
            host: With an entry on this host, or on one of these.
            who: Begun or taken over by this user.
            states: In one of these.
            limit: How many at most.
        """
        which = reading.matching(since, until, name, host, who, states)
        return self._database.read(lambda connection: reading.stands(connection, self._living, *which, limit=limit))

    def outlines(self, transactions: Sequence[Now], on: Collection[str] | None = None) -> list[Outline]:
        """These transactions in outline, in the same order; one that was pruned since is left out.

        Args:
            transactions: Where they stand.
            on: Only their entries on these hosts are looked at; None for all.
        """
        return self._database.read(lambda connection: reading.outlines(connection, self._living, transactions, on))

    def moves(self, transaction: str) -> list[Now]:
        """Every move of a transaction, the first one first."""
        return self._database.read(lambda connection: reading.stands(connection, self._living, tx.c.id == transaction))

    def parts(self, transaction: str) -> list[Part]:
        """The parts of a transaction, by number."""
        return self._database.read(
            lambda connection: reading.facts(connection, Part, tables.part.c.transaction == transaction)
        )

    def tasks(self, transaction: str, *, outputs: bool = True) -> list[TaskEnded]:
        """The tasks of a transaction that have ended, by number; their outputs are empty where nobody wants them."""
        own = tables.task.c.transaction == transaction
        return self._database.read(lambda connection: reading.facts(connection, TaskEnded, own, outputs=outputs))

    def notes(self, transaction: str) -> list[Note]:
        """What persons said of a transaction, in the order in which they did."""
        return self._database.read(
            lambda connection: reading.facts(connection, Note, tables.note.c.transaction == transaction)
        )

    def accounts(self, transaction: str, seqs: Sequence[int] | None = None, *, outputs: bool = True) -> list[Account]:
        """The entries of a transaction, or these few, and all that is known of them, by seq; outputs as of `tasks`."""
        return self._database.read(lambda connection: reading.accounts(connection, transaction, seqs, outputs=outputs))

    def done_under(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Account]:
        """For each of these (key, host) the newest account whose command ended ok and is not undone since.

        What a person settled counts. Where there is none, it is left out.
        """
        return self._database.read(lambda connection: reading.done_under(connection, keys))

    def prune(self, before: datetime) -> int:
        """Delete transactions that last moved before this, but for those that still need somebody; returns how many."""

        def change(connection: Connection) -> tuple[int, list[str]]:
            self._database.hold(connection, None)
            return pruning.forget(connection, before), pruning.forget_owners(connection, self._living)

        pruned, gone = self._database.write(change)
        for found in gone:
            self._database.bury(found)
        return pruned

    def close(self) -> None:
        """Write no more: this process ends as an owner, and what it left open may be taken over."""
        if os.getpid() != self._process:
            return
        with _guard:
            _stores.pop((self._process, self._key), None)
        atexit.unregister(self.close)
        self._database.close()

    def _owned(self, connection: Connection, transactions: Collection[str]) -> dict[str, Last]:
        """The last moves of those that are in the hands of this process, and stay there until the commit."""
        if not transactions:
            return {}
        self._database.hold(connection, transactions)
        found = connection.execute(_OWNED, {"owner": self.owner_id, "transactions": list(transactions)})
        return {transaction: Last(*last) for transaction, *last in found}

    def _move(
        self, connection: Connection, transaction: str, now: Now | Last | None, after: State, why: str | None
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
        if after not in GOING_ON:
            locking.release(connection, transaction)

    def _now(self, connection: Connection, given: str) -> Now:
        return reading.named(connection, self._living, self.place, given)

    def _held(self, connection: Connection, given: str) -> Now:
        """Where a transaction stands, until the commit."""
        found = self._now(connection, given).transaction.id
        self._database.hold(connection, [found])
        return self._now(connection, found)

    def _living(self, connection: Connection, owners: Collection[str]) -> Collection[str]:
        return {self.owner_id, *self._database.living(connection, set(owners) - {self.owner_id})}

    def _others(self) -> str:
        """Who else may hold the lock, for the end of a sentence; nothing, if that can't be read."""
        try:
            known = self._database.read(lambda connection: reading.owners(connection, self._living))
        except JournalError:
            return ""
        found = [str(other) for other in known if other.alive and other.id != self.owner_id]
        return f" (it may be {' or '.join(found)})" if found else ""
