"""What a view is given: facts to show, and functions that its buttons call. Who runs something makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from opskit.progress import Progress, WorkProgress
    from opskit.results import Results


MOST_WORKS: Final = 40
"""Of more tasks, or of more work in a transaction, so many are shown."""


@dataclass(frozen=True, slots=True)
class Tail:
    """What a step has printed last.

    Attributes:
        host: Where.
        text: The end of it, of stdout and then of stderr, as the host sent it: cut anywhere, not escaped.
    """

    host: str
    text: str


@dataclass(frozen=True, slots=True)
class Alike:
    """Commands that are alike.

    Attributes:
        text: Of each, but for the host's own name, which stands as in a template; or a function in words.
        hosts: Where; none for a function.
    """

    text: str
    hosts: Sequence[str]

    @property
    def steps(self) -> int:
        """How many they are."""
        return len(self.hosts) or 1


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a rollback would do.

    Attributes:
        state: Of the transaction, in words.
        ended: Who has undone or closed it, in a sentence; empty while it can be undone.
        undone: The undos, newest first.
        kept: What was or may have been sent and has no undo, newest first.
        newer: A line for each transaction whose undos on the same hosts are still owed, and that was begun later.
    """

    state: str
    ended: str = ""
    undone: Sequence[Alike] = ()
    kept: Sequence[Alike] = ()
    newer: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A run, a session of tasks, or a transaction over many cells, as its view knows it.

    Attributes:
        progress: How far it is; a transaction has no chunks.
        transaction: Its id in the journal.
        results: The rows as of now.
        outlook: What a rollback would do now. Blocks, and raises JournalError.
        rollback: Cancels what runs, undoes, and gives a row for each undo; its argument says why. Whoever calls it has
            seen what later work stands on it. None where what it is a part of is what one rolls back. Blocks, and
            raises RollbackError, with `.results` where something is left.
        cancel: Ends what runs, on these hosts or on all; raises InventoryError. None: it can't be done from here.
        tails: What these hosts have printed last; of none named, those that printed last, the latest one last. Blocks.
        works: Its tasks, or what was done in it; of many those that matter now.
        retry: Runs what did not end well among these rows once more, outside of what they were a part of if that has
            ended. Blocks, and raises as the run did.
        is_transaction: Whether it is a transaction over many cells: nothing of its own runs in it, and it lasts until
            its end.
        look: Brings the progress up to date, where nobody tells of what happens. May block, and raises nothing.
        seconds_before: For which it had been going on when this was made.
        remark: A sentence on how it ended, where more is to be said than its rows do; else empty.
    """

    progress: Progress
    transaction: str
    results: Callable[[], Results]
    outlook: Callable[[], Outlook]
    rollback: Callable[[str], Results] | None
    cancel: Callable[[Collection[str] | None], None] | None = None
    tails: Callable[[Collection[str]], Sequence[Tail]] = lambda _: ()
    works: Callable[[], Sequence[WorkProgress]] = tuple
    retry: Callable[[Results], Results] = lambda rows: rows.retry_failed()
    is_transaction: bool = False
    look: Callable[[], object] = tuple
    seconds_before: float = 0.0
    remark: Callable[[], str] = str
