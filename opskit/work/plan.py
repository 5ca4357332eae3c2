"""The plan: every step that will be sent, in chunks, computed before anything is dialled. It is what runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

from opskit.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from os import PathLike

    import pandas as pd

    from opskit.fleet import Host, Inventory
    from opskit.results import Results
    from opskit.secrets import Secret
    from opskit.work.terms import RunTerms, Terms


@dataclass(frozen=True, slots=True)
class Step:
    """One branch's command on one host.

    Attributes:
        host: Where.
        branch: The condition's text, `else`, or None.
        command: The rendered command.
        terms: How it is run.
        chunk: From 1.
        secrets: What the command names as `$OPSKIT_SECRET_1`, `$OPSKIT_SECRET_2` and so on.
        undo: The rendered command that undoes it; None if there is none.
        undo_secrets: What the undo names, by numbers of its own.
        undo_once: Whether an undo whose outcome is not known is left to a person, because it must not run twice.
        irreversible: Whether it is known that nothing can undo it, so that a person is asked first.
        key: Under which the journal knows that it was done; None if nobody asks.
    """

    host: Host
    branch: str | None
    command: str
    terms: Terms
    chunk: int
    secrets: tuple[Secret, ...] = ()
    undo: str | None = None
    undo_secrets: tuple[Secret, ...] = ()
    undo_once: bool = False
    irreversible: bool = False
    key: str | None = None

    def undoing(self) -> Step:
        """The step that undoes this one, which has an undo: on its host and terms, but with nothing to read."""
        assert self.undo is not None
        return Step(self.host, self.branch, self.undo, self.terms.of_undo, self.chunk, self.undo_secrets)


@dataclass(frozen=True, eq=False)  # without slots: chunks and skipped are made once, when asked for
class Plan:
    """All steps, in chunks. Printing it says what would happen; `df` has a row a step.

    Attributes:
        hosts: The selected hosts, in inventory order.
        steps: In inventory order; a host's steps in the order of their branches.
        terms: The run's own options.
        warnings: What a person should know before it runs.
        checks: What must pass on a chunk's hosts before the next one starts; a step for each host.
        performer: What `apply` calls.
        passing: Those of the warnings that say what others were at when somebody looked: they are not saved.
        notes: What else is said under it where it is shown; not saved.
    """

    hosts: Inventory
    steps: tuple[Step, ...]
    terms: RunTerms
    warnings: tuple[str, ...] = ()
    checks: tuple[Step, ...] = ()
    performer: Callable[[Plan], Results] | None = field(default=None, repr=False)
    passing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str | None:
        """What the run is called."""
        return self.terms.name

    @property
    def fanout(self) -> int:
        """How many hosts at most are worked on at once inside a chunk."""
        return self.terms.fanout

    @cached_property
    def chunks(self) -> tuple[tuple[Step, ...], ...]:
        """The steps of each chunk."""
        return tuple(tuple(steps) for _, steps in groupby(self.steps, key=lambda step: step.chunk))

    @cached_property
    def skipped(self) -> tuple[Host, ...]:
        """The hosts that no branch matched. They are never connected to."""
        busy = {step.host.name for step in self.steps}
        return tuple(host for host in self.hosts if host.name not in busy)

    @property
    def lasting(self) -> tuple[str, ...]:
        """The warnings that are of the plan itself."""
        return tuple(warning for warning in self.warnings if warning not in self.passing)

    @property
    def undoable(self) -> int:
        """How many of its steps can be undone."""
        return sum(step.undo is not None for step in self.steps)

    @property
    def df(self) -> pd.DataFrame:
        """A DataFrame with a row a step: chunk (Int64), host, branch (category), command, undo (strings)."""
        from opskit.frames.plan import plan_frame

        return plan_frame(self.steps)

    def apply(self) -> Results:
        """Run these steps and no others.

        Raises:
            PlanChanged: A host of the plan is not in the inventory in use any more, or has another address, port or
                user; nothing was sent.
            CommandError: As `opskit.run`.
        """
        if self.performer is None:
            raise PlanError(
                "this plan was not made by opskit.plan, `dry_run=True` or opskit.load_plan: it can't be run"
            )
        return self.performer(replace(self, terms=replace(self.terms, wait=True)))

    def diff(self, other: Plan) -> pd.DataFrame:
        """What differs from another plan: commands, how and as whom they are run, checks, the run's own options.

        Returns a row a step or check that differs: change (category: added, removed, changed), chunk (Int64), host,
        branch (category), command and was (strings): the command here and the one there, in brackets what is not
        usual about it. A row of an option of the run has no chunk and no host.

        Raises:
            PlanError: `other` is no plan.
        """
        from opskit.frames.plan import difference_frame
        from opskit.work.described import changes

        if not isinstance(other, Plan):
            raise PlanError(f"diff takes a Plan, not {type(other).__name__}; opskit.load_plan reads one from a file")
        return difference_frame(changes(self, other))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the plan to a file that only its owner can read. Secrets are written by name alone.

        Raises:
            PlanError: It holds what no file can: a function, or a secret that was given as a value.
        """
        from opskit.work.saved import save

        save(self, path)

    def only(self, wanted: Collection[int]) -> Plan:
        """The plan with just the steps of these positions, in chunks numbered from 1, and without checks."""
        steps = [step for position, step in enumerate(self.steps) if position in wanted]
        numbers = {chunk: number for number, chunk in enumerate(dict.fromkeys(step.chunk for step in steps), 1)}
        busy = {step.host.name for step in steps}
        return replace(
            self,
            hosts=self.hosts.select(hosts=[host for host in self.hosts if host.name in busy]),
            steps=tuple(replace(step, chunk=numbers[step.chunk]) for step in steps),
            checks=(),
            terms=replace(self.terms, check=None, wait=True),
        )

    def __len__(self) -> int:
        return len(self.steps)

    def __bool__(self) -> bool:
        return True

    @cached_property
    def secrets(self) -> tuple[Secret, ...]:
        """The secrets that its steps and their undos need, each once."""
        steps = (*self.steps, *self.checks)
        found = dict.fromkeys(secret for step in steps for secret in (*step.secrets, *step.undo_secrets))
        for terms in {id(step.terms): step.terms for step in steps}.values():
            found |= dict.fromkeys(terms.secrets)
        return tuple(found)

    def __str__(self) -> str:
        from opskit.work.plan_display import as_text

        return as_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from opskit.work.plan_display import as_html

        return as_html(self)
