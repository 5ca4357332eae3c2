"""docs/how-to/share-the-journal.md as it stands: what its blocks say is done by an administrator, by Ann and by Bob."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from opskit.cli.answers import ROLLED_BACK
from opskit.fleetlab import Fleet
from tests.needs import need_postgres
from tests.system import postgres
from tests.system.ground import wait_until
from tests.system.postgres import SUPERUSER, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system
server = postgres.server

PAGE: Final = (Path(__file__).parents[2] / "docs" / "how-to" / "share-the-journal.md").read_text()
MAKE, LET_IN, JOIN, DEPLOY, WATCH, KEEP_OFF, UNDO = (
    found[1] for found in re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
)
PASSWORDS: Final = {"ann": "5ecret of Ann", "bob": "5ecret of Bob"}


class Person:
    """Somebody at a shell of their own, in a folder that is their home."""

    def __init__(self, name: str, home: Path, server: Server) -> None:
        home.mkdir()
        self.name, self.home, self._server = name, home, server
        paths = [str(Path(sys.executable).parent), str(need_postgres()), os.environ["PATH"]]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPSKIT_", "PG"))}
        self.environment = {**kept, "HOME": str(home), "PATH": os.pathsep.join(paths)}

    def words(self, block: str) -> str:
        """A block of the page, for this person and this server; what it would install is there."""
        found = re.sub(r"^pip install .*\n", "", block, flags=re.MULTILINE)
        found = re.sub(r"\bann\b", self.name, found).replace("THE PASSWORD", PASSWORDS.get(self.name, ""))
        return re.sub(r"db\.example(:5432)?", f"127.0.0.1:{self._server.port}", found)

    def begin(self, *command: str) -> subprocess.Popen[str]:
        """Start something, which reads nothing."""
        return subprocess.Popen(
            command,
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def do(self, block: str, code: int = 0) -> str:
        """Do what a block says; what it printed."""
        process = self.begin("bash", "-eu", "-o", "pipefail", "-c", self.words(block))
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        return out

    def exported(self, block: str) -> str:
        """As `do`, in a shell that is not left: what the block exports stays."""
        printed = self.do(block)
        name, value = re.findall(r"^export (\w+)=(\S+)$", self.words(block), re.MULTILINE)[-1]
        self.environment[name] = value
        return printed


def typed(person: Person, block: str, answers: Iterator[str]) -> None:
    """Do what a block says at a terminal, and answer what asks for a password."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", "bash", "-eu", "-c", block],
        cwd=person.home,
        env=person.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = ""
    with suppress(OSError):  # so a terminal tells that nobody is at its other side any more
        while heard := os.read(ours, 1000).decode():
            said += heard
            if said.endswith(": "):
                os.write(ours, f"{next(answers)}\n".encode())
                said += "\n"
    os.close(ours)
    assert process.wait() == 0, said


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Three hosts, each with a link to undo, and with a migration that takes long."""
    with Fleet(3, folder=tmp_path / "fleet") as up:
        for host in up.inventory:
            home = up.folder / "homes" / host.name
            (home / "current").symlink_to("v41")
            (home / "migrate").write_text("#!/bin/sh\ntouch began\nexec sleep 600\n")
            (home / "migrate").chmod(0o755)
        yield up


def test_the_page_as_it_stands(server: Server, fleet: Fleet, tmp_path: Path) -> None:
    """Two people with passwords of their own share a journal, see, keep off and undo each other, as the page says."""
    homes = [fleet.folder / "homes" / host.name for host in fleet.inventory]
    boss, ann, bob = (Person(name, tmp_path / name, server) for name in (SUPERUSER, *PASSWORDS))
    boss.environment |= {"PGHOST": str(server.folder), "PGPORT": str(server.port), "PGUSER": SUPERUSER}
    typed(boss, MAKE, (password for password in PASSWORDS.values() for _ in range(2)))
    assert "was made, of version" in boss.do(LET_IN)
    for person in (ann, bob):
        assert "no transactions" in person.exported(JOIN)
        (person.home / "hosts.yaml").symlink_to(fleet.path)

    deploy = ann.begin(sys.executable, "-c", DEPLOY)
    wait_until(lambda: all((home / "began").exists() for home in homes))
    (tx,) = re.findall(r"\b01[0-9A-Z]{24}\b", bob.do(WATCH.partition("\n")[0]))
    follower = bob.begin("opskit", "attach", tx)
    assert "deploy v42" in bob.do("opskit run true -i hosts.yaml --dry-run")
    busy = bob.begin(
        sys.executable, "-c", 'import opskit; opskit.use("hosts.yaml")\n' + KEEP_OFF.replace("=600", "=0.1")
    )
    assert "HostsBusy" in (told := busy.communicate(timeout=60)[1])
    assert "ann on" in told
    bob.do("OPSKIT_YES=1 " + UNDO.replace("TX", tx))
    assert [str((home / "current").readlink()) for home in homes] == ["v41"] * 3
    assert "asked by bob" in deploy.communicate(timeout=60)[1]
    assert follower.communicate(timeout=60)[0].count("cancelled") == len(homes)
    assert follower.returncode == ROLLED_BACK
