"""A transaction of a real second process, on real OpenSSH, seen from here: live, ended, killed, and undone."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import pytest

import opskit
from opskit import attaching, journal
from tests.system import postgres
from tests.system.ground import python, wait_until
from tests.unit.record.material import setting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opskit import Attached
    from tests.system.sshd import SshdFleet

pytestmark = pytest.mark.system
server = postgres.server

OWNER: Final = """
    import json
    inventory, journal, folder = sys.argv[1:]
    opskit.configure(journal=journal)
    opskit.use(inventory)
    try:
        rows = opskit.run(
            "echo begun on {{ server.name }}; until [ -e {{ folder }}/go ]; do sleep 0.02; done; "
            "test {{ server.name }} != h2",
            undo="touch {{ folder }}/undone.{{ server.name }}", hosts="h[1-4]", chunk=2, name="deploy",
        )
    except (opskit.CommandError, opskit.Cancelled) as error:
        rows = error.results
    print(json.dumps([[row.host, row.status, row.stdout, row.exit_code] for row in rows]), flush=True)
"""
"""Runs something on four hosts, which fails on the second one, and says what it came to."""


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The journal, as the setting names it: a file, unless a test asks for PostgreSQL."""
    if getattr(request, "param", "file") == "file":
        return str(tmp_path / "journal" / "journal.db")
    server: postgres.Server = request.getfixturevalue("server")
    return setting(server.url(server.journal()))


@pytest.fixture(autouse=True)
def _here(place: str, sshd_fleet: SshdFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is this process's too, and what it starts; which looks often."""
    monkeypatch.setenv("OPSKIT_JOURNAL", place)
    monkeypatch.setattr(attaching, "LOOK_SECONDS", 0.05)


@contextmanager
def running(fleet: SshdFleet, folder: Path, place: str) -> Iterator[subprocess.Popen[str]]:
    """The second process, when its first two hosts are at work."""
    with python(OWNER, fleet.inventory_path, place, folder) as child:
        try:
            wait_until(lambda: len(journal.df) and statuses(opskit.attach(newest())).count("running") == 2, 20)
            yield child
        finally:
            (folder / "go").touch()
            child.kill()


def newest() -> str:
    """The id of the newest transaction."""
    return str(journal.df["transaction"].iloc[0])


def statuses(attached: Attached) -> list[str]:
    """Of each row, host by host."""
    return [row.status for row in attached.results]


@pytest.mark.parametrize("place", ["file", "postgresql"], indirect=True)
def test_what_is_seen_is_what_its_owner_sees(sshd_fleet: SshdFleet, tmp_path: Path, place: str) -> None:
    """Running, then ended: the same fates and outputs; and afterwards, as it was."""
    with running(sshd_fleet, tmp_path, place) as child:
        attached = opskit.attach(newest())
        assert statuses(attached) == ["running", "running", "not_started", "not_started"]
        with pytest.raises(opskit.TimeoutExceeded):
            attached.wait(0.2)
        (tmp_path / "go").touch()
        seen = [[row.host, row.status, row.stdout, row.exit_code] for row in attached.wait(20)]
        out, err = child.communicate(timeout=20)
    assert (json.loads(out), err) == (seen, "")
    assert [status for _, status, _, _ in seen] == ["ok", "failed", "not_started", "not_started"]
    assert seen[1][2] == "begun on h2\n"
    assert opskit.attach(newest()).wait() == attached.results
    assert (attached.state, attached.done) == ("failed", True)


def test_a_shell_follows_it_until_its_process_is_killed(sshd_fleet: SshdFleet, tmp_path: Path, place: str) -> None:
    """Progress goes to the terminal, the rows to stdout; exit code 1, and a line says what to do."""
    with running(sshd_fleet, tmp_path, place) as child:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "opskit", "attach", newest()]
        with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True) as shell:
            os.close(theirs)
            seen = ""
            while "chunk 1/2" not in seen:
                seen += os.read(ours, 65536).decode()
            child.kill()
            output, _ = shell.communicate(timeout=20)
        with suppress(OSError):  # how Linux tells that the other side is closed
            while piece := os.read(ours, 65536):
                seen += piece.decode()
        os.close(ours)
    assert shell.returncode == 1
    assert "its process has died" in seen
    assert f"nobody knows what became of 2 steps; opskit rollback {newest()}" in seen
    assert "2 unknown" in output
    assert "chunk" not in output
