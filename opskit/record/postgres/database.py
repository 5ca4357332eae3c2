"""The journal in PostgreSQL: connections that break and are had again, leases by the database's clock, and its faults.

A process that writes has a row in `owner`, and beats: every few seconds, and with each commit, it says there that it
lives. Who has not beaten for `LEASE` seconds may be taken over from, and can't write what it intends any more: who
claims a transaction, and who writes in it, wait for each other (`hold`). Below the store, beside `sqlite.py`;
`preparing.py` makes the tables.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Interval, bindparam, case, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from opskit.errors import JournalError
from opskit.record.clock import boot_clock
from opskit.record.database import as_owner, in_words
from opskit.record.places import shown
from opskit.record.postgres.complaints import complaint, kind_of
from opskit.record.postgres.connecting import engine, hold, hold_all
from opskit.record.postgres.preparing import expect_prepared
from opskit.record.reading import OWNS_OPEN
from opskit.record.tables import Utc, owner

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from sqlalchemy import Connection
    from sqlalchemy.engine import URL

    from opskit.record.facts import Fact

T = TypeVar("T")

LEASE: Final = 30.0
"""Seconds without a beat, by the database's clock, after which an owner counts as dead."""

BEAT: Final = 5.0
"""Seconds between two beats."""

MARGIN: Final = 5.0
"""Seconds before the end of its lease from which on an owner sends nothing more: a command needs a moment to leave."""

PATIENCE: Final = 30.0
"""Seconds for which a connection that was lost is tried to be had again; what is asked for meanwhile waits."""

_LONGEST_PAUSE: Final = 2.0

_new = insert(owner).values(beat_at=func.clock_timestamp())
_COMMIT: Final = _new.on_conflict_do_update(
    index_elements=[owner.c.id],
    set_={"beat_at": _new.excluded.beat_at, "written": _new.excluded.written},
    where=owner.c.written < _new.excluded.written,
).returning(owner.c.written)
"""A beat with the number of a commit; it returns no row if that was committed before."""

_BEAT: Final = update(owner).where(owner.c.id == bindparam("me")).values(beat_at=func.clock_timestamp())
_LAST: Final = _BEAT.returning(owner.c.written)
_END: Final = (
    update(owner)
    .where(owner.c.id == bindparam("me"))
    .values(beat_at=func.to_timestamp(0), ended_at=case((OWNS_OPEN, None), else_=bindparam("ended_at", type_=Utc())))
)
"""Who leaves something open has not ended, and is found by that, but is dead at once."""

_LIVING: Final = select(owner.c.id).where(
    owner.c.id.in_(bindparam("owners", expanding=True)),
    owner.c.ended_at.is_(None),
    owner.c.beat_at + bindparam("lease", type_=Interval()) > func.clock_timestamp(),
)


class PostgresDatabase:
    """A journal's database, opened; see `Database`.

    Raises:
        JournalError: It can't be reached, lets us not in, or has no tables of this version.
    """

    def __init__(self, url: URL) -> None:
        self.place = shown(url)
        self.owner = uuid.uuid4().hex
        self.lease = LEASE - MARGIN
        self.who_else: Callable[[], str] = str
        self.who = ""
        self._process = os.getpid()
        self._writer = threading.Lock()
        self.written: frozenset[Fact] = frozenset()
        self._number = 0
        self._doubtful: tuple[int, frozenset[Fact]] | None = None
        self._is_open = self._closed = False
        self._last = threading.local()
        self._lost_at = 0.0
        self._over = threading.Event()
        self._beating: threading.Thread | None = None
        self._engine = engine(url)
        # What is read in several queries is of one moment.
        self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        try:
            self.who = self.read(partial(expect_prepared, self.place))
        except BaseException:
            self._engine.dispose()
            raise
        self._is_open = True

    @property
    def written_at(self) -> float:
        """Read before the database was asked, which counts the lease from a later moment."""
        return getattr(self._last, "began", 0.0)

    def read(self, ask: Callable[[Connection], T]) -> T:
        """What this answers."""

        def attempt() -> T:
            with self._reader.connect() as connection:
                return ask(connection)

        with self._in_words():
            self._look()
            return self._repeated(attempt)

    def write(self, change: Callable[[Connection], T], facts: Collection[Fact] = ()) -> T:
        """Do this in one commit.

        Each commit has a number, in the owner's row. Where the answer to one was lost, the next attempt looks there;
        where there is none, because the database stays away, the next commit does.
        """
        made: list[T] = []
        in_doubt = False

        def attempt() -> T:
            nonlocal in_doubt
            began = boot_clock()
            with self._engine.connect() as connection:
                self._look_back(connection)
                if connection.scalar(_COMMIT, {**as_owner(self), "written": self._number}) is not None:
                    in_doubt = False
                    made[:] = [change(connection)]
                    in_doubt, self._last.began = True, began
                connection.commit()
            return made[0]

        with self._in_words(), self._writer:
            self._look()
            self._number += 1
            try:
                given = self._repeated(attempt)
            except DBAPIError:
                if in_doubt:
                    self._doubtful = self._number, frozenset(facts)
                raise
            self._begin_to_beat()
            return given

    def _look_back(self, connection: Connection) -> None:
        """See whether the last commit was done after all; whoever still works on it is waited for."""
        if self._doubtful is not None:
            number, facts = self._doubtful
            if (connection.scalar(_LAST, {"me": self.owner}) or 0) >= number:
                self.written |= facts
            self._doubtful = None

    def hold(self, connection: Connection, transactions: Iterable[str] | None) -> None:
        """Take locks that go with the commit."""
        if transactions is None:
            hold_all(connection)
        else:
            hold(connection, transactions)

    def living(self, connection: Connection, owners: Collection[str]) -> frozenset[str]:
        """Those who have beaten lately, and have not said that they ended."""
        if not owners:
            return frozenset()
        return frozenset(connection.scalars(_LIVING, {"owners": list(owners), "lease": timedelta(seconds=LEASE)}))

    def bury(self, owner: str) -> None:
        """Nothing: there is nothing of it but its row."""

    def close(self) -> None:
        """Write no more."""
        self._closed = True
        self._over.set()
        if self._beating is not None:
            self._beating.join(BEAT)
            self._beating = None
            # Tried once: who leaves does not wait for a server that is gone.
            with suppress(SQLAlchemyError), self._engine.begin() as connection:
                connection.execute(_END, {"me": self.owner, "ended_at": datetime.now(UTC)})
        self._engine.dispose()

    def _begin_to_beat(self) -> None:
        if self._beating is None:
            self._beating = threading.Thread(target=self._beat, name="opskit-beat", daemon=True)
            self._beating.start()

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(SQLAlchemyError), self._engine.begin() as connection:
                connection.execute(_BEAT, {"me": self.owner})

    def _look(self) -> None:
        if self._closed:
            raise JournalError(f"the journal {self.place} was closed in this process: open it anew")
        if os.getpid() != self._process:
            raise JournalError(
                f"the journal {self.place} was opened before this process was forked from another:"
                " begin what you do with opskit after the fork"
            )

    def _repeated(self, attempt: Callable[[], T]) -> T:
        """What an attempt gives; made again while the database is away, or takes it back for the sake of another."""
        pause = 0.0
        while True:
            began, lost = time.monotonic(), False
            try:
                return attempt()
            except DBAPIError as error:
                lost = self._may_pass(error)
                waited = time.monotonic() + pause - (self._lost_at or began)
                # Once it is always made again: what was lost while nobody looked says nothing of the server.
                if not lost or (pause and waited > PATIENCE) or self._over.wait(pause):
                    raise
                pause = min(_LONGEST_PAUSE, 2 * pause + 0.1)
            finally:
                self._lost_at = (self._lost_at or began) if lost else 0.0

    def _may_pass(self, error: DBAPIError) -> bool:
        kind = kind_of(error)
        return kind == "passes" or (kind == "away" and self._is_open)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        with in_words(self.place, self._what):
            yield

    def _what(self, error: SQLAlchemyError) -> str:
        return complaint(error, self.who_else)
