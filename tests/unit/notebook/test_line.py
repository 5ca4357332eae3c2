"""`%opskit`: its verbs, the words after them, and what it says when something is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit import in_use, journal, transactions
from opskit.errors import PlanError, RollbackError, SettingsError
from opskit.notebook import line as module
from opskit.notebook.line import USAGE, VERBS, Line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = opskit.Inventory([opskit.Host("here", address="local", roles={"app"})])


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Those of a notebook, whose settings end with the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with opskit.configure():
        yield {}


@pytest.fixture
def opskit_line(variables: dict[str, Any]) -> Iterator[Line]:
    """The magic of that notebook, which has one host in use."""
    with opskit.use(HERE):
        yield Line(lambda: variables, "all flags")


def test_every_verb_is_told_of_and_does_something(opskit_line: Line) -> None:
    """What Tab offers is in the help, and is no word for nothing."""
    for verb in VERBS:
        assert f"%opskit {verb}" in USAGE
        assert callable(getattr(opskit_line, f"_{verb}"))


@pytest.mark.parametrize("text", ["attached 01A", "do", "held", "_use", "journals"])
def test_what_is_no_verb_is_refused(opskit_line: Line, text: str) -> None:
    """Whatever else the object may have by that name."""
    with pytest.raises(PlanError, match=f"%opskit: there is no '{text.split(maxsplit=1)[0]}'"):
        opskit_line.do(text)


def test_any_blanks_separate_words(opskit_line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    """Tabs too, and several."""
    opskit_line.do(" transaction\t begin \t 'deploy v42' ")
    opskit_line.do("transaction\tend")
    opskit_line.do("config\tfanout")
    opskit_line.do("")
    said = capsys.readouterr().out
    assert "transaction deploy v42 (" in said
    assert "\nfanout                 64 " in said
    assert said.endswith("\nall flags\n")


@pytest.mark.parametrize("text", ["status extra", "help me"])
def test_words_that_mean_nothing_are_refused(opskit_line: Line, text: str) -> None:
    """They may have been meant for another verb."""
    with pytest.raises(PlanError, match=f"nothing can follow it, and there is '{text.split()[1]}'"):
        opskit_line.do(text)


def test_a_transaction_is_named_by_its_id_or_by_a_variable(opskit_line: Line, variables: dict[str, Any]) -> None:
    """Quoted or not; with the notebook's two ways to say what is a variable; its beginning is enough."""
    with opskit.transaction() as tx:
        opskit.run("true", hosts=HERE)
    variables |= {"tx": tx, "found": tx.id, "rows": [1]}
    for name in (tx.id, f'"{tx.id}"', tx.id[:20], "tx", "$tx", "{tx}", "{tx.id}", "$tx.id", "found", "$found"):
        shown = opskit_line.do(f"journal {name}")
        assert f"transaction {tx.id}:" in str(shown), name
    for wrong, raised, says in (
        ("$rows", PlanError, r"\$rows is a variable of type list, and no transaction"),
        ("$nowhere", RollbackError, "nowhere"),
    ):
        for verb in ("journal", "rollback", "attach"):
            with pytest.raises(raised, match=says):
                opskit_line.do(f"{verb} {wrong}")


def test_attach_shows_a_transaction_and_gives_it_back(opskit_line: Line, variables: dict[str, Any]) -> None:
    """What has ended as it was; it is not waited for. Without a name there is nothing to show."""
    with opskit.transaction() as tx:
        opskit.run("true", hosts=HERE)
        variables["tx"] = tx
        assert opskit_line.do("attach $tx").done is False  # type: ignore[attr-defined]  # it is what a cell shows
    attached = opskit_line.do(f"attach {tx.id}")
    assert isinstance(attached, opskit.Attached)
    assert str(attached) == str(journal.show(tx.id))
    with pytest.raises(PlanError, match="%opskit attach: name a transaction"):
        opskit_line.do("attach")


def test_a_rollback_takes_a_variable_too(
    opskit_line: Line, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is handed the id."""
    with opskit.transaction() as tx:
        pass
    variables["tx"] = tx
    asked: list[str] = []
    monkeypatch.setattr(journal, "confirmed_rollback", lambda found, **_: asked.append(found))
    opskit_line.do("rollback {tx.id}")
    assert asked == [tx.id]


@pytest.mark.parametrize(
    ("words", "name", "locking"),
    [
        ("--lock hosts --wait-for-lock 60 'deploy v42'", "deploy v42", {"lock": "hosts", "wait_for_lock": "60"}),
        ('"deploy -- v42" --lock="the db"', "deploy -- v42", {"lock": "the db"}),
        ("deploy v42 --lock=", "deploy v42", {"lock": ""}),
        ("--lock hosts", None, {"lock": "hosts"}),
        ("Bob's", "Bob's", {}),
    ],
)
def test_a_transaction_begins_with_a_lock(
    opskit_line: Line, monkeypatch: pytest.MonkeyPatch, words: str, name: str | None, locking: dict[str, str]
) -> None:
    """Flags and the name in any order, quoted or not; what is no flag is refused."""
    begun: list[tuple[str | None, dict[str, str]]] = []

    def begin(called: str | None, **given: str) -> transactions.Transaction:
        begun.append((called, given))
        raise PlanError("seen")

    monkeypatch.setattr(transactions, "begin", begin)
    with pytest.raises(PlanError, match="seen"):
        opskit_line.do(f"transaction begin {words}")
    assert begun == [(name, locking)]
    for wrong, says in (("--lokc hosts", "did you mean '--lock'"), ("--lock 'hosts", "No closing quotation")):
        with pytest.raises(PlanError, match=f"%opskit transaction begin: .*{says}"):
            opskit_line.do(f"transaction begin {wrong}")


def test_an_inventory_is_named_by_a_variable(opskit_line: Line, variables: dict[str, Any]) -> None:
    """With or without a dollar."""
    variables |= {"few": opskit.Inventory([opskit.Host("x")]), "rows": [1]}
    for name in ("few", "$few", "{few}", "'few'"):
        opskit_line.do(f"use {name}")
        assert in_use.default_inventory().names == ("x",)
        opskit_line.do("use few")
    with pytest.raises(PlanError, match="rows is a variable of type list"):
        opskit_line.do("use rows")


def test_status_tells_what_works_and_what_does_not(
    variables: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each in its place: hosts that can't be read, a journal that can't be opened."""
    broken = tmp_path / "hosts.yaml"
    broken.write_text("hosts: [")
    no_journal = tmp_path / "folder"
    no_journal.mkdir()
    opskit.configure(inventory=broken, journal=str(no_journal))
    Line(lambda: variables, "").do("status")
    hosts, *_ = lines = capsys.readouterr().out.splitlines()
    assert str(broken) in hosts
    assert "no transaction is open" in lines
    assert str(no_journal) in lines[-1]
    assert not [line for line in lines if line.startswith("the journal is ")]


def test_status_is_not_ended_by_a_bad_setting(
    opskit_line: Line, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is what somebody asks who looks for what is wrong."""
    monkeypatch.setenv("OPSKIT_FANOUT", "many")
    opskit_line.do("status")
    said = capsys.readouterr().out
    assert said.startswith("1 hosts in use: here\n  app: here\nno transaction is open\n")
    assert "environment variable OPSKIT_FANOUT: fanout = 'many'" in said


class FakeFleet:
    """An embedded fleet without servers."""

    up_now: list[FakeFleet] = []  # noqa: RUF012 - one list for all that are made

    def __init__(self, count: int) -> None:
        if not count:
            raise SettingsError("an embedded fleet has 1 to 500 hosts")
        self.inventory = opskit.Inventory(opskit.Host(f"app{number}") for number in range(count))

    def up(self) -> None:
        """Remember it."""
        self.up_now.append(self)

    def down(self) -> None:
        """Forget it."""
        self.up_now.remove(self)


def test_the_fleet_outlives_the_magics(
    variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is one a kernel: when they are loaded again, they replace it or take it down."""
    monkeypatch.setattr(module, "Fleet", FakeFleet)
    monkeypatch.setattr(module, "_embedded", [])
    for count in (3, 2):
        Line(lambda: variables, "").do(f"fleet up {count}")
        assert [len(fleet.inventory) for fleet in FakeFleet.up_now] == [count]
    with pytest.raises(SettingsError):
        Line(lambda: variables, "").do("fleet up 0")
    assert len(FakeFleet.up_now) == 1
    capsys.readouterr()
    for said in ("the embedded fleet is down\n", "no embedded fleet is up\n"):
        Line(lambda: variables, "").do("fleet down")
        assert capsys.readouterr().out == said
    assert FakeFleet.up_now == []
