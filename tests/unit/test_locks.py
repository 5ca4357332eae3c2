"""Locks of transactions, on a transport that answers from a script: a second store is another process."""

from __future__ import annotations

import _thread
import asyncio
import logging
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit import Host, Inventory, locks, masking, shared
from opskit.errors import Cancelled, HostsBusy, JournalError, PlanError, RollbackError
from opskit.record import keys
from opskit.record.facts import Ended, Transaction
from opskit.record.ids import new_id
from opskit.record.store import Store
from opskit.scopes import open_scope
from opskit.testing import ScriptedTransport
from opskit.transactions import by_hand
from opskit.work.kept import packed_way
from tests.system.ground import wait_until
from tests.unit.record.material import AT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLEET = Inventory([Host(name, address=f"{name}.lan") for name in ("app1", "app2", "web1")])


@pytest.fixture(autouse=True)
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedTransport]:
    """Three hosts that answer well; who waits for a lock looks often."""
    transport = ScriptedTransport()
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    monkeypatch.setattr(locks, "LOOK_SECONDS", 0.01)
    with opskit.use(FLEET):
        yield transport
    assert open_scope.get() is None


@pytest.fixture
def theirs() -> Iterator[Store]:
    """The same journal in another process."""
    with closing(Store(shared.store().path)) as made:
        yield made


def hold(store: Store, *names: str) -> str:
    """Another process locks these; the id of its transaction."""
    found = new_id()
    store.lock(Transaction(found, "theirs", "transaction", None, AT), {name: name for name in names})
    return found


def let_go(store: Store, transaction: str) -> None:
    """Its transaction ends well."""
    store.write([Ended(transaction, "succeeded")])


def is_held(store: Store, name: str) -> bool:
    """Whether another process is kept off."""
    try:
        let_go(store, hold(store, name))
    except HostsBusy:
        return True
    return False


def waits(caplog: pytest.LogCaptureFixture) -> None:
    """Return when somebody has begun to wait for a lock."""
    wait_until(lambda: "waiting for up to" in caplog.text)


def when_waiting(caplog: pytest.LogCaptureFixture, does: Callable[[], object]) -> threading.Thread:
    """Do something as soon as somebody waits."""

    def done() -> None:
        waits(caplog)
        does()

    thread = threading.Thread(target=done)
    thread.start()
    return thread


# What is locked


@pytest.mark.parametrize(
    ("host", "key"),
    [
        (Host("web1"), "web1:22"),
        (Host("x", address="Web1.LAN."), "web1.lan:22"),
        (Host("x", address="web1", port=2222, user="bob"), "web1:2222"),
        (Host("x", address="fe80::1"), "[fe80::1]:22"),
        (Host("x", address="FE80:0::1"), "[fe80::1]:22"),
        (Host("x", address="local"), "local on here"),
        (Host("x", address="127.0.0.1", port=2222), "127.0.0.1:2222 on here"),
        (Host("x", address="127.1.2.3"), "127.1.2.3:22 on here"),
        (Host("x", address="0:0::1"), "[::1]:22 on here"),
        (Host("x", address="LocalHost."), "localhost:22 on here"),
        (Host("x", address="localhost.lan"), "localhost.lan:22"),
    ],
)
def test_a_host_is_locked_by_address_and_port(host: Host, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called, and whoever logs in; each machine has its own `local` and loopback; no name is one."""
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    assert keys.of_host(host) == keys.of_way(packed_way(host), "here") == key
    assert keys.of_host(host, "there") == key.replace("on here", "on there")
    assert keys.of_name(key) != key


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"lock": ""}, "lock='' must be text, not empty"),
        ({"lock": 5}, "lock=5 must be text"),
        ({"lock": "Hosts"}, "lock='Hosts' is no name of its own: write 'hosts'"),
        ({"lock": "hosts\u200b"}, "has a character that can't be seen, U\\+200B"),
        ({"lock": "a\nb"}, "has a character that can't be seen, U\\+000A"),
        ({"lock": "db\ufe0f"}, "has a character that can't be seen, U\\+FE0F"),
        ({"lock": "db\u3164"}, "has a character that can't be seen, U\\+3164"),
        ({"lock": "a", "wait_for_lock": -1}, "wait_for_lock=-1 must be 0 seconds or more"),
        ({"lock": "a", "wait_for_lock": "soon"}, "wait_for_lock='soon' must be a number"),
        ({"wait_for_lock": 5}, "there is none"),
    ],
)
@pytest.mark.parametrize("opens", [opskit.transaction, opskit.begin])
def test_bad_arguments_are_refused(opens: Callable[..., object], arguments: dict[str, Any], says: str) -> None:
    """Where they are written, and nothing is opened."""
    with pytest.raises(PlanError, match=f"transaction: .*{says}"):
        opens(**arguments)
    assert by_hand() is None


def test_a_name_is_the_same_however_it_is_typed(theirs: Store) -> None:
    """An accent may be a character of its own, or a part of one."""
    with opskit.transaction(lock=" cafe\u0301 "):
        assert is_held(theirs, keys.of_name("caf\u00e9"))


def test_a_secret_is_no_name() -> None:
    """The journal would keep it."""
    masking.conceal("quite 5ecret")
    with pytest.raises(PlanError, match="there is a secret in the lock's name"):
        opskit.transaction(lock="db quite 5ecret")


# When it is locked, and how long


def test_a_name_is_locked_when_the_block_is_entered(theirs: Store) -> None:
    """Before anything is done in it, until it has ended, well or not."""
    with opskit.transaction("deploy", lock="db") as tx:
        assert is_held(theirs, keys.of_name("db"))
        assert theirs.now(tx.id).transaction.name == "deploy"
    assert not is_held(theirs, keys.of_name("db"))
    assert theirs.now(tx.id).state == "succeeded"
    with pytest.raises(ValueError, match="no"), opskit.transaction(lock="db") as tx:  # noqa: PT012 - a block is what is tested
        assert is_held(theirs, keys.of_name("db"))
        raise ValueError("no")
    assert not is_held(theirs, keys.of_name("db"))
    assert theirs.now(tx.id).state == "rolled_back"


def test_a_busy_name_lets_nobody_in(theirs: Store, fleet: ScriptedTransport) -> None:
    """The error says who holds it and how to wait; the block does not run, and the journal knows nothing of it."""
    holder = hold(theirs, keys.of_name("db"))
    with (
        pytest.raises(
            HostsBusy,
            match=rf"the lock 'db' is held by .* since .*, for transaction theirs \({holder}\): .*wait_for_lock",
        ),
        opskit.transaction(lock="db"),
    ):
        opskit.run("true")
    with pytest.raises(HostsBusy):
        opskit.begin(lock="db")
    assert by_hand() is None
    assert fleet.dialled == []
    assert [now.transaction.id for now in theirs.transactions()] == [holder]


def test_nobody_is_told_to_wait_for_the_dead(theirs: Store) -> None:
    """Waiting frees nothing that a dead process holds."""
    hold(theirs, keys.of_name("db"))
    theirs.close()
    with pytest.raises(HostsBusy, match="that process has died") as raised:
        opskit.begin(lock="db")
    assert "wait_for_lock" not in str(raised.value)


def test_hosts_are_locked_with_each_plan(theirs: Store, fleet: ScriptedTransport) -> None:
    """All of a plan at once, those of its check too, before anything is dialled; and kept to the end."""
    with opskit.transaction(lock="hosts") as tx:
        assert not is_held(theirs, "app1.lan:22")
        opskit.run("true", hosts="app1")
        assert is_held(theirs, "app1.lan:22")
        assert not is_held(theirs, "app2.lan:22")
        holder = hold(theirs, "web1.lan:22")
        sent = list(fleet.sent)
        with pytest.raises(HostsBusy, match="web1 is held by"):
            opskit.run("true", hosts=["app2", "web1"])
        assert fleet.sent == sent
        assert not is_held(theirs, "app2.lan:22")
        let_go(theirs, holder)
        assert len(opskit.run("true")) == 3
    assert theirs.now(tx.id).state == "succeeded"
    assert not any(is_held(theirs, f"{name}.lan:22") for name in FLEET.names)


def test_hosts_that_are_busy_undo_the_block(theirs: Store, fleet: ScriptedTransport) -> None:
    """As any exception does; then others are let in."""
    hold(theirs, "web1.lan:22")
    with pytest.raises(HostsBusy) as raised, opskit.transaction(lock="hosts"):  # noqa: PT012 - a block is what is tested
        opskit.run("do", hosts="app1", undo="undo")
        opskit.run("do", hosts="web1")
    assert [command for _, command in fleet.sent] == ["do", "undo"]
    assert raised.value.__notes__ == ["rolled back: 1 of 1 undone"]
    assert not is_held(theirs, "app1.lan:22")


def test_parts_lock_for_the_whole_transaction(theirs: Store) -> None:
    """Tasks side by side, runs that nobody waits for, and nested transactions: they share their locks."""
    with opskit.transaction(lock="hosts") as tx:
        with opskit.parallelize() as session:
            for _ in range(3):
                session.run(opskit.run, "true", hosts=["app1", "app2"])
        opskit.run("true", hosts="web1", wait=False)
        with opskit.transaction(lock="db"):
            pass
        assert is_held(theirs, keys.of_name("db"))
    assert not is_held(theirs, keys.of_name("db"))
    assert theirs.now(tx.id).state == "succeeded"
    with opskit.transaction():
        with opskit.transaction(lock="hosts"):
            opskit.run("true", hosts="app1")
        assert is_held(theirs, "app1.lan:22")
        opskit.run("true", hosts="app2")
        assert not is_held(theirs, "app2.lan:22")


def test_the_hosts_of_a_registered_undo_are_locked(theirs: Store) -> None:
    """When it is registered: it may have to be sent at any moment from then on."""
    with opskit.transaction(lock="hosts"):
        opskit.on_rollback("true", hosts="app1")
        assert is_held(theirs, "app1.lan:22")
        hold(theirs, "app2.lan:22")
        with pytest.raises(HostsBusy):
            opskit.on_rollback("true", hosts="app2")


def test_outside_of_such_a_transaction_nothing_is_locked_or_held_back(theirs: Store) -> None:
    """Neither a run of its own, nor one in a transaction without a lock."""
    hold(theirs, "app1.lan:22")
    opskit.run("true")
    with opskit.transaction():
        opskit.run("true")
        assert not is_held(theirs, "web1.lan:22")


def test_a_transaction_over_many_cells_keeps_its_locks(theirs: Store) -> None:
    """Until its end, or its rollback."""
    for end in ("end", "rollback"):
        tx = opskit.begin(lock="hosts")
        opskit.run("true", hosts="app1", undo="true")
        assert is_held(theirs, "app1.lan:22")
        getattr(tx, end)()
        assert not is_held(theirs, "app1.lan:22")


def test_who_was_taken_over_from_sends_nothing_more(theirs: Store, fleet: ScriptedTransport) -> None:
    """A claim by somebody else ends its locks, and it learns that with its next plan."""
    with pytest.raises(RollbackError, match="was closed by"), opskit.transaction(lock="hosts") as tx:  # noqa: PT012 - a block is what is tested
        opskit.run("true", hosts="app1")
        theirs.claim(tx.id, "closed", "enough", force=True)
        opskit.run("true", hosts="app2")
    assert fleet.dialled == ["app1"]
    assert not is_held(theirs, "app1.lan:22")


# Waiting


def test_a_lock_is_waited_for(theirs: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says for whom, however often it is tried, and the block begins when they have ended; so with hosts."""
    lock, tries = Store.lock, []

    def counted(store: Store, *arguments: Any) -> None:
        tries.append(store)
        lock(store, *arguments)

    monkeypatch.setattr(Store, "lock", counted)
    for holds, name in ((keys.of_name("db"), "db"), ("app1.lan:22", "hosts")):
        caplog.clear()
        holder = hold(theirs, holds)

        def releases(found: str = holder, enough: int = len(tries) + 4) -> None:
            wait_until(lambda: len(tries) >= enough)
            let_go(theirs, found)

        releasing = when_waiting(caplog, releases)
        with opskit.transaction(lock=name, wait_for_lock=60):
            opskit.run("true", hosts="app1")
            assert is_held(theirs, holds)
        releasing.join()
        (record,) = [found for found in caplog.records if found.name == "opskit"]
        assert record.levelno == logging.WARNING
        assert holder in record.message
        assert record.message.endswith("waiting for up to 60 s")


def test_patience_ends(theirs: Store) -> None:
    """With the same error, and how long it waited."""
    hold(theirs, keys.of_name("db"))
    with pytest.raises(HostsBusy, match=r"held by .* after 0\.05 s of waiting"):
        opskit.begin(lock="db", wait_for_lock=0.05)
    assert by_hand() is None


@pytest.mark.parametrize("lock", ["db", "hosts"])
def test_an_interrupt_ends_the_waiting(
    theirs: Store, caplog: pytest.LogCaptureFixture, fleet: ScriptedTransport, lock: str
) -> None:
    """At once, and nothing is left open or locked."""
    hold(theirs, keys.of_name("db"), "app1.lan:22")
    interrupting = when_waiting(caplog, _thread.interrupt_main)
    with pytest.raises(KeyboardInterrupt), opskit.transaction("mine", lock=lock, wait_for_lock=600):
        opskit.run("true")
    interrupting.join()
    assert fleet.dialled == []
    assert [now.transaction.name for now in theirs.transactions()] == ["theirs"]
    assert not is_held(theirs, "app2.lan:22")


def test_an_interrupt_that_comes_too_late_leaves_nothing_locked(theirs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The try that was under way has locked it: its transaction ends."""
    lock = Store.lock

    def interrupted(store: Store, *arguments: Any) -> None:
        _thread.interrupt_main()
        cancelled.wait(10)
        lock(store, *arguments)

    cancelled = threading.Event()
    end = locks.Waiting._end

    def seen(waiting: locks.Waiting) -> None:
        end(waiting)
        cancelled.set()

    monkeypatch.setattr(locks.Waiting, "_end", seen)
    monkeypatch.setattr(Store, "lock", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opskit.begin("mine", lock="db")
    monkeypatch.undo()
    assert by_hand() is None
    assert [(now.transaction.name, now.state) for now in theirs.transactions()] == [("mine", "cancelled")]
    assert not is_held(theirs, keys.of_name("db"))


def test_a_lock_whose_answer_was_lost_is_let_go(theirs: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been taken: what is not known to be begun ends all the same, if it was."""
    lock = Store.lock

    def lost(store: Store, *arguments: Any) -> None:
        lock(store, *arguments)
        raise JournalError("the answer was lost")

    monkeypatch.setattr(Store, "lock", lost)
    with pytest.raises(JournalError, match="the answer was lost"):
        opskit.begin(lock="db")
    with pytest.raises(JournalError, match="the answer was lost"), opskit.transaction(lock="hosts"):
        opskit.run("true")
    monkeypatch.setattr(Store, "lock", lock)
    assert not is_held(theirs, keys.of_name("db"))
    assert not is_held(theirs, "app1.lan:22")


def test_a_run_that_waits_can_be_cancelled(
    theirs: Store, caplog: pytest.LogCaptureFixture, fleet: ScriptedTransport
) -> None:
    """One that nobody waits for returns at once; its cancel ends the waiting, and its rows were not started."""
    hold(theirs, "app1.lan:22")
    with opskit.transaction(lock="hosts", wait_for_lock=600):
        handle = opskit.run("true", wait=False)
        waits(caplog)
        assert not handle.done
        handle.cancel()
        with pytest.raises(Cancelled) as raised:
            handle.wait()
    assert {row.status for row in raised.value.results} == {"not_started"}
    assert fleet.dialled == []


def test_a_task_that_waits_to_enter_can_be_cancelled(theirs: Store, caplog: pytest.LogCaptureFixture) -> None:
    """With its session, also where it waits on the loop of tasks; which is not held up meanwhile."""
    hold(theirs, keys.of_name("db"))
    ticks: list[int] = []

    def enters() -> None:
        with opskit.transaction(lock="db", wait_for_lock=600):
            ticks.append(-1)

    async def enters_too() -> None:
        async with opskit.transaction(lock="db", wait_for_lock=600):
            ticks.append(-1)

    async def goes_on() -> None:
        await asyncio.to_thread(wait_until, lambda: caplog.text.count("waiting for up to") == 2)
        ticks.append(1)

    with opskit.parallelize(wait=False) as session:
        for task in (enters, enters_too, goes_on):
            session.run(task)
    wait_until(lambda: ticks == [1])
    session.cancel()
    with pytest.raises(Cancelled):
        session.wait()
    assert ticks == [1]


def test_the_callers_own_loop_goes_on(theirs: Store, caplog: pytest.LogCaptureFixture) -> None:
    """While `async with` waits; a caller that is cancelled waits no more."""
    holder = hold(theirs, keys.of_name("db"))

    async def main() -> None:
        async def enters() -> bool:
            async with opskit.transaction(lock="db", wait_for_lock=60):
                return await asyncio.to_thread(is_held, theirs, keys.of_name("db"))

        given_up = asyncio.create_task(enters())
        await asyncio.to_thread(waits, caplog)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        waiting = asyncio.create_task(enters())
        let_go(theirs, holder)
        assert await waiting

    asyncio.run(main())
    assert not is_held(theirs, keys.of_name("db"))


def test_async_with_opens_the_journal_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer would hold up the caller's own tasks."""
    opens, where = shared.store, []

    def opened() -> Store:
        where.append(threading.get_ident())
        return opens()

    async def main() -> None:
        monkeypatch.setattr(shared, "store", opened)
        async with opskit.transaction(), opskit.transaction():
            pass

    asyncio.run(main())
    assert len(where) == 2
    assert where[0] != threading.get_ident()


def test_an_async_block_does_not_wait_for_the_hosts_of_an_undo(theirs: Store) -> None:
    """That would hold up its loop, also in a plain block inside of it; a thread of it may wait."""
    holder = hold(theirs, "app1.lan:22")

    async def main() -> None:
        async with opskit.transaction(lock="hosts", wait_for_lock=10) as tx:
            for scope in (tx, opskit):
                with pytest.raises(HostsBusy, match="wait_for_lock=SECONDS"), opskit.transaction():
                    scope.on_rollback("true", hosts="app1")
            waiting = asyncio.create_task(asyncio.to_thread(tx.on_rollback, "true", hosts="app1"))
            let_go(theirs, holder)
            await waiting

    asyncio.run(main())


def test_an_async_task_does_not_wait_for_the_hosts_of_an_undo(theirs: Store) -> None:
    """That would hold up all others: it is tried once."""
    hold(theirs, "app1.lan:22")

    async def registers() -> None:
        opskit.on_rollback("true", hosts="app1")

    with pytest.raises(HostsBusy), opskit.transaction(lock="hosts", wait_for_lock=600), opskit.parallelize() as session:
        session.run(registers)
