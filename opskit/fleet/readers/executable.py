"""Inventories that a program prints: Ansible's dynamic inventories, run once with `--list`."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Final

from opskit.errors import InventoryError
from opskit.fleet.readers.ansible_document import ansible_inventory
from opskit.fleet.readers.json import parse

if TYPE_CHECKING:
    import pathlib

    from opskit.fleet.inventory import Inventory

TIMEOUT: Final = 60.0
"""How many seconds a program may take."""


def is_executable(file: pathlib.Path) -> bool:
    """Whether this is a file that may be run."""
    return file.is_file() and os.access(file, os.X_OK)


def read(file: pathlib.Path) -> Inventory:
    """Run `FILE --list`, without a shell and without input, in the working folder, and read the JSON that it prints.

    Vars of hosts are those in `_meta.hostvars`. The program is never run with `--host NAME`, Ansible's way before
    `_meta`: the hosts of one that knows only this have the vars of their groups.

    Raises:
        InventoryError: It can't be run, takes longer than `TIMEOUT` (and is ended, with all that it started), fails,
            or prints something else.
    """
    arguments = [str(file.absolute()), "--list"]
    command = shlex.join(arguments)
    # Files, not pipes: what the program leaves running may hold a pipe open for ever.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        try:
            exit_code = _run(arguments, output, complaints)
        except subprocess.TimeoutExpired:
            why = f"it took longer than {TIMEOUT:g} seconds and was ended"
            raise InventoryError(f"`{command}`: {why}; {_last_line(complaints)}") from None
        except OSError as error:
            hint = "does its first line name an interpreter that is there, as #!/bin/sh does?"
            raise InventoryError(f"`{command}` can't be run: {error.strerror}; {hint}") from error
        ending = f"exit code {exit_code}" if exit_code >= 0 else f"ended by signal {-exit_code}"
        if exit_code:
            raise InventoryError(f"`{command}`: {ending}; {_last_line(complaints)}")
        output.seek(0)
        try:
            document, place = parse(output.read().decode("utf-8-sig"), f"output of `{command}`")
        except UnicodeDecodeError as error:
            raise InventoryError(f"output of `{command}`: not UTF-8; {ending}; {_last_line(complaints)}") from error
        except InventoryError as error:
            raise InventoryError(f"{error}; {ending}; {_last_line(complaints)}") from error.__cause__
    return ansible_inventory(document, place)


def _run(arguments: list[str], output: IO[bytes], complaints: IO[bytes]) -> int:
    process = subprocess.Popen(  # noqa: S603 - the file that the user named, without a shell
        arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints, start_new_session=True
    )
    try:
        return process.wait(TIMEOUT)
    finally:
        if process.poll() is None:  # a timeout, or an interrupt, which a session of its own does not get
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _last_line(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), None)
    return "nothing on stderr" if last is None else f"last line of stderr: {last}"
