"""Moves and claims: transactions move under the rules, in the database too, and one of many claims."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opskit.errors import JournalError, RollbackError
from opskit.record.moves import BEGINNING, CLAIMS, FINAL, MOVES, State
from tests.unit.record.material import (
    TX,
    Place,
    another_process,
    begun,
    brought,
    change,
    entry,
    intent,
    line,
    new_id,
    outcome,
    tell,
    transaction,
)

if TYPE_CHECKING:
    from opskit.record.store import Store

STATES: tuple[State, ...] = get_args(State)


@pytest.mark.parametrize("before", STATES)
def test_only_legal_moves_are_made(store: Store, before: State) -> None:
    """The owner moves a transaction along the table, to nothing that needs a claim, and the epoch stays."""
    for after in STATES:
        begun(store, after)
        was = brought(store, before, after)
        if (before, after) in MOVES and after not in CLAIMS:
            now = store.move(after, after, "said")
            assert (now.number, now.state, now.epoch, now.why) == (was.number + 1, after, was.epoch, "said")
        else:
            with pytest.raises(RollbackError, match=after):
                store.move(after, after)
            assert store.now(after) == was


@pytest.mark.parametrize("before", STATES)
def test_only_legal_claims_are_made(store: Store, other: Store, before: State) -> None:
    """Whoever claims moves a transaction along the table, raises the epoch and owns it from then on."""
    for after in STATES:
        begun(store, after)
        brought(store, before, after)
    store.close()
    for after in STATES:
        was = other.now(after)
        if (before, after) in MOVES and after in CLAIMS:
            now = other.claim(after, after, "said")
            assert (now.number, now.state, now.epoch, now.why) == (was.number + 1, after, was.epoch + 1, "said")
            assert now.owner.id == other.owner_id
        else:
            with pytest.raises(RollbackError):
                other.claim(after, after, "said")
            assert other.now(after) == was


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from(STATES)), max_size=12))
def test_no_way_leaves_the_table(shared: tuple[Store, Store], tries: list[tuple[bool, bool, State]]) -> None:
    """Whatever two owners try, moves are legal, one after the other, and each claim raises the epoch."""
    found = new_id()
    begun(shared[0], found)
    for who, claims, after in tries:
        with suppress(RollbackError):
            shared[who].claim(found, after, None) if claims else shared[who].move(found, after)
    history = shared[0].moves(found)
    assert [now.number for now in history] == list(range(1, len(history) + 1))
    assert (BEGINNING, history[0].state) in MOVES
    for earlier, later in pairwise(history):
        assert (earlier.state, later.state) in MOVES
        assert later.epoch == earlier.epoch + (later.state in CLAIMS)
        assert later.owner.id == earlier.owner.id or later.state in CLAIMS
    assert history[-1] == shared[0].now(found)


MOVE = {"transaction": TX, "number": 2, "before": "running", "after": "failed", "raises": 0, "epoch": 1, "why": None}
MOVE |= {"earlier": 1, "earlier_epoch": 1, "at": "2026"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": 1, "earlier": 0},
        {"number": 3, "earlier": 2},
        {"number": 3},
        {"after": "rolled_back"},
        {"after": "gone"},
        {"before": "succeeded", "after": "rolling_back", "raises": 1, "epoch": 2},
        {"before": BEGINNING, "after": "running", "raises": 1, "epoch": 2},
        {"before": BEGINNING, "after": "running", "raises": 1, "epoch": 2, "earlier": None},
        {"earlier": None},
        {"after": "rolling_back"},
        {"after": "rolling_back", "raises": 1},
        {"epoch": 2},
        {"epoch": 3, "earlier_epoch": 3},
        {"owner": "nobody"},
        {"transaction": "unknown"},
    ],
    ids=str,
)
def test_the_database_refuses_illegal_moves(store: Store, wrong: dict[str, Any]) -> None:
    """A move that is not legal can't be written by hand either, while the same one with legal values can."""
    begun(store)
    legal = {"owner": store.owner_id} | MOVE
    columns = ", ".join(f'"{name}"' for name in legal)
    add = f"INSERT INTO move ({columns}) VALUES ({', '.join(f':{name}' for name in legal)})"
    with pytest.raises(JournalError, match="refused"):
        change(store, add, **legal | wrong)
    change(store, add, **legal)


# Claims


def test_a_live_owner_with_steps_under_way_keeps_it(store: Store, other: Store) -> None:
    """What runs under a live owner with a step under way is not taken over, forced or not; the refusal says where."""
    begun(store, TX, entry(1), entry(2), entry(3), intent(1), intent(2), intent(3), outcome(3))
    for force in (False, True):
        with pytest.raises(
            RollbackError, match=r"still runs 2 steps in the kernel of .* \(process \d+\), since .*: cancel"
        ):
            other.claim(TX, "closed", None, force=force)
    store.write([outcome(1), outcome(2)])
    with pytest.raises(
        RollbackError, match=rf"still runs in the .* opskit rollback {TX} .*; --force closes what is idle"
    ):
        other.claim(TX, "closed", None)
    assert other.claim(TX, "rolling_back", None).owner.id == other.owner_id
    with pytest.raises(RollbackError, match=r"is being rolled back by .* since"):
        store.move(TX, "succeeded")


def test_what_is_idle_is_closed_by_force_alone(store: Store, other: Store) -> None:
    """Between two steps its live owner means to go on, and relies on its locks; its own process needs no force."""
    store.lock(transaction(), {"web1:22": "web1"})
    with pytest.raises(RollbackError, match="still runs in the kernel of"):
        other.claim(TX, "closed", "mine")
    assert store.locked(TX) == ["web1:22"]
    assert other.claim(TX, "closed", "mine", force=True).state == "closed"
    begun(store, "own")
    assert store.claim("own", "closed", None).state == "closed"


def test_one_who_rolls_back_is_not_disturbed(store: Store, other: Store) -> None:
    """What a live owner rolls back is theirs until they die; then it is taken over, once more by a claim."""
    begun(store)
    store.claim(TX, "rolling_back", "broken")
    with pytest.raises(RollbackError, match=r"is being rolled back by .* since .* UTC \(broken\): wait"):
        other.claim(TX, "rolling_back", None)
    store.close()
    assert other.now(TX).abandoned
    assert other.claim(TX, "rolling_back", None).epoch == 3


def test_the_same_owner_claims_again(store: Store) -> None:
    """A process takes up its own rollback again, with a new epoch."""
    begun(store, TX, entry(1), intent(1))
    assert store.claim(TX, "rolling_back", None).epoch == 2
    assert store.claim(TX, "rolling_back", None).epoch == 3


@pytest.mark.parametrize("state", sorted(FINAL))
def test_what_has_ended_tells_by_whom(store: Store, other: Store, state: State) -> None:
    """B32, C6: a claim of what was rolled back or closed says who did that, and when."""
    begun(store)
    brought(store, state)
    with pytest.raises(
        RollbackError, match=f"was {state.replace('_', ' ')} by {store.now(TX).owner.who} on .* at 20.* UTC"
    ):
        other.claim(TX, "rolling_back", None)


def test_force_counts_another_machine_as_dead(store: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner on another machine who seems to live may be overridden by force."""
    begun(store, TX, entry(1), intent(1))
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with pytest.raises(RollbackError):
        other.claim(TX, "rolling_back", None)
    assert other.claim(TX, "rolling_back", None, force=True).epoch == 2


def test_two_processes_claim_at_once(store: Store, journal: Place) -> None:
    """C6, F38: of two processes that claim at the same moment one wins, and the other is told who."""
    code = """
for name in sys.stdin:
    try:
        print("won", store.claim(name.strip(), "rolling_back", None).epoch, flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""
    with (
        another_process(journal, "import sys\nprint('ready', flush=True)" + code) as one,
        another_process(journal, "import sys\nprint('ready', flush=True)" + code) as two,
    ):
        assert line(one.stdout) == line(two.stdout) == "ready"
        for number in range(20):
            begun(store, f"R{number}A")
            store.move(f"R{number}A", "failed")
            tell(one, f"R{number}A")
            tell(two, f"R{number}A")
            first, second = sorted([line(one.stdout), line(two.stdout)])
            assert second == "won 2"
            assert first.startswith("RollbackError")
            assert "is being rolled back by" in first
