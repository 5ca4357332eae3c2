"""A real JupyterLab, and its notebooks as a person meets them in a browser; the fixtures stand in conftest.py."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import nbformat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playwright.sync_api import BrowserContext, Locator, Page

SCREENSHOTS: Final = Path(__file__).parents[2] / "build" / "screenshots"
READY_SECONDS: Final = 60.0
THEMES: Final = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

# The page's own calls decide when a cell has run, so that no test waits for the look of a prompt.
PANEL: Final = "window.jupyterapp.shell.currentWidget"
READY: Final = f"""() => {{
    const context = window.jupyterapp && {PANEL} && {PANEL}.sessionContext;
    return context && context.isReady && context.session && context.session.kernel.status === "idle";
}}"""
IDLE: Final = f"() => !window.running && {PANEL}.sessionContext.session.kernel.status === 'idle'"
RUN: Final = f"""([command, cell]) => {{
    if (cell !== null) {PANEL}.content.activeCellIndex = cell;
    window.running = (window.running || 0) + 1;
    window.jupyterapp.commands.execute(command).finally(() => {{ window.running -= 1; }});
}}"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running JupyterLab server: `jupyter_path` may get further kernels (`kernels/NAME`) at any time."""

    url: str
    token: str
    notebooks: Path
    settings: Path
    jupyter_path: Path


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Run JupyterLab of this environment on 127.0.0.1, with everything that it reads and writes below `folder`."""
    server = Server(
        url=f"http://127.0.0.1:{_free_port()}",
        token=secrets.token_hex(16),
        notebooks=folder / "notebooks",
        settings=folder / "config" / "lab" / "user-settings" / "@jupyterlab",
        jupyter_path=folder / "share",
    )
    server.notebooks.mkdir()
    # Cells out of sight would not be in the page, and what they show could not be read.
    _write_json(server.settings / "notebook-extension" / "tracker.jupyterlab-settings", {"windowingMode": "none"})
    news = {"@jupyterlab/apputils-extension:announcements": True}
    _write_json(folder / "config" / "labconfig" / "page_config.json", {"disabledExtensions": news})
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"),
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={server.url.rpartition(':')[2]}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={server.notebooks}",
        "--ServerApp.terminals_enabled=False",
    ]
    environment = os.environ | {
        "JUPYTER_TOKEN": server.token,
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTER_PATH": str(server.jupyter_path),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    log = folder / "jupyterlab.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_it_answers(server, process, log)
        yield server
    finally:
        process.terminate()  # ends the kernels, too
        process.wait(READY_SECONDS)


class Lab:
    """A browser at a JupyterLab server."""

    def __init__(self, server: Server, context: BrowserContext) -> None:
        self.server = server
        self._context = context

    def write(self, name: str, cells: Sequence[str], kernel: str = "python3") -> str:
        """Write a notebook of code cells, and return its path as `open` takes it."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells],
            metadata={"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
        )
        path = f"{name}.ipynb"
        nbformat.write(notebook, self.server.notebooks / path)
        return path

    def open(self, path: str, *, waits: bool = True) -> Notebook:
        """Open a notebook of the server's folder in a page of its own, and wait until its kernel is idle, or don't."""
        page = self._context.new_page()
        page.goto(f"{self.server.url}/doc/tree/{path}?reset&token={self.server.token}")
        if waits:
            page.wait_for_function(READY, timeout=READY_SECONDS * 1000)
        return Notebook(page)

    def theme(self, name: Literal["light", "dark"]) -> None:
        """Choose the colours of the notebooks that are opened from now on."""
        _write_json(self.server.settings / "apputils-extension" / "themes.jupyterlab-settings", {"theme": THEMES[name]})

    def shut_down_kernels(self) -> None:
        """End the kernels of all notebooks."""
        api = f"{self.server.url}/api/sessions"
        authorization = {"Authorization": f"token {self.server.token}"}
        for session in self._context.request.get(api, headers=authorization).json():
            self._context.request.delete(f"{api}/{session['id']}", headers=authorization)


class Notebook:
    """An open notebook; cells are counted from 0."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def run_all(self) -> None:
        """Start all cells, as "Run All Cells" of the menu does."""
        self.page.evaluate(RUN, ["notebook:run-all-cells", None])

    def run_cell(self, cell: int) -> None:
        """Start one cell, as Ctrl-Enter does."""
        self.page.evaluate(RUN, ["notebook:run-cell", cell])

    def interrupt(self) -> None:
        """Interrupt the kernel, as the stop button does."""
        self.page.evaluate(RUN, ["notebook:interrupt-kernel", None])

    def save(self) -> None:
        """Save the notebook's file."""
        self.page.evaluate(f"() => {PANEL}.context.save()")

    def restart(self) -> None:
        """Restart the kernel, as its menu does once that is confirmed."""
        self.page.evaluate(f"() => {PANEL}.sessionContext.session.kernel.restart()")

    def reload(self) -> None:
        """Save the notebook's file, load the page anew, and wait until it has found its kernel again."""
        self.save()
        self.page.reload()
        self.page.wait_for_function(READY, timeout=READY_SECONDS * 1000)

    def wait_idle(self, seconds: float = 30.0) -> None:
        """Wait until every started cell has ended and the kernel is idle."""
        self.page.wait_for_function(IDLE, timeout=seconds * 1000)

    def cell(self, cell: int) -> Locator:
        """Everything of a cell: its input, its outputs, their widgets."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(cell)

    def output(self, cell: int) -> str:
        """Return the text that a person reads below a cell, without the prompts."""
        area = self.cell(cell).locator(".jp-Cell-outputArea > .jp-OutputArea-child > .jp-OutputArea-output")
        return "\n".join(text.rstrip("\n") for text in area.all_inner_texts())

    def screenshot(self, name: str) -> Path:
        """Keep a picture of the page in build/screenshots."""
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path


def _wait_until_it_answers(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    request = urllib.request.Request(f"{server.url}/api/status", headers={"Authorization": f"token {server.token}"})
    end = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(request, timeout=READY_SECONDS):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text(errors='replace')}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
