"""What is owed of a transaction or of a part of it, in the order in which it is undone. Pure: facts in, a tree out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from opskit.record.standing import is_left, is_owed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.record.facts import Account, Kind, Part


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


def undone_since(
    before: Sequence[Account], kind: Kind, parts: Sequence[Part], accounts: Sequence[Account]
) -> list[Account]:
    """What rollbacks of the whole, or of parts, since then had to undo, in order, and what they left to a person."""
    known = {account.entry.seq: account for account in before}
    then = [_untried(account, known.get(account.entry.seq)) for account in accounts]
    now = {account.entry.seq: account for account in accounts}
    tried = [now.pop(account.entry.seq) for account in entries(arranged(kind, parts, then))]
    return [*tried, *(account for account in now.values() if is_left(account))]


def _untried(account: Account, before: Account | None) -> Account:
    """An account without what was undone since."""
    undos = ((), ()) if before is None else (before.undo_intents, before.undo_outcomes)
    return replace(account, undo_intents=undos[0], undo_outcomes=undos[1])


def within(part: int, parts: Sequence[Part]) -> set[int]:
    """A part, and all that belong to it."""
    return {part}.union(*(within(inner.number, parts) for inner in parts if inner.parent == part))


def around(part: int, parts: Sequence[Part]) -> frozenset[int]:
    """A part, and all that it is a part of."""
    above = {inner.number: inner.parent for inner in parts}
    trail = {part, 0}
    while part in above:
        part = above[part]
        trail.add(part)
    return frozenset(trail)
