"""Leases: what was written down too long ago is not sent, for somebody else may have taken over."""

from __future__ import annotations

import pytest

import opskit
from opskit import Host, Inventory, shared
from opskit.errors import JournalError
from opskit.record import recorder
from opskit.record.standing import status
from opskit.testing import Reply, ScriptedTransport

HOSTS = Inventory([Host("a"), Host("b")])


@pytest.fixture(autouse=True)
def transport(monkeypatch: pytest.MonkeyPatch) -> ScriptedTransport:
    """Hosts that do everything well."""
    scripted = ScriptedTransport(lambda _host, _command: Reply())
    monkeypatch.setattr(shared, "transport", lambda *_: scripted)
    return scripted


def pause(patch: pytest.MonkeyPatch, lease: float = 25.0) -> None:
    """From now on each commit is followed by a pause of 26 s."""
    patch.setattr(shared.store(), "lease", lease)
    patch.setattr(recorder, "boot_clock", lambda: shared.store().written_at + 26.0)


def test_a_process_that_was_paused_before_it_sends_does_not(
    transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R15, F40: the rows say so, and the journal says that what was intended was not sent."""
    pause(monkeypatch)
    with pytest.raises(
        JournalError, match=r"lease lost on the journal .* 26 s ago, and was paused or cut off"
    ) as error:
        opskit.run("x", hosts=HOSTS)
    assert transport.sent == []
    rows: opskit.Results = error.value.results  # type: ignore[attr-defined]  # as every error of a run
    assert [row.status for row in rows] == ["not_started", "not_started"]
    (now,) = shared.store().transactions()
    accounts = shared.store().accounts(now.transaction.id)
    assert any(account.intents for account in accounts)
    assert ({status(account) for account in accounts}, now.state) == ({"not_started"}, "failed")


def test_neither_undos_nor_functions_follow_a_pause(
    transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R15: a rollback stops before what it would do next; a later one does it."""
    called: list[str] = []
    with opskit.transaction() as tx:
        opskit.run("x", hosts=HOSTS, undo="undo x", chunk=1)
        opskit.on_rollback(called.append, "called")
    with monkeypatch.context() as patch:
        pause(patch)
        with pytest.raises(JournalError, match="lease lost"):
            tx.rollback()
    assert (called, len(transport.sent)) == ([], 2)
    tx.rollback()
    assert (called, len(transport.sent)) == (["called"], 4)


def test_a_file_has_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who holds its lock lives, however long it was paused: nobody takes over from it."""
    pause(monkeypatch, shared.store().lease)
    assert opskit.run("x", hosts=HOSTS).ok
