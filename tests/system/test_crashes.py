"""Owners that are killed, recovered by others, on real OpenSSH; the hosts' own logs say what really ran. F30, F38, F39.

`OPSKIT_ROUNDS=200` makes many rounds of it, `OPSKIT_SEED` repeats the kills of a round that failed.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest

import opskit
import opskit.journal
from opskit import shared
from opskit.errors import RollbackError
from tests.system import test_sudo
from tests.system.crashing import DEPLOY, HOSTS, RACE, SEED, Ground, raced
from tests.system.ground import first, python, said_by, send, sessions, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opskit.results import Results
    from tests.system.conftest import StartSshd
    from tests.system.sshd import SshdFleet
    from tests.system.test_sudo import Ground as Users

    GroundIn = Callable[[Path], Ground]

pytestmark = pytest.mark.system
ground = test_sudo.ground

NEWEST: Final = ["h5", "h6"]
"""The last chunk, which is undone first."""

AT_ONCE: Final = 4
"""Rounds at once: most of a round is waiting."""


def rounds(default: int) -> int:
    """How many rounds are made."""
    return int(os.environ.get("OPSKIT_ROUNDS") or default)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    """A journal of the test's own."""
    path = tmp_path / "state" / "journal.db"
    with opskit.configure(journal=str(path)):
        yield path
        if path.exists():
            shared.store().close()


@pytest.fixture
def ground_in(sshd_fleet: SshdFleet) -> GroundIn:
    """Makes hosts in their first state in a folder, with a journal there."""
    return lambda folder: Ground(sshd_fleet, folder, str(folder / "state" / "journal.db"))


def state(transaction: str) -> str:
    """What the journal calls a transaction."""
    return opskit.journal.show(transaction).now.state


def rows_of(error: RollbackError) -> Results:
    """The rows of the undos."""
    assert error.results is not None
    return error.results


@contextmanager
def background(work: Callable[[], object]) -> Iterator[None]:
    """Do this in a thread while the block runs."""
    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(work)
        yield
        doing.result()


# kill -9 at random moments


def test_whoever_is_killed_at_any_moment_is_recovered_by_another_process(ground_in: GroundIn, tmp_path: Path) -> None:
    """F30, C8, R1, R2, R11: every host is back in its first state, and the journal accounts for all that hosts ran."""
    calm = ground_in(tmp_path / "calm")
    with calm.start(DEPLOY) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        begin = time.monotonic()
        lines = len(child.stdout.read().splitlines())
    assert calm.changed() == HOSTS
    usual = time.monotonic() - begin

    def killed_and_recovered(number: int) -> list[str]:
        ground, chance = ground_in(tmp_path / str(number)), random.Random(f"{SEED} {number}")
        with ground.rescuer() as rescuer:
            kill(ground, chance, usual, lines)
            ground.wait_for_deaths()
            said = rescuer.said()
        return [f"round {number} of seed {SEED}: {wrong}" for wrong in wrong_in(ground, said)]

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [wrong for told in pool.map(killed_and_recovered, range(rounds(4))) for wrong in told]
    assert not found, "\n".join(found)


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


def end(process: subprocess.Popen[str]) -> None:
    """Kill it, and wait until the kernel has let go of all that it held."""
    process.kill()
    process.wait()


def wrong_in(ground: Ground, said: list[str]) -> list[str]:
    """What is wrong after a recovery."""
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


# What runs still when its owner is dead


def test_an_undo_waits_until_the_host_has_ended_what_it_undoes(ground_in: GroundIn, tmp_path: Path) -> None:
    """F30: also where that is deaf to TERM, and whoever recovers is there at once."""
    ground = ground_in(tmp_path / "ground")
    ground.halt("do")
    with ground.rescuer() as rescuer, ground.start(DEPLOY, hosts=["h1"]) as child:
        wait_until(lambda: ground.log("h1"), 60)  # a Python starts
        end(child)
        assert rescuer.said() == []
    assert [line.event for line in ground.log("h1")] == ["start", "start", "end"]


def test_whoever_rolls_back_is_killed_too(ground_in: GroundIn, tmp_path: Path) -> None:
    """F39, R10, R11: a third process undoes the rest; an undo that was lost is tried again, when it is surely ended."""
    ground = ground_in(tmp_path / "ground")
    (transaction,) = ground.abandoned()
    ground.halt("undo")
    with ground.rescuer() as second, ground.rescuer() as third:
        second.begin()
        wait_until(lambda: all(len(ground.log(host)) == 3 for host in NEWEST))
        end(second.process)
        ground.wait_for_deaths()
        third.begin()
        wait_until(lambda: all(len(ground.log(host)) > 3 for host in NEWEST))
        ground.go("undo")
        said = third.said()
    wait_until(lambda: not ground.processes())
    assert (said, ground.changed(), ground.differences([transaction])) == ([], [], [])
    for account in ground.accounts(transaction):
        lost = account.entry.host in NEWEST
        attempts = [intent.attempt for intent in account.undo_intents]
        ended = [(outcome.attempt, outcome.status) for outcome in account.undo_outcomes]
        assert (attempts, ended) == (([1, 2], [(2, "ok")]) if lost else ([1], [(1, "ok")]))


def test_two_who_roll_back_at_once_undo_everything_once(ground_in: GroundIn, tmp_path: Path) -> None:
    """F38, C6, R10: one of two processes does it, the other is told who."""
    ground = ground_in(tmp_path / "ground")
    transactions = ground.abandoned(rounds(4), hosts=["h1", "h2"])
    with ground.start(RACE, "a", "b", *transactions) as one, ground.start(RACE, "b", "a", *transactions) as other:
        by = dict(raced(child.communicate(timeout=600)[0]) for child in (one, other))
    for number, transaction in enumerate(transactions):
        (winner,) = [pid for pid, told in by.items() if told[number] == "done"]
        (refusal,) = [told[number] for told in by.values() if told[number] != "done"]
        assert re.search(rf"{transaction} (is being|was) rolled back by \S+ on \S+ \(process {winner}\)", refusal)
    undone = Counter(
        (line.transaction, host)
        for host in ("h1", "h2")
        for line in ground.log(host)
        if (line.what, line.event) == ("undo", "start")
    )
    assert undone == dict.fromkeys(product(transactions, ("h1", "h2")), 1)
    assert (ground.differences(transactions), ground.changed()) == ([], [])


# Lines that break, undos that fail


@pytest.fixture
def two(sshd: StartSshd) -> tuple[SshdFleet, SshdFleet]:
    """Two hosts of servers of their own."""
    return sshd(), sshd()


def test_an_undo_of_an_unreachable_host_is_offered_again(
    two: tuple[SshdFleet, SshdFleet], journal: Path, tmp_path: Path
) -> None:
    """R12: what could be undone is, once; when the host is back the rest is."""
    stays, goes = two
    hosts = opskit.Inventory([first(stays, name="stays"), first(goes, name="goes")])
    with opskit.transaction() as tx:
        opskit.run("true", hosts=hosts, undo=f"echo {{{{ server.name }}}} >>{tmp_path}/undone")
    goes.kill()
    with pytest.raises(RollbackError, match=r"1 of 2 undone; goes: .*; to try again: opskit rollback") as error:
        tx.rollback()
    assert [(row.host, row.status) for row in rows_of(error.value)] == [("goes", "unreachable"), ("stays", "ok")]
    assert state(tx.id) == "rollback_partial"
    assert opskit.journal.unfinished().transaction.tolist() == [tx.id]
    goes.start()
    assert [(row.host, row.status) for row in opskit.journal.rollback(tx.id)] == [("goes", "ok")]
    assert (tmp_path / "undone").read_text().split() == ["stays", "goes"]
    assert state(tx.id) == "rolled_back"
    assert opskit.journal.unfinished().empty


def test_an_undo_that_fails_keeps_no_other_from_running(sshd_fleet: SshdFleet, journal: Path, tmp_path: Path) -> None:
    """R12: neither those of its host nor those of others; it alone is tried again."""
    both = opskit.load_inventory(sshd_fleet.inventory_path).select(hosts=["h1", "h2"])
    with opskit.use(both), opskit.transaction() as tx:
        opskit.run("true", undo=f"echo first {{{{ server.name }}}} >>{tmp_path}/undone")
        opskit.run("true", undo=f"[ {{{{ server.name }}}} = h2 ] || [ -e {tmp_path}/mended ]")
    with pytest.raises(RollbackError, match="3 of 4 undone; h1: exit code 1"):
        tx.rollback()
    assert sorted((tmp_path / "undone").read_text().splitlines()) == ["first h1", "first h2"]
    assert state(tx.id) == "rollback_partial"
    (tmp_path / "mended").touch()
    (again,) = opskit.journal.rollback(tx.id)
    assert (again.host, again.status, again.attempt) == ("h1", "ok", 2)
    assert state(tx.id) == "rolled_back"


@pytest.mark.parametrize("once", [False, True])
def test_an_undo_whose_end_was_lost_is_sent_again_unless_it_must_not_be(
    sshd: StartSshd, journal: Path, tmp_path: Path, *, once: bool
) -> None:
    """R11: it is unknown; the next rollback repeats it as attempt 2, but leaves `undo_once` to a person."""
    fleet = sshd()
    undo = f"echo start >>{tmp_path}/undone; [ -e {tmp_path}/mended ] || {{ : >{tmp_path}/lost; exec sleep 100; }}"
    with opskit.transaction() as tx:
        opskit.run("true", hosts=opskit.Inventory([first(fleet)]), undo=undo, undo_once=once)

    def lose() -> None:
        wait_until((tmp_path / "lost").exists)
        (tmp_path / "mended").touch()
        send(signal.SIGKILL, sessions(fleet))

    with background(lose), pytest.raises(RollbackError, match="0 of 1 undone; h1: ") as error:
        tx.rollback()
    assert [row.status for row in rows_of(error.value)] == ["unknown"]
    if once:
        with suppress(RollbackError):
            opskit.journal.rollback(tx.id)
        assert (state(tx.id), len((tmp_path / "undone").read_text().split())) == ("rollback_partial", 1)
    else:
        (again,) = opskit.journal.rollback(tx.id)
        assert (again.status, again.attempt) == ("ok", 2)
        assert (state(tx.id), len((tmp_path / "undone").read_text().split())) == ("rolled_back", 2)


def test_an_undo_does_not_overtake_a_command_whose_line_broke(sshd: StartSshd, journal: Path, tmp_path: Path) -> None:
    """R12: its owner lives and rolls back at once, but the host needs a moment to notice and to end it."""
    fleet, log = sshd(), tmp_path / "log"
    do = f"trap '' TERM; echo $$ >{tmp_path}/did; sleep 1.5; echo did >>{log}"
    undo = f"! [ -d /proc/$(cat {tmp_path}/did) ] && echo undone >>{log}"

    def lose() -> None:
        wait_until(lambda: (tmp_path / "did").exists() and (tmp_path / "did").read_text())
        send(signal.SIGKILL, sessions(fleet))

    with pytest.raises(opskit.CommandError) as error, background(lose), opskit.transaction() as tx:
        opskit.run(do, hosts=opskit.Inventory([first(fleet)]), undo=undo)
    assert [row.status for row in error.value.results] == ["unknown"]
    assert state(tx.id) == "rolled_back"
    assert log.read_text().split()[-1] == "undone"


# By the journal alone

RECOVERED: Final = """
    import opskit.journal
    opskit.configure(journal=sys.argv[1])
    (transaction,) = opskit.journal.unfinished().transaction
    try:
        rows = opskit.journal.rollback(transaction)
    except opskit.RollbackError as error:
        rows = error.results
    for row in rows:
        print(row.host, row.status, row.error)
"""


def test_undos_run_as_their_steps_did_by_the_journal_alone(ground: Users, journal: Path, tmp_path: Path) -> None:
    """N9: another process, which has no inventory, undoes with the step's user, sudo, env and cwd."""
    script = """
        import os, signal
        journal, *way, file = sys.argv[1:]
        opskit.configure(journal=journal)
        name, address, port, user, known_hosts, identity = way
        trust = {"known_hosts": known_hosts, "identity_files": [identity]}
        opskit.use(opskit.Inventory([opskit.Host(name, address, int(port), "nobody", vars=trust)]))
        with opskit.transaction():
            opskit.run(
                "true", user=user, sudo=True, env={"WORD": "two words"}, cwd="/usr/share",
                undo="echo $(id -un) $SUDO_USER $WORD $(pwd) >{{ file }}",
            )
            os.kill(os.getpid(), signal.SIGKILL)
    """
    host, file = ground.host(ground.free), tmp_path / "undone"
    way = (host.name, host.address, host.port, host.user, host.vars["known_hosts"], host.vars["identity_files"][0])
    with python(script, journal, *way, file) as child:
        assert child.communicate(timeout=60) == ("", "")
    assert said_by(RECOVERED, journal) == ["h1 ok None"]
    assert file.read_text() == f"root {ground.free} two words /usr/share\n"


@pytest.mark.parametrize("source", ["env", "value"])
def test_secrets_of_undos_are_had_anew_by_who_undoes(
    sshd_fleet: SshdFleet, journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """R21: from the environment; one that was given as a value is asked for by name, and refused if nobody can answer.

    It stands nowhere in the journal.
    """
    script = """
        import os, signal
        journal, inventory, source, file = sys.argv[1:]
        opskit.configure(journal=journal)
        opskit.use(inventory)
        how = {"env": "OPSKIT_TEST_TOKEN"} if source == "env" else {"value": os.environ["OPSKIT_TEST_TOKEN"]}
        token = opskit.secret(**how)
        with opskit.transaction():
            opskit.run("true", hosts="h1", undo="printf %s {{ token }} >{{ file }}")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    monkeypatch.setenv("OPSKIT_TEST_TOKEN", "quite secret")
    file = tmp_path / "undone"
    with python(script, journal, sshd_fleet.inventory_path, source, file) as child:
        assert child.communicate(timeout=60) == ("", "")
    (told,) = said_by(RECOVERED, journal)
    if source == "env":
        assert (told, file.read_text()) == ("h1 ok None", "quite secret")
    else:
        assert re.match(
            r"h1 not_started .*nobody can answer here: the secret that was given as a value to .* undo;", told
        )
        assert not file.exists()
    assert not any(b"quite secret" in kept.read_bytes() for kept in journal.parent.glob("journal*"))
