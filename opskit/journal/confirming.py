"""The question before a rollback: what it would undo, and what was done on the same hosts since."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from opskit import journal
from opskit.asking import confirmed
from opskit.errors import Cancelled
from opskit.rendering.escape import one_line
from opskit.rendering.folding import fold
from opskit.results import Results
from opskit.settings import current

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opskit.journal.history import Summary
    from opskit.record.facts import Account

_LISTED: Final = 8
_LINE: Final = 160


def confirm_rollback(transaction: str, *, remedy: str) -> None:
    """Show a person what would be undone, and ask, unless the setting `yes` answers or nothing is to be undone.

    Args:
        transaction: Its id.
        remedy: What to set where nobody can answer, for the error.

    Raises:
        Cancelled: The answer was no.
        PromptRefused: Nobody can answer.
        RollbackError: There is no such transaction.
    """
    if current().yes or not (owed := journal.owed(transaction)):
        return
    lines = [f"this would undo, newest first, of {transaction}:", *_folded(owed)]
    if newer := journal.newer(transaction).summaries:
        lines += ["what was done later on the same hosts stays:", *_bounded(map(_named, newer), len(newer))]
    if not confirmed("\n".join([*lines, "Undo it?"]), remedy=remedy):
        raise Cancelled("not confirmed: nothing was undone", Results(()))


def _folded(owed: Sequence[Account]) -> Iterator[str]:
    """A line for each undo, with its hosts."""
    hosts: dict[str, list[str]] = {}
    for account in owed:
        hosts.setdefault(account.entry.undo or "", []).append(account.entry.host or "a function")
    return _bounded((f"{fold(names)}: {undo}" for undo, names in hosts.items()), len(hosts))


def _named(summary: Summary) -> str:
    return f"{summary.transaction} {summary.kind} {summary.name or ''} by {summary.who}, {summary.state}"


def _bounded(lines: Iterable[str], count: int) -> Iterator[str]:
    yield from (f"  {one_line(line, _LINE)}" for line in islice(lines, _LISTED))
    if count > _LISTED:
        yield f"  ... and {count - _LISTED} more"
