"""Carrying out what is to be undone, on the engine's loop: commands by the engine, functions in threads."""

from __future__ import annotations

import asyncio
import inspect
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from opskit import views
from opskit.asking import is_elsewhere
from opskit.bridge.own_thread import in_own_thread
from opskit.engine.ports import DEAD_MAN_SECONDS
from opskit.engine.run import Run
from opskit.errors import OpskitError
from opskit.events import UndoEnded, UndoStarted
from opskit.fleet import Inventory
from opskit.record.facts import Intent
from opskit.record.recorder import Entered, Recorder, outcome_of
from opskit.record.standing import may_run, tries
from opskit.rendering.escape import said_by
from opskit.results import HostResult, Results
from opskit.undoing.order import Call, Series, Together, Wave, entries
from opskit.undoing.undos import Callback, Unavailable
from opskit.work.plan import Plan, Step
from opskit.work.terms import RunTerms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opskit.engine.ports import Transport
    from opskit.events import Event
    from opskit.record.facts import Account
    from opskit.record.recorder import Writer
    from opskit.settings import Settings
    from opskit.undoing.order import Node
    from opskit.undoing.undos import Undo


class Compensation:
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
        self._cancelled = False

    async def finish(self, node: Node) -> Results:
        """Undo, all that can be; returns a row for each undo, in the order of `node`.

        Raises:
            JournalError, RollbackError: Nothing more could be written down, or it is somebody else's by now.
        """
        await self._undo(node)
        await self._writer.flush()
        return Results(tuple(self._row(account) for account in entries(node)))

    def cancel(self) -> None:
        """End what runs, and begin nothing more."""
        self._cancelled = True
        for run in self._running:
            run.cancel()

    def _row(self, account: Account) -> HostResult:
        return self._rows.get(account.entry.seq) or self._untouched(account, "the rollback was interrupted before")

    async def _undo(self, node: Node) -> None:
        if self._cancelled:
            return
        match node:
            case Series(nodes):
                for inner in nodes:
                    await self._undo(inner)
            case Together(nodes):
                await asyncio.gather(*map(self._undo, nodes))
            case Wave(accounts):
                await self._send(accounts)
            case Call(account):
                await self._call(account)

    async def _send(self, accounts: Sequence[Account]) -> None:
        """Run the commands of a wave; whatever keeps one from running is its row's error."""
        if any(map(may_run, accounts)):
            # Its owner died while it ran. The host ends it, but needs a moment: it must not overtake its undo.
            await asyncio.sleep(max(0.0, self._began + DEAD_MAN_SECONDS - time.monotonic()))
            if self._cancelled:
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
            self._epoch,
            lambda _: entered,
            undo=True,
            tried=tried,
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
            match self._known[account.entry.seq]:
                case Step() as step:
                    steps[account.entry.seq] = step
                case Unavailable(why):
                    self._rows[account.entry.seq] = self._untouched(account, why)
        return steps

    async def _call(self, account: Account) -> None:
        """Call a function in a thread, in the context that it was registered in."""
        entry = account.entry
        known = self._known[entry.seq]
        if isinstance(known, Unavailable):
            self._rows[entry.seq] = self._untouched(account, known.why)
            return
        assert isinstance(known, Callback)
        attempt, begun = tries(account) + 1, datetime.now(UTC)
        intent = Intent(self._transaction, entry.seq, True, attempt, self._epoch, begun)
        self._writer.expect_lease(await self._writer.write([intent]))
        context = known.context.copy()
        context.run(views.silent.set, True)
        context.run(is_elsewhere.set, is_elsewhere.get())
        error = await in_own_thread(partial(context.run, _called, known))
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
        return said_by(error)
    return None


async def _awaited(answer: Any) -> None:
    await answer
