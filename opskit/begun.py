"""Transactions that this process has begun: what it knows of each, and by whom another process has it undone.

Below `scopes`, which are the parts of one.
"""

from __future__ import annotations

import itertools
import os
import sys
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from weakref import WeakMethod, WeakValueDictionary

from opskit import bridge, shared
from opskit.errors import JournalError
from opskit.masking import mask
from opskit.progress import Progress
from opskit.record.ids import new_id
from opskit.rendering.escape import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Context

    from opskit.engine.ports import How
    from opskit.record.facts import Fact, Kind, Transaction
    from opskit.record.recorder import Writer
    from opskit.record.store import Store
    from opskit.results import Results
    from opskit.undoing.undos import Undo

    Steer = Callable[[str | None], Results]

_WHY: Final = 200

_here: WeakValueDictionary[str, RootTransaction] = WeakValueDictionary()
_with_functions: dict[str, RootTransaction] = {}
"""Those that no other process could undo: they are remembered though nobody has them in a variable any more."""


def begun_here(transaction: str) -> RootTransaction | None:
    """The transaction of this id, if this process began it and somebody can still ask it for something."""
    return _here.get(transaction)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The rollback that another process has asked for, from when it is taken up.

    Attributes:
        transaction: Its id.
        why: By whom, and why.
        ended: Done when it has ended, well or not; what it came to, in a line.
    """

    transaction: str
    why: str
    ended: Future[str] = field(default_factory=Future)

    @property
    def by(self) -> str:
        """By whom, and why, in a line to be shown."""
        return one_line(self.why, _WHY)

    def __str__(self) -> str:
        return f"transaction {self.transaction} was to be rolled back, {self.by}"


class RootTransaction:
    """A transaction in the process that began it.

    Attributes:
        id: A ULID.
        epoch: Under which this process owns it.
        known: What this process can undo its entries by.
        over: Whether it has ended, or was rolled back.
        left: Whether who opened it is done with it, whatever became of it: the journal's verbs may take it then.
        written: Whether the journal knows of it.
        locked: The keys that it keeps others off.
        steer: Cancels what runs, undoes all of it, and says why in the journal: for another process that asks for that.
        context: What held where it was begun: its rollback is steered in a copy of that.
        asked: The rollback that another process has asked for, once it has begun.
        is_partly_undone: Whether a part of it was undone, and something of that is left.
        progress: How far its rollback is, and whether all is over, for who shows it.
    """

    def __init__(self, kind: Kind, name: str | None) -> None:
        self.id = new_id()
        self.kind: Kind = kind
        self.name = name
        self.epoch = 1
        self.known: dict[int, Undo] = {}
        self.over = False
        self.is_partly_undone = False
        self.left = False
        self.progress = Progress(name, f"transaction {name or ''}".strip())
        self.steer: WeakMethod[Steer] | None = None
        self.context: Context | None = None
        self.asked: Asked | None = None
        self.store: Store = shared.store()
        self.written = False
        self.locked: set[str] = set()
        self._numbers = itertools.count(1)
        self._may_be_written = False
        _here[self.id] = self

    def number(self) -> int:
        """The next number of an entry or a part; they share them, and so stand in order."""
        return next(self._numbers)

    def facts(self) -> list[Fact]:
        """What the journal does not know of it yet."""
        return [] if self.written else [self._fact()]

    def _fact(self) -> Transaction:
        from opskit.record.facts import Transaction

        name = None if self.name is None else mask(self.name)
        return Transaction(self.id, name, self.kind, _notebook(), datetime.now(UTC))

    def lock(self, keys: Mapping[str, str]) -> None:
        """Keep others off these keys until it has ended, all or none; see `Store.lock`. Blocks."""
        try:
            self.store.lock(self._fact(), keys)
        except JournalError:
            self._may_be_written = True
            raise
        self.written = True
        self.locked.update(keys)

    def end(self, how: How) -> None:
        """Write down how it ended, if it did not before; blocks. Raises JournalError, and writes it when it can."""
        engine = bridge.engine()
        engine.submit(self.ended(how, shared.writer(engine, self.store))).result()

    def remember(self) -> None:
        """It has an undo that no other process can do."""
        _with_functions[self.id] = self

    def forget(self) -> None:
        """Nothing of it is left to be undone."""
        self.known.clear()
        _with_functions.pop(self.id, None)

    async def ended(self, how: How, writer: Writer) -> None:
        """As `end`, on the engine's loop; everything else of it is written then, too."""
        from opskit.record.facts import Ended

        was_over, self.over = self.over, True
        end = Ended(self.id, "rollback_partial" if self.is_partly_undone else how)
        if was_over or not self.written:
            if self._may_be_written:
                writer.add(end)
            await writer.flush()
        else:
            await writer.settle(end)
        self.finish()

    def finish(self) -> None:
        """All is over: it has ended, or a rollback of it has."""
        self.over = True
        self.progress.finish()


def _notebook() -> str | None:
    """Which notebook or script this is, as far as is known."""
    name = os.environ.get("JPY_SESSION_NAME") or getattr(sys.modules.get("__main__"), "__file__", None)
    return None if name is None else str(name)
