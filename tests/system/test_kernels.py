"""Runs in kernels of both lines of ipykernel, beside the user's own tasks on the kernel's loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncssh
import nbformat
import pytest
from nbclient import NotebookClient

from tests.system import kernels, loops
from tests.system.ground import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opskit.fleetlab import Fleet
    from tests.system.kernels import FrontEnd

pytestmark = [pytest.mark.system, loops.LEAKS]
kernel6 = kernels.kernel6
close_loops = loops.close_loops

SET_UP = """
import asyncio, opskit
opskit.use({path!r})
ticks, heard, done = 0, [], []

async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.005)
        ticks += 1

def deploy(command, host="app1", **options):
    before = ticks
    results = opskit.run(command, hosts=host, **options)
    done.append(results[0].status)
    print(results[0].stdout, ticks - before > 2)

def target(comm, _):
    comm.on_msg(lambda message: heard.append(message["content"]["data"]))

get_ipython().kernel.comm_manager.register_target("test", target)
task = asyncio.create_task(tick())
"""


CANCELLING = {
    "timeout": """
async with asyncio.timeout(0.05):
    deploy('sleep 0.2; echo in')
""",
    "group": """
async with asyncio.TaskGroup() as group:
    group.create_task(asyncio.wait_for(asyncio.sleep(60), 0.05))
    deploy('sleep 0.2; echo in')
""",
    "all tasks": """
known = asyncio.all_tasks()

async def cancel():
    for task in asyncio.all_tasks() - known - {asyncio.current_task()}:
        task.cancel()

cancelling = asyncio.create_task(cancel())
deploy('sleep 0.2; echo in')
""",
}


@pytest.fixture(scope="module", params=["ipykernel 7", "ipykernel 6"])
def kernel(request: pytest.FixtureRequest, embedded: Fleet) -> Iterator[FrontEnd]:
    """A kernel with a task of the user's on its loop, that ticks."""
    name = str(request.getfixturevalue("kernel6")) if request.param == "ipykernel 6" else "python3"
    with kernels.started(name) as front_end:
        assert front_end.run(SET_UP.format(path=str(embedded.path)))[0].status == "ok"
        front_end.send("comm_open", comm_id="c", target_name="test", data={})
        yield front_end


def test_kernel6_is_ipykernel_6_on_this_environments_packages(kernel6: str) -> None:
    """The kernel runs ipykernel 6, and imports the environment's other packages."""
    cell = nbformat.v4.new_code_cell("import ipykernel, ipywidgets; print(ipykernel.__version__, ipywidgets.__name__)")
    notebook = nbformat.v4.new_notebook(cells=[cell])

    NotebookClient(notebook, kernel_name=kernel6, coalesce_streams=True).execute()

    assert notebook.cells[0].outputs[0].text == "6.31.0 ipywidgets\n"


@pytest.mark.parametrize(
    ("first", "go_on", "times"),
    [("deploy", True, 20), ("await asyncio.sleep(0)\ndeploy", False, 2)],
    ids=["cell", "cell that awaits"],
)
def test_the_users_tasks_go_on_and_what_is_queued_comes_in_its_turn(
    kernel: FrontEnd, first: str, go_on: bool, times: int
) -> None:
    """Five cells, a completion and a widget's messages that come meanwhile; each once, none is lost.

    In a cell that awaits, where a task could cancel the kernel's own, they wait.
    """
    cells = ["done.append(1)", "done.append(2)", "await opskit.arun('true', hosts='app1')\ndone.append(3)"]
    cells += ["deploy('echo second')", "print(done, heard)\ndone.clear()\nheard.clear()"]
    for number in range(times):
        requests = [kernel.client.execute(f"{first}('sleep 0.1; echo first')"), kernel.client.execute(cells[0])]
        kernel.send("comm_msg", comm_id="c", data=number)
        requests += [kernel.client.execute(cell) for cell in cells[1:3]]
        requests.append(kernel.client.complete("done.app"))
        kernel.send("comm_msg", comm_id="c", data=number + 1)
        requests += [kernel.client.execute(cell) for cell in cells[3:]]
        ended = kernel.ended(*requests)
        assert [each.turn for each in ended] == list(range(7))
        assert {each.status for each in ended} == {"ok"}
        assert (ended[0].text, ended[5].text.splitlines()[0]) == (f"first\n {go_on}\n", "second")
        assert ended[4].reply["matches"]
        assert ended[6].text == f"['ok', 1, 2, 3, 'ok'] {[number, number + 1]}\n"


@pytest.mark.parametrize("cell", CANCELLING.values(), ids=CANCELLING)
def test_what_is_cancelled_meanwhile_costs_no_reply(kernel: FrontEnd, cell: str) -> None:
    """Be it the cell itself, whose time is up or whose group has failed, or all tasks that are not the kernel's."""
    ended = kernel.run(cell)[0]
    assert ended.status == ("error" if "Group" in cell else "ok")
    assert f"in\n {'async with' not in cell}\n" in ended.text
    assert kernel.run("done.clear()\nprint('after')")[0].text == "after\n"


def test_an_interrupt_ends_the_run_and_leaves_the_users_task(kernel: FrontEnd, embedded: Fleet) -> None:
    """R6: KeyboardInterrupt with the rows, the queued cells are aborted; the task ticks in the next wait."""
    begun = embedded.folder / "homes" / "app2" / "begun"
    begun.unlink(missing_ok=True)
    requests = [kernel.client.execute(cell) for cell in ("deploy('touch begun; sleep 60', 'app2')", "done.append(9)")]
    wait_until(begun.exists)
    kernel.manager.interrupt_kernel()
    ended = kernel.ended(*requests)
    assert [each.status for each in ended] == ["error", "aborted"]
    assert ended[0].reply["ename"] == "KeyboardInterrupt"
    after = kernel.run(
        "import sys\nprint(sys.last_value.results[0].status, done)", "deploy('sleep 0.1; echo after')\ndone.clear()"
    )
    assert [each.text for each in after] == ["cancelled []\n", "after\n True\n"]


def test_a_question_is_asked_in_the_cell(kernel: FrontEnd, embedded: Fleet, tmp_path: Path) -> None:
    """A key's passphrase: it comes up while the run is waited for, is answered, and the run goes on."""
    key, host = tmp_path / "key", embedded.inventory["web1"]
    key.write_bytes(
        asyncssh.read_private_key(host.vars.identity_files[0]).export_private_key("openssh", passphrase="Quokka3")
    )
    key.chmod(0o600)
    options = {"known_hosts": host.vars.known_hosts, "identity_files": [str(key)]}
    request = kernel.client.execute(
        f"host = opskit.Host('locked', {host.address!r}, {host.port}, {host.user!r}, vars={options})\n"
        "deploy('sleep 0.1; echo in', opskit.Inventory([host]))\ndone.clear()"
    )
    question = kernel.client.get_stdin_msg(timeout=kernels.PATIENCE)["content"]
    assert (question["password"], str(key) in question["prompt"]) == (True, True)
    kernel.client.input("Quokka3")
    assert kernel.ended(request)[0].text == "in\n True\n"
