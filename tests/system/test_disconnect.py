"""What becomes of a command when this side dies: `on_disconnect`, here and on real OpenSSH with killed sessions."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from tests.needs import need_program
from tests.system.ground import first, processes, python, row_of, send, sessions, unique_sleep, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.conftest import StartSshd

pytestmark = pytest.mark.system


@pytest.fixture(params=["plain", "sudo", "pty"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How the command is run."""
    if request.param == "sudo":
        need_program("sudo", "sudo")
        if os.geteuid() != 0:
            pytest.skip("only root may surely use sudo")
    return {"on_disconnect": "leave", **({} if request.param == "plain" else {request.param: True})}


def test_what_is_left_goes_on(sshd: StartSshd, tmp_path: Path, options: dict[str, Any]) -> None:
    """The row is unknown; the command comes to its end, though nobody takes what it prints."""
    fleet, began, go, done = sshd(), tmp_path / "began", tmp_path / "go", tmp_path / "done"
    say = ":" if "pty" in options else "seq 100000; seq 100000 >&2"
    command = f"set -e; touch {began}; until [ -e {go} ]; do sleep 0.05; done; {say}; touch {done}"
    hosts = opskit.Inventory([first(fleet)])
    running = opskit.run(command, hosts=hosts, wait=False, on_error="continue", **options)
    wait_until(began.exists)
    send(signal.SIGKILL, sessions(fleet))
    assert running.wait(20)[0].status == "unknown"
    wait_until(lambda: not sessions(fleet))
    go.touch()
    wait_until(done.exists)


def test_what_may_be_left_is_ended_all_the_same(sshd: StartSshd, options: dict[str, Any]) -> None:
    """R6: a timeout ends it and what it started; its output until then is there."""
    sleep, argument = unique_sleep()
    row = row_of(first(sshd()), f"trap '' TERM; echo out; {sleep} & {sleep}", timeout=1, **options)
    assert (row.status, row.stdout) == ("timeout", "out\n")
    assert str(row.error).endswith("it was ended")
    wait_until(lambda: not processes(argument))


HERE = """
    import os, threading
    begun = threading.Event()
    here = opskit.Inventory([opskit.Host("here", "local")])
    opskit.run(sys.argv[1], hosts=here, wait=False, on_output=lambda *_: begun.set())
    begun.wait()
    os._exit(0)
"""


def test_on_this_machine_too() -> None:
    """R6: when this process is gone, without a word, its local commands end within seconds."""
    sleep, argument = unique_sleep()
    with python(HERE, f"echo begun; trap '' TERM; {sleep} & {sleep}") as child:
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "", "")
    wait_until(lambda: not processes(argument))
