"""The host keys that we trust: files read once, looked up per host, with file and line for who has to mend them."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

logger = logging.getLogger("opskit")

SSH_PORT: Final = 22

Match = tuple["Sequence[object]", ...]

_NOBODY: Final = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
"""Stands as an authority for every host in what asyncssh matches, and is taken out of what it finds.

Where asyncssh finds nothing for a port it looks without the port, even if that would lose a port's revoked keys, or
add keys to those that a plain entry has for it. Only who knows all entries can tell; see `KnownHosts.__call__`.
"""


@dataclass(frozen=True, slots=True)
class _Line:
    """An entry, without its comment: for the sake of one that is not ASCII asyncssh would pass over the entry."""

    file: Path
    number: int
    marker: str
    names: str
    key: str

    @property
    def place(self) -> str:
        return f"{self.file}, line {self.number}"

    @property
    def text(self) -> str:
        return f"{self.marker} {self.names} {self.key}".lstrip()


class KnownHosts:
    """The entries of several known_hosts files. asyncssh calls it for each connection; few keys are ever decoded.

    Attributes:
        files: The files, those that don't exist too.
        broken: The places that could not be read.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)
        self.broken: list[str] = []
        self._exact: dict[str, list[_Line]] = {}
        self._pattern_lines: list[_Line] = []
        self._patterns = asyncssh.SSHKnownHosts(f"@cert-authority * {exported(_NOBODY)}")
        for file in self.files:
            self._read(file)

    def _read(self, file: Path) -> None:
        """Index a file's plain entries by name; keep those that need matching."""
        try:
            lines = file.read_text("utf-8", "surrogateescape").split("\n") if file.exists() else []
        except OSError as error:
            self.broken.append(f"{file} ({error.strerror})")
            return
        for number, text in enumerate(lines, 1):
            fields = text.split()
            if not fields or fields[0].startswith("#"):
                continue
            marker = fields.pop(0) if fields[0].startswith("@") else ""
            names, *key = fields[:3] or [""]
            line = _Line(file, number, marker, names if names.startswith("|") else names.lower(), " ".join(key))
            if len(key) < 2 or not self._index(line):  # noqa: PLR2004 - an algorithm and a key
                self.broken.append(line.place)

    def _index(self, line: _Line) -> bool:
        """Make an entry findable. Returns whether it could be read, as far as it was looked at."""
        if line.marker or any(mark in line.names for mark in "*?|/!"):
            try:
                _public_key(line.key)
                self._patterns.load(line.text)
            except ValueError:
                return False
            self._pattern_lines.append(line)
        else:
            for name in line.names.split(","):
                self._exact.setdefault(name, []).append(line)
        return True

    def __call__(self, host: str, address: str, port: int | None) -> Match:
        """The keys for a host, in the seven groups that asyncssh asks for.

        `port` is None for SSH's own port. Entries without a port count only if there is none with it.
        """
        host = host.lower()
        found = self._match(host, address, port)
        if port and not any((found[0], found[1])):
            return self._match(host, address, None)
        return found

    def _match(self, host: str, address: str, port: int | None) -> Match:
        keys = [key for line in self._lines(host, address, port) if (key := self._key(line)) is not None]
        if not self._pattern_lines:
            return (keys, [], [], [], [], [], [])
        matched, authorities, *others = self._patterns.match(host, address, port)
        return ([*keys, *matched], [key for key in authorities if key != _NOBODY], *others)

    def _lines(self, host: str, address: str, port: int | None) -> list[_Line]:
        return [line for name in _spelled(host, address, port) for line in self._exact.get(name, ())]

    def _key(self, line: _Line) -> asyncssh.SSHKey | None:
        try:
            return _public_key(line.key)
        except ValueError:
            if line.place not in self.broken:
                self.broken.append(line.place)
            return None

    def told(self, host: str, address: str, port: int | None) -> list[str]:
        """What is known of a host under just this port, for an error: place and fingerprint of each key."""
        host = host.lower()
        lines = self._lines(host, address, port)
        for line in self._pattern_lines:
            entry = asyncssh.import_known_hosts(line.text)
            if any(entry.match(name, "", None)[0] for name in _spelled(host, address, port)):
                lines.append(line)
        found = [(line, key) for line in dict.fromkeys(lines) if (key := self._key(line)) is not None]
        return [f"{line.place} has {described(key)}" for line, key in found]

    def accept(self, name: str, key: asyncssh.SSHKey) -> _Line:
        """Trust a key from now on; returns what is to be added to the first file."""
        line = _Line(self.files[0], 0, "", name.lower(), exported(key))
        self._index(line)
        return line


def exported(key: asyncssh.SSHKey) -> str:
    """Algorithm and key, as the files have them."""
    return " ".join(key.export_public_key().decode().split()[:2])


def _spelled(host: str, address: str, port: int | None) -> list[str]:
    """A host's names as the files write them."""
    names = dict.fromkeys(name for name in (host, address) if name)
    return [f"[{name}]:{port}" for name in names] if port else list(names)


_writing = threading.Lock()
"""Of many hosts that are met for the first time, one is written down at a time."""


def remember(line: _Line) -> None:
    """Add an accepted key to its file; where that fails, it is accepted for this process alone, and that is logged.

    Blocks: not for the engine's loop.
    """
    try:
        line.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _writing, line.file.open("a+b") as file:
            file.seek(max(0, file.tell() - 1))
            whole = file.read()[-1:] in (b"", b"\n")  # else somebody's last line has no end, and would be spoiled
            file.write(f"{'' if whole else chr(10)}{line.text}\n".encode())
    except OSError as error:
        logger.warning("opskit: the host key of %s could not be added to %s: %s", line.names, line.file, error.strerror)


def described(key: asyncssh.SSHKey) -> str:
    """A public key as people compare it: algorithm and SHA-256 fingerprint."""
    return f"{key.get_algorithm()} {key.get_fingerprint()}"


@lru_cache(maxsize=4096)
def _public_key(text: str) -> asyncssh.SSHKey:
    return asyncssh.import_public_key(text)


def read(files: Sequence[Path]) -> KnownHosts:
    """Read the files, or take what was read if none has changed since. Blocks: not for the engine's loop."""
    return _read(tuple((file, _stamp(file)) for file in files))


@lru_cache(maxsize=8)
def _read(files: tuple[tuple[Path, tuple[int, int]], ...]) -> KnownHosts:
    return KnownHosts([file for file, _ in files])


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_size)
