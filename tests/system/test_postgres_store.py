"""The cases of the store that ask for no special database, on PostgreSQL: the same tests, with other fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from opskit.record.store import Store
from tests.system import postgres
from tests.unit.record import test_claiming, test_locking, test_outlines, test_owner, test_requests, test_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

    from tests.system.postgres import Server

pytestmark = pytest.mark.system
server = postgres.server
database_name = postgres.database_name
journal = postgres.journal

for cases in (test_claiming, test_locking, test_outlines, test_requests, test_store):
    globals().update({name: case for name, case in vars(cases).items() if name.startswith("test_")})
test_a_fork_has_a_store_of_its_own = test_owner.test_a_fork_has_a_store_of_its_own
test_who_leaves_something_open_has_not_ended = test_owner.test_who_leaves_something_open_has_not_ended


@pytest.fixture
def store(journal: URL) -> Iterator[Store]:
    """A store, and by it an owner."""
    made = Store(journal)
    yield made
    made.close()


@pytest.fixture
def other(store: Store, journal: URL) -> Iterator[Store]:
    """Another owner, as in another process."""
    made = Store(journal)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[tuple[Store, Store]]:
    """Two owners of one journal, for tests with many examples."""
    url = server.url(server.journal())
    stores = Store(url), Store(url)
    yield stores
    for made in stores:
        made.close()
