"""What a view is given: facts to show, and functions that its buttons call. Who runs something makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from opskit.progress import Progress
    from opskit.results import Results, Status


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
class PartProgress:
    """A task of a session, or what a cell began in a transaction.

    Attributes:
        title: What it is called.
        status: Of it as of now.
        seconds: How long it has taken; None if it has not begun, or nobody knows.
        runs: The commands that it ran.
    """

    title: str
    status: Status
    seconds: float | None
    runs: Sequence[Progress]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a rollback would do, newest first.

    Attributes:
        state: Of the transaction: running, succeeded, failed, cancelled, rolling_back, rolled_back and so on.
        undone: Each undo, as its command or function, and the hosts where it would be sent; no host for a function.
        kept: What was or may have been sent, and has no undo, as its command, with the hosts.
        newer: A line for each transaction that did something on the same hosts later, which stays as it is.
    """

    state: str
    undone: Sequence[tuple[str, Sequence[str]]]
    kept: Sequence[tuple[str, Sequence[str]]]
    newer: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A run, a session of tasks, or a transaction over many cells, as its view knows it.

    Attributes:
        progress: How far it is; a transaction has no chunks.
        transaction: Its id in the journal.
        results: The rows as of now.
        outlook: What a rollback would do now. Blocks.
        rollback: Cancels what runs, undoes, and gives a row for each undo; its argument says why. None where what it
            is a part of is what one rolls back. Blocks.
        cancel: Ends what runs, on these hosts or on all. None where there is nothing of its own to cancel.
        tails: What these hosts have printed last; of none named, those that printed last, the latest one last. Blocks.
        parts: Its tasks, or what was done in it; of many those that matter now.
    """

    progress: Progress
    transaction: str
    results: Callable[[], Results]
    outlook: Callable[[], Outlook]
    rollback: Callable[[str], Results] | None
    cancel: Callable[[Collection[str] | None], None] | None = None
    tails: Callable[[Collection[str]], Sequence[Tail]] | None = None
    parts: Callable[[], Sequence[PartProgress]] | None = None
