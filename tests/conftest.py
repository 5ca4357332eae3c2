"""What holds in every test: how Hypothesis draws its examples, that SIGINT interrupts, and a journal of its own."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("opskit", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("opskit")

# Tests interrupt themselves. Where a shell has begun them in the background, SIGINT would be ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _journal(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nobody's own journal is written, nor that of another test."""
    path = tmp_path_factory.getbasetemp() / f"journal-{next(_numbers)}" / "journal.db"
    monkeypatch.setenv("OPSKIT_JOURNAL", str(path))
    yield
    if (stores := sys.modules.get("opskit.record.store")) is not None:
        from opskit import shared

        for writer in shared._writers.values():
            writer.close()
        shared._writers.clear()
        for store in list(stores._stores.values()):
            store.close()
