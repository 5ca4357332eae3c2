"""A live process is asked for a rollback by another one: what it does then, and what whoever waits in it is told."""

from __future__ import annotations

import gc
import logging
import os
import re
import subprocess
import sys
import threading
import weakref
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit import Host, Inventory, answering, journal, shared
from opskit.asking import confirmed, is_elsewhere
from opskit.begun import begun_here
from opskit.cli import main
from opskit.errors import Cancelled, JournalError, PromptRefused, RollbackError, SettingsError
from opskit.record.database import machine
from opskit.record.store import Store
from opskit.scopes import open_scope
from opskit.testing import Reply, ScriptedTransport
from opskit.transactions import by_hand
from opskit.undoing import asking
from opskit.undoing.order import undone_since
from tests.system.ground import wait_until
from tests.unit.record.material import wish

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
    open_scope.set(None)  # what was undone here waits to be told of


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
            stands.set_result(asking._asked(other, other.transactions(limit=1)[0], why))
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
    rows = [shown.row(one, undo=True) for one in undone_since((), now.transaction.kind, shown.parts, shown.accounts)]
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
        f"transaction {found} was to be rolled back, {says(other)}",
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
        f"transaction {tx.id} was to be rolled back, {says(other)}",
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
        assert told.count(f"transaction {tx.id} was to be rolled back, {says(other)}") == 1
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
    with pytest.raises(RollbackError, match=r"was to be rolled back, asked by .*: it can't be kept any more"):
        held.end()


def test_who_goes_on_in_a_runbook_that_was_undone_is_told_once(fleet: Fleet, other: Store) -> None:
    """The next cell would go on as if what came before it still held; a new transaction may be begun."""
    for _ in range(2):
        opskit.begin("runbook")
        opskit.run("x", undo="undo x", hosts="app1")
        undone(asked(other), other)
    with pytest.raises(RollbackError, match=r"was to be rolled back, asked by .*: what follows is in no transaction"):
        opskit.run("y", hosts="app1")
    assert "y" not in fleet.commands
    opskit.run("y", hosts="app1")
    assert "y" in fleet.commands


def test_tasks_are_cancelled_and_undone(fleet: Fleet, other: Store) -> None:
    """With their undos; the session raises what says by whom."""
    done: list[str] = []
    stands = asked(other, after=fleet.hangs)
    with pytest.raises(Cancelled) as raised, opskit.parallelize(2, name="tasks") as session:  # noqa: PT012 - as above
        session.run(opskit.run, "hang", undo=lambda: done.append("undone"), hosts="app1")
        session.run(opskit.run, "x", hosts="app2")
    assert done == ["undone"]
    assert raised.value.__notes__[-1].endswith(f"was to be rolled back, {says(other)}")
    assert len(undone(stands, other)) == 1


def test_tasks_in_a_transaction_are_undone_with_the_rest_of_it(fleet: Fleet, other: Store) -> None:
    """Once, and as one: whoever waits is told one thing of it."""

    def task() -> None:
        opskit.run("x", undo="undo x", hosts="app1")
        opskit.run("hang", hosts="app2")

    stands = asked(other, after=fleet.hangs)
    with pytest.raises(Cancelled) as raised, opskit.transaction("deploy") as tx, opskit.parallelize() as session:
        session.run(task, undo=lambda: None)
    assert [command for command in fleet.commands if "undo" in command] == ["undo x"]
    assert raised.value.__notes__ == [
        f"transaction {tx.id} was to be rolled back, {says(other)}",
        "rolled back: 2 of 2 undone",
    ]
    assert undone(stands, other)[0] == "undo x"


def test_a_run_that_undoes_itself_is_undone_for_who_asked(
    fleet: Fleet, other: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and the journal says who that was."""
    stands = asked(other, after=fleet.hangs)
    with pytest.raises(Cancelled) as raised:
        opskit.run("hang", undo="undo", hosts="app1", on_error="rollback")
    assert raised.value.rolled_back is True
    assert undone(stands, other) == ["undo"]
    assert len(caplog.messages) == 1


def test_what_is_undone_in_part_is_waited_for(fleet: Fleet, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that fails undoes its part; then all the rest is undone, and nothing follows outside of it."""
    at_it, met, go, done = threading.Event(), threading.Event(), threading.Event(), list[str]()

    class Watched:
        def get(self) -> bool:
            met.set()
            return is_elsewhere.get()

    def slow() -> None:
        at_it.set()
        assert go.wait(FEW_SECONDS)
        done.append("inner")

    def fails() -> None:
        with pytest.raises(ZeroDivisionError), opskit.transaction("inner"):  # noqa: PT012 - as above
            opskit.on_rollback(slow)
            raise ZeroDivisionError

    monkeypatch.setattr("opskit.undoing.rollback.is_elsewhere", Watched())
    opskit.begin("outer")
    opskit.on_rollback(done.append, "outer")
    block = threading.Thread(target=fails)
    block.start()
    assert at_it.wait(FEW_SECONDS)
    stands = asked(other)
    assert met.wait(FEW_SECONDS)
    go.set()
    block.join(FEW_SECONDS)
    assert undone(stands, other) == [f"{slow.__qualname__}()", "list.append('outer')"]
    assert (done, by_hand()) == (["inner", "outer"], None)


def test_what_fails_for_good_is_told_who_asked(
    fleet: Fleet, other: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It stays open here: what follows does not run outside of it as if nothing had been."""

    def unknown(*_: object) -> None:
        raise SettingsError("no way")

    tx = opskit.begin()
    opskit.run("x", undo="undo x", hosts="app1")
    with monkeypatch.context() as patch:
        patch.setattr(shared, "transport", unknown)
        said = rf"transaction {tx.id}: its rollback, {re.escape(says(other))}, failed: SettingsError: no way"
        with pytest.raises(RollbackError, match=said):
            asked(other).result(FEW_SECONDS)
    assert caplog.messages[1:] == [f"opskit: transaction {tx.id}: SettingsError: no way"]
    with pytest.raises(Cancelled, match="nothing more is sent"):
        opskit.run("y", hosts="app1")
    assert len(tx.rollback()) == 1
    assert (fleet.commands, by_hand()) == (["x", "undo x"], None)


def test_where_no_thread_can_begin_who_asked_is_told(
    fleet: Fleet, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever, and what is asked the next time is done."""
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == "opskit-asked-undo":
            raise RuntimeError("can't start new thread")
        start(thread)

    opskit.begin()
    opskit.run("x", undo="undo x", hosts="app1")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        with pytest.raises(RollbackError, match="failed: RuntimeError: can't start new thread"):
            asked(other).result(FEW_SECONDS)
    assert undone(asked(other), other) == ["undo x"]


@pytest.mark.parametrize(("undo", "code"), [("undo", 4), ("bad", 5)])
def test_a_shell_is_told_that_it_was_rolled_back(fleet: Fleet, other: Store, undo: str, code: int) -> None:
    """Its run was no success, and was not left half done either."""
    stands = asked(other, after=fleet.hangs)
    assert main(["run", "hang", "--undo", undo, "--hosts", "app1"]) == code
    stands.result(FEW_SECONDS)


ENDS = """
import _thread, logging, sys, threading
import opskit
from opskit import answering, shared, testing
from opskit.record.store import Store
from opskit.undoing import asking

at_it, ends = threading.Event(), threading.Event()
transport = testing.ScriptedTransport()
shared.transport = lambda *_: transport
answering.LOOK_SECONDS = 0.01

class Told(logging.StreamHandler):
    def emit(self, record):
        super().emit(record)
        if "still being rolled back" in record.getMessage():
            ends.set() if sys.argv[1] == "in order" else _thread.interrupt_main()

def slow():
    at_it.set()
    print(ends.wait(20))

logging.getLogger("opskit").addHandler(Told())
with opskit.use(opskit.Inventory([opskit.Host("app1")])):
    opskit.begin()
    opskit.run("x", undo="undo x", undo_once=True)
    opskit.on_rollback(slow)
store = Store(shared.store().path)
before = store.transactions(limit=1)[0]
threading.Thread(target=asking._asked, args=(store, before, None), daemon=True).start()
assert at_it.wait(20)
"""


@pytest.mark.parametrize(("how", "state"), [("in order", "rolled_back"), ("interrupted", "rolling_back")])
def test_a_process_that_ends_finishes_it(how: str, state: str, other: Store) -> None:
    """What it has taken up is done, with its functions, before Python ends; an interrupt leaves it to who asked."""
    environment = os.environ | {"OPSKIT_JOURNAL": str(other.path)}
    ended = subprocess.run(
        [sys.executable, "-c", ENDS, how],
        env=environment,
        capture_output=True,
        text=True,
        timeout=FEW_SECONDS,
        check=True,
    )
    now = other.transactions(limit=1)[0]
    assert (now.state, ended.stdout) == (state, "True\n" if state == "rolled_back" else "")
    left = f"the rollback was interrupted: opskit rollback {now.transaction.id} tries the rest"
    assert (left in ended.stderr) is (how == "interrupted")
    assert "Traceback" not in ended.stderr


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
    wait_for_futures(stands, FEW_SECONDS)  # who came second asks anew what was taken up, and takes that back
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
        other.ask(wish(other, why, found))
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


def test_a_reason_commands_nobodys_terminal(fleet: Fleet, other: Store, caplog: pytest.LogCaptureFixture) -> None:
    """It is somebody else's text: one line of it is shown, and what it hides is seen."""
    stands = asked(other, "\x1b[2Jdisk\nfull\x1b", after=fleet.hangs)
    with pytest.raises(Cancelled) as raised:
        opskit.run("hang", undo="undo", hosts="app1")
    told = [*caplog.messages, *raised.value.__notes__]
    assert sum("disk ⏎ full␛" in line for line in told) == len([line for line in told if "asked by" in line]) == 2
    stands.result(FEW_SECONDS)


def test_who_comes_late_learns_who_asked(fleet: Fleet, other: Store) -> None:
    """Whose process undid it is not all that there is to say."""
    tx = opskit.begin()
    opskit.run("x", undo="undo x", hosts="app1")
    undone(asked(other), other)
    with pytest.raises(RollbackError, match=re.escape(f"({says(other)})")):
        journal.rollback(tx.id)


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
