"""Real OpenSSH for tests: it serves, can be configured, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import select
from typing import TYPE_CHECKING

import asyncssh
import pytest
import yaml

from tests.system.sshd import SshdFleet

if TYPE_CHECKING:
    from tests.system.conftest import StartSshd
    from tests.system.sshd import SshdHost

pytestmark = pytest.mark.system


async def connect(fleet: SshdFleet, host: SshdHost) -> asyncssh.SSHClientConnection:
    """Log in with the fleet's own key and known_hosts."""
    return await asyncssh.connect(
        host.address,
        host.port,
        username=host.user,
        client_keys=[str(fleet.identity_file)],
        known_hosts=str(fleet.known_hosts),
        agent_path=None,
        config=None,
    )


async def run(fleet: SshdFleet, host: SshdHost, command: str) -> str:
    """Run one command and give its standard output."""
    async with await connect(fleet, host) as connection:
        completed = await connection.run(command, check=True)
    return str(completed.stdout)


async def leave_running(fleet: SshdFleet, command: str) -> int:
    """Start a command that prints its pid, drop the connection, and give that pid."""
    connection = await connect(fleet, fleet.hosts[0])
    process = await connection.create_process(command)
    pid = int(await process.stdout.readline())
    connection.abort()
    return pid


def test_every_host_lets_its_user_in_and_has_a_home_of_the_fleet(sshd_fleet: SshdFleet) -> None:
    """Each of the twenty hosts runs a command for the fleet's key, with HOME in the fleet's folder."""

    async def all_homes() -> list[str]:
        return await asyncio.gather(*(run(sshd_fleet, host, "echo $HOME") for host in sshd_fleet.hosts))

    assert asyncio.run(all_homes()) == [f"{sshd_fleet.folder / 'home'}\n"] * 20


def test_the_inventory_names_every_host_with_its_port_and_the_fleets_key(sshd_fleet: SshdFleet) -> None:
    """The inventory's file has what a login needs."""
    inventory = yaml.safe_load(sshd_fleet.inventory_path.read_text())
    assert {name: host["port"] for name, host in inventory["hosts"].items()} == {
        host.name: host.port for host in sshd_fleet.hosts
    }
    assert inventory["defaults"]["vars"] == {
        "known_hosts": str(sshd_fleet.known_hosts),
        "identity_files": [str(sshd_fleet.identity_file)],
    }


def test_a_configuration_of_ones_own_is_obeyed(sshd: StartSshd) -> None:
    """Lines of sshd_config given by name reach the daemon."""
    fleet = sshd(ForceCommand="echo forced $FROM_TEST", SetEnv="FROM_TEST=yes")
    assert asyncio.run(run(fleet, fleet.hosts[0], "echo mine")) == "forced yes\n"


def test_max_sessions_limits_the_channels_of_a_connection(sshd: StartSshd) -> None:
    """With MaxSessions 1 the second channel of a connection is refused."""
    fleet = sshd(MaxSessions=1)

    async def two_channels() -> None:
        async with await connect(fleet, fleet.hosts[0]) as connection:
            await connection.create_process("cat")
            await connection.create_process("cat")

    with pytest.raises(asyncssh.ChannelOpenError):
        asyncio.run(two_channels())


def test_a_killed_fleet_comes_back_at_the_same_ports(sshd: StartSshd) -> None:
    """After `kill` connections are refused, after `start` the same addresses serve again."""
    fleet = sshd(2)
    fleet.kill()
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(run(fleet, fleet.hosts[1], "true"))
    fleet.start()
    assert asyncio.run(run(fleet, fleet.hosts[1], "echo back")) == "back\n"


@pytest.mark.parametrize("command", ["echo $$; exec sleep 1000", "setsid sh -c 'echo $$; exec sleep 1000'"])
def test_nothing_is_left_at_the_end(sshd: StartSshd, command: str) -> None:
    """Leaving the fleet ends daemons and sessions, and commands whose connection is gone too."""
    with SshdFleet(17) as fleet:
        pid = asyncio.run(leave_running(fleet, command))
        watched = [os.pidfd_open(pid), *(os.pidfd_open(daemon.pid) for daemon in fleet.daemons)]
        assert len(watched) == 3
        assert not select.select(watched, [], [], 0)[0]
    assert len(select.select(watched, [], [], 0)[0]) == 3
    assert not fleet.folder.exists()
    for descriptor in watched:
        os.close(descriptor)


def test_a_daemon_that_can_not_start_says_why(sshd: StartSshd) -> None:
    """A configuration that sshd refuses is an error with sshd's own words."""
    with pytest.raises(RuntimeError, match="Bad configuration option: NoSuchOption"):
        sshd(NoSuchOption="yes")
