"""What a transaction keeps others off, and how it waits until they let it; `scopes` says when."""

from __future__ import annotations

import asyncio
import logging
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opskit import bridge, checks, shared
from opskit.errors import Cancelled, HostsBusy, OpskitError, PlanError
from opskit.masking import mask
from opskit.record import keys
from opskit.rendering.escape import terminal
from opskit.results import Results
from opskit.work.values import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opskit.begun import RootTransaction
    from opskit.work.plan import Plan

logger = logging.getLogger("opskit")

LOOK_SECONDS: Final = 0.5
"""Seconds between two tries."""

HOSTS: Final = "hosts"


@dataclass(frozen=True, slots=True)
class Lock:
    """What a transaction keeps others off until it has ended.

    Attributes:
        name: On which people have agreed; None: the hosts of each of its plans.
        patience: Seconds for which it waits until others let it; 0: not at all.
    """

    name: str | None
    patience: float

    @classmethod
    def of(cls, lock: object, wait_for_lock: object) -> Lock | None:
        """What the arguments of `transaction` say; raises PlanError if they can't be right."""
        if lock is None:
            if wait_for_lock is not None:
                raise PlanError("transaction: wait_for_lock is about a lock, and there is none: add lock='hosts'")
            return None
        try:
            return cls(_name(lock), 0.0 if wait_for_lock is None else _seconds(wait_for_lock))
        except ValueError as error:
            raise PlanError(f"transaction: {error}") from None


def _name(lock: object) -> str | None:
    try:
        name = unicodedata.normalize("NFC", checks.text(lock).strip())
    except ValueError as error:
        raise ValueError(f"lock={lock!r} {error}: {HOSTS!r}, or a name of its own") from None
    if name != HOSTS and name.lower() in (HOSTS, "host"):
        raise ValueError(f"lock={lock!r} is no name of its own: write {HOSTS!r} to lock the hosts")
    if unseen := next(filter(_is_unseen, name), None):
        raise ValueError(f"lock={lock!r} has a character that can't be seen, U+{ord(unseen):04X}")
    if mask(name) != name:
        raise ValueError("there is a secret in the lock's name, which the journal can't keep")
    return None if name == HOSTS else name


def _is_unseen(character: str) -> bool:
    selects_a_variation = "\ufe00" <= character <= "\ufe0f"
    return selects_a_variation or not character.isprintable() or terminal(character) != character


def _seconds(wait_for_lock: object) -> float:
    try:
        return pause(wait_for_lock)
    except ValueError as error:
        raise ValueError(f"wait_for_lock={wait_for_lock!r} {error}") from None


def of_name(name: str) -> dict[str, str]:
    """The key of a name, and how people call it."""
    key = keys.of_name(name)
    return {key: keys.for_people(key)}


def of_plan(plan: Plan) -> dict[str, str]:
    """The keys of all hosts of a plan, and how people call each."""
    return {keys.of_host(step.host): step.host.name for step in (*plan.steps, *plan.checks)}


async def take(root: RootTransaction, wanted: Mapping[str, str], patience: float) -> None:
    """Keep others off all of these until a transaction has ended, as soon as they let it; on the engine's loop.

    When it is cancelled, the transaction knows whether it has them all the same.

    Args:
        root: The transaction.
        wanted: The keys, and how people call each.
        patience: Seconds to wait at most.

    Raises:
        HostsBusy: Others keep it off some of them; says who, and since when.
        RollbackError: Somebody else has taken the transaction over.
        JournalError: It can't be written.
    """
    if root.locked.issuperset(wanted):
        return
    loop, told = asyncio.get_running_loop(), False
    until = loop.time() + patience
    while True:
        try:
            await _to_its_end(asyncio.ensure_future(asyncio.to_thread(root.lock, wanted)))
        except HostsBusy as busy:
            left = until - loop.time()
            if left <= 0:
                raise HostsBusy(_refusal(busy, patience)) from None
            if not told:
                logger.warning("opskit: %s; waiting for up to %g s", busy, patience)
                told = True
        else:
            return
        await asyncio.sleep(min(LOOK_SECONDS, left))


def _refusal(busy: HostsBusy, patience: float) -> str:
    if patience:
        return f"{busy}; that is still so after {patience:g} s of waiting"
    return str(busy) if busy.is_abandoned else f"{busy}; wait_for_lock=SECONDS waits for that"


async def _to_its_end(trying: asyncio.Future[None]) -> None:
    """Wait for a try, also where who waits is cancelled meanwhile."""
    cancellation = None
    while not trying.done():
        try:
            await asyncio.wait([trying])
        except asyncio.CancelledError as error:
            cancellation = error
    if cancellation is not None:
        trying.exception()  # nobody else will look
        raise cancellation
    trying.result()


class Waiting:
    """`take`, waited for by who stands in no run.

    Args:
        root: As of `take`; so with `wanted` and `patience`.
        unwanted: Whether it is to end early; asked about ten times a second.
        ends: Whether the transaction ends where its caller does not go on; it may have the lock all the same.
    """

    def __init__(
        self,
        root: RootTransaction,
        wanted: Mapping[str, str],
        patience: float,
        unwanted: Callable[[], bool],
        *,
        ends: bool = False,
    ) -> None:
        self._root = root
        self._wanted = wanted
        self._patience = patience
        self._unwanted = unwanted
        self._ends = ends
        self._engine = bridge.engine()
        self._task: asyncio.Task[None] | None = None
        self._is_ending = False

    def wait(self) -> None:
        """Return when it is done. Raises as `take`, Cancelled, and KeyboardInterrupt."""
        try:
            future = self._engine.submit(self._finish())
            bridge.block(future, self._tick, self._cancel)
            future.result()
        except BaseException:
            self._engine.submit(self._give_up()).result()
            raise

    async def wait_async(self) -> None:
        """As `wait`, awaited."""
        future = self._engine.submit(self._finish())
        try:
            await bridge.awaiting(future, self._tick, self._cancel)
            future.result()
        except BaseException:
            await bridge.awaiting(self._engine.submit(self._give_up()))
            raise

    async def _finish(self) -> None:
        self._task = asyncio.create_task(take(self._root, self._wanted, self._patience))
        if self._is_ending:
            self._task.cancel()
        await asyncio.wait([self._task])
        if self._task.cancelled():
            raise Cancelled("cancelled while it waited for a lock: nothing was done", Results(()))
        self._task.result()

    async def _give_up(self) -> None:
        """End it, where an interrupt came before that could be asked for; then tell."""
        self._end()
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._ends:
            with suppress(OpskitError):
                await self._root.ended("cancelled", shared.writer(self._engine, self._root.store))

    def _tick(self) -> None:
        if self._unwanted():
            self._cancel()

    def _cancel(self) -> None:
        self._engine.call(self._end)

    def _end(self) -> None:
        self._is_ending = True
        if self._task is not None:
            self._task.cancel()
