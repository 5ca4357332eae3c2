"""The wrapper under real login shells: what it carries, what it tells, and how a group is ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opskit.transport.wrapper import MARK, PROMPT, killed, line, reading, sent, signalled, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGIN_SHELLS = [shell for shell in ("sh", "dash", "bash", "fish", "csh") if shutil.which(shell)]


SHELLS = {
    "sh": ["sh"],
    "dash": ["dash"],
    "bash": ["bash"],
    "busybox": ["busybox", "sh"],
}
"""Those that commands are given to; which of them this machine has is found out by the tests."""

FAKE_SUDO = r"""#!/bin/sh
while [ "$1" != -- ]; do
  case $1 in -p) printf %s "$2" >&2;; -u) echo "for [$2]" >&2;; -n) echo "no prompt" >&2;; esac
  shift
done
shift
exec "$@"
"""


def run(shell: str, line: str, folder: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a line as sshd would: by the login shell, in a session of its own; programs are looked for in `folder`."""
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"} if folder else None
    # Into files, not pipes: csh leaves copies of its streams open in the watcher, so a pipe would end a second late.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = subprocess.run(
            [shell, "-c", line], stdout=out, stderr=err, start_new_session=True, check=False, env=environment
        ).returncode
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([], code, out.read(), err.read())


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test started; each is ended with it."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def in_sh(script: str) -> str:
    """The wrapped line that runs a script by sh."""
    return line(wrapped(["sh", "-c", script], reads_nothing=True))


def begin(started: list[subprocess.Popen[bytes]], script: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a wrapped script; give its process and the group that it told."""
    process = subprocess.Popen(
        ["sh", "-c", in_sh(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    started.append(process)
    assert process.stderr is not None
    return process, int(process.stderr.readline().decode().removeprefix(MARK))


def alive(group: int) -> list[str]:
    """The commands of a group's processes that are no zombies."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [row[2] for row in rows if int(row[0]) == group and not row[1].startswith("Z")]


def test_the_text_is_safe_for_every_login_shell() -> None:
    """Nothing of ours that is sent would be read by some login shell in its own way."""
    programs = [
        wrapped([], reads_nothing=reads_nothing, sudo=sudo, left=left)
        for reads_nothing in (False, True)
        for sudo in (None, "root")
        for left in (False, True)
    ]
    asides = [
        aside(7, *more) for sudo in ([], ["root"]) for aside, more in ((signalled, ["TERM", *sudo]), (killed, sudo))
    ]
    for text in (*map(line, programs), *asides):
        assert not set(text) & set("\n!\\")
        assert "''" not in text
        assert text.count("'") in (0, 2, 4)  # one quoted word, or two


@pytest.mark.parametrize("shell", LOGIN_SHELLS)
@settings(max_examples=25)
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_words_arrive_as_they_are(shell: str, words: list[str]) -> None:
    """Whatever stands in a command's words, each arrives unchanged behind every login shell."""
    show = [
        sys.executable,
        "-c",
        "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))",
    ]
    done = run(shell, line(wrapped([*show, *words], reads_nothing=True)))
    assert done.stdout == b"\0".join(word.encode() for word in words)
    assert done.returncode == 0


@pytest.mark.parametrize("shell", LOGIN_SHELLS)
@pytest.mark.parametrize(
    ("script", "code"), [("exit 3", 3), ("echo one\nfalse\necho two", 0), ("kill -TERM $$", -15), ("test ! -e /", 1)]
)
def test_the_end_is_the_commands_own(shell: str, script: str, code: int) -> None:
    """Exit codes and signals pass through."""
    assert run(shell, in_sh(script)).returncode == code


def test_the_mark_comes_first() -> None:
    """The group's number is told before the command prints anything, and once."""
    done = run("sh", in_sh("echo out; echo error >&2"))
    assert done.stdout == b"out\n"
    mark, rest = done.stderr.split(b"\n", 1)
    assert mark.startswith(MARK.encode())
    assert rest == b"error\n"


def test_a_group_is_killed_with_its_children(started: list[subprocess.Popen[bytes]]) -> None:
    """Children, one that ignores hangups and one that traps TERM, end with the group."""
    process, group = begin(started, "trap '' TERM; echo deaf; nohup sleep 1000 & sleep 1000 & sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"deaf\n"
    assert group == process.pid
    assert run("sh", signalled(group, "TERM")).returncode == 0
    assert run("sh", killed(group)).returncode == 0
    assert process.wait(5) == -signal.SIGKILL
    assert alive(group) == []


def test_a_group_that_is_gone_is_surely_ended() -> None:
    """Killing a group that is gone already is sure."""
    assert run("sh", killed(2**22 - 7)).returncode == 0


def test_the_watcher_ends_the_group_when_its_server_is_gone(started: list[subprocess.Popen[bytes]]) -> None:
    """When the process that serves the connection dies, the command and its children end within seconds."""
    serve = (
        "import subprocess, sys, os\n"
        "child = subprocess.Popen(['sh', '-c', sys.argv[1]], start_new_session=True, stderr=subprocess.PIPE)\n"
        "print(child.stderr.readline().decode(), flush=True)\n"
        "sys.stdin.read()\n"
        "os._exit(0)\n"
    )
    line = in_sh("trap '' TERM; sleep 1000 & sleep 1000")
    server = subprocess.Popen(
        [sys.executable, "-c", serve, line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    started.append(server)
    assert server.stdout is not None
    assert server.stdin is not None
    group = int(server.stdout.readline().decode().removeprefix(MARK))
    assert alive(group)
    server.stdin.close()
    server.wait(5)
    watch = f"while ps -eo pgid=,stat= | grep -q '^ *{group} [^Z]'; do sleep 0.1; done"
    subprocess.run(["timeout", "8", "sh", "-c", watch], check=True)


def test_a_command_in_the_group_of_its_server_gets_one_of_its_own(started: list[subprocess.Popen[bytes]]) -> None:
    """Dropbear starts commands in its own group: what is told is another, of the same process, with its children."""
    serve = f"{in_sh('echo $$; sleep 1000 & sleep 1000').removeprefix('exec ')}; exit $?"
    server = subprocess.Popen(
        ["sh", "-c", serve], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    started.append(server)
    assert server.stdout is not None
    assert server.stderr is not None
    group = int(server.stderr.readline().decode().removeprefix(MARK))
    assert group == int(server.stdout.readline())
    assert group != server.pid
    assert run("sh", killed(group)).returncode == 0
    assert alive(group) == []
    assert server.wait(5) == 128 + signal.SIGKILL


def test_no_watcher_stays_behind() -> None:
    """A command that ended leaves no process of ours for longer than a second or two."""
    done = run("sh", in_sh("true"))
    group = int(done.stderr.decode().removeprefix(MARK))
    watch = f"while ps -eo pgid=,stat= | grep -q '^ *{group} [^Z]'; do sleep 0.1; done"
    subprocess.run(["timeout", "5", "sh", "-c", watch], check=True)


@pytest.fixture
def fake_sudo(tmp_path: Path) -> Path:
    """A folder with a sudo that says how it was called, and makes nobody of anybody."""
    (tmp_path / "sudo").write_text(FAKE_SUDO)
    (tmp_path / "sudo").chmod(0o755)
    return tmp_path


AWKWARD = ["it's", "a b", "new\nline", "back\\slash\\", "wow!", "$HOME", "", "é€"]


@pytest.mark.parametrize("shell", LOGIN_SHELLS)
@pytest.mark.parametrize("user", ["root", "DOMAIN\\user", "a!b", "#1000"])
def test_words_pass_sudo_as_they_are(shell: str, user: str, fake_sudo: Path) -> None:
    """The user, and each word, arrive unchanged behind every login shell; the mark comes after sudo's prompt."""
    show = [sys.executable, "-c", r"import os, sys; os.write(1, b'\0'.join(map(os.fsencode, sys.argv[1:])))"]
    done = run(shell, line(wrapped([*show, *AWKWARD], reads_nothing=True, sudo=user)), fake_sudo)
    assert done.stdout == b"\0".join(word.encode() for word in AWKWARD)
    prompt, _, rest = done.stderr.decode().partition(f"for [{user}]\n")
    assert prompt == f"{PROMPT}%p:"
    assert rest.startswith(MARK)


@pytest.mark.parametrize("shell", LOGIN_SHELLS)
def test_signals_go_the_same_way(shell: str, fake_sudo: Path, started: list[subprocess.Popen[bytes]]) -> None:
    """What another user's group is sent goes through sudo, without a prompt."""
    process, group = begin(started, "trap '' TERM; echo deaf; sleep 1000 & sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"deaf\n"
    assert run(shell, signalled(group, "TERM", "DOMAIN\\user"), fake_sudo).stderr == b"no prompt\nfor [DOMAIN\\user]\n"
    assert run(shell, killed(group, "wow!", asks=True), fake_sudo).returncode == 0
    assert process.wait(5) == -signal.SIGKILL
    assert alive(group) == []


def test_what_is_left_is_not_watched_and_keeps_its_output(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """`on_disconnect="leave"`: hanging up and the loss of who reads the output end nothing, and output goes on."""
    done, go = tmp_path / "done", tmp_path / "go"
    script = f"echo out; echo err >&2; until [ -e {go} ]; do sleep 0.05; done; seq 100000; seq 100000 >&2; touch {done}"
    command = line(wrapped(["sh", "-e", "-c", script], reads_nothing=True, left=True))
    process = subprocess.Popen(
        ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    started.append(process)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stderr.readline().startswith(MARK.encode())
    assert (process.stdout.readline(), process.stderr.readline()) == (b"out\n", b"err\n")
    process.stdout.close()
    process.stderr.close()
    os.killpg(process.pid, signal.SIGHUP)
    go.touch()
    assert process.wait(10) == 0
    assert done.exists()


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -TERM $$", -15)])
def test_the_end_of_what_may_be_left_is_its_own(script: str, code: int) -> None:
    """Exit codes and signals pass through there too, and all output is there."""
    done = run("sh", line(wrapped(["sh", "-c", f"seq 1000; {script}"], reads_nothing=True, left=True)))
    assert done.returncode == code


raw = st.binary().map(lambda some: some.replace(b"\0", b""))


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=25)
@given(secret=raw, exported=raw, stdin=st.binary())
def test_values_and_input_arrive_as_they_are(
    shell: str, locale: str, secret: bytes, exported: bytes, stdin: bytes
) -> None:
    """S10: any value, whatever its bytes, and every byte of the input behind it; only what shall be is exported."""
    if shutil.which(SHELLS[shell][0]) is None:
        pytest.skip(f"{shell} is not installed")
    script = reading(["A"], ["B"]) + 'printf "%s\\0" "$A" "$B"; sh -c \'printf "%s\\0" "${A-unset}" "$B"\'; cat'
    values = b"".join(sent(value.decode("utf-8", "surrogateescape")) for value in (exported, secret))
    done = subprocess.run(
        [*SHELLS[shell], "-c", script],
        input=values + stdin,
        capture_output=True,
        check=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": locale},
    )
    assert done.stdout == b"\0".join([secret, exported, b"unset", exported, stdin])
    assert done.stderr == b""
