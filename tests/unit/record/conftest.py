"""A journal of its own for each test, and a second owner of the same journal."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from opskit.record.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "state" / "journal.db"


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal to copy, which is faster than to make one."""
    path = tmp_path_factory.mktemp("empty") / "journal.db"
    Store(path).close()
    return path


@pytest.fixture
def store(journal: Path, empty: Path) -> Iterator[Store]:
    """A store, and by it an owner."""
    journal.parent.mkdir(mode=0o700)
    shutil.copy(empty, journal)
    made = Store(journal)
    yield made
    made.close()


@pytest.fixture
def other(store: Store) -> Iterator[Store]:
    """Another owner, as in another process: locks are told apart by who opened the file."""
    made = Store(store.path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Store]]:
    """Two owners of one journal, for tests with many examples."""
    path = tmp_path_factory.mktemp("shared") / "journal.db"
    stores = Store(path), Store(path)
    yield stores
    for made in stores:
        made.close()
