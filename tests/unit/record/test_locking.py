"""Locks in the journal: all of them or none, until the transaction has ended, and what is open elsewhere."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opskit.errors import HostsBusy, RollbackError
from opskit.fleet import Host
from opskit.record.database import machine
from opskit.record.facts import Ended
from opskit.record.moves import GOING_ON, State
from opskit.work.kept import packed_way
from tests.unit.record.material import (
    TX,
    Place,
    another_process,
    begun,
    brought,
    entry,
    intent,
    line,
    new_id,
    tell,
    transaction,
)

if TYPE_CHECKING:
    from opskit.record.store import Store

A, B, C = ({f"{name}:22": name} for name in ("web1", "web2", "web3"))


def held(store: Store, *keys: str) -> set[str]:
    """Of all keys those that nobody else can take."""
    found = set()
    for key in keys:
        probe = transaction(new_id())
        try:
            store.lock(probe, {key: key})
        except HostsBusy:
            found.add(key)
        else:
            store.write([Ended(probe.id, "succeeded")])
    return found


def test_a_lock_keeps_others_off_and_not_its_own(store: Store, other: Store) -> None:
    """A49: who comes second is told who holds it, since when and for what; the holder may take more, and again."""
    store.lock(transaction(), A)
    store.lock(transaction(), A | B)
    assert store.locked(TX) == other.locked(TX) == ["web1:22", "web2:22"]
    assert store.now(TX).state == "running"
    with pytest.raises(HostsBusy) as raised:
        other.lock(transaction("other"), B | C)
    who = store.now(TX).owner
    assert str(raised.value).startswith(f"web2 is held by {who} since 20")
    assert str(raised.value).endswith(f" UTC, for transaction deploy ({TX}): opskit attach {TX} shows it")


def test_all_are_taken_or_none(store: Store, other: Store) -> None:
    """Who gets not all has none, and is not even begun; every holder is named."""
    store.lock(transaction("one", name="first"), A)
    store.lock(transaction("two", name="second"), B)
    with pytest.raises(HostsBusy, match=r"(?s)(?=.*web1 is held.*first)(?=.*web2 is held.*second)") as raised:
        other.lock(transaction("mine"), A | B | C)
    assert not raised.value.is_abandoned
    with pytest.raises(RollbackError, match="no transaction"):
        other.now("mine")
    other.lock(transaction("mine"), C)
    with pytest.raises(HostsBusy):
        other.lock(transaction("mine"), A | C)
    assert other.locked("mine") == ["web3:22"]


@pytest.mark.parametrize(
    "state", ["succeeded", "failed", "cancelled", "rolled_back", "rollback_partial", "closed", "rolling_back"]
)
def test_each_end_lets_others_in(store: Store, other: Store, state: State) -> None:
    """However it ends, in the commit of its end; not while it is being undone."""
    store.lock(transaction(), A | B)
    brought(store, state)
    goes_on = state in GOING_ON
    assert held(other, *A, *B) == (set(A | B) if goes_on else set())
    assert bool(store.locked(TX)) == goes_on
    if not goes_on:
        with pytest.raises(RollbackError):
            store.lock(transaction(), C)


@pytest.mark.parametrize("after", ["rolling_back", "closed"])
def test_a_dead_owners_locks_stay_until_somebody_decides(store: Store, other: Store, after: State) -> None:
    """The hosts may be half done: a rollback or a close frees them, and the refusal says so."""
    store.lock(transaction(), A)
    store.close()
    with pytest.raises(
        HostsBusy, match=rf"has died: opskit rollback {TX} .* opskit close {TX} --why .* frees them"
    ) as raised:
        other.lock(transaction("mine"), A)
    assert raised.value.is_abandoned
    other.claim(TX, after, "seen")
    if after == "rolling_back":
        assert held(other, *A) == set(A)
        other.move(TX, "rolled_back")
    assert not held(other, *A)


def test_what_was_taken_over_locks_nothing_more(store: Store, other: Store) -> None:
    """Its owner of before is told who has it."""
    store.lock(transaction(), A)
    other.claim(TX, "closed", "enough", force=True)
    with pytest.raises(RollbackError, match="was closed by"):
        store.lock(transaction(), B)
    assert not held(other, *A, *B)


def test_what_is_open_elsewhere_is_found_by_its_hosts_and_its_locks(store: Store, other: Store) -> None:
    """Only others'; of the dead only what sent or locks something; newest first."""
    begun(other, "entries", entry(transaction="entries"))
    other.lock(transaction("locks"), A)
    begun(other, "away", entry(transaction="away", host="db1"))
    begun(other, "over", entry(transaction="over"))
    other.move("over", "succeeded")
    begun(store, "mine", entry(transaction="mine"))
    assert open_beside(store, web1="web1:22") == {"entries": (1, 0), "locks": (1, 1)}
    assert open_beside(other, web1="web1:22") == {"mine": (1, 0)}
    assert open_beside(store, renamed="web1:22") == {"locks": (1, 1)}
    begun(other, "sent", entry(transaction="sent"), intent(transaction="sent"))
    other.close()
    assert open_beside(store, web1="web1:22") == {"sent": (1, 0), "locks": (1, 1)}


def open_beside(store: Store, **hosts: str) -> dict[str, tuple[int, int]]:
    """What is open elsewhere on these hosts, on how many of them, and how many it keeps others off."""
    return {found.now.transaction.id: found[1:] for found in store.open_elsewhere(hosts)}


def test_a_host_that_has_an_undo_is_found_by_its_key(store: Store, other: Store) -> None:
    """Whatever it is called, in all of that transaction; each machine has its own `local`; else its name tells it."""
    ways = {name: packed_way(Host(name, address="10.0.0.1")) for name in ("web1", "web2")}
    begun(other, "undo", entry(1, transaction="undo", way=ways["web1"]), entry(2, transaction="undo"))
    begun(other, "none", entry(transaction="none"))
    begun(other, "unreadable", entry(transaction="unreadable", way='{"tomorrow": 1}'))
    begun(other, "local", entry(transaction="local", host="me", way=packed_way(Host("me", address="local"))))
    by_name = {"none": (1, 0), "unreadable": (1, 0)}
    assert open_beside(store, web1="10.0.0.2:22") == by_name
    assert open_beside(store, web1="10.0.0.1:22", root="10.0.0.1:22", web2="web2:22") == by_name | {"undo": (2, 0)}
    assert open_beside(store, renamed="10.0.0.1:22") == {"undo": (1, 0)}
    assert open_beside(store, here=f"local on {machine()}") == {"local": (1, 0)}
    assert open_beside(store, me="local on another") == {}


KEYS = st.sets(st.sampled_from("abcd"), min_size=1)
TRIES = st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), KEYS)), max_size=14)


@settings(max_examples=30)
@given(TRIES)
def test_no_key_ever_has_two_holders(shared: tuple[Store, Store], tries: list[tuple[int, set[str] | None]]) -> None:
    """Whatever three transactions of two owners take, and end, one after the other: as a table of holders says."""
    stores = (shared[0], shared[1], shared[1])
    ids = [new_id() for _ in stores]
    model: dict[str, int] = {}
    for who, keys in tries:
        mine = {key for key, holder in model.items() if holder == who}
        if keys is None:
            if mine:
                stores[who].write([Ended(ids[who], "succeeded")])
                model = {key: holder for key, holder in model.items() if holder != who}
                ids[who] = new_id()
            continue
        wanted = {key: key for key in keys}
        if all(model.get(key, who) == who for key in keys):
            stores[who].lock(transaction(ids[who]), wanted)
            model |= dict.fromkeys(keys, who)
        else:
            with pytest.raises(HostsBusy):
                stores[who].lock(transaction(ids[who]), wanted)
        for number, found in enumerate(ids):
            assert shared[0].locked(found) == sorted(key for key, holder in model.items() if holder == number)
    for number, found in enumerate(ids):
        with suppress(RollbackError):
            stores[number].move(found, "succeeded")


def test_two_processes_lock_at_once(store: Store, journal: Place) -> None:
    """Of two that want one host at the same moment, and others beside it, one gets all and the other nothing."""
    code = """
import sys
print("ready", flush=True)
for name in sys.stdin:
    number, own = name.split()
    try:
        store.lock(transaction(f"{number}{own}"), {f"{number}:22": "shared", f"{number}{own}:22": own})
        print("won", flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""
    with another_process(journal, code) as one, another_process(journal, code) as two:
        assert line(one.stdout) == line(two.stdout) == "ready"
        for number in range(10):
            tell(one, f"R{number}L a")
            tell(two, f"R{number}L b")
            first, second = line(one.stdout), line(two.stdout)
            assert sorted([first.split()[0], second.split()[0]]) == ["HostsBusy", "won"]
            winner = "a" if first == "won" else "b"
            assert store.locked(f"R{number}L{winner}") == sorted([f"R{number}L:22", f"R{number}L{winner}:22"])
