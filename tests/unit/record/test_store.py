"""The store: what was written is read back, and is found again."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opskit.errors import JournalError, RollbackError
from opskit.record.facts import Account, Entry, Intent, Kind, Note, Outcome, Part, TaskEnded, Unsent
from opskit.record.moves import State
from opskit.results.result import Status
from tests.unit.record.material import (
    AT,
    TX,
    begun,
    brought,
    change,
    entry,
    intent,
    new_id,
    note,
    outcome,
    part,
    rows,
    transaction,
)

if TYPE_CHECKING:
    from opskit.record.facts import Fact
    from opskit.record.store import Store
    from tests.unit.record.material import Told


# What is written


def test_a_transaction_begins_running(store: Store) -> None:
    """A transaction begins with the move to running, at epoch 1, in the hands of who began it."""
    begun(store)
    now = store.now(TX)
    assert (now.transaction, now.number, now.state, now.epoch) == (transaction(), 1, "running", 1)
    assert (now.owner.id, now.owner.alive, now.abandoned) == (store.owner_id, True, False)


zones = st.integers(-12, 14).map(lambda hours: timezone(timedelta(hours=hours)))
times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=zones)  # noqa: DTZ001 - `timezones` tells
texts, words, statuses = st.text(), st.none() | st.text(), st.sampled_from(get_args(Status))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("name", "error", "signal", "host", "way", "branch", "command", "terms", "secrets", "call"), words),
    **dict.fromkeys(("stdout", "stderr", "who", "text", "key"), texts),
    **dict.fromkeys(("status", "old_status", "new_status"), statuses),
    **dict.fromkeys(("parent", "part", "chunk", "epoch"), st.integers(0, 2**31 - 1)),
    "exit_code": st.integers(0, 2**32 - 1),
    **dict.fromkeys(("truncated", "undo_once"), st.booleans()),
    "kind": st.sampled_from(get_args(Kind)),
    "at": times,
    "started_at": st.none() | times,
    "seconds": st.none() | st.floats(0, 1e9),
}


def some(kind: type[Any], **fixed: Any) -> st.SearchStrategy[Any]:
    """Facts of a kind, of which this is given."""
    given = {name: st.just(value) for name, value in ({"transaction": TX} | fixed).items()}
    return st.builds(kind, **{name: (FIELDS | given)[name] for name in kind.__slots__})


@st.composite
def histories(draw: st.DrawFn) -> list[Told]:
    """All that may be recorded of a transaction."""
    facts: list[Told] = [draw(some(Note, seq=None, undo=False))]
    for number in range(1, draw(st.integers(0, 3)) + 1):
        facts.append(draw(some(Part, number=number)))
        facts += draw(st.lists(some(TaskEnded, number=number), max_size=1))
    for seq in range(1, draw(st.integers(0, 3)) + 1):
        facts.append(draw(some(Entry, seq=seq, undo=draw(words))))
        for undo in (False, True):
            for attempt in range(1, draw(st.integers(0, 2)) + 1):
                key = {"seq": seq, "undo": undo, "attempt": attempt}
                facts.append(draw(some(Intent, **key | {"epoch": 1})))
                facts += draw(st.lists(some(Outcome, **key), max_size=1))
                facts += draw(st.lists(some(Unsent, **key), max_size=2))
            facts += draw(st.lists(some(Note, seq=seq, undo=undo), max_size=2))
    return facts


@settings(max_examples=30)
@given(histories())
def test_what_was_written_is_read_back(shared: tuple[Store, Store], facts: list[Told]) -> None:
    """Every fact comes back as it was given, whatever its text, in the order of its key, with its entry."""
    store = shared[0]
    found = new_id()
    facts = [replace(fact, transaction=found) for fact in facts]
    begun(store, found, *facts)

    def of(kind: type, **same: Any) -> tuple[Any, ...]:
        return tuple(one for one in facts if type(one) is kind and all(getattr(one, k) == v for k, v in same.items()))

    assert (*store.parts(found),) == of(Part)
    assert (*store.tasks(found),) == of(TaskEnded)
    assert (*store.notes(found),) == of(Note)
    assert store.accounts(found) == [
        Account(
            one,
            of(Intent, seq=one.seq, undo=False),
            of(Outcome, seq=one.seq, undo=False),
            of(Intent, seq=one.seq, undo=True),
            of(Outcome, seq=one.seq, undo=True),
            of(Unsent, seq=one.seq),
            of(Note, seq=one.seq),
        )
        for one in of(Entry)
    ]


@settings(max_examples=20)
@given(histories())
def test_outputs_are_left_out_where_nobody_wants_them(shared: tuple[Store, Store], facts: list[Told]) -> None:
    """All else is there; and of some entries alone, where these are named."""
    store = shared[0]
    found = new_id()
    begun(store, found, *(replace(fact, transaction=found) for fact in facts))

    def bare(outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
        return tuple(replace(one, stdout="", stderr="") for one in outcomes)

    accounts = store.accounts(found)
    assert store.accounts(found, outputs=False) == [
        replace(one, outcomes=bare(one.outcomes), undo_outcomes=bare(one.undo_outcomes)) for one in accounts
    ]
    assert store.accounts(found, [2]) == accounts[1:2]
    assert store.tasks(found, outputs=False) == [replace(one, stdout="", stderr="") for one in store.tasks(found)]


def test_what_a_lost_owner_intends_is_not_written(store: Store, other: Store) -> None:
    """R15: intents under another epoch, and what is planned by who is no owner, are left out and told."""
    begun(store, TX, entry(1), entry(2))
    begun(store, "MINE", entry(1, transaction="MINE"))
    assert store.write([intent(1, epoch=2), intent(1, transaction="MINE")]) == {TX}
    assert other.write([intent(1)]) == {TX}
    other.claim(TX, "rolling_back", "why")
    assert store.write([intent(1), entry(3)]) == {TX}
    assert store.write([entry(3)]) == {TX}
    assert other.write([intent(1, epoch=1, undo=True)]) == {TX}
    assert not other.write([intent(2, epoch=2, undo=True)])
    accounts = store.accounts(TX)
    assert [len(account.intents) for account in accounts] == [0, 0]
    assert [len(account.undo_intents) for account in accounts] == [0, 1]
    assert len(store.accounts("MINE")[0].intents) == 1


def test_what_is_begun_twice_stays_as_it_is(store: Store) -> None:
    """Two runs that begin in one part at the same time both say that there is such a part, and such a transaction."""
    begun(store, TX, part(1))
    store.write([transaction(TX), part(1), entry(1)])
    assert [found.number for found in store.parts(TX)] == [1]
    assert store.now(TX).number == 1


@pytest.mark.parametrize(
    "wrong",
    [
        outcome(1),
        outcome(2),
        intent(1),
        intent(9),
        entry(1),
        TaskEnded(TX, 2, "ok", None, "", "", False, None, None),
    ],
    ids=[
        "outcome twice",
        "outcome without intent",
        "intent twice",
        "intent of nothing",
        "entry twice",
        "task",
    ],
)
def test_what_contradicts_is_refused(store: Store, wrong: Fact) -> None:
    """R13: a second row under a key, or one that refers to nothing, is refused with all of its commit."""
    begun(store, TX, part(1), entry(1), entry(2), intent(1), outcome(1))
    with pytest.raises(JournalError, match="refused"):
        store.write([entry(3), wrong])
    assert [account.entry.seq for account in store.accounts(TX)] == [1, 2]


def test_what_is_no_unicode_is_refused(store: Store) -> None:
    """A text that has no UTF-8 is a JournalError, not the driver's error."""
    begun(store)
    with pytest.raises(JournalError, match="Unicode"):
        store.write([entry(1, command="\udcff")])


def test_threads_write_at_once(store: Store) -> None:
    """Many threads may write and read at once, and all is there."""
    begun(store)

    def write(first: int) -> None:
        for seq in range(first, first + 20):
            store.write([entry(seq), intent(seq)])
            store.now(TX)

    threads = [threading.Thread(target=write, args=[100 * number]) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.accounts(TX)) == 120


# Finding


def test_a_transaction_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    """An id, its beginning, in small letters, or the id of a part, names a transaction."""
    begun(store, "01ABCD")
    begun(store, "01ABXY")
    for name in ("01ABCD", "01abc", " 01ABCD.12 ", "01abcd.1"):
        assert store.now(name).transaction.id == "01ABCD"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("01ab", "several transactions begin with '01ab', such as 01ABXY, 01ABCD"),
        ("01ABCE", "no transaction '01ABCE'; did you mean '01ABCD'"),
        ("nothing", "no transaction 'nothing'; the newest: 01ABCD, 01ABXY, 9Z"),
        ("", "no transaction ''; the newest"),
        ("%", "no transaction '%'; the newest"),
        (".3", "no transaction '.3'; the newest"),
    ],
)
def test_an_unknown_transaction_is_helped_with(store: Store, name: str, says: str) -> None:
    """B32: an id that names none, or several, is a RollbackError with the nearest or the newest ids."""
    for number, found in enumerate(("0OLD", "01ABCD", "01ABXY", "9Z")):
        begun(store, found, at=AT + timedelta(seconds=number))
    for ask in (store.now, lambda name: store.move(name, "failed"), lambda name: store.claim(name, "closed", None)):
        with pytest.raises(RollbackError) as error:
            ask(name)
        assert says in str(error.value)


def test_transactions_are_listed_newest_first(store: Store, other: Store) -> None:
    """Transactions are listed newest first, each by its last move, and by time, name, host, user and number."""
    elsewhere = (AT + timedelta(days=1)).astimezone(timezone(timedelta(hours=-5)))
    begun(store, "A", entry(1, transaction="A"))
    begun(store, "B", entry(1, transaction="B", host="db1"), name="clean", at=elsewhere)
    begun(other, "C", name="clean", at=AT + timedelta(days=2))
    change(store, "UPDATE owner SET who = 'ann' WHERE id = :id", id=other.owner_id)
    store.move("A", "failed")

    def listed(**by: Any) -> str:
        return "".join(now.transaction.id for now in store.transactions(**by))

    assert [(now.transaction.id, now.state) for now in store.transactions()] == [
        ("C", "running"),
        ("B", "running"),
        ("A", "failed"),
    ]
    assert listed(since=AT + timedelta(days=1)) == "CB"
    assert listed(until=AT + timedelta(days=1)) == "A"
    assert listed(name="clean") == "CB"
    assert listed(host="db1") == "B"
    assert listed(who="ann") == "C"
    assert listed(states=["failed", "closed"]) == "A"
    assert listed(states=[]) == ""
    assert listed(limit=2) == "CB"
    assert listed(name="clean", who="ann", host="web1") == ""
    other.claim("A", "rolling_back", None)
    assert listed(who="ann") == "CA"


def keyed(transaction: str, **changes: Any) -> list[Fact]:
    """A step under the key `add` that was sent."""
    return [entry(1, transaction=transaction, key="add", **changes), intent(1, transaction=transaction)]


def test_what_is_done_under_a_key(store: Store) -> None:
    """For a key and a host the newest step that ended ok (or was settled so) and is not undone is given."""
    for day, found in enumerate("ABCDE"):
        begun(store, found, *keyed(found), at=AT + timedelta(days=day))
    asked = [("add", "web1"), ("add", "db1"), ("remove", "web1")]
    assert store.done_under(asked) == {}
    store.write([outcome(1, transaction=found) for found in "AC"])
    store.write([outcome(1, transaction="B", status="failed"), outcome(1, transaction="D", status="unknown")])
    assert store.done_under(asked) == {asked[0]: store.accounts("C")[0]}
    undo = {"transaction": "C", "undo": True}
    store.write([intent(1, **undo), outcome(1, **undo, status="failed")])
    assert store.done_under(asked)[asked[0]].entry.transaction == "C"
    store.write([intent(1, **undo, attempt=2), outcome(1, **undo, attempt=2)])
    assert store.done_under(asked)[asked[0]].entry.transaction == "A"
    store.write([note(1, transaction="D", new_status="ok")])
    assert store.done_under(asked)[asked[0]].entry.transaction == "D"
    store.write([note(1, transaction="D", new_status="failed")])
    assert store.done_under(asked)[asked[0]].entry.transaction == "A"
    assert store.done_under([("add", "db1")]) == store.done_under([]) == {}


def test_many_keys_are_looked_up(store: Store) -> None:
    """Thousands of keys and hosts are looked up in one call."""
    facts: list[Fact] = []
    for seq in range(1, 1500):
        facts += [entry(seq, key=f"k{seq % 700}", host=f"h{seq}"), intent(seq), outcome(seq)]
    begun(store, TX, *facts)
    found = store.done_under([(f"k{seq % 700}", f"h{seq}") for seq in range(1, 1500)])
    assert {account.entry.seq for account in found.values()} == set(range(1, 1500))


@pytest.mark.parametrize("state", get_args(State))
def test_what_needs_somebody_is_not_pruned(store: Store, state: State) -> None:
    """Old transactions are deleted with all that belongs to them, but for what runs or is not undone yet."""
    begun(store, TX, part(1), entry(1), intent(1), outcome(1), note(1))
    brought(store, state)
    moved = store.now(TX).at
    kept = state in ("running", "rolling_back", "rollback_partial")
    assert store.prune(moved) == 0
    assert store.prune(moved + timedelta(seconds=1)) == (not kept)
    assert bool(store.transactions()) == kept
    assert bool(store.accounts(TX)) == bool(store.parts(TX)) == bool(store.notes(TX)) == bool(store.moves(TX)) == kept


def test_dead_owners_are_pruned(store: Store, other: Store) -> None:
    """Owners who own nothing any more go with what they owned, unless they live."""
    begun(other)
    other.move(TX, "succeeded")
    other.close()
    store.prune(AT)
    assert len(rows(store, "SELECT id FROM owner")) == 2
    assert store.prune(store.now(TX).at + timedelta(seconds=1)) == 1
    assert rows(store, "SELECT id FROM owner") == [(store.owner_id,)]
