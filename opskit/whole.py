"""A transaction in the process that began it: its place in the journal, and what undoes its entries."""

from __future__ import annotations

import itertools
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from opskit import bridge, shared
from opskit.record.ids import new_id

if TYPE_CHECKING:
    from opskit.engine.ports import How
    from opskit.record.facts import Fact, Kind
    from opskit.record.recorder import Writer
    from opskit.record.store import Store
    from opskit.undos import Undo


_here: WeakValueDictionary[str, Whole] = WeakValueDictionary()


def begun_here(transaction: str) -> Whole | None:
    """The transaction of this id, if this process began it and somebody can still ask it for something."""
    return _here.get(transaction)


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
        _here[self.id] = self

    def number(self) -> int:
        """The next number of an entry or a part; they share them, and so stand in order."""
        return next(self._numbers)

    def facts(self) -> list[Fact]:
        """What the journal does not know of it yet."""
        from opskit.record.facts import Transaction

        return [] if self.written else [Transaction(self.id, self.name, self.kind, _notebook(), datetime.now(UTC))]

    def end(self, how: How) -> None:
        """Write down how it ended, if it did not before; blocks. Raises JournalError, and writes it when it can."""
        engine = bridge.engine()
        engine.submit(self.ended(how, shared.writer(engine, self.store))).result()

    async def ended(self, how: How, writer: Writer) -> None:
        """As `end`, on the engine's loop; everything else of it is written then, too."""
        from opskit.record.facts import Ended

        if self.written and not self.over:
            self.over = True
            await writer.settle(Ended(self.id, how))
        else:
            self.over = True
            await writer.flush()


def _notebook() -> str | None:
    """Which notebook or script this is, as far as is known."""
    name = os.environ.get("JPY_SESSION_NAME") or getattr(sys.modules.get("__main__"), "__file__", None)
    return None if name is None else str(name)
