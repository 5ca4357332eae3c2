"""Beside Jupyter's own front ends: papermill, nbconvert, loops that already run, and Python without IPython."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

import opskit
from tests.elements import Elements
from tests.needs import need_module
from tests.system import loops
from tests.system.ground import processes, unique_sleep, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nbformat import NotebookNode

    from opskit.fleetlab import Fleet

pytestmark = [pytest.mark.system, loops.LEAKS]
close_loops = loops.close_loops

HTML, TEXT = "text/html", "text/plain"
# As in tools/demo.py: without it ipykernel 7 warns that other users of this machine could listen.
ENCRYPTED = Config(KernelManager={"transport_encryption": "auto"})


def notebook(*sources: str) -> NotebookNode:
    """A notebook of these cells; the first takes papermill's parameters."""
    cells = [nbformat.v4.new_code_cell(textwrap.dedent(source).strip()) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made: NotebookNode = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    return made


def outputs(document: NotebookNode, source: str) -> list[NotebookNode]:
    """What the one cell showed that has this in its source."""
    (cell,) = [cell for cell in document.cells if source in cell.source]
    return list(cell.outputs)


def expect_static(markup: str) -> None:
    """Nothing in it runs, and nothing is fetched from anywhere."""
    found = Elements(markup)
    tables = {"table", "thead", "tbody", "tr", "th", "td"}
    assert found.tags <= {"b", "code", "details", "div", "pre", "span", "summary", "wbr"} | tables
    assert {name for _, attributes in found.found for name in attributes} <= {"class", "style"}
    assert not any("url(" in style for style in found.values("style"))


# In a job nobody is there


def job(folder: Path, document: NotebookNode, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a program says that takes `in.ipynb` and leaves `out.ipynb` in this folder."""
    nbformat.write(document, folder / "in.ipynb")
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_papermill_fails_the_job_after_the_table(
    embedded: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters select hosts; OPSKIT_YES=1 confirms; the failing cell is the last, its table in the notebook."""
    need_module("papermill")
    monkeypatch.setenv("OPSKIT_YES", "1")
    document = notebook(
        "role, word = 'web', 'nothing'",
        f"%load_ext opskit\n%opskit use {embedded.path}",
        "%parallel -r $role --confirm echo {{ word }}",
        "%%parallel -r db -o failed\nelse: echo oops >&2; exit 3",
        "print('never')",
    )
    parameters = ("-p", "role", "app", "-p", "word", "a b")
    done = job(tmp_path, document, "papermill", "in.ipynb", "out.ipynb", *parameters, "--no-progress-bar")
    assert done.returncode == 1
    assert "CommandError: 1 of 1 host did not end well\n✘ 1 failed: db1: exit code 3: oops\n" in done.stderr
    made = nbformat.read(tmp_path / "out.ipynb", 4)
    (confirmed,) = outputs(made, "--confirm")
    assert "3 hosts: ✔ 3 ok" in confirmed.data[TEXT]
    assert "a b" in confirmed.data[TEXT]
    table, error = outputs(made, "exit 3")
    assert set(table.data) == set(confirmed.data) == {HTML, TEXT}
    expect_static(table.data[HTML])
    assert error.ename == "CommandError"
    assert len(error.traceback) <= 4
    assert "Traceback" not in "".join(error.traceback)
    assert outputs(made, "print('never')") == []
    assert "widgets" not in made.metadata


ASKING = {
    "a secret": "opskit.run('echo {{ password }}', variables={'password': opskit.secret(prompt='Password')})",
    "a confirmation": "opskit.run('hostname', confirm=True)",
    "a magic's": "%parallel --confirm hostname",
    "a protected role": "with opskit.configure(protected_roles=['db']):\n    opskit.run('hostname', roles='db')",
    "in the background": "opskit.run('hostname', confirm=True, wait=False)",
    "awaited": "await opskit.arun('hostname', confirm=True)",
}


def test_nbconvert_is_never_asked_and_never_hangs(embedded: Fleet, tmp_path: Path) -> None:
    """Whatever had to be asked is PromptRefused at once, in a few lines that say what to set; nothing was sent."""
    tell = "sent = []\nopskit.observe(sent.append)"
    document = notebook(
        f"%load_ext opskit\nimport opskit\n%opskit use {embedded.path}",
        tell,
        *ASKING.values(),
        "print('sent:', sent)",
    )
    flags = ("--execute", "--allow-errors", "--to", "notebook", "--output", "out.ipynb")
    done = job(tmp_path, document, "nbconvert", "in.ipynb", *flags, "--KernelManager.transport_encryption=auto")
    assert done.returncode == 0, done.stderr
    made = nbformat.read(tmp_path / "out.ipynb", 4)
    for source in ASKING.values():
        (error,) = outputs(made, source)
        assert error.ename == "PromptRefused"
        assert error.evalue.startswith("nobody can answer here: ")
        assert "OPSKIT_YES=1" in error.evalue or 'secret(env="NAME")' in error.evalue
        assert len(error.traceback) <= 3
    assert outputs(made, "print('sent:'")[0].text == "sent: []\n"


# Loops that already run

CELLS = {
    "ready": "import asyncio, opskit",
    "the loop goes on while a run is awaited": """
        beats = []
        async def beat():
            while True:
                beats.append(1)
                await asyncio.sleep(0.01)
        beating = asyncio.ensure_future(beat())
        await opskit.arun("sleep 0.3")
        assert len(beats) > 5
        beating.cancel()
    """,
    "two runs at once": """
        one, two = await asyncio.gather(opskit.arun("echo 1", roles="db"), opskit.arun("echo 2", roles="db"))
        assert (one[0].stdout, two[0].stdout) == ("1\\n", "2\\n")
    """,
    "a synchronous call in a coroutine": """
        async def deploy(word):
            return opskit.run("echo {{ word }}", roles="db")[0].stdout
        assert await deploy("a b") == "a b\\n"
    """,
    "threads beside the cell": """
        def deploy(word):
            return opskit.run("echo {{ word }}", roles="db")[0].stdout
        assert await asyncio.gather(*(asyncio.to_thread(deploy, str(n)) for n in range(2))) == ["0\\n", "1\\n"]
    """,
    "a handle": "handle = opskit.run('sleep 0.2; hostname', roles='db', wait=False)\nassert not handle.done",
    "its end, in another cell": "assert [row.stdout for row in await handle.wait_async()] == ['db1\\n']",
    "once more": "assert handle.done and handle.wait() == await handle.wait_async() == handle.results",
    "a block in the background": """
        async with opskit.parallel(roles="db", wait=False) as session:
            session.when("in_('db')", "sleep 0.2; echo $((20 + 1))")
        assert session.results.where("ok").rows == ()
        assert session.wait()[0].stdout == "21\\n"
    """,
    "a failure, awaited": "await opskit.arun('exit 4', roles='db')",
}


def test_a_kernels_running_loop_is_no_hindrance(used: Fleet) -> None:
    """Awaited, synchronous in coroutines, in threads, begun in one cell and awaited in another; errors are short."""
    document = notebook(*CELLS.values())
    NotebookClient(document, config=ENCRYPTED, timeout=30, allow_errors=True).execute()
    *well, bad = zip(CELLS, document.cells, strict=True)
    for name, cell in well:
        assert [output for output in cell.outputs if output.output_type == "error"] == [], name
    error = bad[1].outputs[-1]
    assert error.ename == "CommandError"
    assert error.traceback[-1] == "at line 1 of the cell: await opskit.arun('exit 4', roles='db')"


@pytest.fixture
def used(embedded: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """The embedded fleet, in use in every thread."""
    monkeypatch.setenv("OPSKIT_INVENTORY", str(embedded.path))
    return embedded


def test_a_synchronous_call_inside_a_loop_blocks_and_works(used: Fleet) -> None:
    """As in a coroutine of somebody else's server: nothing is nested, patched or deadlocked."""

    async def serve() -> list[str]:
        results = opskit.run("hostname", roles="db")
        with opskit.parallel(roles="web") as session:
            session.otherwise("echo {{ server.name }}")
        return [row.stdout for row in (*results, *session.results, *await opskit.arun("echo a", roles="db"))]

    assert asyncio.run(serve()) == ["db1\n", "both\n", "web1\n", "a\n"]


def test_many_threads_may_run_at_once(used: Fleet) -> None:
    """Each gets its own rows, in its own thread, over the shared connections."""
    together = threading.Barrier(8)

    def work(number: int) -> list[str]:
        together.wait()
        return [row.stdout for row in opskit.run(f"echo {number}")]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(8))) == [[f"{number}\n"] * len(used.inventory) for number in range(8)]


def test_a_handle_is_awaited_on_another_loop_than_it_was_begun_on(used: Fleet) -> None:
    """A run belongs to no loop of the caller's; it may be awaited twice, and by two at once."""

    async def begin() -> opskit.Handle:
        return opskit.run("hostname", roles="db", wait=False)

    async def end(handle: opskit.Handle) -> list[opskit.Results]:
        return [*await asyncio.gather(handle.wait_async(), handle.wait_async()), await handle.wait_async()]

    first, second, third = asyncio.run(end(asyncio.run(begin())))
    assert first == second == third
    assert first[0].stdout == "db1\n"


def test_a_cancelled_task_ends_its_remote_work(used: Fleet) -> None:
    """As `asyncio.timeout` and a server's shutdown do it; the error has what arrived."""
    sleep, argument = unique_sleep()

    async def work() -> None:
        task = asyncio.ensure_future(opskit.arun(f"echo begun; sh -c '{sleep} & {sleep}'", roles="db"))
        await asyncio.to_thread(wait_until, lambda: len(processes(argument)) >= 2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        (row,) = caught.value.results  # type: ignore[attr-defined]  # it carries them
        assert (row.status, row.stdout) == ("cancelled", "begun\n")

    asyncio.run(work())
    assert processes(argument) == []


# Without IPython: marimo, a web server, a script


WITHOUT_IPYTHON = """
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("IPython", "ipywidgets", "ipykernel", "traitlets", "comm"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Forbidden())
import opskit

results = opskit.run("hostname", roles="db")
with opskit.parallel(dry_run=True) as session:
    session.when("in_('web')", "echo {{ server.name }}")
handle = opskit.run("hostname", wait=False)
handle.wait()
print(results._repr_mimebundle_()["text/html"] == results.to_markdown(), len(results.df), results[0].stdout.strip())
print(session.plan._repr_html_().count("<table"), handle.plan.hosts._repr_html_().count("<table"), handle)
try:
    opskit.run("exit 3", roles="db")
except opskit.CommandError as error:
    print(error.results)
try:
    opskit.load_ipython_extension(None)
except ImportError as error:
    print(error)
print({"IPython", "ipywidgets", "nest_asyncio2"} & set(sys.modules))
"""


def test_functions_need_no_ipython(used: Fleet) -> None:
    """As in marimo: only the extension for IPython asks for it, by name."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_IPYTHON],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "False 1 db1"
    assert lines[1] == "1 1 <run: ended; .wait(), .cancel(), .results>"
    assert lines[2].startswith("1 host: ✘ 1 failed in ")
    assert lines[-2] == "No module named 'IPython'"
    assert lines[-1] == "set()"


HOSTILE = "<script>alert(1)</script><img src=http://x/y onerror=z> \x1b[31m$x$"


def inventory(count: int) -> opskit.Inventory:
    """Hosts with a role of that kind."""
    return opskit.Inventory([opskit.Host(f"web{number}", roles={HOSTILE[:25]}) for number in range(count)])


SHOWN: dict[str, Callable[[], Any]] = {
    "results": lambda: opskit.run("printf %s {{ HOSTILE }}; [ {{ server.name }} != db1 ]", on_error="continue"),
    "no results": lambda: opskit.run("true").failed,
    "a plan": lambda: opskit.plan("echo {{ HOSTILE }}", chunk=2, name=HOSTILE),
    "an inventory": lambda: inventory(3),
    "many hosts": lambda: inventory(99),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_is_shown_is_static_and_sends_for_nothing(used: Fleet, name: str) -> None:
    """As VS Code, marimo and a mail take it: HTML without scripts, images, links and fonts, and a text beside it."""
    shown = SHOWN[name]()
    bundle = shown._repr_mimebundle_() if isinstance(shown, opskit.Results) else {HTML: shown._repr_html_()}
    expect_static(bundle[HTML])
    assert bundle.get(TEXT, repr(shown)) == repr(shown)


def test_a_run_that_ends_with_python_is_told(tmp_path: Path) -> None:
    """Who forgets to wait for `wait=False` reads at the script's end that the commands ended with it."""
    (tmp_path / "script.py").write_text(
        "import opskit\n"
        "here = opskit.Inventory([opskit.Host('here', address='local')])\n"
        "opskit.run('sleep 1000', hosts=here, wait=False)\n"
        "opskit.run('true', hosts=here, wait=False).wait()\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0
    assert done.stderr.startswith("opskit: 1 run begun with wait=False had not ended when Python did")


def test_a_shell_pipes_what_commands_read(tmp_path: Path) -> None:
    """`--stdin -` hands over the shell's own standard input."""
    (tmp_path / "hosts.yaml").write_text("hosts: {here: {address: local}}")
    done = subprocess.run(
        [sys.executable, "-m", "opskit", "run", "wc -c", "-i", tmp_path / "hosts.yaml", "--stdin", "-"],
        input="12345", capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert "5" in done.stdout
    assert done.returncode == 0
