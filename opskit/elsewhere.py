"""Who else is at the hosts of a plan: said in a plan that is looked at; beside a run where many share the journal."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opskit import bridge, shared
from opskit.errors import JournalError, OpskitError
from opskit.record import keys
from opskit.record.moves import words
from opskit.rendering.escape import one_line, said_by
from opskit.settings import current

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opskit.record.facts import Now
    from opskit.record.locking import Beside
    from opskit.record.store import Store
    from opskit.work.plan import Plan

logger = logging.getLogger("opskit")

ALONE: Final = (
    "this journal is yours alone: what other people do on these hosts is not seen;"
    " OPSKIT_JOURNAL=postgresql://... shares it"
)

_MOST: Final = 8
_NAME: Final = 60
_LINE: Final = 400

_told: set[str] = set()
"""The transactions that this process has warned of beside a run."""


def seen(plan: Plan) -> Plan:
    """The plan, with a warning for each transaction of another process that is open on its hosts now. Blocks.

    Where the journal can't be read, a warning says so.
    """
    others: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    try:
        file = _file()
        notes = () if file is None else (ALONE,)
        if plan.steps and (file is None or file.exists()):  # none is made for that
            others = tuple(_warnings(shared.store(), plan))
    except OpskitError as error:
        others = (f"what others do on these hosts is not known: {said_by(error)}",)
    return replace(plan, warnings=(*plan.lasting, *others), passing=others, notes=notes)


def tell_beside(plan: Plan) -> None:
    """Warn of what others are at on the hosts of a run that has begun, once of each; returns at once.

    Only where the journal is shared: nothing is read of one that is a file.
    """
    if plan.steps and _file() is None:
        bridge.engine().submit(_tell(shared.store(), plan))


async def _tell(store: Store, plan: Plan) -> None:
    with suppress(JournalError):  # who runs something is told by the run
        for warning in await asyncio.to_thread(lambda: list(_warnings(store, plan, once=True))):
            logger.warning("opskit: %s", warning)


def _file() -> Path | None:
    """The journal's file; None where it is shared."""
    from opskit.record.places import placed

    place = placed(current().journal)
    return place if isinstance(place, Path) else None


def _warnings(store: Store, plan: Plan, *, once: bool = False) -> Iterator[str]:
    """A line for each transaction of another process that is open on the plan's hosts, newest first; not for all."""
    hosts = {step.host.name: keys.of_host(step.host) for step in (*plan.steps, *plan.checks)}
    others = store.open_elsewhere(hosts)
    if once:
        others = [other for other in others if other.now.transaction.id not in _told]
        _told.update(other.now.transaction.id for other in others)
    for other in others[:_MOST]:
        yield _warning(other, len(hosts))
    if len(others) > _MOST:
        yield f"and {len(others) - _MOST} more transactions of others are open on these hosts: opskit journal"


def _warning(other: Beside, total: int) -> str:
    now, begun = other.now, other.now.transaction
    where = f"{other.hosts} of {total} host{'' if total == 1 else 's'}"
    holds = f", {other.locked} of them locked" if other.locked else ""
    since = now.at if now.state != "running" else begun.at
    stands, remedy = _standing(now)
    who = f"{one_line(begun.called, _NAME)} ({begun.id}) of {now.owner}"
    return one_line(f"{who} {stands} on {where}{holds}, since {since:%Y-%m-%d %H:%M} UTC: {remedy}", _LINE)


def _standing(now: Now) -> tuple[str, str]:
    """How it stands, and what can be done."""
    undoes, shows = f"opskit rollback {now.transaction.id}", f"opskit attach {now.transaction.id}"
    if now.abandoned:
        return "was left open when that process died,", f"{undoes} undoes what it left"
    if now.state == "running":
        return "is running", f"{shows} shows it, {undoes} undoes it"
    if now.state == "rolling_back":
        return "is being rolled back", f"{shows} shows it"
    return f"is {words(now.state)}", f"{undoes} tries the rest"
