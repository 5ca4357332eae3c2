"""A person at JupyterLab: who interrupts a run on real hosts, and who is asked for a secret in a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.needs import need_program
from tests.system.ground import processes, unique_sleep, wait_until
from tests.system.sshd import SshdFleet

if TYPE_CHECKING:
    from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

HOSTS = 50


def test_an_interrupt_ends_the_work_on_fifty_real_hosts(lab: Lab) -> None:
    """The kernel menu's interrupt leaves no `sleep` behind; the table is shown, and later cells do not run."""
    need_program("sshd", "openssh-server")
    sleep, argument = unique_sleep()
    with SshdFleet(HOSTS) as fleet:
        begin = f"%load_ext opskit\n%opskit use {fleet.inventory_path}"
        command = f"%parallel -o rows sh -c '{sleep} & {sleep}'"
        notebook = lab.open(lab.write("interrupt", [begin, command, "'not reached'", "len(rows.where('cancelled'))"]))
        notebook.run_all()
        wait_until(lambda: len(processes(argument)) == 2 * HOSTS, 60)
        notebook.interrupt()
        notebook.wait_idle(30)
        wait_until(lambda: not processes(argument), 5)
        assert f"{HOSTS} cancelled" in notebook.output(1)
        assert "KeyboardInterrupt" in notebook.output(1)
        assert notebook.output(2).strip() == ""
        notebook.run_cell(3)
        notebook.wait_idle(30)
        assert notebook.output(3).strip() == str(HOSTS)


def test_a_secret_is_asked_for_in_the_cell_and_never_shown(lab: Lab) -> None:
    """An input field hides what is typed; the hosts get it, and the notebook, as it is saved, does not hold it."""
    cells = [
        "%load_ext opskit\n%opskit fleet up 2",
        'password = opskit.secret(prompt="database password")',
        "%parallel -o rows echo {{ password }}",
        "rows.df.stdout.tolist()",
    ]
    path = lab.write("secret", ["import opskit\n" + cells[0], *cells[1:]])
    notebook = lab.open(path)
    notebook.run_all()
    field = notebook.cell(2).locator("input.jp-Stdin-input")
    field.wait_for(timeout=60_000)
    assert field.get_attribute("type") == "password"
    assert "database password" in notebook.cell(2).inner_text()
    field.fill("correct horse battery")
    field.press("Enter")
    notebook.wait_idle(30)
    assert notebook.output(3).count("********") == 2
    notebook.save()
    saved = (lab.server.notebooks / path).read_text()
    assert "********" in saved
    assert "correct horse" not in saved
    assert "correct horse" not in notebook.page.content()
