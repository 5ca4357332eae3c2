"""The journal as one SQLite file: where it may be, how it is made, opened and upgraded, and its faults in words.

Who lives in it holds the lock of a file beside it: `owner.py`. Below the store, which knows the facts and the rules.
"""

from __future__ import annotations

import getpass
import math
import os
import re
import sqlite3
import stat
import threading
import uuid
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import create_engine, event, insert, select, update
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from opskit.errors import JournalError
from opskit.record import owner as owners
from opskit.record import tables
from opskit.record.database import as_owner, in_words
from opskit.record.reading import OWNS_OPEN

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from sqlalchemy import Connection, Engine

    from opskit.record.facts import Fact

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds to wait for another process that writes."""

MOUNTS: Final = Path("/proc/self/mountinfo")
"""What is mounted where, on Linux; elsewhere nobody tells."""

_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p"})

_WORDS: Final = {
    sqlite3.SQLITE_PERM: "may not be opened: check its mode and its owner",
    sqlite3.SQLITE_READONLY: "can't be written, it is read-only: check the mode and the owner of it and of its folder",
    sqlite3.SQLITE_CANTOPEN: "can't be opened: check the mode and the owner of it and of its folder",
    sqlite3.SQLITE_IOERR: "can't be read or written, the disk failed: look at the system's log",
    sqlite3.SQLITE_FULL: "can't be written, the disk is full: make room, or let opskit.journal.prune() do it",
    sqlite3.SQLITE_CORRUPT: "is damaged: move it away; `sqlite3 FILE .recover` shows what can be had of it",
    sqlite3.SQLITE_NOTADB: "is not a database: choose another path by OPSKIT_JOURNAL, or move it away",
}
"""What SQLite's error codes mean to a person."""


class SqliteDatabase:
    """A journal's file, opened: it is made if there is none, and upgraded if it is older. See `Database`.

    Raises:
        JournalError: It can't be opened, or is not ours to open.
    """

    written_at = 0.0
    lease = math.inf  # the kernel tells who lives: nobody takes over from a process that is paused
    written: frozenset[Fact] = frozenset()  # the answer to a commit is never lost

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)
        self.owner = uuid.uuid4().hex
        self.who_else: Callable[[], str] = str
        self._lock = owners.Lock(path.parent, self.owner)
        self._process = os.getpid()
        self._writer = threading.Lock()
        self._closed = self._is_open = self._recorded = False
        with self._in_words():
            _refuse_network(path.parent)
            _make_folder(path.parent)
            for other in ("-wal", "-shm", "-journal"):
                _refuse_planted(path.with_name(path.name + other))
            _refuse_planted(path.parent / "owners")
            if not os.path.lexists(path):
                _make(path)
            self._identity = _identity(path)
            path.chmod(path.stat().st_mode & 0o700)
            self._engine = _engine(path)
            try:
                self._upgrade()
            except BaseException:
                self._engine.dispose()
                raise
        self._is_open = True

    @property
    def who(self) -> str:
        """The user's name; the number of one without a name, as in some containers."""
        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return str(os.getuid())

    def read(self, ask: Callable[[Connection], T]) -> T:
        """What this answers."""
        with self._in_words():
            self._look()
            with self._engine.connect() as connection:
                return ask(connection)

    def write(self, change: Callable[[Connection], T], facts: Collection[Fact] = ()) -> T:  # noqa: ARG002 - see above
        """Do this in one commit."""
        with self._in_words():
            self._look()
            with self._writing() as connection:
                if not self._recorded:
                    self._lock.hold()
                    connection.execute(insert(tables.owner).values(as_owner(self)))
                made = change(connection)
            self._recorded = True
            return made

    def hold(self, connection: Connection, transactions: Iterable[str] | None) -> None:
        """Nothing more than `write` does: it is the only one that writes."""

    def living(self, connection: Connection, owners_: Collection[str]) -> frozenset[str]:  # noqa: ARG002 - locks tell
        """Those who hold their lock."""
        return frozenset(found for found in owners_ if owners.alive(self.path.parent, found))

    def bury(self, owner: str) -> None:
        """Remove its lock."""
        owners.bury(self.path.parent, owner)

    def close(self) -> None:
        """Write no more."""
        if self._recorded and not self._closed:
            # Who leaves something open has not ended: it is found by that, and by its lock known to be dead.
            ended = update(tables.owner).where(tables.owner.c.id == self.owner, ~OWNS_OPEN)
            with suppress(JournalError):
                self.write(lambda connection: connection.execute(ended.values(ended_at=datetime.now(UTC))))
        self._closed = True
        self._lock.let_go()
        self._engine.dispose()

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A connection in a transaction of its own, the only one that writes."""
        with self._writer, self._engine.execution_options(opskit_writes=True).begin() as connection:
            yield connection

    def _look(self) -> None:
        """See that the file is the one that was opened: SQLite would go on with one that nobody can find any more."""
        if self._closed:
            raise JournalError(f"the journal {self.path} was closed in this process: open it anew")
        if os.getpid() != self._process:
            raise JournalError(
                f"the journal {self.path} was opened before this process was forked from another:"
                " begin what you do with opskit after the fork"
            )
        if _identity(self.path) != self._identity:
            raise JournalError(
                f"the journal {self.path} was replaced while it was open:"
                " put the file back that was there, or restart this process"
            )

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            with in_words(self.place, self._what):
                yield
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self.path} {self._what(error)}") from error
        except OSError as error:
            if self._is_open and isinstance(error, FileNotFoundError):
                raise JournalError(
                    f"the journal {self.path} has vanished: put it back, or restart this process to begin a new one"
                ) from error
            raise JournalError(
                f"the journal {self.path} can't be used ({error}): check its folder, or name another by OPSKIT_JOURNAL"
            ) from error

    def _what(self, error: Exception) -> str:
        """What happened, and what to do."""
        cause: Any = error.orig if isinstance(error, DBAPIError) else error
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"is locked by another process for {PATIENCE:g} s now{self.who_else()}: end that one, or try again"
        return _WORDS.get(code, f"can't be used ({cause}): is it a journal of opskit? Else choose another path")

    def _upgrade(self) -> None:
        """Bring an older journal to this version, in one transaction, with a copy of the older one kept beside it."""
        with self._engine.connect() as connection:
            if self._version(connection) == tables.VERSION:
                return
        with self._writing() as connection:
            # Somebody else may have been faster.
            while (version := self._version(connection)) < tables.VERSION:
                _keep_copy(self.path, self.path.with_name(f"{self.path.name}.v{version}.bak"))
                tables.UPGRADES[version](connection)
                connection.execute(update(tables.meta).values(version=version + 1))

    def _version(self, connection: Connection) -> int:
        found: int = connection.scalars(select(tables.meta.c.version)).one()
        if found > tables.VERSION:
            raise JournalError(
                f"the journal {self.path} is of version {found}, and this opskit knows {tables.VERSION}: upgrade opskit"
            )
        return found


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": PATIENCE})

    @event.listens_for(engine, "connect")
    def _connected(connection: sqlite3.Connection, _record: object) -> None:
        # The driver's own beginning of transactions comes too late: see `_began`.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _began(connection: Connection) -> None:
        # A transaction that begins by reading and then writes fails at once when another one writes.
        writes = connection.get_execution_options().get("opskit_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _make(path: Path) -> None:
    """Make an empty journal under another name, so that nobody ever sees half of one."""
    made = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    _touch(made)
    try:
        _fill(made)
        with suppress(FileExistsError):  # somebody else was faster
            os.link(made, path)
    finally:
        made.unlink()


def _fill(path: Path) -> None:
    with closing(sqlite3.connect(path)) as bare:
        bare.execute("PRAGMA journal_mode = WAL")  # it stays so
    engine = _engine(path)
    try:
        with engine.execution_options(opskit_writes=True).begin() as connection:
            tables.metadata.create_all(connection, checkfirst=False)
            connection.execute(insert(tables.legal_move), tables.LEGAL)
            connection.execute(insert(tables.meta).values(journal=uuid.uuid4().hex, version=tables.VERSION))
    finally:
        engine.dispose()


def _make_folder(folder: Path) -> None:
    """Make what is missing of it, for its owner alone; one that exists is left as it is."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)


def _touch(path: Path) -> None:
    """Make an empty file for its owner alone; what SQLite puts beside it gets the same mode."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _refuse_planted(path: Path) -> None:
    """Refuse what another user may have put where we will write."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
            raise JournalError(f"{path}, beside the journal, is a link or another user's: choose another folder")


def _identity(path: Path) -> tuple[int, int]:
    """Which file it is; raises JournalError if it is none that we may write."""
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode):
        raise JournalError(f"the journal {path} is a folder: name a file in it, such as {path / 'journal.db'}")
    if not stat.S_ISREG(found.st_mode):
        raise JournalError(f"the journal {path} is a link or no regular file: name the file itself")
    if found.st_uid != os.geteuid():
        raise JournalError(f"the journal {path} belongs to user {found.st_uid}: choose another path by OPSKIT_JOURNAL")
    return found.st_dev, found.st_ino


def _keep_copy(path: Path, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    _touch(copy)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def _refuse_network(folder: Path) -> None:
    """Refuse a folder on another machine: SQLite's memory of who writes is shared on one machine alone."""
    if (kind := _file_system(folder)) in _NETWORK:
        raise JournalError(
            f"the journal can't be in {folder}, a network file system ({kind}):"
            " name a folder of this machine, or a database for all by OPSKIT_JOURNAL=postgresql://..."
        )


def _file_system(folder: Path) -> str | None:
    """The type of the file system that a folder is on, None where that can't be told."""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    real = folder.resolve()
    found = None
    longest = 0
    for line in lines:
        fields, _, kinds = line.partition(" - ")
        # Blanks stand there as octal numbers.
        place = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields.split()[4]))
        # Of two on one place the later one is on top.
        if real.is_relative_to(place) and len(place.parts) >= longest:
            found, longest = kinds.split()[0], len(place.parts)
    return found
