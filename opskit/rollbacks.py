"""Undoing: what is owed of a transaction or a part of it, in which order, and carrying it out on the engine's loop."""

from __future__ import annotations

import asyncio
import inspect
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from opskit.engine.ports import DEAD_MAN_SECONDS
from opskit.engine.run import Run
from opskit.errors import OpskitError
from opskit.events import UndoEnded, UndoStarted
from opskit.fleet import Inventory
from opskit.record.facts import Intent
from opskit.record.recorder import Entered, Recorder, outcome_of
from opskit.record.standing import is_owed, may_run, tries
from opskit.results import HostResult, Results
from opskit.undos import Callback
from opskit.work.plan import Plan, Step
from opskit.work.terms import RunTerms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opskit.engine.ports import Transport
    from opskit.events import Event
    from opskit.record.facts import Account, Kind, Part
    from opskit.record.recorder import Writer
    from opskit.settings import Settings
    from opskit.undos import Undo


@dataclass(frozen=True, slots=True)
class Series:
    """One after the other."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Together:
    """All at once."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Wave:
    """The undos of one chunk: hosts at once, those of a host one after the other."""

    accounts: tuple[Account, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function."""

    account: Account


Node = Series | Together | Wave | Call


def arranged(kind: Kind, parts: Sequence[Part], accounts: Sequence[Account], of: int = 0) -> Node:
    """What is owed of a part, and of all that belongs to it, in the order in which it is undone: newest first.

    Args:
        kind: What the part was begun as.
        parts: All of the transaction.
        accounts: All of the transaction, by number.
        of: The part; 0 is the whole.
    """
    own = [account for account in accounts if account.entry.part == of and is_owed(account)]
    inner = [part for part in parts if part.parent == of]
    if kind in ("run", "parallel"):
        return Series(tuple(Wave(_by_host(found)) for found in _by_chunk(own)))
    below = {part.number: arranged(part.kind, parts, accounts, part.number) for part in inner}
    if kind == "parallelize":
        chunks = groupby(sorted(inner, key=lambda part: -(part.chunk or 0)), key=lambda part: part.chunk)
        return Series(tuple(Together(tuple(below[task.number] for task in tasks)) for _, tasks in chunks))
    nodes: dict[int, Node] = {account.entry.seq: Call(account) for account in own} | below
    return Series(tuple(nodes[number] for number in sorted(nodes, reverse=True)))


def _by_chunk(accounts: Sequence[Account]) -> list[list[Account]]:
    newest_first = sorted(accounts, key=lambda account: -account.entry.chunk)
    return [list(found) for _, found in groupby(newest_first, key=lambda account: account.entry.chunk)]


def _by_host(accounts: Sequence[Account]) -> tuple[Account, ...]:
    """Each host's together, newest first."""
    return tuple(sorted(accounts, key=lambda account: (account.entry.host or "", -account.entry.seq)))


def entries(node: Node) -> list[Account]:
    """What a node is made of, in order."""
    match node:
        case Wave(accounts):
            return list(accounts)
        case Call(account):
            return [account]
        case Series(nodes) | Together(nodes):
            return [account for inner in nodes for account in entries(inner)]


class Rollback:
    """Undoing on its way. Belongs to the engine's loop.

    Args:
        writer: Writes what is intended and what became of it.
        transaction: Its id.
        epoch: Under which this process owns it.
        known: By what each entry is undone; or why it can't be from here.
        settings: What holds.
        transport: How hosts are reached.
        emit: Takes every event.
    """

    def __init__(
        self,
        writer: Writer,
        transaction: str,
        epoch: int,
        known: Mapping[int, Undo],
        settings: Settings,
        transport: Transport,
        emit: Callable[[Event], object],
    ) -> None:
        self._writer = writer
        self._transaction = transaction
        self._epoch = epoch
        self._known = known
        self._settings = settings
        self._transport = transport
        self._emit = emit
        self._running: set[Run] = set()
        self._rows: dict[int, HostResult] = {}
        self._began = time.monotonic()
        self.cancelled = False

    async def finish(self, node: Node) -> Results:
        """Undo, all that can be; returns a row for each undo, in the order of `node`.

        Raises:
            JournalError, RollbackError: Nothing more could be written down, or it is somebody else's by now.
        """
        await self._undo(node)
        return Results(tuple(self._row(account) for account in entries(node)))

    def cancel(self) -> None:
        """End what runs, and begin nothing more."""
        self.cancelled = True
        for run in self._running:
            run.cancel()

    def _row(self, account: Account) -> HostResult:
        return self._rows.get(account.entry.seq) or self._untouched(account, "the rollback was interrupted before")

    async def _undo(self, node: Node) -> None:
        if self.cancelled:
            return
        match node:
            case Series(nodes):
                for inner in nodes:
                    await self._undo(inner)
            case Together(nodes):
                await asyncio.gather(*map(self._undo, nodes))
            case Wave(accounts) if accounts:
                await self._send(accounts)
            case Call(account):
                await self._call(account)

    async def _send(self, accounts: Sequence[Account]) -> None:
        """Run the commands of a wave; whatever keeps one from running is its row's error."""
        if any(map(may_run, accounts)):
            # Its owner died while it ran. The host ends it, but needs a moment: it must not overtake its undo.
            await asyncio.sleep(max(0.0, self._began + DEAD_MAN_SECONDS - time.monotonic()))
            if self.cancelled:
                return
        steps = self._steps(accounts)
        if not steps:
            return
        tried = {account.entry.seq: tries(account) for account in accounts}
        hosts = {step.host.name: step.host for step in steps.values()}
        plan = Plan(
            Inventory(hosts.values()),
            tuple(steps.values()),
            RunTerms(self._settings.fanout, on_error="continue", name="rollback", in_turn=True),
        )

        entered = Entered((), {id(step): seq for seq, step in steps.items()})
        recorder = Recorder(
            self._writer,
            self._transaction,
            lambda: self._epoch,
            lambda _: entered,
            undo=True,
            tried=tried.__getitem__,
        )
        run = Run(plan, self._transport, _silent, recorder, max_output=self._settings.max_output)
        self._running.add(run)
        for step in steps.values():
            self._emit(UndoStarted(step))
        try:
            await run.finish()
        except OpskitError as error:  # of what is needed to reach them, something is missing
            for account in accounts:
                self._rows.setdefault(account.entry.seq, self._untouched(account, str(error)))
            return
        finally:
            self._running.discard(run)
        for (seq, step), found in zip(steps.items(), run.rows(), strict=True):
            row = found if found.attempt is None else replace(found, attempt=found.attempt + tried[seq])
            self._rows[seq] = row
            self._emit(UndoEnded(step, row))
        if run.fault is not None:
            raise run.fault

    def _steps(self, accounts: Sequence[Account]) -> dict[int, Step]:
        """The commands of those that have one; the rows of the others say why not."""
        steps = {}
        for account in accounts:
            match self._known.get(account.entry.seq):
                case Step() as step:
                    steps[account.entry.seq] = step
                case why:
                    self._rows[account.entry.seq] = self._untouched(account, str(why))
        return steps

    async def _call(self, account: Account) -> None:
        """Call a function in a thread, in the context that it was registered in."""
        entry = account.entry
        known = self._known.get(entry.seq)
        if not isinstance(known, Callback):
            self._rows[entry.seq] = self._untouched(account, str(known))
            return
        attempt, begun = tries(account) + 1, datetime.now(UTC)
        await self._writer.write([Intent(self._transaction, entry.seq, True, attempt, self._epoch, begun)])
        error = await asyncio.to_thread(known.context.run, _called, known)
        row = HostResult(
            "",
            entry.branch,
            entry.undo,
            "ok" if error is None else "failed",
            started_at=begun,
            seconds=(datetime.now(UTC) - begun).total_seconds(),
            attempt=attempt,
            transaction=self._transaction,
            error=error,
        )
        self._rows[entry.seq] = row
        self._writer.add(outcome_of(row, self._transaction, entry.seq, attempt, undo=True))

    def _untouched(self, account: Account, why: str) -> HostResult:
        entry = account.entry
        return HostResult(
            entry.host or "", entry.branch, entry.undo, "not_started", transaction=self._transaction, error=why
        )


def _silent(_: Event) -> None:
    """Tell nobody: of undos the rollback itself tells."""


def _called(callback: Callback) -> str | None:
    """Call a function of the user's; None if it went well, else why not."""
    try:
        answer = callback.function(*callback.args, **callback.kwargs)
        if inspect.isawaitable(answer):
            asyncio.run(_awaited(answer))
    except BaseException as error:  # noqa: BLE001 - whatever the user's code raises: the other undos still run
        return f"{type(error).__name__}: {error}"
    return None


async def _awaited(answer: Any) -> None:
    await answer
