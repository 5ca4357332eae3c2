"""What every unit test starts from: no secret of another test is masked, and nobody observes."""

from __future__ import annotations

import pytest

from opskit import masking, observers


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_known", None)
    monkeypatch.setattr(observers, "_observers", [])
