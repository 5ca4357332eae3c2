"""Terminals and answers to prompts, on real OpenSSH and on this machine: the same there and here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import opskit
from tests.system.ground import descriptors, first, processes, row_of, unique_sleep, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.conftest import StartSshd
    from tests.system.sshd import SshdFleet

pytestmark = pytest.mark.system


@pytest.fixture(params=["ssh", "local"])
def host(request: pytest.FixtureRequest, sshd_fleet: SshdFleet) -> opskit.Host:
    """A host, there or here."""
    return first(sshd_fleet) if request.param == "ssh" else opskit.Host("here", "local")


def test_a_command_has_a_terminal(host: opskit.Host) -> None:
    """All three streams are one terminal, wide and dumb; lines end as ever, and errors arrive among the output."""
    command = "test -t 0 && test -t 1 && test -t 2 && tty -s </dev/tty && echo $TERM; stty size; echo err >&2; exit 3"
    row = row_of(host, command, pty=True)
    assert (row.stdout, row.stderr, row.exit_code) == ("dumb\n50 250\nerr\n", "", 3)


def test_long_lines_are_not_broken(host: opskit.Host) -> None:
    """A line is what the program printed, however wide it is."""
    assert row_of(host, "printf %5000d 7; echo", pty=True).stdout == f"{7:5000}\n"


@pytest.mark.parametrize("content", ["", "one\n", "one\ntwo", "one\n" * 5000])
@pytest.mark.parametrize("kind", ["text", "file"])
def test_input_is_typed_and_ends(host: opskit.Host, tmp_path: Path, content: str, kind: str) -> None:
    """Standard input is typed, unseen, and its end too: at once if there is none."""
    file = tmp_path / "input"
    file.write_text(content)
    row = row_of(host, "cat; echo end", pty=True, stdin=content if kind == "text" else file, timeout=20)
    assert row.stdout == f"{content}end\n"


def test_without_a_shell(host: opskit.Host) -> None:
    """A command that is sent as it is may have a terminal too."""
    assert row_of(host, "test -t 0 && cat", pty=True, shell=False, stdin="typed\n").stdout == "typed\n"


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_ending_leaves_no_process(host: opskit.Host, how: str) -> None:
    """R6: a group at a terminal is ended as any other, with those who ignore its hanging up."""
    sleep, argument = unique_sleep()
    command = f"trap '' TERM HUP; {sleep} & {sleep}"
    hosts = opskit.Inventory([host])
    running = opskit.run(command, hosts=hosts, pty=True, wait=False, timeout=0.5 if how == "timeout" else None)
    wait_until(lambda: len(processes(argument)) == 2)
    if how == "cancel":
        running.cancel()
    with pytest.raises(opskit.TimeoutExceeded if how == "timeout" else opskit.Cancelled) as caught:
        running.wait(20)
    assert str(caught.value.results[0].error).endswith("it was ended")
    wait_until(lambda: not processes(argument))


def test_no_descriptor_is_left_open() -> None:
    """R19: terminals of this machine are closed with their commands."""
    here = opskit.Host("here", "local")
    row_of(here, pty=True)
    before = descriptors()
    for _ in range(10):
        row_of(here, pty=True)
        row_of(here, "sleep 1000", pty=True, timeout=0.01)
        row_of(here, "true", pty=True, stdin="never read\n" * 1000)
    assert descriptors() <= before


def test_a_refused_terminal_is_a_failed_row(sshd: StartSshd) -> None:
    """P19: where the server gives no terminal the row is failed, with that reason."""
    row = row_of(first(sshd(PermitTTY="no")), "true", pty=True)
    assert row.status == "failed"
    assert "PTY request failed" in str(row.error)


def answered(host: opskit.Host, command: str, answers: dict[str, Any], **options: Any) -> str:
    """What a command printed that was given answers."""
    return row_of(host, command, answers=answers, timeout=20, **options).stdout


def test_prompts_are_answered(host: opskit.Host) -> None:
    """Each prompt gets the answer whose pattern matches, each time it comes."""
    command = 'for i in 1 2 3 4; do printf "Remove f$i? "; read a; done; printf "Name: "; read b; echo "[$a $b]"'
    shown = answered(host, command, {r"Remove .*\? $": "yes", "Name: ": "Bob B"})
    assert shown == "Remove f1? Remove f2? Remove f3? Remove f4? Name: [yes Bob B]\n"


def test_an_answer_may_be_a_secret(host: opskit.Host) -> None:
    """It is typed, and masked where it is printed."""
    secret = opskit.secret("correct horse")
    command = 'stty -echo; printf "Password: "; read p; stty echo; [ "$p" = "correct horse" ] && echo "got $p"'
    assert answered(host, command, {"[Pp]assword": secret}) == "Password: got ********\n"


def test_who_asks_for_ever_is_not_answered_for_ever(host: opskit.Host) -> None:
    """The same prompt is answered twice in a row and no more: the command's timeout decides then."""
    row = row_of(
        host, 'while :; do printf "Password: "; read p; echo Sorry; done', answers={"word: ": "wrong"}, timeout=1
    )
    assert row.status == "timeout"
    assert row.stdout == "Password: " + "Sorry\nPassword: " * 3


def test_answers_and_input(host: opskit.Host) -> None:
    """Input is typed first; the answers come where they are asked for, and so the terminal does not end."""
    assert answered(host, 'read a; printf "B? "; read b; echo "$a $b"', {"B": "two"}, stdin="one\n") == "B? one two\n"
