"""The commands `service` and `systemctl` of the embedded fleet's hosts, under each POSIX shell of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
SHELLS = [shell for shell in (("sh",), ("bash", "--posix"), ("busybox", "sh")) if shutil.which(shell[0])]


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
