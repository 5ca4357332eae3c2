"""What a view is given of a run: its hosts' last words, what a rollback would do, and what its buttons call."""

from __future__ import annotations

import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import pytest

import opskit
from opskit import Host, Inventory, bridge, shared, views
from opskit.engine.run import Run
from opskit.errors import Cancelled, CommandError, RollbackError
from opskit.showing import Alike
from opskit.testing import Reply, ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.handle import Handle
    from opskit.showing import Shown

FLEET = Inventory([Host("a"), Host("b"), Host("c")])


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long here."""
    monkeypatch.setattr(bridge, "TICK_SECONDS", 0.01)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    """What views were made for."""
    found: list[Shown] = []
    monkeypatch.setattr(views, "choose", found.append)
    return found


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, str], Reply]], ScriptedTransport]:
    """Reach hosts by a transport with this script."""

    def chosen(script: Callable[[str, str], Reply]) -> ScriptedTransport:
        transport = ScriptedTransport(script)
        monkeypatch.setattr(shared, "transport", lambda *_: transport)
        return transport

    return chosen


def begun(command: str, running: int, **options: Any) -> Handle:
    """A run of which so many steps run, and the others have ended."""
    there, ended, started = threading.Event(), [0], [0]

    def count(event: Any) -> None:
        ended[0] += event.kind == "step_ended"
        started[0] += event.kind == "step_started"
        if started[0] - ended[0] == running and started[0] == len(FLEET):
            there.set()

    stop = opskit.observe(count)
    found: Handle = opskit.run(command, hosts=FLEET, wait=False, **options)
    assert there.wait(5)
    stop()
    return found


def test_a_view_reads_what_hosts_printed_last(answering: Any, seen: list[Shown]) -> None:
    """Of those that run and of those that have ended; stderr after stdout; and who printed last comes last."""
    answering(
        lambda host, command: (
            Reply(stdout=b"out\n", stderr=b"err\n" if host == "c" else b"", hangs=host == "b") if command else Reply()
        )
    )
    found = begun("x", running=1)
    (shown,) = seen
    assert {(tail.host, tail.text) for tail in shown.tails(())} == {("a", "out\n"), ("b", "out\n"), ("c", "out\nerr\n")}
    assert [(tail.host, tail.text) for tail in shown.tails(["b"])] == [("b", "out\n")]
    assert [tail.host for tail in shown.tails(["c", "a"])] == ["c", "a"]
    assert shown.tails(["nobody"]) == []
    found.cancel()
    with pytest.raises(Cancelled):
        found.wait()


def test_only_the_end_of_what_a_host_printed_is_read(answering: Any, seen: list[Shown]) -> None:
    """Ten megabytes in one line cost a view no more than a word does."""
    answering(lambda host, command: Reply(stdout=b"x" * 10_000_000 + b"the end", hangs=True) if command else Reply())
    found = begun("x", running=3)
    (tail,) = seen[0].tails(["a"])
    assert tail.text.endswith("xthe end")
    assert len(tail.text) <= 2_000
    found.cancel()
    with pytest.raises(Cancelled):
        found.wait()


def test_a_view_says_what_a_rollback_would_do(answering: Any, seen: list[Shown]) -> None:
    """What would be undone where, what has no undo and stays, and where the transaction stands."""
    answering(lambda host, command: Reply(1 if host == "c" and command else 0))
    with opskit.parallel(hosts=FLEET, on_error="continue") as session:
        session.when("server.name < 'c'", "touch x", undo="rm x")
        session.otherwise("false")
    (shown,) = seen
    assert shown.rollback is not None
    outlook = shown.outlook()
    assert outlook.state == "failed"
    assert [(alike.text, sorted(alike.hosts)) for alike in outlook.undone] == [("rm x", ["a", "b"])]
    assert outlook.kept == [Alike("false", ("c",))]
    assert {row.status for row in shown.rollback("the test")} == {"ok"}
    assert shown.outlook().state == "rolled back"
    assert shown.outlook().undone == []
    assert shown.progress.undone.ended["ok"] == 2


def test_an_unreachable_host_has_nothing_to_undo_and_keeps_nothing(answering: Any, seen: list[Shown]) -> None:
    """What was surely never sent is not told of."""
    answering(lambda host, command: Reply(unreachable="no route" if host != "a" else None))
    with pytest.raises(CommandError):
        opskit.run("touch x", hosts=FLEET, undo="rm x")
    assert seen[0].outlook().undone == [Alike("rm x", ("a",))]
    assert seen[0].outlook().kept == []


def test_who_waits_is_told_of_a_rollback_that_a_button_asked_for(answering: Any, seen: list[Shown]) -> None:
    """The cell ends when all is undone, in Cancelled, and says what became of it; the rows are there."""
    transport = answering(
        lambda host, command: Reply(stdout=b"begun\n", hangs=host == "b") if command == "x" else Reply()
    )
    undone: list[Any] = []

    def press() -> None:
        assert seen[0].rollback is not None
        undone.append(seen[0].rollback("the test"))

    found = begun("x", running=1, undo="undo x")
    button = threading.Thread(target=press)
    button.start()
    with pytest.raises(Cancelled) as caught:
        found.wait()
    button.join(5)
    assert caught.value.rolled_back is True
    assert caught.value.__notes__ == ["rolled back: 3 of 3 undone"]
    assert [row.status for row in caught.value.results] == ["ok", "cancelled", "ok"]
    assert sorted(command for _, command in transport.sent) == ["undo x"] * 3 + ["x"] * 3
    assert len(undone[0]) == 3


def test_a_run_in_a_begun_transaction_leaves_the_rollback_to_it(answering: Any, seen: list[Shown]) -> None:
    """One view undoes all of its cells; those of the cells show, and cancel."""
    answering(lambda host, command: Reply())
    begun_one = opskit.begin("deploy v42")
    opskit.run("touch x", hosts=FLEET, undo="rm x", name="links")
    with opskit.parallelize() as session:
        session.run(partial(opskit.run, "touch y", hosts=Inventory([Host("a")]), undo="rm y"))
    whole, run, tasks = seen
    assert (run.rollback, tasks.rollback) == (None, None)
    assert run.cancel is not None
    assert (whole.transaction, whole.cancel) == (begun_one.id, None)
    assert [(part.title, part.status) for part in whole.works()] == [("links", "ok"), ("parallelize", "ok")]
    assert [run.title for part in whole.works() for run in part.runs] == ["links", "touch y"]
    assert [alike.text for alike in whole.outlook().undone] == ["rm y", "rm x"]
    assert whole.rollback is not None
    assert len(whole.rollback("the test")) == 4
    with pytest.raises(RollbackError):
        whole.rollback("again")


def test_a_run_in_the_block_of_a_transaction_can_be_undone_by_itself(answering: Any, seen: list[Shown]) -> None:
    """There is no view of the block that would have the button."""
    answering(lambda host, command: Reply())
    with opskit.transaction():
        opskit.run("touch x", hosts=FLEET, undo="rm x")
        assert seen[0].rollback is not None
        assert len(seen[0].rollback("the test")) == 3


def test_undos_that_differ_in_the_hosts_name_are_one(answering: Any, seen: list[Shown]) -> None:
    """Told as in the template; what only looks like a host's name stays apart."""
    answering(lambda host, command: Reply())
    with opskit.parallel(hosts=FLEET) as session:
        session.when("server.name == 'c'", "date", undo="rm /srv/c-old")
        session.otherwise("date", undo="rm /srv/{{ server.name }}")
    undone = seen[0].outlook().undone
    assert {(alike.text, frozenset(alike.hosts)) for alike in undone} == {
        ("rm /srv/{{ server.name }}", frozenset("ab")),
        ("rm /srv/c-old", frozenset("c")),
    }
    assert sum(alike.steps for alike in undone) == 3


def test_two_rollbacks_of_one_run_undo_once(answering: Any, seen: list[Shown]) -> None:
    """The second is refused before it cancels anything; who waits for the run waits for the first one's end."""
    transport = answering(lambda host, command: Reply(hangs=command == "x"))
    found = begun("x", running=3, undo="undo x")
    refused: list[BaseException] = []

    def press() -> None:
        assert seen[0].rollback is not None
        try:
            seen[0].rollback("the test")
        except RollbackError as error:
            refused.append(error)

    buttons = [threading.Thread(target=press) for _ in range(2)]
    for button in buttons:
        button.start()
    with pytest.raises(Cancelled) as caught:
        found.wait()
    for button in buttons:
        button.join(5)
    assert len(refused) == 1
    assert [row.status for row in caught.value.results] == ["cancelled"] * 3
    assert caught.value.__notes__ == ["rolled back: 3 of 3 undone"]
    assert sorted(command for _, command in transport.sent) == ["undo x"] * 3 + ["x"] * 3


def test_a_cancel_that_ends_nothing_is_none(answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came when every command had ended well, while the last facts were written: the run is a good one."""
    answering(lambda host, command: Reply())
    written = Run._written

    async def cancelled(run: Run) -> None:
        run.cancel()
        await written(run)

    monkeypatch.setattr(Run, "_written", cancelled)
    assert [row.status for row in opskit.run("x", hosts=FLEET)] == ["ok"] * 3


def test_the_journal_keeps_who_wanted_a_session_undone(answering: Any, seen: list[Shown]) -> None:
    """The button's words, and not the cancel that came of them."""
    answering(lambda host, command: Reply(hangs=command == "x"))
    running = threading.Event()
    stop = opskit.observe(lambda event: running.set() if event.kind == "step_started" else None)
    with opskit.parallelize(wait=False) as session:
        session.run(partial(opskit.run, "x", hosts=Inventory([Host("a")]), undo="undo x"))
    assert running.wait(5)
    stop()
    assert seen[0].rollback is not None
    assert len(seen[0].rollback("the Rollback button")) == 1
    assert opskit.journal.show(seen[0].transaction).summary.reason == "the Rollback button"


def test_what_a_transaction_has_ended_with_is_retried_on_its_own(answering: Any, seen: list[Shown]) -> None:
    """The button is in the context of the cell, where the transaction still seems to be open."""
    fails = [True]
    answering(lambda host, command: Reply(1 if command and fails[0] else 0))
    with opskit.transaction() as tx:
        rows = opskit.run("x", hosts=FLEET, on_error="continue")
        again = copy_context()
    fails.clear()
    fails.append(False)
    retried = again.run(seen[0].retry, rows)
    assert [row.status for row in retried] == ["ok"] * 3
    assert not str(retried[0].transaction).startswith(tx.id)


def test_each_rollback_counts_its_own_undos(answering: Any, seen: list[Shown]) -> None:
    """One that is tried again shows what it does now, and not what failed before."""
    bad = ["undo x"]
    answering(lambda host, command: Reply(1 if command in bad else 0))
    opskit.run("x", hosts=FLEET, undo="undo x")
    (shown,) = seen
    assert shown.rollback is not None
    with pytest.raises(RollbackError):
        shown.rollback("the test")
    assert shown.progress.undone.ended == {"failed": 3}
    bad.clear()
    shown.rollback("the test")
    assert shown.progress.undone.ended == {"ok": 3}


def test_what_an_undo_function_runs_shows_nothing(answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The view of the rollback is the one that there is."""
    answering(lambda host, command: Reply())
    silent: list[bool] = []
    monkeypatch.setattr(views, "choose", lambda _: silent.append(views.silent.get()))
    with opskit.transaction() as tx:
        opskit.run("x", hosts=FLEET)
        tx.on_rollback(opskit.run, "undo x", hosts=FLEET)
    tx.rollback()
    assert silent == [False, True]


def test_silence_chooses_no_view() -> None:
    """Neither in a kernel nor in a terminal."""
    token = views.silent.set(True)
    try:
        assert views.choose(cast("Shown", None)) is None
    finally:
        views.silent.reset(token)
