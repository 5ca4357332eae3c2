"""The journal from a shell and from a notebook: what was left behind, seen and undone by another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

import opskit
from opskit import journal
from opskit.cli import main
from opskit.notebook import load_ipython_extension, unload_ipython_extension
from tests.system.test_cli import at_a_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.system

FEW_SECONDS = 20

LEFT = """
import os, signal
import opskit

with opskit.transaction("deploy v42") as tx:
    opskit.run("touch {folder}/{{{{ server.name }}}}", undo="rm {folder}/{{{{ server.name }}}}")
    {more}
    print(tx.id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts that are this machine, and nobody who can answer."""
    path = tmp_path / "hosts.yaml"
    path.write_text("hosts: {web1: {address: local}, web2: {address: local}}")
    monkeypatch.setenv("OPSKIT_INVENTORY", str(path))
    monkeypatch.setattr("sys.stdin", None)


@pytest.fixture
def traces(tmp_path: Path) -> Callable[[], list[str]]:
    """What the commands of a test have left on the hosts."""
    (tmp_path / "hosts").mkdir()
    return lambda: sorted(path.name for path in (tmp_path / "hosts").iterdir())


def killed(folder: Path, more: str = "pass") -> str:
    """The id of a transaction whose process was killed in the middle."""
    code = LEFT.format(folder=folder / "hosts", more=more)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False, timeout=FEW_SECONDS
    )
    assert done.returncode == -signal.SIGKILL
    return done.stdout.strip()


class Said:
    """What a call of `opskit` in this process said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *words: str) -> None:
        self.code = main(words)
        self.output, self.errors = capsys.readouterr()

    @property
    def document(self) -> Any:
        """What `--json` printed."""
        return json.loads(self.output)


def test_what_a_killed_process_left_is_undone_from_a_shell(
    tmp_path: Path, traces: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """C8: it is listed with what to do; that done, every host is as it was, and nothing is left to do."""
    found = killed(tmp_path)
    assert traces() == ["web1", "web2"]
    listed = Said(capsys, "journal", "--unfinished")
    assert "transaction deploy v42" in listed.output
    assert "abandoned" in listed.output
    assert listed.output.endswith(f"to do: opskit rollback {found}\n")
    undone = Said(capsys, "rollback", found[:20], "-y", "--why", "was killed")
    assert (undone.code, undone.errors) == (0, "")
    assert undone.output.startswith("2 hosts: ✔ 2 ok")
    assert traces() == []
    assert Said(capsys, "journal", "--unfinished").output == "no transactions\n"
    shown = Said(capsys, "journal", found).output
    assert ": was killed" in shown
    assert "    undo: rm " in shown
    again = Said(capsys, "rollback", found, "-y")
    assert again.code == 2
    assert "was rolled back by" in again.errors


def test_nothing_is_undone_unasked(
    tmp_path: Path, traces: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody can answer: exit code 2 and what to set. At a terminal what would be undone is shown; no is 130."""
    found = killed(tmp_path)
    opskit.run("true", hosts="web1", name="later", undo="true")
    refused = Said(capsys, "rollback", found)
    assert (refused.code, refused.output) == (2, "")
    assert refused.errors.endswith("give --yes, or set OPSKIT_YES=1\n")
    for answer, code in ((b"n\n", 130), (b"y\n", 0)):
        assert traces() == ["web1", "web2"]
        ended, output, seen = at_a_terminal("rollback", found, "--json", answer=answer)
        assert ended == code
        assert f"web[1-2]: rm {tmp_path}/hosts/{{{{ server.name }}}}" in seen
        assert "run later by" in seen
        assert len(json.loads(output)["rows"]) == (0 if code else 2)
    assert traces() == []


def test_an_incomplete_rollback_is_5_until_a_person_settles_it(
    tmp_path: Path, traces: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Tried again it does the rest alone; after that `settle` and `rollback` end it."""
    found = killed(tmp_path, 'opskit.run("true", hosts="web2", undo="exit 3")')
    incomplete = Said(capsys, "rollback", found, "-y", "--json")
    assert incomplete.code == 5
    assert [row["exit_code"] for row in incomplete.document["rows"]] == [3, 0, 0]
    assert incomplete.document["error"]["type"] == "RollbackError"
    assert f"opskit rollback {found}" in incomplete.errors
    assert [row["exit_code"] for row in Said(capsys, "rollback", found, "-y", "--json").document["rows"]] == [3]
    settled = Said(capsys, "settle", found, "web2", "ok", "--undo", "--why", "done by hand", "--json")
    assert [row["status"] for row in settled.document["rows"]] == ["ok", "ok"]
    assert Said(capsys, "rollback", found, "-y").output == "nothing was to be undone\n"
    (transaction,) = Said(capsys, "journal", "--json").document["rows"]
    assert (transaction["state"], transaction["undone"], transaction["owed"]) == ("rolled_back", 3, 0)


def test_functions_are_called_by_no_yes(tmp_path: Path, capsys: pytest.CaptureFixture[str], traces: object) -> None:
    """One that can be imported needs a person; one of a notebook needs that."""
    registered = f'tx.on_rollback(os.mkdir, "{tmp_path}/hosts/called"); tx.on_rollback(lambda: None)'
    found = killed(tmp_path, registered)
    left = Said(capsys, "rollback", found, "-y", "--json")
    assert left.code == 5
    assert [row["status"] for row in left.document["rows"]] == ["not_started", "not_started", "ok", "ok"]
    assert "only the notebook or script that registered it" in left.document["rows"][0]["error"]
    ended, _, seen = at_a_terminal("rollback", found, "-y", answer=b"y\n")
    assert ended == 5
    assert "mkdir" in seen
    assert (tmp_path / "hosts" / "called").is_dir()


@pytest.mark.parametrize(("undo", "code"), [("true", 4), ("false", 5)])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_run_that_is_rolled_back_says_so(
    undo: str, code: int, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """4 if all was undone, 5 if not; the complaint says how much."""
    ran = Said(capsys, "run", "exit 3", "-w", "web1", "--undo", undo, "--on-error", "rollback", *flags)
    assert ran.code == code
    assert ("rolled back: 1 of 1 undone" if code == 4 else "rollback incomplete: 0 of 1 undone") in ran.errors
    if flags:
        assert "0 of 1" in ran.document["error"]["message"] or code == 4
        assert [row["status"] for row in ran.document["rows"]] == ["failed"]


def test_close_and_prune_are_final(
    tmp_path: Path, traces: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """What was done stays, and then it is forgotten."""
    found = killed(tmp_path)
    assert Said(capsys, "close", found, "--why", "kept on purpose").output == f"{found} is closed\n"
    assert traces() == ["web1", "web2"]
    assert Said(capsys, "rollback", found, "-y").code == 2
    assert Said(capsys, "prune", "--before", "1d", "--json").document == {"rows": [], "pruned": 0, "error": None}
    assert Said(capsys, "prune", "--before", "0s").output == "1 transactions forgotten\n"
    assert Said(capsys, "journal").output == "no transactions\n"


def test_the_list_is_narrowed_and_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    """The newest twenty, and who asks for more gets it; one document with --json."""
    for number in range(21):
        opskit.run("true", hosts="web1", name=f"run {number}")
    listed = Said(capsys, "journal")
    assert len(listed.output.splitlines()) == 21
    assert listed.errors == "the newest 20; --since 30d shows those of 30 days\n"
    assert len(Said(capsys, "journal", "--since", "1h", "--json").document["rows"]) == 21
    (row,) = Said(capsys, "journal", "--name", "run 3", "--json").document["rows"]
    assert (row["hosts"], row["ok"], row["what_to_do"]) == (1, 1, None)
    assert row["started_at"].endswith("+00:00")
    shown = Said(capsys, "journal", row["transaction"], "--json").document
    assert list(shown) == ["rows", "transaction", "moves", "undos", "notes", "error"]
    assert [move["state"] for move in shown["moves"]] == ["running", "succeeded"]
    assert [one["command"] for one in shown["rows"]] == ["true"]
    assert Said(capsys, "journal", "--host", "web2").output == "no transactions\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["journal", "01ZZ"], "has no transaction '01ZZ'"),
        (["journal", "01ZZ", "--unfinished"], "shows one transaction, or --unfinished ones, or"),
        (["journal", "--since", "soon"], "since='soon' must be a time such as 2026-01-31 10:00, or how long ago: 90m"),
        (["journal", "--hots", "x"], "no flag is called '--hots'; did you mean '--host'"),
        (["journal", "a", "b"], "'b' is one word too many"),
        (["rollback"], "the following arguments are required: TX; opskit rollback --help"),
        (["rollback", "01ZZ", "-y"], "has no transaction '01ZZ'"),
        (["rollback", "01ZZ"], "has no transaction '01ZZ'"),
        (["close", "01ZZ"], "the following arguments are required: --why"),
        (["settle", "01ZZ", "web1", "okay", "--why", "x"], "'okay' is no status; did you mean 'ok'"),
        (["prune"], "the following arguments are required: --before"),
    ],
)
def test_bad_input_is_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """B32: exit code 2, and nothing on stdout."""
    said = Said(capsys, *words)
    assert (said.code, said.output) == (2, "")
    assert says in said.errors
    assert len(said.errors.splitlines()) == 1


@pytest.mark.parametrize("verb", ["journal", "rollback", "close", "settle", "prune"])
def test_help_says_how_it_ends(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb lists its exit codes."""
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert "exit codes:\n    0  " in capsys.readouterr().out


def test_a_journal_that_can_not_be_read_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """B31: a folder, or no database; the path, and no traceback."""
    (tmp_path / "text").write_text("no database, but long enough to be taken for one" * 100)
    for path in (tmp_path, tmp_path / "text"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPSKIT_JOURNAL", str(path))
            said = Said(capsys, "journal")
        assert said.code == 2
        assert str(path) in said.errors
        assert "Traceback" not in said.errors


# In a notebook


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Plain IPython with the magics, and nobody who could answer a question."""
    monkeypatch.setenv("OPSKIT_YES", "1")
    made = InteractiveShell.instance()
    load_ipython_extension(made)
    yield made
    unload_ipython_extension(made)
    InteractiveShell.clear_instance()


def test_a_transaction_spans_cells_and_is_undone_by_one_line(
    shell: InteractiveShell, tmp_path: Path, traces: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """`begin`, `status`, `rollback`; without one that is open the error says how to open it."""
    shell.run_line_magic("opskit", 'transaction begin "deploy v42"')
    assert "transaction deploy v42 (" in (said := capsys.readouterr().out)
    assert said.rstrip().endswith("is open: %opskit transaction end keeps it, rollback undoes it")
    folder = tmp_path / "hosts"
    for name in ("a", "b"):
        shell.run_line_magic("parallel", f"-w web1 -q --undo 'rm {folder}/{name}' touch {folder}/{name}")
    assert traces() == ["a", "b"]
    capsys.readouterr()
    shell.run_line_magic("opskit", "status")
    assert capsys.readouterr().out.splitlines() == [
        "2 hosts in use: web[1-2]",
        f"transaction deploy v42 ({journal.df['transaction'][0]}) is open",
        "0 unfinished",
        f"the journal is {os.environ['OPSKIT_JOURNAL']}",
    ]
    rows = shell.run_line_magic("opskit", "transaction rollback 'not wanted'")
    assert [row.status for row in rows] == ["ok", "ok"]
    assert traces() == []
    assert journal.df["state"].tolist() == ["rolled_back"]
    for verb in ("end", "rollback"):
        with pytest.raises(opskit.RollbackError, match="no transaction is open here; %opskit transaction begin"):
            shell.run_line_magic("opskit", f"transaction {verb}")
    with pytest.raises(opskit.PlanError, match="`end` or `rollback`"):
        shell.run_line_magic("opskit", "transaction undo")


def test_a_transaction_that_is_ended_is_kept(
    shell: InteractiveShell, tmp_path: Path, traces: Callable[[], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """And can be undone later, by its id, from the journal that lists it."""
    shell.run_line_magic("opskit", "transaction begin")
    folder = tmp_path / "hosts"
    shell.run_line_magic("parallel", f"-w web1 -q --undo 'rm {folder}/a' touch {folder}/a")
    shell.run_line_magic("opskit", "transaction end")
    assert "has ended; %opskit rollback " in capsys.readouterr().out
    assert traces() == ["a"]
    listing = shell.run_line_magic("opskit", "journal")
    assert set(listing._repr_mimebundle_()) == {"text/html", "text/plain"}
    (summary,) = listing.summaries
    assert summary.state == "succeeded"
    assert str(shell.run_line_magic("opskit", f"journal {summary.transaction}")).startswith("transaction ")
    assert len(shell.run_line_magic("opskit", f"rollback {summary.transaction}")) == 1
    assert traces() == []


def test_what_a_killed_kernel_left_is_seen_and_undone_in_another(
    shell: InteractiveShell, tmp_path: Path, traces: Callable[[], list[str]]
) -> None:
    """C8, in a notebook; bad words are told what there is."""
    found = killed(tmp_path)
    (summary,) = shell.run_line_magic("opskit", "journal --unfinished").summaries
    assert summary.transaction == found
    shell.run_line_magic("opskit", f"rollback {found}")
    assert traces() == []
    with pytest.raises(opskit.PlanError, match="name a transaction; %opskit journal lists them"):
        shell.run_line_magic("opskit", "rollback")
    with pytest.raises(opskit.PlanError, match="write `journal`, `journal TX` or `journal --unfinished`"):
        shell.run_line_magic("opskit", "journal --all")
