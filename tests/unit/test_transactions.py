"""Transactions, on a transport that answers from a script and a journal of the test's own: rules T, cases C."""

from __future__ import annotations

import _thread
import asyncio
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit import Host, Inventory, shared
from opskit.begun import RootTransaction, begun_here
from opskit.errors import (
    Cancelled,
    CommandError,
    JournalError,
    PlanError,
    PromptRefused,
    RollbackError,
    RollbackRequested,
)
from opskit.record.store import Store
from opskit.scopes import Scope, open_scope
from opskit.testing import Reply, ScriptedTransport
from opskit.transactions import by_hand
from opskit.undoing import confirming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FLEET = Inventory([Host(name, roles={name[:3]}) for name in ("app1", "app2", "web1")])


class Fleet(ScriptedTransport):
    """Answers every command well, but for those that are told to fail."""

    def __init__(self) -> None:
        self.bad: set[tuple[str, str]] = set()
        self.away: set[str] = set()
        super().__init__(self._answer)

    def _answer(self, host: str, command: str) -> Reply:
        if not command and host in self.away:
            return Reply(unreachable="it is switched off")
        return Reply(exit_code=1) if {(host, command), ("*", command)} & self.bad else Reply()

    @property
    def commands(self) -> list[str]:
        """What was sent, host by host in the order of sending, as `app1:command`."""
        return [f"{host}:{command}" for host, command in self.sent]


@pytest.fixture(autouse=True)
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Three hosts, all there."""
    transport = Fleet()
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    with opskit.use(FLEET):
        yield transport
    assert open_scope.get() is None


def run(command: str, **options: Any) -> opskit.Results:
    """Run a command that is undone by `undo COMMAND`."""
    results: opskit.Results = opskit.run(command, undo=f"undo {command}", **options)
    return results


def test_an_exception_undoes_newest_first(fleet: Fleet) -> None:
    """C1: what was registered last is undone first, and the exception itself is raised."""
    done: list[str] = []
    error = ValueError("no")
    with pytest.raises(ValueError, match="no") as raised, opskit.transaction("deploy"):  # noqa: PT012 - a block is what is tested
        opskit.on_rollback(done.append, "d")
        run("b", hosts="app1")
        opskit.on_rollback(lambda: done.append(fleet.commands[-1]))
        opskit.on_rollback(done.append, "a")
        raise error
    assert raised.value is error
    assert done == ["a", "app1:b", "d"]
    assert fleet.commands == ["app1:b", "app1:undo b"]
    assert raised.value.__notes__ == ["rolled back: 4 of 4 undone"]


def test_outside_of_a_transaction_nothing_can_be_registered() -> None:
    """C2: `on_rollback` and `rollback` are errors where nothing is open, and leave nothing behind."""
    calls: list[Callable[[], object]] = [lambda: opskit.on_rollback(print), opskit.rollback]
    for call in calls:
        with pytest.raises(RollbackError, match="inside a transaction or a task"):
            call()


def test_what_ended_well_inside_is_undone_with_the_outer_one(fleet: Fleet) -> None:
    """C3: a nested transaction that ended well is the outer one's to undo, once, newest first."""
    with pytest.raises(ZeroDivisionError), opskit.transaction():  # noqa: PT012 - as above
        run("one", hosts="app1")
        with opskit.transaction("inner"):
            run("two", hosts="app1")
        run("three", hosts="app1")
        _ = 1 // 0
    assert fleet.commands[3:] == ["app1:undo three", "app1:undo two", "app1:undo one"]


def test_an_error_caught_outside_of_the_inner_one_leaves_the_outer_one(fleet: Fleet) -> None:
    """C4: a nested transaction is a savepoint: its error undoes it alone."""
    with opskit.transaction() as tx:
        run("one", hosts="app1")
        with pytest.raises(ZeroDivisionError), opskit.transaction("inner") as inner:  # noqa: PT012 - as above
            run("two", hosts="app1")
            _ = 1 // 0
        run("three", hosts="app1")
    assert fleet.commands == ["app1:one", "app1:two", "app1:undo two", "app1:three"]
    assert inner.id == f"{tx.id}.{inner.id.rpartition('.')[2]}"
    assert len(tx.rollback()) == 2  # what the inner one has undone is not owed any more


def test_undone_is_what_was_sent_chunk_by_chunk(fleet: Fleet) -> None:
    """C5: the newest chunk is undone first, its failed host too, and a host that nothing was sent to never is."""
    fleet.bad.add(("app2", "x"))
    with pytest.raises(CommandError) as raised, opskit.transaction():
        run("x", chunk=1)
    assert fleet.commands == ["app1:x", "app2:x", "app2:undo x", "app1:undo x"]
    assert raised.value.results.df["transaction"].notna().all()


def test_a_transaction_is_rolled_back_once(fleet: Fleet) -> None:
    """C6: of two who roll back what has ended well one does it, and the other is told by whom it was done."""
    with opskit.transaction() as tx:
        run("x", hosts="app1")
    assert [row.command for row in tx.rollback("a bad release")] == ["undo x"]
    with pytest.raises(RollbackError, match=r"was rolled back by .+ on .+ at"):
        tx.rollback()
    assert fleet.commands == ["app1:x", "app1:undo x"]


def test_an_interrupt_undoes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """C7: what runs is ended and is `cancelled`, the undos run, and the interrupt is raised."""

    def answered(_: str, command: str) -> Reply:
        if command == "x":
            _thread.interrupt_main()
        return Reply(hangs=command == "x")

    transport = ScriptedTransport(answered)
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    with pytest.raises(KeyboardInterrupt) as raised, opskit.transaction():
        run("x", hosts="app1")
    assert raised.value.results[0].status == "cancelled"  # type: ignore[attr-defined]  # what an interrupt carries
    assert transport.sent == [("app1", "x"), ("app1", "undo x")]


def test_without_a_transaction_nothing_is_undone_by_itself(fleet: Fleet) -> None:
    """C9: a failed run keeps what it did; `rollback()` undoes it, and `on_error="rollback"` does at once."""
    fleet.bad |= {("app1", "x"), ("app1", "y")}
    with pytest.raises(CommandError), opskit.parallel() as session:
        session.when("in_('app')", "x", undo="undo x")
    assert [row.status for row in session.results] == ["failed", "ok", "skipped"]
    assert len(fleet.commands) == 2
    assert sorted(row.host for row in session.rollback()) == ["app1", "app2"]
    with pytest.raises(CommandError) as raised:
        run("y", roles="app", on_error="rollback")
    assert sorted(fleet.commands[-2:]) == ["app1:undo y", "app2:undo y"]
    assert raised.value.rolled_back
    assert raised.value.__notes__ == ["rolled back: 2 of 2 undone"]


def test_what_ran_well_is_kept_by_on_error_rollback(fleet: Fleet) -> None:
    """Nothing is undone of a run that ended well."""
    assert run("x", on_error="rollback").ok
    assert len(fleet.commands) == 3


def test_a_failing_undo_is_told_and_the_others_still_run(fleet: Fleet) -> None:
    """T4: every undo is tried; what could not be undone is named in the error, with what to do."""
    fleet.bad.add(("app1", "undo x"))

    def broken() -> None:
        raise RuntimeError("chat is down")

    with pytest.raises(ValueError, match="why") as raised, opskit.transaction() as tx:  # noqa: PT012 - as above
        run("x")
        opskit.on_rollback(broken)
        raise ValueError("why")
    (note,) = raised.value.__notes__
    assert note.startswith("rollback incomplete: 2 of 4 undone; ")
    assert "RuntimeError: chat is down" in note
    assert "app1: exit code 1" in note
    assert f"opskit rollback {tx.id}" in note


def test_what_was_left_is_offered_again(fleet: Fleet) -> None:
    """A second rollback sends only the undos that are not known to have worked."""
    with opskit.transaction() as tx:
        run("x", roles="app")
    fleet.away.add("app2")
    with pytest.raises(RollbackError, match="it is switched off") as raised:
        tx.rollback()
    assert raised.value.results is not None
    assert [row.status for row in raised.value.results] == ["ok", "unreachable"]
    fleet.away.clear()
    assert [(row.host, row.status, row.attempt) for row in tx.rollback()] == [("app2", "ok", 2)]


def test_unreachable_and_unsent_steps_are_never_undone(fleet: Fleet) -> None:
    """R4: what surely was not sent needs no undo."""
    fleet.away.add("app1")
    with pytest.raises(CommandError), opskit.transaction():
        run("x")
    assert sorted(fleet.commands) == ["app2:undo x", "app2:x", "web1:undo x", "web1:x"]


def test_a_command_can_be_registered_with_its_hosts(fleet: Fleet) -> None:
    """`on_rollback` of a command fixes its hosts and its text at once."""
    release = {"name": "v42"}
    with pytest.raises(ZeroDivisionError), opskit.transaction() as tx:  # noqa: PT012 - as above
        tx.on_rollback("tell {{ release.name }} {{ server.name }}", roles="app")
        release["name"] = "other"
        _ = 1 // 0
    assert sorted(fleet.commands) == ["app1:tell v42 app1", "app2:tell v42 app2"]


def test_a_swallowed_request_still_undoes_the_block(fleet: Fleet) -> None:
    """Who asks for a rollback gets it, also where the exception is caught in the block."""
    with pytest.raises(RollbackRequested, match="bad smell"), opskit.transaction():  # noqa: PT012 - as above
        run("x", hosts="app1")
        with pytest.raises(RollbackRequested):
            opskit.rollback("bad smell")
    assert fleet.commands == ["app1:x", "app1:undo x"]


def test_a_transaction_over_many_cells(fleet: Fleet) -> None:
    """What is begun by hand stays open after an error, says so, and one rollback undoes all its runs."""
    tx = opskit.begin("runbook")
    run("one", hosts="app1")
    fleet.bad.add(("app1", "two"))
    with pytest.raises(CommandError) as raised:
        run("two", hosts="app1")
    (note,) = raised.value.__notes__
    assert note.startswith(f"runbook ({tx.id}) stays open")
    with pytest.raises(PlanError, match="is open: end it"):
        opskit.begin("another")
    assert [row.command for row in tx.rollback()] == ["undo two", "undo one"]
    assert run("three", hosts="app1")[0].transaction != tx.id


def test_a_request_rolls_a_runbook_back_at_once(fleet: Fleet) -> None:
    """`opskit.rollback` in a cell undoes what `begin` opened, and fails the cell."""
    opskit.begin("runbook")
    run("x", hosts="app1")
    with pytest.raises(RollbackRequested, match="smoke") as raised:
        opskit.rollback("smoke")
    assert raised.value.__notes__ == ["rolled back: 1 of 1 undone"]
    assert fleet.commands == ["app1:x", "app1:undo x"]
    assert run("y", hosts="app1").ok


def test_no_secret_gets_into_the_journal(fleet: Fleet) -> None:
    """R21: neither as a name, a reason or an argument, nor in a command or an undo; in a key it is refused."""
    canary = opskit.secret("canary-2f7c")
    text = canary.reveal()
    with pytest.raises(ValueError, match="for"), opskit.transaction(f"deploy {text}") as tx:  # noqa: PT012 - as above
        opskit.on_rollback(print, text)
        opskit.run("x {{ canary }}", undo=f"undo {text}", name=f"run {text}", env={"A": canary})
        with pytest.raises(PlanError, match="a secret in the key"):
            run("y", key=f"key {text}")
        raise ValueError(f"for {text}")
    assert fleet.commands
    folder = shared.store().path.parent
    assert tx.id.encode() in b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())
    assert not any(text.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_end_keeps_what_was_done(fleet: Fleet) -> None:
    """After `end` calls are on their own again; the transaction can still be rolled back."""
    tx = opskit.begin()
    run("x", hosts="app1")
    tx.end()
    assert run("y", hosts="app2")[0].transaction != tx.id
    assert [row.command for row in tx.rollback()] == ["undo x"]
    with pytest.raises(RollbackError, match="has ended"):
        tx.on_rollback(print)


@pytest.mark.parametrize("how", ["transaction", "run", "tasks", "journal"])
@pytest.mark.parametrize("answer", ["y", "n"])
def test_who_undoes_what_later_work_stands_on_is_asked(
    how: str, answer: str, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed what was done on the same hosts since; a no undoes nothing."""
    asked: list[str] = []

    def confirmed(question: str, remedy: str) -> bool:
        asked.append(question)
        return answer == "y"

    monkeypatch.setattr(confirming, "confirmed", confirmed)
    undo, undoing = done_by(how)
    later = run("later", hosts="app1", name="the later one")[0].transaction
    if answer == "y":
        assert [row.command for row in undo()] == ["undo x"]
    else:
        with pytest.raises(Cancelled, match="nothing was undone"):
            undo()
    assert ("app1:undo x" in fleet.commands) == (answer == "y")
    (question,) = asked
    assert f"{later} run the later one" in question
    assert str(undoing) not in question


def done_by(how: str) -> tuple[Callable[[], opskit.Results], str]:
    """Do something with an undo on app1, in one of these ways; gives what undoes it, and its transaction."""
    if how == "transaction":
        with opskit.transaction() as tx:
            run("x", hosts="app1")
        return tx.rollback, tx.id
    if how == "tasks":
        with opskit.parallelize() as session:
            session.run(run, "x", hosts="app1")
        return session.rollback, str(session.results[0].transaction)
    with opskit.parallel(hosts="app1") as runs:
        runs.otherwise("x", undo="undo x")
    found = str(runs.results[0].transaction)
    return (runs.rollback if how == "run" else lambda: opskit.journal.rollback(found)), found


def test_where_nobody_can_answer_what_lies_under_later_work_stays(fleet: Fleet) -> None:
    """It is said what to do, and the setting `yes` agrees; later work without undos, or elsewhere, asks nobody."""
    undo, _ = done_by("run")
    run("y", hosts="app2")
    opskit.run("cat x", hosts="app1")
    done_by("transaction")
    with pytest.raises(PromptRefused, match=r"roll those back first, or set OPSKIT_YES=1"):
        undo()
    assert fleet.commands[-1] == "app1:x"
    with opskit.configure(yes=True):
        assert len(undo()) == 1


def test_what_was_undone_since_is_in_nobodys_way(fleet: Fleet) -> None:
    """Nothing stands on what is undone any more."""
    undo, _ = done_by("run")
    done_by("transaction")[0]()
    assert len(undo()) == 1


def test_leaving_waits_for_what_was_not_waited_for(fleet: Fleet) -> None:
    """A run with `wait=False` ends before its transaction does, and its failure is the transaction's."""
    fleet.bad.add(("*", "y"))
    with pytest.raises(CommandError), opskit.transaction() as tx:  # noqa: PT012 - as above
        run("x", wait=False, hosts="app1")
        run("y", wait=False, hosts="app2")
    assert {row.status for row in tx.results} == {"ok", "failed"}
    assert sorted(fleet.commands[2:]) == ["app1:undo x", "app2:undo y"]


def test_threads_are_in_the_transaction_that_they_were_begun_in(fleet: Fleet) -> None:
    """A thread with a copy of the context, as `asyncio.to_thread` makes one, finds its transaction."""

    async def worked() -> None:
        async with opskit.transaction():
            await asyncio.gather(
                opskit.arun("x", undo="undo x", hosts="app1"), asyncio.to_thread(run, "y", hosts="app2")
            )
            raise ValueError("why")

    with pytest.raises(ValueError, match="why"):
        asyncio.run(worked())
    assert set(fleet.commands) == {"app1:x", "app1:undo x", "app2:y", "app2:undo y"}


def test_a_thread_of_its_own_is_in_no_transaction(fleet: Fleet) -> None:
    """Other threads don't fall into a block that they know nothing of."""
    with pytest.raises(ValueError, match="why"), opskit.transaction():  # noqa: PT012 - as above
        other = threading.Thread(target=run, args=("x",), kwargs={"hosts": FLEET.select(hosts="app1")})
        other.start()
        other.join()
        raise ValueError("why")
    assert fleet.commands == ["app1:x"]


def test_a_rolled_back_block_takes_nothing_more(fleet: Fleet) -> None:
    """After `tx.rollback()` in its own block nothing is sent from there, and nothing is undone twice."""
    with pytest.raises(Cancelled), opskit.transaction() as tx:  # noqa: PT012 - as above
        run("x", hosts="app1")
        tx.rollback()
        run("y", hosts="app1")
    assert fleet.commands == ["app1:x", "app1:undo x"]


def test_nothing_is_sent_before_it_is_written_down(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """R1, R16: where the journal takes no intent, nothing is sent, and the error says what was."""
    store = shared.store()
    write = store.write

    def full(facts: Any) -> frozenset[str]:
        if any(type(fact).__name__ == "Intent" and fact.seq > 1 for fact in facts):
            raise JournalError("the disk is full")
        return write(facts)

    monkeypatch.setattr(store, "write", full)
    with pytest.raises(JournalError, match="the disk is full") as raised:
        run("x", chunk=1)
    assert fleet.commands == ["app1:x"]
    assert [row.status for row in raised.value.results] == ["ok", "not_started", "not_started"]  # type: ignore[attr-defined]  # as an interrupt


def test_a_key_is_done_once_until_it_is_undone(fleet: Fleet) -> None:
    """What the journal shows as done under a key is not sent again; undone, it is."""
    with opskit.transaction() as tx:
        run("adduser bob", key="bob", hosts="app1")
    again = run("adduser bob", key="bob", hosts=["app1", "app2"])
    assert [(row.host, row.status, row.attempt, row.transaction == tx.id) for row in again] == [
        ("app1", "ok", 0, True),
        ("app2", "ok", 1, False),
    ]
    with pytest.raises(PlanError, match="another command"):
        run("deluser bob", key="bob", hosts="app1")
    tx.rollback()
    assert run("adduser bob", key="bob", hosts="app1")[0].attempt == 1


def test_what_can_t_be_undone_asks_first(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """`irreversible=True` sends nothing before somebody has agreed."""
    monkeypatch.setattr("opskit.handle.confirmed", lambda question, remedy: "can't be undone" not in question)
    with pytest.raises(Cancelled, match="not confirmed"):
        opskit.run("mkfs", irreversible=True)
    assert not fleet.commands


def test_what_somebody_else_has_taken_over_takes_nothing_more(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """R15: of a transaction that another process rolls back nothing more is sent, and it did not end well."""
    tx = opskit.begin("runbook")
    run("x", hosts="app1")
    with closing(Store(shared.store().path)) as other:  # as another process has one
        other.claim(tx.id, "rolling_back", "it was wrong")
    with pytest.raises(RollbackError, match=r"belongs to .+; nothing more is done in it"):
        run("y", hosts="app1")
    assert fleet.commands == ["app1:x"]
    with pytest.raises(RollbackError, match="belongs to"):
        tx.end()


def scripted(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], Reply]) -> ScriptedTransport:
    """Hosts that answer a command so."""
    transport = ScriptedTransport(lambda _, command: answer(command))
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    return transport


def interrupting(*commands: str) -> Callable[[str], Reply]:
    """These commands hang, and a person interrupts them."""

    def answered(command: str) -> Reply:
        if command in commands:
            _thread.interrupt_main()
        return Reply(hangs=command in commands)

    return answered


def rolled_back_by_hand() -> None:
    """As the magic does it."""
    open_one = by_hand()
    assert open_one is not None
    open_one.rollback()


def begun(command: str) -> opskit.Handle:
    """A run that goes on, and has been sent."""
    there = threading.Event()
    stop = opskit.observe(lambda event: there.set() if event.kind == "step_started" else None)
    found: opskit.Handle = opskit.run(command, undo=f"undo {command}", hosts="app1", wait=False)
    assert there.wait(5)
    stop()
    return found


def test_a_block_ends_its_transaction_itself(fleet: Fleet) -> None:
    """`end()` is for what `begin` opened; refused in a block, it changes nothing."""
    with pytest.raises(ValueError, match="why"), opskit.transaction() as tx:  # noqa: PT012 - as above
        run("x", hosts="app1")
        with pytest.raises(PlanError, match="ends with its block"):
            tx.end()
        raise ValueError("why")
    assert fleet.commands == ["app1:x", "app1:undo x"]


def test_an_interrupted_rollback_keeps_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interrupt is raised from the error that is rolled back for; both say what is left, and how it is undone."""
    scripted(monkeypatch, interrupting("undo x"))
    error = ValueError("why")
    with pytest.raises(KeyboardInterrupt) as raised, opskit.transaction() as tx:  # noqa: PT012 - as above
        run("x", hosts="app1")
        raise error
    assert raised.value.__cause__ is error
    (note,) = error.__notes__
    assert note.startswith("rollback incomplete: 0 of 1 undone; app1: cancelled")
    assert note.endswith(f"to try again: opskit rollback {tx.id}")
    assert raised.value.__notes__ == [note]
    assert [row.status for row in raised.value.results] == ["cancelled"]  # type: ignore[attr-defined]


def test_a_second_interrupt_carries_what_the_first_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `.results` are those of the first, from which it is raised; IPython shows its notes."""
    scripted(monkeypatch, interrupting("x", "undo x"))
    with pytest.raises(KeyboardInterrupt) as raised, opskit.transaction() as tx:
        run("x", hosts="app1")
    second: Any = raised.value
    assert isinstance(second.__cause__, KeyboardInterrupt)
    assert [row.status for row in second.results] == ["cancelled"]
    assert second._render_traceback_()[1:] == second.__notes__
    assert shared.store().now(tx.id).state == "rollback_partial"


def test_a_transaction_that_was_left_undecided_can_be_taken(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted before its rollback begins, it is marked as left: nobody holds it any more."""

    def interrupted(_: Scope) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised, opskit.transaction() as tx:  # noqa: PT012 - as above
        run("x", hosts="app1")
        assert not tx.scope.root.left
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), opskit.transaction():  # noqa: PT012 - as above
            patch.setattr(Scope, "join", interrupted)
            raise ValueError("the inner one")
        assert not tx.scope.root.left
        monkeypatch.setattr(Scope, "join", interrupted)
        raise ValueError("why")
    assert str(raised.value.__cause__) == "why"
    assert shared.store().now(tx.id).state == "running"
    assert tx.scope.root.left


@pytest.mark.parametrize("asked", [opskit.rollback, rolled_back_by_hand])
def test_a_runbook_whose_rollback_is_interrupted_can_be_taken(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, asked: Callable[[], object]
) -> None:
    """Also where no variable holds it: it is in nobody's way, and marked as left."""

    def interrupted(_: Scope) -> None:
        raise KeyboardInterrupt

    tx = opskit.begin()
    run("x", hosts="app1")
    with monkeypatch.context() as patch:
        patch.setattr(Scope, "join", interrupted)
        with pytest.raises(KeyboardInterrupt):
            asked()
    assert tx.scope.root.left
    assert by_hand() is None
    assert [row.command for row in tx.rollback()] == ["undo x"]


@pytest.mark.parametrize("begins", [opskit.begin, lambda: opskit.transaction().__enter__()])
def test_an_end_that_can_not_be_written_leaves_it(monkeypatch: pytest.MonkeyPatch, begins: Any) -> None:
    """The journal still calls it running, and nobody holds it."""

    def end(*_: object) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(RootTransaction, "end", end)
    tx = begins()
    with pytest.raises(JournalError):
        tx.end() if tx.scope.by_hand else tx.__exit__(None, None, None)
    assert tx.scope.root.left


def test_a_run_is_left_when_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it goes on it is its owner's alone."""
    scripted(monkeypatch, lambda command: Reply(hangs=command == "x"))
    found = begun("x")
    root = begun_here(str(found.results[0].transaction))
    assert root is not None
    assert not root.left
    found.cancel()
    with pytest.raises(Cancelled):
        found.wait()
    assert root.left


def test_what_is_undone_by_hand_is_not_undone_again_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has rolled a run back knows of it: leaving the transaction raises nothing, and keeps the rest."""
    transport = scripted(monkeypatch, lambda command: Reply(hangs=command == "hang"))
    with opskit.transaction() as tx:
        run("x", hosts="app1")
        begun("hang").rollback()
    assert transport.sent == [("app1", "x"), ("app1", "hang"), ("app1", "undo hang")]
    assert shared.store().now(tx.id).state == "succeeded"


@pytest.mark.parametrize("over", ["rollback", "end"])
def test_what_is_over_is_not_open(fleet: Fleet, over: str) -> None:
    """A transaction that was ended from inside a block of its own is in nobody's way afterwards."""
    tx = opskit.begin("runbook")
    with pytest.raises((RollbackError, Cancelled)), opskit.transaction():  # noqa: PT012 - as above
        run("x", hosts="app1")
        getattr(tx, over)()
        run("y", hosts="app1")
    assert run("z", hosts="app1")[0].transaction != tx.id
    with pytest.raises(RollbackError, match="nothing is open here"):
        opskit.on_rollback(print)
    opskit.begin("another").end()


def test_who_goes_on_after_one_that_is_over_begins_another(fleet: Fleet) -> None:
    """`begin` needs no run in between; an error in the block does not call open what is over."""
    tx = opskit.begin()
    with pytest.raises(ValueError, match="why") as raised, opskit.transaction():  # noqa: PT012 - as above
        run("x", hosts="app1")
        tx.rollback()
        raise ValueError("why")
    assert not any("stays open" in note for note in raised.value.__notes__)
    opskit.begin().end()


def test_a_failing_part_says_that_the_runbook_stays_open(fleet: Fleet) -> None:
    """Of a nested transaction and of tasks as of a run, once, with the name made harmless."""
    tx = opskit.begin("run\x1bbook")
    errors = []
    with pytest.raises(ValueError, match="why") as raised, opskit.transaction(), opskit.transaction():
        raise ValueError("why")
    errors.append(raised.value)
    with pytest.raises(ValueError, match="invalid") as raised, opskit.parallelize() as session:
        session.run(int, "x")
    errors.append(raised.value)
    for error in errors:
        (note,) = [note for note in error.__notes__ if "stays open" in note]
        assert note == f"run␛book ({tx.id}) stays open: .rollback() undoes all of it, .end() keeps it"
    tx.end()


def test_two_rollbacks_are_told_apart(fleet: Fleet) -> None:
    """Where a part and the whole came to the same, the error says which is which."""
    with pytest.raises(ValueError, match="why") as raised, opskit.transaction("deploy"):  # noqa: PT012 - as above
        run("x", hosts="app1")
        with opskit.transaction():
            run("y", hosts="app1")
            raise ValueError("why")
    assert raised.value.__notes__ == ["rolled back: 1 of 1 undone", "transaction deploy: rolled back: 1 of 1 undone"]


def test_an_exception_that_is_odd_undoes_as_well(fleet: Fleet) -> None:
    """One that can't say what it is, and takes no notes, is raised as it is."""

    class Odd(Exception):  # noqa: N818 - what it is
        def __str__(self) -> str:
            raise KeyError

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    with pytest.raises(Odd), opskit.transaction():  # noqa: PT012 - as above
        run("x", hosts="app1")
        raise Odd
    assert fleet.commands == ["app1:x", "app1:undo x"]


def test_a_callback_does_not_roll_back_what_it_is_told_of(fleet: Fleet) -> None:
    """It would wait for itself; refused, it leaves everything as it is."""
    tx = opskit.begin()
    refused = []

    def told(*_: object) -> None:
        for asked in (tx.rollback, opskit.rollback):
            with pytest.raises(RollbackError, match="would wait") as raised:
                asked()
            refused.append(raised.value)

    monitored = ScriptedTransport(lambda _, command: Reply(stdout=b"line\n" if command else b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "transport", lambda *_: monitored)
        run("x", hosts="app1", on_output=told)
    assert len(refused) == 2
    run("y", hosts="app1")
    assert fleet.commands == ["app1:y"]
    tx.end()


def test_a_transaction_shows_its_name_harmless() -> None:
    """In one line, whatever the name has in it."""
    with opskit.transaction("a\x1b[31m\nb") as tx:
        assert repr(tx) == f"<transaction a ⏎ b {tx.id}: open; .rollback() undoes it>"
    with opskit.transaction() as tx:
        assert repr(tx) == f"<transaction {tx.id}: open; .rollback() undoes it>"
