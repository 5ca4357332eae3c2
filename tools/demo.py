"""Run a notebook without a browser, print what its cells show, and leave it as HTML: `demo.py NOTEBOOK FOLDER`."""
# ruff: noqa: INP001, T201 - a script, which prints

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from traitlets.config import Config

SECONDS_PER_CELL = 300
# Without it ipykernel 7 warns that other users of this machine could listen.
ENCRYPTED = Config(KernelManager={"transport_encryption": "auto"})
WIDGET = "application/vnd.jupyter.widget-view+json"


def main(notebook_path: Path, folder: Path) -> int:
    """Run and print the notebook, write its HTML also if a cell fails, and return the exit code."""
    if not notebook_path.is_file():
        print(f"demo: there is no notebook {notebook_path}", file=sys.stderr)
        return 2
    notebook = nbformat.read(notebook_path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        config=ENCRYPTED,
        resources={"metadata": {"path": str(notebook_path.parent)}},
        on_cell_executed=show_cell,
    )
    failure = ""
    # What a kernel says where no cell is: ipykernel 7 may end with a traceback of its own, which tells nobody anything.
    with tempfile.TemporaryFile("w+") as last_words:
        try:
            client.execute(stderr=last_words)
        except CellExecutionError as error:
            failure = f"the cell above failed with {error.ename}"
        except CellTimeoutError as error:
            failure = str(error).strip()
        except DeadKernelError as error:
            last_words.seek(0)
            failure = f"{str(error).strip()}\n{last_words.read()}".strip()

    folder.mkdir(parents=True, exist_ok=True)
    html_path = folder / notebook_path.with_suffix(".html").name
    html, _ = HTMLExporter().from_notebook_node(notebook, {"metadata": {"name": notebook_path.stem}})
    html_path.write_text(html, encoding="utf-8")
    print(f"The notebook with everything it shows: {html_path}")
    if failure:
        print(f"demo: {notebook_path}: {failure}", file=sys.stderr)
        return 1
    return 0


def show_cell(cell: Any, **_: Any) -> None:
    """Print a cell that ran as a terminal would show it: what was typed, then what came of it."""
    if cell.cell_type != "code":
        return
    prompt = f"In [{cell.execution_count}]: "
    continuation = "...: ".rjust(len(prompt))
    print(prompt + cell.source.replace("\n", "\n" + continuation))
    for output in cell.outputs:
        if output.output_type == "stream":
            print(output.text.rstrip("\n"))
        elif output.output_type == "error":
            print(f"{output.ename}: {output.evalue}")
        elif WIDGET not in output.data and "text/plain" in output.data:
            print(output.data["text/plain"])
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
