"""A person at JupyterLab: who interrupts tasks that run side by side, and rolls a runbook back from a later cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.needs import need_program
from tests.system.ground import processes, unique_sleep, wait_until
from tests.system.sshd import SshdFleet

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

HOSTS = 3

TASKS = """\
def deploy(number):
    print("deploying", number)
    file = f"{folder}/{number}."
    opskit.run("echo new > {{ file }}{{ server.name }}", undo="rm {{ file }}{{ server.name }}")
    opskit.run(sleep)

with opskit.parallelize(2, name="deploy") as session:
    session.run(deploy, 1)
    session.run(deploy, 2)
"""


def test_an_interrupt_ends_and_undoes_all_tasks(lab: Lab, tmp_path: Path) -> None:
    """The kernel menu's interrupt ends the remote work of both tasks, undoes what they did, and is raised."""
    need_program("sshd", "openssh-server")
    sleep, argument = unique_sleep()
    with SshdFleet(HOSTS) as fleet:
        begin = f"import opskit\n%load_ext opskit\n%opskit use {fleet.inventory_path}\n"
        names = f"folder, sleep = {str(tmp_path)!r}, {sleep!r}"
        cells = [begin + names, TASKS, "'not reached'", "print(session.results)\n%opskit journal"]
        notebook = lab.open(lab.write("tasks", cells))
        notebook.run_all()
        wait_until(lambda: len(processes(argument)) == 2 * HOSTS, 60)
        assert len(list(tmp_path.iterdir())) == 2 * HOSTS
        notebook.interrupt()
        notebook.wait_idle(30)
        wait_until(lambda: not processes(argument), 5)
        assert not list(tmp_path.iterdir())
        assert "KeyboardInterrupt" in notebook.output(1)
        assert notebook.output(2).strip() == ""
        notebook.run_cell(3)
        notebook.wait_idle(30)
        shown = notebook.output(3)
    assert "2 cancelled" in shown
    assert "deploying 1" in shown
    assert "rolled back" in shown


def test_a_runbook_is_rolled_back_from_a_later_cell(lab: Lab, tmp_path: Path) -> None:
    """A failing cell leaves the transaction open and says so; `%opskit transaction rollback` undoes all its cells."""
    cells = [
        f"%load_ext opskit\n%opskit fleet up 2\nfolder = {str(tmp_path)!r}",
        '%opskit transaction begin "deploy v42"',
        "%%parallel\nwhen True: touch {{ folder }}/{{ server.name }}\n  undo: rm {{ folder }}/{{ server.name }}",
        "%parallel false",
        "'not reached'",
        "%opskit transaction rollback",
    ]
    notebook = lab.open(lab.write("runbook", cells))
    notebook.run_all()
    notebook.wait_idle(60)
    assert len(list(tmp_path.iterdir())) == 2
    assert "stays open" in notebook.output(3)
    assert notebook.output(4).strip() == ""
    notebook.run_cell(5)
    notebook.wait_idle(30)
    assert not list(tmp_path.iterdir())
    assert "2 ok" in notebook.output(5)
