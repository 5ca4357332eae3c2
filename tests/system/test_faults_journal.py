"""Faults of the journal while hosts work, on real OpenSSH: what was not written down was not sent. F33 to F35, B31."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Final

import pytest

import opskit
import opskit.journal
from opskit import shared
from opskit.errors import JournalError
from opskit.record import sqlite, tables
from tests.needs import missing
from tests.system.ground import wait_until
from tests.system.test_crashes import background

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from opskit.results import Results
    from tests.system.sshd import SshdFleet

    Fault = Callable[[Path], AbstractContextManager[None]]

pytestmark = pytest.mark.system


@contextmanager
def full(journal: Path) -> Iterator[None]:
    """No room is left where it is."""
    filler = journal.parent / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"-" * 4096):
            pass
    yield
    filler.unlink()


@contextmanager
def locked(journal: Path) -> Iterator[None]:
    """Somebody else writes, for longer than anybody waits."""
    with closing(sqlite3.connect(journal, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def gone(journal: Path) -> Iterator[None]:
    """It was moved away."""
    journal.rename(aside := journal.with_name("aside"))
    yield
    aside.rename(journal)


@contextmanager
def replaced(journal: Path) -> Iterator[None]:
    """Another file is in its place, with the same in it."""
    journal.rename(aside := journal.with_name("aside"))
    journal.write_bytes(aside.read_bytes())
    yield
    aside.rename(journal)


FAULTS: Final[dict[str, tuple[Fault, str]]] = {
    "full": (full, "can't be written, the disk is full: make room"),
    "locked": (locked, "is locked by another process for 0.2 s now"),
    "gone": (gone, "has vanished: put it back"),
    "replaced": (replaced, "was replaced while it was open: put the file back"),
}


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A journal on a small disk of its own, for which nobody waits long."""
    if os.geteuid() != 0:
        missing("only root can mount a small disk")
    monkeypatch.setattr(sqlite, "PATIENCE", 0.2)
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        with opskit.configure(journal=str(disk / "journal.db")):
            yield disk / "journal.db"
            shared.store().close()
    finally:
        subprocess.run(["umount", disk], check=True)


def act(folder: Path) -> str:
    """Says that it has begun, and waits until the fault is there."""
    waits = f"until [ -e {folder}/go ]; do sleep 0.01; done"
    return f"echo {{{{ server.name }}}} >>{folder}/ran; echo begun; {waits}; echo done"


def run_into(fault: AbstractContextManager[None], folder: Path) -> Callable[..., None]:
    """What takes output: at the first of it the fault begins, and then the hosts go on."""

    def cause(*_: object) -> None:
        if not (folder / "go").exists():
            fault.__enter__()
            (folder / "go").touch()

    return cause


def statuses(rows: Results) -> list[str]:
    """What became of each."""
    return [row.status for row in rows]


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("whole", [False, True])
def test_a_fault_of_the_journal_stops_what_was_not_sent(
    sshd_fleet: SshdFleet, tmp_path: Path, journal: Path, name: str, *, whole: bool
) -> None:
    """F33, F34, F35, R1, R16: what runs ends and is told, nothing more is sent; afterwards the journal tells the truth.

    The next run works, and what was done can be undone.
    """
    fault, words = FAULTS[name]
    causing, hosts = fault(journal), ["h1", "h2", "h3"]
    inventory = opskit.load_inventory(sshd_fleet.inventory_path).select(hosts=hosts)
    undo = f"echo {{{{ server.name }}}} >>{tmp_path}/undone"
    tx = opskit.begin("deploy") if whole else None
    with opskit.use(inventory):
        with pytest.raises(JournalError, match=words) as error:
            opskit.run(act(tmp_path), chunk=1, undo=undo, on_output=run_into(causing, tmp_path), name="deploy")
        rows: Results = error.value.results  # type: ignore[attr-defined]  # as every error of a run
        assert (statuses(rows), rows[0].stdout) == (["ok", "not_started", "not_started"], "begun\ndone\n")
        assert words in str(rows[1].error)
        assert (tmp_path / "ran").read_text().split() == ["h1"]
        with pytest.raises(JournalError, match=words):
            opskit.run("echo none >>{{ tmp_path }}/ran")
        assert (tmp_path / "ran").read_text().split() == ["h1"]
        causing.__exit__(None, None, None)
        assert statuses(opskit.run("true")) == ["ok", "ok", "ok"]
    transaction = tx.id if tx is not None else opskit.journal.transactions(name="deploy").transaction[0]
    assert statuses(opskit.journal.results(transaction))[:3] == ["ok", "not_started", "not_started"]
    assert opskit.journal.results(transaction)[0].stdout == "begun\ndone\n"
    if tx is not None:
        tx.rollback()
    else:
        assert opskit.journal.show(transaction).now.state == "failed"
        opskit.journal.rollback(transaction)
    assert (tmp_path / "undone").read_text().split() == ["h1"]
    assert opskit.journal.show(transaction).now.state == "rolled_back"


def test_an_undo_that_can_not_be_written_down_is_not_sent(sshd_fleet: SshdFleet, tmp_path: Path, journal: Path) -> None:
    """F33, R16: the first chunk's undo ended, the others wait until the journal is back; none is sent twice."""
    causing = full(journal)
    (tmp_path / "go").touch()
    undo = f"echo {{{{ server.name }}}} >>{tmp_path}/undone; until [ -e {tmp_path}/on ]; do sleep 0.01; done"
    with opskit.use(opskit.load_inventory(sshd_fleet.inventory_path)), opskit.transaction() as tx:
        opskit.run(act(tmp_path), chunk=1, hosts=["h1", "h2", "h3"], undo=undo)

    def fill(*_: object) -> None:
        if not (tmp_path / "on").exists():
            wait_until(lambda: (tmp_path / "undone").exists() and (tmp_path / "undone").read_text())
            causing.__enter__()
            (tmp_path / "on").touch()

    with background(fill), pytest.raises(JournalError, match="the disk is full"):
        tx.rollback()
    assert (tmp_path / "undone").read_text().split() == ["h3"]
    causing.__exit__(None, None, None)
    assert statuses(tx.rollback()) == ["ok", "ok"]
    assert (tmp_path / "undone").read_text().split() == ["h3", "h2", "h1"]
    assert opskit.journal.show(tx.id).now.state == "rolled_back"


def test_a_journal_of_a_newer_opskit_sends_nothing(sshd_fleet: SshdFleet, tmp_path: Path, journal: Path) -> None:
    """B31, R17: the error says which version it is, and what to do."""
    opskit.journal.unfinished()
    shared.store().close()
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("UPDATE meta SET version = 99")
    with opskit.use(opskit.load_inventory(sshd_fleet.inventory_path)):
        with pytest.raises(JournalError, match=r"is of version 99, and this opskit knows .*: upgrade opskit"):
            opskit.run("touch {{ tmp_path }}/ran", hosts="h1")
        assert not (tmp_path / "ran").exists()
        with closing(sqlite3.connect(journal)) as connection, connection:
            connection.execute("UPDATE meta SET version = ?", [tables.VERSION])
        assert statuses(opskit.run("touch {{ tmp_path }}/ran", hosts="h1")) == ["ok"]
