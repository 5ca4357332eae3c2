"""The browser harness itself: it runs cells of a real JupyterLab and reads what a person sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.browser.lab import Lab

pytestmark = pytest.mark.browser


def test_run_all_shows_each_cells_value(lab: Lab) -> None:
    """Every cell's value stands below it once the notebook is idle."""
    notebook = lab.open(lab.write("values", ["1 + 1", "print('first\\nsecond')", "None"]))

    notebook.run_all()
    notebook.wait_idle()

    assert [notebook.output(cell) for cell in range(3)] == ["2", "first\nsecond", ""]


def test_run_cell_runs_that_cell_alone(lab: Lab) -> None:
    """A cell can be run by itself, and waiting for it waits until it has really ended."""
    notebook = lab.open(lab.write("alone", ["1 + 1", "import time; time.sleep(0.5); 'late'"]))

    notebook.run_cell(1)
    notebook.wait_idle()

    assert [notebook.output(0), notebook.output(1)] == ["", "'late'"]


def test_dark_theme_darkens_the_page(lab: Lab) -> None:
    """A notebook that is opened after the theme was chosen has its colours."""
    lab.theme("dark")
    notebook = lab.open(lab.write("dark", ["1 + 1"]))
    notebook.run_all()
    notebook.wait_idle()

    notebook.screenshot("harness-dark")

    assert notebook.page.locator("body").get_attribute("data-jp-theme-light") == "false"
