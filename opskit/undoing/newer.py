"""What was done later on the same hosts: whoever undoes what lies under it is shown that, and asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opskit.asking import confirmed
from opskit.errors import Cancelled
from opskit.record.standing import is_owed, status, was_sent
from opskit.rendering.escape import one_line
from opskit.results import Results
from opskit.settings import current

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from opskit.record.facts import Now
    from opskit.record.outline import Outline
    from opskit.record.store import Store
    from opskit.undoing.rollback import Rollback

NEWEST: Final = 1000
"""How many of the later ones are looked at."""

_LISTED: Final = 8
_LINE: Final = 160


def done_since(store: Store, earlier: Now, hosts: AbstractSet[str]) -> list[Outline]:
    """The transactions begun later that did something on one of these hosts, and have not undone it; newest first.

    Of each only its entries on these hosts are told.
    """
    later = store.transactions(since=earlier.transaction.at, limit=NEWEST)
    return [
        outline
        for outline in store.outlines([now for now in later if now.transaction != earlier.transaction], hosts)
        if any(was_sent(account) and status(account, undo=True) != "ok" for account, _ in outline.alike)
    ]


def told(now: Now) -> str:
    """A transaction in one line, for a person who decides."""
    begun = now.transaction
    called, state = f"{begun.kind} {begun.name or ''}".strip(), now.state.replace("_", " ")
    said = f"{begun.id} {called} by {now.owner.who}, begun {begun.at:%Y-%m-%d %H:%M} UTC, {state}"
    return one_line(said, _LINE)


def confirm_order(rollback: Rollback) -> None:
    """Ask before something is undone on which later, undoable work stands. Blocks.

    Raises:
        Cancelled: The answer was no: nothing was undone.
        PromptRefused: Nobody can answer, and the setting `yes` does not.
    """
    if current().yes:
        return
    above = [outline.now for outline in rollback.newer() if any(is_owed(account) for account, _ in outline.alike)]
    if not above:
        return
    more = [f"... and {len(above) - _LISTED} more"] if len(above) > _LISTED else []
    lines = "\n".join(f"  {line}" for line in [*map(told, above[:_LISTED]), *more])
    question = f"done since on the same hosts, and not undone:\n{lines}\nUndo what lies under it all the same?"
    remedy = "roll those back first, or set OPSKIT_YES=1, or opskit.configure(yes=True)"
    if not confirmed(question, remedy=remedy):
        raise Cancelled("not confirmed: nothing was undone", Results(()))
