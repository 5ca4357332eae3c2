"""Owners: who lives holds a lock, and who died does not."""

from __future__ import annotations

import getpass
import os
import stat
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from opskit.errors import JournalError, RollbackError
from opskit.record import owner
from opskit.record.store import Store, opened
from tests.unit.record.material import (
    TX,
    Place,
    another_process,
    begun,
    entry,
    intent,
    line,
    rows,
    setting,
    tell,
    transaction,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opskit.record.moves import State

BEGIN = """
import os
store.write([transaction()])
store.write([entry(1), intent(1)])
"""


def test_a_lock_is_held_and_let_go(tmp_path: Path) -> None:
    """An owner lives while it holds its lock, however often and by how many that is looked at."""
    lock = owner.Lock(tmp_path, "me")
    assert not owner.alive(tmp_path, "me")
    lock.hold()
    lock.hold()
    assert owner.alive(tmp_path, "me")
    assert owner.alive(tmp_path, "me")
    assert not owner.alive(tmp_path, "you")
    lock.let_go()
    lock.let_go()
    assert not owner.alive(tmp_path, "me")
    assert not list((tmp_path / "owners").iterdir())


def test_two_who_look_do_not_see_each_other(tmp_path: Path) -> None:
    """Who looks whether a dead owner lives is not taken for that owner by another who looks."""
    import fcntl

    (tmp_path / "owners").mkdir()
    with (tmp_path / "owners" / "dead.lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not owner.alive(tmp_path, "dead")


def test_reading_leaves_no_trace(store: Store) -> None:
    """A process becomes an owner at its first writing, not by reading."""
    with pytest.raises(RollbackError):
        store.claim(TX, "closed", None)
    assert store.transactions() == []
    assert rows(store, "SELECT * FROM owner") == []
    store.write([transaction()])
    now = store.now(TX)
    assert (now.owner.id, now.owner.pid, now.owner.alive) == (store.owner_id, os.getpid(), True)
    assert stat.S_IMODE((store.path.parent / "owners" / f"{store.owner_id}.lock").stat().st_mode) == 0o600


def test_a_user_without_a_name_is_told_by_number(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in some containers, whose users no file names."""

    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    assert store.who == getpass.getuser()
    monkeypatch.setattr("getpass.getuser", nobody)
    assert store.who == str(os.getuid())
    begun(store)
    assert store.now(TX).owner.who == store.who


def test_who_closes_has_ended(store: Store, other: Store) -> None:
    """An owner that closed the store is dead, and its transactions are abandoned."""
    store.write([transaction()])
    assert not other.now(TX).abandoned
    store.close()
    assert other.now(TX).abandoned
    assert other._others() == ""


@pytest.mark.parametrize("after", ["succeeded", None])
def test_who_leaves_something_open_has_not_ended(store: Store, other: Store, after: State | None) -> None:
    """It is found by that: what dead processes left is not looked for among all that ever was."""
    store.write([transaction()])
    if after is not None:
        store.move(TX, after)
    store.close()
    ended = rows(other, f"SELECT id FROM owner WHERE ended_at IS NOT NULL AND id = '{store.owner_id}'")
    assert bool(ended) == (after is not None)


def test_a_killed_process_is_dead(journal: Path, store: Store) -> None:
    """R14, C8: a killed process is seen to be dead at once; until then its steps under way can't be taken over.

    Its lock file goes with the last that it owned.
    """
    with another_process(journal, BEGIN + "print(store.owner_id, flush=True)\ninput()") as process:
        assert line(process.stdout) == store.now(TX).owner.id
        assert store.now(TX).owner.pid == process.pid
        assert store.now(TX).owner.alive
        with pytest.raises(RollbackError, match="still runs 1 step in the kernel of"):
            store.claim(TX, "rolling_back", None, force=True)
        process.kill()
        process.wait()
        assert store.now(TX).abandoned
        assert store.claim(TX, "rolling_back", None).epoch == 2
    store.move(TX, "rolled_back")
    store.prune(store.now(TX).at + timedelta(seconds=1))
    assert [file.stem for file in (journal.parent / "owners").iterdir()] == [store.owner_id]


def test_a_process_that_ends_lets_go(journal: Path, store: Store) -> None:
    """A process that ends by itself says so, and leaves no lock behind."""
    with another_process(journal, BEGIN) as process:
        process.wait()
    assert store.now(TX).abandoned
    assert not list((journal.parent / "owners").iterdir())
    assert store._others() == ""


def test_a_fork_does_not_keep_its_parent_alive(journal: Path, store: Store) -> None:
    """F44: a child that lives on after its parent was killed does not hold the parent's lock."""
    code = BEGIN + "child = os.fork()\nif child: print(child, flush=True)\ninput()"
    with another_process(journal, code) as process:
        child = int(line(process.stdout))
        assert store.now(TX).owner.alive
        process.kill()
        process.wait()
        os.kill(child, 0)
        assert store.now(TX).abandoned
        tell(process)


def in_a_fork(work: Callable[[], str]) -> str:
    """What this says in a child of this process."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, work().encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the runner's own threads do not matter to the child
def test_a_fork_has_a_store_of_its_own(journal: Place) -> None:
    """F44: in a child the parent's store is refused, and opening gives another one; the parent goes on."""
    store = opened(setting(journal))
    store.write([transaction()])

    def told() -> str:
        store.close()
        try:
            store.write([entry(1)])
        except JournalError as error:
            return str(error)
        return "written"

    def written() -> str:
        own = opened(setting(journal))
        lost = own.write([entry(1), intent(1)])
        own.close()
        return f"{own is store} {set(lost)}"

    assert "opened before this process was forked" in in_a_fork(told)
    assert in_a_fork(written) == f"False {{'{TX}'}}"
    assert store.now(TX).owner.alive
    assert not store.write([entry(1), intent(1)])
    store.close()
