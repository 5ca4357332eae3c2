"""`opskit` in a shell: the embedded fleet comes, serves, and goes in order."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

import opskit

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

OPSKIT = [sys.executable, "-m", "opskit"]
FEW_SECONDS = 20


def said(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command that ends by itself."""
    done = subprocess.run([*OPSKIT, *arguments], capture_output=True, text=True, check=False, timeout=FEW_SECONDS)
    return done.returncode, done.stdout, done.stderr


@contextmanager
def fleet_up(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """`opskit fleet up`, once it has printed its path."""
    with subprocess.Popen(
        [*OPSKIT, "fleet", "up", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process, Path(_readable(process.stdout).readline().removesuffix("\n"))
        finally:
            process.kill()


def _readable(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_fleet_serves_until_a_signal_and_leaves_nothing(ending: signal.Signals) -> None:
    """It prints its inventory's path alone, and tells a person who is there; its end is in order, at once."""
    with fleet_up("3") as (process, path):
        inventory = opskit.load_inventory(path)
        assert inventory.names == ("app1", "web1", "db1")
        with opskit.use(inventory):
            assert [row.stdout for row in opskit.run("hostname")] == ["app1\n", "web1\n", "db1\n"]
        process.send_signal(ending)
        output, errors = process.communicate(timeout=FEW_SECONDS)
        assert process.returncode == 0
        assert output == ""
        assert errors == "3 hosts: app1,web1,db1; Ctrl-C ends them\n"
        assert not path.parent.exists()
        for host in inventory:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((host.address, host.port or 0), 1)


def test_a_signal_right_after_the_path_is_as_good() -> None:
    """A script that reads the path may be done with the fleet before it has said everything."""
    for _ in range(3):
        with fleet_up("1") as (process, path):
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=FEW_SECONDS)
            assert process.returncode == 0
            assert not path.parent.exists()


def test_eight_hosts_are_the_default() -> None:
    """As everywhere in the documentation."""
    with fleet_up() as (_, path):
        assert len(opskit.load_inventory(path)) == 8


@pytest.mark.parametrize("count", ["0", "-1", "501"])
def test_a_bad_count_is_bad_input(count: str) -> None:
    """Exit code 2, and one line that says how many there can be."""
    code, output, errors = said("fleet", "up", "--", count)
    assert (code, output) == (2, "")
    assert errors == f"opskit: Fleet(count={count}): an embedded fleet has 1 to 500 hosts\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fleet", "up", "many"], "argument count: invalid int value: 'many'"),
        (["fleet", "down"], "invalid choice: 'down'"),
        (["flet"], "invalid choice: 'flet'"),
        ([], "the following arguments are required: VERB"),
    ],
)
def test_what_is_no_command_is_bad_input(arguments: list[str], says: str) -> None:
    """Exit code 2, usage and what was wrong; no traceback."""
    code, output, errors = said(*arguments)
    assert (code, output) == (2, "")
    assert says in errors
    assert "Traceback" not in errors


def test_help_names_the_verbs() -> None:
    """Exit code 0."""
    code, output, errors = said("--help")
    assert (code, errors) == (0, "")
    assert "real SSH servers on this machine" in output
