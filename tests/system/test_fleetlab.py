"""The embedded fleet: it serves as sshd does, lets nobody else in, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
import yaml

from opskit.errors import InventoryError, OpskitError, SettingsError
from opskit.fleetlab import Fleet
from opskit.fleetlab.layout import layout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = pytest.mark.system

MIB = 1024 * 1024
PATIENCE = 20
ROOT = Path(__file__).parents[2]


async def connect(fleet: Fleet, host: str = "app1", **options: Any) -> asyncssh.SSHClientConnection:
    """Log in to one host as its inventory says."""
    inventory = yaml.safe_load(fleet.path.read_text())
    defaults, entry = inventory["defaults"], inventory["hosts"][host]
    settings = {
        "username": defaults["user"],
        "client_keys": defaults["vars"]["identity_files"],
        "known_hosts": defaults["vars"]["known_hosts"],
        "agent_path": None,
        "config": None,
        **options,
    }
    return await asyncssh.connect(entry["address"], entry["port"], **settings)


def run(fleet: Fleet, command: str, host: str = "app1", **options: Any) -> asyncssh.SSHCompletedProcess:
    """Run one command on one host, on a connection of its own."""

    async def once() -> asyncssh.SSHCompletedProcess:
        connection = await connect(fleet, host)
        try:
            return await connection.run(command, **options)
        finally:
            connection.abort()

    return asyncio.run(asyncio.wait_for(once(), PATIENCE))


def on_connection(fleet: Fleet, act: Callable[[asyncssh.SSHClientConnection], Awaitable[None]]) -> None:
    """Do something with a connection to app1."""

    async def once() -> None:
        async with await connect(fleet) as connection:
            await act(connection)

    asyncio.run(asyncio.wait_for(once(), PATIENCE))


def ended(descriptor: int, seconds: float) -> bool:
    """Wait at most so long for the process of a pidfd to end."""
    return bool(select.select([descriptor], [], [], seconds)[0])


@pytest.fixture
def own() -> Iterator[Fleet]:
    """A fleet of one host that the test may break."""
    with Fleet(1) as fleet:
        yield fleet


def test_five_hosts_are_one_of_each_kind_and_eight_are_as_documented() -> None:
    """Small fleets have the hosts that the docstring of Fleet names, with their roles."""
    five = {"app1": ("app",), "app2": ("app",), "both": ("app", "web"), "web1": ("web",), "db1": ("db",)}
    assert layout(5) == five
    assert list(layout(5)) == list(five)
    assert list(layout(8)) == ["app1", "app2", "app3", "both", "web1", "web2", "db1", "queue1"]


def test_every_count_gives_so_many_hosts() -> None:
    """Each count from 1 to 500 gives that many hosts, and one more host never takes another one away."""
    smaller: set[str] = set()
    for count in range(1, 501):
        hosts = set(layout(count))
        assert len(hosts) == count
        assert smaller < hosts
        smaller = hosts
    assert Counter(role for roles in layout(16).values() for role in roles) == {"app": 7, "web": 6, "db": 2, "queue": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "1 to 500"),
        ({"count": 501}, "1 to 500"),
        ({"max_sessions": 0}, "max_sessions=0"),
        ({"roles": {}}, "at least one host"),
        ({"roles": {"../up": ["app"]}}, "'../up'"),
        ({"roles": {"app1": ["a/b"]}}, "'a/b' of host 'app1'"),
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(options: dict[str, Any], message: str) -> None:
    """A count, name or limit that can't be served is a SettingsError that names it."""
    with pytest.raises(SettingsError, match=message):
        Fleet(**options)


def test_the_inventory_file_has_what_a_login_needs(embedded: Fleet) -> None:
    """The file lists address, port, roles and vars of each host, and for all the user, known_hosts and key."""
    document = yaml.safe_load(embedded.path.read_text())
    assert document["defaults"] == {
        "user": "ops",
        "vars": {
            "known_hosts": str(embedded.folder / "known_hosts"),
            "identity_files": [str(embedded.folder / "id_ed25519")],
        },
    }
    assert list(document["hosts"]) == ["app1", "app2", "both", "web1", "db1"]
    both = document["hosts"]["both"]
    assert both == {"address": "127.0.0.1", "port": both["port"], "roles": ["app", "web"], "vars": {"dc": "ams"}}
    assert document["hosts"]["app2"]["vars"] == {"dc": "fra"}


def test_opskit_reads_the_inventory(embedded: Fleet) -> None:
    """`fleet.inventory` is the file as opskit understands it."""
    inventory = embedded.inventory
    assert [host.name for host in inventory] == ["app1", "app2", "both", "web1", "db1"]
    assert inventory["both"].roles == {"app", "web"}
    assert inventory["both"].user == "ops"
    assert inventory["both"].vars["known_hosts"] == str(embedded.folder / "known_hosts")


def test_importing_the_fleet_imports_no_ssh_and_no_yaml() -> None:
    """`opskit.fleetlab` is light: the server process alone knows SSH."""
    code = "import opskit.fleetlab, sys; print([m for m in ('asyncssh', 'yaml', 'asyncio') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "[]\n"


def listening(pid: int) -> list[tuple[str, str]]:
    """Give family and address (as the kernel writes it) of each socket on which a process listens."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    found = []
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{family}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in links:
                found.append((family, fields[1].partition(":")[0]))
    return found


def server_pid(fleet: Fleet) -> int:
    """Give the server process's pid: it is the parent of every command."""
    return int(str(run(fleet, "echo $PPID").stdout))


def test_it_listens_on_loopback_only(embedded: Fleet) -> None:
    """Every listening socket of the server process is one of 127.0.0.1; there is one for each host (S22)."""
    assert listening(server_pid(embedded)) == [("tcp", "0100007F")] * 5


@pytest.mark.parametrize("user", ["ops", "root", "nobody"])
def test_another_key_and_a_password_are_refused(embedded: Fleet, user: str) -> None:
    """Nobody gets in with a key of their own, nor with a password: only keys are asked for (S22)."""
    mine = asyncssh.generate_private_key("ssh-ed25519")
    tried: list[str] = []

    class Client(asyncssh.SSHClient):
        def password_auth_requested(self) -> str:
            tried.append("password")
            return "secret"

    with pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(connect(embedded, username=user, client_keys=[mine], client_factory=Client))
    assert tried == []


def test_only_ops_and_the_current_user_may_log_in(embedded: Fleet) -> None:
    """The fleet's key is no good for another name."""
    with pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(connect(embedded, username="somebody"))


def test_each_host_has_a_key_of_its_own_and_known_hosts_has_it(embedded: Fleet) -> None:
    """known_hosts tells the hosts apart: a connection to each is accepted, and no two have the same key."""
    lines = (embedded.folder / "known_hosts").read_text().splitlines()
    assert len({line.split()[2] for line in lines}) == 5
    assert [run(embedded, "hostname", host).stdout for host in ("app2", "both")] == ["app2\n", "both\n"]


def test_folder_and_files_are_private_under_any_umask() -> None:
    """With umask 000 the folder is 0700, and each file with a secret or an address is 0600."""
    before = os.umask(0)
    try:
        with Fleet(1) as fleet:
            files = [fleet.folder / name for name in ("id_ed25519", "known_hosts", "hosts.yaml", "settings.json")]
            assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 4
            assert stat.S_IMODE(fleet.folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_forwarding_and_subsystems_are_refused(embedded: Fleet) -> None:
    """A connection opens sessions for commands and nothing else."""

    async def act(connection: asyncssh.SSHClientConnection) -> None:
        port = connection.get_extra_info("peername")[1]
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", port)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", port)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.create_process(subsystem="sftp")

    on_connection(embedded, act)


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


def test_a_stopped_host_drops_its_connections_and_comes_back_at_its_port(own: Fleet) -> None:
    """`stop` ends a host's connections and refuses new ones; `start` serves at the same port; both may be repeated."""

    async def stop_under_a_command() -> None:
        connection = await connect(own)
        process = await connection.create_process("exec sleep 1000")
        own.stop("app1")
        assert (await process.wait()).exit_status is None
        await connection.wait_closed()

    asyncio.run(asyncio.wait_for(stop_under_a_command(), PATIENCE))
    own.stop("app1")
    with pytest.raises(ConnectionRefusedError):
        run(own, "true")
    own.start("app1")
    own.start("app1")
    assert run(own, "echo back").stdout == "back\n"


def test_stopping_an_unknown_host_names_the_nearest(own: Fleet) -> None:
    """A host that the fleet does not have is an InventoryError."""
    with pytest.raises(InventoryError, match="no host 'app'; did you mean 'app1'"):
        own.stop("app")


def test_a_fleet_that_is_down_says_so() -> None:
    """What needs servers is an OpskitError before `up` and after `down`; `down` may be repeated."""
    fleet = Fleet(1)
    fleet.down()
    with pytest.raises(OpskitError, match=r"call fleet\.up\(\)"):
        _ = fleet.path
    fleet.up()
    fleet.up()
    fleet.down()
    with pytest.raises(OpskitError, match=r"call fleet\.up\(\)"):
        fleet.stop("app1")


def test_a_fleet_whose_server_died_says_so(own: Fleet) -> None:
    """A server process killed from outside is an OpskitError with what to do, not a hang."""
    os.kill(server_pid(own), signal.SIGKILL)
    with pytest.raises(OpskitError, match=r"is gone .*call down\(\), then up\(\)"):
        own.stop("app1")


def test_a_temporary_folder_is_removed_and_a_given_one_kept(tmp_path: Path) -> None:
    """The folder goes with the fleet, unless the caller named it."""
    with Fleet(1) as temporary, Fleet(1, folder=tmp_path / "kept") as given:
        gone, kept = temporary.folder, given.folder
        run(given, "echo remembered >file")
    assert not gone.exists()
    assert (kept / "homes" / "app1" / "file").read_text() == "remembered\n"
    with pytest.raises(SettingsError, match="not empty"):
        Fleet(1, folder=kept).up()


def test_a_server_that_does_not_start_is_an_error_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the server process fails, its standard error is in the message and no temporary folder is left."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'no such luck' >&2\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OpskitError, match=r"did not start: the server process ended\. Its server said:\nno such"):
        Fleet(1).up()
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


OWNER = """
    import asyncio, os, sys, asyncssh, yaml
    from opskit.fleetlab import Fleet

    fleet = Fleet(1)
    fleet.up()
    FORK
    inventory = yaml.safe_load(fleet.path.read_text())
    shared, host = inventory["defaults"]["vars"], inventory["hosts"]["app1"]

    async def main():
        async with asyncssh.connect(host["address"], host["port"], username="ops", known_hosts=shared["known_hosts"],
                                    client_keys=shared["identity_files"], config=None, agent_path=None) as connection:
            started = await connection.create_process(
                "echo $PPID $$; sleep 1000 & echo $!; (setsid sleep 1000 & echo $!); sleep 1000")
            pids = [await started.stdout.readline() for _ in range(3)]
            print(fleet.folder, *"".join(pids).split(), flush=True)
            END

    asyncio.run(main())
"""


def start_owner(fork: str, end: str) -> tuple[subprocess.Popen[str], Path, list[int]]:
    """Start a process that owns a fleet with running commands; give it, the folder and pidfds of all its processes."""
    code = textwrap.dedent(OWNER).replace("FORK", fork).replace("END", end)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True)
    assert owner.stdout is not None
    folder, *pids = owner.stdout.readline().split()
    assert len(pids) == 4
    return owner, Path(folder), [os.pidfd_open(int(pid)) for pid in pids]


@pytest.mark.parametrize(
    "fork", ["", "if os.fork() == 0: import time; os.close(1); time.sleep(1000)"], ids=["alone", "forked"]
)
def test_everything_ends_when_the_owner_is_killed(fork: str) -> None:
    """After kill -9 of the owner the server and all commands are gone within 2 s, an orphan in its own session too.

    A fork of the owner, which inherits the pipe to the server, keeps nothing alive.
    """
    owner, folder, watched = start_owner(fork, "await asyncio.sleep(1000)")
    children = Path(f"/proc/{owner.pid}/task/{owner.pid}/children").read_text().split()
    forks = [os.pidfd_open(int(pid)) for pid in children]
    with owner:
        owner.kill()
        deadline = time.monotonic() + 2
        all_ended = all(ended(descriptor, max(deadline - time.monotonic(), 0)) for descriptor in watched)
    for descriptor in forks:
        with suppress(ProcessLookupError):  # the server is one of them
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    assert all_ended
    assert not folder.exists()
    for descriptor in (*watched, *forks):
        os.close(descriptor)


def test_an_owner_that_forgets_its_fleet_leaves_nothing() -> None:
    """An owner that exits without `down` ends the fleet with its interpreter, and its folder goes."""
    owner, folder, watched = start_owner("", "return")
    with owner:
        assert owner.wait(10) == 0
    assert all(ended(descriptor, 0) for descriptor in watched)
    assert not folder.exists()
    for descriptor in watched:
        os.close(descriptor)


def test_a_fork_of_the_owner_can_not_end_the_fleet() -> None:
    """`down` in a forked child leaves the fleet to its owner."""
    fork = "pid = os.fork()\nif pid == 0: fleet.down(); os._exit(0)\nos.waitpid(pid, 0)\nassert fleet.path.exists()"
    owner, _, watched = start_owner(fork, "return")
    with owner:
        assert owner.wait(10) == 0
    for descriptor in watched:
        os.close(descriptor)


SHELLS = [shell for shell in (("sh",), ("bash", "--posix"), ("busybox", "sh")) if Path("/usr/bin", shell[0]).exists()]


class Services:
    """The `service` and `systemctl` scripts on a home of their own, run by one shell."""

    def __init__(self, home: Path, shell: tuple[str, ...]) -> None:
        self.home = home
        self._shell = shell
        self._scripts = ROOT / "opskit" / "fleetlab" / "bin"

    def start(self, line: str) -> subprocess.Popen[str]:
        """Start one command line."""
        script, *arguments = line.split()
        return subprocess.Popen(
            [*self._shell, str(self._scripts / script), *arguments],
            env={"HOME": str(self.home), "PATH": f"{self._scripts}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, line: str) -> tuple[int, str, str]:
        """Run one command line: its exit code, output and errors."""
        with self.start(line) as process:
            stdout, stderr = process.communicate(timeout=10)
        return process.returncode, stdout.strip(), stderr.strip()


@pytest.fixture(params=SHELLS, ids=" ".join)
def services(tmp_path: Path, request: pytest.FixtureRequest) -> Services:
    """The scripts on an empty home, once for each POSIX shell of this machine."""
    return Services(tmp_path, request.param)


def test_a_service_starts_stops_and_tells_its_state(services: Services) -> None:
    """start, stop and restart change what status says: exit code 0 if it runs, 3 if not."""
    assert services("service app status") == (3, "app is stopped", "")
    assert services("service app start") == (0, "", "")
    code, said, _ = services("service app status")
    assert code == 0
    assert said.startswith("app is running since 20")
    assert services("service app reload")[0] == 0
    assert services("service app stop")[0] == services("service app stop")[0] == 0
    assert services("service app status")[0] == 3
    assert services("service app reload") == (1, "", "app is stopped: nothing to reload")
    assert services("service app restart")[0] == services("service app restart")[0] == 0
    log = (services.home / ".services" / "log").read_text().splitlines()
    assert [line.split()[1:] for line in log] == [["app", v] for v in ("start", "stop", "start", "stop", "start")]


def test_a_service_runs_the_release_that_current_points_to(services: Services) -> None:
    """The version is taken from the link `current` when the service starts."""
    (services.home / "current").symlink_to("releases/v41")
    services("service app start")
    (services.home / "current").unlink()
    (services.home / "current").symlink_to("releases/v42")
    assert services("service app status")[1].endswith("version v41")
    services("service app restart")
    assert services("service app status")[1].endswith("version v42")


def test_a_service_fails_until_it_is_mended(services: Services) -> None:
    """`fail` makes every start fail, by restart too, and leaves the service stopped; `mend` ends that."""
    services("service app start")
    services("service app fail")
    assert services("service app restart") == (1, "", "app: start failed (told to: service app mend)")
    assert services("service app start")[0] == 1
    assert services("service app status")[0] == 3
    services("service app mend")
    assert services("service app start")[0] == 0
    services("service app fail reload")
    assert services("service app reload")[0] == 1
    assert services("service app restart")[0] == 0


def test_a_service_hangs_until_it_is_mended(services: Services) -> None:
    """`hang restart` makes a restart wait; after `mend` it goes on and succeeds."""
    services("service app hang restart")
    with services.start("service app restart") as hanging:
        assert services("service app start")[0] == 0  # only the verb that was named hangs
        assert hanging.poll() is None
        services("service app mend")
        assert hanging.wait(10) == 0


@pytest.mark.parametrize("line", ["service", "service app", "service app explode", "service app fail everything"])
def test_bad_usage_of_service_is_exit_code_2(services: Services, line: str) -> None:
    """An unknown verb prints how to use the command."""
    code, _, said = services(line)
    assert code == 2
    assert said.startswith("usage: service NAME start|stop")


@pytest.mark.parametrize("name", ["../up", "-x", "log", "a;b"])
def test_a_service_can_not_leave_its_folder(services: Services, name: str) -> None:
    """A name that is no plain word is refused."""
    assert services(f"service {name} start")[0] == 2
    assert not (services.home / ".services").exists()


def test_systemctl_is_another_face_of_service(services: Services) -> None:
    """It takes several names, with or without .service, and says active or inactive."""
    assert services("systemctl start app.service web") == (0, "", "")
    services("systemctl stop web")
    assert services("systemctl is-active app web") == (3, "active\ninactive", "")
    assert services("systemctl status app")[0] == 0
    services("service app fail")
    assert services("systemctl restart app")[0] == 1
    assert services("systemctl explode app")[0] == services("systemctl start")[0] == 2


def test_the_hosts_own_commands_are_first_in_their_path(embedded: Fleet) -> None:
    """On a host `hostname` is the inventory's name, `uptime` says the load, and each role's service runs."""
    completed = run(embedded, "hostname; uptime; service app status; service web status; service db status", "both")
    name, load, *states = str(completed.stdout).splitlines()
    assert name == "both"
    assert "load average: " in load
    assert [" ".join(state.split()[:3]) for state in states] == ["app is running", "web is running", "db is stopped"]
