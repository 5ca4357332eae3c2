"""Inventories from files and programs: one module a format, imported when a file of that format is read."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from opskit import checks
from opskit.errors import InventoryError, did_you_mean
from opskit.rendering.escape import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    from opskit.fleet.inventory import Inventory

READERS: Final[Mapping[str, str]] = {
    ".yaml": "opskit.fleet.readers.yaml",
    ".yml": "opskit.fleet.readers.yaml",
    ".toml": "opskit.fleet.readers.toml",
    ".json": "opskit.fleet.readers.json",
    ".csv": "opskit.fleet.readers.csv",
    ".ini": "opskit.fleet.readers.ansible_ini",
    ".ssh_config": "opskit.fleet.readers.ssh_config",
}
"""The module that reads files of each suffix, by `read(text, path)`."""


def load_inventory(path: str | PathLike[str]) -> Inventory:
    """Read an inventory from a file, as its suffix says, or from a program.

    - .yaml .yml .toml .json: `hosts` by name or as a list, and `defaults`; or Ansible's groups
    - .ini: Ansible's. Its groups are roles here, also the groups above a host's own, but for `all` and `ungrouped`
    - .csv: a host in each row
    - `~/.ssh/config`, or another file called `ssh_config` or `NAME.ssh_config`: each name of a `Host` line without
      wildcards
    - a suffix for which an installed package has an entry point in the group `opskit.inventories`, such as
      `hcl = mypackage:read`, a callable that takes the path and returns an Inventory, hosts, or mappings with `name`,
      `address`, `port`, `user`, `roles` and vars
    - any other file that is executable: it is run as `FILE --list` in the working folder, for 60 seconds at most, and
      prints the JSON of Ansible's dynamic inventories

    Args:
        path: `~` is expanded; text must be UTF-8.

    Raises:
        InventoryError: This is no path, or the file can't be read or run, holds no hosts, or something in it can't be
            right; says where.
    """
    try:
        file = checks.path(path)
    except ValueError as error:
        raise InventoryError(f"load_inventory({path!r}): {error}") from None
    try:
        return _read(file)
    except InventoryError as error:
        error.args = (terminal(str(error)),)  # it may quote the file, and that may command a terminal
        raise


def _read(file: Path) -> Inventory:
    try:
        inventory = _hosts_of(file)
    except RecursionError as error:
        raise InventoryError(f"{file}: not an inventory: values are nested too deeply") from error
    if not inventory:
        raise InventoryError(f"{file}: no hosts in this file (working folder {Path.cwd()})")
    return inventory


def _hosts_of(file: Path) -> Inventory | None:
    suffix = ".ssh_config" if _is_ssh_config(file) else file.suffix.lower()
    if suffix in READERS:
        text = _text(file)
        inventory: Inventory | None = import_module(READERS[suffix]).read(text, file) if text.strip() else None
        return inventory
    from opskit.fleet.readers import entry_point, executable

    if entry := entry_point.find(suffix):
        return entry_point.read(entry, file)
    if executable.is_executable(file):
        return executable.read(file)
    with _opened(file):  # that it is missing, or a folder, comes first
        near = did_you_mean(suffix, READERS, plural="known suffixes")
        hint = "a file that prints Ansible's JSON must be executable"
        raise InventoryError(f"{file}: no inventory format has the suffix {file.suffix!r}{near} ({hint})")


def _is_ssh_config(file: Path) -> bool:
    return file.name == "ssh_config" or (file.name == "config" and file.absolute().parent.name == ".ssh")


def _text(file: Path) -> str:
    try:
        with _opened(file) as stream:
            return stream.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise InventoryError(
            f"{file}:{line}: not UTF-8: byte 0x{byte:02x} at position {error.start}; save the file in this encoding"
        ) from error


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise InventoryError(f"{file}: {error.strerror} (working folder {Path.cwd()})") from error
