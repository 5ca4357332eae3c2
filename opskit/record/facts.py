"""What the store is told, and tells: facts as frozen values. They are added, and never changed.

Texts are without secrets. Times are UTC, and for reading only: nothing is decided by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from opskit.record.moves import GOING_ON

if TYPE_CHECKING:
    from datetime import datetime

    from opskit.record.moves import State
    from opskit.results import Status

Kind = Literal["run", "parallel", "transaction", "parallelize", "task"]
"""What a transaction, or a part of one, was begun as."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction as it was begun.

    Attributes:
        id: A ULID.
        name: What it is called, None if nobody called it anything.
        notebook: Which notebook or script began it, as far as is known.
    """

    id: str
    name: str | None
    kind: Kind
    notebook: str | None
    at: datetime

    @property
    def called(self) -> str:
        """What it is, and its name."""
        return f"{self.kind} {self.name or ''}".strip()


@dataclass(frozen=True, slots=True)
class Ended:
    """A transaction's end, as its owner says; it is a move, and counts only while that owns it."""

    transaction: str
    state: State


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a transaction: a run, a nested transaction, a `parallelize`, a task of one. Part 0 is the whole.

    Attributes:
        transaction: Its transaction's id.
        number: From 1, in the order in which they began.
        parent: The part that it is a part of.
        chunk: Of a task: from 1.
    """

    transaction: str
    number: int
    parent: int
    name: str | None
    kind: Kind
    chunk: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """What became of a task.

    Attributes:
        number: Its part.
        stdout: What it printed; `stderr` what it logged.
    """

    transaction: str
    number: int
    status: Status
    error: str | None
    stdout: str
    stderr: str
    truncated: bool
    started_at: datetime | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """What may be undone or has to be accounted for: a planned step, or an undo that was registered by itself.

    Attributes:
        transaction: Its transaction's id.
        seq: From 1; later ones were planned or registered later.
        part: The part that it belongs to; 0 is the transaction itself.
        host: The host's name; None for a callable.
        way: How the host is reached, as JSON; None where there is nothing to undo there.
        chunk: From 1.
        branch: The branch's label.
        command: As sent; None where there is only an undo.
        undo: The rendered undo, or a callable in words; None if there is none.
        terms: How both are run, as JSON; None for a callable.
        secrets: What the undo names as `$OPSKIT_SECRET_n`, as JSON.
        call: A callable that another process can import, as JSON: function, args, kwargs. None for any other.
        key: The option `key`.
        undo_once: Whether an undo whose outcome is not known is left to a person.
    """

    transaction: str
    seq: int
    part: int
    host: str | None
    way: str | None
    chunk: int
    branch: str | None
    command: str | None
    undo: str | None
    terms: str | None
    secrets: str | None
    call: str | None
    key: str | None
    undo_once: bool


@dataclass(frozen=True, slots=True)
class Intent:
    """An entry's command, or its undo, is about to be sent.

    Attributes:
        undo: Whether it is the undo.
        attempt: From 1.
        epoch: Under which the writer owns the transaction; under another one it is not written.
    """

    transaction: str
    seq: int
    undo: bool
    attempt: int
    epoch: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an intent."""

    transaction: str
    seq: int
    undo: bool
    attempt: int
    status: Status
    exit_code: int | None
    signal: str | None
    stdout: str
    stderr: str
    truncated: bool
    started_at: datetime | None
    seconds: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Unsent:
    """An entry whose command, or undo, was not even intended, and why: its host could not be reached, say."""

    transaction: str
    seq: int
    undo: bool
    attempt: int
    status: Status
    error: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Note:
    """A person's word on a transaction, or on the outcome of one entry of it.

    Attributes:
        seq: The entry that is settled, and `undo` whether it is its undo; None for a word on the whole.
        old_status: What was recorded; `new_status` what the person says that it is.
    """

    transaction: str
    seq: int | None
    undo: bool
    who: str
    at: datetime
    text: str
    old_status: Status | None
    new_status: Status | None


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody's wish that whoever owns a transaction, and lives, rolls it back."""

    transaction: str
    who: str
    machine: str
    at: datetime
    why: str | None

    def __str__(self) -> str:
        return f"asked by {self.who} on {self.machine}" + (f": {self.why}" if self.why else "")


Fact = Transaction | Part | TaskEnded | Entry | Intent | Outcome | Unsent | Note | Ended


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that has written, or writes.

    Attributes:
        who: The user's name.
        alive: Whether it is there still.
    """

    id: str
    who: str
    machine: str
    pid: int
    since: datetime
    alive: bool

    def __str__(self) -> str:
        return f"{self.who} on {self.machine} (process {self.pid})"


@dataclass(frozen=True, slots=True)
class Now:
    """Where a transaction stands.

    Attributes:
        number: Of its last move.
        state: That it has moved to.
        epoch: How often it has changed hands.
        at: When it moved.
        why: What was said of the move.
    """

    transaction: Transaction
    number: int
    state: State
    epoch: int
    owner: Owner
    at: datetime
    why: str | None

    @property
    def abandoned(self) -> bool:
        """Whether its owner died in the middle."""
        return self.state in GOING_ON and not self.owner.alive

    @property
    def goes_on(self) -> bool:
        """Whether its owner, who lives, is at it."""
        return self.state in GOING_ON and self.owner.alive


@dataclass(frozen=True, slots=True)
class Account:
    """An entry and all that is known of it, in order.

    Attributes:
        intents: Of its command; `undo_intents` of its undo. So with the outcomes, by attempt.
    """

    entry: Entry
    intents: tuple[Intent, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    undo_intents: tuple[Intent, ...] = ()
    undo_outcomes: tuple[Outcome, ...] = ()
    unsent: tuple[Unsent, ...] = ()
    settled: tuple[Note, ...] = ()
