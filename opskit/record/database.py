"""What the store needs of a database, and of this process as an owner in it: `sqlite.py` and `postgres.py` give it."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from opskit.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from sqlalchemy import Connection

    from opskit.record.facts import Fact

T = TypeVar("T")


class Database(Protocol):
    """A journal's database, opened. Every method raises JournalError.

    Attributes:
        place: Where it is, for people: without a password.
        owner: The id by which this process owns what it begins and claims; recorded at its first writing.
        lease: Seconds after `written_at` for which surely nobody takes over what this process owns.
        written: Facts of a `write` that failed, since its answer was lost, and that turned out to be written.
        who_else: Names who may hold a lock that is waited for, in words; set by who can read that.
    """

    place: str
    owner: str
    lease: float
    written: frozenset[Fact]
    who_else: Callable[[], str]

    @property
    def written_at(self) -> float:
        """When the last commit of the calling thread began, by `boot_clock`."""

    @property
    def who(self) -> str:
        """The name of the user whose process this is."""

    def read(self, ask: Callable[[Connection], T]) -> T:
        """What this answers; it sees one moment, and may be called again if the connection is lost."""

    def write(self, change: Callable[[Connection], T], facts: Collection[Fact] = ()) -> T:
        """Do this in one commit, alone in this process, which is an owner by then.

        If the connection is lost it may be called again; it is committed once, and what that call gave is returned.

        Args:
            change: What to do.
            facts: What it writes that may come again if this fails.
        """

    def hold(self, connection: Connection, transactions: Iterable[str] | None) -> None:
        """See to it that until the commit nobody else claims or writes in these transactions; None: in any."""

    def living(self, connection: Connection, owners: Collection[str]) -> frozenset[str]:
        """Those of these owners whose process is there still."""

    def bury(self, owner: str) -> None:
        """Remove what a dead owner left outside of the tables."""

    def close(self) -> None:
        """Write no more: this process ends as an owner, and what it left open may be taken over."""


def machine() -> str:
    """The name of this machine."""
    return socket.gethostname()


def as_owner(database: Database) -> dict[str, Any]:
    """This process as a row of `owner`."""
    return {
        "id": database.owner,
        "who": database.who,
        "machine": machine(),
        "pid": os.getpid(),
        "since": datetime.now(UTC),
    }


@contextmanager
def in_words(place: str, what: Callable[[SQLAlchemyError], str]) -> Iterator[None]:
    """Say what goes wrong with a database: `what` says it of what is not said here."""
    try:
        yield
    except IntegrityError as error:
        cause = str(error.orig).partition("\n")[0]
        raise JournalError(
            f"the journal {place} refused what contradicts it ({cause}): nothing of it was written"
        ) from error
    except SQLAlchemyError as error:
        raise JournalError(f"the journal {place} {what(error)}") from error
    except UnicodeEncodeError as error:
        raise JournalError(f"the journal {place} can't keep text that is not Unicode: {error}") from error
