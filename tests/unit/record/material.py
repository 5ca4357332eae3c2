"""Facts to write down, and other processes that use the same journal: shared by the tests of this room."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.engine import URL

from opskit.record.database import machine
from opskit.record.facts import Entry, Intent, Note, Outcome, Part, Request, TaskEnded, Transaction, Unsent
from opskit.record.moves import CLAIMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opskit.record.facts import Fact, Now
    from opskit.record.moves import State
    from opskit.record.store import Store

Place = Path | URL
"""Where a journal is."""

Told = Part | TaskEnded | Entry | Intent | Outcome | Unsent | Note
"""What is told of a transaction, between its beginning and its end."""

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)

TX = "01KFAAAAAAAAAAAAAAAAAAAAAA"


_numbers = count()

TRANSACTION = Transaction(TX, "deploy", "transaction", None, AT)
ENTRY = Entry(TX, 1, 0, "web1", None, 1, None, "run", "unrun", None, None, None, None, undo_once=False)
INTENT = Intent(TX, 1, undo=False, attempt=1, epoch=1, at=AT)
OUTCOME = Outcome(TX, 1, False, 1, "ok", 0, None, "", "", False, AT, 0.1, None)
PART = Part(TX, 1, 0, None, "run", None, AT)
NOTE = Note(TX, None, False, "ann", AT, "seen", None, None)


def new_id() -> str:
    """Of a transaction that no other example has, in a journal that many share."""
    return f"{TX}{next(_numbers)}"


def transaction(given: str = TX, **changes: Any) -> Transaction:
    """A transaction that is about to begin."""
    return replace(TRANSACTION, id=given, **changes)


def entry(seq: int = 1, **changes: Any) -> Entry:
    """A step on a host."""
    return replace(ENTRY, seq=seq, **changes)


def intent(seq: int = 1, **changes: Any) -> Intent:
    """A step is about to be sent, under the first epoch."""
    return replace(INTENT, seq=seq, **changes)


def outcome(seq: int = 1, **changes: Any) -> Outcome:
    """A step ended ok."""
    return replace(OUTCOME, seq=seq, **changes)


def part(number: int = 1, **changes: Any) -> Part:
    """A run in a transaction."""
    return replace(PART, number=number, **changes)


def note(seq: int | None = None, **changes: Any) -> Note:
    """A person's word."""
    return replace(NOTE, seq=seq, **changes)


def begun(store: Store, given: str = TX, *facts: Fact, **changes: Any) -> None:
    """A transaction of this store's owner, with these facts written."""
    store.write([transaction(given, **changes)])
    assert not store.write(facts)


def brought(store: Store, state: State, given: str = TX) -> Now:
    """The transaction, moved to a state in a legal way."""
    ways: dict[State, Sequence[State]] = {
        "running": (),
        "rolled_back": ("rolling_back", "rolled_back"),
        "rollback_partial": ("rolling_back", "rollback_partial"),
    }
    for after in ways.get(state, (state,)):
        store.claim(given, after, None) if after in CLAIMS else store.move(given, after)
    return store.now(given)


def setting(journal: Place) -> str:
    """As the setting `journal` takes it."""
    return str(journal) if isinstance(journal, Path) else journal.render_as_string(hide_password=False)


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    """What the tables hold."""
    return store._database.read(lambda connection: [tuple(row) for row in connection.execute(text(query))])


def change(store: Store, statement: str, **values: Any) -> None:
    """Change the tables by hand, past the store and its rules, but not past their keys."""
    store._database.write(lambda connection: connection.execute(text(statement), values))


@contextmanager
def another_process(journal: Place, code: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs this code, with `store` opened on the journal; it is killed in the end."""
    head = "from opskit.record.store import opened\nfrom tests.unit.record.material import entry, intent, transaction\n"
    code = f"{head}store = opened({setting(journal)!r})\n{code}"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(pipe: IO[str] | None) -> str:
    """The next line that a process prints."""
    assert pipe is not None
    return pipe.readline().strip()


def tell(process: subprocess.Popen[str], text: str = "go") -> None:
    """Give a process a line to read."""
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


def wish(store: Store, why: str | None, transaction: str = TX) -> Request:
    """What somebody with this store asks the owner of a transaction."""
    return Request(transaction, store.who, machine(), datetime.now(UTC), why)
