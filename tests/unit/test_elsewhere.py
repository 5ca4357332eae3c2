"""Who else is at the hosts of a plan: a second store is another process."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import opskit
from opskit import Host, Inventory, elsewhere, shared
from opskit.asking import asks_here
from opskit.elsewhere import ALONE
from opskit.record.store import Store
from opskit.settings import current
from opskit.testing import ScriptedTransport
from opskit.work.kept import packed_way
from tests.system.ground import wait_until
from tests.unit.record.material import TX, begun, brought, entry, intent, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opskit.record.moves import State

FLEET = Inventory([Host(name) for name in ("web1", "web2", "db1")])


@pytest.fixture(autouse=True)
def _fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three hosts that answer well; nobody was warned of anything yet."""
    transport = ScriptedTransport()
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    monkeypatch.setattr(elsewhere, "_told", set())
    with opskit.use(FLEET):
        yield


@pytest.fixture
def theirs() -> Iterator[Store]:
    """The same journal in another process."""
    with closing(Store(shared.store().path)) as made:
        yield made


@pytest.fixture
def is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the journal were in PostgreSQL."""
    monkeypatch.setattr(elsewhere, "_file", lambda: None)


def dry() -> list[opskit.Plan]:
    """The same plan in every way to look at one."""

    async def awaited() -> list[opskit.Plan]:
        async with opskit.parallel(dry_run=True) as session:
            session.otherwise("true")
        return [await opskit.arun("true", dry_run=True), session.plan]

    with opskit.parallel(dry_run=True) as session:
        session.otherwise("true")
    return [opskit.plan("true"), opskit.run("true", dry_run=True), session.plan, *asyncio.run(awaited())]


def test_a_plan_warns_of_what_others_have_open(theirs: Store) -> None:
    """Who, what, since when, on how many of its hosts, and what can be done; not of what is over, or elsewhere."""
    begun(theirs, TX, *(entry(number, host=name) for number, name in enumerate(("web1", "web2", "away"), 1)))
    begun(theirs, "away", entry(transaction="away", host="away"))
    begun(theirs, "over", entry(transaction="over"))
    theirs.move("over", "succeeded")
    with opskit.transaction():
        opskit.run("true")
        for plan in dry():
            (warning,) = plan.warnings
            who = theirs.now(TX).owner
            assert warning == (
                f"transaction deploy ({TX}) of {who} is running on 2 of 3 hosts, since 2026-01-02 03:04 UTC:"
                f" opskit attach {TX} shows it, opskit rollback {TX} undoes it"
            )
            assert f"warning: {warning}" in str(plan)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("running", rf"was left open when that process died, .* since .*: opskit rollback {TX} undoes what it left"),
        ("rollback_partial", rf"is rolled back in part .* opskit rollback {TX} tries the rest"),
    ],
)
def test_what_the_dead_left_is_warned_of(theirs: Store, state: State, says: str) -> None:
    """With what to do about it; also where the process ended in order."""
    begun(theirs, TX, entry(), intent())
    brought(theirs, state)
    theirs.close()
    (warning,) = opskit.plan("true").warnings
    assert f"({TX}) of " in warning
    assert re.search(says, warning)


def test_locked_hosts_are_counted(theirs: Store) -> None:
    """Also where nothing was planned on them yet, and whatever their names are there."""
    theirs.lock(transaction(), {"web1:22": "w", "web2:22": "x", "away:22": "y"})
    (warning,) = opskit.plan("true").warnings
    assert "is running on 2 of 3 hosts, 2 of them locked, since" in warning
    assert opskit.plan("true", hosts="db1").warnings == ()


def test_a_host_with_another_name_is_warned_of(theirs: Store) -> None:
    """By how it is reached, where the transaction has an undo on it; not one of the same name that is another."""
    other = Host("other", address="web1")
    begun(theirs, TX, entry(host="other", way=packed_way(other)), entry(2, host="web2", way=packed_way(other)))
    (warning,) = opskit.plan("true", hosts="web1").warnings
    assert f"({TX}) of {theirs.now(TX).owner} is running on 1 of 1 host, since" in warning
    assert opskit.plan("true", hosts="web2").warnings == ()


def test_a_warning_is_one_line(theirs: Store) -> None:
    """Whatever others have called theirs, with what to do in it, and nothing that commands a terminal."""
    begun(theirs, TX, entry(), name="w\n\x1b[31m" + "x" * 1000)
    (warning,) = opskit.plan("true").warnings
    assert warning.startswith("transaction w ⏎ xxx")
    assert warning.isprintable()
    assert f"opskit rollback {TX} undoes it" in warning


def test_who_is_asked_before_a_run_is_told(theirs: Store) -> None:
    """`confirm` shows the plan with what others have open: that may change the answer."""
    begun(theirs, TX, entry())
    questions: list[str] = []

    def refuse(question: str) -> bool:
        questions.append(question)
        return False

    token = asks_here.set(refuse)
    with pytest.raises(opskit.Cancelled):
        opskit.run("true", confirm=True)
    asks_here.reset(token)
    assert f"({TX}) of {theirs.now(TX).owner} is running on 1 of 3 hosts" in questions[0]


def test_many_are_not_all_listed(theirs: Store) -> None:
    """The newest, and how many more there are."""
    for number in range(11):
        begun(theirs, f"T{number}", entry(transaction=f"T{number}"))
    warnings = opskit.plan("true").warnings
    assert len(warnings) == 9
    assert warnings[-1] == "and 3 more transactions of others are open on these hosts: opskit journal"


def test_it_is_looked_up_anew_where_a_plan_is_loaded(theirs: Store, tmp_path: Path) -> None:
    """A file keeps what is of the plan itself; and two plans do not differ by what others do."""
    begun(theirs, TX, entry())
    before = opskit.plan("true")
    before = replace(before, warnings=("of the plan", *before.warnings))
    before.save(tmp_path / "plan")
    assert TX not in (tmp_path / "plan").read_text()
    assert opskit.load_plan(tmp_path / "plan").warnings == before.warnings
    theirs.move(TX, "succeeded")
    after = opskit.load_plan(tmp_path / "plan")
    assert after.warnings == ("of the plan",)
    assert after.diff(before).empty


def test_a_journal_in_a_file_is_yours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said under the plan, and is no warning; no file is made for it."""
    place = Path(str(current().journal))
    for plan in dry():
        assert plan.warnings == ()
        assert str(plan).splitlines()[-1] == ALONE
        assert ALONE in plan._repr_html_()
    assert not place.exists()
    monkeypatch.setattr(elsewhere, "_file", lambda: None)
    assert ALONE not in str(opskit.plan("true"))


@pytest.mark.parametrize("journal", ["oracle://nowhere", "{file}"])
def test_a_journal_that_cannot_be_read_keeps_no_plan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, journal: str
) -> None:
    """A warning says that nothing is known, and why."""
    file = tmp_path / "file"
    file.write_text("no journal")
    monkeypatch.setenv("OPSKIT_JOURNAL", journal.format(file=file))
    (warning,) = opskit.plan("true").warnings
    assert warning.startswith("what others do on these hosts is not known: ")


def test_a_run_warns_beside_it_once_of_each(theirs: Store, caplog: pytest.LogCaptureFixture, is_shared: None) -> None:
    """Where the journal is shared; and is not held up."""
    begun(theirs, TX, entry())
    opskit.run("true")
    wait_until(lambda: TX in caplog.text)
    begun(theirs, "later", entry(transaction="later"))
    opskit.plan("true").apply()
    wait_until(lambda: "(later)" in caplog.text)
    assert len([record for record in caplog.records if TX in record.message]) == 1
    assert all(record.levelname == "WARNING" for record in caplog.records)


def test_nothing_is_read_for_a_run_where_the_journal_is_a_file(
    theirs: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It costs nothing there."""
    begun(theirs, TX, entry())
    monkeypatch.setattr(Store, "open_elsewhere", None)
    opskit.run("true")
    with opskit.parallel() as session:
        session.otherwise("true")
    assert caplog.text == ""
