"""Clears away what notebook clients leave behind; a file gets it by `close_loops = loops.close_loops` and `LEAKS`."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING

import pytest
from IPython.core.async_helpers import get_asyncio_loop
from jupyter_core.utils import ensure_event_loop

if TYPE_CHECKING:
    from collections.abc import Iterator

# jupyter_client and IPython never close the event loops on which they wait.
LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def close_loops() -> Iterator[None]:
    """Close them after a file's tests, lest tests of other files be blamed."""
    yield
    for kept in (ensure_event_loop(), get_asyncio_loop()):
        kept.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
