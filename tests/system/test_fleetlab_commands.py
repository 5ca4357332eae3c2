"""The embedded fleet runs commands as sshd does."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import asyncssh
import pytest

from opskit.fleetlab import Fleet
from tests.system.login import PATIENCE, connect, ended, on_connection, run, server_pid

pytestmark = pytest.mark.system

MIB = 1024 * 1024


def test_a_command_has_a_small_clean_environment_and_its_hosts_home(embedded: Fleet) -> None:
    """A command sees nothing of the owner's environment, and nothing that the client asks to be set."""
    home = embedded.folder / "homes" / "web1"
    completed = run(embedded, "pwd; env | sort", "web1", env={"FROM_CLIENT": "1"})
    where, *variables = str(completed.stdout).splitlines()
    assert where == str(home)
    assert variables == [
        f"HOME={home}",
        "HOSTNAME=web1",
        "LANG=C.UTF-8",
        "LOGNAME=ops",
        f"PATH={embedded.folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"PWD={home}",
        "SHELL=/bin/sh",
        "USER=ops",
    ]


def test_a_command_leads_a_session_of_its_own(embedded: Fleet) -> None:
    """A command's process is the leader of its group and session, as under sshd."""
    pid, *stat_of = str(run(embedded, "echo $$; cat /proc/$$/stat").stdout).split()
    assert stat_of[4:6] == [pid, pid]


@pytest.mark.parametrize(
    ("command", "code", "signal_name"), [("exit 7", 7, None), ("kill -s TERM $$", None, "TERM"), ("true", 0, None)]
)
def test_exit_code_and_signal_come_through(
    embedded: Fleet, command: str, code: int | None, signal_name: str | None
) -> None:
    """The client learns how the command ended: by a code, or by which signal."""
    completed = run(embedded, command)
    assert (completed.exit_status if signal_name is None else None) == code
    assert (completed.exit_signal[0] if completed.exit_signal else None) == signal_name


def test_a_signal_reaches_the_whole_group(embedded: Fleet) -> None:
    """A signal that the client sends ends the command's children too."""

    async def act(connection: asyncssh.SSHClientConnection) -> None:
        process = await connection.create_process("sleep 1000 & echo $!; sleep 1000")
        child = os.pidfd_open(int(await process.stdout.readline()))
        process.send_signal("TERM")
        completed = await process.wait()
        assert completed.exit_signal
        assert completed.exit_signal[0] == "TERM"
        assert ended(child, 2)
        os.close(child)

    on_connection(embedded, act)


def test_ten_mebibytes_go_both_ways_on_every_host(embedded: Fleet) -> None:
    """Output and input of 10 MiB arrive whole on five hosts at once."""

    async def echo(host: str, data: bytes) -> bool:
        async with await connect(embedded, host) as connection:
            completed = await connection.run("cat", input=data, encoding=None)
        return completed.stdout == data

    async def everywhere() -> list[bool]:
        data = os.urandom(MIB) * 10
        return await asyncio.gather(*(echo(host, data) for host in ("app1", "app2", "both", "web1", "db1")))

    assert asyncio.run(asyncio.wait_for(everywhere(), PATIENCE)) == [True] * 5


def resident(pid: int) -> int:
    """Give the bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def carry_other_traffic(connection: asyncssh.SSHClientConnection) -> None:
    """Move so much over the connection that any other session of it had time enough to send all that it can."""
    for _ in range(8):
        await connection.run(f"head -c {4 * MIB} /dev/zero", encoding=None)


def test_a_client_that_does_not_read_holds_the_command_up(own: Fleet) -> None:
    """Output that nobody reads waits at its command, not in the server's memory; read later, it is whole."""
    server = server_pid(own)

    async def act(connection: asyncssh.SSHClientConnection) -> None:
        before = resident(server)
        unread = await connection.create_process(f"head -c {64 * MIB} /dev/zero; touch done", encoding=None)
        await carry_other_traffic(connection)
        assert not (own.folder / "homes" / "app1" / "done").exists()
        assert resident(server) - before < 16 * MIB
        assert len(await unread.stdout.read()) == 64 * MIB
        assert (await unread.wait()).exit_status == 0

    on_connection(own, act)


def test_a_command_that_does_not_read_holds_the_client_up(own: Fleet) -> None:
    """Input that is not read yet waits at the client, not in the server's memory; read later, it is whole."""
    server = server_pid(own)

    async def act(connection: asyncssh.SSHClientConnection) -> None:
        before = resident(server)
        process = await connection.create_process("mkfifo gate; cat gate; wc -c", encoding=None)
        process.stdin.write(bytes(64 * MIB))
        process.stdin.write_eof()
        await carry_other_traffic(connection)
        assert resident(server) - before < 16 * MIB
        await connection.run("echo open >gate")
        assert (await process.wait()).stdout == f"open\n{64 * MIB}\n".encode()

    on_connection(own, act)


def test_input_that_nobody_reads_is_dropped(own: Fleet) -> None:
    """More input than fits in the windows, for a command that has closed its standard input, does not hold it up."""

    async def act(connection: asyncssh.SSHClientConnection) -> None:
        process = await connection.create_process("mkfifo gate; exec <&-; echo closed; cat gate; echo done")
        assert await process.stdout.readline() == "closed\n"
        process.stdin.write("x" * 8 * MIB)
        await process.stdin.drain()
        await connection.run("echo open >gate")
        assert (await process.wait()).stdout == "open\ndone\n"

    on_connection(own, act)


def test_the_exit_code_comes_while_a_child_still_holds_the_output(embedded: Fleet) -> None:
    """As under sshd the exit code is told at once, and the channel stays open while a child has the output (F21)."""

    class Client(asyncssh.SSHClientSession[bytes]):
        def __init__(self) -> None:
            self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def exit_status_received(self, status: int) -> None:
            self.code.set_result(status)

    async def act(connection: asyncssh.SSHClientConnection) -> None:
        client = Client()
        channel, _ = await connection.create_session(lambda: client, "sleep 1000 & exit 3", encoding=None)
        assert await asyncio.wait_for(client.code, 5) == 3
        assert not channel.is_closing()

    on_connection(embedded, act)


def test_a_command_outlives_its_channel_and_connection_but_not_the_fleet() -> None:
    """Closing the channel or dropping the connection ends no command; the end of the fleet does."""

    async def leave(fleet: Fleet) -> list[int]:
        connection = await connect(fleet)
        pids = []
        for _ in range(2):
            process = await connection.create_process("echo $$; exec sleep 1000")
            pids.append(int(await process.stdout.readline()))
            process.close()
            await process.wait_closed()
        connection.abort()
        return pids

    with Fleet(1) as fleet:
        watched = [os.pidfd_open(pid) for pid in asyncio.run(leave(fleet))]
        assert run(fleet, "echo served").stdout == "served\n"
        assert not any(ended(descriptor, 0) for descriptor in watched)
    assert all(ended(descriptor, 0) for descriptor in watched)
    for descriptor in watched:
        os.close(descriptor)


def test_a_terminal_is_real_and_closing_it_hangs_up(embedded: Fleet) -> None:
    """A session with a terminal has its size, type and modes, and its command ends when the channel closes."""

    async def act(connection: asyncssh.SSHClientConnection) -> None:
        process = await connection.create_process(
            "test -t 0 && test -t 2 && echo $TERM $(stty size) && read word && echo got $word && echo $$ && sleep 1000",
            term_type="vt100",
            term_size=(100, 30),
            term_modes={asyncssh.constants.PTY_ECHO: 0},
        )
        assert await process.stdout.readline() == "vt100 30 100\r\n"
        process.stdin.write("word\n")
        assert await process.stdout.readline() == "got word\r\n"
        command = os.pidfd_open(int(await process.stdout.readline()))
        process.close()
        assert ended(command, 5)
        os.close(command)

    on_connection(embedded, act)


def test_a_terminals_output_is_whole_when_its_command_ends(embedded: Fleet) -> None:
    """What was written to a terminal just before the end still arrives, with the exit code."""
    completed = run(embedded, "seq 20000; exit 4", term_type="xterm")
    assert str(completed.stdout).splitlines()[-1] == "20000"
    assert completed.exit_status == 4


def test_a_session_without_a_command_is_a_shell(embedded: Fleet) -> None:
    """A shell reads its commands from standard input."""

    async def act(connection: asyncssh.SSHClientConnection) -> None:
        completed = await connection.run(input="hostname\nexit 5\n")
        assert (completed.stdout, completed.exit_status) == ("app1\n", 5)

    on_connection(embedded, act)


def test_a_command_that_can_not_be_started_says_so(embedded: Fleet) -> None:
    """A command longer than the system takes ends with code 126 and the reason."""
    completed = run(embedded, "true " + "x" * 200_000)
    assert completed.exit_status == 126
    assert "Argument list too long" in str(completed.stderr)


def test_a_connection_has_at_most_ten_sessions(embedded: Fleet) -> None:
    """As with sshd's MaxSessions the eleventh session is refused, until another has ended."""

    async def act(connection: asyncssh.SSHClientConnection) -> None:
        open_ones = [await connection.create_process("cat") for _ in range(10)]
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.create_process("cat")
        open_ones[0].stdin.write_eof()
        await open_ones[0].wait()
        assert (await connection.run("echo again")).stdout == "again\n"

    on_connection(embedded, act)


def test_max_sessions_can_be_set() -> None:
    """`max_sessions=1` refuses the second session."""

    async def act(connection: asyncssh.SSHClientConnection) -> None:
        await connection.create_process("cat")
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.create_process("cat")

    with Fleet(1, max_sessions=1) as fleet:
        on_connection(fleet, act)
