"""One JupyterLab for all browser tests, one Chromium for each file, and for each test a browser window of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import Lab, Server, serve
from tests.needs import need_module, need_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

CHROMIUM_FLAGS = [
    "--no-sandbox",  # Chromium refuses to run as root with one
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def jupyterlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve a JupyterLab of this environment, which knows nothing of the user's settings."""
    need_module("jupyterlab")
    with serve(tmp_path_factory.mktemp("jupyterlab")) as server:
        yield server


# No wider scope: Playwright occupies the thread with an event loop, and other folders' tests run loops of their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium without a window."""
    need_module("playwright")
    program = need_program("chromium", "chromium")
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=CHROMIUM_FLAGS) as browser,
    ):
        yield browser


@pytest.fixture
def lab(jupyterlab: Server, chromium: Browser) -> Iterator[Lab]:
    """Give a browser at JupyterLab; afterwards its kernels end, and the theme is the light one again."""
    with chromium.new_context(viewport={"width": 1280, "height": 900}) as context:
        lab = Lab(jupyterlab, context)
        yield lab
        lab.theme("light")
        lab.shut_down_kernels()
