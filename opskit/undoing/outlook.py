"""What a rollback would do, for a person who decides. Pure: facts in, a value out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opskit.record.standing import was_sent
from opskit.showing import Outlook
from opskit.undoing.order import entries, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opskit.record.facts import Account, Part
    from opskit.undoing.order import Node


def outlook(state: str, owed: Node, parts: Sequence[Part], accounts: Sequence[Account], of: int = 0) -> Outlook:
    """What a rollback of a part would do.

    Args:
        state: The transaction's.
        owed: What is to be undone, in order.
        parts: All of the transaction.
        accounts: All of the transaction, by number.
        of: The part; 0 is the whole.
    """
    own = within(of, parts)
    kept = (
        account
        for account in reversed(accounts)
        if account.entry.part in own and account.entry.undo is None and was_sent(account)
    )
    return Outlook(
        state,
        _by_text((account.entry.undo or "", account.entry.host) for account in entries(owed)),
        _by_text((account.entry.command or "", account.entry.host) for account in kept),
    )


def _by_text(pairs: Iterable[tuple[str, str | None]]) -> list[tuple[str, tuple[str, ...]]]:
    """Each text once, in order, with its hosts."""
    hosts: dict[str, list[str]] = {}
    for text, host in pairs:
        found = hosts.setdefault(text, [])
        if host is not None:
            found.append(host)
    return [(text, tuple(found)) for text, found in hosts.items()]
