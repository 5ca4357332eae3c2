"""The journal's file: where it may be, who may read it, how it is upgraded, and its faults in words."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from opskit.errors import JournalError, SettingsError
from opskit.record import sqlite, tables
from opskit.record.store import Store, opened
from tests.unit.record.material import TX, entry, outcome, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

NOBODY = 65534


def fails(path: Path) -> str:
    """What the JournalError says when the journal is opened; it names the file."""
    with pytest.raises(JournalError) as error:
        Store(path)
    assert str(path) in str(error.value)
    return str(error.value)


def pragma(store: Store, name: str) -> object:
    """A setting of the store's connections."""
    return store._database.read(lambda connection: connection.exec_driver_sql(f"PRAGMA {name}").scalar())


def engine_of(store: Store) -> Engine:
    """What the store's connections come from."""
    assert isinstance(store._database, sqlite.SqliteDatabase)
    return store._database._engine


# How it is made


def test_it_is_private_under_any_umask(tmp_path: Path) -> None:
    """S13: what is made is for its owner alone, the missing folders too, also under umask 000."""
    path = tmp_path / "a" / "b" / "journal.db"
    before = os.umask(0)
    try:
        store = Store(path)
        store.write([transaction()])
    finally:
        os.umask(before)
    found = {file.relative_to(tmp_path): stat.S_IMODE(file.stat().st_mode) for file in tmp_path.rglob("*")}
    assert {mode for file, mode in found.items() if (tmp_path / file).is_dir()} == {0o700}
    assert {mode for file, mode in found.items() if (tmp_path / file).is_file()} == {0o600}
    assert {"journal.db", "journal.db-wal", "journal.db-shm", "owners"} <= {file.name for file in found}
    store.close()


def test_what_exists_is_left_but_for_the_files_mode(tmp_path: Path) -> None:
    """A folder that is there keeps its mode; the journal in it is closed to others."""
    tmp_path.chmod(0o755)
    Store(tmp_path / "journal.db").close()
    (tmp_path / "journal.db").chmod(0o664)
    Store(tmp_path / "journal.db").close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "journal.db").stat().st_mode) == 0o600


def test_it_is_durable_and_held_to_its_keys(store: Store) -> None:
    """Every connection writes through (WAL, FULL), waits 10 s for others, and minds foreign keys."""
    found = {name: pragma(store, name) for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_writers_take_the_lock_at_once(store: Store) -> None:
    """A writing transaction begins by taking the lock; a reading one does not."""
    begun: list[str] = []
    event.listen(engine_of(store), "before_cursor_execute", lambda *given: begun.append(given[2]))
    store.write([transaction()])
    store.transactions()
    assert [statement for statement in begun if statement.startswith("BEGIN")] == ["BEGIN IMMEDIATE", "BEGIN"]


def test_who_makes_it_second_takes_the_first_ones(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that make the journal at once end with the same one, and nothing is left beside it."""
    Store(journal).close()
    with closing(sqlite3.connect(journal)) as connection:
        before = connection.execute("SELECT journal FROM meta").fetchall()
    with monkeypatch.context() as change:
        change.setattr(os.path, "lexists", lambda path: False)
        Store(journal).close()
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("SELECT journal FROM meta").fetchall() == before
    assert not [file for file in journal.parent.iterdir() if file.name.startswith(".")]


# Where it is


def test_by_default_it_is_in_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place it is journal.db in the user's state folder."""
    monkeypatch.setattr("platformdirs.user_state_dir", lambda name, **rest: str(tmp_path / name))
    store = opened(None)
    assert store.path == tmp_path / "opskit" / "journal.db"
    store.close()


def test_a_place_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, a URL and a relative path of one file give one store, until it is closed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    store = opened(str(tmp_path / "j.db"))
    for same in ("j.db", "~/j.db", f"sqlite:///{tmp_path}/j.db", "sqlite:///j.db", f"{tmp_path}/x/../j.db"):
        assert opened(same) is store
    assert opened("other.db") is not store
    opened("other.db").close()
    store.close()
    again = opened("j.db")
    assert again is not store
    again.close()
    with pytest.raises(JournalError, match="was closed"):
        store.transactions()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ann:hunter22@db/x?password=hunter22",
        "postgresql+other://ann:hunter22@db",
        "sqlite://hunter22",
        "sqlite:///",
        "://x",
    ],
)
def test_an_unknown_scheme_is_refused(url: str) -> None:
    """B30: a URL of another kind is a SettingsError that names the scheme and shows no password."""
    with pytest.raises(SettingsError) as error:
        opened(url)
    assert f"{url.partition(':')[0]}://..." in str(error.value)
    assert "hunter22" not in str(error.value)


@pytest.mark.parametrize(
    ("mounts", "refused"),
    [
        ("/ - ext4 /dev/sda", None),
        ("/ - ext4 /dev/sda\n{} - nfs4 srv:/x", "nfs4"),
        ("{} - nfs4 srv:/x\n{} - ext4 /dev/sdb", None),
        ("{} - cifs //srv/x\n/ - ext4 /dev/sda", "cifs"),
        ("{}/state shared:7 - fuse.sshfs a@b:", "fuse.sshfs"),
        ("{}/sta - 9p x", None),
        ("", None),
        (None, None),
    ],
)
def test_network_file_systems_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str | None, refused: str | None
) -> None:
    """The file system on top of the longest path counts; one of another machine is refused, naming PostgreSQL."""
    folder = tmp_path / "a b"
    folder.mkdir()
    table = tmp_path / "mountinfo"
    if mounts is not None:
        shown = str(folder).replace(" ", "\\040")
        lines = mounts.replace("{}", shown).splitlines()
        table.write_text("".join(f"22 27 0:21 / {line.replace(' - ', ' rw,relatime - ')} rw\n" for line in lines))
    monkeypatch.setattr(sqlite, "MOUNTS", table)
    if refused is None:
        Store(folder / "state" / "journal.db").close()
    else:
        with pytest.raises(JournalError, match=rf"\({refused}\).*OPSKIT_JOURNAL=postgresql://"):
            Store(folder / "state" / "journal.db")
        assert not list(folder.iterdir())


# What may not be opened


def test_links_are_refused(tmp_path: Path) -> None:
    """S13: a symbolic link is not followed, wherever it leads, nor one in the place of a file beside the journal."""
    target = tmp_path / "target.db"
    Store(target).close()
    path = tmp_path / "journal.db"
    for leads in (target, tmp_path / "nowhere"):
        path.symlink_to(leads)
        assert "is a link" in fails(path)
        path.unlink()
    for name in ("journal.db-wal", "journal.db-shm", "owners"):
        shutil.rmtree(tmp_path / "owners", ignore_errors=True)
        (tmp_path / name).symlink_to(target)
        with pytest.raises(JournalError, match=name):
            Store(path)
        (tmp_path / name).unlink()
    assert not (tmp_path / "nowhere").exists()


def test_files_of_others_are_refused(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S13: a file that belongs to another user is refused."""
    Store(journal).close()
    monkeypatch.setattr(os, "geteuid", lambda: journal.stat().st_uid + 1)
    with pytest.raises(JournalError, match=r"another user's|belongs to user"):
        Store(journal)
    shutil.rmtree(journal.parent / "owners", ignore_errors=True)
    assert "belongs to user" in fails(journal)


def test_folders_are_refused(tmp_path: Path) -> None:
    """B31: a folder is no journal; the error proposes a file in it."""
    assert f"is a folder: name a file in it, such as {tmp_path / 'journal.db'}" in fails(tmp_path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    """B31: what is no database, is empty, or is another program's database is refused, and not touched."""
    path = tmp_path / "journal.db"
    path.write_bytes(b"dear diary, " * 1000)
    assert "is not a database" in fails(path)
    path.write_bytes(b"")
    assert "is it a journal of opskit?" in fails(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE places (url)")
    before = path.read_bytes()
    assert "is it a journal of opskit?" in fails(path)
    assert path.read_bytes() == before


def test_a_file_in_the_way_of_the_folder_is_told(tmp_path: Path) -> None:
    """A journal below a file is a JournalError."""
    (tmp_path / "file").write_text("")
    assert "can't be used" in fails(tmp_path / "file" / "journal.db")


# Versions


def versioned(path: Path, version: int) -> None:
    """A journal that says that it is of this version."""
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE meta SET version = ?", [version])


def test_a_newer_journal_is_refused(journal: Path) -> None:
    """B31, R17: a journal of a newer schema is refused, with its version and what to do."""
    versioned(journal, 7)
    assert f"is of version 7, and this opskit knows {tables.VERSION}: upgrade opskit" in fails(journal)


def test_an_older_journal_is_upgraded(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R17: an older journal is brought up in one transaction, and a private copy of it is kept."""
    versioned(journal, 0)
    adds: dict[int, Any] = {0: lambda connection: connection.execute(text("CREATE TABLE added (x)"))}
    monkeypatch.setattr(tables, "UPGRADES", dict.fromkeys(range(tables.VERSION), lambda _: None) | adds)
    Store(journal).close()
    copy = journal.with_name("journal.db.v0.bak")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    for file, version, there in ((journal, tables.VERSION, 1), (copy, 0, 0)):
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT version FROM meta").fetchall() == [(version,)]
            assert len(connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'added'").fetchall()) == there


def columns(journal: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Of each table the names of its columns, their types, and which of them are its key."""
    with closing(sqlite3.connect(journal)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in names}


def test_a_journal_of_version_1_becomes_as_a_new_one(journal: Path) -> None:
    """R17: a file that an older opskit made has every table and column that a new one has, and what was in it."""
    journal.parent.mkdir()
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(Path(__file__).with_name("version_1.sql").read_text())
    store = Store(journal)
    assert (store.now(TX).state, store.now(TX).owner.who, store.now(TX).owner.alive) == ("succeeded", "ann", False)
    assert [account.outcomes for account in store.accounts(TX)] == [(outcome(1),)]
    store.write([transaction("NEXT")])
    store.close()
    Store(new := journal.with_name("new.db")).close()
    assert columns(journal) == columns(new)
    assert "beat_at" not in str(columns(journal.with_name("journal.db.v1.bak")))


def test_an_upgrade_that_fails_changes_nothing(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade that fails half way leaves the journal as it was."""

    def half(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE added (x)"))
        connection.execute(text("INSERT INTO nothing VALUES (1)"))

    versioned(journal, 0)
    monkeypatch.setattr(tables, "UPGRADES", {0: half})
    fails(journal)
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("SELECT version FROM meta").fetchall() == [(0,)]
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'added'").fetchall()


# Faults


def test_a_locked_journal_names_who_may_hold_it(journal: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """F34: who waits for a lock too long is told who else has the journal open; later all is well."""
    monkeypatch.setattr(sqlite, "PATIENCE", 0.02)
    store.write([transaction()])
    waiting = Store(journal)
    with closing(sqlite3.connect(journal, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalError, match=rf"is locked .* 0.02 s now \(it may be .* \(process {os.getpid()}\)\)"):
            waiting.write([transaction("NEXT")])
    waiting.write([transaction("NEXT")])
    waiting.close()


def test_a_full_disk_is_told(store: Store) -> None:
    """F33: when the disk is full the writing fails in words and nothing of it is there; then it goes on."""
    store.write([transaction()])
    facts = [entry(seq, command="x" * 5000) for seq in range(1, 50)]
    pragma(store, f"max_page_count = {pragma(store, 'page_count')}")
    with pytest.raises(JournalError, match="the disk is full"):
        store.write(facts)
    assert store.accounts(TX) == []
    pragma(store, "max_page_count = 100000")
    store.write(facts)
    assert len(store.accounts(TX)) == 49


@contextmanager
def as_mere_user() -> Iterator[Path]:
    """A folder of a user for whom modes count, which they do not for root."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, NOBODY, -1)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_read_only_journal_is_told() -> None:
    """F35: a journal, or a folder, that may not be written is told in words."""
    with as_mere_user() as folder:
        path = folder / "journal.db"
        Store(path).close()
        path.chmod(0o400)
        store = Store(path)
        with pytest.raises(JournalError, match="read-only"):
            store.write([transaction()])
        store.close()
        path.chmod(0o000)
        assert "can't be opened: check the mode" in fails(path)
        path.unlink()
        folder.chmod(0o500)
        assert "can't be used" in fails(path)
        folder.chmod(0o700)


def test_a_journal_that_is_gone_is_not_made_again(store: Store) -> None:
    """F35: a journal that vanished or was replaced while it was open is told, and one that is put back goes on."""
    store.write([transaction()])
    aside = store.path.with_name("aside")
    store.path.rename(aside)
    with pytest.raises(JournalError, match="has vanished: put it back"):
        store.write([entry(1)])
    assert not store.path.exists()
    shutil.copy(aside, store.path)
    with pytest.raises(JournalError, match="was replaced"):
        store.transactions()
    aside.rename(store.path)
    store.write([entry(1)])
    assert len(store.accounts(TX)) == 1


def test_a_damaged_journal_is_told(journal: Path) -> None:
    """F35: a page that was written over is told when it is met."""
    store = Store(journal)
    store.write([transaction()])
    store.write([entry(seq, command="x" * 500) for seq in range(1, 200)])
    size = int(str(pragma(store, "page_size")))
    store.close()
    with journal.open("r+b") as file:
        file.seek(2 * size)
        file.write(b"\xff" * (journal.stat().st_size - 2 * size))
    with pytest.raises(JournalError, match="is damaged"):
        Store(journal).accounts(TX)
