"""Owners that are killed, and races, with the journal in PostgreSQL: the tests of test_crashes.py, with other fixtures.

Leases are of a few seconds here, since all wait for their end. `OPSKIT_ROUNDS=200` makes many rounds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

import opskit
from tests.system import postgres, test_asked_rollback, test_crashes
from tests.unit import test_transactions_stateful
from tests.unit.record.material import setting

if TYPE_CHECKING:
    from tests.system.postgres import Server

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("leases")]
server = postgres.server
leases = postgres.leases
ground_in = postgres.ground_in

test_whoever_is_killed = test_crashes.test_whoever_is_killed_at_any_moment_is_recovered_by_another_process
test_whoever_rolls_back_is_killed_too = test_crashes.test_whoever_rolls_back_is_killed_too
test_two_who_roll_back_at_once = test_crashes.test_two_who_roll_back_at_once_undo_everything_once
test_who_lives_is_asked = test_asked_rollback.test_what_a_live_process_is_at_is_undone_from_a_shell


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round waits for a lease to run out."""
    monkeypatch.setenv("OPSKIT_ROUNDS", os.environ.get("OPSKIT_ROUNDS", "2"))


def test_transactions_against_the_model(server: Server) -> None:
    """The model of transactions that holds for a file holds here."""
    with opskit.configure(journal=setting(server.url(server.journal()))):
        run_state_machine_as_test(
            test_transactions_stateful.Transactions,
            settings=settings(max_examples=10, stateful_step_count=20, deadline=None),
        )
