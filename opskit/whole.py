"""A transaction in the process that began it: its place in the journal, and what undoes its entries."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from opskit import shared
from opskit.record.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.engine.ports import How
    from opskit.record.facts import Fact, Kind
    from opskit.record.store import Store
    from opskit.undos import Undo


class Whole:
    """A transaction in the process that began it.

    Attributes:
        id: A ULID.
        epoch: Under which this process owns it.
        known: What this process can undo its entries by.
        over: Whether it has ended, or was rolled back.
        written: Whether the journal knows of it.
    """

    def __init__(self, kind: Kind, name: str | None) -> None:
        self.id = new_id()
        self.kind: Kind = kind
        self.name = name
        self.epoch = 1
        self.known: dict[int, Undo] = {}
        self.over = False
        self.store: Store = shared.store()
        self._numbers = itertools.count(1)
        self.written = False
        self._guard = threading.Lock()

    def number(self) -> int:
        """The next number of an entry or a part; they share them, and so stand in order."""
        return next(self._numbers)

    def write(self, facts: Sequence[Fact]) -> None:
        """Write facts down, after the fact that there is such a transaction. Blocks; raises JournalError."""
        self.begin()
        self.store.write(facts)

    def begin(self) -> None:
        """Write down that there is such a transaction, once. Blocks; raises JournalError."""
        from opskit.record.facts import Transaction

        with self._guard:
            if not self.written:
                self.store.begin(Transaction(self.id, self.name, self.kind, _notebook(), datetime.now(UTC)))
                self.written = True

    def end(self, how: How) -> None:
        """Write down how it ended, if it did not before. Blocks; raises JournalError."""
        if not self.over:
            self.over = True
            if self.written:
                self.store.move(self.id, how)


def _notebook() -> str | None:
    """Which notebook or script this is, as far as is known."""
    name = os.environ.get("JPY_SESSION_NAME") or getattr(sys.modules.get("__main__"), "__file__", None)
    return None if name is None else str(name)
