"""What an owner is asked by others: one request at a time for each transaction, which one of many gets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, TypeVar

from opskit.record.database import machine
from tests.unit.record.material import TX, begun, wish

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.record.store import Store

T = TypeVar("T")


def at_once(*calls: Callable[[], T]) -> list[T]:
    """What these answer, called at the same moment."""
    gate = Barrier(len(calls))

    def called(call: Callable[[], T]) -> T:
        gate.wait(20)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(called, calls))


def test_an_owner_learns_who_asks_and_why(store: Store, other: Store) -> None:
    """Of its own transactions, once; a second request changes nothing of the first."""
    begun(store)
    begun(store, "another")
    assert store.asked([TX, "another"]) == []
    assert other.ask(first := wish(other, "disk full"))
    assert other.ask(first), "an answer that was lost is the same"
    assert not other.ask(wish(other, "too slow"))
    assert store.asked([TX, "another"]) == [TX]
    assert store.asked(["another"]) == []
    assert str(store.take_request(TX)) == f"asked by {other.who} on {machine()}: disk full"
    assert (store.asked([TX]), store.take_request(TX)) == ([], None)


def test_one_of_many_gets_what_many_ask(store: Store, other: Store) -> None:
    """Whether its owner takes it up, or who asked takes it back; and those who ask at once don't hinder each other."""
    begun(store)
    for _ in range(10):
        asked = at_once(*(lambda by=by: by.ask(wish(by, None)) for by in (store, other)))
        assert sum(asked) == 1
        taken = at_once(*(lambda by=by: by.take_request(TX) for by in (store, other)))
        assert sum(request is not None for request in taken) == 1


def test_one_takes_back_what_is_ones_own(store: Store, other: Store) -> None:
    """Not what somebody else asks, nor what was taken up."""
    begun(store)
    first, second = wish(other, "disk full"), wish(other, "too slow")
    other.ask(first)
    assert not other.withdraw(second)
    assert store.asked([TX]) == [TX]
    assert other.withdraw(first)
    assert (store.asked([TX]), other.withdraw(first)) == ([], False)
