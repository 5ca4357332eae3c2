"""What is known of every step of a run: its row once it has ended, its attempt while it is under way."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from opskit import events
from opskit.engine.attempt import row_of
from opskit.results import HostResult, Results
from opskit.showing import Tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opskit.engine.attempt import Attempt
    from opskit.engine.capture import Stream
    from opskit.engine.ports import Journal
    from opskit.work.plan import Plan, Step


MOST_PRINTERS: Final = 16
"""So many of the steps that printed last are known."""

TAIL: Final = 2_000
"""So much of the end of a stream is looked at, in bytes or characters."""


class Ledger:
    """Rows and attempts by step; tells each change as an event.

    Args:
        emit: Takes every event, at once and without blocking.
        journal: Is told what becomes of every attempt.
        listens: Whether somebody wants every line of output; else only where a step says so.

    Attributes:
        bad_hosts: The hosts with a row that makes the run a failed one.
    """

    def __init__(self, emit: Callable[[events.Event], object], journal: Journal, *, listens: bool = False) -> None:
        self._emit = emit
        self.journal = journal
        self._listens = listens
        self._rows: dict[int, HostResult] = {}
        self._untouched: dict[int, HostResult] = {}  # one row each: who wants rows again is known by them
        self._under_way: dict[int, Attempt] = {}
        self._open: set[int] = set()
        self._told: set[int] = set()
        self._printed: dict[int, Step] = {}  # those that printed last, the latest one last
        self.bad_hosts: set[str] = set()

    def sending(self, attempt: Attempt) -> None:
        """Note what is about to be sent."""
        self._under_way[id(attempt.step)] = attempt

    def began(self, step: Step) -> None:
        """Say once that a step began, be it that the host took its command or that it printed something."""
        if id(step) not in self._told:
            self._told.add(id(step))
            self._emit(events.StepStarted(step))

    def ended(self, step: Step, row: HostResult, *, final: bool = True) -> None:
        """Take a step's row; one that is not final may be replaced by that of another attempt."""
        self._under_way.pop(id(step), None)
        self.journal.ended(step, row)
        if final:
            self.settle(step, row)
        else:
            self._rows[id(step)] = row
            self._open.add(id(step))

    def settle(self, step: Step, row: HostResult) -> None:
        """Take a step's final row, which the journal knows already."""
        self._rows[id(step)] = row
        self._open.discard(id(step))
        if row.bad:
            self.bad_hosts.add(row.host)
        self._emit(events.StepEnded(step, row))

    def finish(self, step: Step) -> None:
        """Make a step's row final."""
        self.settle(step, self._rows[id(step)])

    def listener(self, step: Step) -> Callable[[Stream, str], object] | None:
        """What takes each line that a step prints, if anybody wants them."""
        if step.terms.on_output is None and not self._listens:
            return None

        def tell(stream: Stream, line: str) -> None:
            self.began(step)
            self._emit(events.Output(step, stream, line))

        return tell

    def printed(self, step: Step) -> None:
        """Note that a step has just printed something."""
        self._printed.pop(id(step), None)
        self._printed[id(step)] = step
        if len(self._printed) > MOST_PRINTERS:
            del self._printed[next(iter(self._printed))]

    def tails(self, steps: Iterable[Step]) -> list[Tail]:
        """What each of these steps has printed last."""
        return [Tail(step.host.name, self._tail(step)) for step in steps]

    @property
    def printers(self) -> list[Step]:
        """The steps that printed last, the latest one last."""
        return list(self._printed.values())

    def _tail(self, step: Step) -> str:
        if (attempt := self._under_way.get(id(step))) is not None:
            return attempt.capture.tail(TAIL)
        row = self._rows.get(id(step))
        return "" if row is None else f"{row.stdout[-TAIL:]}{row.stderr[-TAIL:]}"

    def row(self, step: Step) -> HostResult:
        """A step's row as of now."""
        if (attempt := self._under_way.get(id(step))) is not None:
            return attempt.so_far()
        return self._rows.get(id(step)) or self._untouched.setdefault(id(step), self.not_started(step))

    def not_started(self, step: Step, error: str | None = None) -> HostResult:
        """The row of a step that surely was not sent."""
        return row_of(step, "not_started", self.journal.transaction, error=error)

    def open(self, steps: Iterable[Step]) -> list[Step]:
        """Those of the steps whose row is not final."""
        return [step for step in steps if id(step) in self._open]

    def has(self, step: Step) -> bool:
        """Whether a step has its final row."""
        return id(step) in self._rows and id(step) not in self._open

    def results(self, plan: Plan) -> Results:
        """A row for each step and each skipped host, in inventory order."""
        rows = map(self.row, plan.steps)
        if not plan.skipped:
            return Results(tuple(rows))
        by_host = {name: list(found) for name, found in groupby(rows, key=lambda row: row.host)}
        by_host |= {host.name: [HostResult(host.name, None, None, "skipped")] for host in plan.skipped}
        return Results(tuple(row for host in plan.hosts for row in by_host[host.name]))
