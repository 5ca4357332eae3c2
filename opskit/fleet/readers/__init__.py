"""Inventories from files: one module a format, imported when a file of that format is read."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opskit import checks
from opskit.errors import InventoryError, did_you_mean
from opskit.rendering.escape import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from opskit.fleet.inventory import Inventory

READERS: Final[Mapping[str, str]] = {
    ".yaml": "opskit.fleet.readers.yaml",
    ".yml": "opskit.fleet.readers.yaml",
    ".toml": "opskit.fleet.readers.toml",
    ".json": "opskit.fleet.readers.json",
    ".csv": "opskit.fleet.readers.csv",
    ".ini": "opskit.fleet.readers.ansible_ini",
}
"""The module that reads files of each suffix, by `read(text, path)`."""


def load_inventory(path: str | PathLike[str]) -> Inventory:
    """Read an inventory from a file: .yaml .yml .toml .json .csv, or .ini for Ansible's.

    Args:
        path: `~` is expanded; text must be UTF-8.

    Raises:
        InventoryError: This is no path, or the file can't be read, holds no hosts, or something in it can't be right;
            says where.
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
    module = READERS.get(file.suffix.lower())
    if module is None:
        near = did_you_mean(file.suffix, READERS, plural="known suffixes")
        raise InventoryError(f"{file}: no inventory format has the suffix {file.suffix!r}{near}")
    text = _text(file)
    try:
        inventory: Inventory | None = import_module(module).read(text, file) if text.strip() else None
    except RecursionError as error:
        raise InventoryError(f"{file}: not an inventory: values are nested too deeply") from error
    if not inventory:
        raise InventoryError(f"{file}: no hosts in this file (working folder {Path.cwd()})")
    return inventory


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InventoryError(f"{file}: {error.strerror} (working folder {Path.cwd()})") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        raise InventoryError(
            f"{file}:{line}: not UTF-8: byte 0x{byte:02x} at position {error.start}; save the file in this encoding"
        ) from error
