"""The journal in PostgreSQL: who may open it, how it is made, who lives, who waits for whom, and lines that break."""

from __future__ import annotations

import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from sqlalchemy import event, text

import opskit
from opskit import shared
from opskit.cli import main
from opskit.errors import JournalError, RollbackError
from opskit.record import tables
from opskit.record.facts import Ended, Unsent
from opskit.record.places import shown
from opskit.record.postgres import database
from opskit.record.postgres.connecting import hold
from opskit.record.postgres.database import PostgresDatabase
from opskit.record.postgres.preparing import grants, prepare
from opskit.record.store import Store, opened
from tests.system import postgres
from tests.system.ground import wait_until
from tests.system.postgres import PASSWORD, PROTECTED, SUPERUSER, Server
from tests.system.proxy import Proxy
from tests.unit.record.material import (
    AT,
    TX,
    Place,
    another_process,
    begun,
    change,
    entry,
    intent,
    line,
    note,
    outcome,
    part,
    rows,
    setting,
    transaction,
    wish,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

    from opskit.record.facts import Fact
    from tests.system.proxy import Direction

pytestmark = pytest.mark.system
server = postgres.server
database_name = postgres.database_name
journal = postgres.journal


@pytest.fixture
def store(journal: URL) -> Iterator[Store]:
    """A store, and by it an owner."""
    with closing(Store(journal)) as made:
        yield made


@pytest.fixture
def other(journal: URL) -> Iterator[Store]:
    """Another owner, as in another process."""
    with closing(Store(journal)) as made:
        yield made


def fails(place: Place) -> str:
    """What the JournalError says when the journal is opened: one line, that names it and no password."""
    with pytest.raises(JournalError) as error:
        opened(setting(place))
    said = str(error.value)
    assert said.startswith(f"the journal {shown(place)} ")
    assert "\n" not in said
    assert PASSWORD not in "".join(traceback.format_exception(error.value))
    return said


def engine_of(store: Store) -> Engine:
    """What the store's connections come from."""
    assert isinstance(store._database, PostgresDatabase)
    return store._database._engine


# Who may open it


def test_who_may_not_connect_is_told_why(server: Server, database_name: str) -> None:
    """A wrong password, an unknown role, a missing database, a server that is not there: each in one line."""
    assert f"does not let {PROTECTED} in with that password" in fails(
        server.url(database_name, PROTECTED, "not " + PASSWORD)
    )
    assert "asks for a password: put one into the URL" in fails(server.url(database_name, PROTECTED))
    assert "knows no role 'nobody'" in fails(server.url(database_name, "nobody"))
    assert "make its database by `createdb none`" in fails(server.url("none"))
    gone = server.url_by(1, database_name)
    assert "can't be reached (connection to server at" in fails(gone.set(password=PASSWORD))
    Store(server.url(database_name, PROTECTED, PASSWORD).set(username=SUPERUSER)).close()


def test_a_database_without_tables_is_told_how_to_get_them(server: Server) -> None:
    """`opskit journal init` is named; nothing is made by anything else."""
    server.sql("CREATE DATABASE bare")
    assert "has no tables yet: run opskit journal init" in fails(server.url("bare"))
    assert server.sql("SELECT to_regnamespace('opskit')", "bare") == [(None,)]


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (tables.VERSION - 1, "run opskit journal init, which upgrades it"),
        (99, f"knows {tables.VERSION}: upgrade opskit"),
    ],
)
def test_a_journal_of_another_version_is_refused(server: Server, version: int, says: str) -> None:
    """B31, R17: an older one is not upgraded by the way, others work in it; a newer one needs a newer opskit."""
    name = server.journal()
    server.sql(f"UPDATE opskit.meta SET version = {version}", name)
    said = fails(server.url(name))
    assert f"is of version {version}, " in said
    assert says in said


# How it is made


def test_init_makes_the_tables_once(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """What it did is said; the second time it does nothing, and what is there stays."""
    server.sql("CREATE DATABASE fresh")
    monkeypatch.setenv("OPSKIT_JOURNAL", setting(server.url("fresh")))
    assert main(["journal", "init"]) == 0
    with closing(Store(server.url("fresh"))) as store:
        begun(store)
        assert main(["journal", "init"]) == 0
        assert store.now(TX).state == "running"
    place = shown(server.url("fresh"))
    assert capsys.readouterr().out.splitlines() == [
        f"the journal {place} was made, of version {tables.VERSION}",
        f"the journal {place} is of version {tables.VERSION}",
    ]


def test_two_who_make_it_at_once_make_it_once(server: Server) -> None:
    """One does it, the other waits, and finds it done."""
    server.sql("CREATE DATABASE twice")
    with ThreadPoolExecutor(4) as pool:
        said = sorted(pool.map(prepare, [setting(server.url("twice"))] * 4))
    assert [" was made" in one for one in said] == [False, False, False, True]


def test_init_upgrades_in_one_transaction(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """R17: an older journal gets to this version, or stays as it was; a newer one is refused."""
    url = setting(server.url(older := server.journal()))
    version = tables.VERSION

    def add(then: str, connection: Connection) -> None:
        connection.execute(text("CREATE TABLE added (x integer)"))
        connection.execute(text(then))

    with monkeypatch.context() as patch:
        patch.setattr(tables, "VERSION", version + 1)
        patch.setitem(tables.UPGRADES, version, partial(add, "INSERT INTO nothing VALUES (1)"))
        with pytest.raises(JournalError, match=r"\(relation \"nothing\" does not exist|lacks a table"):
            prepare(url)
        assert server.sql("SELECT to_regclass('opskit.added')", older) == [(None,)]
        patch.setitem(tables.UPGRADES, version, partial(add, "SELECT 1"))
        assert prepare(url).endswith(f"is of version {version + 1}, and was of {version}")
        Store(server.url(older)).close()
    with pytest.raises(JournalError, match=f"is of version {version + 1}, and this opskit knows {version}: upgrade"):
        prepare(url)


# Roles


def test_a_role_may_be_let_in_to_add_and_to_read_alone(server: Server, journal: URL, store: Store) -> None:
    """S19, S20: with what `--grants` prints all of it works but pruning; no fact can be changed or deleted."""
    assert journal.database is not None
    server.sql("CREATE ROLE operator LOGIN")
    mere = journal.set(username="operator")
    assert "is closed to role operator: its owner grants what" in fails(mere)
    server.sql("GRANT USAGE ON SCHEMA opskit TO operator", journal.database)
    assert "is not for this role to SELECT in (permission denied for table meta)" in fails(mere)
    server.sql(grants("operator"), journal.database)
    begun(store, "THEIRS", entry(1, transaction="THEIRS"))
    store.move("THEIRS", "failed")
    with closing(Store(mere)) as own:
        begun(own, TX, part(1), entry(1), intent(1), outcome(1), note(1), unsent())
        own.move(TX, "failed")
        assert own.claim("THEIRS", "rolling_back", "why").owner.who == "operator"
        assert (own.who, len(own.accounts(TX)), len(own.transactions())) == ("operator", 1, 2)
        with pytest.raises(JournalError, match=r"to DELETE in \(permission denied for table tx\): its owner grants"):
            own.prune(datetime.now(UTC))
        change(own, f"INSERT INTO lock VALUES ('h1:22', '{TX}', '2026')")
        change(own, "DELETE FROM lock")
        for end in (own.withdraw, lambda wished: own.take_request(wished.transaction)):
            assert own.ask(asked := wish(own, None))
            assert end(asked)
    for table in tables.metadata.sorted_tables:
        for column in table.c.keys():  # noqa: SIM118 - names
            if (table.name, column) not in [("owner", name) for name in ("beat_at", "written", "ended_at")]:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    server.sql(f'UPDATE opskit.{table.name} SET "{column}" = NULL', journal.database, "operator")
        if table.name not in ("lock", "request"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                server.sql(f"DELETE FROM opskit.{table.name}", journal.database, "operator")


def unsent(**changes: Any) -> Unsent:
    """A step that could not be sent: a fact without a key."""
    return replace(Unsent(TX, 1, False, 1, "unreachable", None, AT), **changes)


def test_a_role_may_only_read(server: Server, journal: URL, store: Store) -> None:
    """S19: what it may not do is said when it tries."""
    assert journal.database is not None
    server.sql("CREATE ROLE auditor LOGIN")
    server.sql("\n".join(grants("auditor").splitlines()[:2]), journal.database)
    begun(store, TX, entry(1))
    with closing(Store(journal.set(username="auditor"))) as own:
        assert (own.now(TX).owner.alive, len(own.accounts(TX))) == (True, 1)
        with pytest.raises(JournalError, match=r"to INSERT in \(permission denied for table owner\): its owner grants"):
            own.claim(TX, "closed", "why")


# Who lives


def silent_for(store: Store, seconds: int) -> None:
    """Let an owner's last beat be so long ago, by the database's clock."""
    with engine_of(store).begin() as connection:
        ago = "clock_timestamp() - make_interval(secs => :seconds)"
        connection.execute(
            text(f"UPDATE owner SET beat_at = {ago} WHERE id = :me"), {"seconds": seconds, "me": store.owner_id}
        )


def test_who_does_not_beat_for_a_lease_is_dead(store: Store, other: Store) -> None:
    """R14, R15, F40: then it is taken over from, and can write no intent; what it knows of others it still can."""
    begun(store, TX, entry(1), entry(2), intent(1))
    silent_for(store, 29)
    with pytest.raises(RollbackError, match="still runs 1 step in the kernel of"):
        other.claim(TX, "rolling_back", None)
    silent_for(store, 31)
    assert other.now(TX).abandoned
    assert other.claim(TX, "rolling_back", None).epoch == 2
    assert store.write([intent(2), outcome(1)]) == {TX}
    assert [(len(account.intents), len(account.outcomes)) for account in store.accounts(TX)] == [(1, 1), (0, 0)]


def test_who_was_silent_and_is_not_taken_over_from_goes_on(store: Store, other: Store) -> None:
    """A laptop that slept lives again with its next commit; also where it was forgotten, for it owned nothing."""
    begun(store, TX, entry(1))
    silent_for(store, 3600)
    assert other.now(TX).abandoned
    assert not store.write([intent(1)])
    assert not other.now(TX).abandoned
    store.move(TX, "succeeded")
    silent_for(store, 3600)
    assert other.prune(datetime.now(UTC) + timedelta(days=1)) == 1
    assert (other.write([]), rows(other, "SELECT id FROM owner")) == (frozenset(), [(other.owner_id,)])
    begun(store)
    assert not other.now(TX).abandoned


def test_an_owner_beats(journal: URL, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, from its first commit until it ends; then it is dead at once."""
    monkeypatch.setattr(database, "BEAT", 0.02)
    with closing(Store(journal)) as store:
        assert rows(other, "SELECT * FROM owner") == []
        begun(store)
        silent_for(store, 3600)
        wait_until(lambda: not other.now(TX).abandoned)
    assert other.now(TX).abandoned
    assert [thread.name for thread in threading.enumerate() if thread.name == "opskit-beat"] == []


def test_a_killed_process_is_dead_when_its_lease_is_over(journal: URL, store: Store) -> None:
    """R14, C8: nobody can tell at once whether it is only cut off."""
    code = "store.write([transaction(), entry(1), intent(1)])\nprint(flush=True)\ninput()"
    with another_process(journal, code) as process:
        line(process.stdout)
        process.kill()
        process.wait()
    with pytest.raises(RollbackError, match="still runs 1 step"):
        store.claim(TX, "rolling_back", None)
    change(store, "UPDATE owner SET beat_at = beat_at - interval '31 s' WHERE id != :me", me=store.owner_id)
    assert store.claim(TX, "rolling_back", None).epoch == 2


def test_text_with_a_nul_is_kept(store: Store) -> None:
    """Hosts may print what PostgreSQL has no text for; nor is what stands for it there taken for it."""
    for number, printed in enumerate(["\0", "a\0\0b", "\ufffe", "\ufffe0\0\ufffe1", "\ufffe\ufffe0"]):
        begun(store, f"T{number}", entry(1, transaction=f"T{number}", command=printed))
        assert store.accounts(f"T{number}")[0].entry.command == printed


# Who waits for whom


class Gate:
    """Where a commit waits before it is done."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def pass_through(self, _: object) -> None:
        """Wait, the first that comes."""
        if not self.reached.is_set():
            self.reached.set()
            assert self.opened.wait(10)


@contextmanager
def held_at_commit(store: Store, work: Callable[[], Any], then: Callable[[], Any]) -> Iterator[list[Any]]:
    """Do one thing up to its commit, begin the other, see it wait, let both end; gives what both gave, or raised."""
    gate = Gate()
    event.listen(engine_of(store), "commit", gate.pass_through)
    try:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(work)
            assert gate.reached.wait(10)
            second = pool.submit(then)
            wait_until(lambda: rows(store, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
            gate.opened.set()
            yield [one.exception() or one.result() for one in (first, second)]
    finally:
        gate.opened.set()
        event.remove(engine_of(store), "commit", gate.pass_through)


def test_a_claim_waits_for_intents_in_flight(store: Store, other: Store) -> None:
    """R15: what was all but committed when the claim began is seen by it."""
    begun(store, TX, entry(1))
    write, claim = partial(store.write, [intent(1)]), partial(other.claim, TX, "rolling_back", None)
    with held_at_commit(store, write, claim) as (written, claimed):
        assert written == frozenset()
        assert "still runs 1 step in the kernel of" in str(claimed)


def test_an_intent_waits_for_a_claim_in_flight(store: Store, other: Store) -> None:
    """R15: and is refused when that is committed; so is the transaction's end."""
    begun(store, TX, entry(1))
    write, claim = (
        partial(store.write, [intent(1), Ended(TX, "succeeded")]),
        partial(other.claim, TX, "rolling_back", None),
    )
    with held_at_commit(other, claim, write) as (claimed, written):
        assert (claimed.state, claimed.epoch, written) == ("rolling_back", 2, {TX})
    assert store.accounts(TX)[0].intents == ()


def test_of_two_claims_in_flight_one_wins(store: Store, other: Store) -> None:
    """C6, F38: the second waits for the first, and is told who that was."""
    begun(store)
    store.move(TX, "failed")
    with held_at_commit(
        store, partial(store.claim, TX, "rolling_back", None), partial(other.claim, TX, "rolling_back", None)
    ) as (won, told):
        assert won.owner.id == store.owner_id
        assert "is being rolled back by" in str(told)


def test_what_is_claimed_meanwhile_is_not_pruned(store: Store, other: Store) -> None:
    """Who prunes waits for claims in flight, and leaves what they took."""
    begun(store)
    store.move(TX, "failed")
    later = datetime.now(UTC) + timedelta(days=1)
    with held_at_commit(other, partial(other.claim, TX, "rolling_back", None), partial(store.prune, later)) as done:
        assert done[1] == 0
    assert store.now(TX).state == "rolling_back"


def test_who_waits_too_long_is_told_who_may_hold_it(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F34: as with a file; later all is well."""
    begun(store, TX, entry(1))
    begun(other, "X")
    with engine_of(other).begin() as holder, engine_of(store).connect() as waiting:
        hold(holder, [TX])
        waiting.exec_driver_sql("SET lock_timeout = '50ms'")
        waiting.commit()
        waiting.close()
        with pytest.raises(JournalError, match=r"is locked by another process for 10 s now \(it may be boss on .*\)"):
            store.write([intent(1)])
    assert not store.write([intent(1)])


# Lines that break


def terminate(server: Server) -> None:
    """End all connections, as a server that is restarted does."""
    server.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid != pg_backend_pid()"
    )


def test_connections_that_died_between_cells_are_replaced(server: Server, store: Store, other: Store) -> None:
    """F36: nobody notices; and that a connection was lost is no death."""
    begun(store, TX, entry(1), intent(1))
    terminate(server)
    assert store.now(TX).state == "running"
    terminate(server)
    assert not other.now(TX).abandoned
    assert not store.write([outcome(1)])


ALL: Final[list[Fact]] = [transaction(), part(1), entry(1), intent(1), unsent(), note(1)]
"""Also such as have no key."""


def counts(store: Store) -> dict[str, int]:
    """How many rows there are."""
    names = ("tx", "move", "part", "entry", "intent", "unsent", "note")
    return {name: len(rows(store, f"SELECT 1 FROM {name}")) for name in names}


class Cut:
    """Breaks a line where a commit is asked for, or answered; and all later ones, until it is mended."""

    def __init__(self, where: Direction, *, for_good: bool = False) -> None:
        self._where = where
        self._for_good = for_good
        self._armed = self._asked = self._broken = False

    def arm(self) -> None:
        """Break with the next commit."""
        self._armed = True

    def mend(self) -> None:
        """Let all pass again."""
        self._broken = False

    def watch(self, direction: Direction, piece: bytes) -> bool:
        """Say whether a piece is passed on."""
        if self._armed and direction == "up" and piece.endswith(b"COMMIT\0"):
            self._armed, self._asked = False, True
        if self._asked and direction == self._where:
            self._asked, self._broken = False, self._for_good
            return False
        return not self._broken


@pytest.fixture
def behind(server: Server, journal: URL) -> Iterator[Callable[[Cut], Store]]:
    """Opens a store behind a line that breaks."""
    assert journal.database is not None
    name = journal.database
    with ExitStack() as stack:

        def open_behind(cut: Cut) -> Store:
            proxy = stack.enter_context(Proxy("127.0.0.1", server.port, cut.watch))
            return stack.enter_context(closing(Store(server.url_by(proxy.port, name))))

        yield open_behind


@pytest.mark.parametrize("where", ["up", "down"])
def test_a_commit_whose_answer_was_lost_is_done_once(behind: Callable[[Cut], Store], where: Direction) -> None:
    """F36: whether it was done is looked up, also where no key would tell."""
    cut = Cut(where)
    store = behind(cut)
    store.write([])
    cut.arm()
    assert store.write(ALL) == frozenset()
    assert set(counts(store).values()) == {1}
    begun(store, "NEXT", entry(1, transaction="NEXT"))
    cut.arm()
    assert store.claim("NEXT", "rolling_back", "why").epoch == 2
    assert [now.state for now in store.moves("NEXT")] == ["running", "rolling_back"]


@pytest.mark.parametrize("where", ["up", "down"])
def test_what_could_not_be_looked_up_is_looked_up_later(
    behind: Callable[[Cut], Store], where: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F36, R16: if the database stays away that is told, and what comes again with the next commit is there once."""
    monkeypatch.setattr(database, "PATIENCE", 0.3)
    cut = Cut(where, for_good=True)
    store = behind(cut)
    store.write([])
    cut.arm()
    with pytest.raises(JournalError, match="can't be reached"):
        store.write(ALL)
    with pytest.raises(JournalError, match="can't be reached"):
        store.write([entry(2)])
    cut.mend()
    assert not store.write([*ALL, outcome(1)])
    assert set(counts(store).values()) == {1}
    assert store.accounts(TX)[0].outcomes == (outcome(1),)


def test_an_undo_whose_registering_was_in_doubt_is_known(journal: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """F36: it was told to have failed, and is in the journal: the rollback finds it, and what it is undone by."""
    called: list[str] = []
    with opskit.configure(journal=setting(journal)), opskit.transaction() as tx:
        opskit.on_rollback(called.append, "first")
        with monkeypatch.context() as patch:
            write = shared.store().write

            def write_and_lose(facts: Any) -> None:
                write(facts)
                raise JournalError("it can't be reached")

            patch.setattr(shared.store(), "write", write_and_lose)
            with pytest.raises(JournalError):
                opskit.on_rollback(called.append, "second")
        assert tx.rollback().ok
        shared.store().close()
    assert called == ["second", "first"]


def test_a_server_that_is_back_soon_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """F36: a crash of it is a pause, for who writes and who reads; a longer one an error, after which all is well."""
    with Server() as own, closing(Store(own.url(own.journal()))) as store, ThreadPoolExecutor(2) as pool:
        begun(store)
        own.stop()
        writing, reading = pool.submit(store.write, [entry(1)]), pool.submit(store.now, TX)
        own.start()
        assert (writing.result(), reading.result().state) == (frozenset(), "running")
        monkeypatch.setattr(database, "PATIENCE", 0.2)
        own.stop()
        for _ in range(2):
            with pytest.raises(JournalError, match=r"can't be reached \(connection to server on socket .* failed: "):
                store.write([intent(1)])
        own.start()
        assert not store.write([intent(1)])
        own.stop()
