"""`make demo` runs a notebook as a person would, and says plainly how that went."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.system

DEMO = Path(__file__).parents[2] / "tools" / "demo.py"


def demo(folder: Path, *cells: str) -> subprocess.CompletedProcess[str]:
    """Run the demo on a notebook of these cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbformat.write(notebook, folder / "tour.ipynb")
    command: list[str | Path] = [sys.executable, DEMO, folder / "tour.ipynb", folder / "build"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_demo_prints_what_each_cell_showed_and_leaves_its_html(tmp_path: Path) -> None:
    """Sources, values and printed text appear in order, and the last line names the HTML of the same."""
    done = demo(tmp_path, "'web1: ' + 'up'", "print('web2: down')\nNone")

    html = tmp_path / "build" / "tour.html"
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "In [1]: 'web1: ' + 'up'",
        "'web1: up'",
        "",
        "In [2]: print('web2: down')",
        "   ...: None",
        "web2: down",
        "",
        f"The notebook with everything it shows: {html}",
    ]
    assert "web2: down" in html.read_text()


def test_demo_ends_at_the_first_cell_that_fails_without_a_traceback(tmp_path: Path) -> None:
    """A failing cell ends the run with exit code 1 and the error's message alone; the HTML is left all the same."""
    done = demo(tmp_path, "raise ValueError('web1 is on fire')", "print('never')")

    assert done.returncode == 1
    assert "ValueError: web1 is on fire\n" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "never" not in done.stdout
    assert done.stderr.endswith("the cell above failed with ValueError\n")
    assert (tmp_path / "build" / "tour.html").is_file()
