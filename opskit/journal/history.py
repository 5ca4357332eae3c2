"""What the journal knows of transactions, as values: each in figures, one with all its facts. Read from the store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from opskit.errors import RollbackError
from opskit.journal.display import as_html, as_text
from opskit.record.moves import GOING_ON, OPEN
from opskit.record.outline import Outline
from opskit.record.standing import is_left, is_owed, is_under_way, row, status, was_sent
from opskit.results import HostResult
from opskit.undoing.order import within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from opskit.record.facts import Account, Kind, Note, Now, Part, TaskEnded
    from opskit.record.store import Store

NEWEST: Final = 1000
"""How many transactions are looked at where nobody names one."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A transaction in figures: a row of `opskit.journal.df`.

    Attributes:
        state: As in the journal; `abandoned` where its owner died in the middle.
        who: Who began it; so with `machine`.
        ended_at: When it last came to an end; None while it goes on.
        hosts: How many it has steps or undos on.
        ok: How many steps ended well; `failed` how many failed, timed out, were unreachable or are unknown.
        undone: How many undos ended well; `owed` how many are not done, though what they undo was or may have been.
        reason: What was last said of a move of it.
        what_to_do: By whoever finds it; None if it needs nobody.
    """

    transaction: str
    name: str | None
    kind: Kind
    state: str
    who: str
    machine: str
    notebook: str | None
    started_at: datetime
    ended_at: datetime | None
    hosts: int
    ok: int
    failed: int
    undone: int
    owed: int
    reason: str | None
    what_to_do: str | None

    @classmethod
    def of(cls, outline: Outline) -> Summary:
        """What an outline comes to."""
        now, begun, first, alike = outline.now, outline.now.transaction, outline.moves[0].owner, outline.alike
        steps = [(_row(now, account), number) for account, number in alike if account.entry.command is not None]
        return cls(
            begun.id,
            begun.name,
            begun.kind,
            "abandoned" if now.abandoned else now.state,
            first.who,
            first.machine,
            begun.notebook,
            begun.at,
            None if now.state in GOING_ON else now.at,
            outline.hosts,
            sum(number for row, number in steps if row.ok),
            sum(number for row, number in steps if row.bad),
            sum(number for account, number in alike if status(account, undo=True) == "ok"),
            0 if now.state == "closed" else sum(number for account, number in alike if is_left(account)),
            next((move.why for move in reversed(outline.moves) if move.why is not None), None),
            _what_to_do(now, [account for account, _ in alike], locks=outline.locks > 0),
        )


@dataclass(frozen=True, slots=True, repr=False)
class History:
    """All that the journal knows of one transaction; displays itself as text and as HTML.

    Attributes:
        now: Where it stands.
        moves: How it came there.
        accounts: Its steps and undos, and what became of each.
        tasks: Those that have ended, by their part's number.
        locked: The keys that it keeps others off.
    """

    now: Now
    moves: Sequence[Now]
    accounts: Sequence[Account]
    parts: Sequence[Part] = ()
    tasks: Mapping[int, TaskEnded] = field(default_factory=dict)
    notes: Sequence[Note] = ()
    locked: Sequence[str] = ()

    @classmethod
    def of(cls, store: Store, transaction: str) -> History:
        """Read it, by its id or the beginning of it; raises RollbackError if there is none."""
        now = store.now(transaction)
        found = now.transaction.id
        moves, accounts = store.moves(found), store.accounts(found)
        tasks = {task.number: task for task in store.tasks(found)}
        return cls(now, moves, accounts, store.parts(found), tasks, store.notes(found), store.locked(found))

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - IPython's signature
        return {"text/html": as_html(self), "text/plain": as_text(self)}

    @property
    def summary(self) -> Summary:
        """The same in figures."""
        hosts = {account.entry.host for account in self.accounts} - {None}
        alike = [(account, 1) for account in self.accounts]
        return Summary.of(Outline(self.now, self.moves, len(hosts), alike, len(self.locked)))

    def row(self, account: Account, *, undo: bool = False) -> HostResult:
        """The row of a step, or of its undo: `running` while its owner is at it."""
        return _row(self.now, account, undo=undo)

    def rows(self, part: int = 0) -> tuple[HostResult, ...]:
        """The rows of a part, or of the whole, in the order of what was planned: of commands and of tasks.

        Raises:
            RollbackError: There is no such part.
        """
        of = self._within(part)
        found = {
            account.entry.seq: self.row(account)
            for account in self.accounts
            if account.entry.command is not None and account.entry.part in of
        }
        found |= {task.number: self.task_row(task) for task in self.parts if task.kind == "task" and task.number in of}
        return tuple(found[number] for number in sorted(found))

    def task_row(self, task: Part) -> HostResult:
        """The row of a task; one that has not ended is `running`, or unknown where its owner died."""
        made = HostResult("", task.name, None, "running", chunk=task.chunk, attempt=1, transaction=task.transaction)
        if (ended := self.tasks.get(task.number)) is not None:
            return replace(
                made,
                status=ended.status,
                stdout=ended.stdout,
                stderr=ended.stderr,
                truncated=ended.truncated,
                started_at=ended.started_at,
                seconds=ended.seconds,
                error=ended.error,
            )
        if self.now.state == "running" and self.now.owner.alive:
            return replace(made, started_at=task.at)
        return replace(made, status="unknown", started_at=task.at, error="its owner died, or left it, before it ended")

    def _within(self, part: int) -> set[int]:
        """The numbers of a part and of all parts of it."""
        known = [0, *(found.number for found in self.parts)]
        if part not in known:
            raise RollbackError(
                f"transaction {self.now.transaction.id} has no part {part}; its parts: {', '.join(map(str, known))}"
            )
        return within(part, self.parts)


def summaries(
    store: Store,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    name: str | None = None,
    host: str | None = None,
    who: str | None = None,
    limit: int = NEWEST,
) -> list[Summary]:
    """The newest transactions that all of this holds for, newest first."""
    found = store.transactions(since=since, until=until, name=name, host=host, who=who, limit=limit)
    return list(map(Summary.of, store.outlines(found)))


def unfinished(store: Store) -> list[Summary]:
    """Those that need somebody: abandoned after something was or may have been done, or with locks; or not undone."""
    found = store.outlines(store.transactions(states=OPEN))
    return [summary for summary in map(Summary.of, found) if summary.what_to_do is not None]


def _row(now: Now, account: Account, *, undo: bool = False) -> HostResult:
    """The row of a step, or of its undo, of a transaction that stands so."""
    found = row(account, undo=undo)
    return replace(found, status="running", error=None) if is_under_way(account, now, undo=undo) else found


def _what_to_do(now: Now, accounts: Sequence[Account], *, locks: bool) -> str | None:
    partial = now.state == "rollback_partial"
    if not partial and not (now.abandoned and (locks or any(map(was_sent, accounts)))):
        return None
    found = now.transaction.id
    left = [account for account in accounts if is_left(account)]
    if partial and now.epoch == 1:  # it ended well, but for a part of it
        return f"opskit rollback {found}, which undoes all of it; or opskit close {found} --why '...'"
    if any(map(is_owed, left)) or (partial and not left):
        return f"opskit rollback {found}"
    if left:
        return f"opskit settle {found} HOST ok --undo --why '...', once it is known what became of the undo"
    return f"nothing can be undone: opskit close {found} --why '...'" + (", which ends its locks" if locks else "")
