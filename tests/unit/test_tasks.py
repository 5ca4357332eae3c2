"""Task blocks: the cases B1-B18, what is kept of tasks, and how they are steered; on local hosts where needed."""

# ruff: noqa: PT012 - the block of a session is what raises

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import logging
import pickle
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit import Host, Inventory, bridge, shared, views
from opskit.begun import RootTransaction, begun_here
from opskit.bridge import nesting
from opskit.bridge.task_output import in_task
from opskit.errors import (
    Cancelled,
    InventoryError,
    JournalError,
    PlanError,
    RollbackError,
    RollbackRequested,
    TimeoutExceeded,
)
from opskit.masking import MASK
from opskit.progress import WorkProgress
from opskit.record.facts import Part, TaskEnded
from opskit.record.store import opened
from opskit.scopes import open_scope
from opskit.settings import current
from opskit.tasks import Parallelize, parallelize
from opskit.testing import Reply, ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from opskit.progress import Progress
    from opskit.showing import Shown

FLEET = Inventory([Host("a", address="local"), Host("b", address="local", roles={"web"})])


@pytest.fixture(autouse=True)
def _fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two hosts that need no connection; nobody looks at what is painted."""
    monkeypatch.setattr(bridge, "TICK_SECONDS", 0.01)
    with opskit.use(FLEET):
        yield


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedTransport], ScriptedTransport]:
    """Reach hosts by this transport."""

    def chosen(transport: ScriptedTransport) -> ScriptedTransport:
        monkeypatch.setattr(shared, "transport", lambda *_: transport)
        return transport

    return chosen


class Log(list[str]):
    """What happened, in order; makes tasks and undos that write themselves down."""

    def does(self, word: str, error: BaseException | None = None) -> Callable[[], None]:
        """What writes a word down, and raises."""

        def doing() -> None:
            self.append(word)
            if error is not None:
                raise error

        doing.__name__ = word
        return doing


@pytest.fixture
def log() -> Log:
    """Nothing has happened yet."""
    return Log()


def statuses(results: Iterable[Any]) -> str:
    """The rows' status, in order."""
    return " ".join(row.status for row in results)


def until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def state(session: Parallelize) -> str:
    """What the journal says of the session's transaction."""
    return opened(current().journal).now(str(session.results[0].transaction)).state


# ---------------------------------------------------------------------------------------------------------- the cases


def test_tasks_run_at_once_in_the_order_given() -> None:
    """B1: three tasks are one chunk; all of them run at once, and their rows are in the order given."""
    barrier = threading.Barrier(3, timeout=5)
    with parallelize() as session:
        for name in ("one", "two", "three"):
            session.run(barrier.wait, name=name)
    assert [(row.branch, row.status, row.chunk) for row in session.results] == [
        ("one", "ok", 1),
        ("two", "ok", 1),
        ("three", "ok", 1),
    ]
    assert state(session) == "succeeded"


def test_the_next_chunk_waits_for_the_slowest() -> None:
    """B2: of eleven tasks ten are a chunk, and the eleventh starts when the slowest of them has ended."""
    nine, seen = threading.Event(), Counter[str]()

    def quick() -> None:
        seen["quick"] += 1
        if seen["quick"] == 9:
            nine.set()

    def slow() -> None:
        assert nine.wait(5)
        assert seen["last"] == 0
        seen["slow"] += 1

    def last() -> None:
        assert seen["slow"] == 1
        seen["last"] += 1

    with parallelize() as session:
        session.run(slow)
        for _ in range(9):
            session.run(quick)
        session.run(last)
    assert [row.chunk for row in session.results] == [1] * 10 + [2]
    assert seen["last"] == 1


def test_the_chunk_is_a_setting_and_an_argument() -> None:
    """B3: seven tasks make chunks of 3, 3 and 1 by the setting, and of 5 and 2 by the argument; never more at once."""
    guard, running, most = threading.Lock(), Counter[str](), [0]

    def task() -> None:
        with guard:
            running["now"] += 1
            most[0] = max(most[0], running["now"])
        threading.Event().wait(0.005)
        with guard:
            running["now"] -= 1

    for given, sizes in ((None, [3, 3, 1]), (5, [5, 2])):
        most[0] = 0
        with opskit.configure(parallelize_chunk=3), parallelize(given) as session:
            for _ in range(7):
                session.run(task)
        assert list(Counter(row.chunk for row in session.results).values()) == sizes
        assert most[0] <= sizes[0]


def test_a_failed_chunk_is_the_last(log: Log) -> None:
    """B4: t1 fails in a chunk of its own: it is undone, t2 is not started and not undone, t1's own error is raised."""
    error = ValueError("broken")
    with pytest.raises(ValueError, match="broken") as caught, parallelize(1) as session:
        session.run(log.does("t1", error), undo=log.does("u1"))
        session.run(log.does("t2"), undo=log.does("u2"))
    assert caught.value is error
    assert log == ["t1", "u1"]
    assert statuses(session.results) == statuses(caught.value.results) == "failed not_started"  # type: ignore[attr-defined]
    assert session.results[0].error == "ValueError: broken"
    assert (session.results[1].attempt, session.results[1].started_at, session.results[1].chunk) == (None, None, 2)
    assert state(session) == "rolled_back"


def test_earlier_chunks_are_undone_newest_first(log: Log) -> None:
    """B5: t1 ended well, t2 fails: u2, then u1; t3 is not started."""
    with pytest.raises(ValueError, match="t2"), parallelize(1) as session:
        session.run(log.does("t1"), undo=log.does("u1"))
        session.run(log.does("t2", ValueError("t2")), undo=log.does("u2"))
        session.run(log.does("t3"), undo=log.does("u3"))
    assert log == ["t1", "t2", "u2", "u1"]
    assert statuses(session.results) == "ok failed not_started"


def test_nothing_is_undone_before_the_chunk_has_ended(log: Log) -> None:
    """B6: t1 fails at once; t2, with a transaction of its own, ends well later: u1 and u2 once each, after that."""
    failed = threading.Event()

    def t1() -> None:
        failed.set()
        raise ValueError("t1")

    def t2() -> None:
        with opskit.transaction():
            assert failed.wait(5)
            threading.Event().wait(0.05)
            opskit.on_rollback(log.does("u2"))
        log.append("t2 ended")

    with pytest.raises(ValueError, match="t1"), parallelize() as session:
        session.run(t1, undo=log.does("u1"))
        session.run(t2)
    assert log[0] == "t2 ended"
    assert sorted(log[1:]) == ["u1", "u2"]


def test_an_error_undoes_the_transaction_around(log: Log) -> None:
    """B7: t2 fails in a transaction with an undo of its own: the tasks' undos, then that, once each; nothing after."""
    with pytest.raises(ValueError, match="t2"), opskit.transaction():
        opskit.on_rollback(log.does("M"))
        with parallelize() as session:
            session.run(log.does("t1"), undo=log.does("u1"))
            session.run(log.does("t2", ValueError("t2")), undo=log.does("u2"))
        log.append("not reached")
    undone = log[2:]
    assert sorted(undone[:2]) == ["u1", "u2"]
    assert undone[2:] == ["M"]


def test_the_undos_of_what_ended_well_join_the_transaction(log: Log) -> None:
    """B8: the tasks ended well, then the transaction around fails: u1, then M."""
    with pytest.raises(KeyError), opskit.transaction():
        opskit.on_rollback(log.does("M"))
        with parallelize() as session:
            session.run(log.does("t1"), undo=log.does("u1"))
        assert log == ["t1"]
        raise KeyError
    assert log == ["t1", "u1", "M"]


def test_who_asks_for_a_rollback_gets_it(log: Log) -> None:
    """B9: t1 asks for a rollback and swallows that: it has failed with the reason, and all are undone."""

    def t1() -> None:
        try:
            opskit.rollback("why")
        except RollbackRequested:
            log.append("swallowed")

    with pytest.raises(RollbackRequested, match="why") as caught, parallelize() as session:
        session.run(t1, undo=log.does("u1"))
        session.run(log.does("t2"), undo=log.does("u2"))
    assert sorted(log) == ["swallowed", "t2", "u1", "u2"]
    assert statuses(session.results) == statuses(caught.value.results) == "failed ok"  # type: ignore[attr-defined]
    assert session.results[0].error == "RollbackRequested: why"


def test_an_undo_that_fails_is_told_with_the_error(log: Log) -> None:
    """B10: t1 fails: u1 runs, u3 fails and is recorded so, t2 has no undo; t1's error is raised with u3's attached."""
    with pytest.raises(ValueError, match="t1") as caught, parallelize() as session:
        session.run(log.does("t1", ValueError("t1")), undo=log.does("u1"))
        session.run(log.does("t2"))
        session.run(log.does("t3"), undo=log.does("u3", OSError("disk")))
    assert sorted(log) == ["t1", "t2", "t3", "u1", "u3"]
    assert statuses(session.results) == "failed ok ok"
    (note,) = caught.value.__notes__
    assert "1 of 2 undone" in note
    assert "OSError: disk" in note
    assert state(session) == "rollback_partial"


def nested(log: Log, *, catch: bool) -> Parallelize:
    """t1 runs i1, which ends well, and i2, which fails; beside it is t2."""

    def t1() -> None:
        try:
            with parallelize(1) as inner:
                inner.run(log.does("i1"), undo=log.does("ui1"))
                inner.run(log.does("i2", ValueError("i2")), undo=log.does("ui2"))
        except ValueError:
            if not catch:
                raise

    session = parallelize()
    with session:
        session.run(t1, undo=log.does("u1"))
        session.run(int, undo=log.does("u2"))
    return session


def test_an_error_of_inner_tasks_is_the_outer_tasks_too(log: Log) -> None:
    """B11: i2 fails in t1: ui2 and ui1, then t1 fails: u1 and u2; i2's error is raised. Each is undone once."""
    with pytest.raises(ValueError, match="i2") as caught:
        nested(log, catch=False)
    assert log[:4] == ["i1", "i2", "ui2", "ui1"]
    assert sorted(log[4:]) == ["u1", "u2"]
    assert statuses(caught.value.results) == "failed ok"  # type: ignore[attr-defined]


def test_a_caught_error_of_inner_tasks_undoes_them_alone(log: Log) -> None:
    """B12: t1 catches i2's error: the inner tasks are undone; t1 and t2 ended well, and are not."""
    session = nested(log, catch=True)
    assert log == ["i1", "i2", "ui2", "ui1"]
    assert statuses(session.results) == "ok ok"
    assert state(session) == "succeeded"


def test_no_task_is_no_error() -> None:
    """B13: a block without tasks has empty results, and leaves nothing in the journal."""
    with parallelize() as session:
        pass
    assert (len(session.results), session.results.commands, session.done) == (0, opskit.Results(()), True)
    assert opened(current().journal).transactions() == []


@pytest.mark.parametrize("chunk", [0, -1, 1.5, "x", "x%", "5", float("nan"), True, [1]])
def test_a_bad_chunk_is_refused_at_once(chunk: Any) -> None:
    """B13: no chunk but a whole number of 1 or more; text, for a call, is none. The error names the value."""
    with pytest.raises(PlanError, match="chunk=") as caught:
        parallelize(chunk)
    assert repr(chunk) in str(caught.value)


def test_a_block_that_raises_runs_nothing(log: Log) -> None:
    """B13: its exception is raised, and no task has run."""
    with pytest.raises(KeyError), parallelize() as session:
        session.run(log.does("t1"))
        raise KeyError
    assert log == []
    with pytest.raises(PlanError, match="nothing was begun"):
        _ = session.results


@pytest.mark.parametrize("error", [SystemExit(3), NotImplementedError(), StopIteration(), KeyboardInterrupt()])
def test_whatever_a_task_raises_is_a_failure(log: Log, error: BaseException) -> None:
    """B14: also what would end a program, or means something to Python: the sibling ends, both are undone."""
    raised = threading.Event()

    def t1() -> None:
        raised.set()
        raise error

    def t2() -> None:
        assert raised.wait(5)
        log.append("t2 ended")

    with pytest.raises(type(error)) as caught, parallelize() as session:
        session.run(t1, undo=log.does("u1"))
        session.run(t2, undo=log.does("u2"))
    assert caught.value is error
    assert log[0] == "t2 ended"
    assert sorted(log[1:]) == ["u1", "u2"]
    assert statuses(session.results) == "failed ok"
    assert str(session.results[0].error).startswith(type(error).__name__)


def test_many_quick_tasks_take_seconds() -> None:
    """B15: 2000 tasks that return at once are 200 chunks, and all are ok."""
    began = time.monotonic()
    with parallelize(10) as session:
        for _ in range(2000):
            session.run(int)
    assert len(session.results.ok) == 2000
    assert session.results[-1].chunk == 200
    assert time.monotonic() - began < 20


def test_tasks_inherit_the_callers_inventory() -> None:
    """B16: where the default is narrowed around the call, a task's commands run there alone."""
    with opskit.use(FLEET.select(roles="web")), parallelize() as session:
        session.run(lambda: opskit.run("hostname"))
        session.run(lambda: opskit.run("hostname"))
    assert session.results.commands is not None
    assert [row.host for row in session.results.commands] == ["b", "b"]


def test_the_first_given_error_is_raised(log: Log) -> None:
    """B17: t1 and t2 fail, t2 first: t1's error is raised, t2's is in its notes; both rows have failed."""
    second = threading.Event()

    def t1() -> None:
        assert second.wait(5)
        raise ValueError("one")

    def t2() -> None:
        second.set()
        raise OSError("two")

    with pytest.raises(ValueError, match="one") as caught, parallelize() as session:
        session.run(t1)
        session.run(t2)
    assert caught.value.__notes__ == ["also failed: t2: OSError: two", "rolled back: nothing was to be undone"]
    assert statuses(session.results) == "failed failed"


def test_a_task_is_undone_newest_first(log: Log) -> None:
    """B18: a task given undo=a registers b, then c, and fails: c, b, a."""

    def task() -> None:
        opskit.on_rollback(log.does("b"))
        opskit.on_rollback(log.does("c"))
        raise ValueError

    with pytest.raises(ValueError), parallelize() as session:  # noqa: PT011 - it says nothing
        session.run(task, undo=log.does("a"))
    assert log == ["c", "b", "a"]


# ----------------------------------------------------------------------------------------------------------- bad input


def test_what_can_not_be_called_is_refused_at_once(log: Log) -> None:
    """B13: a task or an undo that is no function is a PlanError with its type, and nothing runs."""
    with pytest.raises(PlanError, match="not str"), parallelize() as session:
        session.run(log.does("t1"))
        session.run("uptime")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(PlanError, match=r"undo= .*not list"), parallelize() as session:
        session.run(log.does("t1"), undo=[])  # type: ignore[arg-type]  # what is tested
    with pytest.raises(PlanError, match=r"name= .*not int"), parallelize() as session:
        session.run(log.does("t1"), name=1)  # type: ignore[arg-type]  # what is tested
    assert log == []


def test_other_options_are_refused() -> None:
    """There is no dry run, and the error says so; of an unknown option it says what is near it."""
    with pytest.raises(PlanError, match="parallelize has no dry run"):
        parallelize(dry_run=True)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(PlanError, match="no option 'chunks'; did you mean 'chunk'"):
        parallelize(chunks=3)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(PlanError, match="name must be text, not int"):
        parallelize(name=3)  # type: ignore[arg-type]  # what is tested


def test_a_block_runs_once() -> None:
    """After the block nothing can be added, and it can't be entered again; before its end there is nothing to read."""
    session = parallelize()
    assert repr(session) == "<parallelize, 0 tasks: not begun; .wait(), .cancel(), .results>"
    for early in (session.wait, session.cancel, session.rollback):
        with pytest.raises(PlanError, match="nothing was begun"):
            early()
    with session:
        session.run(int)
    with pytest.raises(PlanError, match="has ended"):
        session.run(int)
    with pytest.raises(PlanError, match="has ended"), session:
        pass
    with pytest.raises(PlanError, match="timeout='x'"):
        session.wait("x")  # type: ignore[arg-type]  # what is tested


# ------------------------------------------------------------------------------------------------ what is kept of tasks


def test_a_task_has_its_arguments_and_a_name() -> None:
    """Arguments are handed on; the row's branch is the given name, or else the function's own."""
    got: list[Any] = []

    class Deploys:
        def __call__(self) -> None:
            pass

    def deploy(*args: object, **options: object) -> None:
        got.append((args, options))

    with parallelize() as session:
        session.run(deploy, "v42", function=1, region="ams")
        session.run(functools.partial(deploy, "v43"))
        session.run(Deploys())
        session.run(deploy, name="the last")
    assert (("v42",), {"function": 1, "region": "ams"}) in got
    assert [row.branch for row in session.results] == ["deploy", "deploy", "Deploys", "the last"]


def test_what_a_task_prints_and_logs_is_kept_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    """Each task's own, also at the same time and from opskit; nothing of it is shown. All is as it was afterwards."""
    before = sys.stdout, sys.stderr, list(logging.getLogger().handlers)
    together = threading.Barrier(2, timeout=5)

    def task(word: str) -> None:
        print("out", word)  # noqa: T201 - what is tested
        together.wait()
        sys.stdout.writelines([word, " \udcff\n"])
        print("err", word, file=sys.stderr)  # noqa: T201 - what is tested
        logging.getLogger("opskit").warning("careful, %s", word)
        assert sys.stdout.encoding == before[0].encoding
        assert in_task()

    with parallelize() as session:
        session.run(task, "one")
        session.run(task, "two")
    assert [row.stdout for row in session.results] == ["out one\none \\udcff\n", "out two\ntwo \\udcff\n"]
    assert session.results[0].stderr == "err one\nWARNING opskit: careful, one\n"
    assert capfd.readouterr() == ("", "")
    assert (sys.stdout, sys.stderr, logging.getLogger().handlers) == before
    assert not any(type(handler).__module__.startswith("opskit") for handler in before[2])
    assert not in_task()


def test_what_others_print_meanwhile_goes_where_it_went(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While tasks run, the rest of the program prints and logs as ever, also where Python itself prints warnings."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    go = threading.Event()
    with parallelize(wait=False) as session:
        session.run(go.wait, 5)
    until(lambda: logging.getLogger().handlers)
    print("printed")  # noqa: T201 - what is tested
    logging.getLogger("mine").warning("warned")
    logging.getLogger("mine").info("not shown")
    go.set()
    session.wait()
    assert capsys.readouterr() == ("printed\n", "warned\n")
    assert (session.results[0].stdout, session.results[0].stderr) == ("", "")


def test_sessions_that_overlap_keep_what_is_theirs() -> None:
    """Also where the stream was replaced meanwhile; the last one to end leaves all as it was."""
    before, go, replaced = sys.stdout, threading.Event(), io.StringIO()

    def late() -> None:
        assert go.wait(5)
        print("late")  # noqa: T201 - what is tested
        logging.getLogger("mine").warning("late")

    with parallelize(wait=False) as first:
        first.run(late)
    until(lambda: sys.stdout is not before)
    with contextlib.redirect_stdout(replaced):
        with parallelize() as second:
            second.run(print, "kept")
        print("let through")  # noqa: T201 - what is tested
    go.set()
    first.wait()
    assert (second.results[0].stdout, replaced.getvalue()) == ("kept\n", "let through\n")
    assert (first.results[0].stdout, first.results[0].stderr) == ("late\n", "WARNING mine: late\n")
    assert sys.stdout is before


def test_what_is_kept_is_bounded_and_without_secrets() -> None:
    """Of long output head and tail are kept, and the row says so; secrets are masked, in errors and notes too."""
    opskit.secret("hunter2!")

    def chatty() -> None:
        print("x" * 5000, "hunter2!")  # noqa: T201 - what is tested
        raise ValueError("hunter2!")

    with (
        pytest.raises(ValueError, match="first") as caught,
        opskit.configure(max_output=1000),
        parallelize() as session,
    ):
        session.run(Log().does("t1", ValueError("first")), undo=Log().does("u1", OSError("hunter2!")))
        session.run(chatty)
        session.run(functools.partial(print, "hun", end=""))
    assert session.results[2].stdout == "hun"
    row = session.results[1]
    assert row.truncated
    assert len(row.stdout) < 1100
    assert row.stdout.endswith(f"{MASK}\n")
    assert row.error == f"ValueError: {MASK}"
    assert str(caught.value.__notes__).count(MASK) == 2
    assert "hunter2!" not in str(caught.value.__notes__)


def test_the_rows_of_commands_are_kept(scripted: Any) -> None:
    """`.results.commands` has them task by task, those of nested blocks too, all of one transaction; also pickled."""
    before = sys.stdout
    scripted(ScriptedTransport(lambda host, command: Reply(stdout=command.encode())))

    def outer() -> None:
        opskit.run("one")
        with parallelize() as inner:
            inner.run(lambda: opskit.run("two", hosts="a"))
        opskit.run("three", hosts="b")

    with parallelize() as session:
        session.run(outer)
        session.run(lambda: opskit.run("four", hosts="a"))
    assert sys.stdout is before
    results = pickle.loads(pickle.dumps(session.results))
    assert results == session.results
    assert [(row.host, row.command) for row in results.commands] == [
        ("a", "one"),
        ("b", "one"),
        ("a", "two"),
        ("b", "three"),
        ("a", "four"),
    ]
    assert {row.transaction for row in (*results, *results.commands)} == {results[0].transaction}


def test_a_tasks_row_has_no_host_in_any_form() -> None:
    """Its host, command and exit code are missing; tasks that look alike are counted."""
    with parallelize() as session:
        for _ in range(3):
            session.run(int)
    assert session.results.df[["host", "command", "exit_code"]].isna().all(axis=None)
    assert repr(session.results).splitlines()[1].split()[:3] == ["✔", "ok", "3"]
    assert ">task</th>" in session.results._repr_mimebundle_()["text/html"]
    assert "(3)" in session.results._repr_mimebundle_()["text/html"]


def test_the_journal_has_the_tasks() -> None:
    """A transaction of kind parallelize, a part for each task that began, and what became of each."""

    def fails() -> None:
        print("said")  # noqa: T201 - what is tested
        raise ValueError("why")

    with pytest.raises(ValueError, match="why"), parallelize(1, name="deploy") as session:
        session.run(int)
        session.run(fails, name="second")
        session.run(int)
    store = opened(current().journal)
    transaction = str(session.results[0].transaction)
    begun = store.now(transaction).transaction
    assert (begun.kind, begun.name) == ("parallelize", "deploy")
    assert [(part.kind, part.name, part.chunk) for part in store.parts(transaction)] == [
        ("task", "int", 1),
        ("task", "second", 2),
    ]
    ended = store.tasks(transaction)
    assert [(task.status, task.error, task.stdout) for task in ended] == [
        ("ok", None, ""),
        ("failed", "ValueError: why", "said\n"),
    ]


# ------------------------------------------------------------------------------------------ what they inherit


def test_what_a_task_sets_is_its_own() -> None:
    """`use` and `configure` as statements hold for the rest of that task, and for nobody else."""

    def narrows() -> None:
        opskit.use(FLEET.select(hosts="a"))
        opskit.configure(fanout=3)
        assert (len(opskit.run("true")), current().fanout) == (1, 3)

    with parallelize(1) as session:
        session.run(narrows)
        session.run(lambda: opskit.run("true"))
    assert session.results.commands is not None
    assert [row.host for row in session.results.commands] == ["a", "a", "b"]
    assert current().fanout == 64


def test_a_failing_command_fails_its_task(scripted: Any) -> None:
    """Its CommandError is raised, with the tasks' rows; what was sent with an undo is undone."""
    transport = scripted(ScriptedTransport(lambda host, command: Reply(1 if (host, command) == ("b", "do") else 0)))
    with pytest.raises(opskit.CommandError) as caught, parallelize() as session:
        session.run(lambda: opskit.run("do", undo="undo"))
    assert caught.value.results.commands is not None
    assert statuses(caught.value.results) == "failed"
    assert statuses(caught.value.results.commands) == "ok failed"
    assert sorted(transport.sent) == [("a", "do"), ("a", "undo"), ("b", "do"), ("b", "undo")]
    assert "rolled back: 2 of 2 undone" in caught.value.__notes__
    assert state(session) == "rolled_back"


def test_a_run_that_a_task_leaves_alone_belongs_to_it(scripted: Any) -> None:
    """What it has begun with `wait=False` is waited for, and its failure is the task's."""
    scripted(ScriptedTransport(lambda host, command: Reply(3 if command else 0)))
    with pytest.raises(opskit.CommandError), parallelize() as session:
        session.run(lambda: opskit.run("x", wait=False))
    assert statuses(session.results) == "failed"


def test_what_a_task_leaves_running_ends_with_its_failure(scripted: Any) -> None:
    """A run that nobody waits for is cancelled when its task fails; nothing is undone beside it."""
    transport = scripted(ScriptedTransport(lambda host, command: Reply(hangs=command == "hang")))
    there = threading.Event()
    opskit.observe(lambda event: there.set() if event.kind == "step_started" else None)

    def task() -> None:
        opskit.run("hang", hosts="a", wait=False, undo="undo")
        assert there.wait(5)
        raise ValueError("after that")

    with pytest.raises(ValueError, match="after that"), parallelize() as session:
        session.run(task)
    assert transport.ended == [("a", "hang")]
    assert transport.sent == [("a", "hang"), ("a", "undo")]


def test_nothing_is_undone_beside_what_a_task_has_begun(log: Log) -> None:
    """A failed task cancels what it has begun, and waits for the end of that; then it is undone."""

    class Begun:
        def check(self) -> None:
            log.append("check")

        def join(self) -> None:
            log.append("join")

        def cancel(self, hosts: object = None) -> None:
            log.append("cancel")

        def commands(self) -> opskit.Results:
            return opskit.Results()

        def how_far(self) -> WorkProgress:
            return WorkProgress.of("begun", ())

    def task() -> None:
        scope = open_scope.get()
        assert scope is not None
        scope.hold(Begun())
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), parallelize() as session:
        session.run(task, undo=log.does("undo"))
    assert log == ["cancel", "join", "undo"]


def test_commands_of_transactions_in_tasks_are_theirs(scripted: Any) -> None:
    """What a task runs in a transaction of its own is among the rows of the commands, and is undone with the task."""
    transport = scripted(ScriptedTransport())

    def task() -> None:
        with opskit.transaction():
            opskit.run("do", hosts="a", undo="undo")

    with pytest.raises(ValueError, match="t2"), parallelize(1) as session:
        session.run(task)
        session.run(Log().does("t2", ValueError("t2")))
    assert session.results.commands is not None
    assert [row.command for row in session.results.commands] == ["do"]
    assert transport.sent == [("a", "do"), ("a", "undo")]


def test_what_undoes_is_a_transaction_of_its_own() -> None:
    """A command that an undo runs is no part of what is being rolled back."""
    seen: list[str | None] = []
    with pytest.raises(ValueError, match="no"), opskit.transaction() as outer:
        with parallelize() as session:
            session.run(int, undo=lambda: seen.append(opskit.run("true", hosts="a")[0].transaction))
        raise ValueError("no")
    assert len(seen) == 1
    assert seen != [outer.id]


# ------------------------------------------------------------------------------------------------------------- async


def test_async_tasks_run_on_a_loop_of_their_own() -> None:
    """All of a session on one, beside plain ones; neither the engine's nor the caller's. Their prints are theirs."""
    loops: list[asyncio.AbstractEventLoop] = []
    both = threading.Barrier(2, timeout=5)

    async def task(word: str) -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.to_thread(both.wait)
        print(word)  # noqa: T201 - what is tested
        rows = await opskit.arun("echo hi", hosts="a")
        assert isinstance(rows, opskit.Results)

    with parallelize() as session:
        session.run(task, "one")
        session.run(lambda: task("two"))
        session.run(int)
    assert statuses(session.results) == "ok ok ok"
    assert [row.stdout for row in session.results] == ["one\n", "two\n", ""]
    assert loops[0] is loops[1]
    assert loops[0] is not bridge.engine()._loop
    assert session.results.commands is not None
    assert [row.stdout for row in session.results.commands] == ["hi\n", "hi\n"]


@pytest.mark.parametrize("error", [ValueError("async"), SystemExit(1), asyncio.CancelledError()])
def test_an_async_task_may_fail(log: Log, error: BaseException) -> None:
    """What it raises is raised, whatever it is, and its undo, `async` as well, runs; siblings on the loop end."""
    failed = asyncio.Event()

    async def fails() -> None:
        failed.set()
        raise error

    async def ends() -> None:
        await failed.wait()
        await asyncio.sleep(0)
        log.append("ended")

    async def undo() -> None:
        await asyncio.sleep(0)
        log.append("undone")

    with pytest.raises(type(error)) as caught, parallelize() as session:
        session.run(fails, undo=undo)
        session.run(ends)
    assert caught.value is error
    assert log == ["ended", "undone"]
    assert statuses(session.results) == "failed ok"


def test_what_async_tasks_leave_on_their_loop_is_cancelled() -> None:
    """A loop ends with its session."""
    left, ended = set[asyncio.Task[None]](), threading.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def task() -> None:
        left.add(asyncio.create_task(forever()))
        await asyncio.sleep(0)

    with parallelize() as session:
        session.run(task)
    assert ended.wait(5)


def test_a_call_that_waits_is_refused_in_an_async_task(log: Log) -> None:
    """`opskit.run` and a plain `with` in one are a PlanError that names what to write."""

    async def runs() -> None:
        opskit.run("true")

    async def blocks() -> None:
        with parallelize():
            log.append("in the block")

    async def awaits() -> None:
        async with parallelize() as inner:
            inner.run(lambda: opskit.run("true", hosts="a"))

    for task in (runs, blocks):
        with pytest.raises(PlanError, match=r"arun.*async with"), parallelize() as session:
            session.run(task)
    assert log == []
    with parallelize() as session:
        session.run(awaits)
    assert session.results.commands is not None
    assert statuses(session.results.commands) == "ok"


def asking(what: str) -> None:
    """Make one of the calls that wait."""
    match what:
        case "with":
            opskit.transaction().__enter__()
        case "plan":
            opskit.plan("true", hosts="a").apply()
        case "plan with hosts":
            opskit.plan("true", hosts=FLEET.select(hosts="a")).apply()
        case _:
            opskit.run("true", hosts="a")


@pytest.mark.parametrize("what", ["run", "with", "plan", "plan with hosts"])
def test_a_call_that_waits_is_refused_in_blocks_of_an_async_task(what: str) -> None:
    """A transaction inside of the task is on the same loop. Refused, it has begun nothing."""

    async def task() -> None:
        async with opskit.transaction(), opskit.transaction():
            asking(what)

    with pytest.raises(PlanError, match=r"arun.*async with"), parallelize() as session:
        session.run(task)
    assert session.results.commands == opskit.Results()


def test_rows_and_rollbacks_are_refused_in_an_async_task(scripted: Any, log: Log) -> None:
    """What was begun elsewhere is not waited for there either, and nothing is begun or undone."""
    transport = scripted(ScriptedTransport(lambda host, command: Reply(1 if command == "bad" else 0)))
    bad = opskit.run("bad", hosts="a", on_error="continue")
    with opskit.transaction() as tx:
        opskit.run("good", hosts="a", undo="undo")
    with parallelize() as other:
        other.run(int, undo=log.does("undone"))
    ended = opskit.run("good", hosts="a", undo="undo", wait=False)
    ended.wait()
    sent = list(transport.sent)
    for call in (bad.retry_failed, tx.rollback, other.rollback, ended.wait, ended.rollback):

        async def task(call: Callable[[], object] = call) -> None:
            call()

        with pytest.raises(PlanError, match=r"arun.*async with"), parallelize() as session:
            session.run(task)
        assert session.results.commands == opskit.Results()
    assert (transport.sent, log) == (sent, [])


def test_threads_of_an_async_task_may_wait() -> None:
    """What it does in a thread holds nothing up."""

    async def task() -> None:
        async with opskit.transaction():
            await asyncio.to_thread(asking, "run")
            await asyncio.to_thread(asking, "plan")

    with parallelize() as session:
        session.run(task)
    assert session.results.commands is not None
    assert statuses(session.results.commands) == "ok ok"


def test_a_block_can_be_awaited(log: Log) -> None:
    """`async with` leaves the caller's loop to others; a caller that is cancelled cancels the session."""
    running, go = threading.Event(), threading.Event()

    def task() -> None:
        running.set()
        assert go.wait(5)
        opskit.run("true")

    async def caller() -> None:
        async with parallelize() as session:
            session.run(task, undo=log.does("undone"))

    async def main() -> asyncio.CancelledError:
        waiting = asyncio.create_task(caller())
        await asyncio.to_thread(running.wait, 5)
        waiting.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await waiting
        return caught.value

    error: Any = asyncio.run(main())
    assert log == ["undone"]
    assert statuses(error.results) == "cancelled"


# ------------------------------------------------------------------------------------------------------- steering them


def test_progress_is_painted_by_the_outermost_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A view shows the tasks of each chunk, as they end; what runs inside of tasks shows nothing."""
    seen: list[Shown] = []
    monkeypatch.setattr(views, "choose", seen.append)
    go = threading.Event()

    def inner() -> None:
        opskit.run("true", hosts="a")
        with parallelize() as session:
            session.run(int)

    with parallelize(3, wait=False) as session:
        session.run(int)
        session.run(inner)
        session.run(go.wait, 5)
        session.run(int)
    until(lambda: statuses(session.results) == "ok ok running not_started")
    until(lambda: "1 running" in repr(session))
    (shown,) = seen
    assert counted(shown.progress) == [(1, 0, 2, False), (0, 1, 0, False)]
    parts = shown.works()
    assert [(part.title, part.status) for part in parts] == [
        ("int", "ok"),
        ("inner", "ok"),
        ("wait", "running"),
        ("int", "not_started"),
    ]
    assert [run.title for run in parts[1].runs] == ["true"]
    assert parts[3].seconds is None
    go.set()
    session.wait()
    assert counted(shown.progress) == [(0, 0, 3, True), (0, 0, 1, True)]
    assert shown.progress.over


def counted(progress: Progress) -> list[tuple[int, int, int, bool]]:
    """Running, left, well ended, over: of each chunk."""
    return [(part.running, part.left, part.ended["ok"], part.over) for part in progress.chunks]


def test_of_many_tasks_a_view_gets_those_that_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that run and those that went wrong; it would cost more and more to show all."""
    seen: list[Shown] = []
    monkeypatch.setattr(views, "choose", seen.append)

    def fail() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"), parallelize(60) as session:
        for _ in range(50):
            session.run(int)
        session.run(fail)
    assert [(part.title, part.status) for part in seen[0].works()] == [("fail", "failed")]


def test_a_session_that_is_not_waited_for_goes_on(log: Log) -> None:
    """`wait=False` returns at once; snapshots have what is known, `wait` has a limit, and gives the results."""
    go = threading.Event()

    def task() -> None:
        print("begun")  # noqa: T201 - what is tested
        log.append("begun")
        assert go.wait(5)

    with parallelize(1, name="deploy", wait=False) as session:
        session.run(task)
        session.run(log.does("t2"))
    until(lambda: log)
    shot = session.results
    assert (statuses(shot), shot[0].stdout, shot[0].attempt) == ("running not_started", "begun\n", 1)
    assert shot[0].seconds is not None
    assert repr(session) == "<deploy, 2 tasks: 1 running; .wait(), .cancel(), .results>"
    with pytest.raises(TimeoutExceeded, match=r"\.cancel\(\)") as caught:
        session.wait(0.01)
    assert statuses(caught.value.results) == "running not_started"
    assert "ended" not in repr(session)
    go.set()
    assert statuses(session.wait()) == statuses(session.wait(1)) == "ok ok"
    assert session.done
    assert statuses(shot) == "running not_started"


def test_cancel_ends_remote_work_and_undoes(scripted: Any, log: Log) -> None:
    """What hangs is ended, further calls raise Cancelled, own code is waited for, the next chunk never begins."""
    transport = scripted(ScriptedTransport(lambda host, command: Reply(hangs=command == "hang")))
    there, calls = threading.Event(), Log()
    opskit.observe(lambda event: there.set() if event.kind == "step_started" else None)

    def own() -> None:
        until(lambda: calls)
        try:
            opskit.run("more")
        except Cancelled:
            log.append("no more")
        log.append("own code ended")

    with parallelize(2, wait=False) as session:
        session.run(lambda: opskit.run("hang", hosts="a", undo="undo"))
        session.run(own, undo=log.does("undone"))
        session.run(log.does("t3"))
    assert there.wait(5)
    session.cancel()
    calls.append("cancel")
    with pytest.raises(Cancelled) as caught:
        session.wait()
    assert statuses(caught.value.results) == "cancelled ok not_started"
    assert transport.sent == [("a", "hang"), ("a", "undo")]
    assert transport.ended == [("a", "hang")]
    assert log == ["no more", "own code ended", "undone"]
    assert state(session) == "rolled_back"
    session.cancel()
    with pytest.raises(RollbackError, match="was rolled back"):
        session.rollback()


def test_cancel_of_some_hosts_leaves_the_others(scripted: Any) -> None:
    """Theirs are ended in every task that has them; a host that nothing runs on is an error."""
    scripted(ScriptedTransport(lambda host, command: Reply(hangs=bool(command) and host == "a")))
    begun = Counter[str]()
    opskit.observe(lambda event: begun.update([event.kind]))
    with parallelize(wait=False) as session:
        session.run(lambda: opskit.run("x", on_error="continue"))
        session.run(lambda: opskit.run("y", hosts="b"))
    until(lambda: begun["step_started"] == 3 and begun["step_ended"] == 2)
    with pytest.raises(InventoryError, match="nowhere"):
        session.cancel("nowhere")
    session.cancel("a")
    assert statuses(session.wait()) == "ok ok"
    assert session.results.commands is not None
    assert statuses(session.results.commands) == "cancelled ok ok"


def interrupts(monkeypatch: pytest.MonkeyPatch, times: int, when: threading.Event) -> None:
    """Interrupt whoever waits so often, as soon as it is time."""
    left = [KeyboardInterrupt()] * times

    usual = nesting.waiting

    def waiting(future: Future[Any]) -> Callable[[float], object]:
        wait = usual(future)

        def interrupted(seconds: float) -> None:
            wait(seconds)
            if left and when.is_set() and threading.current_thread() is threading.main_thread():
                raise left.pop()

        return interrupted

    monkeypatch.setattr(nesting, "waiting", waiting)


def test_an_interrupt_cancels_and_undoes(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """The task's own code is waited for, it is undone, and KeyboardInterrupt tells of it, with the rows."""
    running = threading.Event()

    def task() -> None:
        running.set()
        for _ in range(1000):
            opskit.run("true", hosts="a")

    interrupts(monkeypatch, 1, running)
    with pytest.raises(KeyboardInterrupt) as caught, parallelize(1) as session:
        session.run(task, undo=log.does("undone"))
        session.run(log.does("t2"))
    assert log == ["undone"]
    assert statuses(caught.value.results) == "cancelled not_started"  # type: ignore[attr-defined]
    assert caught.value.__notes__ == ["rolled back: 1 of 1 undone"]
    assert session.done


def test_a_second_interrupt_waits_no_more(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """What still runs is unknown then; the tasks and their rollback go on, and `wait` tells how they ended."""
    running, go = threading.Event(), threading.Event()

    def task() -> None:
        running.set()
        assert go.wait(5)

    interrupts(monkeypatch, 2, running)
    with pytest.raises(KeyboardInterrupt) as caught, parallelize(1) as session:
        session.run(task, undo=log.does("undone"))
        session.run(log.does("t2"))
    assert statuses(caught.value.results) == "unknown not_started"  # type: ignore[attr-defined]
    assert not session.done
    assert log == []
    go.set()
    with pytest.raises(Cancelled) as ended:
        session.wait()
    assert log == ["undone"]
    assert ended.value.__notes__ == ["rolled back: 1 of 1 undone"]
    assert statuses(ended.value.results) == "ok not_started"


def test_an_interrupt_while_tasks_are_undone_keeps_their_error(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """It is raised from the first failure; interrupted twice, it says that the rollback goes on."""
    for times, told in ((1, "rolled back: 1 of 1 undone"), (2, "go on")):
        undoing, go, error = threading.Event(), threading.Event(), ValueError("no")

        def undo(undoing: threading.Event = undoing, go: threading.Event = go) -> None:
            undoing.set()
            assert go.wait(5)

        with monkeypatch.context() as patch:
            interrupts(patch, times, undoing)
            if times == 1:  # it is waited for, then
                patch.setattr(Parallelize, "cancel", lambda _, go=go: go.set())
            with pytest.raises(KeyboardInterrupt) as caught, parallelize() as session:
                session.run(log.does("t1", error), undo=undo)
        assert caught.value.__cause__ is error
        assert statuses(caught.value.results) == "failed"  # type: ignore[attr-defined]
        (note,) = caught.value.__notes__
        assert told in note
        go.set()
        with pytest.raises(ValueError, match="no"):
            session.wait()


def test_a_session_can_be_rolled_back_later(log: Log) -> None:
    """Ended well, it is undone once by `rollback`, with a row an undo; the second time says by whom it was."""
    with parallelize(1) as session:
        session.run(int, undo=log.does("u1"))
        session.run(int, undo=log.does("u2"))
    assert statuses(session.rollback()) == "ok ok"
    assert log == ["u2", "u1"]
    with pytest.raises(RollbackError, match="was rolled back by"):
        session.rollback()
    assert log == ["u2", "u1"]


def test_rollback_of_a_live_session_cancels_it_first(log: Log) -> None:
    """Its rows are those of the undos; who waits is told Cancelled. What can't be undone is an error with the rows."""
    go = threading.Event()

    def task() -> None:
        log.append("begun")
        assert go.wait(5)

    with parallelize(wait=False) as session:
        session.run(task, undo=log.does("undone", OSError("no")))
    until(lambda: log)
    threading.Timer(0.02, go.set).start()
    with pytest.raises(RollbackError, match="OSError: no") as caught:
        session.rollback()
    assert statuses(caught.value.results or ()) == "failed"
    assert log == ["begun", "undone"]
    with pytest.raises(Cancelled):
        session.wait()


def test_leaving_a_transaction_waits_for_its_sessions(log: Log) -> None:
    """One begun with `wait=False` is waited for, and its failure undoes the transaction."""
    with pytest.raises(ValueError, match="late"), opskit.transaction():
        opskit.on_rollback(log.does("M"))
        with parallelize(wait=False) as session:
            session.run(log.does("t1", ValueError("late")), undo=log.does("u1"))
    assert log == ["t1", "u1", "M"]


# --------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("kind", [Part, TaskEnded])
def test_a_journal_that_can_not_be_written_stops_the_session(
    monkeypatch: pytest.MonkeyPatch, log: Log, kind: type
) -> None:
    """Where a chunk, or what became of it, can't be written down, no other begins; the error comes with the rows."""
    store = shared.store()
    written = store.write

    def write(facts: Any) -> frozenset[str]:
        if any(isinstance(fact, kind) and log == ["t1"] for fact in facts):
            raise JournalError("the disk is full")
        return written(facts)

    monkeypatch.setattr(store, "write", write)
    with pytest.raises(JournalError, match="the disk is full") as caught, parallelize(1) as session:
        session.run(log.does("t1"), undo=log.does("u1"))
        session.run(log.does("t2"), undo=log.does("u2"))
    assert log == ["t1", "u1"]
    assert caught.value.__notes__ == ["rolled back: 1 of 1 undone"]
    assert statuses(caught.value.results) == "ok not_started"  # type: ignore[attr-defined]
    assert session.done


def test_an_end_that_can_not_be_written_is_told(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """What ended well stays as it is; the JournalError says so, with the rows."""

    def end(root: RootTransaction, how: object) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr(RootTransaction, "end", end)
    with pytest.raises(JournalError) as caught, parallelize() as session:
        session.run(log.does("t1"), undo=log.does("u1"))
    assert log == ["t1"]
    assert statuses(caught.value.results) == statuses(session.results) == "ok"  # type: ignore[attr-defined]


def test_a_journal_that_can_not_be_opened_runs_nothing(tmp_path: Path, log: Log) -> None:
    """The JournalError says where, and no task has begun."""
    (tmp_path / "file").touch()
    bad = str(tmp_path / "file" / "journal.db")
    with opskit.configure(journal=bad), pytest.raises(JournalError), parallelize() as session:
        session.run(log.does("t1"))
    assert log == []


def test_a_task_without_a_thread_fails(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """Where the system has no more threads the task's row says so, and the others are undone."""
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if thread.name == "opskit-task-t2":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    with pytest.raises(RuntimeError, match="new thread"), parallelize() as session:
        session.run(log.does("t1"), undo=log.does("u1"))
        session.run(log.does("t2"))
    assert log == ["t1", "u1"]
    assert statuses(session.results) == "ok failed"


def test_an_exception_that_says_nothing_undoes_as_well(log: Log) -> None:
    """One whose text can't be had is told by its type."""

    class Mute(Exception):  # noqa: N818 - what it is
        def __str__(self) -> str:
            raise KeyError

    with pytest.raises(Mute), parallelize() as session:
        session.run(log.does("t1", Mute()), undo=log.does("u1"))
    assert log == ["t1", "u1"]
    assert session.results[0].error == "Mute: it can't say what"


def test_an_exception_that_can_not_be_changed_is_raised_all_the_same() -> None:
    """One that takes no attributes comes without `.results` and notes."""

    class Frozen(Exception):  # noqa: N818 - what it is
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    with pytest.raises(Frozen), parallelize() as session:
        session.run(Log().does("t1", Frozen()))
    assert statuses(session.results) == "failed"


@pytest.mark.parametrize("asked", ["wait", "rollback"])
def test_a_task_does_not_wait_for_itself(asked: str) -> None:
    """What would never end is refused."""
    session = parallelize(wait=False)
    with session:
        session.run(getattr(session, asked))
    with pytest.raises(PlanError, match="would wait for itself"):
        session.wait(20)


def test_a_task_does_not_roll_back_the_transaction_around(monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """It would wait for itself: refused, with the word for it; nothing is cancelled by that."""
    monkeypatch.setattr(Parallelize, "join", lambda _: pytest.fail("it waits for itself"))

    def task(tx: Any) -> None:
        with pytest.raises(RollbackError, match=r"opskit\.rollback\(\) ends it"):
            tx.rollback()
        log.append(opskit.run("true", hosts="a")[0].status)

    with opskit.transaction() as tx, parallelize() as session:
        session.run(task, tx)
    assert log == ["ok"]


def test_a_task_may_roll_back_a_transaction_of_its_own(log: Log) -> None:
    """It waits for nothing but what the task has begun in it."""

    def task() -> None:
        with opskit.transaction() as tx:
            opskit.on_rollback(log.does("undone"))
        tx.rollback()

    with parallelize() as session:
        session.run(task)
    assert log == ["undone"]


def test_a_session_that_was_rolled_back_is_no_fault_of_the_transaction(log: Log) -> None:
    """Who has rolled it back knows of it: leaving the block raises nothing, and keeps the rest."""
    begun, go = threading.Event(), threading.Event()

    def task() -> None:
        begun.set()
        assert go.wait(5)

    with opskit.transaction():
        opskit.on_rollback(log.does("M"))
        with parallelize(wait=False) as session:
            session.run(task, undo=log.does("u1"))
        assert begun.wait(5)
        threading.Timer(0.02, go.set).start()
        session.rollback()
    assert log == ["u1"]


def test_a_session_is_left_when_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it goes on it is its owner's alone."""
    go = threading.Event()
    with parallelize(wait=False) as session:
        session.run(go.wait, 5)
    root = begun_here(str(session.results[0].transaction))
    assert root is not None
    assert not root.left
    go.set()
    session.wait()
    assert root.left


def test_an_async_task_may_begin_what_it_does_not_wait_for() -> None:
    """`wait=False` holds nothing up: the task that began it ends when that has ended."""

    async def begins() -> None:
        opskit.run("echo begun", wait=False)

    with parallelize() as session:
        session.run(begins)
    assert session.results.commands
    assert {row.status for row in session.results.commands} == {"ok"}
