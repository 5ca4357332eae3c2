"""A live process is asked for a rollback by another one: what it does then, and what whoever waits in it is told."""

from __future__ import annotations

import gc
import logging
import os
import threading
import weakref
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit import Host, Inventory, answering, journal, shared
from opskit.asking import confirmed
from opskit.begun import begun_here
from opskit.errors import Cancelled, JournalError, PromptRefused, RollbackError
from opskit.record.database import machine
from opskit.record.store import Store
from opskit.testing import Reply, ScriptedTransport
from opskit.transactions import by_hand
from opskit.undoing import asking
from opskit.undoing.order import undone_under
from tests.system.ground import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opskit.record.facts import Now
    from opskit.settings import Settings

FEW_SECONDS = 20
FLEET = Inventory([Host("app1"), Host("app2")])


class Fleet(ScriptedTransport):
    """Hosts where `hang` runs until it is ended, and `bad` fails."""

    def __init__(self) -> None:
        self.hangs = threading.Event()
        self.settings: list[Settings] = []
        super().__init__(self._answer)

    def _answer(self, host: str, command: str) -> Reply:
        if command == "hang":
            self.hangs.set()
        return Reply(hangs=command == "hang", exit_code=int(command == "bad"))

    @property
    def commands(self) -> list[str]:
        """What was sent, in order."""
        return [command for _, command in self.sent]


@pytest.fixture(autouse=True)
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Two hosts, and a thread of the test's own that looks all the time."""
    transport = Fleet()

    def reached(_: object, settings: Settings, *__: object) -> Fleet:
        transport.settings.append(settings)
        return transport

    monkeypatch.setattr(shared, "transport", reached)
    monkeypatch.setattr(answering, "_listener", answering._Listener())
    for side in (answering, asking):
        monkeypatch.setattr(side, "LOOK_SECONDS", 0.01)
    with opskit.use(FLEET):
        yield transport


@pytest.fixture
def other() -> Iterator[Store]:
    """The same journal in the hands of another process."""
    made = Store(shared.store().path)
    yield made
    made.close()


def asked(other: Store, why: str | None = "disk full", after: threading.Event | None = None) -> Future[Now]:
    """Where the newest transaction stands when its owner, asked once this has happened, has done it."""
    stands: Future[Now] = Future()

    def ask() -> None:
        try:
            if after is not None:
                assert after.wait(FEW_SECONDS)
            stands.set_result(asking.ask(other, other.transactions(limit=1)[0], why))
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            stands.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    return stands


def says(other: Store, why: str = "disk full") -> str:
    """Who asked, as everybody is told."""
    return f"asked by {other.who} on {machine()}: {why}"


def undone(stands: Future[Now], other: Store) -> list[str]:
    """The undos of a transaction that its owner has rolled back for us, in order; the owner is done with it."""
    now = stands.result(FEW_SECONDS)
    found = now.transaction.id
    assert (now.state, now.epoch, now.owner.id) == ("rolled_back", 2, shared.store().owner_id)
    assert [move.why for move in other.moves(found) if move.state == "rolling_back"] == [says(other)]
    assert other.asked([found]) == []
    root = begun_here(found)
    if root is not None:
        assert root.asked is not None
        root.asked.ended.result(FEW_SECONDS)
        assert (root.over, root.left) == (True, True)
    shown = journal.show(found)
    rows = [shown.row(one, undo=True) for one in undone_under(2, now.transaction.kind, shown.parts, shown.accounts)]
    assert all(row.ok for row in rows)
    return [str(row.command) for row in rows]


# What goes on in the owner's process


def test_a_run_that_is_waited_for_is_cancelled_and_undone(fleet: Fleet, other: Store) -> None:
    """Whoever waits for it is told by whom, when it is undone."""
    stands = asked(other, after=fleet.hangs)
    with pytest.raises(Cancelled) as raised:
        opskit.run("hang", undo="undo", hosts="app1")
    assert fleet.commands == ["hang", "undo"]
    found = raised.value.results[0].transaction
    assert raised.value.__notes__ == [
        "rolled back: 1 of 1 undone",
        f"transaction {found} is rolled back, {says(other)}",
    ]
    assert undone(stands, other) == ["undo"]


def test_a_run_that_nobody_waits_for_is_undone(fleet: Fleet, other: Store) -> None:
    """Also where no variable holds it."""
    opskit.run("hang", undo="undo", hosts="app1", wait=False)
    assert undone(asked(other, after=fleet.hangs), other) == ["undo"]


def test_a_block_that_waits_in_a_run_is_left_when_all_is_undone(fleet: Fleet, other: Store) -> None:
    """Of the blocks inside of each other none undoes by itself what is being undone; the newest first."""
    done: list[str] = []
    stands = asked(other, after=fleet.hangs)
    with pytest.raises(Cancelled) as raised, opskit.transaction("deploy") as tx:  # noqa: PT012 - a block is what is tested
        opskit.on_rollback(done.append, "function")
        opskit.run("x", undo="undo x")
        with opskit.transaction():
            opskit.run("y", undo="undo y", hosts="app1")
            opskit.run("hang", undo="undo", hosts="app1")
    assert (fleet.commands[4:], done) == (["undo", "undo y", "undo x", "undo x"], ["function"])
    assert raised.value.__notes__ == [
        f"transaction {tx.id} is rolled back, {says(other)}",
        "rolled back: 5 of 5 undone",
    ]
    assert undone(stands, other) == ["undo", "undo y", "undo x", "undo x", "list.append('function')"]


def test_a_block_that_waits_in_no_run_is_told_when_it_goes_on(fleet: Fleet, other: Store) -> None:
    """At its next command, or at its end: it never seems to have ended well."""
    for goes_on in (lambda: opskit.run("y", hosts="app1"), tuple):
        with pytest.raises(Cancelled) as raised, opskit.transaction() as tx:  # noqa: PT012 - as above
            opskit.run("x", undo="undo x", hosts="app1")
            stands = asked(other)
            assert undone(stands, other) == ["undo x"]
            goes_on()
        told = [str(raised.value), *raised.value.__notes__]
        assert told.count(f"transaction {tx.id} is rolled back, {says(other)}") == 1
        assert told[-1] == "rolled back: 1 of 1 undone"
    assert "y" not in fleet.commands


def test_a_runbook_that_is_idle_is_undone_with_its_functions(fleet: Fleet, other: Store) -> None:
    """Here, where they were registered; also where no variable holds it. It can't be ended any more."""
    done: list[str] = []
    opskit.begin("runbook")
    opskit.run("x", undo="undo x", hosts="app1")
    opskit.on_rollback(done.append, "function")
    held: Any = by_hand()
    gc.collect()
    assert undone(asked(other), other) == ["list.append('function')", "undo x"]
    assert done == ["function"]
    assert by_hand() is None
    with pytest.raises(RollbackError, match=r"is rolled back, asked by .*: it can't be kept any more"):
        held.end()


def test_tasks_are_cancelled_and_undone(fleet: Fleet, other: Store) -> None:
    """With their undos; the session raises what says by whom."""
    done: list[str] = []
    stands = asked(other, after=fleet.hangs)
    with pytest.raises(Cancelled) as raised, opskit.parallelize(2, name="tasks") as session:  # noqa: PT012 - as above
        session.run(opskit.run, "hang", undo=lambda: done.append("undone"), hosts="app1")
        session.run(opskit.run, "x", hosts="app2")
    assert done == ["undone"]
    assert raised.value.__notes__[-1].endswith(f"is rolled back, {says(other)}")
    assert len(undone(stands, other)) == 1


# What holds


def test_what_two_ask_for_is_done_once(fleet: Fleet, other: Store) -> None:
    """Both are told that it is done; also who asks again while it is being done."""
    at_it, go = threading.Event(), threading.Event()

    def slow() -> None:
        at_it.set()
        assert go.wait(FEW_SECONDS)

    tx = opskit.begin()
    opskit.run("x", undo="undo x", hosts="app1")
    tx.on_rollback(slow)
    stands = [asked(other), asked(other)]
    assert at_it.wait(FEW_SECONDS)
    go.set()
    for one in stands:
        assert undone(one, other) == [f"{slow.__qualname__}()", "undo x"]
    assert fleet.commands == ["x", "undo x"]


def test_what_is_asked_once_more_meanwhile_is_done_too(fleet: Fleet, other: Store) -> None:
    """A request that comes while the tasks are still waited for begins no second rollback."""
    release = threading.Event()

    def task() -> None:
        fleet.hangs.set()
        assert release.wait(FEW_SECONDS)

    with opskit.parallelize(wait=False) as session:
        session.run(task, undo=lambda: None)
    assert fleet.hangs.wait(FEW_SECONDS)
    found = other.transactions(limit=1)[0].transaction.id
    root: Any = begun_here(found)
    for why in ("disk full", "again"):
        other.ask(found, why)
        wait_until(lambda: not other.asked([found]))
    assert root.asked.why == says(other)
    release.set()
    assert "rolled back" in root.asked.ended.result(FEW_SECONDS)
    assert other.moves(found)[1].why == says(other)


def test_what_can_not_be_undone_is_told_here_too(fleet: Fleet, other: Store, caplog: pytest.LogCaptureFixture) -> None:
    """And the next request is heard as well."""
    for undo in ("bad", "good"):
        opskit.begin()
        opskit.run("x", undo=undo, hosts="app1")
        found: Any = begun_here(other.transactions(limit=1)[0].transaction.id)
        asked(other).result(FEW_SECONDS)
        found.asked.ended.result(FEW_SECONDS)
        assert other.now(found.id).state == ("rollback_partial" if undo == "bad" else "rolled_back")
    (message,) = [message for message in caplog.messages if "incomplete" in message]
    assert "rollback incomplete: 0 of 1 undone; app1: " in message
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_a_journal_that_is_away_is_looked_at_later(fleet: Fleet, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread outlives it."""
    away = threading.Event()
    ask = Store.asked

    def failing(store: Store, transactions: Any) -> list[str]:
        if not away.is_set():
            away.set()
            raise JournalError("away")
        return ask(store, transactions)

    opskit.begin()
    opskit.run("x", undo="undo x", hosts="app1")
    monkeypatch.setattr(Store, "asked", failing)
    assert away.wait(FEW_SECONDS)
    assert undone(asked(other), other) == ["undo x"]


def test_short_runs_cost_nothing(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread for all of them; the journal is asked nothing of what is over by the first look."""
    looked: list[object] = []
    asleep = threading.Event()

    def sleep(_: float) -> None:
        assert asleep.wait(FEW_SECONDS)

    def ask(_: Store, transactions: object) -> list[str]:
        looked.append(transactions)
        return []

    monkeypatch.setattr("opskit.answering.time.sleep", sleep)
    monkeypatch.setattr(Store, "asked", ask)
    threads = set()
    for _ in range(5):
        opskit.run("x", hosts="app1")
        threads.add(answering._listener._thread)
    assert len(threads) == 1
    asleep.set()
    wait_until(lambda: not answering._listener._more.is_set())
    assert not answering._listener._open()
    assert looked == []


def test_nothing_is_kept_of_what_nobody_has(other: Store) -> None:
    """A transaction of which nobody knows any more is forgotten while it is looked after."""
    tx: Any = opskit.transaction()
    tx._entered(tx._opened())
    root = weakref.ref(tx.scope.root)
    tx._change.__exit__(None, None, None)
    assert answering._listener._open()
    del tx
    gc.collect()
    assert root() is None


def test_who_is_here_is_not_asked(fleet: Fleet, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked was: what comes up is refused, though somebody sits here, and nobody waits for an answer."""
    monkeypatch.setattr("getpass.getpass", [].append)  # as in a cell of a kernel
    monkeypatch.setattr("builtins.input", lambda _: "y")
    told: list[BaseException] = []

    def undo() -> None:
        try:
            confirmed("sure?", remedy="set it")
        except PromptRefused as error:
            told.append(error)

    opskit.begin()
    opskit.on_rollback(undo)
    undone(asked(other), other)
    assert "nobody can answer here" in str(told[0])


def test_what_held_where_it_was_begun_holds(fleet: Fleet, other: Store) -> None:
    """Settings of a block around it, which the thread that undoes is not in."""
    with opskit.configure(connect_timeout=7):
        opskit.run("hang", undo="undo", hosts="app1", wait=False)
    undone(asked(other, after=fleet.hangs), other)
    assert [settings.connect_timeout for settings in fleet.settings] == [7, 7]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_answers_for_nothing_of_its_parent(fleet: Fleet) -> None:
    """It has neither the thread nor the transactions of who began it."""
    tx = opskit.begin()
    opskit.run("x", hosts="app1")
    assert answering._listener._open()
    if (child := os.fork()) == 0:
        os._exit(int(bool(answering._listener._open() or answering._listener._thread)))
    assert os.waitpid(child, 0)[1] == 0
    tx.end()
