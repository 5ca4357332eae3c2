"""Secrets in commands, on real OpenSSH and on this machine: they arrive, and nobody else sees them on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from tests.needs import need_program
from tests.system.ground import first, row_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.sshd import SshdFleet

pytestmark = pytest.mark.system

AWKWARD = 'it\'s\na \\0101 "secret" $HOME €\n\n'

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "sudo": {"sudo": True},
    "pty": {"pty": True},
    "leave": {"on_disconnect": "leave"},
    "bash": {"shell": "/bin/bash"},
}


@pytest.fixture(params=["ssh", "local"])
def host(request: pytest.FixtureRequest, sshd_fleet: SshdFleet) -> opskit.Host:
    """A host, there or here."""
    return first(sshd_fleet) if request.param == "ssh" else opskit.Host("here", "local")


def options_of(way: str) -> dict[str, Any]:
    """The options of a way to run a command; skips where this machine can't."""
    if way == "sudo":
        need_program("sudo", "sudo")
        if os.geteuid() != 0:
            pytest.skip("only root may surely use sudo")
    return WAYS[way]


@pytest.mark.parametrize("way", WAYS)
def test_secrets_arrive_as_they_are(host: opskit.Host, way: str) -> None:
    """In a command, in a variable and as input they are what was given, whatever stands in them."""
    secret = opskit.secret(AWKWARD)
    count = f"{len(AWKWARD.encode())}\n"
    row = row_of(
        host,
        'printf %s {{ token }} | wc -c; printf %s "$KEY" | wc -c; wc -c; exit 3',
        variables={"token": secret},
        env={"KEY": secret, "PLAIN": "x"},
        stdin=secret if way != "pty" else "typed\n",
        **options_of(way),
    )
    assert (row.stdout, row.exit_code) == (count * 2 + (count if way != "pty" else "6\n"), 3)


def test_input_is_left_whole(host: opskit.Host, tmp_path: Path) -> None:
    """A file follows the secrets, every byte of it and none else; and so does nothing."""
    file = tmp_path / "input"
    file.write_bytes(os.urandom(3_000_000))
    variables = {"token": opskit.secret(AWKWARD)}
    expected = subprocess.run(["cksum"], input=file.read_bytes(), capture_output=True, check=True).stdout.decode()
    assert row_of(host, "cksum; : {{ token }}", variables=variables, stdin=file).stdout == expected
    assert row_of(host, "cat; echo {{ token }} | wc -l", variables=variables, stdin="").stdout == "4\n"


def test_lines_keep_their_numbers(host: opskit.Host) -> None:
    """What reads the secrets stands on the command's own first line."""
    row = row_of(host, ': {{ token }}\nnosuchcommand "$LINENO"', variables={"token": opskit.secret("in line one")})
    assert row.exit_code == 127
    assert "2: " in row.stderr.replace("line ", "")


def test_a_variable_must_be_one(host: opskit.Host) -> None:
    """A secret can't be put into a variable that no shell can set; that is told before anything is sent."""
    with pytest.raises(opskit.PlanError, match=r"'A\.B'"):
        opskit.run("true", hosts=opskit.Inventory([host]), env={"A.B": opskit.secret("never sent")})


@contextmanager
def watched(text: str) -> Iterator[list[str]]:
    """The processes that have this text in their arguments or their environment, found as often as can be."""
    script = """
        import os, select, sys
        text = sys.stdin.readline().strip().encode()
        print("ready", flush=True)
        found = set()
        while not select.select([0], [], [], 0)[0]:
            for process in filter(str.isdigit, os.listdir("/proc")):
                for kind in ("cmdline", "environ"):
                    try:
                        content = open(f"/proc/{process}/{kind}", "rb").read()
                        command = open(f"/proc/{process}/cmdline", "rb").read().replace(b"\\0", b" ").decode()
                    except OSError:
                        continue
                    if text in content:
                        found.add(f"{kind} of {command}")
        for each in sorted(found):
            print(each)
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    found: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{text}\n")
        child.stdin.flush()
        child.stdout.readline()
        yield found
        child.stdin.close()
        found.extend(child.stdout.read().splitlines())


@pytest.mark.parametrize("way", WAYS)
def test_nobody_sees_a_secret_on_the_way(host: opskit.Host, way: str) -> None:
    """S10: it stands in the arguments and the environment of no process; with env=, of what the command itself runs."""
    options = options_of(way)
    value = f"zebra{token_hex(6)}"
    secret = opskit.secret(value)
    hosts, variables = opskit.Inventory([host]), {"token": secret}
    with watched(value) as found:
        for _ in range(5):
            opskit.run(
                "[ {{ token }} = other ] || /bin/sleep 0.05", hosts=hosts, variables=variables, stdin=secret, **options
            )
    assert found == []
    with watched(value) as found:
        opskit.run("/bin/sleep 0.5", hosts=hosts, env={"KEY": secret}, **options)
    assert found == ["environ of /bin/sleep 0.5 "]
