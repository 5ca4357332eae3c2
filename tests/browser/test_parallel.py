"""`%%parallel` as a person meets it: a notebook in JupyterLab, the embedded fleet, a page to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.lab import Lab

pytestmark = pytest.mark.browser

BEGIN = "%load_ext opskit\n%opskit fleet up 5"

ROUTED = """\
%%parallel --chunk 2 -o done
when in_('app'): sleep 1; echo "app on {{ server.name | raw }}"
when in_('web'):
    sleep 1
    echo web
else: echo '<b id="injected">bold</b> $x^2$'"""

FAILING = "%parallel -w app1,app2 -o bad [ {{ server.name }} = app1 ]"


def test_a_fleet_is_run_and_read(lab: Lab) -> None:
    """The page shows the table of a routed run; what hosts print stays text; a failed host stops "Run all"."""
    notebook = lab.open(lab.write("fleet", [BEGIN, ROUTED, "len(done.df)", FAILING, "'not reached'"]))
    notebook.run_all()
    notebook.wait_idle(60)
    table = notebook.output(1)
    assert "app on app1" in table
    assert "web" in table
    assert '<b id="injected">bold</b> $x^2$' in table
    assert notebook.page.locator("#injected").count() == 0
    assert notebook.output(2).strip() == "6"
    assert "CommandError" in notebook.output(3)
    assert "app2" in notebook.output(3)
    assert "Traceback" not in notebook.output(3)
    assert notebook.output(4).strip() == ""
    notebook.screenshot("parallel-light")


def test_progress_is_shown_while_it_runs(lab: Lab, tmp_path: Path) -> None:
    """A run that takes longer than a moment shows its chunks' bars, in one place, while it goes on."""
    until = "until [ -e {{ folder }}/{{ server.name }} -o -e {{ folder }}/all ]; do sleep 0.1; done"
    begin = f"{BEGIN}\nfolder = {str(tmp_path)!r}"
    notebook = lab.open(lab.write("progress", [begin, f"%parallel --chunk 2 {until}"]))
    notebook.run_cell(0)
    notebook.wait_idle(60)
    notebook.run_cell(1)
    progress = notebook.cell(1).locator(".opskit-progress:visible")
    progress.get_by_text("chunk 1/3").wait_for(timeout=15_000)
    for host in ("app1", "app2"):
        (tmp_path / host).touch()
    progress.get_by_text("chunk 2/3").wait_for(timeout=15_000)
    notebook.screenshot("progress")
    (tmp_path / "all").touch()
    notebook.wait_idle(60)
    assert progress.count() == 1
    assert "chunk 3/3" in progress.inner_text()


def test_the_table_reads_in_the_dark(lab: Lab) -> None:
    """The same table under the dark theme."""
    lab.theme("dark")
    notebook = lab.open(lab.write("dark-fleet", [BEGIN, ROUTED, FAILING]))
    notebook.run_all()
    notebook.wait_idle(60)
    assert "failed" in notebook.output(2)
    notebook.screenshot("parallel-dark")
