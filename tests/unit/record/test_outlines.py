"""Transactions in outline: what is counted is what would be counted if every entry was read."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from opskit.record import standing
from opskit.record.facts import Entry, Intent, Note, Outcome, Unsent
from tests.unit.record.material import AT, TX, begun, brought, entry, intent, new_id, note, outcome, transaction

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from opskit.record.facts import Account
    from opskit.record.outline import Outline
    from opskit.record.store import Store
    from opskit.results.result import Status

Known = Entry | Intent | Outcome | Unsent | Note
"""What an account is made of."""

hosts, words = st.sampled_from(["web1", "web2", None]), st.sampled_from(["x", None])
few: st.SearchStrategy[Status] = st.sampled_from(["ok", "failed", "unknown", "not_started"])
"""Each of which standing.py treats in its own way."""


@st.composite
def entries(draw: st.DrawFn) -> list[Known]:
    """An entry, and whatever may be known of it."""
    facts: list[Known] = [entry(1, command=draw(words), undo=draw(words))]
    for undo in draw(st.sampled_from([(), (False,), (True,), (False, True)])):
        for attempt in range(1, draw(st.integers(0, 2)) + 1):
            facts.append(intent(1, undo=undo, attempt=attempt))
            facts += [outcome(1, undo=undo, attempt=attempt, status=one) for one in draw(st.sets(few, max_size=1))]
        facts += [Unsent(TX, 1, undo, 1, one, "no way", AT) for one in draw(st.lists(few, max_size=2))]
        facts += [note(1, undo=undo, new_status=one) for one in draw(st.lists(st.none() | few, max_size=2))]
    return facts


@st.composite
def histories(draw: st.DrawFn) -> list[Known]:
    """Entries of which the same is known, but for one fact, or for the order."""
    first = draw(entries())
    facts: list[Known] = []
    for seq in range(1, draw(st.integers(1, 5)) + 1):
        changed = draw(st.sampled_from(first))
        copy = [replace(varied(draw, fact) if fact is changed else fact, seq=seq) for fact in first]
        facts += copy[::-1] if draw(st.booleans()) else copy
    return facts


def lost(seq: int = 1, **changes: Any) -> list[Known]:
    """An entry of which it is not known whether it was run, nor whether it was undone."""
    return [entry(seq, **changes), intent(seq), intent(seq, undo=True)]


def varied(draw: st.DrawFn, fact: Known) -> Known:
    """The same, with something else in it."""
    if isinstance(fact, Entry):
        return replace(fact, host=draw(hosts), command=draw(words), undo=draw(words), undo_once=draw(st.booleans()))
    if isinstance(fact, Note):
        return replace(fact, new_status=draw(st.none() | few))
    return replace(fact, status=draw(few)) if isinstance(fact, Outcome | Unsent) else fact


def told(account: Account) -> Hashable:
    """All that the figures of a transaction are made of."""
    rules: Any = (standing.was_sent, standing.may_run, standing.is_owed, standing.is_left, standing.tries)
    rows = [standing.row(account, undo=undo) for undo in (False, True)]
    epochs = [[fact.epoch for fact in facts][-1:] for facts in (account.intents, account.undo_intents)]
    return account.entry.command is None, str(
        [*(rule(account) for rule in rules), *((row.status, row.error == standing.LOST) for row in rows), *epochs]
    )


def counted(outline: Outline) -> Counter[Hashable]:
    """How many entries the same is told of."""
    found: Counter[Hashable] = Counter()
    for account, number in outline.alike:
        found[told(account)] += number
    return found


@settings(max_examples=50, deadline=None)
@given(histories(), st.just([]) | histories())
@example([*lost(), *lost(2, undo_once=True)], [*lost(), *lost(2, undo=None)])
def test_an_outline_counts_what_the_accounts_tell(
    shared: tuple[Store, Store], some: list[Known], others: list[Known]
) -> None:
    """Whatever is known of the entries: of each rule of standing.py the figures are those of all accounts."""
    store = shared[0]
    found = [new_id() for _ in range(2)]
    for transaction_id, facts in zip(found, (some, others), strict=True):
        begun(store, transaction_id, *(replace(fact, transaction=transaction_id) for fact in facts))
    stands = [store.now(transaction_id) for transaction_id in found]
    accounts = [store.accounts(transaction_id) for transaction_id in found]
    outlines = store.outlines(stands)
    assert [outline.now for outline in outlines] == stands
    assert [outline.hosts for outline in outlines] == [
        len({account.entry.host for account in of} - {None}) for of in accounts
    ]
    assert list(map(counted, outlines)) == [Counter(map(told, of)) for of in accounts]
    assert list(map(counted, store.outlines(stands, {"web1"}))) == [
        Counter(told(account) for account in of if account.entry.host == "web1") for of in accounts
    ]


def test_entries_sent_by_different_owners_are_not_alike(store: Store, other: Store) -> None:
    """Of what has no outcome, only that which the present owner sent may be under way."""
    begun(other, TX, entry(1), entry(2), intent(1))
    other.close()
    store.claim(TX, "rolling_back", None)
    store.write([intent(2, epoch=2)])
    (outline,) = store.outlines([store.now(TX)])
    assert sorted((account.intents[-1].epoch, number) for account, number in outline.alike) == [(1, 1), (2, 1)]


def test_an_outline_has_the_moves(store: Store, other: Store) -> None:
    """In their order, with who made each, whatever the order in which the transactions are asked for."""
    begun(store, "A")
    begun(store, "B", at=AT + timedelta(days=1))
    brought(other, "rolled_back", "A")
    stands = [store.now("A"), store.now("B")]
    outlines = store.outlines(stands)
    assert [outline.moves for outline in outlines] == [store.moves("A"), store.moves("B")]
    assert [made.state for made in outlines[0].moves] == ["running", "rolling_back", "rolled_back"]
    assert store.outlines([]) == []


def test_what_was_pruned_meanwhile_is_left_out(store: Store) -> None:
    """A listing that has begun does not fail because somebody forgets a transaction."""
    begun(store, "A")
    begun(store, "B")
    store.move("A", "succeeded")
    stands = [store.now("A"), store.now("B")]
    assert store.prune(stands[0].at + timedelta(seconds=1)) == 1
    assert [outline.now for outline in store.outlines(stands)] == stands[1:]


@contextmanager
def queries() -> Iterator[list[str]]:
    """What the database is asked meanwhile."""
    asked: list[str] = []

    def note_it(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note_it)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note_it)


def test_many_transactions_are_outlined_in_a_few_queries(store: Store) -> None:
    """Hundreds of transactions, on as many hosts, take no query each."""
    found = [f"T{number:03}" for number in range(600)]
    store.write([transaction(one) for one in found])
    store.write([entry(1, transaction=one, host=f"h{one}") for one in found])
    store.write([intent(1, transaction=one) for one in found])
    stands = store.transactions()
    with queries() as asked:
        outlines = store.outlines(stands)
    assert len(asked) < 20
    assert [outline.hosts for outline in outlines] == [1] * 600
    assert store.outlines(stands, {f"h{one}" for one in found}) == outlines
    assert [outline.hosts for outline in store.outlines(stands, {"hT599", "nowhere"})] == [1] + [0] * 599
