"""`opskit.journal.rollback` of what another, live process is at: that is asked, followed, given up where it must be."""

from __future__ import annotations

import _thread
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

import opskit
from opskit import journal, shared
from opskit.errors import Cancelled, JournalError, RollbackError
from opskit.record.facts import Ended, Note
from opskit.record.store import Store
from opskit.testing import ScriptedTransport
from opskit.undoing import asking
from opskit.work.kept import packed_terms
from opskit.work.terms import Terms
from tests.unit.record.material import AT, wish
from tests.unit.test_journal import entry, intent, outcome, written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opskit.record.facts import Request
    from opskit.record.moves import State

FEW_SECONDS = 20


@pytest.fixture(autouse=True)
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedTransport]:
    """A host that has ended at once what runs for the dead; and who asks looks often."""
    transport = ScriptedTransport()
    monkeypatch.setattr("opskit.undoing.compensation.DEAD_MAN_SECONDS", 0)
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    monkeypatch.setattr(asking, "LOOK_SECONDS", 0.01)
    with opskit.use(opskit.Inventory([opskit.Host("web1", address="local")])):
        yield transport


@pytest.fixture
def owner() -> Iterator[Store]:
    """The same journal in the hands of another process, which lives."""
    made = Store(shared.store().path)
    yield made
    made.close()


@pytest.fixture
def found(owner: Store) -> str:
    """What that process is at: two steps were done, one is under way."""
    terms = packed_terms(Terms(None, 10, "/bin/sh", "end"))
    steps = [
        entry("", number, command=f"do {number}", undo=f"undo {number}", terms=terms, undo_once=number == 2)
        for number in (1, 2, 3)
    ]
    intents = [intent("", number) for number in (1, 2, 3)]
    return written(owner, *steps, *intents, outcome("", 1), outcome("", 2), kind="run")


class Owner(threading.Thread):
    """Does something as soon as its process is asked; `wish` is what it took up."""

    def __init__(self, store: Store, transaction: str, does: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._store, self._transaction, self._does = store, transaction, does
        self.wish: Request | None = None
        self.start()

    def run(self) -> None:
        """Wait until it is asked."""
        asks = threading.Event()
        while not self._store.asked([self._transaction]):
            asks.wait(0.01)
        self._does()

    def takes_it_up(self) -> None:
        """Begin to roll it back."""
        self.wish = self._store.take_request(self._transaction)
        assert self.wish is not None
        self._store.claim(self._transaction, "rolling_back", str(self.wish))


def answering(owner: Store, found: str, *facts: Any) -> Owner:
    """An owner that rolls back, with these facts of the undos."""

    def does() -> None:
        made.takes_it_up()
        well = all(getattr(fact, "status", "ok") == "ok" for fact in facts)
        state: State = "rolled_back" if well else "rollback_partial"
        owner.write([*facts, Ended(found, state)])

    made = Owner(owner, found, does)
    return made


def undos(found: str, *numbers: int, **bad: Any) -> list[Any]:
    """The facts of these undos under the epoch of a first rollback."""
    facts: list[Any] = []
    for number in numbers:
        facts += [
            intent(found, number, undo=True, epoch=2),
            outcome(found, number, bad.get(f"of_{number}", "ok"), undo=True),
        ]
    return facts


def test_a_live_owner_undoes_it(owner: Store, found: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told by whom and why; the rows are of its undos, newest first; and who waits knows for whom, at once."""
    made = answering(owner, found, *undos(found, 3, 2, 1))
    rows = journal.rollback(found[:20], "disk full")
    assert [(row.command, row.status) for row in rows] == [("undo 3", "ok"), ("undo 2", "ok"), ("undo 1", "ok")]
    assert (made.wish and made.wish.why, owner.asked([found])) == ("disk full", [])
    assert caplog.messages == [f"opskit: asking {owner.now(found).owner} to roll back transaction {found}; waiting"]
    assert owner.moves(found)[1].why == f"asked by {owner.who} on {made.wish and made.wish.machine}: disk full"


def test_what_its_owner_could_not_undo_is_raised(owner: Store, found: str) -> None:
    """As that of one's own: with the rows, and the same call tries the rest."""
    answering(owner, found, *undos(found, 3, 2, of_2="failed"))
    with pytest.raises(RollbackError, match=r"rollback incomplete: 1 of 3 undone.*opskit rollback") as raised:
        journal.rollback(found)
    assert [(row.command, row.status) for row in raised.value.results or ()] == [
        ("undo 3", "ok"),
        ("undo 2", "failed"),
        ("undo 1", "not_started"),
    ]
    owner.close()
    assert [row.command for row in journal.rollback(found)] == ["undo 2", "undo 1"]


def test_what_is_left_to_a_person_is_among_the_rows(owner: Store) -> None:
    """An undo that must not run twice, and may have run in a part that was undone before."""
    once = entry("", undo_once=True), intent(""), outcome(""), intent("", undo=True)
    found = written(owner, *once, entry("", 2, undo="undo 2"), intent("", 2), outcome("", 2))
    answering(owner, found, intent(found, 2, undo=True, epoch=2), outcome(found, 2, "failed", undo=True))
    with pytest.raises(RollbackError) as raised:
        journal.rollback(found)
    rows = raised.value.results or ()
    assert [(row.command, row.status) for row in rows] == [("undo 2", "failed"), ("unrun", "unknown")]


def test_an_owner_that_does_not_answer_is_not_asked_any_more(
    owner: Store, found: str, fleet: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be stopped: the error says who that is, and what to do; nothing was done."""
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.05)
    with pytest.raises(
        RollbackError, match=r"its owner, .* on .* \(process \d+\), has not answered for 0.05 s"
    ) as raised:
        journal.rollback(found)
    assert raised.value.results is None
    assert (owner.asked([found]), owner.now(found).state, fleet.sent) == ([], "running", [])


def test_one_that_has_taken_it_up_and_never_begins_may_still_do_it(
    owner: Store, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped in between: who asked is not told that nothing comes of it."""
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.05)
    Owner(owner, found, lambda: owner.take_request(found))
    with pytest.raises(RollbackError, match=r"or busy\. It may have taken it up, and still do it\. Try again"):
        journal.rollback(found)
    assert owner.asked([found]) == []


def test_one_that_can_not_do_it_is_not_waited_for(owner: Store, found: str) -> None:
    """What it says of that is raised, be it the first time or not."""
    for why in ("lost", "lost again"):

        def refuses(why: str = why) -> None:
            owner.take_request(found)
            said = Note(found, None, undo=False, who="ann", at=AT, text=why, old_status=None, new_status=None)
            owner.write([said])

        Owner(owner, found, refuses)
        with pytest.raises(RollbackError, match=f"^transaction {found}: {why}$"):
            journal.rollback(found)


def test_what_another_who_asked_withdraws_is_asked_anew(
    owner: Store, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ask for the same, and who was first gives up: the other one asks as soon as it looks."""
    first = wish(owner, "first", found)
    owner.ask(first)
    now, ask, looks, looked, made = Store.now, Store.ask, list[str](), list[int](), list[Owner]()

    def looking(store: Store, given: str) -> Any:
        looks.append(given)
        return now(store, given)

    def asking_twice(store: Store, request: Request) -> bool:
        if is_own := ask(store, request):
            looked.append(len(looks))
        else:
            assert owner.withdraw(first)
            looks.clear()
            made.append(answering(owner, found, *undos(found, 3, 2, 1)))
        return is_own

    monkeypatch.setattr(asking, "ANSWER_SECONDS", 5.0)
    monkeypatch.setattr(Store, "now", looking)
    monkeypatch.setattr(Store, "ask", asking_twice)
    assert len(journal.rollback(found, "second")) == 3
    assert looked == [1]
    assert (made[0].wish and made[0].wish.why) == "second"


def test_an_interrupt_withdraws_nothing_of_anothers(owner: Store, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ask for the same, and who was second gives up: the owner is asked still."""
    first = wish(owner, "first", found)
    owner.ask(first)
    ask = Store.ask

    def joining(store: Store, request: Request) -> bool:
        _thread.interrupt_main()
        return ask(store, request)

    monkeypatch.setattr(Store, "ask", joining)
    with pytest.raises(KeyboardInterrupt) as raised:
        journal.rollback(found, "second")
    assert raised.value.__notes__ == [
        f"its owner may still roll it back: opskit journal {found} tells what became of it"
    ]
    assert owner.take_request(found) == first


def test_what_its_owner_undid_before_the_rest_is_among_the_rows(owner: Store, found: str) -> None:
    """As a session of tasks does, a part of it, before the transaction changes hands."""

    def does() -> None:
        taken = owner.take_request(found)
        owner.write([intent(found, 3, undo=True), outcome(found, 3, undo=True)])
        owner.claim(found, "rolling_back", str(taken))
        owner.write([*undos(found, 2, 1), Ended(found, "rolled_back")])

    Owner(owner, found, does)
    assert [(row.command, row.status) for row in journal.rollback(found)] == [
        ("undo 3", "ok"),
        ("undo 2", "ok"),
        ("undo 1", "ok"),
    ]


@pytest.mark.parametrize("how", ["dies", "dies in the rollback", "succeeded", "rollback_partial"])
def test_where_its_owner_goes_it_is_undone_from_here(
    owner: Store, found: str, how: str, fleet: ScriptedTransport
) -> None:
    """As if nobody had been there; what was asked is withdrawn."""

    def does() -> None:
        if how == "dies in the rollback":
            made.takes_it_up()
        if how.startswith("dies"):
            owner.close()
        else:
            owner.write([outcome(found, 3), Ended(found, cast("State", how))])

    me = shared.store()
    made = Owner(owner, found, does)
    rows = journal.rollback(found)
    assert [row.command for row in rows] == ["undo 3", "undo 2", "undo 1"] == [command for _, command in fleet.sent]
    assert (me.now(found).owner.id, me.asked([found])) == (me.owner_id, [])


def test_a_run_that_ends_before_it_is_undone_is_followed(owner: Store, found: str) -> None:
    """What its owner took up it first cancels: that is no end of its own."""

    def does() -> None:
        made.wish = owner.take_request(found)
        owner.write([outcome(found, 3, "cancelled"), Ended(found, "cancelled")])
        looked.wait(FEW_SECONDS)
        owner.claim(found, "rolling_back", None)
        owner.write([*undos(found, 3, 2, 1), Ended(found, "rolled_back")])

    looked = threading.Event()
    made = Owner(owner, found, does)
    now = Store.now

    def looking(store: Store, given: str) -> Any:
        stands = now(store, given)
        if stands.state == "cancelled":
            looked.set()
        return stands

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "now", looking)
        assert len(journal.rollback(found)) == 3
    assert owner.now(found).owner.id == owner.owner_id


def test_one_that_takes_it_up_and_never_undoes_it_is_helped(
    owner: Store, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has ended since, and so it is anybody's."""
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.1)

    def does() -> None:
        owner.take_request(found)
        owner.write([outcome(found, 3), Ended(found, "cancelled")])

    Owner(owner, found, does)
    assert [row.command for row in journal.rollback(found)] == ["undo 3", "undo 2", "undo 1"]


@pytest.mark.parametrize("taken", [False, True])
def test_an_interrupt_withdraws_what_was_not_taken_up(owner: Store, found: str, *, taken: bool) -> None:
    """And says whether a rollback goes on."""

    def does() -> None:
        if taken:
            made.takes_it_up()
        _thread.interrupt_main()

    made = Owner(owner, found, does)
    with pytest.raises(KeyboardInterrupt) as raised:
        journal.rollback(found)
    assert owner.asked([found]) == []
    (note,) = raised.value.__notes__
    assert note == (
        f"a rollback goes on: opskit journal {found} tells its end"
        if taken
        else "its owner is not asked any more: nothing was undone"
    )


def test_a_journal_that_goes_away_meanwhile_says_so(owner: Store, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked may be done all the same."""

    def away(*_: object) -> None:
        raise JournalError("away")

    def does() -> None:
        for name in ("now", "withdraw"):
            monkeypatch.setattr(Store, name, away)

    Owner(owner, found, does)
    with pytest.raises(JournalError, match="away") as raised:
        journal.rollback(found)
    assert raised.value.__notes__ == [
        f"its owner may still roll it back: opskit journal {found} tells what became of it"
    ]


def test_force_does_not_ask(owner: Store, found: str, fleet: ScriptedTransport) -> None:
    """It takes over what is idle; what is under way stays its owner's, who is named."""
    with pytest.raises(RollbackError, match="still runs 1 step in the kernel of"):
        journal.rollback(found, force=True)
    owner.write([outcome(found, 3)])
    assert len(journal.rollback(found, force=True)) == 3
    assert len(fleet.sent) == 3


@pytest.mark.parametrize("sent", [True, False])
def test_at_a_prompt_a_person_is_told_that_it_still_runs(
    owner: Store, found: str, monkeypatch: pytest.MonkeyPatch, *, sent: bool
) -> None:
    """And by whom; also where nothing was sent yet: it would be cancelled all the same. A no asks nobody."""
    asked: list[str] = []

    def refused(question: str, **_: object) -> bool:
        asked.append(question)
        return False

    monkeypatch.setattr("opskit.undoing.confirming.confirmed", refused)
    transaction = found if sent else written(owner)
    with pytest.raises(Cancelled, match="not confirmed"):
        journal.confirmed_rollback(transaction, remedy="say yes")
    (question,) = asked
    assert question.startswith(f"it still runs by {owner.now(transaction).owner}, and is cancelled first")
    assert ("web1: undo 3" in question) is sent
    assert owner.asked([transaction]) == []


def test_who_has_agreed_is_asked_nothing(owner: Store, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For views, which ask by themselves."""
    monkeypatch.setattr("opskit.asking.ask", None)
    answering(owner, found, *undos(found, 3, 2, 1))
    assert len(journal.agreed_rollback(found, "the button")) == 3
