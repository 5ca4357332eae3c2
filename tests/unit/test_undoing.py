"""Undoing, where it gets hard: functions that call opskit, hang, or can't say what is wrong; two at the same time."""

from __future__ import annotations

import _thread
import json
import operator
import threading
from collections import OrderedDict
from contextlib import closing
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit import Host, Inventory, journal, shared
from opskit.errors import JournalError, PlanError, RollbackError
from opskit.record.store import Store
from opskit.testing import Reply, ScriptedTransport
from opskit.undoing.undos import Callback
from tests.system.ground import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

FLEET = Inventory([Host(name) for name in ("a", "b")])


@pytest.fixture(autouse=True)
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedTransport]:
    """Two hosts that do everything well."""
    transport = ScriptedTransport()
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    with opskit.use(FLEET):
        yield transport


def undoes(function: Any, *args: Any, **kwargs: Any) -> Callback:
    """A function that undoes something."""
    return Callback(function, args, kwargs, copy_context())


def test_functions_that_call_opskit_hold_nothing_up(fleet: ScriptedTransport) -> None:
    """R9: as many undos as there are tasks, each with a run of its own, and checks likewise, end."""
    many = 40
    gate = threading.Barrier(many)

    def undo() -> None:
        gate.wait(20)
        opskit.run("undo", hosts="a")

    with pytest.raises(ValueError, match="late"), opskit.parallelize(many) as session:  # noqa: PT012 - as above
        for number in range(many):
            session.run(lambda: None, undo=undo, name=f"t{number}")
        session.run(late)
    assert fleet.sent == [("a", "undo")] * many


def late() -> None:
    """Fail."""
    raise ValueError("late")


def test_an_error_that_can_not_say_what_it_is_stops_no_other_undo(fleet: ScriptedTransport) -> None:
    """T4: an exception whose own text raises is a failed undo as any other."""

    class Mute(Exception):  # noqa: N818 - it says nothing
        def __str__(self) -> str:
            raise KeyError("no words")

    def broken() -> None:
        raise Mute

    with pytest.raises(ValueError, match="late") as raised, opskit.transaction():  # noqa: PT012 - a block is what is tested
        opskit.run("x", undo="undo x", hosts="a")
        opskit.on_rollback(broken)
        late()
    assert fleet.sent == [("a", "x"), ("a", "undo x")]
    assert "Mute: it can't say what" in raised.value.__notes__[0]


def test_an_undo_s_error_is_kept_without_secrets() -> None:
    """R21: what a function raises is masked in the row, in the note and in the journal."""
    canary = opskit.secret("canary-9d1e").reveal()

    def broken() -> None:
        raise ValueError(canary)

    with pytest.raises(ValueError, match="late") as raised, opskit.transaction():  # noqa: PT012 - as above
        opskit.run("true", undo="true", cwd=f"/srv/{canary}")
        opskit.on_rollback(broken)
        late()
    assert canary not in raised.value.__notes__[0]
    folder = shared.store().path.parent
    assert not any(canary.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_two_threads_roll_back_once(fleet: ScriptedTransport) -> None:
    """R10: a button and a cell of one process: one does it, the other is told."""
    begun, go = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        assert go.wait(20)

    with opskit.transaction() as tx:
        opskit.run("x", undo="undo x", hosts="a")
        tx.on_rollback(slow)
    other = threading.Thread(target=tx.rollback)
    other.start()
    assert begun.wait(20)
    with pytest.raises(RollbackError, match="is being rolled back in this process"):
        tx.rollback()
    go.set()
    other.join(20)
    assert fleet.sent == [("a", "x"), ("a", "undo x")]
    with pytest.raises(RollbackError, match="was rolled back by"):
        tx.rollback()


def test_a_function_is_called_where_no_thread_can_begin(
    fleet: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where Python 3.12 ends, and a rollback is finished before."""
    start, done = threading.Thread.start, list[str]()

    def refused(thread: threading.Thread) -> None:
        if thread.name == "opskit-user":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    with opskit.transaction() as tx:
        opskit.run("x", undo="undo x", hosts="a")
        tx.on_rollback(done.append, "called")
    monkeypatch.setattr(threading.Thread, "start", refused)
    assert [row.status for row in tx.rollback()] == ["ok", "ok"]
    assert (done, fleet.sent) == (["called"], [("a", "x"), ("a", "undo x")])


def test_parts_beside_each_other_are_undone_at_the_same_time(fleet: ScriptedTransport) -> None:
    """What does not contain each other does not wait for each other."""
    gate = threading.Barrier(2)

    def failing(host: str) -> None:
        with pytest.raises(ValueError, match="late"), opskit.transaction():  # noqa: PT012 - as above
            opskit.run("x", undo="undo x", hosts=host)
            opskit.on_rollback(gate.wait, 20)
            late()

    with opskit.parallelize(2) as session:
        session.run(failing, "a")
        session.run(failing, "b")
    assert sorted(fleet.sent) == [("a", "undo x"), ("a", "x"), ("b", "undo x"), ("b", "x")]


def test_a_second_interrupt_does_not_wait_for_a_function(fleet: ScriptedTransport) -> None:
    """R8: a function that hangs can't be ended, but it need not be waited for."""
    go, ended = threading.Event(), threading.Event()

    def hangs() -> None:
        for _ in range(2):
            _thread.interrupt_main()
            threading.Event().wait(0.3)  # the main thread looks ten times a second
        go.wait(20)
        ended.set()

    with opskit.transaction() as tx:
        tx.on_rollback(hangs)
    with pytest.raises(KeyboardInterrupt):
        tx.rollback()
    assert not ended.is_set()
    go.set()
    assert ended.wait(20)
    wait_until(lambda: journal.show(tx.id).now.state == "rolled_back")  # it goes on without whoever waits


class Client:
    """Something with methods."""

    def delete(self, name: str) -> None:
        """Delete."""

    @classmethod
    def forget(cls, name: str) -> None:
        """Forget."""


@pytest.mark.parametrize(
    ("undo", "kept"),
    [
        (undoes(operator.add, 1, 2), True),
        (undoes(json.dumps, {"a": [1, None]}, indent=1), True),
        (undoes(Client.forget, "x"), True),
        (undoes(Client().delete, "x"), False),  # another process has no such client
        (undoes(OrderedDict().pop, "x"), False),
        (undoes(lambda: None), False),
        (undoes(json.dumps, {1: "a"}), False),  # JSON would make it {"1": "a"}
        (undoes(json.dumps, (1, 2)), False),
        (undoes(json.dumps, object()), False),
        (undoes(json.dumps, float("nan")), False),
    ],
)
def test_a_function_is_kept_for_others_only_if_they_would_call_the_same(undo: Callback, kept: bool) -> None:
    """Another process imports by name: what it would find there must be this very function, with the same arguments."""
    assert (undo.packed() is not None) is kept


def test_a_notebook_remembers_its_functions() -> None:
    """While the process that registered a function runs, it can be called, though nobody has the transaction now."""
    called: list[int] = []
    ids = []
    for number in range(3):
        with opskit.transaction() as tx:
            opskit.on_rollback(called.append, number)
        ids.append(tx.id)
    del tx
    for given in ids:
        assert [row.status for row in journal.rollback(given)] == ["ok"]
    assert called == [0, 1, 2]


def test_a_rollback_that_could_not_be_written_down_can_be_tried_again(
    fleet: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F33: a journal that fails in the middle stops the rollback; what is left is listed, and undone later."""
    with opskit.transaction() as tx:
        opskit.run("x", undo="undo x", hosts="a")
    store = shared.store()
    write = store.write

    def full(facts: Any) -> frozenset[str]:
        if any(getattr(fact, "undo", False) for fact in facts):
            raise JournalError("the disk is full")
        return write(facts)

    with monkeypatch.context() as patch, pytest.raises(JournalError, match="the disk is full"):  # noqa: PT012 - as above
        patch.setattr(store, "write", full)
        tx.rollback()
    assert fleet.sent == [("a", "x")]
    assert [row.status for row in tx.rollback()] == ["ok"]
    assert fleet.sent == [("a", "x"), ("a", "undo x")]


def test_a_key_stands_for_one_command_on_a_host(fleet: ScriptedTransport) -> None:
    """Two branches under one key are refused where they meet on a host."""
    with pytest.raises(PlanError, match="stands for two commands on a"), opskit.parallel() as session:  # noqa: PT012 - as above
        session.when("True", "x", key="k")
        session.when("server.name == 'a'", "y", key="k")
    assert fleet.sent == []


def test_undos_see_the_hosts_that_answer_badly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An undo that fails is the row of its host alone."""
    transport = ScriptedTransport(lambda host, command: Reply(exit_code=int((host, command) == ("b", "undo x"))))
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    with opskit.transaction() as tx:
        opskit.run("x", undo="undo x")
    with pytest.raises(RollbackError, match="1 of 2 undone; b: exit code 1") as raised:
        tx.rollback()
    assert raised.value.results is not None
    assert {row.host: row.status for row in raised.value.results} == {"a": "ok", "b": "failed"}


def test_an_undo_is_not_registered_where_nobody_would_run_it() -> None:
    """R15: in a transaction that somebody else has rolled back meanwhile, `on_rollback` says so."""
    tx = opskit.begin()
    opskit.run("x", hosts="a")
    with closing(Store(shared.store().path)) as other:
        other.claim(tx.id, "rolling_back", None)
    with pytest.raises(RollbackError, match="nothing more is done in it"):
        opskit.on_rollback(print)
    with pytest.raises(RollbackError):
        tx.end()


def test_what_is_left_of_a_part_is_listed_when_the_whole_ended_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """F42: an undo of a nested transaction that failed is offered again, though its error was caught."""
    broken = {"undo inner"}
    transport = ScriptedTransport(lambda _, command: Reply(exit_code=int(command in broken)))
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    with opskit.transaction("outer") as tx:
        opskit.run("outer", undo="undo outer", hosts="a")
        with pytest.raises(ValueError, match="late"), opskit.transaction("inner"):  # noqa: PT012 - as above
            opskit.run("inner", undo="undo inner", hosts="a")
            late()
    left = journal.unfinished()
    assert left[["transaction", "state", "owed"]].to_numpy().tolist() == [[tx.id, "rollback_partial", 2]]
    assert "which undoes all of it; or opskit close" in left.what_to_do[0]
    broken.clear()
    assert [row.command for row in journal.rollback(tx.id)] == ["undo inner", "undo outer"]
    assert journal.unfinished().empty
