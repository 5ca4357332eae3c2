"""The command's side of a contender: starts its process, asks it for one work after the other, and ends it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.protocol import Measured

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[1]

PATIENCE: Final = 300.0
"""Seconds until a contender that says nothing has failed."""

LONGEST_ERROR: Final = 500
"""In characters; some libraries print all hosts into theirs."""


class ContenderError(Exception):
    """A contender could not start, raised, hung, ended, or gave a wrong output; says which."""


class Child:
    """A contender that is ready: imports are done, files are read, nothing is connected.

    Attributes:
        version: What is measured, such as `paramiko 5.1.0`.
        keeps_connections: Whether it has a warm command.
    """

    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self._process = process
        self._errors = errors
        said = self._heard()
        self.version: str = said["version"]
        self.keeps_connections: bool = said["keeps_connections"]

    def measured(self, work: str) -> Measured:
        """Let it do one work, and verify what came back; raises ContenderError."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and that is heard
            self._process.stdin.write(f"{work}\n".encode())
        return Measured(**self._heard())

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise ContenderError(f"it said nothing for {PATIENCE:g} s")
        line = self._process.stdout.readline()
        if not line:
            last = self._errors.read_text(errors="replace").strip().splitlines()[-1:]
            raise ContenderError(f"its process ended: {''.join(last)[:LONGEST_ERROR] or 'without a word'}")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise ContenderError(said["error"][:LONGEST_ERROR])
        return said


@contextmanager
def started(name: str, python: str, servers: Path) -> Iterator[Child]:
    """Start a contender; its connections end with its process, when the block is left.

    Args:
        name: Its module in `benchmarks.contenders`.
        python: The interpreter of its environment.
        servers: The file with `Servers`.

    Raises:
        ContenderError: It did not get ready.
    """
    with tempfile.TemporaryDirectory(prefix="opskit-benchmark-") as home:
        errors = Path(home, "errors")
        with (
            errors.open("wb") as stderr,
            subprocess.Popen(  # noqa: S603 - our own modules
                [python, "-m", f"benchmarks.contenders.{name}", str(servers)],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=ROOT,
                env={"PATH": os.environ["PATH"], "HOME": home},  # no configuration, agent or setting of the user's
            ) as process,
        ):
            try:
                yield Child(process, errors)
            finally:
                process.kill()
