"""Older kernels can be had beside the environment's own."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from tests.system import kernels

pytestmark = pytest.mark.system
kernel6 = kernels.kernel6


def test_kernel6_is_ipykernel_6_on_this_environments_packages(kernel6: str) -> None:
    """The kernel runs ipykernel 6, and imports the environment's other packages."""
    cell = nbformat.v4.new_code_cell("import ipykernel, ipywidgets; print(ipykernel.__version__, ipywidgets.__name__)")
    notebook = nbformat.v4.new_notebook(cells=[cell])

    NotebookClient(notebook, kernel_name=kernel6).execute()

    assert notebook.cells[0].outputs[0].text == "6.31.0 ipywidgets\n"
