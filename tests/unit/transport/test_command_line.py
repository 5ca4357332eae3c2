"""The lines that shells are given: tried on real shells, since what they do is all that counts."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opskit.fleet import Host, Inventory
from opskit.fleet.names import Names
from opskit.settings import Settings
from opskit.transport.command_line import local_line, remote_line
from opskit.transport.wrapper import MARK
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opskit.work.plan import Step

    Line = Callable[[Step], str]

lines = pytest.mark.parametrize("line", [local_line, remote_line])
awkward = st.text(st.sampled_from("ab $`\"'\\!*?;&|<>(){}[]#~%=\n\té€-"), max_size=20)


def step(command: str, **options: Any) -> Step:
    """The step of a command on one host."""
    draft = Draft({"template": False, **options}, Settings(), "test")
    draft.everywhere(command, Names.of(None, {}, Settings()), "test")
    return draft.plan(lambda: Inventory([Host("web1")])).steps[0]


def run(line: str, shell: str = "/bin/sh", stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """What a login shell makes of a line; what the wrapper says of itself is taken out."""
    done = subprocess.run(
        [shell, "-c", line],
        input=stdin,
        capture_output=True,
        check=False,
        start_new_session=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    stderr = "".join(part for part in done.stderr.decode().splitlines(keepends=True) if not part.startswith(MARK))
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), stderr)


@lines
def test_output_and_exit_code_come_through(line: Line) -> None:
    """What the command prints and how it ends is what one sees."""
    done = run(line(step("echo out; echo err >&2; exit 7")))
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


@lines
def test_a_signal_comes_through(line: Line) -> None:
    """No shell stays in between that would turn a signal into an exit code."""
    assert run(line(step("kill -TERM $$"))).returncode == -15


@lines
def test_one_line_is_read_as_a_shell_reads_it(line: Line) -> None:
    """A failing part of a single line does not stop it, also with line ends around it."""
    assert run(line(step("false; echo on"))).stdout == "on\n"
    assert run(line(step("\nfalse; echo on\n"))).stdout == "on\n"


@lines
def test_several_lines_stop_at_the_first_that_fails(line: Line) -> None:
    """A17, P14: a script stops, with the exit code of the line that failed."""
    done = run(line(step("echo one\n(exit 4)\necho two")))
    assert (done.stdout, done.returncode) == ("one\n", 4)


@lines
@settings(max_examples=15)
@given(value=awkward, name=st.sampled_from(["A", "HOME", "x_1"]))
def test_values_of_the_environment_arrive_as_they_are(line: Line, value: str, name: str) -> None:
    """A19, P17, S8: nothing in a value is expanded, executed or lost."""
    done = run(line(step("env -0", env={name: value})))
    assert f"{name}={value}" in done.stdout.split("\0")
    assert done.stderr == ""


@lines
@settings(max_examples=15)
@given(text=awkward)
def test_a_quoted_word_stays_one_word(line: Line, text: str) -> None:
    """S8: whatever stands in single quotes reaches the program as it is, through all shells in between."""
    quoted = "'" + text.replace("'", "'\\''") + "'"
    done = run(line(step(f"printf '[%s]' {quoted}; :")))
    assert done.stdout == f"[{text}]"
    assert done.stderr == ""


@lines
@pytest.mark.parametrize("name", ["plain", "with blank", "it's", "-dash", "$HOME", "new\nline", "back\\slash", "wow!"])
def test_a_folder_is_entered_whatever_its_name(tmp_path: Path, line: Line, name: str) -> None:
    """`cwd` is where the command runs."""
    folder = tmp_path / name
    folder.mkdir()
    assert run(line(step("pwd", cwd=folder))).stdout == f"{folder}\n"


@lines
def test_a_missing_folder_fails_and_nothing_runs(tmp_path: Path, line: Line) -> None:
    """Where `cwd` can't be entered, the command is not run somewhere else."""
    done = run(line(step("echo ran", cwd=tmp_path / "missing")))
    assert done.stdout == ""
    assert done.returncode != 0
    assert "missing" in done.stderr


@lines
def test_another_shell_runs_the_command(line: Line) -> None:
    """`shell` names the program that reads the command, with env and cwd as ever."""
    done = run(line(step("echo ${BASH_VERSION:+bash} $A $PWD", shell="/bin/bash", env={"A": "b c"}, cwd="/")))
    assert done.stdout == "bash b c /\n"


@lines
def test_without_a_shell_the_command_is_sent_as_it_is(line: Line) -> None:
    """A20: `shell=False` adds nothing at all."""
    assert line(step("weird  'line", shell=False)) == "weird  'line"


@lines
def test_standard_input_is_empty_unless_given(line: Line) -> None:
    """A18, P18: the line closes standard input where there is none, and leaves it alone where there is."""
    assert run(line(step("cat")), stdin=b"not for it").stdout == ""
    assert run(line(step("cat", stdin="x")), stdin=b"for it").stdout == "for it"


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "/bin/dash"])
def test_login_shells_read_the_line(shell: str) -> None:
    """A remote line means the same to each login shell, also with quotes, `!`, backslashes and several lines."""
    command = "echo \"it's\" '!' 'back\\\\slash'\necho $A\nfalse\necho no"
    done = run(remote_line(step(command, env={"A": "x\ny"})), shell)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("it's ! back")
    assert done.stdout.endswith("x y\n")
