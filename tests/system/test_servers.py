"""Servers that are not OpenSSH as it comes: Dropbear, forced commands, other login shells, one session, new keys."""

from __future__ import annotations

import hashlib
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from tests.needs import need_program
from tests.system.dropbear import dropbear
from tests.system.ground import first, processes, row_of, send, unique_sleep, wait_until

if TYPE_CHECKING:
    from tests.system.conftest import StartSshd

pytestmark = pytest.mark.system


@pytest.mark.parametrize("shell", ["sh", "fish", "csh"])
def test_dropbear_runs_commands_under_any_login_shell(shell: str) -> None:
    """Streams, exit code, signal, values and standard input arrive as they are, several branches at a time."""
    value = "a'b\"c $HOME `id` \\ !\n*é"
    content = os.urandom(1000) * 3000
    with dropbear(need_program(shell, shell)) as host:
        row = row_of(host, 'echo "$X"; echo oops >&2; exit 3', env={"X": value})
        assert (row.status, row.exit_code, row.stdout, row.stderr) == ("failed", 3, f"{value}\n", "oops\n")
        assert row_of(host, "kill -KILL $$").signal == "KILL"
        with opskit.parallel(hosts=opskit.Inventory([host]), stdin=content) as session:
            for number in range(4):
                session.when("True", f"sha256sum; yes {number} | head -c 200000")
    expected = f"{hashlib.sha256(content).hexdigest()}  -\n"
    assert [row.stdout for row in session.results] == [expected + f"{number}\n" * 100_000 for number in range(4)]


def test_on_dropbear_a_child_that_keeps_the_output_open_holds_nobody_up() -> None:
    """F21: the row comes with the command's own exit code, and the connection serves the next run."""
    sleep, argument = unique_sleep()
    with dropbear() as host:
        row = row_of(host, f"echo out; {sleep} & exit 3")
        assert (row.exit_code, row.stdout) == (3, "out\n")
        assert row_of(host).status == "ok"
        send(signal.SIGKILL, processes(argument))


DEAF = "trap '' TERM; {sleep} & {sleep}; {sleep}"


def test_on_dropbear_a_timeout_leaves_no_process() -> None:
    """R6: it starts commands in its own process group, so they get one of their own; and what is said is so."""
    sleep, argument = unique_sleep()
    with dropbear() as host:
        row = row_of(host, DEAF.format(sleep=sleep), timeout=0.3)
        assert (row.status, row.error) == ("timeout", "did not end within 0.3 s; it was ended")
        assert processes(argument) == []


def test_on_dropbear_a_command_ends_with_its_connection() -> None:
    """R6: when what serves the connection is gone, the command and its children end by themselves."""
    sleep, argument = unique_sleep()
    with dropbear() as host:

        def cut(_host: str, _stream: str, line: str) -> None:
            send(signal.SIGKILL, [int(line)])

        row = row_of(host, f"echo $PPID; {DEAF.format(sleep=sleep)}", on_output=cut)
        assert row.status == "unknown"
        wait_until(lambda: not processes(argument))


def test_where_no_group_is_known_nothing_is_said_to_be_ended() -> None:
    """R6: the end of the shell that a server was asked to run is no proof for what it started."""
    sleep, argument = unique_sleep()
    with dropbear() as host:
        row = row_of(host, f"{sleep} & {sleep}", timeout=0.3, shell=False)
    assert row.error == "did not end within 0.3 s; it may still run on h1: what it started"
    send(signal.SIGKILL, processes(argument))


@pytest.mark.parametrize(
    "after", ["", "; exit $?", " 2>&1"], ids=["in its place", "a shell in between", "one stream for both"]
)
def test_a_forced_command_that_runs_ours_is_as_good_as_none(sshd: StartSshd, after: str) -> None:
    """The exit code comes through, also where a shell stands in between; a timeout leaves no process on the host."""
    host = first(sshd(ForceCommand=f'/bin/sh -c "$SSH_ORIGINAL_COMMAND"{after}'))
    row = row_of(host, "echo ran; exit 7")
    assert (row.status, row.exit_code, row.stdout) == ("failed", 7, "ran\n")
    sleep, argument = unique_sleep()
    row = row_of(host, DEAF.format(sleep=sleep), timeout=0.3)
    assert (row.status, row.error) == ("timeout", "did not end within 0.3 s; it was ended")
    assert processes(argument) == []


@pytest.mark.parametrize("options", [{}, {"pty": True}, {"sudo": True}], ids=["plain", "pty", "sudo"])
@pytest.mark.parametrize(
    ("forced", "said"),
    [("echo hello", "hello"), ("nologin", "This account is currently not available."), ("exit 3", "")],
)
def test_what_ran_something_else_is_not_ok(sshd: StartSshd, forced: str, said: str, options: dict[str, Any]) -> None:
    """A forced command of the host's own, a login shell that refuses or ends early: failed, its output kept."""
    row = row_of(first(sshd(ForceCommand=forced)), "echo ran", **options)
    assert (row.status, row.exit_code, row.stdout.strip()) == ("failed", None, said)
    assert row.error == ("h1 ran something else instead of the command (ForceCommand, or a login shell that refuses)")


@pytest.mark.parametrize("connections", [2, 1])
def test_a_server_of_one_session_ends_what_outlives_its_timeout(sshd: StartSshd, connections: int) -> None:
    """R6: over a second connection; where none may be had the command ends with its own, and the row is unsure."""
    sleep, argument = unique_sleep()
    host = first(sshd(MaxSessions=1))
    with opskit.configure(connections_per_host=connections):
        row = row_of(host, DEAF.format(sleep=sleep), timeout=0.3)
        if connections == 2 or "it was ended" in str(row.error):  # a server of another user than root obeys signals
            assert (row.status, row.error) == ("timeout", "did not end within 0.3 s; it was ended")
            assert processes(argument) == []
        else:
            assert re.search("it may still run on h1: process group [0-9]+$", str(row.error))
        wait_until(lambda: not processes(argument))
        assert row_of(host).status == "ok"


def test_what_a_login_takes_before_the_command_is_not_the_commands_time(sshd: StartSshd) -> None:
    """F13: a timeout counts from when the command itself began, however long the host's own scripts take before."""
    host = first(sshd(ForceCommand='/bin/sh -c "sleep 1.2; $SSH_ORIGINAL_COMMAND"'))
    row = row_of(host, "echo done", timeout=1)
    assert (row.status, row.stdout) == ("ok", "done\n")


def test_new_keys_in_mid_output_and_mid_input_change_nothing(sshd: StartSshd) -> None:
    """Thirty megabytes each way, with new session keys after each megabyte, arrive byte for byte."""
    host = first(sshd(RekeyLimit="1M"))
    content = os.urandom(1000) * 30_000
    with opskit.configure(max_output="80 MB"):
        row = row_of(host, "cat; sha256sum </dev/null >&2", stdin=content.hex()[:30_000_000])
    assert (row.status, row.truncated) == ("ok", False)
    assert row.stdout == content.hex()[:30_000_000]
