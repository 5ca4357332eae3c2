"""The embedded fleet: its hosts, who may log in, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import yaml

from opskit.errors import InventoryError, OpskitError, SettingsError
from opskit.fleetlab import Fleet
from opskit.fleetlab.layout import layout
from tests.system.login import PATIENCE, connect, ended, on_connection, run, server_pid

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


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


def test_the_hosts_own_commands_are_first_in_their_path(embedded: Fleet) -> None:
    """On a host `hostname` is the inventory's name, `uptime` says the load, and each role's service runs."""
    completed = run(embedded, "hostname; uptime; service app status; service web status; service db status", "both")
    name, load, *states = str(completed.stdout).splitlines()
    assert name == "both"
    assert "load average: " in load
    assert [" ".join(state.split()[:3]) for state in states] == ["app is running", "web is running", "db is stopped"]
