"""A live process is asked, from a shell, to roll back what it is at; with real processes and real OpenSSH."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from opskit.cli import main
from tests.system import test_crashes
from tests.system.crashing import LIVE
from tests.system.ground import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.test_crashes import GroundIn

pytestmark = pytest.mark.system
ground_in = test_crashes.ground_in

FEW_SECONDS = 30
FEW = ["h1", "h2", "h3"]


def test_what_a_live_process_is_at_is_undone_from_a_shell(
    ground_in: GroundIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By that process, with the function that only it can call; who waits there is told who asked, and why."""
    ground = ground_in(tmp_path)
    monkeypatch.setenv("OPSKIT_JOURNAL", ground.journal)
    with ground.start(LIVE, hosts=FEW) as child, ground.store() as store:
        try:
            assert child.stdout is not None
            found = child.stdout.readline().strip()
            wait_until(lambda: len([one for one in store.accounts(found) if one.intents]) == 2 * len(FEW), FEW_SECONDS)
            code = main(["rollback", found[:22], "-y", "--json", "--why", "disk full"])
            said, errors = child.communicate(timeout=FEW_SECONDS)
        finally:
            child.kill()
        stands, moves = store.now(found), store.moves(found)
    assert (code, child.returncode, errors) == (0, 0, "")
    told = [message for name, _, message in caplog.record_tuples if name == "opskit"]
    assert told == [f"opskit: asking {stands.owner} to roll back transaction {found}; waiting"]
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert {row["status"] for row in rows} == {"ok"}
    assert [row["host"] for row in rows] == ["h3", "h1", "h2", ""]
    asked = f"asked by {stands.owner.who} on {stands.owner.machine}: disk full"
    assert said.splitlines() == [
        "the function",
        f"transaction {found} was to be rolled back, {asked}",
        "rolled back: 4 of 4 undone",
    ]
    assert (stands.state, moves[1].why, moves[1].owner) == ("rolled_back", asked, moves[0].owner)
    assert ground.changed() == []
    for host in FEW:
        assert [f"{line.what} {line.event}" for line in ground.log(host)] == [
            "do start", "do end", "undo start", "undo end",
        ]  # fmt: skip
