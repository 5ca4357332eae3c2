"""SSH on real OpenSSH: whom we trust, how we log in, what breaks, and what is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit.transport.ssh.link import Link
from opskit.transport.ssh.way import Way
from tests.system.ground import descriptors, first, processes, sessions, unique_sleep, wait_until
from tests.system.proxy import Proxy, server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opskit.results import HostResult, Results
    from opskit.transport.ssh.process import RemoteProcess
    from opskit.work.plan import Plan
    from tests.system.conftest import StartSshd
    from tests.system.proxy import Direction
    from tests.system.sshd import SshdFleet

pytestmark = pytest.mark.system


@pytest.fixture
def twenty(sshd_fleet: SshdFleet) -> Iterator[SshdFleet]:
    """The shared fleet, in use."""
    with opskit.use(sshd_fleet.inventory_path):
        yield sshd_fleet


@pytest.fixture
def one(sshd: StartSshd) -> Iterator[SshdFleet]:
    """A fleet of one host that the test may break, in use."""
    fleet = sshd()
    with opskit.use(fleet.inventory_path):
        yield fleet


def row_of(host: opskit.Host | str, command: str = "true", **options: Any) -> HostResult:
    """The row of a command on one host, whatever becomes of it."""
    if isinstance(host, opskit.Host):
        options["hosts"] = opskit.Inventory([host])
    else:
        options["hosts"] = host
    results: Results = opskit.run(command, on_error="continue", **options)
    return results[0]


def key_of(fleet: SshdFleet) -> str:
    """The host key of the fleet: algorithm and key."""
    return " ".join((fleet.folder / "host_ed25519.pub").read_text().split()[:2])


def fingerprint(file: Path) -> str:
    """The SHA-256 fingerprint of a public key's file."""
    return subprocess.run(["ssh-keygen", "-l", "-f", file], check=True, capture_output=True, text=True).stdout.split()[
        1
    ]


def new_key(file: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", file], check=True)
    return file


def logins(fleet: SshdFleet) -> int:
    """How often somebody logged in."""
    return sum(log.read_text().count("Accepted publickey") for log in fleet.folder.glob("sshd_*.log"))


# Whom we trust


def test_an_unknown_host_key_is_refused(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """S14: the row is unreachable for its host key and says which key it is and how to accept it; nothing ran."""
    empty, ran = tmp_path / "known_hosts", tmp_path / "ran"
    empty.touch()
    with pytest.raises(opskit.HostKeyError) as caught:
        opskit.run(f"touch {ran}", hosts=opskit.Inventory([first(sshd_fleet, vars={"known_hosts": str(empty)})]))
    row = caught.value.results[0]
    assert (row.status, row.cause, row.attempt) == ("unreachable", "host_key", None)
    assert fingerprint(sshd_fleet.folder / "host_ed25519.pub") in str(row.error)
    assert 'host_keys="accept-new"' in str(row.error)
    assert not ran.exists()
    assert empty.read_text() == ""
    remedy = str(row.error).partition("compare it, then ")[2].partition(", or set")[0]
    subprocess.run(["sh", "-c", remedy], check=True)
    opskit.run(f"touch {ran}", hosts=opskit.Inventory([first(sshd_fleet, vars={"known_hosts": str(empty)})]))
    assert ran.exists()


@pytest.mark.parametrize("host_keys", ["strict", "accept-new"])
@pytest.mark.parametrize("kind", ["plain", "hashed", "pattern"])
def test_a_changed_host_key_is_refused(sshd_fleet: SshdFleet, tmp_path: Path, host_keys: str, kind: str) -> None:
    """F18: both fingerprints, file and line are told; accept-new accepts no change either, and mends nothing."""
    host, file, old = first(sshd_fleet), tmp_path / "known_hosts", new_key(tmp_path / "old").with_suffix(".pub")
    name = f"[{host.address}]:{host.port}"
    file.write_text(f"# one\n{name.replace('127.', '???.') if kind == 'pattern' else name} {old.read_text()}")
    if kind == "hashed":
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    before = file.read_text()
    with opskit.configure(host_keys=host_keys), pytest.raises(opskit.HostKeyError) as caught:
        opskit.run("true", hosts=opskit.Inventory([first(sshd_fleet, vars={"known_hosts": str(file)})]))
    error = str(caught.value.results[0].error)
    assert "has CHANGED" in error
    assert f"{file}, line 2 has ssh-ed25519 {fingerprint(old)}" in error
    assert f"it shows ssh-ed25519 {fingerprint(sshd_fleet.folder / 'host_ed25519.pub')}" in error
    assert f"ssh-keygen -R '{name}'" in error
    assert file.read_text() == before


@pytest.mark.parametrize("host_keys", ["strict", "accept-new"])
def test_a_host_without_the_kind_of_key_that_is_known_is_refused(
    sshd_fleet: SshdFleet, tmp_path: Path, host_keys: str
) -> None:
    """F18: the server gives no key at all then, and may just hang up: what is known is told with file and line."""
    host, file, old = (
        first(sshd_fleet),
        tmp_path / "known_hosts",
        new_key(tmp_path / "old", "ecdsa").with_suffix(".pub"),
    )
    file.write_text(f"[{host.address}]:{host.port} {old.read_text()}")
    with opskit.configure(host_keys=host_keys):
        row = row_of(first(sshd_fleet, vars={"known_hosts": str(file)}))
    assert row.status == "unreachable"
    assert f"{file}, line 1 has ecdsa-sha2-nistp256 {fingerprint(old)}" in str(row.error)
    assert len(file.read_text().splitlines()) == 1


def test_a_revoked_host_key_is_refused(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """S14: a key that is known, and revoked, is not accepted in any mode that checks."""
    file = tmp_path / "known_hosts"
    file.write_text(f"{sshd_fleet.known_hosts.read_text()}@revoked * {key_of(sshd_fleet)}\n")
    for host_keys in ("strict", "accept-new"):
        with opskit.configure(host_keys=host_keys):
            row = row_of(first(sshd_fleet, vars={"known_hosts": str(file)}))
        assert (row.status, row.cause) == ("unreachable", "host_key")
        assert "revoked" in str(row.error)


def test_accept_new_remembers_and_strict_agrees(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """S14: accept-new adds one line for each host, once; then the same file is enough for a strict run."""
    file = tmp_path / "new" / "known_hosts"
    hosts = [
        first(sshd_fleet, name=host.name, port=host.port, vars={"known_hosts": str(file)}) for host in sshd_fleet.hosts
    ]
    with opskit.configure(host_keys="accept-new"):
        for _ in range(2):
            assert len(opskit.run("true", hosts=opskit.Inventory(hosts)).ok) == 20
            assert len(file.read_text().splitlines()) == 20
    assert sorted(file.read_text().splitlines()) == sorted(sshd_fleet.known_hosts.read_text().splitlines())
    assert len(opskit.run("true", hosts=opskit.Inventory(hosts)).ok) == 20


def test_off_checks_nothing_and_the_plan_warns(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """S14: without checks any key will do, nothing is written, and the plan says so."""
    file = tmp_path / "known_hosts"
    inventory = opskit.Inventory([first(sshd_fleet, vars={"known_hosts": str(file)})])
    with opskit.configure(host_keys="off"):
        plan: Plan = opskit.run("true", hosts=inventory, dry_run=True)
        assert opskit.run("true", hosts=inventory)[0].status == "ok"
    assert ["host keys are not checked" in warning for warning in plan.warnings] == [True]
    assert not file.exists()
    strict: Plan = opskit.run("true", hosts=inventory, dry_run=True)
    assert strict.warnings == ()


def test_a_connection_without_checks_is_not_used_by_a_strict_run(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """S14: what was opened under "off" stays warm for "off" alone."""
    file = tmp_path / "known_hosts"
    file.touch()
    host = first(sshd_fleet, vars={"known_hosts": str(file)})
    with opskit.configure(host_keys="off"):
        assert row_of(host).status == "ok"
    assert row_of(host).cause == "host_key"


def test_a_missing_known_hosts_file_is_told_before_anything_is_dialled(one: SshdFleet, tmp_path: Path) -> None:
    """B34: a file that was named must be there."""
    with pytest.raises(opskit.HostKeyError, match=f"{tmp_path}/nothing"):
        row_of(first(one, vars={"known_hosts": str(tmp_path / "nothing")}))
    assert logins(one) == 0


# How we log in


def test_a_key_that_the_host_does_not_accept(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """F19: an AuthenticationError that names the keys that were tried."""
    key = new_key(tmp_path / "wrong")
    with pytest.raises(opskit.AuthenticationError) as caught:
        opskit.run("true", hosts=opskit.Inventory([first(sshd_fleet, vars={"identity_files": [str(key)]})]))
    row = caught.value.results[0]
    assert (row.status, row.cause) == ("unreachable", "authentication")
    assert f"tried: {key}" in str(row.error)


def test_keys_that_can_not_be_used_are_told_before_anything_is_dialled(one: SshdFleet, tmp_path: Path) -> None:
    """B35: a passphrase names ssh-add; a missing file and one that is no key are named."""
    for key, hint in [
        (tmp_path / "missing", "No such file"),
        (one.known_hosts, "no private key"),
        (new_key(tmp_path / "some").with_suffix(".pub"), "no private key"),
    ]:
        with pytest.raises(opskit.AuthenticationError) as caught:
            row_of(first(one, vars={"identity_files": [str(key)]}))
        assert str(key) in str(caught.value)
        assert hint in str(caught.value)
        assert "secret words" not in str(caught.value)
    assert logins(one) == 0


@pytest.fixture
def agent(sshd_fleet: SshdFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An ssh-agent that has the fleet's key; gives its socket."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        wait_until(path.exists)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        subprocess.run(["ssh-add", "-q", sshd_fleet.identity_file], check=True)
        yield path
    finally:
        process.terminate()
        process.wait()


def bare(fleet: SshdFleet, folder: Path) -> opskit.Host:
    """The first host, for which no key is named; it trusts a file of its own, so that it finds nothing warm."""
    host, file = first(fleet), folder / "known_hosts"
    file.write_text(fleet.known_hosts.read_text())
    return opskit.Host(host.name, host.address, host.port, host.user, vars={"known_hosts": str(file)})


def test_the_agents_keys_are_used(
    sshd_fleet: SshdFleet, agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no key named, an agent's keys log in; without it nothing does, and the error says what was tried."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with opskit.configure(agent=False):
        row = row_of(bare(sshd_fleet, tmp_path))
    assert row.cause == "authentication"
    assert "no key was found and no agent runs" in str(row.error)
    row = row_of(bare(sshd_fleet, tmp_path))
    assert (row.status, row.error) == ("ok", None)


def test_an_agent_that_is_gone_is_no_obstacle(
    sshd_fleet: SshdFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSH_AUTH_SOCK often outlives its agent: then the files in ~/.ssh are used."""
    folder = tmp_path / ".ssh"
    folder.mkdir()
    (folder / "id_ed25519").write_text(sshd_fleet.identity_file.read_text())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    assert row_of(bare(sshd_fleet, tmp_path)).status == "ok"


# What breaks before a command was sent


def test_what_is_no_ssh_server_costs_no_other_host_its_row(twenty: SshdFleet) -> None:
    """F1 to F4: each host that can't be reached says why, within connect_timeout; the others are ok."""
    with (
        server() as silent,
        server(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n") as http,
        server(b"\0" * 65536, for_ever=True) as zeros,
        server(b"SSH-2.0-OpenSSH_9.2\r\n") as hangs_up,
    ):
        here = "127.0.0.1"
        hosts = [
            opskit.Host("good", vars=first(twenty).vars, address=twenty.hosts[0].address, port=twenty.hosts[0].port),
            opskit.Host("refused", "127.0.0.1", 1),
            opskit.Host("unresolved", "no.such.host.invalid"),
            opskit.Host("silent", here, silent),
            opskit.Host("http", here, http),
            opskit.Host("zeros", here, zeros),
            opskit.Host("hangs_up", here, hangs_up),
        ]
        begin = time.monotonic()
        results = opskit.run("true", hosts=opskit.Inventory(hosts), connect_timeout=1, on_error="continue")
        assert time.monotonic() - begin < 4
    rows = {row.host: row for row in results}
    assert rows.pop("good").status == "ok"
    assert {row.status for row in rows.values()} == {"unreachable"}
    assert "refused the connection" in str(rows["refused"].error)
    assert "'no.such.host.invalid' can't be resolved" in str(rows["unresolved"].error)
    assert "nothing was heard within 1 s" in str(rows["silent"].error)
    for name in ("http", "zeros", "hangs_up"):
        assert "no SSH server" in str(rows[name].error)


def test_a_slow_resolver_delays_nobody_else(twenty: SshdFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """F2, R5: names that are looked up for long cost their own hosts connect_timeout, and nobody else a wait."""
    answer, lookup = threading.Event(), socket.getaddrinfo

    def slow(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".slow"):
            answer.wait(60)
        return lookup(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    hosts = [opskit.Host(f"name{number}", f"name{number}.slow") for number in range(40)]
    inventory = opskit.Inventory([*hosts, *opskit.load_inventory(twenty.inventory_path)])
    try:
        begin = time.monotonic()
        results = opskit.run("true", hosts=inventory, connect_timeout=3, on_error="continue")
        again = opskit.run("true")
        assert time.monotonic() - begin < 10
    finally:
        answer.set()
    assert len(results.unreachable) == 40
    assert len(results.ok) == len(again.ok) == 20


def test_all_hosts_unreachable_is_an_error_of_its_own(twenty: SshdFleet) -> None:
    """A25: where every bad row is unreachable, so is the error."""
    with pytest.raises(opskit.UnreachableError, match="refused"):
        opskit.run("true", hosts=opskit.Inventory([opskit.Host("refused", "127.0.0.1", 1)]))


def test_a_stopped_sshd_is_unreachable_and_works_later(one: SshdFleet) -> None:
    """F5, R9: after connect_timeout the row says that nothing was heard; once sshd goes on, so does the next run."""
    one.daemons[0].send_signal(signal.SIGSTOP)
    try:
        row = row_of("h1", connect_timeout=0.5)
    finally:
        one.daemons[0].send_signal(signal.SIGCONT)
    assert row.status == "unreachable"
    assert "nothing was heard within 0.5 s" in str(row.error)
    assert row_of("h1").status == "ok"


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_connection_that_stalls_on_the_way_is_unreachable(sshd_fleet: SshdFleet, tmp_path: Path, after: int) -> None:
    """F3, R5: also in the middle of the key exchange or the login; no descriptor stays open."""
    go_on = threading.Event()
    pieces: list[bytes] = []

    def stall(direction: Direction, piece: bytes) -> bool:
        if direction == "down":
            pieces.append(piece)
            if len(pieces) > after:
                go_on.wait(10)
        return True

    with proxied(sshd_fleet, tmp_path, stall) as (host, _proxy):
        assert row_of(opskit.Host("here", address="local")).status == "ok"  # the journal is open now
        before = descriptors()
        row = row_of(host, connect_timeout=0.4)
        go_on.set()
    assert row.status == "unreachable"
    assert "within 0.4 s" in str(row.error)
    wait_until(lambda: descriptors() <= before)


@contextmanager
def proxied(
    fleet: SshdFleet, folder: Path, watch: Any = lambda _direction, _piece: True, most: int = 1000
) -> Iterator[tuple[opskit.Host, Proxy]]:
    """The fleet's first host behind a proxy."""
    with Proxy(fleet.hosts[0].address, fleet.hosts[0].port, watch, most) as proxy:
        file = folder / "known_hosts"
        file.write_text(f"[127.0.0.1]:{proxy.port} {key_of(fleet)}\n")
        yield first(fleet, address="127.0.0.1", port=proxy.port, vars={"known_hosts": str(file)}), proxy


# Warm connections


def test_a_connection_is_used_again(one: SshdFleet) -> None:
    """Runs, branches and threads of the same login share what is open."""
    for _ in range(3):
        assert row_of("h1").status == "ok"
    with opskit.parallel() as session:
        session.when("True", "true")
        session.when("True", "true")
    assert logins(one) == 1


def test_a_connection_is_closed_when_it_was_idle_for_long(one: SshdFleet) -> None:
    """`idle_seconds` after its last use the server sees it go; the next run opens another."""
    with opskit.configure(idle_seconds=0.05):
        assert row_of("h1").status == "ok"
        wait_until(lambda: not sessions(one))
        assert row_of("h1").status == "ok"
    assert logins(one) == 2


def test_a_warm_connection_that_died_is_replaced(one: SshdFleet, tmp_path: Path) -> None:
    """F12: the session's sshd was killed between two runs: the command runs exactly once, and nobody is told."""
    ran = tmp_path / "ran"
    for number in range(1, 4):
        assert row_of("h1", f"echo x >> {ran}").status == "ok"
        assert ran.read_text() == "x\n" * number
        for pid in sessions(one):
            os.kill(pid, signal.SIGKILL)
    assert logins(one) == 3


def test_a_warm_connection_that_dies_when_it_is_used_is_replaced(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """F10, F12: reset by the request for a session, before any command: sent once, over another connection."""
    cut = threading.Event()
    ran = tmp_path / "ran"

    def watch(direction: Direction, piece: bytes) -> bool:
        if direction == "up" and cut.is_set():
            cut.clear()
            return False
        return True

    with proxied(sshd_fleet, tmp_path, watch) as (host, proxy):
        assert row_of(host).status == "ok"
        cut.set()
        row = row_of(host, f"echo x >> {ran}")
        assert (row.status, row.error) == ("ok", None)
        assert proxy.connections == 2
    assert ran.read_text() == "x\n"


def test_a_new_connection_that_dies_before_the_command_is_unreachable(
    sshd_fleet: SshdFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F10, R4: surely nothing was sent, so the row is unreachable and neither failed nor unknown."""
    cut = threading.Event()
    send = Way._send

    def watch(direction: Direction, piece: bytes) -> bool:
        return not cut.is_set()

    async def send_too_late(way: Way, *arguments: Any) -> None:
        cut.set()
        await send(way, *arguments)

    monkeypatch.setattr(Way, "_send", send_too_late)
    ran = tmp_path / "ran"
    with proxied(sshd_fleet, tmp_path, watch) as (host, _proxy):
        row = row_of(host, f"touch {ran}")
    assert (row.status, row.cause, row.attempt) == ("unreachable", None, None)
    assert "lost before the command was sent" in str(row.error)
    assert not ran.exists()


def test_a_warm_connection_that_no_longer_answers_is_replaced(one: SshdFleet, tmp_path: Path) -> None:
    """R5, R9: a frozen session costs one connect_timeout; then a new connection sends the command once."""
    ran = tmp_path / "ran"
    assert row_of("h1").status == "ok"
    frozen = sessions(one)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    row = row_of("h1", f"echo x >> {ran}", connect_timeout=0.5)
    assert time.monotonic() - begin < 10
    assert (row.status, row.error) == ("ok", None)
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not set(frozen) & set(sessions(one)))
    assert ran.read_text() == "x\n"


def test_more_branches_than_sessions_all_run(sshd: StartSshd) -> None:
    """F16: with MaxSessions 1 the surplus waits or gets a second connection, in cold and in warm runs."""
    fleet = sshd(MaxSessions=1)
    for connections in (2, 1):
        with opskit.use(fleet.inventory_path), opskit.configure(connections_per_host=connections):
            for _ in range(5):
                with opskit.parallel() as session:
                    for number in range(5):
                        session.when("True", f"echo {number}")
                assert [row.stdout for row in session.results] == [f"{number}\n" for number in range(5)]
    assert logins(fleet) <= 2


def test_a_second_connection_that_can_not_be_had_is_not_waited_for_again(sshd: StartSshd, tmp_path: Path) -> None:
    """Where the host takes one connection alone, the surplus waits for room in that one."""
    with proxied(sshd(MaxSessions=1), tmp_path, most=1) as (host, proxy), opskit.use(opskit.Inventory([host])):
        with opskit.parallel(connect_timeout=1) as session:
            for number in range(5):
                session.when("True", f"echo {number}")
        assert len(session.results.ok) == 5
        assert proxy.connections == 2


# What breaks while a command runs


def test_a_connection_reset_in_the_middle_of_output(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """F7: unknown, with what arrived, without an exit code, and not sent again."""
    cut = threading.Event()

    def watch(direction: Direction, piece: bytes) -> bool:
        return not cut.is_set()

    def heard(host: str, stream: str, text: str) -> None:
        if text == "END":
            cut.set()

    ran = tmp_path / "ran"
    command = f"echo x >> {ran}; seq 2000; echo END; while :; do echo more; sleep 0.02; done"
    with proxied(sshd_fleet, tmp_path, watch) as (host, proxy):
        row = row_of(host, command, on_output=heard)
        assert proxy.connections == 1
    assert (row.status, row.exit_code, row.signal) == ("unknown", None, None)
    assert "may have run" in str(row.error)
    assert row.stdout.startswith("1\n2\n3\n")
    assert "\n2000\nEND\n" in row.stdout
    assert ran.read_text() == "x\n"


def test_a_session_that_is_killed_takes_only_its_own_row(twenty: SshdFleet) -> None:
    """A24, R7: the host whose sshd dies is unknown, with its output; all others are ok; the next run works."""
    results = opskit.run(
        "echo begun; [ {{ server.name }} != h7 ] || { sleep 0.2; kill -9 $PPID; sleep 5; }", on_error="continue"
    )
    assert {row.host for row in results if row.status == "unknown"} == {"h7"}
    assert {row.stdout for row in results} == {"begun\n"}
    assert len(results.ok) == 19
    assert row_of("h7").status == "ok"


def test_the_signal_that_ended_a_command(twenty: SshdFleet) -> None:
    """A23, F23: failed, with the signal's name and no exit code."""
    for name in ("TERM", "KILL"):
        row = row_of("h1", f"kill -{name} $$")
        assert (row.status, row.exit_code, row.signal) == ("failed", None, name)


def test_a_child_that_keeps_the_output_open(twenty: SshdFleet) -> None:
    """F21: the command's exit code counts; its child's output is waited for about two seconds."""
    sleep, argument = unique_sleep()
    row = row_of("h1", f"echo out; {sleep} & exit 3")
    assert (row.status, row.exit_code, row.stdout) == ("failed", 3, "out\n")
    assert row.seconds is not None
    assert row.seconds < 4
    for pid in processes(argument):
        os.kill(pid, signal.SIGKILL)


COMMANDS = {
    "plain": "{sleep}",
    "children": "{sleep} & {sleep} & wait",
    "deaf": "trap '' TERM; {sleep}; {sleep}",
    "pipe": "{sleep} | cat",
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_timeout_leaves_no_process(twenty: SshdFleet, kind: str) -> None:
    """A35, F20, R6: after a timeout nothing that the command started runs on the host, and its output is kept."""
    sleep, argument = unique_sleep()
    row = row_of("h1", f"echo begun; {COMMANDS[kind].format(sleep=sleep)}", timeout=0.3)
    assert (row.status, row.stdout) == ("timeout", "begun\n")
    assert str(row.error).startswith("did not end within 0.3 s; it was ended")
    assert processes(argument) == []


def test_a_cancelled_task_ends_its_commands_and_leaves_nothing(sshd: StartSshd) -> None:
    """R8, R9: an awaited run that is cancelled ends the remote work, gives its session back, and the next run works."""
    fleet = sshd(MaxSessions=2)
    sleep, argument = unique_sleep()

    async def cancelled(delay: float) -> None:
        task = asyncio.ensure_future(opskit.arun(sleep, hosts=opskit.load_inventory(fleet.inventory_path)))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for delay in (0, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3):
        asyncio.run(cancelled(delay))
        wait_until(lambda: not processes(argument))
    with opskit.use(fleet.inventory_path), opskit.parallel(timeout=10) as session:
        for number in range(4):
            session.when("True", f"echo {number}")
    assert len(session.results.ok) == 4


def test_a_cancel_while_a_command_is_being_sent_ends_it(
    sshd_fleet: SshdFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R3, R6: sent, but the host's answer still on its way: what began is ended, and the row says `cancelled`."""
    sent, go_on = threading.Event(), threading.Event()
    began = Link.began

    def note(link: Link, process: RemoteProcess) -> RemoteProcess:
        sent.set()
        return began(link, process)

    def hold(direction: Direction, piece: bytes) -> bool:
        if direction == "down" and sent.is_set():
            go_on.wait(10)
        return True

    async def cancelled(host: opskit.Host) -> Results:
        task = asyncio.ensure_future(opskit.arun(sleep, hosts=opskit.Inventory([host])))
        await asyncio.to_thread(sent.wait)
        wait_until(lambda: processes(argument))
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
        go_on.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        results: Results = vars(caught.value)["results"]
        return results

    sleep, argument = unique_sleep()
    monkeypatch.setattr(Link, "began", note)
    with proxied(sshd_fleet, tmp_path, hold) as (host, _proxy):
        row = asyncio.run(cancelled(host))[0]
    assert (row.status, row.error) == ("cancelled", "cancelled; it was ended")
    assert processes(argument) == []


# What comes back, and what goes there


def test_a_megabyte_from_each_of_twenty_hosts(twenty: SshdFleet) -> None:
    """All output arrives whole, from all hosts at once."""
    results = opskit.run("yes {{ server.name }} | head -c 1000000")
    for row in results:
        assert row.stdout == (f"{row.host}\n" * 500_000)[:1_000_000]
        assert not row.truncated


def test_binary_output_ends_in_a_frame(twenty: SshdFleet) -> None:
    """F26: NULs and bytes that are no UTF-8 are text with replacement marks, also in the DataFrame and the display."""
    row = row_of("h1", r"printf 'a\0b\377c'; printf '\303' >&2; head -c 100000 /dev/urandom")
    results = opskit.run(r"printf 'a\0b\377c'; printf '\303' >&2", hosts="h1")
    assert (results[0].stdout, results[0].stderr) == ("a\0b\ufffdc", "\ufffd")
    assert results.df.loc[0, "stdout"] == "a\0b\ufffdc"
    assert "\0" not in repr(results)
    assert row.stdout.startswith("a\0b\ufffdc")


def test_output_beyond_the_limit_is_cut_in_the_middle(twenty: SshdFleet) -> None:
    """F25, R19: head and tail are kept, the row is marked, and the command is not disturbed."""
    with opskit.configure(max_output="1 KiB"):
        row = row_of("h1", "seq 200000; seq 3 >&2")
    assert (row.status, row.truncated, row.stderr) == ("ok", True, "1\n2\n3\n")
    assert row.stdout.startswith("1\n2\n3\n")
    assert row.stdout.endswith("\n199999\n200000\n")
    assert len(row.stdout) < 1100


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_five_megabytes_of_standard_input(twenty: SshdFleet, tmp_path: Path, kind: str) -> None:
    """Bytes and files reach every host whole and end; a command that reads nothing is not held up."""
    content = os.urandom(1024) * 5000
    file = tmp_path / "input"
    file.write_bytes(content)
    with opskit.parallel(hosts="h[1-4]", stdin=content if kind == "bytes" else file, timeout=30) as session:
        session.when("True", "cksum")
        session.when("True", "true")
    expected = subprocess.run(["cksum"], input=content, capture_output=True, check=True).stdout.decode()
    assert [row.stdout for row in session.results] == [expected, ""] * 4


def test_environment_folder_shell_and_quoting(twenty: SshdFleet, tmp_path: Path) -> None:
    """A15, A19, A20: values arrive as they are, through a real sshd and its login shell."""
    folder = tmp_path / "it's $HOME"
    folder.mkdir()
    value = "a'b\"c $HOME `id` \\ !\n*é"
    command = 'printf "%s|" "$X" "$PWD" {{ value }} "${BASH_VERSION:+bash}"'
    options: dict[str, Any] = {"variables": {"value": value}, "env": {"X": value}, "cwd": folder, "shell": "/bin/bash"}
    row = row_of("h1", command, **options)
    assert row.stdout == f"{value}|{folder}|{value}|bash|"
    assert row_of("h1", "echo $0 $X", shell=False).status == "ok"


# Python around it


def test_threads_may_run_at_the_same_time(twenty: SshdFleet) -> None:
    """Two threads call run at once: each gets its own rows."""
    found: dict[int, set[str]] = {}
    inventory = opskit.load_inventory(twenty.inventory_path)

    def work(number: int) -> None:
        found[number] = {row.stdout for _ in range(3) for row in opskit.run(f"echo {number}", hosts=inventory)}

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: {"0\n"}, 1: {"1\n"}}


def test_runs_may_be_awaited_at_the_same_time(twenty: SshdFleet) -> None:
    """arun, gather and `async with parallel` work in a running loop, which is not held up."""

    async def several() -> tuple[list[str], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.ensure_future(tick())
        runs = await asyncio.gather(*(opskit.arun(f"sleep 0.2; echo {number}", hosts="h1") for number in range(4)))
        async with opskit.parallel(hosts="h[1-2]") as session:
            session.when("server.name == 'h1'", "echo first")
            session.otherwise("echo second")
        ticking.cancel()
        return [results[0].stdout for results in (*runs, session.results[:1], session.results[1:])], ticks

    told, ticks = asyncio.run(several())
    assert told == ["0\n", "1\n", "2\n", "3\n", "first\n", "second\n"]
    assert ticks > 5


def python(script: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start a Python of its own, in which every warning is told."""
    command = [sys.executable, "-X", "dev", "-W", "always", "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def complaints(told: str) -> list[str]:
    """What stands on standard error, without how long a step took: that is the machine's, and it may be busy."""
    return [line for line in told.splitlines() if not line.startswith("Executing <")]


def test_an_interrupt_ends_remote_work(one: SshdFleet) -> None:
    """F28, R8: SIGINT gives KeyboardInterrupt with rows, cancelled and with their output; no process is left."""
    sleep, argument = unique_sleep()
    script = """
        import sys, opskit
        opskit.use(sys.argv[1])
        try:
            opskit.run(sys.argv[2], on_output=lambda *told: print(*told, flush=True))
        except KeyboardInterrupt as interrupt:
            print([(row.status, row.stdout) for row in interrupt.results])
            raise SystemExit(7)
    """
    with python(script, one.inventory_path, f"echo begun; {sleep}") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "h1 stdout begun\n"
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
    assert out == "[('cancelled', 'begun\\n')]\n"
    assert child.returncode == 7
    assert complaints(err) == []
    assert processes(argument) == []


def test_a_process_that_exits_leaves_no_complaint(one: SshdFleet) -> None:
    """No task, future, transport or socket is reported at interpreter exit, with connections still open."""
    script = """
        import asyncio, sys, opskit
        opskit.use(sys.argv[1])
        opskit.run("true")
        opskit.run("sleep 10", timeout=0.1, on_error="continue")
        asyncio.run(opskit.arun("true"))
        opskit.run("true", hosts=opskit.Inventory([opskit.Host("here", "local")]))
        opskit.run("true", hosts=opskit.Inventory([opskit.Host("no", "127.0.0.1", 1)]), on_error="continue")
    """
    with python(script, one.inventory_path) as child:
        out, err = child.communicate(timeout=20)
    assert (out, complaints(err), child.returncode) == ("", [], 0)


def test_after_a_fork_both_sides_work(one: SshdFleet) -> None:
    """F44: a child that was forked after use runs commands over connections of its own; the parent's stay whole."""
    script = """
        import os, sys, opskit
        opskit.use(sys.argv[1])
        opskit.run("true")
        child = os.fork()
        if not child:
            print(opskit.run("echo child")[0].stdout.strip(), flush=True)
            os._exit(3)
        status = os.waitpid(child, 0)[1]
        print(os.waitstatus_to_exitcode(status), opskit.run("echo parent")[0].stdout.strip())
    """
    with python(script, one.inventory_path) as child:
        out, err = child.communicate(timeout=20)
    assert out == "child\n3 parent\n"
    assert logins(one) == 2
    assert "Traceback" not in err


def test_many_runs_leave_no_descriptor_and_no_thread(one: SshdFleet) -> None:
    """R19: 200 runs with failures, timeouts, callbacks and hosts that can't be reached cost nothing that stays."""
    gone = opskit.Inventory([opskit.Host("gone", "127.0.0.1", 1)])

    def rounds(number: int) -> tuple[int, int]:
        for index in range(number):
            row_of("h1", "exit 1")
            row_of("h1", "echo x", on_output=lambda *_: None)
            opskit.run("true", hosts=gone, on_error="continue")
            if index % 20 == 0:
                row_of("h1", "sleep 10", timeout=0.02)
                with pytest.raises(opskit.AuthenticationError):
                    row_of(first(one, vars={"identity_files": ["missing"]}), on_output=lambda *_: None)
        return descriptors(), threading.active_count()

    before = rounds(2)
    after = rounds(66)
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 4  # the engine's own pool for files may still grow
