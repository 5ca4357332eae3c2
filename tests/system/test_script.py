"""Plain Python: scripts, one-liners, terminals, and the notebook that everybody runs first."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from tests.system import kernels, loops

if TYPE_CHECKING:
    from opskit.fleetlab import Fleet

pytestmark = [pytest.mark.system, loops.LEAKS]
kernel6 = kernels.kernel6
close_loops = loops.close_loops

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def script(text: str, folder: Path) -> Path:
    """A script of this text."""
    path = folder / "script.py"
    path.write_text(f"import opskit\n\n{text}\n")
    return path


def ran(fleet: Fleet, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What Python says where the fleet is the inventory of the environment."""
    environment = {**os.environ, "OPSKIT_INVENTORY": str(fleet.path)}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)


def test_a_script_prints_what_it_prints_and_nothing_else(embedded: Fleet, tmp_path: Path) -> None:
    """Results print as a table; no progress goes where nobody looks; the end is clean."""
    done = ran(embedded, script("print(opskit.run('sleep 1; hostname', roles='db'))", tmp_path))
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("1 host: ✔ 1 ok in ")
    assert lines[-1] == "  stdout │ db1"
    assert done.stderr == ""


def test_a_one_liner_does(embedded: Fleet) -> None:
    """With its own variables in templates."""
    code = "import opskit; v = 'a b'; print(opskit.run('echo {{ v }}', once=True)[0].stdout)"
    done = ran(embedded, "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a b\n\n", "")


def test_a_script_may_route_wait_and_await(embedded: Fleet, tmp_path: Path) -> None:
    """The README's ten lines, and the same awaited."""
    text = """\
import asyncio

with opskit.parallel(chunk=[1, "25%"], timeout=30) as session:
    session.when("in_('app')", "echo app")
    session.when(lambda server: server.name.startswith("db"), "echo db")
    session.otherwise("echo else")
print(session.results.df.groupby("status").size().to_dict())

async def main():
    results, others = await asyncio.gather(opskit.arun("echo a", roles="app"), opskit.arun("echo b", roles="db"))
    async with opskit.parallel(roles="web") as session:
        session.otherwise("echo c")
    print([row.stdout.strip() for row in [*results, *others, *session.results]])

asyncio.run(main())
"""
    done = ran(embedded, script(text, tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["{'ok': 5}", "['a', 'a', 'a', 'b', 'c', 'c']"]


def test_an_uncaught_failure_ends_in_the_readable_message(embedded: Fleet, tmp_path: Path) -> None:
    """Exit code 1; after Python's traceback stands which hosts failed, how, and where every row is."""
    done = ran(embedded, script("opskit.run('echo oops >&2; exit 3', roles='app')\nprint('never')", tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-3:] == [
        "opskit.errors.CommandError: 3 of 3 hosts did not end well",
        "✘ 3 failed: app[1-2],both: exit code 3: oops",
        "Every row is in the error's .results; .results.failed.df has the worst as a table.",
    ]


def test_a_mistake_in_a_script_is_told_with_its_place(embedded: Fleet, tmp_path: Path) -> None:
    """By file and line of the branch, though the plan is made when the block ends."""
    path = script("with opskit.parallel() as session:\n    session.when('server.nmae', 'x')", tmp_path)
    last = ran(embedded, path).stderr.splitlines()[-1]
    assert f"condition `server.nmae` ({path}, line 4) failed on app1" in last
    assert "did you mean 'name'" in last


def in_a_terminal(fleet: Fleet, path: Path) -> tuple[int, str]:
    """Exit code, and all that a terminal got."""
    environment = {**os.environ, "OPSKIT_INVENTORY": str(fleet.path), "TERM": "xterm-256color", "COLUMNS": "120"}
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, path], env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        got = b""
        with suppress(OSError):  # how Linux tells that the other side is closed
            while piece := os.read(ours, 65536):
                got += piece
    os.close(ours)
    return process.returncode, got.decode()


def test_in_a_terminal_progress_comes_and_goes(embedded: Fleet, tmp_path: Path) -> None:
    """Bars with counts while it runs, the cursor hidden; then they are wiped away, and the output stands alone."""
    text = "results = opskit.run('sleep 1.6', name='nap')\nprint('the end of', len(results))"
    code, got = in_a_terminal(embedded, script(text, tmp_path))
    assert code == 0
    before, after = got.split("the end of 5")
    assert "chunk 1/1" in before
    assert "━" in before
    assert "5 running  0 left" in before
    assert "nap: 1 s" in before
    assert before.count("\x1b[?25l") == before.count("\x1b[?25h") == 1
    assert before.rstrip().endswith("\x1b[2K")
    assert after.strip() == ""


def test_in_a_terminal_a_short_run_shows_no_progress(embedded: Fleet, tmp_path: Path) -> None:
    """Not a character but the script's own; how long a moment is, is the test's, for a busy machine is slow."""
    source = "from opskit.views import terminal\nterminal.MOMENT_SECONDS = 60\nopskit.run('true')\nprint('done')"
    assert in_a_terminal(embedded, script(source, tmp_path)) == (0, "done\r\n")


@pytest.mark.parametrize("line", ["ipykernel 7", "ipykernel 6"])
@pytest.mark.parametrize("name", [path.name for path in sorted(NOTEBOOKS.glob("*.ipynb"))])
def test_every_notebook_runs(request: pytest.FixtureRequest, line: str, name: str) -> None:
    """On a fleet of its own, from top to bottom, on both lines of ipykernel; nothing goes to standard error."""
    kernel = str(request.getfixturevalue("kernel6")) if line == "ipykernel 6" else "python3"
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    encrypted = Config(KernelManager={"transport_encryption": "auto"})
    resources = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(notebook, kernel_name=kernel, config=encrypted, resources=resources, timeout=60).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert len(outputs) >= 10
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
