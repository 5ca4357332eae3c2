"""What a rollback would do, for a person who decides. Pure: facts in, a value out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opskit.record.claiming import already_undone
from opskit.record.moves import words
from opskit.record.standing import was_sent
from opskit.rendering.alike import as_template
from opskit.showing import Alike, Outlook
from opskit.undoing.order import entries, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opskit.record.facts import Account, Now, Part
    from opskit.undoing.order import Node


def outlook(
    now: Now, owed: Node, parts: Sequence[Part], accounts: Sequence[Account], of: int, newer: Sequence[str]
) -> Outlook:
    """What a rollback of a part would do.

    Args:
        now: Where the transaction stands.
        owed: What is to be undone, in order.
        parts: All of the transaction.
        accounts: All of the transaction, by number.
        of: The part; 0 is the whole.
        newer: What stands on it, a line each.
    """
    own = within(of, parts)
    kept = (
        account
        for account in reversed(accounts)
        if account.entry.part in own and account.entry.undo is None and was_sent(account)
    )
    return Outlook(
        words(now.state),
        already_undone(now),
        _alike((account.entry.undo or "", account.entry.host) for account in entries(owed)),
        _alike((account.entry.command or "", account.entry.host) for account in kept),
        newer,
    )


def _alike(commands: Iterable[tuple[str, str | None]]) -> list[Alike]:
    """Those that differ in their host's name alone are one; of a single host the command is as it is."""
    groups: dict[str, list[tuple[str, str | None]]] = {}
    for text, host in commands:
        groups.setdefault(text if host is None else as_template(text, host), []).append((text, host))
    return [
        Alike(group[0][0] if len(group) == 1 else text, tuple(host for _, host in group if host is not None))
        for text, group in groups.items()
    ]
