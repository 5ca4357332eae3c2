"""What goes wrong before a command was sent, caused for real: F1 to F5, F13 and F19, and a server stopped anywhere."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import opskit
from opskit.transport.ssh import way
from tests.system.ground import (
    LongLine,
    behind,
    descriptors,
    first,
    processes,
    proxy_to,
    row_of,
    said_by,
    send,
    sessions,
    unique_sleep,
    wait_until,
)  # fmt: skip
from tests.system.network import network
from tests.system.proxy import server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.conftest import StartSshd
    from tests.system.proxy import Direction
    from tests.system.sshd import SshdFleet

pytestmark = pytest.mark.system


def test_fifty_hosts_that_drop_everything_cost_one_connect_timeout() -> None:
    """F1, R4: hosts without an answer and hosts without a route are unreachable, all together within one timeout."""
    with network() as net:
        dropped = [opskit.Host(f"dropped{number}", net.silent, 1000 + number) for number in range(50)]
        hosts = opskit.Inventory([*dropped, opskit.Host("nowhere", net.nowhere)])
        begin = time.monotonic()
        rows = opskit.run("true", hosts=hosts, connect_timeout=1, on_error="continue")
        took = time.monotonic() - begin
    assert {(row.status, row.started_at, row.attempt) for row in rows} == {("unreachable", None, None)}
    assert f"no connection within 1 s; is {net.silent} port 1000 up" in str(rows[0].error)
    assert f"no route to {net.nowhere} port 22" in str(rows[-1].error)
    assert took < 5


SCRIPT = """
    import sys, time
    host = opskit.Host("h1", "127.0.0.1", int(sys.argv[1]))
    begin = time.monotonic()
    row = opskit.run("true", hosts=opskit.Inventory([host]), connect_timeout=60, on_error="continue")[0]
    print(row.status, row.error)
    print(time.monotonic() - begin, grown())
"""
ZEROS = bytes(1024 * 1024)
TALKS = {
    "zeros": (b"", ZEROS),
    "lines without end": (b"", b"hello\r\n" * 100_000),
    "a name without end": (b"SSH-2.0-", ZEROS.replace(b"\0", b"x")),
    "a packet without end": (b"SSH-2.0-x\r\n\xff\xff\xff\xff", ZEROS),
    "an HTTP server": (b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", b"<p>hello</p>\r\n" * 100_000),
}


@contextmanager
def talking(begin: bytes, for_ever: bytes, pause: float = 0.0) -> Iterator[tuple[int, list[int]]]:
    """A server on 127.0.0.1 that talks up to 1 GiB, whatever it hears: its port, and the bytes that were taken."""
    listening = socket.create_server(("127.0.0.1", 0))
    taken: list[int] = []

    def talk() -> None:
        with suppress(OSError):
            client, _ = listening.accept()
            with client:
                taken.append(client.send(begin) if begin else 0)
                while taken[0] < 1 << 30:
                    taken[0] += client.send(for_ever)
                    time.sleep(pause)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield listening.getsockname()[1], taken
    finally:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        listening.close()


@pytest.mark.parametrize("talk", TALKS)
def test_a_server_that_talks_without_end_costs_no_memory(talk: str) -> None:
    """F4, R19: what is no SSH is noticed early: unreachable in time, of 1 GiB little is taken, and less is kept."""
    with talking(*TALKS[talk]) as (port, taken):
        told, figures = said_by(SCRIPT, port)
        took, grown = map(float, figures.split())
    assert told.startswith("unreachable ")
    assert "ended the connection or is no SSH server" in told
    assert took < 20
    assert taken[0] < 64 << 20
    assert grown < 32


def test_a_server_that_drips_is_not_waited_for_longer(sshd_fleet: SshdFleet) -> None:
    """F3, R5: a line now and then before the SSH banner does not prolong the time to connect."""
    with talking(b"", b"hello\r\n", pause=0.05) as (port, _):
        begin = time.monotonic()
        row = row_of(opskit.Host("h1", "127.0.0.1", port), connect_timeout=0.5)
        took = time.monotonic() - begin
    assert (row.status, "within 0.5 s" in str(row.error)) == ("unreachable", True)
    assert took < 0.5 + 5


class Stopper:
    """Stops a fleet's processes just before the server gets the n-th piece of a connection, until they may go on."""

    def __init__(self, fleet: SshdFleet, moment: int) -> None:
        self._fleet = fleet
        self._left = moment
        self._lock = threading.Lock()
        self._stopped: list[int] = []

    def watch(self, direction: Direction, _piece: bytes) -> bool:
        """Let all pieces pass."""
        with self._lock:
            if direction == "up" and self._left:
                self._left -= 1
                if self._left == 0:
                    self._stopped = self._fleet.processes()
                    send(signal.SIGSTOP, self._stopped)
        return True

    def go_on(self) -> None:
        """Let them go on, and stop nothing any more."""
        with self._lock:
            self._left = 0
            send(signal.SIGCONT, self._stopped)


def test_a_server_may_stop_at_any_moment(sshd: StartSshd, tmp_path: Path) -> None:
    """F3, F5, R4, R5, R9: of key exchange, login and request for a session: each row comes in time and tells the truth.

    What is unreachable does not run, also not when the server goes on; what is unknown runs once at most. Then the
    next run is ok, and no descriptor and no thread stays.
    """
    fleet, moment, seen = sshd(), 0, set()
    assert row_of(first(fleet)).status == "ok"
    before = descriptors(), threading.active_count() + 4  # the engine's own pool for files may still grow
    while "ok" not in seen and moment < 40:
        moment += 2
        ran, stopper = tmp_path / f"ran{moment}", Stopper(fleet, moment)
        ran.touch()
        begin = time.monotonic()
        with behind(proxy_to(fleet, stopper.watch), fleet, tmp_path) as host:
            row = row_of(host, f"echo x >> {ran}", connect_timeout=0.4)
            assert time.monotonic() - begin < 0.4 + 5
            stopper.go_on()
            assert row_of(host).status == "ok"
        assert ran.read_text() in {"unreachable": [""], "unknown": ["", "x\n"], "ok": ["x\n"]}[row.status]
        assert row.status == "ok" or "within 0.4 s" in str(row.error) or "lost" in str(row.error)
        seen.add(row.status)
    assert {"unreachable", "ok"} <= seen
    wait_until(lambda: len(sessions(fleet)) <= 2)
    wait_until(lambda: descriptors() <= before[0] and threading.active_count() <= before[1])


def test_a_server_that_stops_in_key_exchange_is_told_from_one_that_says_nothing(
    sshd: StartSshd, tmp_path: Path
) -> None:
    """F3: the row names how far it came."""
    fleet = sshd()
    stopper = Stopper(fleet, 2)  # it has introduced itself before it gets our second piece
    with behind(proxy_to(fleet, stopper.watch), fleet, tmp_path) as host:
        row = row_of(host, connect_timeout=0.5)
        stopper.go_on()
    with server() as silent:
        other = row_of(opskit.Host("h1", "127.0.0.1", silent), connect_timeout=0.5)
    assert str(row.error).startswith("connected, but the key exchange did not end within 0.5 s")
    assert str(other.error).startswith("connected, but nothing was heard within 0.5 s")


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_connection_may_be_cut_at_any_moment(sshd_fleet: SshdFleet, tmp_path: Path, direction: Direction) -> None:
    """F9, F10, R2, R4: what is unreachable never ran, what is unknown ran once at most, and nothing is sent twice."""
    seen: set[str] = set()
    moment = 1
    for number in range(60):
        ran, cuts = tmp_path / f"ran{number}", list[int]()
        ran.touch()
        pieces = iter(range(1, moment + 1))

        def cut(way: Direction, _piece: bytes) -> bool:
            if way == direction and next(pieces, 0) == moment:  # noqa: B023 - called in this round alone
                cuts.append(moment)  # noqa: B023 - as above
                return False
            return True

        with behind(proxy_to(sshd_fleet, cut), sshd_fleet, tmp_path) as host:
            row = row_of(host, f"echo x >> {ran}", connect_timeout=5)
        assert ran.read_text() in {"unreachable": [""], "unknown": ["", "x\n"], "ok": ["x\n"]}[row.status]
        assert (row.exit_code is None) == (row.status != "ok")
        seen.add(row.status)
        if len(seen) == 3:
            return
        moment = moment + 1 if cuts else 1  # pieces may melt into one: then once more
    pytest.fail(f"only these came: {seen}")


def test_a_long_line_makes_nothing_unreachable_and_takes_nothing_from_a_timeout(
    sshd_fleet: SshdFleet, tmp_path: Path
) -> None:
    """F13: 300 ms each way: a login is only slower, and a timeout counts from when the command began on the host."""
    line = LongLine(sshd_fleet.hosts[0].address, sshd_fleet.hosts[0].port, 0.3)
    sleep, argument = unique_sleep()
    with behind(line, sshd_fleet, tmp_path) as host:
        with opskit.parallel(hosts=opskit.Inventory([host]), on_error="continue") as session:
            session.when("True", "sleep 0.1; echo done", timeout=5)
            session.when("True", f"echo begun; {sleep}", timeout=0.2)
        assert processes(argument) == []
    ended, outlived = session.results
    assert (ended.status, ended.stdout) == ("ok", "done\n")
    assert (outlived.status, outlived.stdout) == ("timeout", "begun\n")


def test_over_a_long_line_our_own_words_get_more_time(
    sshd_fleet: SshdFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F13, R6: half of connect_timeout, where that is more: what was ended is not said to run still."""
    monkeypatch.setattr(way, "SECONDS_TO_OBEY", 0.1)
    line = LongLine(sshd_fleet.hosts[0].address, sshd_fleet.hosts[0].port, 0.1)
    sleep, argument = unique_sleep()
    with behind(line, sshd_fleet, tmp_path) as host:
        row = row_of(host, sleep, timeout=0.1, connect_timeout=10)
    assert str(row.error).endswith("; it was ended")
    assert processes(argument) == []


# Who is let in


def test_a_fleet_that_lets_nobody_in_is_asked_once(sshd: StartSshd) -> None:
    """F19: an account that is refused is an AuthenticationError; each host sees one login and no second try."""
    fleet = sshd(3, DenyUsers="*")
    with pytest.raises(opskit.AuthenticationError, match="accepted no key") as caught:
        opskit.run("true", hosts=opskit.load_inventory(fleet.inventory_path))
    assert {(row.status, row.cause, row.attempt) for row in caught.value.results} == {
        ("unreachable", "authentication", None)
    }
    assert (fleet.folder / "sshd_0.log").read_text().count("not allowed because listed in DenyUsers") == 3


def test_a_locked_account_is_no_way_in(sshd: StartSshd) -> None:
    """F19: a row for want of authentication, that says for whom, and which keys were tried."""
    if os.geteuid() != 0:
        pytest.skip("only root's sshd lets others in, and so knows who is locked out")
    entries = [line.split(":") for line in Path("/etc/shadow").read_text().splitlines()]
    locked = next(name for name, password, *_ in entries if password.startswith("!"))
    fleet = sshd()
    row = row_of(first(fleet, user=locked))
    assert (row.status, row.cause) == ("unreachable", "authentication")
    assert f"accepted no key for {locked} (tried: {fleet.identity_file})" in str(row.error)
    assert "account is locked" in (fleet.folder / "sshd_0.log").read_text()
