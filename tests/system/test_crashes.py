"""Owners that are killed, recovered by others, on real OpenSSH; the hosts' own logs say what really ran. F30, F38, F39.

`OPSKIT_ROUNDS=200` makes many rounds of it, `OPSKIT_SEED` repeats the kills of a round that failed.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest

from tests.system.crashing import ABANDON, DEPLOY, HOSTS, RACE, RECOVER, SEED, Ground, raced
from tests.system.ground import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.sshd import SshdFleet

pytestmark = pytest.mark.system

AT_ONCE: Final = 4
"""Rounds at once: most of a round is waiting."""


def rounds(default: int) -> int:
    """How many rounds are made."""
    return int(os.environ.get("OPSKIT_ROUNDS") or default)


# kill -9 at random moments


def test_whoever_is_killed_at_any_moment_is_recovered_by_another_process(
    sshd_fleet: SshdFleet, tmp_path: Path
) -> None:
    """F30, C8, R1, R2, R11: every host is back in its first state, and the journal accounts for all that hosts ran."""
    begin, calm = time.monotonic(), Ground(sshd_fleet, tmp_path / "calm")
    with calm.start(DEPLOY) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        begin = time.monotonic()
        lines = len(child.stdout.read().splitlines())
    assert calm.changed() == HOSTS
    usual = time.monotonic() - begin

    def killed_and_recovered(number: int) -> list[str]:
        ground, chance = Ground(sshd_fleet, tmp_path / str(number)), random.Random(f"{SEED} {number}")
        kill(ground, chance, usual, lines)
        return [f"round {number} of seed {SEED}: {said}" for said in recovered(ground)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [said for told in pool.map(killed_and_recovered, range(rounds(5))) for said in told]
    assert found == []


def kill(ground: Ground, chance: random.Random, usual: float, lines: int) -> None:
    """Kill a deployment: anywhere in its usual duration, or right where it begins or ends to write."""
    near, moment = chance.random() < 0.5, chance.randint(1, lines)
    with ground.start(DEPLOY) as child:
        assert child.stdout is not None
        for _ in range(moment if near else 1):
            child.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            child.wait(chance.uniform(0, 0.004 if near else usual))
        child.kill()


def recovered(ground: Ground) -> list[str]:
    """Recover it in another process; returns what is wrong afterwards."""
    said = ground.said(RECOVER)
    wait_until(lambda: not ground.processes())
    with ground.store() as store:
        states = {now.transaction.id: now.state for now in store.transactions()}
    changed = [] if "succeeded" in states.values() else ground.changed()
    return [
        *(f"{transaction} is {state}" for transaction, state in states.items() if state == "rollback_partial"),
        *(f"{host} is not in its first state" for host in changed),
        *ground.differences(list(states)),
        *(f"said {line!r}" for line in said if "incomplete" in line),
    ]
