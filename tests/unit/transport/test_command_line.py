"""What is run here and what is sent to a host: tried on real shells, since what they do is all that counts."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opskit import masking
from opskit.errors import PlanError, TemplateError
from opskit.fleet import Host, Inventory
from opskit.fleet.names import Names
from opskit.secrets import secret
from opskit.settings import Settings
from opskit.transport.command_line import LONGEST_WORD, fed, reads_nothing, remote_line, within_limit, words
from opskit.transport.wrapper import MARK, wrapped
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opskit.work.plan import Step

    Way = Callable[[Step], list[str]]

awkward = st.text(st.sampled_from("ab $`\"'\\!*?;&|<>(){}[]#~%=\n\té€-"), max_size=20)


def step(command: str, **options: Any) -> Step:
    """The step of a command on one host."""
    draft = Draft({"template": False, **options}, Settings(), "test")
    draft.everywhere(command, Names.of(None, {}, Settings()), "test")
    return draft.plan(lambda: Inventory([Host("web1")])).steps[0]


def remote(one: Step, login_shell: str = "/bin/sh") -> list[str]:
    """What a host's sshd runs for a step."""
    return [login_shell, "-c", remote_line(one)]


@pytest.fixture(autouse=True, scope="module")
def _masks() -> Iterator[None]:
    """What is masked for these tests is not masked in any other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_known", None)
        yield


ways = pytest.mark.parametrize("way", [words, remote])


def run(arguments: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    """Run it; what the wrapper says of itself is taken out."""
    done = subprocess.run(
        arguments,
        input=stdin,
        capture_output=True,
        check=False,
        start_new_session=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    stderr = "".join(part for part in done.stderr.decode().splitlines(keepends=True) if not part.startswith(MARK))
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), stderr)


@ways
def test_output_and_exit_code_come_through(way: Way) -> None:
    """What the command prints and how it ends is what one sees."""
    done = run(way(step("echo out; echo err >&2; exit 7")))
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


@ways
def test_a_signal_comes_through(way: Way) -> None:
    """No shell stays in between that would turn a signal into an exit code."""
    assert run(way(step("kill -TERM $$"))).returncode == -15


@ways
def test_one_line_is_read_as_a_shell_reads_it(way: Way) -> None:
    """A failing part of a single line does not stop it, also with line ends around it."""
    assert run(way(step("false; echo on"))).stdout == "on\n"
    assert run(way(step("\nfalse; echo on\n"))).stdout == "on\n"


@ways
@pytest.mark.parametrize("command", ["-x 2>/dev/null || echo on", "+x 2>/dev/null || echo on"])
def test_a_command_that_begins_with_a_dash_is_no_option(way: Way, command: str) -> None:
    """S6: the shell is given a script, whatever it begins with."""
    assert run(way(step(command))).stdout == "on\n"


@ways
def test_several_lines_stop_at_the_first_that_fails(way: Way) -> None:
    """A17, P14: a script stops, with the exit code of the line that failed."""
    done = run(way(step("echo one\n(exit 4)\necho two")))
    assert (done.stdout, done.returncode) == ("one\n", 4)


@ways
@settings(max_examples=15)
@given(value=awkward.filter(lambda value: masking.MASK not in value), name=st.sampled_from(["A", "HOME", "x_1"]))
def test_values_of_the_environment_arrive_as_they_are(way: Way, value: str, name: str) -> None:
    """A19, P17, S8: nothing in a value is expanded, executed or lost."""
    done = run(way(step("env -0", env={name: value})))
    assert f"{name}={value}" in done.stdout.split("\0")
    assert done.stderr == ""


@ways
@settings(max_examples=15)
@given(text=awkward)
def test_a_quoted_word_stays_one_word(way: Way, text: str) -> None:
    """S8: whatever stands in single quotes reaches the program as it is, through all shells in between."""
    quoted = "'" + text.replace("'", "'\\''") + "'"
    done = run(way(step(f"printf '[%s]' {quoted}; :")))
    assert done.stdout == f"[{text}]"
    assert done.stderr == ""


@ways
@pytest.mark.parametrize("name", ["plain", "with blank", "it's", "-dash", "$HOME", "new\nline", "back\\slash", "wow!"])
def test_a_folder_is_entered_whatever_its_name(tmp_path: Path, way: Way, name: str) -> None:
    """`cwd` is where the command runs."""
    folder = tmp_path / name
    folder.mkdir()
    assert run(way(step("pwd", cwd=folder))).stdout == f"{folder}\n"


@ways
def test_a_missing_folder_fails_and_nothing_runs(tmp_path: Path, way: Way) -> None:
    """Where `cwd` can't be entered, the command is not run somewhere else."""
    done = run(way(step("echo ran", cwd=tmp_path / "missing")))
    assert done.stdout == ""
    assert done.returncode != 0
    assert "missing" in done.stderr


@ways
def test_another_shell_runs_the_command(way: Way) -> None:
    """`shell` names the program that reads the command, with env and cwd as ever."""
    done = run(way(step("echo ${BASH_VERSION:+bash} $A $PWD", shell="/bin/bash", env={"A": "b c"}, cwd="/")))
    assert done.stdout == "bash b c /\n"


def test_without_a_shell_the_command_is_sent_as_it_is() -> None:
    """A20: `shell=False` adds nothing at all."""
    assert remote_line(step("weird  'line", shell=False)) == "weird  'line"
    assert run(words(step("echo $0 it", shell=False))).stdout == "/bin/sh it\n"


def test_standard_input_is_empty_unless_given() -> None:
    """A18, P18: the line closes standard input where there is none, and leaves it alone where there is."""
    assert run(remote(step("cat")), stdin=b"not for it").stdout == ""
    assert run(remote(step("cat", stdin="x")), stdin=b"for it").stdout == "for it"


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash", "/bin/dash"])
def test_login_shells_read_the_line(shell: str) -> None:
    """A remote line means the same to each login shell, also with quotes, `!`, backslashes and several lines."""
    command = "echo \"it's\" '!' 'back\\\\slash'\necho $A\nfalse\necho no"
    done = run(remote(step(command, env={"A": "x\ny"}), shell))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("it's ! back")
    assert done.stdout.endswith("x y\n")


def test_a_plain_command_is_sent_with_nothing_more() -> None:
    """What sudo, terminals and secrets take is no burden on who uses none of them."""
    script = wrapped([], reads_nothing=True)[2]
    assert remote_line(step("true")) == f"exec /bin/sh -c '{script}' opskit /bin/sh -c true"
    assert reads_nothing(step("true"))


@ways
@settings(max_examples=15)
@given(
    value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map("awkward".__add__),
    stdin=st.binary(),
)
def test_secrets_are_read_before_the_first_line(way: Way, value: str, stdin: bytes) -> None:
    """S10: they are in no word of the command, and stand before its input: in a variable, and in the environment."""
    one = replace(
        step('printf "%s\\0" "$OPSKIT_SECRET_1" "$KEY"; cat', env={"KEY": secret(value), "A": "b"}, stdin=stdin),
        secrets=(secret(value),),
    )
    sent, file = fed(one)
    done = subprocess.run(
        way(one), input=sent, capture_output=True, check=True, start_new_session=True, env={"PATH": os.environ["PATH"]}
    )
    assert done.stdout == b"\0".join([value.encode(), value.encode(), stdin])
    assert (file, reads_nothing(one)) == (None, False)


@ways
def test_a_script_with_secrets_keeps_its_lines(way: Way) -> None:
    """It stops at its first failing line, and its lines have the numbers that they had."""
    one = replace(step('-x 2>/dev/null\necho "$LINENO"'), secrets=(secret("abcd"),))
    done = run(way(one), fed(one)[0])
    assert (done.stdout, done.returncode) == ("", 127)
    one = replace(step(': -x\necho "$LINENO"', shell="/bin/bash"), secrets=(secret("abcd"),))
    assert run(way(one), fed(one)[0]).stdout == "2\n"


def test_input_may_be_a_secret_or_a_file_behind_secrets(tmp_path: Path) -> None:
    """A secret is sent as its text; a file follows what is sent before it."""
    (tmp_path / "input").touch()
    assert fed(step("cat", stdin=secret("it's é"))) == ("it's é".encode(), None)
    assert fed(step("cat", stdin=tmp_path / "input", env={"A": secret("a-\tbc")})) == (
        b"a-\\0011bc\n",
        tmp_path / "input",
    )


def test_a_secret_that_no_terminal_takes_is_refused() -> None:
    """A key of usual length can be typed in one line; a longer one would be cut."""
    words(step("true", pty=True, env={"A": secret("line\n" * 400)}))
    with pytest.raises(PlanError, match="more than 4095 bytes can't be typed at a terminal"):
        words(step("true", pty=True, env={"A": secret("x" * 4095)}))


def test_a_word_longer_than_a_host_takes_is_refused() -> None:
    """B10: the limit is that of the system: what it just takes is run, one byte more is an error before."""
    one = step("true", env={"A": "x"})
    within_limit(one, ["x" * LONGEST_WORD])
    assert run(["/bin/true", "x" * LONGEST_WORD]).returncode == 0
    with pytest.raises(TemplateError, match=f"web1 has {LONGEST_WORD + 1} bytes"):
        within_limit(one, ["short", "é" * (LONGEST_WORD // 2) + "xx"])
    with pytest.raises(OSError, match="Argument list too long"):
        run(["/bin/true", "x" * (LONGEST_WORD + 1)])
