"""Inventories that a program prints."""

from __future__ import annotations

import json
import os
import select
from typing import TYPE_CHECKING

import pytest

from opskit.errors import InventoryError
from opskit.fleet import Host, Inventory, load_inventory
from opskit.fleet.readers import executable

if TYPE_CHECKING:
    from pathlib import Path

FLEET = {"web": {"hosts": ["a"], "vars": {"x": 1}}, "db": ["b"], "_meta": {"hostvars": {"b": {"x": 2}}}}


def program(folder: Path, script: str, name: str = "fleet") -> Path:
    """An executable file that sh runs."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("name", ["fleet", "fleet.py", "fleet.sh", "fleet.prod"])
def test_a_program_prints_hosts(tmp_path: Path, name: str) -> None:
    """An executable file, whatever it is called, prints groups, and vars of hosts apart from them."""
    file = program(tmp_path, f"echo '{json.dumps(FLEET)}'", name)
    assert load_inventory(file) == Inventory(
        [Host("a", roles="web", vars={"x": 1}), Host("b", roles="db", vars={"x": 2})]
    )


def test_how_it_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets --list alone, nothing to read, and the caller's working folder, and is not looked for elsewhere."""
    script = """echo '{"a": ["'$#$1'", "'$(cat)'x", "'$(basename $PWD)'"]}'"""
    program(tmp_path, script, "ls")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    ours = os.dup(0)
    try:
        with (tmp_path / "ls").open() as typed:
            os.dup2(typed.fileno(), 0)
        assert load_inventory("../ls").names == ("1--list", "x", "sub")
    finally:
        os.dup2(ours, 0)
        os.close(ours)
    monkeypatch.chdir(tmp_path)
    assert load_inventory("ls").names == ("1--list", "x", tmp_path.name)


def test_without_meta_hosts_have_the_vars_of_their_groups(tmp_path: Path) -> None:
    """It is run once: vars that only `--host NAME` would print are unknown."""
    file = program(
        tmp_path, f"""echo $* >> "{tmp_path}/runs"; echo '{{"web": {{"hosts": ["a"], "vars": {{"x": 1}}}}}}'"""
    )
    assert load_inventory(file)["a"].vars == {"x": 1}
    assert (tmp_path / "runs").read_text() == "--list\n"


def test_a_suffix_of_ours_is_read(tmp_path: Path) -> None:
    """A file in a known format is not run, even if it may be."""
    file = tmp_path / "hosts.csv"
    file.write_text("name\na\n")
    file.chmod(0o755)
    assert load_inventory(file).names == ("a",)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo one >&2; echo two >&2; echo >&2; exit 3", r"`/\S*fleet --list`: exit code 3; last line of stderr: two$"),
        ("exit 1", r"`/\S*fleet --list`: exit code 1; nothing on stderr"),
        ("kill -9 $$", r"`/\S*fleet --list`: ended by signal 9"),
        (
            "echo why >&2; echo; echo '{x}'",
            r"output of `/\S*fleet --list`:2: not JSON: .*; exit code 0; last line of stderr: why",
        ),
        ("true", r"output of `/\S*fleet --list`:1: not JSON"),
        (r"printf '\374'", r"output of `/\S*fleet --list`: not UTF-8; exit code 0"),
        ("echo '[]'", r"output of `/\S*fleet --list`:1: an inventory is a mapping of groups, not list"),
        ("""echo '{"a":'; echo '["b c"]}'""", r"output of `/\S*fleet --list`:2: a host's name can't be 'b c'"),
        (
            """echo '{"a": {"children": ["b"]}, "b": {"children": ["a"]}}'""",
            r"output of `/\S*fleet --list`:1: groups contain themselves: a > b > a",
        ),
        ("echo '{}'", "fleet: no hosts"),
    ],
)
def test_what_fails(tmp_path: Path, script: str, message: str) -> None:
    """B21: the error has the command, how it ended, and its last word."""
    with pytest.raises(InventoryError, match=message):
        load_inventory(program(tmp_path, script))


def test_what_can_not_be_run(tmp_path: Path) -> None:
    """B21: a file without an interpreter, or with one that is not there, says what to look at."""
    file = program(tmp_path, "")
    for content in ("echo '{}'\n", "#!/no/such/interpreter\n"):
        file.write_text(content)
        with pytest.raises(InventoryError, match=r"`/\S*fleet --list` can't be run: .*first line name an interpreter"):
            load_inventory(file)


def test_what_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B21: after the timeout the program is ended with all that it started; the error has its last word."""
    monkeypatch.setattr(executable, "TIMEOUT", 1)
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        file = program(tmp_path, f"exec 3>'{tmp_path}/alive'; echo waiting >&2; sleep 1000 & sleep 1000")
        with pytest.raises(InventoryError, match=r"--list`: it took longer than 1 seconds.*stderr: waiting"):
            load_inventory(file)
        assert select.select([reader], [], [], 10)[0]
        assert os.read(reader, 1) == b""  # nobody has the other end any more
    finally:
        os.close(reader)


def test_what_it_leaves_running_is_not_waited_for(tmp_path: Path) -> None:
    """A background process that keeps the output open does not hold up the inventory."""
    file = program(tmp_path, f"sleep 1000 & echo $! > '{tmp_path}/pid'; echo '{json.dumps(FLEET)}'")
    try:
        assert len(load_inventory(file)) == 2
    finally:
        os.kill(int((tmp_path / "pid").read_text()), 9)
