"""Measure opskit beside its peers on real OpenSSH servers: `python benchmarks/run.py`; see the README here."""
# ruff: noqa: T201 - a script, which prints

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout is measured, whichever is installed

from benchmarks import peers  # noqa: E402 - after the line above
from benchmarks.child import ContenderError, started  # noqa: E402 - as above
from benchmarks.protocol import WORKS, Servers  # noqa: E402 - as above
from benchmarks.report import YARDSTICK, Record  # noqa: E402 - as above
from tests.system.sshd import SshdFleet  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

CONTENDERS: Final = (YARDSTICK, "opskit", "unrecorded", "parallel_ssh", "fabric", "paramiko", "ssh")
PEERS: Final = {"parallel_ssh", "fabric", "paramiko"}
"""Those that live in the peers' environment."""

QUIET_SECONDS: Final = 60.0
"""How long the servers may take to end the sessions of a contender that is gone."""


def main() -> int:
    """Measure what the command line asks for, print it, and return the exit code: 1 if a contender failed."""
    asked = _asked()
    ours = sys.executable
    theirs = peers.python(ROOT / "build" / "benchmarks" / "peers") if PEERS & set(asked.only) else ours
    pythons = {name: theirs if name in PEERS else ours for name in asked.only}
    record = Record(_machine(asked.rounds))
    with SshdFleet(asked.hosts, LogLevel="QUIET") as fleet:
        servers = fleet.folder / "servers.json"
        _servers(fleet).write(servers)
        for number in range(1, asked.rounds + 1):
            for name, python in pythons.items():
                if name not in record.errors:
                    print(f"round {number} of {asked.rounds}: {name}", file=sys.stderr)
                    _measure(record, name, python, servers, asked.work)
                    _wait_until_quiet(fleet)
    print(record.as_text())
    if asked.json is not None:
        asked.json.write_text(json.dumps(record.as_json(), indent=1) + "\n")
    return 1 if record.errors else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure opskit beside its peers, as ratios to bare asyncssh.")
    parser.add_argument("--hosts", type=_count, default=200, help="how many; 200")
    parser.add_argument("--rounds", type=_count, default=5, help="how often each contender is measured, in turn; 5")
    parser.add_argument("--only", type=_some_of(CONTENDERS), default=CONTENDERS, help=f"of {','.join(CONTENDERS)}; all")
    parser.add_argument("--work", type=_some_of(WORKS), default=tuple(WORKS), help=f"of {','.join(WORKS)}; all")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where to write every figure")
    return parser.parse_args()


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    return int(text)


def _some_of(known: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
    """Read names with commas between them; they keep the order of what is known."""

    def chosen(text: str) -> tuple[str, ...]:
        named = set(text.split(","))
        if unknown := named.difference(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return tuple(name for name in known if name in named)

    return chosen


def _machine(rounds: int) -> dict[str, str | int]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": len(os.sched_getaffinity(0)),
        "Python": platform.python_version(),
        "rounds": rounds,
    }


def _servers(fleet: SshdFleet) -> Servers:
    hosts = [(host.address, host.port) for host in fleet.hosts]
    paths = map(str, (fleet.known_hosts, fleet.identity_file, fleet.inventory_path))
    return Servers(hosts, fleet.hosts[0].user, *paths)


def _measure(record: Record, name: str, python: str, servers: Path, works: Collection[str]) -> None:
    """Measure one round of one contender, in a new process; cold comes first, asked for or not."""
    work = "its start"
    try:
        with started(name, python, servers) as child:
            record.versions[name] = child.version
            if not child.keeps_connections:
                record.connects_anew.add(name)
            for work in WORKS:
                if work == "cold" or (work in works and (child.keeps_connections or work != "warm")):
                    measured = child.measured(work)
                    if work in works:
                        record.add(work, name, measured)
    except ContenderError as error:
        record.errors[name] = f"{work}: {error}"


def _wait_until_quiet(fleet: SshdFleet) -> None:
    """Wait until the servers have ended all sessions, which are no cost of who is next."""
    deadline = time.monotonic() + QUIET_SECONDS
    while len(fleet.processes()) > len(fleet.daemons):
        if time.monotonic() > deadline:
            raise TimeoutError(f"sessions of the last contender are still open after {QUIET_SECONDS:g} s")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
