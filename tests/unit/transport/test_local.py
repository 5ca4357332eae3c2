"""This machine as a host, through the engine, with real processes."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opskit import events, masking
from opskit.engine.run import Run
from opskit.fleet import Host, Inventory
from opskit.fleet.names import Names
from opskit.secrets import secret
from opskit.settings import Settings
from opskit.testing import ScriptedTransport
from opskit.transport import local
from opskit.transport.local import LocalTransport
from opskit.transport.passwords import Passwords
from opskit.transport.router import Router
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opskit.results import HostResult, Results
    from opskit.transport.passwords import Trials
    from opskit.work.plan import Plan, Step

HERE = Host("here", "local")
NO_PASSWORDS = Passwords().of_run(Settings())

SUDO = """#!/bin/sh
asks=yes
while [ "$1" != -- ]; do
  case $1 in -p) prompt=$2;; -n) asks=no;; esac
  shift
done
shift
[ $asks = yes ] || exit 1
for try in 1 2 3; do
  printf %s "$prompt" >&2
  IFS= read -r given || exit 1
  [ "$given" != right ] || exec "$@"
  echo Sorry >&2
done
exit 1
"""


def planned(*commands: str, hosts: tuple[Host, ...] = (HERE,), **options: Any) -> Plan:
    """Each command on each host."""
    draft = Draft({"template": False, **options}, Settings(), "test")
    names = Names.of(None, {}, Settings())
    for command in commands:
        draft.when("True", command, names, "test", options={})
    return draft.plan(lambda: Inventory(hosts))


async def finished(
    plan: Plan, cancel_on: str | None = None, max_output: int = 1024 * 1024, trials: Trials | None = None
) -> Results:
    """Run it; a line of output that is `cancel_on` cancels."""

    def emit(event: events.Event) -> None:
        if isinstance(event, events.Output) and event.text == cancel_on:
            run.cancel()

    run = Run(plan, LocalTransport(trials or NO_PASSWORDS), emit, max_output=max_output)
    async with asyncio.timeout(30):
        return await run.finish()


def ran(command: str, cancel_on: str | None = None, password: str | None = None, **options: Any) -> HostResult:
    """The row of one command."""
    if cancel_on is not None:
        options["on_output"] = print
    trials = None if password is None else Passwords().of_run(Settings(secrets=(("sudo", secret(password)),)))
    return asyncio.run(finished(planned(command, **options), cancel_on, trials=trials))[0]


def ended(argument: str) -> bool:
    """Whether every process with this argument ends, within some seconds."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if argument.encode() in (process / "cmdline").read_bytes().split(b"\0"):
                left.append(os.pidfd_open(int(process.name)))
    gone = [select.select([descriptor], [], [], 5)[0] for descriptor in left]
    for descriptor in left:
        os.close(descriptor)
    return all(gone)


async def reaped() -> None:
    """Wait until asyncio knows of the end of each process, also of those that nobody waits for any more."""
    for thread in threading.enumerate():
        if thread.name.startswith("asyncio-waitpid"):
            await asyncio.to_thread(thread.join)


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True, scope="module")
def _masks() -> Iterator[None]:
    """What is masked for these tests is not masked in any other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_known", None)
        yield


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody cleans up for long here."""
    monkeypatch.setattr(local, "DRAIN_SECONDS", 0.1)
    monkeypatch.setattr(local, "GRACE_SECONDS", 0.3)


@pytest.mark.parametrize(
    ("command", "status", "exit_code", "ended_by"),
    [
        ("true", "ok", 0, None),
        ("exit 7", "failed", 7, None),
        ("kill -KILL $$", "failed", None, "KILL"),
        ("kill -37 $$", "failed", None, "37"),
        ("no_such_command", "failed", 127, None),
    ],
)
def test_how_a_command_ends(command: str, status: str, exit_code: int | None, ended_by: str | None) -> None:
    """F23: an exit code, or the signal's name without SIG, or its number where it has none."""
    row = ran(command)
    assert (row.status, row.exit_code, row.signal) == (status, exit_code, ended_by)


def test_both_streams_arrive_whole() -> None:
    """All output is there when the command has ended, each stream apart, bad bytes replaced."""
    row = ran(r"head -c 1000000 /dev/zero; printf 'caf\351' >&2")
    assert row.stdout == "\0" * 1_000_000
    assert row.stderr == "caf\ufffd"


def test_it_runs_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As over SSH, a command starts in the user's home, not where Python happens to be."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ran("pwd").stdout == f"{tmp_path}\n"


def test_what_can_not_be_started_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the system refuses, the row is `failed` with its reason, and nothing ran."""
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    row = ran("true")
    assert (row.status, row.exit_code) == ("failed", None)
    assert row.error == "this machine could not start the command: No such file or directory"


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_standard_input_of_five_megabytes(tmp_path: Path, kind: str) -> None:
    """Bytes and files reach the command whole, and end."""
    content = os.urandom(1024) * 5000
    file = tmp_path / "input"
    file.write_bytes(content)
    row = ran("cksum | cut -d' ' -f2", stdin=content if kind == "bytes" else file)
    assert row.stdout == f"{len(content)}\n"


@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_a_command_need_not_read_its_input(tmp_path: Path, kind: str) -> None:
    """What ends without reading is ok."""
    file = tmp_path / "input"
    file.write_bytes(b"x" * 1_000_000)
    assert ran("true", stdin=file.read_bytes() if kind == "bytes" else file).status == "ok"


def test_a_file_that_is_gone_when_it_is_read(tmp_path: Path) -> None:
    """A stdin file that vanished after the plan was made is a `failed` row; the command did not run."""
    file, ran_at = tmp_path / "input", tmp_path / "ran"
    file.write_text("x")
    plan = planned(f"touch {ran_at}", stdin=file)
    file.unlink()
    row = asyncio.run(finished(plan))[0]
    assert (row.status, row.error) == ("failed", "this machine could not start the command: No such file or directory")
    assert not ran_at.exists()


@pytest.mark.parametrize(
    "command",
    ["{sleep} & {sleep}", "trap '' TERM; {sleep} & wait; {sleep}", "sh -c 'trap \"\" TERM; {sleep}; {sleep}' & wait"],
    ids=["background", "deaf", "deaf-child"],
)
@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_ending_leaves_no_process(command: str, how: str) -> None:
    """A35, F20, R6: after a timeout or a cancel nothing of the group runs, also what does not listen to TERM."""
    argument = f"{1000 + time.monotonic_ns() % 1_000_000 / 1e6:.6f}"
    script = f"echo go; {command.format(sleep=f'sleep {argument}')}"
    if how == "cancel":
        row = ran(script, cancel_on="go")
        assert (row.status, row.error) == ("cancelled", "cancelled; it was ended")
    else:
        row = ran(script, timeout=0.2)
        assert (row.status, row.error) == ("timeout", "did not end within 0.2 s; it was ended")
    assert row.stdout == "go\n"
    assert ended(argument)


def test_a_second_cancel_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """R6: it does not wait until the group has cleaned up; that is killed, also what does not listen to TERM."""
    argument, send = f"{1000 + time.monotonic_ns() % 1_000_000 / 1e6:.6f}", os.killpg

    async def twice() -> HostResult:
        def cancel_again(group: int, number: int) -> None:
            send(group, number)
            asyncio.get_running_loop().call_soon(run.cancel)

        def emit(event: events.Event) -> None:
            if isinstance(event, events.Output):
                run.cancel()

        monkeypatch.setattr(local, "GRACE_SECONDS", 20)
        monkeypatch.setattr(os, "killpg", cancel_again)
        plan = planned(f"trap '' TERM; echo go; sleep {argument} & sleep {argument}", on_output=print)
        run = Run(plan, LocalTransport(NO_PASSWORDS), emit, max_output=1000)
        async with asyncio.timeout(10):
            row = (await run.finish())[0]
        await reaped()
        return row

    assert asyncio.run(twice()).status == "unknown"
    assert ended(argument)


@pytest.mark.usefixtures("_sudo")
@pytest.mark.parametrize(("complaint", "code"), [(": # sudo says nothing, and runs nothing", 0), ("exit 1", 1)])
def test_what_ran_something_else_is_not_ok(tmp_path: Path, complaint: str, code: int) -> None:
    """Where the wrapper never spoke, the command did not run, whatever the exit code."""
    (tmp_path / "sudo").write_text(f"#!/bin/sh\n{complaint}\n")
    row = ran("echo ran", sudo=True)
    assert (row.status, row.exit_code, row.stdout) == ("failed", None, "")
    assert str(row.error).startswith("here ran something else instead of the command")


@pytest.mark.usefixtures("_sudo")
def test_a_complaint_of_sudos_is_the_error(tmp_path: Path) -> None:
    """What keeps it from running the command says more than that it did not run."""
    (tmp_path / "sudo").write_text("#!/bin/sh\necho 'deploy is not in the sudoers file' >&2\nexit 1\n")
    row = ran("echo ran", sudo=True)
    assert (row.status, row.exit_code, row.error) == ("failed", 1, "exit code 1: deploy is not in the sudoers file")


def test_what_may_not_be_ended_may_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """R6: a group of another user (sudo) can't be signalled; the row says so."""

    def refuse(group: int, number: int) -> None:
        raise PermissionError

    async def until_its_shell_is_gone() -> HostResult:
        row = (await finished(planned("exec sleep 1000", timeout=0.05)))[0]
        await reaped()
        return row

    monkeypatch.setattr(os, "killpg", refuse)
    row = asyncio.run(until_its_shell_is_gone())
    assert row.status == "timeout"
    assert "may still run on here: process group" in str(row.error)


def test_a_child_that_keeps_the_output_open_does_not_hold_the_row() -> None:
    """F21: the command's end counts; its child's output is waited for a moment only."""
    row = ran("echo out; sleep 1000 & echo $!")
    word, child = row.stdout.split()
    assert (row.status, word) == ("ok", "out")
    assert row.seconds is not None
    assert row.seconds < 5
    os.kill(int(child), signal.SIGKILL)


def test_branches_run_at_the_same_time() -> None:
    """Two commands of the host wait for each other and both end."""
    results = asyncio.run(
        finished(planned("mkfifo a; echo x > a; rm a", "until [ -p a ]; do sleep 0.01; done; cat a", cwd="/tmp"))
    )
    assert [(row.status, row.stdout) for row in results] == [("ok", ""), ("ok", "x\n")]


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """R19: 200 commands, some of them ended early, leave as many descriptors as ten."""
    file = tmp_path / "input"
    file.write_text("x")

    async def grown() -> int:
        async def rounds(number: int) -> int:
            for _ in range(number):
                await finished(planned("cat", "exit 1", "kill -9 $$", stdin=file, on_error="continue"))
                await finished(planned("sleep 1000 &", "sleep 1000", timeout=0.01, on_error="continue"))
            return descriptors()

        before = await rounds(2)
        return await rounds(38) - before

    assert asyncio.run(grown()) <= 0


def test_the_router_sends_local_addresses_here_and_all_others_to_ssh() -> None:
    """`address: local` runs without SSH; only the others are prepared and dialled."""
    prepared: list[str] = []

    class Ssh(ScriptedTransport):
        async def prepare(self, steps: Iterable[Step]) -> None:
            prepared.extend(step.host.name for step in steps)

    ssh = Ssh()
    plan = planned("echo here", hosts=(HERE, Host("local"), Host("web1", "10.0.0.5")))
    results = asyncio.run(Run(plan, Router(ssh, LocalTransport(NO_PASSWORDS)), lambda _: None, max_output=100).finish())
    assert [(row.host, row.stdout) for row in results] == [("here", "here\n"), ("local", "here\n"), ("web1", "")]
    assert prepared == ssh.dialled == ["web1"]


@pytest.fixture
def _sudo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sudo that wants the password `right`, and makes nobody of anybody."""
    (tmp_path / "sudo").write_text(SUDO)
    (tmp_path / "sudo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("_sudo")
@pytest.mark.parametrize("pty", [False, True])
def test_sudo_with_a_password(*, pty: bool) -> None:
    """The password is given where it is asked for, and the command's input stays whole."""
    row = ran("cat; echo err >&2; exit 3", password="right", sudo=True, stdin="in\n", pty=pty)
    assert (row.stdout + row.stderr, row.exit_code) == ("in\nerr\n", 3)


@pytest.mark.usefixtures("_sudo")
@pytest.mark.parametrize(("password", "error"), [("wrong", "sudo on here refused"), (None, "nobody can answer here")])
def test_sudo_with_a_wrong_password_or_none(password: str | None, error: str) -> None:
    """Nothing runs, nothing of its input is taken for a password, and the row says what to set."""
    row = ran("cat", password=password, sudo=True, stdin="right\n")
    assert (row.status, row.stdout) == ("failed", "")
    assert str(row.error).startswith(error)
    assert "opskit.configure(secrets=" in str(row.error)
    assert "nothing was run" in str(row.error)


@pytest.mark.usefixtures("_sudo")
@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_what_sudo_runs_is_ended_by_sudo(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """R6: signals go through sudo, with the password; by itself this process could not send them."""

    def refuse(group: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)
    argument = f"{1000 + time.monotonic_ns() % 1_000_000 / 1e6:.6f}"
    command = f"echo go; trap '' TERM; sleep {argument} & sleep {argument}"
    on, limit = ("go", None) if how == "cancel" else (None, 0.3)
    row = ran(command, cancel_on=on, password="right", sudo=True, timeout=limit)
    assert row.stdout == "go\n"
    assert str(row.error).endswith("; it was ended")
    assert ended(argument)


def test_a_file_that_follows_secrets_may_be_gone(tmp_path: Path) -> None:
    """What had to be sent with something before it, and can't be read, is a row that says what the command got."""
    file = tmp_path / "input"
    file.write_text("x")
    plan = planned("cat", stdin=file, env={"KEY": secret("a secret")})
    file.unlink()
    row = asyncio.run(finished(plan))[0]
    assert row.status == "unknown"
    assert str(row.error).startswith(f"{file} could not be read (No such file or directory)")
