"""sudo on real OpenSSH, as users who are not root: with a password and without, wrong ones, and what is ended."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import opskit
from opskit import bridge
from opskit.engine.run import Run
from opskit.settings import current
from opskit.transport.passwords import Passwords
from opskit.transport.ssh import Pool, SshTransport
from opskit.transport.ssh.process import RemoteProcess
from tests.needs import missing, need_program
from tests.system.ground import first, processes, row_of, send, sessions, unique_sleep, wait_until
from tests.system.sshd import SshdFleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opskit.engine.ports import Ask
    from opskit.results import HostResult, Results

pytestmark = pytest.mark.system

RIGHT = "right \\ 'pass' $word €"
DEAF = "sh -c 'trap \"\" TERM; {sleep} & {sleep}'"


class Ground(NamedTuple):
    """Twelve hosts, a user whom sudo asks for nothing, and one whom it asks each time."""

    fleet: SshdFleet
    free: str
    asked: str

    def host(self, user: str, **variables: Any) -> opskit.Host:
        """The first host, where this user logs in."""
        return first(self.fleet, user=user, vars=variables)

    def hosts(self, user: str) -> opskit.Inventory:
        """All hosts."""
        model = self.host(user)
        return opskit.Inventory(
            [opskit.Host(host.name, host.address, host.port, user, vars=model.vars) for host in self.fleet.hosts]
        )


def accounts(*command: str, text: str = "") -> None:
    """Change the machine's accounts, which somebody else may have locked for a moment."""
    wait_until(lambda: subprocess.run(command, input=text, text=True, capture_output=True, check=False).returncode == 0)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Users of the test's own; they and all that is theirs are removed afterwards."""
    need_program("sshd", "openssh-server")
    need_program("sudo", "sudo")
    if os.geteuid() != 0:
        missing("only root can make users who may use sudo")
    mark = secrets.token_hex(3)
    free, asked = f"opskit-t-{mark}-f", f"opskit-t-{mark}-a"
    rules = Path(f"/etc/sudoers.d/opskit-t-{mark}")
    try:
        for user in (free, asked):
            accounts("useradd", "-m", user)
            accounts("chpasswd", text=f"{user}:{RIGHT}")
        rules.write_text(
            f"{free} ALL=(ALL) NOPASSWD: ALL\n{asked} ALL=(ALL) ALL\nDefaults:{asked} timestamp_timeout=0\n"
        )
        rules.chmod(0o440)
        with SshdFleet(12) as fleet:
            fleet.folder.chmod(0o755)
            (fleet.folder / "home").chmod(0o777)
            yield Ground(fleet, free, asked)
    finally:
        rules.unlink(missing_ok=True)
        for user in (free, asked):
            accounts("userdel", "-f", "-r", user)  # -f: a watcher may need a second more to end


@pytest.fixture
def right() -> Iterator[None]:
    """The right password is set."""
    with opskit.configure(secrets={"sudo": RIGHT}):
        yield


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was sent to hosts before their commands began."""
    found: list[bytes] = []
    write = RemoteProcess.write

    def written(process: RemoteProcess, data: bytes) -> None:
        if not process.begun.done():
            found.append(data)
        write(process, data)

    monkeypatch.setattr(RemoteProcess, "write", written)
    return found


def test_without_a_password(ground: Ground, given: list[bytes]) -> None:
    """Where sudo asks for nothing, nothing is sent, and the command runs as root with all of its input."""
    row = row_of(ground.host(ground.free), "id -un; cat; echo err >&2; exit 3", sudo=True, stdin="a\nb\n")
    assert (row.stdout, row.stderr, row.exit_code) == ("root\na\nb\n", "err\n", 3)
    assert given == []


@pytest.mark.usefixtures("right")
@pytest.mark.parametrize("pty", [False, True])
def test_with_a_password(ground: Ground, given: list[bytes], *, pty: bool) -> None:
    """The password is typed where sudo asks, and is no part of what the command reads or of what is shown."""
    row = row_of(ground.host(ground.asked), "id -un; cat; echo err >&2; exit 3", sudo=True, stdin="a\nb\n", pty=pty)
    assert (row.stdout + row.stderr, row.exit_code) == ("root\na\nb\nerr\n", 3)
    assert given == [f"{RIGHT}\n".encode()]


@pytest.mark.usefixtures("right")
def test_a_right_password_is_tried_alone_first(ground: Ground, given: list[bytes]) -> None:
    """What sudo accepted on one host is given to all others, and each begins."""
    results = opskit.run("id -un", hosts=ground.hosts(ground.asked), sudo=True)
    assert [row.stdout for row in results] == ["root\n"] * 12
    assert len(given) == 12


def test_a_wrong_password_is_tried_once_for_the_fleet(ground: Ground, given: list[bytes]) -> None:
    """One host refuses it, no other is sent it; each row says so, and nothing ran or was read."""
    with opskit.configure(secrets={"sudo": "wrong one"}):
        results = opskit.run(
            "id -un; cat", hosts=ground.hosts(ground.asked), sudo=True, stdin=f"{RIGHT}\n", on_error="continue"
        )
    assert {row.status for row in results} == {"failed"}
    assert {row.exit_code for row in results} == {None}
    assert given == [b"wrong one\n"]
    refused = [str(row.error) for row in results]
    where = next(row.host for row in results if str(row.error).startswith(f"sudo on {row.host} refused"))
    for row, error in zip(results, refused, strict=True):
        assert error.startswith(f"sudo on {where} refused the password of {ground.asked}")
        assert "secrets={" in error
        assert "nothing was run" in error
        assert (row.host == where) is (f"not tried on {row.host}" not in error)
    assert not any(row.stdout for row in results)


def test_who_lets_try_once_is_understood(ground: Ground, given: list[bytes]) -> None:
    """Where sudo asks no second time, its word that the password is wrong is enough to ask nobody else."""
    rule = Path("/etc/sudoers.d") / f"{ground.asked}-once"
    rule.write_text(f"Defaults:{ground.asked} passwd_tries=1\n")
    try:
        with opskit.configure(secrets={"sudo": "wrong one"}):
            results = opskit.run("true", hosts=ground.hosts(ground.asked), sudo=True, on_error="continue")
    finally:
        rule.unlink()
    assert {row.status for row in results} == {"failed"}
    assert given == [b"wrong one\n"]


def test_a_hosts_own_password(ground: Ground) -> None:
    """The host's var wins over what is set for all."""
    with opskit.configure(secrets={"sudo": "wrong one"}):
        row = row_of(ground.host(ground.asked, sudo=RIGHT), "id -un", sudo=True)
    assert row.stdout == "root\n"


def test_without_anybody_to_ask_the_row_says_what_to_set(ground: Ground, given: list[bytes]) -> None:
    """A password that turns out to be needed, and that nobody can give, fails that host's row and names the setting."""
    row = row_of(ground.host(ground.asked), "id -un", sudo=True, timeout=20)
    assert row.status == "failed"
    assert 'opskit.configure(secrets={"sudo": opskit.secret(env="SUDO_PASSWORD")})' in str(row.error)
    assert "nothing was run" in str(row.error)
    assert given == []


@pytest.mark.usefixtures("right")
def test_what_sudo_itself_refuses(ground: Ground) -> None:
    """A user that there is not, and one who may not: the row fails with sudo's own words."""
    row = row_of(ground.host(ground.free), "true", sudo="nobody-has-this-name")
    assert (row.status, "unknown user" in row.stderr) == ("failed", True)
    row = row_of(ground.host(ground.free), "sudo -n -u root true || echo no", sudo=ground.asked)
    assert row.stdout == "no\n"


@pytest.mark.usefixtures("right")
def test_environment_and_folder_are_set_inside(ground: Ground) -> None:
    """What sudo would drop, and where only the other user may enter: both are set after it."""
    env = {"A": "it's", "B": opskit.secret("my\nown secret")}
    command = 'id -un; pwd; echo "$A $B" | tr a-z b-za; cat'
    row = row_of(ground.host(ground.asked), command, sudo=ground.free, env=env, cwd=f"/home/{ground.free}", stdin="in")
    assert row.stdout == f"{ground.free}\n/home/{ground.free}\nju't nz\npxo tfdsfu\nin"


@pytest.mark.usefixtures("right")
@pytest.mark.parametrize("pty", [False, True])
@pytest.mark.parametrize("kind", ["free", "asked"])
@pytest.mark.parametrize("how", ["timeout", "cancel", "gone"])
def test_ending_leaves_no_process(ground: Ground, kind: str, how: str, *, pty: bool) -> None:
    """R6: what root runs for us is ended by a timeout, a cancel, and by the loss of the connection."""
    sleep, argument = unique_sleep()
    options: dict[str, Any] = {"sudo": True, "pty": pty, "timeout": 1 if how == "timeout" else None}
    hosts = opskit.Inventory([ground.host(getattr(ground, kind))])
    running = opskit.run(DEAF.format(sleep=sleep), hosts=hosts, wait=False, on_error="continue", **options)
    wait_until(lambda: len(processes(argument)) >= 2)
    if how == "cancel":
        running.cancel()
    elif how == "gone":
        send(signal.SIGKILL, sessions(ground.fleet))
    row = running.wait(20)[0] if how != "cancel" else cancelled(running)
    assert row.status == {"timeout": "timeout", "cancel": "cancelled", "gone": "unknown"}[how]
    if how != "gone":
        assert str(row.error).endswith("it was ended")
    wait_until(lambda: not processes(argument))


def cancelled(running: opskit.Handle) -> HostResult:
    """The row of a run that was cancelled."""
    with pytest.raises(opskit.Cancelled) as caught:
        running.wait(20)
    return caught.value.results[0]


def run_asking(ground: Ground, command: str, ask: Ask, began: Callable[[Run], object], **options: Any) -> Results:
    """Run a command on all hosts as root, where somebody answers; `began` gets the run before it starts."""

    async def finish() -> Results:
        run = Run(plan, SshTransport(pool, now, Passwords().of_run(now, ask)), lambda _: None, max_output=1024)
        began(run)
        return await run.finish()

    now, pool = replace(current(), idle_seconds=0.01), Pool()
    plan = opskit.plan(command, hosts=ground.hosts(ground.asked), sudo=True, on_error="continue", **options)
    return bridge.engine().submit(finish()).result(30)


def test_a_person_is_asked_once(ground: Ground) -> None:
    """One answer serves the fleet, and the time that it takes is no part of the timeout."""
    questions: list[str] = []

    async def ask(question: str, remedy: str) -> str:
        questions.append(question)
        await asyncio.sleep(1.5)
        return RIGHT

    results = run_asking(ground, "id -un", ask, lambda _: None, timeout=1, connect_timeout=1)
    assert [row.stdout for row in results] == ["root\n"] * 12
    assert len(questions) == 1


def test_a_cancel_while_a_password_is_awaited(ground: Ground) -> None:
    """Nobody waits for an answer any more: each row says that it was ended, and sudo is gone."""
    _, argument = unique_sleep()
    runs: list[Run] = []

    async def ask(question: str, remedy: str) -> str:
        asyncio.get_running_loop().call_soon(runs[0].cancel)
        await asyncio.Event().wait()
        return ""

    results = run_asking(ground, "true", ask, runs.append, env={"A": argument})
    assert {row.status for row in results} <= {"cancelled", "not_started"}
    assert "cancelled; it was ended" in {row.error for row in results}
    wait_until(lambda: not processes(f"A={argument}"))
