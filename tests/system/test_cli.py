"""`opskit` in a shell or a CI job: what stands on which stream, how it ends, and the embedded fleet."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import pytest

import opskit
from opskit.cli import main
from opskit.frames.results import COLUMNS
from opskit.work.options import OPTIONS, flag_of
from tests.system.ground import processes, unique_sleep, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.system

OPSKIT = [sys.executable, "-m", "opskit"]
FEW_SECONDS = 20


def said(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command that ends by itself, where nobody can answer."""
    done = subprocess.run(
        [*OPSKIT, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=FEW_SECONDS,
    )
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


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An inventory: two hosts that are this machine, and one where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    path = tmp_path_factory.mktemp("inventory") / "hosts.yaml"
    path.write_text(f"""\
hosts:
  web1: {{address: local, roles: [web]}}
  db1: {{address: local, roles: [db]}}
  gone: {{address: 127.0.0.1, port: {port}, roles: [gone]}}
""")
    return str(path)


@pytest.fixture
def here(hosts: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same inventory as the setting, for calls in this process, where nobody can answer."""
    monkeypatch.setenv("OPSKIT_INVENTORY", hosts)
    monkeypatch.setattr("sys.stdin", None)
    return hosts


def test_run_prints_the_table_and_nothing_else(hosts: str) -> None:
    """Exit code 0; no progress where no terminal is, however long it takes."""
    code, output, errors = said("run", "sleep 1; hostname >&2; echo {{ server.name }}", "-i", hosts, "-r", "web,db")
    assert (code, errors) == (0, "")
    assert output.splitlines()[0].startswith("2 hosts: ✔ 2 ok in ")
    assert "  stdout │ web1" in output.splitlines()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["true", "-r", "web,db"], 0),
        (["true", "-n"], 0),
        (["true", "--only", "dc=ams", "--on-no-hosts", "skip"], 0),
        (["exit 3", "-w", "web1"], 1),
        (["exit 3", "-w", "web1", "--on-error", "continue"], 1),
        (["{{ server.name }}", "-w", "web1,gone"], 1),
        (["sleep 60", "-w", "web1", "--timeout", "0.1"], 1),
        (["true", "-w", "web1", "--check", "false"], 1),
        (["true", "-r", "nobody"], 2),
        (["true", "-i", "nowhere.yaml"], 2),
        (["{{ wrod }}"], 2),
        (["true", "--chunk", "0"], 2),
        (["true", "-r", "gone"], 3),
        (["true"], 3),
        (["true", "--on-error", "continue"], 3),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_the_exit_code_tells_what_became_of_it(
    here: str, words: list[str], code: int, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """0 well, 1 a host failed, 2 bad input, 3 only unreachable; with --json stdout is one document all the same."""
    assert main(["run", *words, *flags]) == code
    output, errors = capsys.readouterr()
    if flags:
        document = json.loads(output)
        assert next(iter(document)) == "rows"
        assert (document["error"] is None) == (errors == "")
    assert len(errors.splitlines()) <= 1
    assert errors == "" or errors.startswith("opskit: ")
    assert code != 2 or errors


def test_json_has_every_column_of_every_row(here: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows as a frame has them, then what was wrong with the run."""
    assert main(["run", "printf 'ä\\377'; [ {{ server.name }} = web1 ]", "-r", "web,db", "--json"]) == 1
    output, errors = capsys.readouterr()
    document = json.loads(output)
    assert errors == "opskit: 1 of 2 hosts did not end well\n"
    assert document["error"]["type"] == "CommandError"
    assert document["error"]["message"].startswith("1 of 2 hosts did not end well\n")
    web1, db1 = document["rows"]
    assert tuple(web1) == tuple(COLUMNS)
    assert [web1[name] for name in ("host", "status", "exit_code", "stdout")] == ["web1", "ok", 0, "ä\ufffd"]
    assert web1["started_at"].endswith("+00:00")
    assert [db1[name] for name in ("host", "status", "exit_code")] == ["db1", "failed", 1]


def test_json_of_a_dry_run_is_its_steps(here: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the plan's warnings; nothing was sent."""
    assert main(["run", "touch {{ server.name }}", "-n", "--chunk", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document.pop("rows")[2] == {"chunk": 2, "host": "gone", "branch": None, "command": "touch gone"}
    assert document == {"warnings": [], "error": None}


def test_a_run_leaves_the_caller_as_it_was(here: str, tmp_path: Path) -> None:
    """Its inventory, its yes and its way to be ended are its own."""
    handler = signal.getsignal(signal.SIGTERM)
    other = tmp_path / "other.yaml"
    other.write_text("hosts: {only: {address: local}}")
    assert main(["run", "true", "-i", str(other), "--yes", "--confirm"]) == 0
    assert not opskit.settings.yes
    assert opskit.plan("true").hosts.names == ("web1", "db1", "gone")
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run"], "there is no command; write it in quotes: opskit run 'uptime' -i hosts.yaml -r web"),
        (["run", "true", "--rolse", "web"], "no flag is called '--rolse'; did you mean '--roles'"),
        (["run", "true", "--jsn=x"], "no flag is called '--jsn'; did you mean '--json'"),
        (["run", "ls", "-l", "-i", "x"], "a command with flags of its own stands in quotes"),
        (["run", "uptime", "now"], "'now' is one word too many; a command of several words stands in quotes"),
        (["run", "--sudo", "postgres", "id"], "'id' is one word too many"),
        (["run", "true", "-r"], "argument -r/--roles: expected one argument; opskit run --help shows what there is"),
        (["run", "true", "--role", "web"], "did you mean '--roles'"),
        (["run", "true", "--parse", "df"], "no flag is called '--parse'"),
        (["fleet", "up", "--jsn"], "no flag is called '--jsn'"),
        (["--verison"], "required: VERB"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_word_too_few_or_too_many_is_told_in_one_line(
    here: str, words: list[str], says: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, with what was meant; with --json the same as a document."""
    assert main([*words, *flags]) == 2
    output, errors = capsys.readouterr()
    assert says in errors
    assert len(errors.splitlines()) == 1
    if flags:
        assert json.loads(output)["rows"] == []
        assert says in json.loads(output)["error"]["message"]
    else:
        assert output == ""


@pytest.mark.parametrize("words", [["--sudo", "id"], ["id", "--sudo"], ["--sudo=postgres", "id"]])
def test_sudo_takes_no_word_that_stands_after_it(
    here: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The command is the command; another user stands after a `=`."""
    assert main(["run", *words, "-n", "--json"]) == 0
    assert {row["command"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"id"}


def test_help_is_for_strangers(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option with what it takes, how it ends, and examples; and which version it is."""
    for words in (["run", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    output = capsys.readouterr().out
    for name in set(OPTIONS) - {"wait", "on_output", "parse"}:
        assert f"{flag_of(name)} " in output or f"{flag_of(name)}\n" in output
    assert "--timeout SECONDS" in output
    assert "--sudo [=USER]" in output
    assert "VALUE" not in output.replace("NAME=VALUE", "")
    assert "3  every host that failed was unreachable" in output
    assert output.endswith(f"opskit {opskit.__version__}\n")


# Questions, and who can answer them


def test_nobody_to_ask_is_bad_input(here: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 at once, nothing sent, and what to set; --yes and OPSKIT_YES answer."""
    words = ["run", f"touch {tmp_path}/{{{{ server.name }}}}", "-w", "web1", "--confirm"]
    assert main(words) == 2
    assert "nobody can answer here" in (errors := capsys.readouterr().err)
    assert "OPSKIT_YES=1" in errors
    assert list(tmp_path.iterdir()) == []
    assert main([*words, "--yes"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["web1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPSKIT_YES", "1")
        assert main(words) == 0


def at_a_terminal(*arguments: str, answer: bytes) -> tuple[int, str, str]:
    """Exit code, stdout of a command that is piped on, and what the person saw who answers in a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*OPSKIT, *arguments], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, answer)
        output, _ = process.communicate(timeout=FEW_SECONDS)
        seen = b""
        with suppress(OSError):  # how Linux tells that the other side is closed
            while piece := os.read(ours, 65536):
                seen += piece
    os.close(ours)
    return process.returncode, output.decode(), seen.decode()


@pytest.mark.parametrize(("answer", "code", "status"), [(b"y\n", 0, "ok"), (b"n\n", 130, "not_started")])
def test_a_person_is_asked_beside_the_answer(hosts: str, answer: bytes, code: int, status: str) -> None:
    """The question and the progress go to the terminal, stdout is one document; a no is 130, and nothing was sent."""
    ended, output, seen = at_a_terminal(
        "run", "sleep 1.2", "-i", hosts, "-r", "web", "--confirm", "--json", answer=answer
    )
    assert ended == code
    assert [row["status"] for row in json.loads(output)["rows"]] == [status]
    assert "Run this? [y/N]" in seen
    assert ("chunk 1/1" in seen) == (status == "ok")


# How it is ended, and where nobody reads what it says


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_remote_work_and_keeps_what_arrived(hosts: str, ending: signal.Signals) -> None:
    """Exit code 130; the table and the document are printed, and nothing runs on."""
    sleep, argument = unique_sleep()
    words = ["run", f"echo begun; sh -c '{sleep} & {sleep}'", "-i", hosts, "-r", "web,db"]
    flags = ["--json"] if ending is signal.SIGTERM else []
    with subprocess.Popen(
        [*OPSKIT, *words, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_until(lambda: len(processes(argument)) >= 4, FEW_SECONDS)
        process.send_signal(ending)
        output, errors = process.communicate(timeout=FEW_SECONDS)
    assert (process.returncode, errors) == (130, "opskit: interrupted\n")
    assert processes(argument) == []
    if flags:
        document = json.loads(output)
        assert document["error"] == {"type": "KeyboardInterrupt", "message": "interrupted"}
        assert [(row["status"], row["stdout"]) for row in document["rows"]] == [("cancelled", "begun\n")] * 2
    else:
        assert "⊘ 2 cancelled" in output
        assert "  stdout │ begun" in output


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_interrupt_before_the_run_is_no_traceback(
    here: str, monkeypatch: pytest.MonkeyPatch, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As while an inventory is read, or a question waits: exit code 130, and a document without rows."""

    def interrupted(path: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("opskit.in_use.load_inventory", interrupted)
    assert main(["run", "true", "-i", here, *flags]) == 130
    output, errors = capsys.readouterr()
    assert errors == "opskit: interrupted\n"
    told = {"rows": [], "error": {"type": "KeyboardInterrupt", "message": "interrupted"}}
    assert json.loads(output) == told if flags else output == ""


def run_into(stdout: Any, *arguments: str) -> tuple[int, str]:
    """Exit code and errors of a command whose output goes there."""
    done = subprocess.run(
        [*OPSKIT, *arguments], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=FEW_SECONDS
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [["run", "true", "--json", "-w", "web1"], ["run", "--help"]])
def test_who_reads_no_further_does_no_harm(hosts: str, words: list[str]) -> None:
    """As `| head -1` does: no traceback, and the exit code is the run's."""
    ours, theirs = os.pipe()
    os.close(ours)
    try:
        assert run_into(theirs, *words, *(["-i", hosts] if "-w" in words else [])) == (0, "")
    finally:
        os.close(theirs)


def test_an_answer_that_can_not_be_written_is_a_failure(hosts: str) -> None:
    """A full disk: one line if that can be written, and exit code 1 though all hosts did well."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*OPSKIT, "run"], stderr=full, check=False, timeout=FEW_SECONDS)
        assert done.returncode == 2
        assert run_into(full, "run", "true", "-i", hosts, "-w", "web1") == (
            1,
            "opskit: the answer can't be written: No space left on device\n",
        )


@pytest.mark.parametrize(("closed", "output", "errors"), [(">&-", 0, 1), ("2>&-", 1, 0)])
def test_a_closed_stream_closes_no_other(hosts: str, closed: str, output: int, errors: int) -> None:
    """Neither the answer nor the complaint comes out where the other belongs; the exit code is the run's."""
    words = [*OPSKIT, "run", "exit 3", "-i", hosts, "-w", "web1", "--json"]
    done = subprocess.run(
        ["/bin/sh", "-c", f'"$@" {closed}', "sh", *words],
        capture_output=True, text=True, check=False, timeout=FEW_SECONDS,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "opskit: 1 of 1 host did not end well\n" * errors
    assert [row["status"] for row in json.loads(done.stdout)["rows"]] == ["failed"] if output else done.stdout == ""


def test_a_locale_without_our_symbols_is_enough(hosts: str) -> None:
    """They are written as escapes; --json is ASCII anyway."""
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code, output, errors = said("run", "echo '{{ server.name }} ok'", "-i", hosts, "-w", "web1", **environment)
    assert (code, errors) == (0, "")
    assert output.startswith("1 host: \\u2714 1 ok in ")
