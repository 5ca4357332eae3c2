"""`opskit.attach`: a transaction of any process seen from here, live or as it was. It reads the journal, no more."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic, thread_time
from typing import TYPE_CHECKING, Final

from opskit import bridge, journal, shared, views
from opskit.attaching.picture import Look, Picture
from opskit.begun import begun_here
from opskit.bridge.own_thread import in_own_thread
from opskit.errors import OpskitError, PlanError, TimeoutExceeded, give_notes, give_results
from opskit.handle import patience
from opskit.journal.history import History
from opskit.rendering.escape import html
from opskit.results import Results
from opskit.scopes import expect_may_block, here
from opskit.showing import Shown, Tail
from opskit.undoing.confirming import confirm_order
from opskit.undoing.rollback import Rollback
from opskit.views.painter import Painter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from opskit.progress import WorkProgress
    from opskit.record.facts import Account, Transaction
    from opskit.showing import Outlook

logger = logging.getLogger("opskit")

LOOK_SECONDS: Final = 1.0
"""Between two looks into the journal, at least."""

SHARE: Final = 20
"""So many times as long as a look works, not as it waits for the journal, the next one is waited for."""

LONGEST_PAUSE: Final = 10.0
"""Seconds from one look to the next at most, however long it works."""

MOMENT_SECONDS: Final = 1.0
"""The journal is given so long to answer who wants to leave, or just to know how far it is."""

PRINTERS: Final = 16
"""So many of the steps that ended last are shown with what they printed."""

TAIL: Final = 2_000
"""Characters of it."""


def attach(transaction: str) -> Attached:
    """See a transaction of any process: a run, tasks, a block, live or ended, in a view of its own where it goes on.

    Nothing is sent, and nothing is held up: it goes on whatever becomes of who looks. What hosts print is there when
    their command has ended.

    Args:
        transaction: Its id, or the beginning of that. Of a part (`"TX.3"`) `.results` has the part's rows alone, and
            all else is of the whole.

    Raises:
        RollbackError: The journal has no such transaction, or part, or several that begin so.
        JournalError: The journal can't be read.
    """
    store, part = shared.store(), journal.part_of(transaction)
    now = store.now(transaction)
    History(now, (), (), store.parts(now.transaction.id)).rows(part)  # raises if there is no such part
    return Attached(now.transaction, part)


class Attached:
    """A transaction as the journal knows it, looked at about once a second by whoever waits, asks or paints.

    Args:
        begun: As it was begun.
        part: Whose rows are wanted; 0: all.

    Attributes:
        transaction: Its id; of a part with a dot and the part's number.
    """

    def __init__(self, begun: Transaction, part: int) -> None:
        self._store = shared.store()
        self._begun = begun
        self._whole = begun.id
        self._part = part
        self.transaction = f"{self._whole}.{part}" if part else self._whole
        self._picture = Picture(self._seen())
        self._ended: Future[None] = Future()
        self._guard = threading.Lock()
        self._looking: Future[None] = Future()
        self._looking.set_result(None)
        self._looked_at = datetime.now(UTC)
        self._asked = monotonic()
        self._due = self._asked + LOOK_SECONDS
        self._printed: dict[int, Tail] = {}
        self._said = ""
        goes_on = not self._picture.progress.over
        if not goes_on:
            self._end()
        self._view = views.choose(self._shown()) if goes_on else None
        self._painter = Painter(self._view, self._is_over)

    @property
    def results(self) -> Results:
        """The rows as of now: what has ended with its outputs, what its owner is at `running`; see `journal.results`.

        Raises:
            JournalError: The journal can't be read.
        """
        return Results(self._history().rows(self._part))

    @property
    def state(self) -> str:
        """Where it stands, as in the journal, at most some seconds ago: `abandoned` where its owner died.

        A journal that does not answer is not waited for; later, and so with `done`, a JournalError tells of it.
        """
        self._look_soon()
        now = self._picture.look.now
        return "abandoned" if now.abandoned else now.state

    @property
    def done(self) -> bool:
        """Whether it has ended, and a rollback that was under way too; or its process has died."""
        self._look_soon()
        return self._ended.done()

    def wait(self, timeout: float | None = None) -> Results:
        """Wait for the end, showing progress meanwhile; a rollback that is under way is waited for as well.

        An interrupt ends the wait alone.

        Args:
            timeout: Seconds to wait at most.

        Returns:
            The rows, whatever became of them; if the process has died, that is told as a warning.

        Raises:
            PlanError: `timeout` is no number, or less than 0; or it would wait for its own end, or hold up async tasks.
            TimeoutExceeded: It has not ended in time; `.results` has its rows as of now.
            JournalError: The journal can't be read any more.
            KeyboardInterrupt: The kernel or script was interrupted; it goes on. `.results` has its rows as of now.
        """
        expect_may_block()
        if (scope := here()) is not None and scope.root.id == self._whole:
            raise PlanError(f"transaction {self._whole} is open here: a wait for its end would never end")
        timeout = patience(timeout)
        try:
            with self._painter.watched():
                self._look_soon()  # however little time there is
                bridge.block(self._ended, self._tick, bridge.wait_no_more, timeout)
        except KeyboardInterrupt as interrupt:
            rows, notes = self._rows_soon()
            give_results(interrupt, rows, became="nobody waits for it any more")
            give_notes(interrupt, [f"{self._whole} goes on: opskit attach {self._whole} shows it again", *notes])
            raise
        if not self._ended.done():
            assert timeout is not None
            rows, notes = self._rows_soon()
            said = f"transaction {self._whole} still goes on after {timeout:g} s, and nothing was done to it"
            exceeded = TimeoutExceeded(said, rows)
            give_notes(exceeded, notes)
            raise exceeded
        if remark := self._remark():
            logger.warning("opskit: %s", remark)
        return self.results

    def rollback(self, why: str | None = None) -> Results:
        """Undo it: its process is asked to if it lives, which cancels what runs; see `opskit.journal.rollback`.

        Args:
            why: What the journal says of it, beside who asked.

        Returns:
            A row for each undo.

        Raises:
            Cancelled, PromptRefused, RollbackError: As `opskit.journal.rollback`.
        """
        if (steer := self._steer()) is None:
            return journal.rollback(self.transaction, why)
        expect_may_block()
        confirm_order(Rollback(self._store, self._whole, root=begun_here(self._whole)))
        return steer(why or "asked for where it was attached to")

    def __repr__(self) -> str:
        try:
            return str(self._history())
        except OpskitError as error:
            return f"<{self.transaction}: {error}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        if self._view is None or not self._view.stays or self._ended.done():
            return self._history()._repr_mimebundle_(include, exclude)
        # The view beside it shows all else, also how it ends: nothing stands here that would not be true then.
        said = f"attached to {self.transaction}: .wait(), .results, .rollback()"
        return {"text/html": f"<div>{html(said)}</div>", "text/plain": f"<{said}>"}

    def _history(self) -> History:
        return History.of(self._store, self._whole)

    def _look(self) -> Future[None]:
        """The look that brings the picture up to date, begun if the last one is long enough ago; or that last one.

        In a thread of its own: a journal that is away holds up neither who waits nor who paints.
        """
        with self._guard:
            if self._looking.done() and monotonic() >= self._due:
                self._asked = monotonic()
                self._looking = bridge.engine().submit(in_own_thread(self._take_a_look))
            return self._looking

    def _look_soon(self) -> bool:
        """As `_look`, and wait for it until a moment after it was begun; whether it has ended. Raises JournalError."""
        looking = self._look()
        with suppress(TimeoutError):
            looking.result(max(0.0, self._asked + MOMENT_SECONDS - monotonic()))
        return looking.done()

    def _tick(self) -> None:
        if (looking := self._look()).done():
            looking.result()

    def _take_a_look(self) -> None:
        began, pause = thread_time(), LOOK_SECONDS
        try:
            at, look = datetime.now(UTC), self._seen()
            self._picture.take(look)
            self._looked_at = at
            if self._picture.progress.over and not self._ended.done():
                self._end()
            pause = max(pause, min(LONGEST_PAUSE, SHARE * (thread_time() - began)))
        finally:
            self._due = monotonic() + pause

    def _rows_soon(self) -> tuple[Results, Sequence[str]]:
        """The rows for who waits no more, and notes: where the journal does not answer, they are of the last look."""
        with suppress(OpskitError, TimeoutError):
            if self._look_soon():
                return bridge.engine().submit(in_own_thread(lambda: self.results)).result(MOMENT_SECONDS), ()
        look, at = self._picture.look, self._looked_at.astimezone()
        tasks = {task.number: task for task in look.tasks}
        rows = History(look.now, look.moves, look.accounts, look.parts, tasks).rows(self._part)
        return Results(rows), [f"the journal does not answer: these rows are as of {at:%H:%M:%S}, without their output"]

    def _seen(self) -> Look:
        """What the journal says; where it stands is asked first, since what follows can only be more."""
        store, found = self._store, self._whole
        moves = store.moves(found) or [store.now(found)]  # which raises: it was pruned meanwhile
        parts, tasks = store.parts(found), store.tasks(found, outputs=False)
        return Look(moves, store.accounts(found, outputs=False), parts, tasks)

    def _end(self) -> None:
        """It has ended, or its process has died: more is to be said then than its rows do."""
        if self._picture.look.now.abandoned:
            history = self._history()
            unknown = sum(row.status == "unknown" for row in history.rows())
            steps = f": nobody knows what became of {unknown} step{'' if unknown == 1 else 's'}" if unknown else ""
            to_do = history.summary.what_to_do or "nothing was sent"
            self._said = f"its process has died, {history.now.owner}{steps}; {to_do}"
        self._ended.set_result(None)

    def _is_over(self) -> bool:
        self._look()
        return self._ended.done()

    def _shown(self) -> Shown:
        return Shown(
            self._picture.progress,
            self._whole,
            results=lambda: self.results,
            outlook=self._outlook,
            rollback=None if self._part else self._undo,
            tails=self._tails,
            works=self._works,
            is_transaction=self._picture.is_transaction,
            look=self._look,
            seconds_before=max(0.0, (datetime.now(UTC) - self._begun.at).total_seconds()),
            remark=self._remark,
        )

    def _works(self) -> list[WorkProgress]:
        return self._picture.works(datetime.now(UTC))

    def _outlook(self) -> Outlook:
        found = Rollback(self._store, self._whole, root=begun_here(self._whole)).outlook()
        return replace(found, state="abandoned") if self._picture.look.now.abandoned else found

    def _undo(self, why: str) -> Results:
        """As `rollback`, once whoever wants it has seen what it undoes."""
        if (steer := self._steer()) is not None:
            return steer(why)
        return journal.agreed_rollback(self._whole, why)

    def _steer(self) -> Callable[[str], Results] | None:
        """What rolls it back where this very process is at it."""
        root = begun_here(self._whole)
        if self._part or root is None or root.left or root.steer is None:
            return None
        return root.steer()

    def _tails(self, hosts: Collection[str]) -> Sequence[Tail]:
        """What has been printed by the steps that ended last, on these hosts or on all; of many hosts what is known."""
        ended = self._picture.ended(hosts)
        if len(hosts) <= PRINTERS:  # of more, as where a view asks for the texts of all its cells, nothing is read
            ended = ended[-PRINTERS:]
            if new := [account.entry.seq for account in ended if account.entry.seq not in self._printed]:
                with suppress(OpskitError):
                    self._printed |= {one.entry.seq: _tail(one) for one in self._store.accounts(self._whole, new)}
        return [self._printed[seq] for account in ended if (seq := account.entry.seq) in self._printed]

    def _remark(self) -> str:
        """What is to be said of a transaction whose process has died, until somebody sees to it; empty of any other."""
        return self._said if self._picture.look.now.abandoned else ""


def _tail(account: Account) -> Tail:
    last = account.outcomes[-1]
    return Tail(account.entry.host or "", f"{last.stdout[-TAIL:]}{last.stderr[-TAIL:]}")
