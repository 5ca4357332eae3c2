"""What every unit test starts from: no secret of another test is masked, nobody observes, and the journal is empty."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from opskit import masking, observers, shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", None)
    monkeypatch.setattr(observers, "_observers", [])


@pytest.fixture(autouse=True)
def _own_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OPSKIT_JOURNAL", str(tmp_path / "journal.db"))
    yield
    shared._writers.clear()
    if (record := sys.modules.get("opskit.record.store")) is not None:
        for store in list(record._stores.values()):
            if store.path.is_relative_to(tmp_path):
                store.close()
