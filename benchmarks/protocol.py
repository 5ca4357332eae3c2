"""What the command and its contenders agree on: the work, the hosts, and how one asks and the other answers.

A contender is a process. Its argument is the path of a file with `Servers`. It imports and reads what it needs, says
who it is in a line of JSON, and from then on answers each line of its standard input, the name of a work, with a line
of JSON: what the work took, or the error that it ended in. This module needs Python alone, in any environment.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

FANOUT: Final = 64
"""How many hosts a contender works on at once."""


@dataclass(frozen=True, slots=True)
class Work:
    """A command for many hosts at once.

    Attributes:
        command: What each host runs.
        output: What each host must print.
        most_hosts: How many hosts run it at most, the first ones; None is all.
    """

    command: str
    output: str
    most_hosts: int | None = None


_HELLO: Final = Work("echo hello", "hello\n")
_LINE: Final = "x" * 99

WORKS: Final = {
    "cold": _HELLO,
    "warm": _HELLO,
    "megabyte": Work(f"yes {_LINE} | head -c 1000000", f"{_LINE}\n" * 10_000, most_hosts=50),
}
"""In the order in which they are done: cold opens the connections, warm and megabyte use them."""


@dataclass(frozen=True, slots=True)
class Servers:
    """The hosts of a run and how they let us in; all texts are paths but `user`.

    Attributes:
        hosts: Address and port of each.
    """

    hosts: Sequence[tuple[str, int]]
    user: str
    known_hosts: str
    identity_file: str
    inventory: str

    @classmethod
    def read(cls, path: Path) -> Servers:
        """Read what `write` wrote."""
        content = json.loads(path.read_text())
        return cls(**{**content, "hosts": [(address, port) for address, port in content["hosts"]]})

    def write(self, path: Path) -> None:
        """Leave it where contenders find it."""
        path.write_text(json.dumps(asdict(self)))


@dataclass(frozen=True, slots=True)
class Measured:
    """What one work took a contender once, in seconds.

    Attributes:
        cpu: Of its process and of those that it started and that have ended.
        wall: By the clock.
        hosts: On how many hosts.
    """

    cpu: float
    wall: float
    hosts: int


Run = Callable[[str, int], Sequence[str]]
"""Runs a command on the first so many hosts, over the connections that it has, and gives what each one printed."""


class WrongOutputError(Exception):
    """A host printed something else than it had to."""


def serve(prepare: Callable[[Servers], Run], version: str, *, keeps_connections: bool = True) -> None:
    """Be a contender until standard input ends.

    Args:
        prepare: Makes ready, off the clock, all that can be before the first connection.
        version: What is measured, such as `paramiko 5.1.0`.
        keeps_connections: Whether a command can use the connection of the last one.
    """
    servers = Servers.read(Path(sys.argv[1]))
    run = prepare(servers)
    _say({"version": version, "keeps_connections": keeps_connections})
    for line in sys.stdin:
        try:
            _say(asdict(_measured(run, WORKS[line.strip()], len(servers.hosts))))
        except Exception as error:  # noqa: BLE001 - whatever a library raises is this contender's answer
            _say({"error": f"{type(error).__name__}: {error}"})


def _measured(run: Run, work: Work, hosts: int) -> Measured:
    count = min(hosts, work.most_hosts or hosts)
    cpu, wall = _cpu_seconds(), time.perf_counter()
    outputs = run(work.command, count)
    measured = Measured(_cpu_seconds() - cpu, time.perf_counter() - wall, count)
    wrong = [output for output in outputs if output != work.output]
    if wrong or len(outputs) != count:
        said = f"; one printed {len(wrong[0])} characters: {wrong[0][:40]!r}" if wrong else ""
        raise WrongOutputError(f"{len(outputs) - len(wrong)} of {count} hosts printed what they had to{said}")
    return measured


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
