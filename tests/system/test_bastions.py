"""Bastions, on real OpenSSH: chains, what all hosts behind one share, and what becomes of them when it goes."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

import opskit
from tests.system.ground import processes, row_of, sessions, unique_sleep, wait_until
from tests.system.proxy import Proxy
from tests.system.ways import configured, entry, forwards, logins, told

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.conftest import StartSshd
    from tests.system.sshd import SshdFleet

pytestmark = pytest.mark.system


def behind(fleet: SshdFleet, jump: str) -> opskit.Inventory:
    """The fleet's hosts, whose inventory says that they are behind these bastions."""
    shared = {"known_hosts": str(fleet.known_hosts), "identity_files": [str(fleet.identity_file)]}
    return opskit.Inventory(
        [
            opskit.Host(host.name, host.address, host.port, host.user, vars={**shared, "proxy_jump": jump})
            for host in fleet.hosts
        ]
    )


def test_a_chain_of_bastions(sshd: StartSshd, tmp_path: Path) -> None:
    """ProxyJump through two, each with a key, a user and known hosts of its own: every hop sees the one before."""
    first, second, target = sshd(LogLevel="DEBUG1"), sshd(LogLevel="DEBUG1"), sshd()
    lines = entry(first, "one"), entry(second, "two"), entry(target, "web1", "ProxyJump one,two")
    with configured(tmp_path, *lines):
        for _ in range(2):
            row = row_of(opskit.Host("web1"), "echo here")
            assert (row.status, row.stdout, row.error) == ("ok", "here\n", None)
    assert (logins(first), logins(second), logins(target)) == (1, 1, 1)
    assert told(first, f"target {second.hosts[0].address}, port {second.hosts[0].port}") or forwards(first) == 1
    assert forwards(second) == 1


def test_a_bastion_behind_a_bastion(sshd: StartSshd, tmp_path: Path) -> None:
    """The bastion's own ProxyJump is followed, and an inventory's var says one as well as the configuration."""
    first, second, target = sshd(LogLevel="DEBUG1"), sshd(LogLevel="DEBUG1"), sshd()
    host = opskit.Host(
        "web1",
        target.hosts[0].address,
        target.hosts[0].port,
        vars={
            "proxy_jump": f"{second.hosts[0].user}@two:{second.hosts[0].port}",
            "known_hosts": [str(second.known_hosts), str(target.known_hosts)],
            "identity_files": [str(second.identity_file), str(target.identity_file)],
        },
    )
    with configured(
        tmp_path, entry(first, "one"), f"Host two\n  HostName {second.hosts[0].address}\n  ProxyJump one\n"
    ):
        assert row_of(host).status == "ok"
    assert (forwards(first), forwards(second), logins(target)) == (1, 1, 1)


def test_one_connection_to_a_bastion_serves_all_hosts_behind_it(sshd: StartSshd, tmp_path: Path) -> None:
    """Twenty hosts, cold and warm: one login at the bastion, which lives as long as anything goes through it."""
    bastion, targets = sshd(LogLevel="DEBUG1"), sshd(20)
    with configured(tmp_path, entry(bastion, "bastion")), opskit.use(behind(targets, "bastion")):
        for _ in range(2):
            assert len(opskit.run("true").ok) == 20
        assert (logins(bastion), forwards(bastion), logins(targets)) == (1, 20, 20)
        with opskit.configure(idle_seconds=0.05):
            assert len(opskit.run("true").ok) == 20
            wait_until(lambda: not sessions(targets) and not sessions(bastion))
            assert len(opskit.run("true").ok) == 20
    assert logins(bastion) == 2


def test_inventory_defaults_make_the_bastion_no_obstacle_to_itself(sshd: StartSshd, tmp_path: Path) -> None:
    """A var that all hosts have names the bastion too: it is reached directly."""
    fleet = sshd(2, LogLevel="DEBUG1")
    jump = f"h1:{fleet.hosts[0].port}"
    with configured(tmp_path, f"Host h1\n  HostName {fleet.hosts[0].address}\n"), opskit.use(behind(fleet, jump)):
        assert len(opskit.run("true").ok) == 2
    assert forwards(fleet) == 1


def test_none_is_no_bastion(sshd: StartSshd, tmp_path: Path) -> None:
    """The inventory's `none` wins over the configuration's bastion."""
    target = sshd()
    with configured(tmp_path, "Host *\n  ProxyJump nowhere\n"):
        assert len(opskit.run("true", hosts=behind(target, "none")).ok) == 1


def test_bastions_in_a_circle(tmp_path: Path) -> None:
    """A circle is told with all who are in it, before anything is dialled."""
    lines = "Host a\n  ProxyJump b\nHost b\n  ProxyJump c\nHost c\n  ProxyJump b\n"
    with configured(tmp_path, lines), pytest.raises(opskit.SettingsError, match="b -> c -> b"):
        row_of(opskit.Host("a"))


def test_a_bastion_that_is_no_bastion(tmp_path: Path) -> None:
    """S6: what could be an option or a piece of shell is refused."""
    with configured(tmp_path):
        for jump in ("-oProxyCommand=x", "$(id)", "a:b:c"):
            with pytest.raises((opskit.SettingsError, opskit.InventoryError)):
                row_of(opskit.Host("a", vars={"proxy_jump": jump}))


def test_a_bastion_that_is_down_is_dialled_once(sshd: StartSshd, tmp_path: Path) -> None:
    """All hosts behind it are unreachable, it is named, and a fleet larger than fanout waits for it but once."""
    targets, silent = sshd(20), Proxy("127.0.0.1", 0, most=0)
    line = f"Host bastion\n  HostName 127.0.0.1\n  Port {silent.port}\n"
    with silent, configured(tmp_path, line):
        results = opskit.run("true", hosts=behind(targets, "bastion"), fanout=4, connect_timeout=1, on_error="continue")
    assert silent.connections == 1
    assert {row.status for row in results} == {"unreachable"}
    why = f"the bastion can't be reached: connected, but nothing was heard within 1 s; is 127.0.0.1 port {silent.port}"
    assert all(why in str(row.error) for row in results)
    assert told(targets, "Connection from") == 0


def test_a_bastion_comes_back(sshd: StartSshd, tmp_path: Path) -> None:
    """That it was down is forgotten with the run."""
    bastion, target = sshd(), sshd()
    with configured(tmp_path, entry(bastion, "bastion")), opskit.use(behind(target, "bastion")):
        bastion.kill()
        row = opskit.run("true", on_error="continue")[0]
        assert (row.status, row.cause) == ("unreachable", None)
        assert "refused the connection" in str(row.error)
        bastion.start()
        assert opskit.run("true")[0].status == "ok"


def test_a_bastion_whose_key_is_not_known(sshd: StartSshd, tmp_path: Path) -> None:
    """S14: a bastion is trusted no more than any host."""
    bastion, target = sshd(), sshd()
    empty = tmp_path / "empty"
    empty.touch()
    lines = entry(bastion, "bastion", f"UserKnownHostsFile {empty}")
    with configured(tmp_path, lines, entry(target, "web1", "ProxyJump bastion")):
        row = row_of(opskit.Host("web1"))
    assert (row.status, row.cause) == ("unreachable", "host_key")
    assert "the bastion can't be reached: the host key of" in str(row.error)


@pytest.mark.parametrize("why", ["refused", "forbidden"])
def test_a_host_that_the_bastion_does_not_reach(sshd: StartSshd, tmp_path: Path, why: str) -> None:
    """Both are named; the other hosts behind the bastion are ok."""
    bastion, targets = sshd(AllowTcpForwarding="no" if why == "forbidden" else "yes"), sshd()
    gone = opskit.Host("gone", "127.0.0.1", 1, vars={"proxy_jump": "bastion"})
    with configured(tmp_path, entry(bastion, "bastion")):
        inventory = opskit.Inventory([gone, *behind(targets, "bastion")])
        rows = opskit.run("true", hosts=inventory, on_error="continue")
    where = f"{bastion.hosts[0].address} port {bastion.hosts[0].port}"
    assert rows[0].status == "unreachable"
    assert f"the bastion {where} can't reach 127.0.0.1 port 1" in str(rows[0].error)
    assert rows[1].status == ("ok" if why == "refused" else "unreachable")


def test_a_bastion_that_dies_with_fifty_sessions(sshd: StartSshd, tmp_path: Path) -> None:
    """F17: each row is unknown, keeps its output and names the bastion; the next run works."""
    bastion, targets = sshd(LogLevel="DEBUG1"), sshd(50)
    begun, heard = threading.Event(), set()
    where = f"{bastion.hosts[0].address} port {bastion.hosts[0].port}"

    def hear(host: str, stream: str, text: str) -> None:
        heard.add(host)
        if len(heard) == 50:
            begun.set()

    def fell() -> None:
        begun.wait(20)
        bastion.kill()

    falling = threading.Thread(target=fell)
    falling.start()
    sleep, argument = unique_sleep()
    with configured(tmp_path, entry(bastion, "bastion")), opskit.use(behind(targets, "bastion")):
        results = opskit.run(f"echo begun; {sleep}", on_output=hear, on_error="continue")
        falling.join()
        assert {(row.status, row.stdout) for row in results} == {("unknown", "begun\n")}
        assert all(f"it went through the bastion {where}" in str(row.error) for row in results)
        bastion.start()
        assert len(opskit.run("true").ok) == 50
    assert logins(bastion) == 2
    wait_until(lambda: not processes(argument))


def test_a_warm_bastion_that_died_is_replaced(sshd: StartSshd, tmp_path: Path) -> None:
    """F12: between two runs nobody notices; each command runs once."""
    bastion, target = sshd(), sshd()
    ran = tmp_path / "ran"
    with configured(tmp_path, entry(bastion, "bastion")), opskit.use(behind(target, "bastion")):
        for number in (1, 2, 3):
            assert opskit.run(f"echo x >> {ran}")[0].status == "ok"
            assert ran.read_text() == "x\n" * number
            bastion.kill()
            bastion.start()


def test_a_timeout_behind_a_bastion_leaves_no_process(sshd: StartSshd, tmp_path: Path) -> None:
    """F20, R6: remote work is ended through bastions as it is without."""
    bastion, target = sshd(), sshd()
    sleep, argument = unique_sleep()
    with configured(tmp_path, entry(bastion, "bastion")), opskit.use(behind(target, "bastion")):
        row = opskit.run(f"echo begun; {sleep} & {sleep}", timeout=0.3, on_error="continue")[0]
    assert (row.status, row.stdout) == ("timeout", "begun\n")
    assert processes(argument) == []


def test_a_cancel_behind_a_bastion_leaves_no_process(sshd: StartSshd, tmp_path: Path) -> None:
    """R8: whenever it comes, while bastion, host or command is being waited for; the next run works."""
    bastion, target = sshd(), sshd()
    sleep, argument = unique_sleep()

    async def cancelled(delay: float) -> None:
        task = asyncio.ensure_future(opskit.arun(sleep, hosts=behind(target, "bastion")))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with configured(tmp_path, entry(bastion, "bastion")):
        for delay in (0, 0.02, 0.05, 0.1, 0.2, 0.4):
            with opskit.configure(idle_seconds=0.001):
                asyncio.run(cancelled(delay))
            wait_until(lambda: not processes(argument) and not sessions(bastion))
        assert opskit.run("true", hosts=behind(target, "bastion"))[0].status == "ok"
