"""`opskit.journal`: what it tells of transactions, and how what was left is undone, closed, settled, forgotten."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opskit
from opskit import asking, checks, journal, shared
from opskit.cli import main
from opskit.frames.journal import COLUMNS
from opskit.record import keys
from opskit.record.facts import Entry, Intent, Outcome, Part, TaskEnded, Transaction
from opskit.record.ids import new_id
from opskit.record.store import Store
from opskit.undoing.rollback import Rollback
from opskit.work.kept import packed_way

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opskit.record.facts import Kind
    from opskit.results import Status

Given = Part | TaskEnded | Entry | Intent | Outcome
"""What a transaction of a test is made of."""

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WEB1 = opskit.Host("web1", address="local")


@pytest.fixture
def store() -> Store:
    """The journal of this process."""
    return shared.store()


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """The same journal in the hands of another process."""
    made = Store(store.path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _hosts() -> Iterator[None]:
    with opskit.use(opskit.Inventory([WEB1, opskit.Host("web2", address="local")])):
        yield


def entry(transaction: str, seq: int = 1, **changes: Any) -> Entry:
    """A step on web1 that an undo belongs to."""
    made = Entry(
        transaction, seq, 0, "web1", packed_way(WEB1), 1, None, "run", "unrun", "{}", "[]", None, None, undo_once=False
    )
    return replace(made, **changes)


def intent(transaction: str, seq: int = 1, **changes: Any) -> Intent:
    """A step that is about to be sent."""
    return replace(Intent(transaction, seq, undo=False, attempt=1, epoch=1, at=AT), **changes)


def outcome(transaction: str, seq: int = 1, status: Status = "ok", **changes: Any) -> Outcome:
    """What became of a step."""
    made = Outcome(transaction, seq, False, 1, status, 0, None, "out\n", "", False, AT, 0.5, None)
    return replace(made, **changes)


def written(
    store: Store, *facts: Given, name: str | None = "deploy", at: datetime = AT, kind: Kind = "transaction"
) -> str:
    """A transaction of this owner's with these facts; its id is put into them."""
    found = new_id()
    begun = Transaction(found, name, kind, None, at)
    store.write([begun, *(replace(fact, transaction=found) for fact in facts)])
    return found


def function(name: str, *args: object) -> str:
    """A function as the journal packs it."""
    return json.dumps({"function": name, "args": args, "kwargs": {}})


def touched(path: str) -> None:
    """Leave a trace; what the tests have called."""
    Path(path).touch()


# What it tells


def test_df_has_a_row_a_transaction_newest_first(store: Store) -> None:
    """With the contract's figures: hosts, good and bad steps, undos that are done and that are not."""
    old = written(store, name=None, kind="run")
    store.move(old, "succeeded")
    facts: list[Given] = [
        entry(""), intent(""), outcome(""),
        entry("", 2, host="web2"), intent("", 2), outcome("", 2, "failed"),
        intent("", 1, undo=True), outcome("", 1, undo=True),
    ]  # fmt: skip
    new = written(store, *facts, at=AT + timedelta(hours=1))
    store.move(new, "failed", "two of them")
    frame = journal.df
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        name: dtype for name, dtype in COLUMNS.items() if name != "what_to_do"
    }
    assert frame["transaction"].tolist() == [new, old]
    first = frame.iloc[0]
    assert first[["name", "kind", "state", "hosts", "ok", "failed", "undone", "owed", "reason"]].tolist() == [
        "deploy", "transaction", "failed", 2, 1, 1, 1, 1, "two of them",
    ]  # fmt: skip
    assert first["started_at"] == AT + timedelta(hours=1)
    assert frame["ended_at"].notna().all()
    assert frame["name"].isna().tolist() == [False, True]


def test_filters_narrow_the_frame(store: Store) -> None:
    """By name, host, user and time; a time is one, or how long ago."""
    here = written(store, entry(""), name="a", at=datetime.now(UTC))
    gone = written(store, entry("", host="db1"), name="b")

    def ids(**which: Any) -> list[str]:
        return journal.transactions(**which)["transaction"].tolist()

    assert ids() == [here, gone]
    assert ids(name="b") == ids(host="db1") == ids(until="2026-01-03") == [gone]
    assert ids(since="2h") == ids(since=timedelta(hours=2)) == ids(host="web1") == [here]
    assert ids(who="nobody at all") == []
    with pytest.raises(opskit.PlanError, match=r"since='soon' must be a time such as 2026-01-31"):
        journal.transactions(since="soon")


def test_what_a_dead_process_left_is_unfinished(store: Store, other: Store) -> None:
    """If anything was or may have been sent, or an undo is registered; and what was undone in part. With what to do."""
    sent = written(other, entry(""), intent(""))
    nothing_sent = written(other, entry(""))
    registered = written(other, entry("", command=None, host=None, call=None))
    no_undo = written(other, entry("", undo=None), intent(""), outcome(""))
    once = written(other, entry("", undo_once=True), intent(""), outcome(""), intent("", undo=True))
    assert journal.unfinished().empty
    other.close()
    ended = written(store, entry(""), intent(""), outcome(""))
    store.move(ended, "succeeded")
    partial = written(store, entry(""), intent(""), outcome(""))
    store.claim(partial, "rolling_back", None)
    store.move(partial, "rollback_partial")
    told = {row["transaction"]: row for row in journal.unfinished().to_dict("records")}
    assert set(told) == {sent, registered, no_undo, once, partial}
    assert nothing_sent not in told
    assert [told[sent][name] for name in ("state", "failed", "owed")] == ["abandoned", 1, 1]
    assert told[partial]["state"] == "rollback_partial"
    for found in (sent, registered, partial):
        assert told[found]["what_to_do"] == f"opskit rollback {found}"
    assert told[no_undo]["what_to_do"].startswith("nothing can be undone: opskit close")
    assert told[once]["what_to_do"].startswith(f"opskit settle {once} HOST ok --undo")


def test_who_began_it_stays_who_is_told(store: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when somebody else has taken it over since; the reason is the last that was given."""
    with monkeypatch.context() as patch:
        patch.setattr("getpass.getuser", lambda: "ann")
        taken = written(other)
        other.close()
    monkeypatch.setattr("getpass.getuser", lambda: "bob")
    store.claim(taken, "closed", "was a test")
    assert journal.df.iloc[0][["state", "who", "reason"]].tolist() == ["closed", "ann", "was a test"]
    assert "bob on " in str(journal.show(taken))


def test_a_closed_transaction_owes_nothing(store: Store) -> None:
    """A person has decided that."""
    closed = written(store, entry(""), intent(""), outcome(""))
    store.claim(closed, "closed", "kept")
    assert journal.df.iloc[0]["owed"] == 0
    assert "not undone: web1" in str(journal.show(closed))


# Rows


def test_results_are_the_rows_of_commands_and_tasks(store: Store) -> None:
    """In the order of what was planned; of a part those of its parts too."""
    facts: list[Given] = [
        Part("", 1, 0, None, "parallelize", None, AT),
        Part("", 2, 1, "restart", "task", 1, AT),
        Part("", 3, 2, None, "run", None, AT),
        entry("", 4, part=3), intent("", 4), outcome("", 4),
        entry("", 5, part=2, command=None, host=None, undo="f()"),
        TaskEnded("", 2, "failed", "ValueError: no", "printed", "", False, AT, 0.1),
        entry("", 6, host="web2"),
    ]  # fmt: skip
    found = written(store, *facts)
    task, command, planned = journal.results(found)
    assert (task.host, task.branch, task.command, task.status, task.stdout) == (
        "",
        "restart",
        None,
        "failed",
        "printed",
    )
    assert (command.host, command.status, command.stdout, command.transaction) == ("web1", "ok", "out\n", found)
    assert (planned.host, planned.status) == ("web2", "not_started")
    assert journal.results(f"{found}.1").rows == (task, command)
    assert journal.results(f"{found}.3").rows == (command,)
    with pytest.raises(opskit.RollbackError, match=r"has no part 9; its parts: 0, 1, 2, 3"):
        journal.results(f"{found}.9")
    with pytest.raises(opskit.RollbackError, match="names no part"):
        journal.results(f"{found}.x")


def test_what_a_live_process_is_at_is_running(store: Store, other: Store) -> None:
    """And unknown once it has died: it may have run. So with a task."""
    facts: list[Given] = [entry("", 2), intent("", 2), Part("", 1, 0, "t", "task", 1, AT)]
    found = written(other, *facts)
    assert [row.status for row in journal.results(found)] == ["running", "running"]
    assert journal.df.iloc[0]["failed"] == 0
    other.close()
    task, command = journal.results(found)
    assert (task.status, command.status) == ("unknown", "unknown")
    assert "it may have run" in (command.error or "")


def test_a_rollback_under_way_brings_no_lost_step_back(store: Store, other: Store) -> None:
    """What a dead process lost stays unknown while a live one undoes it: only that undo is running."""
    found = written(other, entry(""), intent(""))
    other.close()
    store.claim(found, "rolling_back", None)
    store.write([intent(found, undo=True, epoch=2)])
    shown = journal.show(found)
    (account,) = shown.accounts
    assert [shown.row(account).status, shown.row(account, undo=True).status] == ["unknown", "running"]


def test_last_is_the_newest_of_its_name(store: Store) -> None:
    """Without a name the newest of all; if there is none the error says which names there are."""
    with pytest.raises(opskit.JournalError, match=r"the journal has no transaction$"):
        journal.last()
    written(store, entry("", command="old"), name="deploy")
    written(store, entry("", command="new"), name="deploy", at=AT + timedelta(1))
    written(store, entry("", command="else"), name=None, at=AT + timedelta(2))
    assert [row.command for row in journal.last()] == ["else"]
    assert [row.command for row in journal.last("deploy")] == ["new"]
    with pytest.raises(opskit.JournalError, match="called 'deplyo'; did you mean 'deploy'"):
        journal.last(name="deplyo")


# One of them, shown


def test_show_tells_moves_steps_undos_and_notes(store: Store) -> None:
    """As text and as HTML, in the order in which things were begun; a beginning of the id is enough."""
    facts: list[Given] = [
        Part("", 1, 0, "copy", "run", None, AT),
        entry("", 2, part=1, command="cp 1", branch="in_('web')"), intent("", 2), outcome("", 2),
        entry("", 3, part=1, command="cp 2", branch="in_('web')", host="web2"), intent("", 3), outcome("", 3, "failed"),
        entry("", 4, command=None, host=None, undo="notify('x')"),
        intent("", 2, undo=True), outcome("", 2, "unknown", undo=True), intent("", 2, undo=True, attempt=2),
        outcome("", 2, undo=True, attempt=2),
    ]  # fmt: skip
    found = written(store, *facts)
    store.move(found, "failed", "web2 was full")
    journal.settle(found, "web2", "ok", "looked at it")
    shown = journal.show(found[:-2].lower())
    text = str(shown).splitlines()
    assert text[0] == f"transaction {found}: transaction deploy, failed"
    assert text[2].endswith(": web2 was full")
    body = "\n".join(text[3:])
    assert "1. run copy\n  when in_('web'): cp 1  (and 1 like it)\n    2 hosts: ✔ 2 ok" in body
    assert "    undo: unrun\n      1 host: ✔ 1 ok" in body
    assert "web1 was undone in several attempts: 1 unknown, 2 ok" in body
    assert "can be undone: web2" in body
    assert body.index("cp 1") < body.index("on rollback\n  undo: notify('x')")
    assert text[-1].endswith(": looked at it (web2: failed, now ok)")
    html = shown._repr_mimebundle_()["text/html"]
    assert html.count("opskit-results") == 2
    assert "cp 1" in html


def test_what_is_shown_is_escaped(store: Store) -> None:
    """Names, commands, reasons and branches are text that others wrote: no markup and no control character lives."""
    evil = "<script>x</script>\x1b[2J\n$x$\u202e"
    found = written(store, entry("", command=evil, undo=evil, branch=evil), intent(""), outcome(""), name=evil)
    store.claim(found, "rolling_back", evil)
    for shown in (journal.show(found), journal.listing()):
        bundle = shown._repr_mimebundle_()
        assert "<script>" not in bundle["text/html"]
        assert "$x$" not in bundle["text/html"]
        for way in bundle.values():
            assert not {"\x1b", "\u202e"} & set(way)
    assert len(str(journal.listing()).splitlines()) == 2


def test_long_transactions_are_shown_in_part(store: Store) -> None:
    """The rest is counted; what a task did has a head only where it did something."""
    facts: list[Given] = [Part("", number, 0, f"t{number}", "task", 1, AT) for number in range(1, 60)]
    facts += [entry("", 100 + number, part=number) for number in range(1, 60)]
    found = written(store, *facts, kind="parallelize")
    text = str(journal.show(found))
    assert "59 tasks: ◐ 59 running" in text
    assert f"more: opskit.journal.results('{found}') has every row" in text
    assert len(text.splitlines()) < 120


def test_an_unknown_transaction_names_near_ones(store: Store) -> None:
    """B32: wherever one is named; and what is no text is no id."""
    found = written(store)
    wrong = "01" + found[2:-1] + ("0" if found[-1] != "0" else "1")
    for verb in (journal.show, journal.results, journal.rollback):
        with pytest.raises(opskit.RollbackError, match=f"has no transaction '{wrong}'; did you mean '{found}'"):
            verb(wrong)
    with pytest.raises(opskit.RollbackError, match="named by its id, as text"):
        journal.show(None)  # type: ignore[arg-type]


# Rollback


def test_what_a_dead_process_left_is_undone_from_the_journal(tmp_path: Path, other: Store) -> None:
    """C8: commands on the hosts where they were sent, by what the journal knows alone; once."""
    with opskit.transaction("deploy") as tx:
        opskit.run(f"touch {tmp_path}/{{{{ server.name }}}}", undo=f"rm {tmp_path}/{{{{ server.name }}}}")
    assert sorted(path.name for path in tmp_path.glob("web*")) == ["web1", "web2"]
    rows = journal.rollback(tx.id, "not wanted")
    assert [(row.host, row.status) for row in rows] == [("web1", "ok"), ("web2", "ok")]
    assert list(tmp_path.glob("web*")) == []
    assert journal.df.iloc[0][["state", "undone", "owed", "reason"]].tolist() == ["rolled_back", 2, 0, "not wanted"]
    with pytest.raises(opskit.RollbackError, match="was rolled back by"):
        journal.rollback(tx.id)


def test_a_rollback_that_leaves_something_raises_with_its_rows() -> None:
    """And can be tried again; settled by a person it is complete."""
    with opskit.transaction() as tx:
        opskit.run("true", hosts="web1", undo="exit 3")
    with pytest.raises(opskit.RollbackError, match="rollback incomplete: 0 of 1 undone") as raised:
        journal.rollback(tx.id)
    assert raised.value.results is not None
    assert [row.exit_code for row in raised.value.results] == [3]
    rows = journal.settle(tx.id, "web1", "ok", "undone by hand", undo=True)
    assert [row.status for row in rows] == ["ok"]
    assert len(journal.rollback(tx.id)) == 0
    assert journal.unfinished().empty


def test_an_undo_that_must_not_run_twice_leaves_the_rollback_incomplete(other: Store) -> None:
    """Where its outcome was lost: it is not sent again, and the error says what a person has to do."""
    found = written(other, entry("", undo_once=True), intent(""), outcome(""), intent("", undo=True))
    other.close()
    with pytest.raises(
        opskit.RollbackError, match=r"0 of 1 undone; web1: .*must not run twice.*opskit settle"
    ) as raised:
        journal.rollback(found)
    assert raised.value.results is not None
    assert [row.status for row in raised.value.results] == ["unknown"]
    journal.settle(found, "web1", "ok", "saw it done", undo=True)
    assert journal.rollback(found) == opskit.Results(())


def test_what_runs_in_this_process_is_not_rolled_back_or_closed_from_here() -> None:
    """B32: the error says how it is done; once its block was left, however that was, it may be."""
    here = opskit.Inventory([opskit.Host("web1", address="local")])
    with opskit.transaction() as tx:
        opskit.run("true", undo="true", hosts=here)
        with pytest.raises(opskit.RollbackError, match=r"runs in this process: its own \.rollback\(\)"):
            journal.rollback(tx.id)
        with pytest.raises(opskit.RollbackError, match="runs in this process: cancel it, or end it"):
            journal.close(tx.id, "no more")
    assert journal.rollback(tx.id).ok


def test_only_a_whole_transaction_is_undone(store: Store) -> None:
    """A part of one is its process's to undo."""
    found = written(store)
    with pytest.raises(opskit.RollbackError, match=rf"part of a transaction; .*: {found}$"):
        journal.rollback(f"{found}.1")


@pytest.mark.parametrize("answer", ["y", "n", None])
def test_functions_of_another_process_need_a_person(
    answer: str | None, other: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sees what will be called; `yes` does not answer, and where nobody can they are left."""
    asked = []

    def ask(question: str, **_: object) -> str:
        asked.append(question)
        if answer is None:
            raise opskit.PromptRefused("nobody can answer here")
        return answer

    monkeypatch.setattr(asking, "ask", ask)
    trace = tmp_path / "trace"
    call = function(f"{__name__}:touched", str(trace))
    found = written(other, entry("", command=None, host=None, undo="touched(...)", call=call))
    other.close()
    with opskit.configure(yes=True):
        if answer == "y":
            assert [row.status for row in journal.rollback(found)] == ["ok"]
        else:
            with pytest.raises(opskit.RollbackError, match="nobody has agreed"):
                journal.rollback(found)
    assert trace.exists() == (answer == "y")
    assert len(asked) == 1
    assert f"'{__name__}:touched' '{trace}'" in asked[0]


def test_newer_work_on_the_same_hosts_is_told_of(store: Store) -> None:
    """Where a rollback would undo something; what is undone, or elsewhere, is not in the way."""
    done: list[Given] = [entry(""), intent(""), outcome("")]
    found = written(store, *done)
    later = written(store, *done, at=AT + timedelta(1))
    written(store, replace(entry(""), host="web2"), intent(""), outcome(""), at=AT + timedelta(2))
    written(store, entry(""), at=AT + timedelta(3))
    written(store, *done, intent("", undo=True), outcome("", undo=True), at=AT + timedelta(4))
    written(store, *done, at=AT - timedelta(1))
    namesake = packed_way(opskit.Host("web1", address="10.0.0.1"))
    written(store, replace(entry(""), way=namesake), intent(""), outcome(""), at=AT + timedelta(5))
    (line,) = Rollback(store, found).newer()
    assert line.startswith(later)


def test_who_has_locked_the_same_hosts_is_told_of(store: Store, other: Store) -> None:
    """Whenever it was begun, whatever it has to undo, and whatever it calls them; not who has locked others."""
    facts: list[Given] = [entry("", way=packed_way(opskit.Host("web1"))), intent(""), outcome("")]
    found = written(store, *facts)
    for transaction, key in (("same", "web1:22"), ("another", "web1:2222")):
        other.lock(Transaction(transaction, "theirs", "transaction", None, AT - timedelta(1)), {key: key})
    written(other, *facts, at=AT - timedelta(1))
    (line,) = Rollback(store, found).newer()
    assert line.startswith("same transaction theirs by ")
    assert line.endswith("running, which has locked them")


def test_locked_hosts_are_shown_by_name(store: Store) -> None:
    """As people know them, where an undo says how they are reached; the others by address and port."""
    hosts = [opskit.Host(f"app{number}", address="127.0.0.1", port=2200 + number) for number in (1, 2)]
    found = written(
        store, *(entry("", number, host=one.name, way=packed_way(one)) for number, one in enumerate(hosts, 1))
    )
    wanted = [*map(keys.of_host, hosts), "10.0.0.1:22", keys.of_name("db")]
    store.lock(store.now(found).transaction, {key: key for key in wanted})
    assert "keeps others off 10.0.0.1:22,app[1-2],the lock 'db', until it has ended" in str(journal.show(found))


def test_locks_that_a_dead_process_left_are_unfinished(store: Store, other: Store) -> None:
    """Though nothing was sent. What it keeps others off is shown, and it is not forgotten; a close ends it."""
    for name in ("left", "going on"):
        made = other if name == "left" else store
        keys = {f"{name} {number}:22": name for number in (1, 2)} | {f"name {name}": name}
        made.lock(Transaction(name, name, "transaction", None, AT), keys)
    assert journal.unfinished().empty
    other.close()
    (row,) = journal.unfinished().to_dict("records")
    assert row["transaction"] == "left"
    assert row["what_to_do"] == "nothing can be undone: opskit close left --why '...', which ends its locks"
    assert "keeps others off left [1-2]:22,the lock 'left', until it has ended" in str(journal.show("left"))
    assert journal.prune(datetime.now(UTC)) == 0
    journal.close("left", "seen")
    assert "keeps others off" not in str(journal.show("left"))
    assert journal.unfinished().empty


# Deciding


def test_close_takes_a_reason_and_is_final(store: Store, other: Store) -> None:
    """What another process left is closed; what ended well can't be."""
    left = written(other, entry(""), intent(""))
    with pytest.raises(opskit.RollbackError, match="still runs 1 step"):
        journal.close(left, "nobody needs it", force=True)
    idle = written(other, entry(""), intent(""), outcome(""))
    with pytest.raises(opskit.RollbackError, match="still runs in the kernel of"):
        journal.close(idle, "nobody needs it")
    words = "close", idle, "--why", "nobody needs it"
    assert (main(words), main([*words, "--force"])) == (2, 0)
    assert other.now(idle).state == "closed"
    other.close()
    with pytest.raises(opskit.PlanError, match="close: say why"):
        journal.close(left, " ")
    journal.close(left, "nobody needs it")
    assert journal.df.iloc[0][["state", "reason"]].tolist() == ["closed", "nobody needs it"]
    ended = written(store)
    store.move(ended, "succeeded")
    with pytest.raises(opskit.RollbackError, match="can't become closed: it is succeeded"):
        journal.close(ended, "tidy")


def test_settle_says_what_became_of_the_unknown(store: Store, other: Store) -> None:
    """Of that host alone: the unknown steps, and where none is, all; a branch narrows. Nothing is overwritten."""
    facts: list[Given] = [
        entry("", 1, branch="a"), intent("", 1),
        entry("", 2, branch="b"), intent("", 2), outcome("", 2, "failed"),
        entry("", 3, host="web2"), intent("", 3),
    ]  # fmt: skip
    found = written(other, *facts)
    with pytest.raises(opskit.RollbackError, match="still under way by"):
        journal.settle(found, "web1", "ok", "saw it")
    other.close()
    (row,) = journal.settle(found, "web1", "not_started", "its log has nothing")
    assert (row.host, row.status, row.error) == ("web1", "not_started", "settled by a person: its log has nothing")
    assert [row.status for row in journal.settle(found, "web1", "ok", "saw it", branch="b")] == ["ok"]
    assert [row.status for row in journal.results(found)] == ["not_started", "ok", "unknown"]
    assert len(journal.settle(found, "web1", "failed", "no")) == 2
    assert [note.old_status for note in store.notes(found)] == ["unknown", "failed", "not_started", "ok"]
    account = store.accounts(found)[1]
    assert [fact.status for fact in account.outcomes] == ["failed"]


def test_settle_refuses_what_is_no_word_and_no_host(store: Store) -> None:
    """With what may have been meant, and nothing is noted."""
    found = written(store, entry(""), intent(""), outcome(""))
    store.move(found, "succeeded")
    with pytest.raises(opskit.PlanError, match=r"'okay' is no status; did you mean 'ok'"):
        journal.settle(found, "web1", "okay", "x")  # type: ignore[arg-type]
    for word in ("running", "skipped"):
        with pytest.raises(opskit.PlanError, match="is no status"):
            journal.settle(found, "web1", word, "x")
    with pytest.raises(opskit.RollbackError, match=r"no step on 'wbe1'; did you mean 'web1'"):
        journal.settle(found, "wbe1", "ok", "x")
    with pytest.raises(opskit.RollbackError, match="no undo of the branch 'x' on 'web1'"):
        journal.settle(found, "web1", "ok", "x", undo=True, branch="x")
    with pytest.raises(opskit.PlanError, match="settle: say why"):
        journal.settle(found, "web1", "ok", "")
    assert store.notes(found) == []


def test_secrets_in_reasons_are_masked(store: Store) -> None:
    """What a person says goes into the journal as everything else does."""
    opskit.secret("hunter2-hunter2").reveal()
    found = written(store, entry(""), intent(""), outcome(""))
    store.move(found, "succeeded")
    journal.settle(found, "web1", "failed", "password hunter2-hunter2 was wrong")
    assert "hunter2" not in str(journal.show(found))
    assert b"hunter2" not in store.path.read_bytes() + store.path.with_name("journal.db-wal").read_bytes()


def test_prune_forgets_what_has_ended(store: Store, other: Store) -> None:
    """And keeps what still needs somebody."""
    ended = written(store)
    store.move(ended, "succeeded")
    left = written(other, entry(""), intent(""))
    other.close()
    assert journal.prune("1d") == 0
    assert journal.prune(timedelta(0)) == 1
    assert journal.df["transaction"].tolist() == [left]
    with pytest.raises(opskit.PlanError, match="before='90' must be a time"):
        journal.prune("90")


# Times


@given(st.integers(0, 10**6), st.sampled_from("smhdw"))
def test_how_long_ago_is_text_or_a_timedelta(number: int, unit: str) -> None:
    """`90m` is what `timedelta(minutes=90)` is; what lies before all time is no time."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit] * number
    before = datetime.now(UTC)
    try:
        found = checks.moment(f"{number}{unit}")
    except ValueError:
        assert seconds > 2000 * 365 * 86400
        return
    assert timedelta(0) <= found - (before - timedelta(seconds=seconds)) < timedelta(seconds=5)


def test_a_time_without_a_zone_is_of_this_machine() -> None:
    """Text and datetimes alike."""
    there = datetime(2026, 1, 31, 10, 0)  # noqa: DTZ001 - that is what is tested
    assert checks.moment("2026-01-31 10:00") == checks.moment(there) == there.astimezone(UTC)
    assert checks.moment("2026-01-31T10:00+02:00") == datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize("value", ["", "2", "h", "-2h", "2 fortnights", 5, None, timedelta.max])
def test_what_is_no_time_is_told_what_one_is(value: object) -> None:
    """One message for all."""
    with pytest.raises(ValueError, match="or how long ago: 90m, 2h, 30d"):
        checks.moment(value)


def test_prune_needs_a_time(store: Store) -> None:
    """Nothing is forgotten for want of a word."""
    with pytest.raises(opskit.PlanError, match="before=None"):
        journal.prune(None)  # type: ignore[arg-type]  # what a caller may well have in a variable
