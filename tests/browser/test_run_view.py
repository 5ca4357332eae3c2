"""The view of a run in JupyterLab, as a person meets it: watched, pressed, reloaded, read when its kernel is gone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.system.ground import processes, unique_sleep, wait_until
from tests.system.kernels import write_kernel6

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator

    from tests.browser.lab import Lab, Notebook

pytestmark = pytest.mark.browser

UNDO = "  undo: rm {{ folder }}/{{ server.name }}"
SLOW_UNDO = "  undo: sleep 1; rm {{ folder }}/{{ server.name }}"


def begun(lab: Lab, name: str, folder: Path, *cells: str, hosts: int = 3, kernel: str = "python3") -> Notebook:
    """A notebook with an embedded fleet that is up, and `folder` in a variable; `cells` follow from 1 on."""
    begin = f"%load_ext opskit\n%opskit fleet up {hosts}\nfolder = {str(folder)!r}"
    notebook = lab.open(lab.write(name, [begin, *cells], kernel))
    notebook.run_cell(0)
    notebook.wait_idle(60)
    return notebook


def button(notebook: Notebook, cell: int, words: str) -> Locator:
    """The button of that name below a cell."""
    return notebook.cell(cell).get_by_role("button", name=words, exact=True)


def said(notebook: Notebook, cell: int, words: str, seconds: float = 10) -> None:
    """Wait until the words stand below a cell."""
    found = notebook.cell(cell).locator(".jp-Cell-outputArea").get_by_text(words).filter(visible=True)
    found.first.wait_for(timeout=seconds * 1000)


def hover_text(cell: Locator) -> str:
    """What a cell of the grid says under the pointer."""
    cell.hover()
    return str(cell.evaluate("cell => getComputedStyle(cell, '::after').content"))


def test_a_run_is_watched(lab: Lab, tmp_path: Path) -> None:
    """Bars move, cells say state and last line, a click shows one host's lines, then its rows; Export writes them.

    A run shorter than a moment shows its table alone.
    """
    until = "until [ -e {{ folder }}/{{ server.name }} ]; do sleep 0.1; done"
    run = f"%%parallel --chunk 2\necho line 1 of {{{{ server.name }}}}\n{until}\necho line 2 of {{{{ server.name }}}}"
    notebook = begun(lab, "watched", tmp_path, run, f"import os\nos.chdir({str(tmp_path)!r})\n%parallel true")
    notebook.run_cell(2)
    notebook.run_cell(1)
    said(notebook, 1, "2 running")
    assert "3 ok" in notebook.output(2)
    assert notebook.cell(2).locator(".opskit-view, .opskit-static").count() == 0
    grid = notebook.cell(1).locator(".opskit-grid button")
    assert grid.all_inner_texts() == ["app1", "web1", "db1"]
    wait_until(lambda: "line 1 of app1" in hover_text(grid.nth(0)), 5)
    assert "running" in hover_text(grid.nth(0))
    assert "not started" in hover_text(grid.nth(2))
    grid.nth(1).click()
    button(notebook, 1, "Cancel web1").wait_for()
    lines = notebook.cell(1).locator(".opskit-lines")
    wait_until(lambda: "of web1" in lines.inner_text() and "of app1" not in lines.inner_text(), 5)
    for host in ("app1", "web1"):
        (tmp_path / host).touch()
    said(notebook, 1, "chunk 2/2")
    notebook.screenshot("run-view")
    (tmp_path / "db1").touch()
    notebook.wait_idle()
    assert notebook.cell(1).locator(".opskit-progress").filter(visible=True).count() == 1
    assert "line 2 of web1" in notebook.cell(1).locator(".opskit-view .opskit-results").inner_text()
    button(notebook, 1, "All hosts").click()
    notebook.cell(1).locator(".opskit-view .opskit-results").wait_for(state="detached")
    for _ in range(2):
        button(notebook, 1, "Export").click()
        button(notebook, 1, "Markdown").dblclick()  # writes one file
        said(notebook, 1, "Written:")
        button(notebook, 1, "Markdown").wait_for(state="hidden")
    wait_until(lambda: len(list(tmp_path.glob("opskit-*.md"))) == 2, 5)
    assert "line 2 of db1" in next(tmp_path.glob("opskit-*.md")).read_text()


def test_cancel_and_rollback_while_the_cell_waits(lab: Lab, tmp_path: Path) -> None:
    """Cancel ends a run within 2 s, 5 s for a command that traps TERM; what was printed is kept. So it can one host's.

    Rollback cancels what runs, for a run, for tasks, and with `--bg`: what was done is undone, remote work has ended.
    """
    sleep, argument = unique_sleep()
    do = f"touch {{{{ folder }}}}/{{{{ server.name }}}}; {sleep}"
    run = f"when True: {do}\n{UNDO}\nelse: true"
    tasks = (
        "import opskit\nwith opskit.parallelize(name='both') as session:\n"
        f"    session.run(lambda: opskit.run({do!r}, undo='rm {{{{ folder }}}}/{{{{ server.name }}}}'), name='touch')"
    )
    cancelled = (f"%parallel echo begun; exec {sleep}", f"%parallel trap '' TERM; {sleep}; true", "%parallel sleep 3")
    undone = (f"%%parallel\n{run}", tasks, f"%%parallel --bg -o later\n{run}")
    notebook = begun(lab, "during", tmp_path, *cancelled, *undone)
    for cell, seconds in ((1, 2), (2, 5)):
        notebook.run_cell(cell)
        wait_until(lambda: len(processes(argument)) >= 3, 10)
        button(notebook, cell, "Cancel").click()
        notebook.wait_idle(seconds + 1)
        assert not processes(argument)
        assert "Cancelled: the run was cancelled" in notebook.output(cell)
        assert "3 cancelled" in notebook.output(cell)
    assert "begun" in notebook.output(1)
    notebook.run_cell(3)
    notebook.cell(3).locator(".opskit-grid button").nth(1).click()
    button(notebook, 3, "Cancel web1").click()
    notebook.wait_idle(10)
    assert re.search(r"1 cancelled.*2 ok", notebook.output(3), re.DOTALL)
    for cell in (4, 5, 6):
        notebook.run_cell(cell)
        wait_until(lambda: len(processes(argument)) == 3, 10)
        button(notebook, cell, "Rollback").click()
        said(notebook, cell, "It still runs, and is cancelled first")
        button(notebook, cell, "Yes, roll back").click()
        said(notebook, cell, "3 of 3 undone")
        notebook.wait_idle(10)
        assert not processes(argument)
        assert not list(tmp_path.iterdir())
        assert ("Cancelled" in notebook.output(cell)) == (cell != 6)


def test_a_rollback_asks_first_and_works_after_a_reload(lab: Lab, tmp_path: Path) -> None:
    """It says what it undoes; "No" undoes nothing; after a reload of the page it works still, and then it is gone.

    Its bar moves. A double click asks once. What ran while the
    page was loaded ends there, too, though the static display does not hear of it.
    """
    do = "touch {{ folder }}/{{ server.name }}; sleep .5"
    run = f"%%parallel --chunk 2\nwhen True: {do}\n{SLOW_UNDO}\nelse: true"
    notebook = begun(lab, "undone", tmp_path, run, "%opskit journal", "%parallel --bg -o later sleep 60")
    notebook.run_cell(1)
    notebook.run_cell(3)
    notebook.wait_idle()
    said(notebook, 3, "3 running")
    button(notebook, 1, "Rollback").dblclick()
    said(notebook, 1, "This undoes 3 of 3 steps")
    button(notebook, 1, "No").click()
    button(notebook, 1, "No").wait_for(state="detached")
    assert len(list(tmp_path.iterdir())) == 3
    notebook.reload()
    button(notebook, 1, "Rollback").click()
    button(notebook, 1, "Yes, roll back").dblclick()
    notebook.cell(1).get_by_role("progressbar", name="rolling back: 1 of 3 ended").wait_for(timeout=10_000)
    said(notebook, 1, "3 of 3 undone")
    assert not list(tmp_path.iterdir())
    button(notebook, 1, "Rollback").wait_for(state="hidden")
    button(notebook, 3, "Cancel").click()
    said(notebook, 3, "3 cancelled")
    notebook.run_cell(2)
    notebook.wait_idle()
    assert "the Rollback button" in notebook.output(2)


def test_what_to_do_is_said_when_the_kernel_is_gone(lab: Lab, tmp_path: Path) -> None:
    """After a restart the buttons are dead, and a line says what undoes the run; a reload shows no broken widgets.

    Nor does a notebook that is not trusted. Of two views in one cell each has its own buttons below it.
    """
    two = "import opskit\nfor name in ('first', 'second'):\n    opskit.run('sleep 1', name=name, wait=False)"
    notebook = begun(lab, "gone", tmp_path, f"%%parallel\nwhen True: sleep 1\n{UNDO}", two)
    notebook.run_cell(2)
    notebook.run_cell(1)
    notebook.wait_idle()
    displays = notebook.cell(2).locator(".jp-Cell-outputArea > .jp-OutputArea-child")
    wait_until(lambda: displays.locator(".opskit-title").count() == 2, 10)
    static = [displays.nth(number).locator(".opskit-static").count() for number in range(4)]
    assert (displays.count(), static) == (4, [1, 0, 1, 0])
    titles = displays.locator(".opskit-title").filter(visible=True).all_inner_texts()
    assert sorted(title.split()[0] for title in titles) == ["first", "second"]
    assert notebook.cell(1).locator(".opskit-title").filter(visible=True).count() == 0
    line = notebook.cell(1).get_by_text("The kernel behind this view has restarted")
    assert not line.is_visible()
    notebook.restart()
    line.wait_for(timeout=10_000)
    assert "%opskit rollback" in notebook.output(1)
    notebook.reload()
    said(notebook, 1, "The buttons of this run are gone")
    assert "3 ok" in notebook.output(1)
    assert "model not found" not in notebook.output(1) + notebook.output(2)
    saved = nbformat.read(lab.server.notebooks / "gone.ipynb", 4)
    saved.cells.append(nbformat.v4.new_code_cell("'changed by somebody else'"))
    nbformat.write(saved, lab.server.notebooks / "untrusted.ipynb")
    untrusted = lab.open("untrusted.ipynb", waits=False)
    said(untrusted, 1, "3 ok", 60)
    said(untrusted, 1, "%opskit rollback")
    assert untrusted.output(1).count("%opskit rollback") == 1


def test_a_begun_transaction_has_one_view(lab: Lab, tmp_path: Path) -> None:
    """It shows what its cells did, and how much can be undone; its one Rollback undoes all of them."""
    do = f"%%parallel\nwhen True: touch {{{{ folder }}}}/{{{{ server.name }}}}\n{UNDO}\nelse: true"
    begin = '%opskit transaction begin "deploy v42"'
    notebook = begun(lab, "transaction", tmp_path, begin, do, "%parallel -r web echo reloaded", "%parallel sleep 1")
    for cell in (1, 2, 3, 4):
        notebook.run_cell(cell)
        notebook.wait_idle()
    said(notebook, 1, "transaction deploy v42")
    said(notebook, 1, "echo reloaded")
    notebook.save()
    saved = nbformat.read(lab.server.notebooks / "transaction.ipynb", 4)
    assert any("echo reloaded" in str(output.get("data")) for output in saved.cells[1].outputs)
    said(notebook, 1, "3 of 7 steps can be undone")
    assert button(notebook, 4, "Rollback").count() == 0
    button(notebook, 1, "Rollback").click()
    said(notebook, 1, "4 steps without an undo")
    notebook.screenshot("transaction-view")
    button(notebook, 1, "Yes, roll back").click()
    said(notebook, 1, "3 of 3 undone")
    assert not list(tmp_path.iterdir())


def test_what_failed_is_retried_below(lab: Lab, tmp_path: Path) -> None:
    """The failed host alone runs again, in a view within the view; what it came to stands below it.

    A question on the way is asked in the view; "No" leaves all as it was. A double click retries once.
    """
    fails = "test {{ server.name }} != web1 -o -e {{ folder }}/mended && sleep 1"
    run = f"%parallel --confirm echo >>{{{{ folder }}}}/tries; {fails}"
    notebook = begun(lab, "retried", tmp_path, run)
    notebook.run_cell(1)
    notebook.cell(1).locator(".jp-Stdin-input").fill("y")
    notebook.cell(1).locator(".jp-Stdin-input").press("Enter")
    notebook.wait_idle()
    (tmp_path / "mended").touch()
    button(notebook, 1, "Retry failed").click()
    button(notebook, 1, "No").click()
    said(notebook, 1, "not confirmed: nothing was sent")
    button(notebook, 1, "Retry failed").dblclick()
    button(notebook, 1, "Yes").click()
    notebook.cell(1).locator(".opskit-view .opskit-view .opskit-grid button").wait_for()
    wait_until(lambda: "1 ok" in notebook.cell(1).locator(".opskit-view .opskit-results").inner_text(), 10)
    button(notebook, 1, "Retry failed").wait_for(state="hidden")
    said(notebook, 1, "retried: 1 ok")
    assert len((tmp_path / "tries").read_text()) == 4


def test_an_older_kernel_says_that_clicks_come_later(lab: Lab, tmp_path: Path) -> None:
    """It hears none while a cell runs, and the view names the interrupt; afterwards its buttons work."""
    run = f"%%parallel\nwhen True: touch {{{{ folder }}}}/{{{{ server.name }}}}; sleep 3\n{UNDO}"
    kernel = write_kernel6(lab.server.jupyter_path)
    notebook = begun(lab, "older", tmp_path, run, kernel=kernel)
    notebook.run_cell(1)
    said(notebook, 1, "interrupt the kernel (stop button, or I I) to cancel")
    notebook.wait_idle()
    button(notebook, 1, "Rollback").click()
    button(notebook, 1, "Yes, roll back").click()
    said(notebook, 1, "3 of 3 undone")
    assert not list(tmp_path.iterdir())


HOSTILE = r"""%%parallel
printf '<img src=//127.0.0.1:9/x onerror=alert(1)><b class=evil>x</b></style></textarea>"}*{display:none}\n'
printf '\033]0;title\007\033[2J\033[31mred\033[0m \342\200\256rtl $x^2$\n'
head -c 10000000 /dev/zero | tr '\0' x
sleep 3"""


def test_what_hosts_print_stays_text(lab: Lab, tmp_path: Path) -> None:
    """S1, S2: HTML, styles, escapes, 10 MB in a line make no element, dialog or request; it fits a narrow page."""
    lab.theme("dark")
    notebook = begun(lab, "hostile", tmp_path, HOSTILE)
    requests: list[str] = []
    notebook.page.on("request", lambda request: requests.append(request.url))
    notebook.page.on("dialog", lambda dialog: requests.append(dialog.message))
    notebook.page.set_viewport_size({"width": 600, "height": 900})
    notebook.run_cell(1)
    cell = notebook.cell(1).locator(".opskit-grid button").first
    wait_until(lambda: "xxx" in hover_text(cell), 10)
    notebook.screenshot("run-view-dark-narrow")
    cell.click()
    notebook.wait_idle(60)
    wait_until(lambda: "<b class=evil>" in notebook.output(1), 10)
    assert notebook.page.locator(".evil").count() == 0
    assert notebook.page.locator(".jp-OutputArea img").count() == 0
    assert not [url for url in requests if not url.startswith(lab.server.url)]
    box = notebook.cell(1).locator(".opskit-view").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 600
