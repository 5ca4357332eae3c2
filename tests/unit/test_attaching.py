"""`opskit.attach`: what is told of a transaction of another process, how it ends, and how it is left or undone."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opskit
from opskit import attaching, bridge, events, journal, shared, views
from opskit.attaching.picture import Look, Picture
from opskit.cli import main
from opskit.fleet import Host, Inventory
from opskit.fleet.names import Names
from opskit.progress import MOST_CELLS, ChunkProgress, Progress
from opskit.record.facts import Account, Entry, Intent, Now, Outcome, Owner, Part, TaskEnded, Transaction, Unsent
from opskit.record.ids import new_id
from opskit.record.store import Store
from opskit.results import HostResult, Results
from opskit.scopes import here
from opskit.settings import Settings
from opskit.showing import Tail
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opskit.record.facts import Kind
    from opskit.record.moves import State
    from opskit.results import Status
    from opskit.showing import Shown

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long here, and looks are not rationed."""
    monkeypatch.setattr(bridge, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(attaching, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(attaching, "SHARE", 0)


def looked(shown: Shown) -> None:
    """Look anew: one look may be under way already, since before what is to be seen."""
    for _ in range(2):
        begun: Any = shown.look()
        begun.result(10)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    """What views were made for."""
    found: list[Shown] = []
    monkeypatch.setattr(views, "choose", found.append)
    return found


def entry(seq: int = 1, host: str = "web1", **changes: Any) -> Entry:
    """A step."""
    made = Entry("", seq, 0, host, None, 1, None, "run", "unrun", None, None, None, None, undo_once=False)
    return replace(made, **changes)


def intent(seq: int = 1, **changes: Any) -> Intent:
    """A step that is about to be sent."""
    return replace(Intent("", seq, undo=False, attempt=1, epoch=1, at=AT), **changes)


def outcome(seq: int = 1, status: Status = "ok", stdout: str = "said\n", **changes: Any) -> Outcome:
    """What became of a step."""
    made = Outcome("", seq, False, 1, status, 0, None, stdout, "", False, AT + timedelta(seconds=seq), 0.5, None)
    return replace(made, **changes)


class Other:
    """Another process's hold on the journal of this one, and the transaction that it is at."""

    def __init__(self, kind: Kind = "run", name: str | None = "deploy", at: datetime | None = None) -> None:
        self.store = Store(shared.store().path)
        self.id = new_id()
        self.store.write([Transaction(self.id, name, kind, None, at or datetime.now(UTC))])

    def tell(self, *facts: Entry | Intent | Outcome | Part | TaskEnded | Unsent) -> None:
        """Write down what becomes of it."""
        self.store.write([replace(fact, transaction=self.id) for fact in facts])

    def end(self, state: State = "succeeded") -> None:
        """End it."""
        self.store.move(self.id, state)

    def die(self) -> None:
        """Leave it as it is."""
        self.store.close()


@pytest.fixture
def other() -> Iterator[Callable[..., Other]]:
    """Makes other processes."""
    made: list[Other] = []

    def make(*given: Any, **more: Any) -> Other:
        made.append(Other(*given, **more))
        return made[-1]

    yield make
    for one in made:
        one.die()


# How far it is: the same as who runs it knows


@dataclass(frozen=True)
class Story:
    """What became of one step: whether it was sent, and how it ended."""

    is_sent: bool
    ended: Status | None


FATES: Sequence[Status] = ("ok", "failed", "timeout", "unknown", "cancelled", "not_started", "unreachable")
STORIES = st.one_of(
    st.just(Story(is_sent=False, ended=None)),
    st.just(Story(is_sent=True, ended=None)),
    st.sampled_from(FATES).map(lambda fate: Story(is_sent=True, ended=fate)),
    st.just(Story(is_sent=False, ended="unreachable")),
)


def now_of(state: State = "running", epoch: int = 1, *, alive: bool = True, kind: Kind = "run") -> Now:
    """Where a transaction stands."""
    by = Owner("o", "ann", "m1", 1, AT, alive=alive)
    return Now(Transaction("TX", "deploy", kind, None, AT), epoch, state, epoch, by, AT, None)


def account_of(seq: int, host: str, chunk: int, story: Story) -> Account:
    """What the journal has of a step."""
    of = entry(seq, host, chunk=chunk)
    intents = (intent(seq),) if story.is_sent else ()
    outcomes = (outcome(seq, story.ended),) if story.is_sent and story.ended else ()
    unsent = () if story.is_sent or story.ended is None else (Unsent("", seq, False, 1, story.ended, None, AT),)
    return Account(of, intents, outcomes, unsent=unsent)


def figures(progress: Progress) -> tuple[object, ...]:
    """What of it a view shows."""
    chunks = [(chunk.total, chunk.running, chunk.left, +chunk.ended) for chunk in progress.chunks]
    cells = [(cell.hosts, +cell.counts) for cell in progress.cells]
    return progress.name, progress.title, progress.undoable, chunks, cells, progress.status, progress.running


@given(st.data(), st.integers(1, 12), st.integers(1, 5), st.integers(1, 2), st.booleans())
def test_the_journal_tells_what_the_events_told(
    data: st.DataObject, hosts: int, chunk: int, branches: int, has_check: bool
) -> None:
    """Counts, cells, titles, what can be undone: at each look, and at the end. Counts add up, a host has one cell."""
    check = {"check": "true"} if has_check else {}
    draft = Draft({"chunk": chunk, "name": "deploy", "undo": "x", **check}, Settings(), "test")
    draft.compile_check(Names.of(None, {}, Settings()), "test")
    for number in range(branches):
        draft.when(str(number + 1), "true", Names.of(None, {}, Settings()), "test", last=False, options={})
    plan = draft.plan(lambda: Inventory([Host(f"h{number}") for number in range(hosts)]))
    stories = [Story(is_sent=False, ended=None)] * len(plan.steps)
    told = Progress()
    told.apply(events.RunStarted(plan))
    picture: Picture | None = None
    for place in data.draw(st.lists(st.integers(0, len(plan.steps) - 1), unique=True)):
        step, story = plan.steps[place], data.draw(STORIES)
        stories[place] = story
        if story.is_sent and story.ended not in ("unreachable", "not_started"):
            told.apply(events.StepStarted(step))
        if story.ended is not None:
            told.apply(events.StepEnded(step, HostResult(step.host.name, None, "x", story.ended)))
        accounts = [
            account_of(seq, step.host.name, step.chunk, stories[seq - 1]) for seq, step in enumerate(plan.steps, 1)
        ]
        for seq, step in enumerate(plan.checks, len(plan.steps) + 1):
            accounts.append(Account(entry(seq, step.host.name, chunk=step.chunk, branch=step.branch)))
        look = Look([now_of()], accounts)
        if picture is None:
            picture = Picture(look)
        picture.take(look)
        assert figures(picture.progress) == figures(told)
        assert sum(chunk.running + chunk.left + chunk.ended.total() for chunk in picture.progress.chunks) == len(
            plan.steps
        )
        assert Counter(name for cell in picture.progress.cells for name in cell.hosts) == Counter(
            {step.host.name for step in plan.steps}
        )
    if picture is not None and all(story.ended or not story.is_sent for story in stories):
        told.apply(events.RunEnded(Results(())))
        picture.take(Look([now_of("succeeded")], picture.look.accounts))
        assert figures(picture.progress) == figures(told)
        assert picture.progress.over


def test_a_look_that_shows_nothing_new_is_no_change() -> None:
    """A view has nothing to paint then; the cells stay the same objects."""
    accounts = [account_of(seq, f"h{seq}", 1, Story(is_sent=True, ended=None)) for seq in range(1, 4)]
    picture = Picture(Look([now_of()], accounts))
    before, cells = picture.progress.changes, list(picture.progress.cells)
    picture.take(Look([now_of()], list(accounts)))
    assert picture.progress.changes == before
    picture.take(Look([now_of()], [account_of(1, "h1", 1, Story(is_sent=True, ended="ok")), *accounts[1:]]))
    assert picture.progress.changes == before + 1
    assert all(one is other for one, other in zip(cells, picture.progress.cells, strict=True))


def test_many_hosts_share_cells() -> None:
    """As where they are run from."""
    accounts = [account_of(seq, f"h{seq}", 1, Story(is_sent=False, ended=None)) for seq in range(1, 2001)]
    assert len(Picture(Look([now_of()], accounts)).progress.cells) <= MOST_CELLS


def test_checks_are_no_steps() -> None:
    """They follow all steps in the journal, from the first host on again; who runs them counts none either."""
    steps = [account_of(seq, host, 1, Story(is_sent=True, ended="ok")) for seq, host in ((1, "h1"), (2, "h2"))]
    checks = [
        replace(one, entry=replace(one.entry, branch="check"))
        for one in (account_of(seq, host, 1, Story(is_sent=False, ended=None)) for seq, host in ((3, "h1"), (4, "h2")))
    ]
    assert [chunk.total for chunk in Picture(Look([now_of()], [*steps, *checks])).progress.chunks] == [2]


def test_undos_are_counted_by_themselves_and_of_the_last_rollback_alone() -> None:
    """Begun, and how they ended; also those that could not be sent, and none of an earlier try."""

    def undone(epoch: int, *outcomes: Outcome, unsent: tuple[Unsent, ...] = ()) -> Account:
        of = account_of(1, "h1", 1, Story(is_sent=True, ended="ok"))
        return replace(of, undo_intents=(intent(undo=True, epoch=epoch),), undo_outcomes=outcomes, unsent=unsent)

    good = outcome(1, undo=True)
    unsent = Unsent("", 1, True, 1, "unreachable", None, AT)
    accounts = [
        undone(2, good),
        undone(2),
        undone(1, replace(good, status="failed")),
        replace(account_of(1, "h1", 1, Story(is_sent=True, ended="ok")), unsent=(unsent,)),
    ]
    moves = [replace(now_of(), at=AT - timedelta(1)), now_of("rolling_back", 2)]
    picture = Picture(Look(moves, accounts))
    assert picture.progress.undone == ChunkProgress(3, 1, Counter({"ok": 1, "unreachable": 1}))
    assert not picture.progress.over


def test_what_has_ended_stays_so() -> None:
    """Also while somebody else rolls it back later: what its dead owner was at is not what that one is at."""
    accounts = [account_of(1, "h1", 1, Story(is_sent=True, ended=None))]
    picture = Picture(Look([now_of(alive=False)], accounts))
    assert picture.progress.over
    picture.take(Look([now_of(alive=False), now_of("rolling_back", 2)], accounts))
    assert picture.progress.over
    assert picture.progress.chunks[0].ended == {"unknown": 1}


def test_a_run_that_gave_up_is_over_though_its_transaction_goes_on() -> None:
    """What nobody sends any more is left; the journal tells no end of a part."""
    stories = (Story(is_sent=True, ended="failed"), Story(is_sent=False, ended=None))
    accounts = [
        replace(made, entry=replace(made.entry, part=1))
        for seq, story in enumerate(stories, 2)
        for made in [account_of(seq, f"h{seq}", seq - 1, story)]
    ]
    picture = Picture(Look([now_of(kind="transaction")], accounts, [Part("", 1, 0, "r", "run", None, AT)]))
    assert [work.status for work in picture.works(AT)] == ["failed"]


def test_parts_and_tasks_are_works_with_their_commands() -> None:
    """A run is what it runs; a nested block what it is made of; a task has its commands and its time."""
    parts = [
        Part("", 1, 0, None, "run", None, AT),
        Part("", 3, 0, "inner", "transaction", None, AT),
        Part("", 4, 3, "named", "parallel", None, AT),
        Part("", 6, 0, None, "run", None, AT),  # a command that is registered as an undo: nothing runs
    ]
    accounts = [
        Account(entry(2, part=1, command="uptime"), (intent(2),), (outcome(2),)),
        Account(entry(5, part=4), (intent(5),)),
        Account(entry(7, part=6, command=None)),
    ]
    picture = Picture(Look([now_of(kind="transaction")], accounts, parts))
    works = picture.works(AT)
    assert [(work.title, work.status, [run.title for run in work.runs]) for work in works] == [
        ("uptime", "ok", ["uptime"]),
        ("inner", "running", ["named"]),
    ]
    assert (picture.progress.title, picture.progress.chunks) == ("transaction deploy", [])
    tasks = [Part("", number, 0, f"t{number}", "task", 1 + (number == 3), AT) for number in (1, 2, 3)]
    ended = [TaskEnded("", 1, "ok", None, "", "", False, AT, 2.5), TaskEnded("", 2, "failed", "", "", "", False, AT, 1)]
    picture = Picture(Look([now_of(kind="parallelize")], (), tasks, ended))
    found = picture.works(AT + timedelta(seconds=9))
    assert [(work.title, work.status, work.seconds) for work in found] == [
        ("t1", "ok", 2.5), ("t2", "failed", 1), ("t3", "running", 9.0),
    ]  # fmt: skip
    assert [(chunk.running, +chunk.ended) for chunk in picture.progress.chunks] == [
        (0, Counter(ok=1, failed=1)), (1, Counter()),
    ]  # fmt: skip
    picture.take(Look([now_of(kind="parallelize", alive=False)], (), tasks, ended))
    assert [work.status for work in picture.works(AT)] == ["ok", "failed", "unknown"]


# What is attached to


def test_a_live_run_is_followed_to_its_end(other: Callable[..., Other], seen: list[Shown]) -> None:
    """Rows as of now with the outputs of what has ended; then all of them, as its owner has them."""
    run = other()
    run.tell(entry(1), entry(2, "web2"), intent(1), intent(2), outcome(1))
    attached = opskit.attach(run.id[:-2].lower())
    assert (attached.transaction, attached.done, attached.state) == (run.id, False, "running")
    assert [(row.host, row.status, row.stdout) for row in attached.results] == [
        ("web1", "ok", "said\n"), ("web2", "running", ""),
    ]  # fmt: skip
    with pytest.raises(opskit.TimeoutExceeded, match=r"still goes on after 0\.01 s, and nothing was done") as caught:
        attached.wait(0.01)
    assert len(caught.value.results) == 2
    waiting = threading.Thread(target=lambda: found.append(attached.wait(10)))
    found: list[Results] = []
    waiting.start()
    run.tell(outcome(2, "failed", "late\n"))
    run.end("failed")
    waiting.join()
    assert [(row.host, row.status, row.stdout) for row in found[0]] == [
        ("web1", "ok", "said\n"), ("web2", "failed", "late\n"),
    ]  # fmt: skip
    assert (attached.done, attached.state) == (True, "failed")
    assert str(attached) == str(journal.show(run.id))


def test_what_has_ended_has_no_view(other: Callable[..., Other], seen: list[Shown]) -> None:
    """It is displayed as it was, and waited for in no time."""
    run = other()
    run.tell(entry(), intent(), outcome())
    run.end()
    attached = opskit.attach(run.id)
    assert attached.wait() == journal.results(run.id)
    assert seen == []
    assert attached._repr_mimebundle_() == journal.show(run.id)._repr_mimebundle_()


def test_its_view_is_that_of_a_run_without_cancel(
    other: Callable[..., Other], seen: list[Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken for no transaction; its time counts from the beginning; and what was printed last is shown."""
    run = other(at=datetime.now(UTC) - timedelta(seconds=90))
    run.tell(*(entry(seq, f"web{seq}") for seq in range(1, 4)), intent(1), intent(2), outcome(2), outcome(1))
    attached = opskit.attach(run.id)
    (shown,) = seen
    assert (shown.cancel, shown.is_transaction, shown.transaction) == (None, False, run.id)
    assert 90 <= shown.seconds_before < 120
    assert shown.tails(()) == [Tail("web1", "said\n"), Tail("web2", "said\n")]
    assert shown.tails(["web2"]) == [Tail("web2", "said\n")]
    assert shown.tails([f"web{seq}" for seq in range(100)]) == shown.tails(())
    assert [cell.status for cell in shown.progress.cells] == ["ok", "ok", "not_started"]
    assert sum(alike.steps for alike in shown.outlook().undone) == 2
    assert shown.results() == attached.results
    run.tell(intent(3))
    with monkeypatch.context() as patched:
        patched.setattr(Store, "accounts", lambda *_: pytest.fail("what was printed is read once"))
        assert len(shown.tails(())) == 2
    looked(shown)
    assert [cell.status for cell in shown.progress.cells] == ["ok", "ok", "running"]
    many = other("transaction")
    opskit.attach(many.id)
    assert seen[-1].is_transaction


def test_looks_are_rationed_and_cost_no_outputs(
    other: Callable[..., Other], seen: list[Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One a second, and less often where one works long; outputs are read of the few steps whose lines are seen.

    What a look only waits for does not count, and one that failed is soon made again.
    """
    run = other()
    run.tell(entry(), intent(), outcome())
    clock, worked, asked = [0.0], [0.0], []
    monkeypatch.setattr(attaching, "monotonic", lambda: clock[0])
    monkeypatch.setattr(attaching, "thread_time", lambda: worked[0])
    monkeypatch.setattr(attaching, "LOOK_SECONDS", 1.0)
    monkeypatch.setattr(attaching, "SHARE", 20)
    monkeypatch.setattr(attaching, "MOMENT_SECONDS", 1000)
    read, costs = Store.accounts, iter([(0.0, 0.0), (0.25, 0.25), (31.0, 0.0), (31.0, None), (60.0, 60.0)])

    def slow(store: Store, *given: Any, **more: Any) -> list[Account]:
        asked.append(more)
        seconds, work = next(costs, (0.0, 0.0))
        clock[0] += seconds
        if work is None:
            worked[0] += 5
            raise opskit.JournalError("the journal is away")
        worked[0] += work
        return read(store, *given, **more)

    attached = opskit.attach(run.id)
    monkeypatch.setattr(Store, "accounts", slow)
    pauses, ended = [], clock[0]
    for _ in range(2000):
        before = clock[0], len(asked)
        try:
            assert not attached.done
        except opskit.JournalError:
            assert len(asked) == 4
        if len(asked) > before[1]:
            pauses.append(before[0] - ended)
            ended = clock[0]
        clock[0] += 0.1
    assert pauses[:6] == [pytest.approx(pause, abs=0.11) for pause in (1, 1, 5, 1, 1, 10)]
    assert asked == [{"outputs": False}] * len(asked)
    assert attached._picture.look.accounts[0].outcomes[0].stdout == ""


def test_a_dead_owner_ends_it_with_a_word(
    other: Callable[..., Other], seen: list[Shown], caplog: pytest.LogCaptureFixture
) -> None:
    """Who it was, how much is unknown, and what to do: for who waits and in the view; until somebody sees to it."""
    run = other()
    run.tell(entry(1), entry(2, "web2"), intent(1), intent(2), outcome(1))
    attached = opskit.attach(run.id)
    assert seen[0].remark() == ""
    run.die()
    with caplog.at_level(logging.WARNING, "opskit"):
        rows = attached.wait(10)
    assert [row.status for row in rows] == ["ok", "unknown"]
    (told,) = caplog.messages
    assert "its process has died" in told
    assert f"nobody knows what became of 1 step; opskit rollback {run.id}" in told
    assert told == f"opskit: {seen[0].remark()}"
    assert (attached.state, seen[0].outlook().state, seen[0].progress.over) == ("abandoned", "abandoned", True)
    journal.close(run.id, "seen to")
    looked(seen[0])
    assert (seen[0].remark(), attached.state) == ("", "closed")
    silent = other()
    silent.tell(entry())
    silent.die()
    assert opskit.attach(silent.id)._remark().endswith("; nothing was sent")


def test_an_interrupt_leaves_and_ends_nothing(other: Callable[..., Other], seen: list[Shown]) -> None:
    """The error has the rows as of now, and says that it goes on, also as IPython shows it."""
    run = other()
    run.tell(entry(), intent())
    attached = opskit.attach(run.id)
    looks, tick = [0], attached._tick

    def interrupting() -> None:
        tick()
        looks[0] += 1
        if looks[0] == 3:
            signal.raise_signal(signal.SIGINT)

    attached._tick = interrupting  # type: ignore[method-assign]  # a fault where it happens
    with pytest.raises(KeyboardInterrupt) as caught:
        attached.wait()
    assert [row.status for row in caught.value.results] == ["running"]  # type: ignore[attr-defined]
    said = "\n".join(caught.value._render_traceback_())  # type: ignore[attr-defined]
    assert "nobody waits for it any more" in said
    assert f"{run.id} goes on" in said
    assert not attached.done


def test_a_journal_that_goes_away_keeps_the_last_picture(
    other: Callable[..., Other], seen: list[Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits is told, the view goes on, and when the journal is back so is what it says."""
    run = other()
    run.tell(entry(), intent())
    attached = opskit.attach(run.id)

    def away(*_: object) -> None:
        raise opskit.JournalError("the journal is away")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "moves", away)
        with pytest.raises(opskit.JournalError, match="is away"):
            attached.wait(10)
        with pytest.raises(opskit.JournalError, match="is away"):
            looked(seen[0])
        assert seen[0].progress.chunks[0].running == 1
        patched.setattr(Store, "now", away)
        assert repr(attached) == f"<{run.id}: the journal is away>"
    looked(seen[0])
    run.end()
    assert [row.status for row in attached.wait(10)] == ["unknown"]


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A journal that answers no reading while this is set, and then goes on; nobody is patient."""
    hangs, goes_on, read = threading.Event(), threading.Event(), Store.moves

    def moves(store: Store, transaction: str) -> list[Now]:
        if hangs.is_set():
            assert threading.current_thread() is not threading.main_thread(), "it would hold up who waits"
            assert goes_on.wait(20)
        return read(store, transaction)

    monkeypatch.setattr(Store, "moves", moves)
    monkeypatch.setattr(attaching, "MOMENT_SECONDS", 0.05)
    yield hangs
    goes_on.set()


@pytest.mark.parametrize("seconds", [0, 100])
def test_a_journal_that_does_not_answer_holds_up_nobody_who_leaves(
    other: Callable[..., Other], hung: threading.Event, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Interrupted, or out of time: the rows are those of the last look then, and a note says so.

    Whether a look is waited for already, or the rows are the first thing that is asked for.
    """
    monkeypatch.setattr(attaching, "LOOK_SECONDS", seconds)
    run = other("transaction")
    run.tell(Part("", 1, 0, None, "run", None, AT), Part("", 3, 0, None, "run", None, AT))
    run.tell(entry(2, part=1), entry(4, "web2", part=3), intent(2), intent(4), outcome(2))
    whole, part = opskit.attach(run.id), opskit.attach(f"{run.id}.3")
    before = readers()
    hung.set()
    with pytest.raises(opskit.TimeoutExceeded) as exceeded:
        part.wait(0.01)
    assert [(row.host, row.status) for row in exceeded.value.results] == [("web2", "running")]
    ticks, tick = iter(range(100)), whole._tick

    def interrupting() -> None:
        tick()
        if next(ticks) == 2:
            signal.raise_signal(signal.SIGINT)

    whole._tick = interrupting  # type: ignore[method-assign]  # as a person does
    with pytest.raises(KeyboardInterrupt) as interrupted:
        whole.wait()
    rows = interrupted.value.results  # type: ignore[attr-defined]
    assert [(row.host, row.status, row.stdout) for row in rows] == [("web1", "ok", ""), ("web2", "running", "")]
    for raised in (exceeded, interrupted):
        assert "the journal does not answer: these rows are as of " in raised.value.__notes__[-1]
    assert (whole.done, whole.state) == (False, "running")
    assert readers() - before <= 2, "a journal that does not answer was asked more than once"


def readers() -> int:
    """How many threads read a journal now."""
    return sum(thread.name == "opskit-user" for thread in threading.enumerate())


def test_an_end_is_seen_however_short_the_wait(other: Callable[..., Other]) -> None:
    """Also if nobody has looked since it was attached to."""
    run = other()
    run.tell(entry(), intent(), outcome())
    attached = opskit.attach(run.id)
    run.end()
    assert [row.status for row in attached.wait(0)] == ["ok"]


def test_a_part_has_its_own_rows(other: Callable[..., Other], seen: list[Shown]) -> None:
    """All else is of the whole, which is not undone by who has seen a part of it."""
    run = other("transaction")
    run.tell(Part("", 1, 0, None, "run", None, AT), Part("", 3, 0, None, "run", None, AT))
    run.tell(entry(2, part=1), entry(4, "web2", part=3), intent(2), intent(4))
    attached = opskit.attach(f"{run.id}.3")
    assert attached.transaction == f"{run.id}.3"
    assert [row.host for row in attached.results] == ["web2"]
    assert [work.status for work in seen[0].works()] == ["running", "running"]
    assert seen[0].rollback is None
    with pytest.raises(opskit.RollbackError, match="is a part of a transaction"):
        attached.rollback()


def test_what_is_not_there_is_refused_as_the_journal_does(other: Callable[..., Other]) -> None:
    """Unknown ids, parts and values."""
    run = other()
    for bad in ("01ZZ", "", run.id + ".9"):
        with pytest.raises(opskit.RollbackError) as asked:
            journal.results(bad)
        with pytest.raises(opskit.RollbackError) as caught:
            opskit.attach(bad)
        assert str(caught.value) == str(asked.value)
    with pytest.raises(opskit.RollbackError, match="names no part"):
        opskit.attach(run.id + ".x")
    with pytest.raises(opskit.RollbackError, match="named by its id"):
        opskit.attach(7)  # type: ignore[arg-type]  # as somebody may
    with pytest.raises(opskit.PlanError, match="timeout='soon'"):
        opskit.attach(run.id).wait("soon")  # type: ignore[arg-type]  # as somebody may
    with pytest.raises(opskit.PlanError, match="timeout=-1 must be 0 seconds or more"):
        opskit.attach(run.id).wait(-1)


# What is undone from there


def test_a_rollback_is_the_journals(
    other: Callable[..., Other], seen: list[Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which asks its owner, or claims; the button does not ask a second time."""
    run = other()
    run.tell(entry(), intent())
    called: list[tuple[object, ...]] = []
    for name in ("rollback", "agreed_rollback"):
        monkeypatch.setattr(journal, name, lambda *given, name=name: called.append((name, *given)))
    attached = opskit.attach(run.id)
    attached.rollback("disk full")
    assert seen[0].rollback is not None
    seen[0].rollback("the button")
    assert called == [("rollback", run.id, "disk full"), ("agreed_rollback", run.id, "the button")]


def test_what_this_process_runs_is_undone_by_itself(seen: list[Shown], tmp_path: Any) -> None:
    """As by its own button: functions too. A wait for the end of what is open here would never end."""
    undone: list[str] = []
    with opskit.use(Inventory([Host("here", address="local")])):
        begun = opskit.begin("deploy")
        begun.on_rollback(undone.append, "undone")
        opskit.run(f"touch {tmp_path}/it", undo=f"rm {tmp_path}/it")
        attached = opskit.attach(begun.id)
        with pytest.raises(opskit.PlanError, match="would never end"):
            attached.wait()
        assert [row.status for row in attached.rollback("enough")] == ["ok", "ok"]
    assert undone == ["undone"]
    assert not list(tmp_path.iterdir())
    assert (attached.done, attached.state) == (True, "rolled_back")
    assert journal.show(begun.id).moves[-2].why == "enough"


def test_what_is_a_part_of_it_does_not_wait_for_its_end() -> None:
    """A task, or a callback, that would roll back what it is a part of is told so: it would wait for itself."""

    def roll_back() -> None:
        opskit.on_rollback(print)
        opskit.attach(here_id()).rollback()

    refused = pytest.raises(opskit.RollbackError, match="by a task or a callback of its own")
    with opskit.transaction(), refused, opskit.parallelize() as session:
        session.run(roll_back)
    with pytest.raises(opskit.PlanError, match="would wait for itself"), opskit.parallelize() as session:
        session.run(roll_back)


def here_id() -> str:
    """The transaction that the caller stands in."""
    scope = here()
    assert scope is not None
    return scope.root.id


# From a shell


@pytest.mark.parametrize(
    ("fates", "ends", "code"),
    [
        (["ok", "ok"], ["succeeded"], 0),
        (["ok", "failed"], ["failed"], 1),
        (["ok", "cancelled"], ["cancelled"], 1),
        (["ok", "unreachable"], ["failed"], 3),
        (["ok", "unreachable"], ["rolling_back", "rolled_back"], 4),
        (["ok", "failed"], ["rolling_back", "rollback_partial"], 5),
        (["ok", "ok"], [], 1),
    ],
)
def test_its_exit_code_says_how_it_ended(
    other: Callable[..., Other],
    capsys: pytest.CaptureFixture[str],
    fates: Sequence[Status],
    ends: Sequence[State],
    code: int,
) -> None:
    """As of `opskit run`; the rows go to stdout, failures first, or one document; a death is a failure."""
    run = other()
    for seq, fate in enumerate(fates, 1):
        run.tell(entry(seq, f"web{seq}"), intent(seq), outcome(seq, fate))
    for state in ends:
        if state == "rolling_back":
            run.store.claim(run.id, state, None)
        else:
            run.end(state)
    if not ends:
        run.die()
    assert main(["attach", run.id]) == code
    output, errors = capsys.readouterr()
    assert output.strip() == str(journal.results(run.id))
    said = {"rolled_back": "rolled back", "rollback_partial": "rolled back in part", "cancelled": "cancelled"}
    assert [line for line in errors.splitlines() if "its process has died" not in line] == [
        f"opskit: transaction {run.id}: {said[state]}" for state in ends[-1:] if state in said
    ]
    assert main(["attach", run.id, "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in document["rows"]] == fates
    assert (document["state"], document["error"]) == (ends[-1] if ends else "abandoned", None)


def test_a_shell_waits_no_longer_than_it_is_told(
    other: Callable[..., Other], capsys: pytest.CaptureFixture[str]
) -> None:
    """124 then, and the rows as of now; an unknown one is bad input."""
    run = other()
    run.tell(entry(), intent())
    assert main(["attach", run.id, "--timeout", "0.01"]) == 124
    output, errors = capsys.readouterr()
    assert "1 running" in output
    assert errors.startswith(f"opskit: transaction {run.id} still goes on after 0.01 s")
    assert main(["attach", run.id, "--timeout", "-1"]) == 2
    assert "timeout=-1.0 must be 0 seconds or more" in capsys.readouterr().err
    assert main(["attach", "01ZZ"]) == 2
    assert "has no transaction '01ZZ'" in capsys.readouterr().err


def test_a_shell_that_is_interrupted_leaves(
    other: Callable[..., Other], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """130, the rows as of now, and that it goes on."""
    run = other()
    run.tell(entry(), intent())

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bridge, "block", interrupted)
    assert main(["attach", run.id]) == 130
    output, errors = capsys.readouterr()
    assert "1 running" in output
    assert errors.splitlines() == [
        "opskit: interrupted",
        f"opskit: {run.id} goes on: opskit attach {run.id} shows it again",
    ]


@pytest.mark.parametrize("gives_up", [False, True])
def test_a_shell_leaves_while_the_journal_is_away(
    other: Callable[..., Other],
    hung: threading.Event,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    gives_up: bool,
) -> None:
    """130, the rows of the last look and a word on that, whether it waits for the journal or that has failed."""
    run = other()
    run.tell(entry(), intent())

    def away(*_: object) -> None:
        raise opskit.JournalError("the journal is away")

    def interrupted(*_: object, **__: object) -> None:
        hung.set()
        if gives_up:
            monkeypatch.setattr(Store, "moves", away)
        raise KeyboardInterrupt

    monkeypatch.setattr(bridge, "block", interrupted)
    assert main(["attach", run.id, "--json"]) == 130
    output, errors = capsys.readouterr()
    document = json.loads(output)
    assert [row["status"] for row in document["rows"]] == ["running"]
    assert document["state"] in ("running", None)
    assert "the journal does not answer: these rows are as of" in errors
    assert "the journal does not answer: these rows are as of" in document["error"]["message"]
