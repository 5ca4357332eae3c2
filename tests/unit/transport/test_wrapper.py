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

from opskit.transport.wrapper import MARK, WRAPPER, killed, signalled, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGIN_SHELLS = [shell for shell in ("sh", "dash", "bash", "fish", "csh") if shutil.which(shell)]


def run(shell: str, line: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line as sshd would: by the login shell, in a session of its own."""
    # Into files, not pipes: csh leaves copies of its streams open in the watcher, so a pipe would end a second late.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = subprocess.run(
            [shell, "-c", line], stdout=out, stderr=err, start_new_session=True, check=False
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
    return wrapped(["sh", "-c", script], reads_nothing=True)


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
    for text in (WRAPPER, signalled(7, "TERM"), killed(7)):
        body = text.removeprefix("exec /bin/sh -c ").strip("'")
        assert not set(body) & set("\n!'")
        assert "\\" not in body


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
    done = run(shell, wrapped([*show, *words], reads_nothing=True))
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
    process, group = begin(started, "trap '' TERM; nohup sleep 1000 & sleep 1000 & sleep 1000")
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


def test_no_watcher_stays_behind() -> None:
    """A command that ended leaves no process of ours for longer than a second or two."""
    done = run("sh", in_sh("true"))
    group = int(done.stderr.decode().removeprefix(MARK))
    watch = f"while ps -eo pgid=,stat= | grep -q '^ *{group} [^Z]'; do sleep 0.1; done"
    subprocess.run(["timeout", "5", "sh", "-c", watch], check=True)
