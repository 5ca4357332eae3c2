"""Runs that go on: waited for, cancelled, read meanwhile, confirmed; on a transport that answers by script."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit import Host, Inventory, bridge, handle, shared
from opskit.bridge.garbage import Collector
from opskit.bridge.questions import Questions
from opskit.errors import (
    Cancelled,
    CommandError,
    InventoryError,
    OpskitError,
    PlanError,
    PromptRefused,
    TimeoutExceeded,
)
from opskit.settings import configure
from opskit.testing import Reply, ScriptedTransport
from opskit.transport.ssh import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opskit.events import Event
    from opskit.handle import Handle
    from opskit.work.plan import Step

FLEET = Inventory([Host("a"), Host("b"), Host("c", roles={"db"}), Host("d")])
HANGS = Reply(stdout=b"begun\n", hangs=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at what is painted here."""
    monkeypatch.setattr(bridge, "TICK_SECONDS", 0.01)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedTransport], ScriptedTransport]:
    """Reach hosts by this transport."""

    def chosen(transport: ScriptedTransport) -> ScriptedTransport:
        monkeypatch.setattr(shared, "transport", lambda *_: transport)
        return transport

    return chosen


def hanging(*names: str) -> ScriptedTransport:
    """Commands hang on these hosts."""
    return ScriptedTransport(lambda host, command: HANGS if command and host in names else Reply(stdout=b"done\n"))


def started(ended: int, running: int, command: str = "x", **options: Any) -> Handle:
    """A run of which so many steps have ended, and so many hang."""
    there = threading.Event()
    counts = {"step_started": 0, "step_ended": 0}

    def count(event: Event) -> None:
        if event.kind in counts:
            counts[event.kind] += 1
        if counts["step_ended"] >= ended and counts["step_started"] >= ended + running:
            there.set()

    stop = opskit.observe(count)
    found: Handle = opskit.run(command, hosts=FLEET, wait=False, **options)
    assert there.wait(5)
    stop()
    return found


def statuses(results: Iterable[Any]) -> str:
    """The rows' status, in order."""
    return " ".join(row.status for row in results)


def test_a_run_that_is_not_waited_for_goes_on(use: Any) -> None:
    """`wait=False` returns at once; a snapshot has what is known now, and `wait` gives the results."""
    use(hanging("b"))
    found = started(3, 1)
    shot = found.results
    assert statuses(shot) == "ok running ok ok"
    assert (shot[1].stdout, shot[1].exit_code, shot[1].error) == ("begun\n", None, None)
    assert shot[1].seconds is not None
    assert shot[1].started_at is not None
    assert (found.done, repr(found)) == (False, "<run: 1 running; .wait(), .cancel(), .results>")
    assert "running" in repr(shot)
    assert shot.df.status.tolist() == ["ok", "running", "ok", "ok"]
    found.cancel()
    with pytest.raises(Cancelled) as caught:
        found.wait()
    assert statuses(caught.value.results) == statuses(found.results) == "ok cancelled ok ok"
    assert statuses(shot) == "ok running ok ok"
    assert (found.done, repr(found)) == (True, "<run: ended; .wait(), .cancel(), .results>")


def test_waiting_again_says_the_same(use: Any) -> None:
    """A handle may be waited for as often as one likes."""
    use(ScriptedTransport(lambda host, command: Reply(1 if host == "b" and command else 0)))
    found = opskit.run("x", hosts=FLEET, wait=False)
    for _ in range(2):
        with pytest.raises(CommandError) as caught:
            found.wait()
        assert statuses(caught.value.results) == "ok failed ok ok"


def test_some_hosts_can_be_cancelled(use: Any) -> None:
    """Theirs are ended, the others go on; that is no error. Patterns and rows name hosts, as everywhere."""
    transport = use(hanging("b", "d"))
    found = started(2, 2)
    found.cancel("b")
    found.cancel(found.results.where("running"))
    assert statuses(found.wait()) == "ok cancelled ok cancelled"
    assert sorted(name for name, _ in transport.ended) == ["b", "d"]


def test_a_cancelled_host_gets_no_later_chunk(use: Any) -> None:
    """A host of a chunk that has not begun is left out of it; the rest of it runs."""
    transport = use(hanging("a"))
    found = started(1, 1, chunk=2)
    found.cancel(["d", "a"])
    assert statuses(found.wait()) == "cancelled ok ok not_started"
    assert "d" not in transport.dialled


@pytest.mark.parametrize("hosts", ["nope", ["a", "nope"], [], 5])
def test_cancelling_a_host_that_is_not_there_is_refused(hosts: Any, use: Any) -> None:
    """As in a selection; nothing is cancelled then."""
    use(hanging("b"))
    found = started(3, 1)
    with pytest.raises(InventoryError):
        found.cancel(hosts)
    assert statuses(found.results) == "ok running ok ok"
    found.cancel()
    with pytest.raises(Cancelled):
        found.wait()


def test_a_cancel_after_the_end_changes_nothing(use: Any) -> None:
    """Who presses the button too late does not turn a good run into a cancelled one."""
    use(ScriptedTransport())
    found = opskit.run("x", hosts=FLEET, wait=False)
    found.wait()
    found.cancel()
    found.cancel("a")
    assert statuses(found.wait()) == "ok ok ok ok"


def test_waiting_can_end_before_the_run(use: Any) -> None:
    """After `timeout` seconds: an error with the rows as of now; the run goes on."""
    use(hanging("b"))
    found = started(3, 1)
    for timeout in (0, 0.02, "0.01"):
        with pytest.raises(
            TimeoutExceeded, match=r"the run still goes on after .* s; \.cancel\(\) would end it"
        ) as caught:
            found.wait(timeout)  # type: ignore[arg-type]  # text is taken as everywhere
        assert statuses(caught.value.results) == "ok running ok ok"
    found.cancel("b")
    assert statuses(found.wait(5)) == "ok cancelled ok ok"


@pytest.mark.parametrize("timeout", ["soon", float("nan"), True, [1], -1])
def test_a_bad_time_to_wait_is_refused(timeout: Any, use: Any) -> None:
    """B25: with the value and what is allowed."""
    use(ScriptedTransport())
    found = opskit.run("x", hosts=FLEET, wait=False)
    with pytest.raises(
        PlanError, match=r"wait: timeout=.* must be (a .*number|0 seconds or more).*; use None for no limit"
    ):
        found.wait(timeout)
    found.wait()


def test_an_interrupt_cancels_and_carries_the_rows(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """R8: remote work was ended, the rows are there."""
    transport = use(hanging("b"))
    found = started(3, 1)
    monkeypatch.setattr(found, "_tick", lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt) as caught:
        found.wait()
    assert statuses(caught.value.results) == "ok cancelled ok ok"  # type: ignore[attr-defined]
    assert transport.ended == [("b", "x")]


def test_a_handle_that_nobody_keeps_runs_to_its_end(use: Any) -> None:
    """The engine keeps the run: the garbage collector does not end it."""

    class Loose(ScriptedTransport):
        async def prepare(self, steps: Iterable[Step]) -> None:
            self.loop, waiting = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            self.waiting = weakref.ref(waiting)
            await waiting.wait()

    ready, ended = threading.Event(), threading.Event()
    transport = use(Loose())
    opskit.observe(lambda event: ended.set() if event.kind == "run_ended" else None)
    opskit.run("x", hosts=FLEET, wait=False)
    assert ready.wait(5)
    gc.collect()
    assert not ended.is_set()
    waiting = transport.waiting()
    assert waiting is not None
    transport.loop.call_soon_threadsafe(waiting.set)
    assert ended.wait(5)
    assert len(transport.sent) == 4


def test_several_threads_run_and_read_at_once(use: Any) -> None:
    """Each gets its own results, and reading a run while it ends gives whole rows."""
    use(ScriptedTransport(lambda host, command: Reply(stdout=command.encode())))
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                found = opskit.run(f"x{number}-{turn}", hosts=FLEET, wait=False)
                while not found.done:
                    assert len(found.results) == 4
                assert {row.stdout for row in found.wait()} == {f"x{number}-{turn}"}
        except BaseException as error:  # noqa: BLE001 - that there is none is the point
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_callback_may_run_something_itself(use: Any) -> None:
    """`on_output` and `check` are called outside of the engine, so a run inside of them works."""
    use(ScriptedTransport(lambda host, command: Reply(stdout=f"{command}\n".encode()) if command else Reply()))
    inner: list[str] = []

    def run_more(host: str, stream: str, line: str) -> None:
        inner.append(opskit.run("inner", hosts=FLEET.select(limit=1))[0].stdout)

    def passes(results: Any) -> bool:
        return statuses(opskit.run("check", hosts=FLEET.select(hosts=results))) == "ok ok ok ok"

    assert len(opskit.run("outer", hosts=FLEET, on_output=run_more, check=passes).ok) == 4
    assert inner == ["inner\n"] * 4


def test_a_call_on_the_engines_own_thread_is_refused(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for itself for ever; nobody is asked anything first, and no thread is left behind."""
    use(ScriptedTransport())
    monkeypatch.setattr(handle, "confirmed", lambda *_, **__: pytest.fail("it was asked"))

    async def inside() -> None:
        opskit.run("x", hosts=FLEET, confirm=True, on_output=lambda *_: None)

    threads = threading.active_count()
    with pytest.raises(PlanError, match="opskit can't be called from its own engine's thread"):
        bridge.engine().submit(inside()).result(5)
    assert threading.active_count() <= threads


def test_what_kept_a_run_from_starting_is_raised_by_wait(use: Any) -> None:
    """The rows may be read all the same: nothing was started."""

    class Unprepared(ScriptedTransport):
        async def prepare(self, steps: Iterable[Step]) -> None:
            raise OpskitError("no key")

    use(Unprepared())
    found = opskit.run("x", hosts=FLEET, wait=False)
    for _ in range(2):
        with pytest.raises(OpskitError, match="no key"):
            found.wait()
    assert statuses(found.results) == "not_started " * 3 + "not_started"


def test_rows_that_were_not_started_can_be_run_again(use: Any) -> None:
    """What a bad chunk kept from starting is tried when the cause is gone."""
    bad = {"a"}
    use(ScriptedTransport(lambda host, command: Reply(int(host in bad and bool(command)))))
    with pytest.raises(CommandError) as caught:
        opskit.run("x", hosts=FLEET, chunk=1)
    assert statuses(caught.value.results) == "failed not_started not_started not_started"
    bad.clear()
    assert statuses(caught.value.results.retry_failed()) == "ok ok ok ok"


# Confirmations


def answering(monkeypatch: pytest.MonkeyPatch, answer: bool) -> list[str]:
    """Answer every confirmation so; with what was asked."""
    asked: list[str] = []

    def confirmed(question: str, remedy: str) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr(handle, "confirmed", confirmed)
    return asked


def test_a_yes_lets_it_run(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question shows the plan."""
    transport = use(ScriptedTransport())
    asked = answering(monkeypatch, answer=True)
    opskit.run("uptime", hosts=FLEET, confirm=True)
    assert len(transport.sent) == 4
    assert asked[0].endswith("\nRun this?")
    assert "uptime" in asked[0]


def test_a_no_sends_nothing(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled, with a row for every step and every host that was to be skipped."""
    transport = use(ScriptedTransport())
    answering(monkeypatch, answer=False)
    block = opskit.parallel(hosts=FLEET, confirm=True)
    with pytest.raises(Cancelled, match="not confirmed: nothing was sent") as caught, block:
        block.when("in_('db')", "x")
    assert statuses(caught.value.results) == "skipped skipped not_started skipped"
    assert transport.dialled == []
    with pytest.raises(PlanError, match="nothing was begun"):
        block.results.df  # noqa: B018 - it raises


def test_where_nobody_can_answer_nothing_is_sent(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to set instead."""
    transport = use(ScriptedTransport())
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(PromptRefused, match=r"Run this\? .*; set OPSKIT_YES=1, or opskit"):
        opskit.run("x", hosts=FLEET, confirm=True)
    assert transport.dialled == []


def test_protected_roles_are_asked_about(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a step is on such a host, and nowhere else; the question names the roles."""
    use(ScriptedTransport())
    asked = answering(monkeypatch, answer=True)
    with configure(protected_roles="db, prod"):
        opskit.run("x", hosts=FLEET.select(hosts=["a", "b"]))
        opskit.run("x", hosts=FLEET, dry_run=True)
        assert asked == []
        opskit.run("x", hosts=FLEET)
        opskit.plan("x", hosts=FLEET).apply()
    assert [question.rpartition("\n")[2] for question in asked] == ["Run this (protected: db)?"] * 2


def test_yes_answers_every_confirmation(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting `yes`; also of protected roles."""
    transport = use(ScriptedTransport())
    monkeypatch.setenv("OPSKIT_YES", "1")
    monkeypatch.setattr(handle, "confirmed", lambda *_, **__: pytest.fail("it was asked"))
    with configure(protected_roles=["db"]):
        opskit.run("x", hosts=FLEET, confirm=True)
    assert len(transport.sent) == 4


def test_nothing_is_asked_about_nothing(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan without steps runs without a question."""
    use(ScriptedTransport())
    monkeypatch.setattr(handle, "confirmed", lambda *_, **__: pytest.fail("it was asked"))
    with opskit.parallel(hosts=FLEET, confirm=True) as block:
        block.when("False", "x")
    assert statuses(block.results) == "skipped skipped skipped skipped"


# Questions while a run goes on


class Locked(ScriptedTransport):
    """Asks for a passphrase before it is ready."""

    def __init__(self, questions: Callable[[str, str], Any]) -> None:
        super().__init__()
        self.questions = questions
        self.answers: list[str] = []

    async def prepare(self, steps: Iterable[Step]) -> None:
        """Ask."""
        self.answers.append(await self.questions("Passphrase: ", "set X"))


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> list[Locked]:
    """Every run asks for a passphrase; with the transports that were made."""
    made: list[Locked] = []

    def connects(engine: Any, settings: Any, ask: Any) -> Locked:
        made.append(Locked(ask))
        return made[-1]

    monkeypatch.setattr(shared, "transport", connects)
    return made


def test_a_question_is_asked_in_the_thread_that_waits(locked: list[Locked], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unseen; the run goes on with the answer."""
    threads: list[str] = []

    def ask(question: str, *, hidden: bool, remedy: str) -> str:
        threads.append(threading.current_thread().name)
        return f"{question}{hidden} {remedy}"

    monkeypatch.setattr("opskit.bridge.questions.ask", ask)
    opskit.run("x", hosts=FLEET)
    assert asyncio.run(waited("x")) == "ok ok ok ok"
    assert [made.answers for made in locked] == [["Passphrase: True set X"]] * 2
    assert threads == ["MainThread"] * 2


async def waited(command: str) -> str:
    """The same, awaited."""
    return statuses(await opskit.arun(command, hosts=FLEET))


def test_a_question_that_comes_before_the_wait_is_kept_for_it() -> None:
    """The engine may be faster than the caller, who waits a moment later; where nobody will, it is refused."""
    soon = Questions(expected=True)
    asked = bridge.engine().submit(soon.ask("Passphrase: ", "set X"))
    bridge.engine().submit(asyncio.sleep(0)).result(5)
    assert not asked.done()
    with soon.heard():
        pass
    with pytest.raises(PromptRefused):
        asked.result(5)
    with pytest.raises(PromptRefused):
        bridge.engine().submit(Questions().ask("Passphrase: ", "set X")).result(5)


def test_where_nobody_waits_a_question_is_refused(locked: list[Locked]) -> None:
    """The run ends with what to set; it does not hang."""
    found = opskit.run("x", hosts=FLEET, wait=False)
    with pytest.raises(PromptRefused) as caught:
        found._future.result(5)
    assert str(caught.value) == "nobody waits for this run who could answer: Passphrase; set X"
    with pytest.raises(PromptRefused):
        found.wait()


def test_an_interrupted_question_cancels_the_run(locked: list[Locked], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the question ends the run; nothing was sent."""

    def interrupt(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("opskit.bridge.questions.ask", interrupt)
    with pytest.raises((KeyboardInterrupt, PromptRefused)):
        opskit.run("x", hosts=FLEET)
    assert locked[0].sent == []


def test_a_question_nobody_waits_for_any_more_is_refused() -> None:
    """Who stops to wait before it was asked leaves no run behind that waits for ever."""
    questions = Questions()
    with questions.heard():
        asked = bridge.engine().submit(questions.ask("Passphrase: ", "set X"))
        while questions._asked.empty():
            pass
    with pytest.raises(PromptRefused, match="nobody waits for this run"):
        asked.result(5)


def test_runs_that_begin_at_the_same_time_share_connections_and_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two runs of a process, from two threads: one pool is made, not one each."""
    made: list[Pool] = []

    def pool() -> Pool:
        made.append(Pool())
        if len(made) == 1:
            other.start()
            other.join(0.1)
        return made[-1]

    def begin() -> None:
        shared.transport(bridge.engine(), opskit.settings, Questions().ask)

    other = threading.Thread(target=begin)
    monkeypatch.setattr(shared, "_kept", {})
    monkeypatch.setattr("opskit.transport.ssh.Pool", pool)
    begin()
    other.join(5)
    assert len(made) == 1


def test_a_question_is_heard_as_long_as_somebody_waits() -> None:
    """Of two who wait, one may leave; each question is asked by one of them."""
    questions = Questions()
    with questions.heard():
        with questions.heard():
            pass
        asked = bridge.engine().submit(questions.ask("Passphrase: ", "set X"))
        while questions._asked.empty():
            pass
        assert not asked.done()
        asked.cancel()


def test_arun_can_return_a_handle_too(use: Any) -> None:
    """`wait=False` means the same, awaited."""
    use(ScriptedTransport())

    async def begun() -> Handle:
        return await opskit.arun("x", hosts=FLEET, wait=False)

    assert statuses(asyncio.run(begun()).wait()) == "ok ok ok ok"


def test_a_block_can_be_waited_for_later(use: Any) -> None:
    """`parallel(wait=False)`: the session steers and reads the run."""
    use(hanging("b"))
    with opskit.parallel(hosts=FLEET, wait=False) as block:
        block.when("True", "x")
        with pytest.raises(PlanError, match="nothing was begun"):
            block.cancel()
    with pytest.raises(TimeoutExceeded):
        block.wait(0)
    block.cancel("b")
    assert statuses(block.wait()) == statuses(block.results)
    assert block.results[1].status in ("cancelled", "not_started")


# Checks


@pytest.mark.parametrize(
    ("answer", "why"), [(False, "verdict gave False"), (None, "verdict gave None"), (0, "verdict gave 0")]
)
def test_a_function_that_does_not_pass_stops_the_run(answer: Any, why: str, use: Any) -> None:
    """It is given the chunk's results; the error says which chunk, which function, and what it gave."""
    use(ScriptedTransport())
    seen: list[str] = []

    def verdict(results: Any) -> Any:
        seen.append(statuses(results))
        return answer

    verdict.__qualname__ = "verdict"
    with pytest.raises(CommandError) as caught:
        opskit.run("x", hosts=FLEET, chunk=2, check=verdict)
    assert str(caught.value) == f"the check after chunk 1 of 2: {why}"
    assert statuses(caught.value.results) == "ok ok not_started not_started"
    assert seen == ["ok ok"]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_a_function_that_raises_does_not_pass(error: BaseException, use: Any) -> None:
    """Also one that tries to leave; the engine lives on."""
    use(ScriptedTransport())

    def verdict(results: Any) -> Any:
        raise error

    with pytest.raises(CommandError, match=f"verdict raised {type(error).__name__}"):
        opskit.run("x", hosts=FLEET, chunk=2, check=verdict)
    assert statuses(opskit.run("x", hosts=FLEET, check=lambda _: True)) == "ok ok ok ok"


def test_a_check_that_does_not_return_can_be_cancelled(use: Any) -> None:
    """R8: the run ends; the function's thread is its own affair."""
    use(ScriptedTransport())
    inside, go_on = threading.Event(), threading.Event()

    def slow(results: Any) -> bool:
        inside.set()
        return go_on.wait(10)

    found = opskit.run("x", hosts=FLEET, chunk=2, check=slow, wait=False)
    assert inside.wait(5)
    found.cancel()
    with pytest.raises(Cancelled) as caught:
        found.wait(5)
    go_on.set()
    assert statuses(caught.value.results) == "ok ok not_started not_started"


def test_a_check_passes_secrets_before_it_runs(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt for the command of a check comes up in the calling thread, before anything is sent."""
    transport = use(ScriptedTransport())
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(PromptRefused, match="Token"):
        opskit.run("x", hosts=FLEET, check="curl -H {{ token }}", variables={"token": opskit.secret(prompt="Token")})
    assert transport.dialled == []


def test_a_run_whose_engine_died_is_told_and_does_not_hang(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """F31, F44: also in a fork, which has no engine: waiting ends with an error, and the rows can still be read."""
    use(hanging("b"))
    found = started(3, 1)
    with monkeypatch.context() as forked:
        forked.setattr(found._engine, "_process", -1)
        assert statuses(found.results) == "ok running ok ok"
        with pytest.raises(CommandError, match="nothing runs this any more") as caught:
            found.wait()
    assert statuses(caught.value.results) == "ok running ok ok"
    found.cancel()
    with pytest.raises(Cancelled):
        found.wait()


def test_the_garbage_collector_is_given_back(use: Any) -> None:
    """It is held back while a run makes its objects, is as it was before when the last run has ended, frozen or not."""
    use(hanging("b"))
    before = gc.get_threshold(), gc.get_freeze_count()
    found = started(3, 1)
    assert gc.get_threshold() == Collector.THRESHOLDS
    opskit.run("x", hosts=FLEET - Inventory([Host("b")]))
    assert gc.get_threshold() == Collector.THRESHOLDS
    found.cancel()
    with pytest.raises(Cancelled):
        found.wait()
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_a_check_that_does_not_pass_is_told_where_the_run_goes_on(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With `on_error="continue"` it stops nothing, and is a warning."""
    use(ScriptedTransport())
    found = opskit.run("x", hosts=FLEET, chunk=3, check=lambda _: False, on_error="continue")
    assert statuses(found) == "ok ok ok ok"
    assert [record.getMessage().partition(": ")[2][:28] for record in caplog.records] == [
        "the check after chunk 1 of 2",
        "the check after chunk 2 of 2",
    ]


@pytest.mark.parametrize("asked", ["wait", "rollback"])
def test_a_callback_does_not_wait_for_what_it_is_told_of(asked: str, use: Any) -> None:
    """It would wait for itself; refused, the run goes on as it was."""
    transport = use(ScriptedTransport(lambda host, command: HANGS if command == "x" else Reply()))
    there, told = threading.Event(), threading.Event()
    refused: list[PlanError] = []

    def callback(*_: object) -> None:
        assert there.wait(5)
        with pytest.raises(PlanError, match="would wait for itself") as raised:
            getattr(found, asked)()
        refused.append(raised.value)
        told.set()

    found = opskit.run("x", hosts=FLEET.select(hosts="a"), wait=False, undo="undo", on_output=callback)
    there.set()
    assert told.wait(5)
    assert (len(refused), found.done, transport.ended) == (1, False, [])
    assert statuses(found.rollback()) == "ok"
    assert transport.sent == [("a", "x"), ("a", "undo")]


def test_what_is_left_alone_is_told_of_at_the_end(use: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Runs, and sessions of tasks alike, that nobody waited for and that go on when Python ends."""
    use(hanging("b"))
    handle.left_alone.clear()
    found, go = started(3, 1), threading.Event()
    with opskit.parallelize(wait=False) as session:
        session.run(go.wait, 5)
    with opskit.parallelize() as waited:
        waited.run(int)
    handle._tell_of_the_end()
    assert "2 runs begun with wait=False had not ended" in caplog.text
    caplog.clear()
    found.cancel()
    go.set()
    session.wait()
    found.join()
    handle._tell_of_the_end()
    assert not caplog.text
