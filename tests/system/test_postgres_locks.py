"""Locks and warnings in a journal that is shared, from what a user calls."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import opskit
from opskit.errors import HostsBusy
from opskit.record import keys
from opskit.record.store import Store
from tests.system import postgres
from tests.system.ground import wait_until
from tests.unit.record.material import TX, setting, transaction

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

pytestmark = pytest.mark.system
server = postgres.server
database_name = postgres.database_name
journal = postgres.journal

HERE = opskit.Host("here", address="local")


def test_others_are_warned_of_kept_off_and_let_in(
    journal: URL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run without a lock is warned beside it; one with a lock has to wait; each in its turn."""
    monkeypatch.setenv("OPSKIT_JOURNAL", setting(journal))
    wanted = {keys.of_host(HERE): HERE.name}
    with closing(Store(journal)) as theirs, opskit.use(opskit.Inventory([HERE])):
        theirs.lock(transaction(), wanted)
        (warning,) = opskit.plan("true").warnings
        assert f"({TX}) of boss on " in warning
        opskit.run("true")
        wait_until(lambda: TX in caplog.text)
        with pytest.raises(HostsBusy, match=rf"here is held by boss on .*\({TX}\)"), opskit.transaction(lock="hosts"):
            opskit.run("true")
        theirs.move(TX, "succeeded")
        with opskit.transaction(lock="hosts", wait_for_lock=5):
            opskit.run("true")
            with pytest.raises(HostsBusy):
                theirs.lock(transaction("again"), wanted)
        theirs.lock(transaction("again"), wanted)
