"""A rollback for a person at a prompt, who first sees what it would undo, and what was done on the same hosts since."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from opskit import journal
from opskit.asking import confirmed
from opskit.errors import Cancelled
from opskit.rendering.escape import one_line
from opskit.rendering.folding import fold
from opskit.results import Results
from opskit.settings import configure, current

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opskit.showing import Outlook

_LISTED: Final = 8
_LINE: Final = 160


def confirmed_rollback(transaction: str, why: str | None = None, *, remedy: str, force: bool = False) -> Results:
    """As `journal.rollback`, once who was asked has agreed; the setting `yes` agrees, and nothing to undo needs nobody.

    Args:
        transaction: Its id.
        why: What the journal says of it.
        remedy: What to set where nobody can answer, for the error.
        force: Whether an owner on another machine who seems to live is not asked.

    Raises:
        Cancelled: The answer was no.
        PromptRefused: Nobody can answer.
        RollbackError: As `journal.rollback`.
    """
    if not current().yes:
        outlook = journal.outlook(transaction)
        question = "\n".join([*_told(transaction, outlook), "Undo it?"])
        if outlook.undone and not confirmed(question, remedy=remedy):
            raise Cancelled("not confirmed: nothing was undone", Results(()))
    with configure(yes=True):
        return journal.rollback(transaction, why, force=force)


def _told(transaction: str, outlook: Outlook) -> Iterator[str]:
    """What a person should know."""
    yield f"this would undo, newest first, of {transaction}:"
    undos = (f"{fold(hosts) or 'a function'}: {undo}" for undo, hosts in outlook.undone)
    yield from _bounded(undos, len(outlook.undone))
    if outlook.newer:
        yield "what was done later on the same hosts stays:"
        yield from _bounded(outlook.newer, len(outlook.newer))


def _bounded(lines: Iterable[str], count: int) -> Iterator[str]:
    yield from (f"  {one_line(line, _LINE)}" for line in islice(lines, _LISTED))
    if count > _LISTED:
        yield f"  ... and {count - _LISTED} more"
