"""The journal in PostgreSQL while real OpenSSH works: a server that is gone, owners that are paused, or cut off.

Leases are of a few seconds here; with `OPSKIT_LONG=1` they, the pauses and the outages are as long as in earnest.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import opskit
import opskit.journal
from opskit import shared
from opskit.errors import JournalError
from opskit.record.postgres import connecting, database
from opskit.record.postgres.database import PostgresDatabase
from opskit.record.store import Store
from tests.system import postgres
from tests.system.crashing import CHUNK, DEPLOY, HOSTS, LONG
from tests.system.ground import wait_until
from tests.system.network import network
from tests.system.postgres import Server
from tests.system.test_faults_journal import act, statuses
from tests.unit.record.material import setting

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from opskit.results import Results
    from tests.system.sshd import SshdFleet
    from tests.system.test_crashes import GroundIn

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("leases")]
server = postgres.server

leases = postgres.leases
ground_in = postgres.ground_in


# The server is gone


@pytest.fixture(scope="module")
def breakable() -> Iterator[Server]:
    """A server that tests stop; leave it running."""
    with Server() as started:
        yield started


def test_a_server_that_crashes_and_is_back_is_a_pause(sshd_fleet: SshdFleet, tmp_path: Path, breakable: Server) -> None:
    """F36: what runs goes on, what is to be sent waits, and the journal has each fact once."""
    back = 5.0 if LONG else 1.0
    inventory = opskit.load_inventory(sshd_fleet.inventory_path).select(hosts=["h1", "h2", "h3"])
    with opskit.configure(journal=setting(breakable.url(breakable.journal()))), opskit.use(inventory):

        def crash(*_: object) -> None:
            if not (tmp_path / "go").exists():
                breakable.stop()
                threading.Timer(back, breakable.start).start()
                (tmp_path / "go").touch()

        assert statuses(opskit.run(act(tmp_path), chunk=1, on_output=crash)) == ["ok"] * 3
        assert (tmp_path / "ran").read_text().split() == ["h1", "h2", "h3"]
        (transaction,) = opskit.journal.transactions().transaction
        assert statuses(opskit.journal.results(transaction)) == ["ok"] * 3
        shared.store().close()


def test_a_server_that_hangs_is_left_for_a_connection_that_answers(
    breakable: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of the server that is stopped in the middle is given up, and what was asked is asked anew."""
    monkeypatch.setattr(connecting, "SILENCE", 0.5)
    stopped: list[int] = []

    def work(connection: Connection) -> int:
        pid: int = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        if not stopped:
            stopped.append(pid)
            os.kill(pid, signal.SIGSTOP)
        connection.exec_driver_sql("SELECT 1")
        return pid

    with closing(PostgresDatabase(breakable.url(breakable.journal()))) as opened:
        try:
            assert opened.read(work) not in stopped
        finally:
            os.kill(stopped[0], signal.SIGCONT)


def test_a_server_that_stays_away_stops_what_was_not_sent(
    sshd_fleet: SshdFleet, tmp_path: Path, breakable: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F36, R16: the error says what did run; later the journal has all of it, and it can be undone."""
    if not LONG:
        monkeypatch.setattr(database, "PATIENCE", 1.0)
    inventory = opskit.load_inventory(sshd_fleet.inventory_path).select(hosts=["h1", "h2", "h3"])
    with opskit.configure(journal=setting(breakable.url(breakable.journal()))), opskit.use(inventory):

        def crash(*_: object) -> None:
            if not (tmp_path / "go").exists():
                breakable.stop()
                (tmp_path / "go").touch()

        undo = f"echo {{{{ server.name }}}} >>{tmp_path}/undone"
        with pytest.raises(JournalError, match="can't be reached") as error:
            opskit.run(act(tmp_path), chunk=1, undo=undo, on_output=crash, name="deploy")
        rows: Results = error.value.results  # type: ignore[attr-defined]  # as every error of a run
        assert (statuses(rows), rows[0].stdout) == (["ok", "not_started", "not_started"], "begun\ndone\n")
        with pytest.raises(JournalError, match="can't be reached"):
            opskit.run("echo none >>{{ tmp_path }}/ran")
        breakable.start()
        assert statuses(opskit.run("true")) == ["ok"] * 3
        assert (tmp_path / "ran").read_text().split() == ["h1"]
        (transaction,) = opskit.journal.transactions(name="deploy").transaction
        assert statuses(opskit.journal.results(transaction)) == ["ok", "not_started", "not_started"]
        assert opskit.journal.results(transaction)[0].stdout == "begun\ndone\n"
        opskit.journal.rollback(transaction)
        assert (tmp_path / "undone").read_text().split() == ["h1"]
        shared.store().close()


# Owners that are paused, or cut off


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill it in the end, for nobody can wait for a process that is stopped."""
    try:
        yield
    finally:
        process.kill()


def test_an_owner_that_was_paused_past_its_lease_sends_nothing_more(ground_in: GroundIn, tmp_path: Path) -> None:
    """F40, R15: another process undoes what it did; when it wakes it is told so, and no host hears of it again."""
    ground = ground_in(tmp_path / "ground")
    ground.halt("do")
    with ground.rescuer() as rescuer, ground.start(DEPLOY) as child, ended(child):
        wait_until(lambda: all(ground.log(host) for host in HOSTS[:CHUNK]), 60)  # a Python starts
        child.send_signal(signal.SIGSTOP)
        ground.wait_for_deaths()
        ground.go("do")
        assert rescuer.said() == []
        assert ground.changed() == []
        before = [ground.log(host) for host in HOSTS]
        child.send_signal(signal.SIGCONT)
        _, err = child.communicate(timeout=60)
    assert "nothing more is done in it" in err
    assert [ground.log(host) for host in HOSTS] == before
    with ground.store() as store:
        (now,) = store.transactions()
    assert (now.state, ground.differences([now.transaction.id])) == ("rolled_back", [])


def test_an_owner_that_was_paused_between_its_commit_and_its_sending_sends_nothing(
    ground_in: GroundIn, tmp_path: Path
) -> None:
    """F40, R15: in the worst moment, when its channel is asked for; what was intended was never sent."""
    ground = ground_in(tmp_path / "ground")
    stops = """
    import signal
    import opskit.transport.ssh.link as links
    began = links.Link.began
    def stopped(link, process):
        signal.raise_signal(signal.SIGSTOP)  # this thread first
        return began(link, process)
    links.Link.began = stopped
    """
    with ground.rescuer() as rescuer, ground.start(stops + DEPLOY, hosts=["h1"]) as child, ended(child):
        wait_until(lambda: stopped(child.pid), 60)  # a Python starts
        ground.wait_for_deaths()
        assert rescuer.said() == []
        child.send_signal(signal.SIGCONT)
        _, err = child.communicate(timeout=60)
    assert "nothing more is done in it" in err or "lease lost" in err
    with ground.store() as store:
        (now,) = store.transactions()
    assert (ground.changed(), ground.differences([now.transaction.id])) == ([], [])
    assert not [line for host in HOSTS for line in ground.log(host) if line.what == "do"]


def stopped(pid: int) -> bool:
    """Whether a process is stopped."""
    return "T (stopped)" in Path(f"/proc/{pid}/status").read_text()


def test_an_owner_that_is_cut_off_past_its_lease_sends_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F37, R15: its hosts are still there for it, but another process has closed its transaction by then."""
    quick = {} if LONG else {"tcp_user_timeout": "1000", "connect_timeout": "2"}
    if not LONG:
        monkeypatch.setattr(database, "PATIENCE", 2.0)
    with ExitStack() as stack:
        net = stack.enter_context(network())
        fleet = stack.enter_context(net.sshd(tmp_path, 3))
        own = stack.enter_context(Server(net.hosts[-1], ["ip", "netns", "exec", net._name]))
        journal = own.journal()
        others = stack.enter_context(closing(Store(own.url(journal))))
        stack.enter_context(opskit.use(opskit.load_inventory(fleet.inventory_path)))
        stack.enter_context(opskit.configure(journal=setting(own.url_by(own.port, journal, **quick))))

        def cut_off(*_: object) -> None:
            if not (tmp_path / "go").exists():
                net.cut_off(own.address)
                (now,) = others.transactions()
                wait_until(lambda: others.now(now.transaction.id).abandoned, database.LEASE + 10)
                others.claim(now.transaction.id, "closed", "its owner is gone")
                (tmp_path / "go").touch()

        with pytest.raises(JournalError, match="can't be reached") as error:
            opskit.run(act(tmp_path), chunk=1, on_output=cut_off)
        rows: Results = error.value.results  # type: ignore[attr-defined]  # as every error of a run
        assert statuses(rows) == ["ok", "not_started", "not_started"]
        net.heal()
        (now,) = others.transactions()
        assert (now.state, now.why) == ("closed", "its owner is gone")
        assert statuses(opskit.run("true")) == ["ok"] * 3
        assert (tmp_path / "ran").read_text().split() == ["h1"]
        shared.store().close()
