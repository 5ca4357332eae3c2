"""What the crash tests stand on: programs to be killed, hosts with a log of their own, and who compares it."""

from __future__ import annotations

import json
import os
import random
import secrets
from collections import Counter
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opskit.record.moves import OPEN
from opskit.record.places import placed
from opskit.record.standing import SURELY_NOT_SENT
from opskit.record.store import Store
from tests.system.ground import python, wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from opskit.record.facts import Account, Intent, Outcome
    from tests.system.sshd import SshdFleet

SEED: Final = int(os.environ.get("OPSKIT_SEED") or random.SystemRandom().randrange(10**6))
"""Where and when the kills fall; said by every test that fails."""

HOSTS: Final = ["h1", "h2", "h3", "h4", "h5", "h6"]
CHUNK: Final = 2

ACT: Final = """#!/bin/sh
# act TX do|undo HOST: changes what HOST links to, and says so in HOST's own log, each time in one write. It is deaf to
# TERM, so that it takes the host as long as it can to end it.
cd "${0%/*}" || exit 1
tx=$1 what=$2 host=$3
trap "" TERM
say() { flock "$host.lock" sh -c 'echo "$1" >>"$0"' "$host.log" "$tx $what $$ $1"; }
others=$(sed -n "s/^$tx .* \\([0-9]*\\) start$/\\1/p" "$host.log" 2>/dev/null)  # of others the numbers come again
say start
for other in $others; do
  case $(cat "/proc/$other/stat" 2>/dev/null) in "" | *") Z "*) ;; *) say "beside $other" ;; esac
done
sleep "0.$(($$ % 3))$(($$ % 7))"
until [ -e "$what.go" ]; do sleep 0.01; done
case $what in do) ln -sfn new "$host" ;; undo) ln -sfn old "$host" ;; esac
say end
"""

LONG: Final = bool(os.environ.get("OPSKIT_LONG"))
"""Whether leases, pauses and outages are as long as in earnest."""

LEASE: Final = 30.0 if LONG else 3.0
"""Seconds after which an owner without a lock counts as dead, in these tests: many wait for it."""

_OPENED: Final = f"""
    import opskit.journal
    inventory, folder, hosts, chunk, journal = sys.argv[1:6]
    opskit.configure(journal=journal, yes=True)
    if "://" in journal:
        from opskit.record.postgres import database
        database.LEASE, database.MARGIN, database.BEAT = {LEASE}, {LEASE / 3}, {LEASE / 6}
"""

_DEPLOYS: Final = (
    _OPENED
    + """
    act = folder + "/act"
    def deploy(tx):
        opskit.use(inventory)
        opskit.run(
            "{{ act }} {{ tx.id }} do {{ server.name }}", undo="{{ act }} {{ tx.id }} undo {{ server.name }}",
            hosts=hosts.split(","), chunk=int(chunk),
        )
"""
)

DEPLOY: Final = (
    _DEPLOYS
    + """
    from opskit.record.store import Store
    write = Store.write
    def told(store, facts):
        print("commit", flush=True)
        lost = write(store, facts)
        print("committed", flush=True)
        return lost
    Store.write = told
    print("begun", flush=True)
    with opskit.transaction("deploy") as tx:
        deploy(tx)
    print("ended", flush=True)
"""
)
"""Deploys on all hosts in one transaction, and says when it commits."""

ABANDON: Final = (
    _DEPLOYS
    + """
    import contextvars, os, signal
    for _ in range(int(sys.argv[6])):
        tx = opskit.transaction("deploy")
        context = contextvars.copy_context()
        context.run(tx.__enter__)
        context.run(deploy, tx)
        print(tx.id, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
)
"""Deploys so many times, and dies before any of these transactions ends."""

LIVE: Final = (
    _DEPLOYS
    + """
    import logging, opskit.answering
    opskit.answering.LOOK_SECONDS = 0.05
    logging.disable()
    try:
        with opskit.transaction("deploy") as tx:
            opskit.on_rollback(print, "the function", flush=True)
            deploy(tx)
            print(tx.id, flush=True)
            opskit.run("sleep 60", hosts=hosts.split(","))
    except opskit.Cancelled as error:
        print(*error.__notes__, sep="\\n")
"""
)
"""Deploys, and goes on with what takes long; says that its function was called, and what it is told in the end."""

RECOVER: Final = (
    _DEPLOYS
    + """
    import os, time
    opskit.journal.unfinished()
    print("ready", flush=True)
    while not os.path.exists(sys.argv[6]):
        time.sleep(0.001)
    for transaction in opskit.journal.unfinished().transaction:
        try:
            opskit.journal.rollback(transaction)
        except opskit.RollbackError as error:
            print(error)
"""
)
"""Rolls back what it finds unfinished, as soon as there is a file; says what it could not undo."""

RACE: Final = (
    _DEPLOYS
    + """
    import json, os
    from pathlib import Path
    own, other, *transactions = sys.argv[6:]
    opskit.journal.unfinished()
    told = []
    for transaction in transactions:
        Path(folder, f"{transaction}.{own}").touch()
        while not os.path.exists(f"{folder}/{transaction}.{other}"):
            os.sched_yield()
        try:
            opskit.journal.rollback(transaction)
            told.append("done")
        except opskit.RollbackError as error:
            told.append(str(error))
    print(json.dumps([os.getpid(), told]))
"""
)
"""Rolls these back, each at the same moment as another process; says its own number, and what it was told of each."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a host has logged: a command of this transaction, `do` or `undo`, by this process.

    Attributes:
        event: start, end, or `beside PID` where another one was still running.
    """

    transaction: str
    what: str
    pid: str
    event: str


@dataclass(frozen=True, slots=True)
class Rescuer:
    """A process that recovers what is unfinished, once it is told to begin."""

    process: subprocess.Popen[str]
    _signal: Path

    def begin(self) -> None:
        """Let it begin."""
        self._signal.touch()

    def said(self) -> list[str]:
        """What it said in the end, which must be a good one."""
        self.begin()
        out, err = self.process.communicate(timeout=60)
        assert (self.process.returncode, err) == (0, "")
        return out.splitlines()


class Ground:
    """Hosts in their first state, and a journal.

    Args:
        fleet: The hosts.
        folder: Where they are.
        journal: As the setting names it.

    Attributes:
        folder: Has `act`, and for each host its link and its log.
        journal: As given.
    """

    def __init__(self, fleet: SshdFleet, folder: Path, journal: str) -> None:
        self.folder = folder
        self.journal = journal
        self._inventory = fleet.inventory_path
        folder.mkdir(exist_ok=True)
        (folder / "act").write_text(ACT)
        (folder / "act").chmod(0o755)
        for host in HOSTS:
            (folder / host).symlink_to("old")
        self.go("do", "undo")

    def go(self, *what: str) -> None:
        """Let commands (`do`) and undos on the hosts come to their end."""
        for one in what:
            (self.folder / f"{one}.go").touch()

    def halt(self, *what: str) -> None:
        """Let these wait from now on, until they may go on or are killed."""
        for one in what:
            (self.folder / f"{one}.go").unlink()

    def start(self, program: str, *arguments: object, hosts: list[str] = HOSTS) -> subprocess.Popen[str]:
        """Start one of the programs."""
        return python(program, self._inventory, self.folder, ",".join(hosts), CHUNK, self.journal, *arguments)

    @contextmanager
    def rescuer(self) -> Iterator[Rescuer]:
        """A process that is ready to recover what it finds unfinished, when it is told to."""
        signal = self.folder / f"signal_{secrets.token_hex(4)}"
        with self.start(RECOVER, signal) as child:
            assert child.stdout is not None
            try:
                assert child.stdout.readline() == "ready\n", child.communicate()
                yield Rescuer(child, signal)
            finally:
                child.kill()

    def abandoned(self, count: int = 1, hosts: list[str] = HOSTS) -> list[str]:
        """The ids of new transactions whose owner died when all was done and known."""
        with self.start(ABANDON, count, hosts=hosts) as child:
            out, err = child.communicate(timeout=60)
        assert (child.returncode, err) == (-9, "")
        self.wait_for_deaths()
        return [line for line in out.splitlines() if line.isalnum()]

    def store(self) -> closing[Store]:
        """The journal, to be looked at."""
        return closing(Store(placed(self.journal)))

    def wait_for_deaths(self) -> None:
        """Return when the journal takes all those for dead who have something unfinished."""
        with self.store() as store:
            wait_until(lambda: not any(now.owner.alive for now in store.transactions(states=OPEN)), LEASE + 10)

    def accounts(self, transaction: str) -> list[Account]:
        """What the journal says of a transaction."""
        with self.store() as store:
            return store.accounts(transaction)

    def log(self, host: str) -> list[Line]:
        """What a host has logged."""
        file = self.folder / f"{host}.log"
        return [Line(*line.split(" ", 3)) for line in file.read_text().splitlines()] if file.exists() else []

    def changed(self) -> list[str]:
        """The hosts that are not in their first state."""
        return [host for host in HOSTS if (self.folder / host).readlink() != Path("old")]

    def processes(self) -> list[int]:
        """What runs still on the hosts; zombies don't count."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{self.folder}/act".encode() in (process / "cmdline").read_bytes():
                    found.append(int(process.name))
        return found

    def differences(self, transactions: list[str]) -> list[str]:
        """Where the hosts' logs and the journal contradict each other, in words."""
        found = []
        accounts = {
            (transaction, account.entry.host): account
            for transaction in transactions
            for account in self.accounts(transaction)
        }
        for host in HOSTS:
            lines = self.log(host)
            strangers = {line.transaction for line in lines if (line.transaction, host) not in accounts}
            found += [f"{host} ran {stranger}, of which the journal does not know" for stranger in strangers]
            for transaction in transactions:
                if account := accounts.get((transaction, host)):
                    found += _contradictions(account, [line for line in lines if line.transaction == transaction])
        return found


def _contradictions(account: Account, lines: list[Line]) -> list[str]:
    of = {what: [line for line in lines if line.what == what] for what in ("do", "undo")}
    found = [
        *_uncounted("do", account.intents, account.outcomes, of["do"]),
        *_uncounted("undo", account.undo_intents, account.undo_outcomes, of["undo"]),
        *(f"{line.what} {line.pid} ran {line.event}" for line in lines if line.event.startswith("beside")),
    ]
    order = [line.what for line in lines]
    if "undo" in order and "do" in order[order.index("undo") :]:
        found.append("the undo overtook what it undoes")
    log = "; ".join(f"{line.what} {line.pid} {line.event}" for line in lines)
    return [f"{account.entry.host}: {what} [{log}]" for what in found]


def _uncounted(what: str, intents: tuple[Intent, ...], outcomes: tuple[Outcome, ...], lines: list[Line]) -> list[str]:
    """Each start has an intent, each that ended well has ended once, and nothing started that surely was not sent."""
    events = Counter(line.event for line in lines)
    ended_well = sum(outcome.status == "ok" for outcome in outcomes)
    not_sent = sum(outcome.status in SURELY_NOT_SENT for outcome in outcomes)
    if ended_well <= events["end"] <= events["start"] <= len(intents) - not_sent:
        return []
    counted = f"{events['start']} starts and {events['end']} ends"
    return [f"{what}: {len(intents)} intents, {ended_well} ended well, {not_sent} not sent, but {counted}"]


def raced(out: str) -> tuple[int, list[str]]:
    """What a racing process has said: its number, and what it was told of each transaction."""
    pid, told = json.loads(out.splitlines()[-1])
    return pid, told
