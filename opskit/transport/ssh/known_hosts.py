"""The host keys that we trust: files read once, looked up per host, with file and line for who has to mend them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SSH_PORT: Final = 22

Match = tuple["Sequence[object]", ...]


@dataclass(frozen=True, slots=True)
class _Line:
    file: Path
    number: int
    text: str

    @property
    def place(self) -> str:
        return f"{self.file}, line {self.number}"


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
        for file in self.files:
            self._read(file)
        text = "\n".join(line.text for line in self._pattern_lines)
        self._patterns = asyncssh.import_known_hosts(text) if text else None

    def _read(self, file: Path) -> None:
        """Index a file's plain entries by name; keep those that need matching."""
        try:
            lines = file.read_text("utf-8", "surrogateescape").splitlines() if file.exists() else []
        except OSError as error:
            self.broken.append(f"{file} ({error.strerror})")
            return
        for number, text in enumerate(lines, 1):
            fields = text.split()
            line = _Line(file, number, text)
            if not fields or fields[0].startswith("#"):
                continue
            if len(fields) < (4 if fields[0].startswith("@") else 3):
                self.broken.append(line.place)
            elif fields[0].startswith("@") or any(mark in fields[0] for mark in "*?|/!"):
                try:
                    asyncssh.import_known_hosts(text)
                except ValueError:
                    self.broken.append(line.place)
                else:
                    self._pattern_lines.append(line)
            else:
                for name in fields[0].split(","):
                    self._exact.setdefault(name.lower(), []).append(line)

    def __call__(self, host: str, address: str, port: int | None) -> Match:
        """The keys for a host, in the seven groups that asyncssh asks for.

        `port` is None for SSH's own port. Entries without a port count only if there is none with it.
        """
        found = self._match(host, address, port)
        if port and not any((found[0], found[1])):
            return self._match(host, address, None)
        return found

    def _match(self, host: str, address: str, port: int | None) -> Match:
        keys = [key for line in self._lines(host, address, port) if (key := self._key(line)) is not None]
        if self._patterns is None:
            return (keys, [], [], [], [], [], [])
        matched = self._patterns.match(host, address, port)
        return ([*keys, *matched[0]], *matched[1:])

    def _lines(self, host: str, address: str, port: int | None) -> list[_Line]:
        names = dict.fromkeys(name for name in (host, address) if name)
        return [line for name in names for line in self._exact.get(f"[{name}]:{port}" if port else name.lower(), ())]

    def _key(self, line: _Line) -> asyncssh.SSHKey | None:
        try:
            return _public_key(" ".join(line.text.split()[1:3]))
        except asyncssh.KeyImportError:
            if line.place not in self.broken:
                self.broken.append(line.place)
            return None

    def told(self, host: str, address: str, port: int | None) -> list[str]:
        """What is known of a host, for an error: place and fingerprint of each key."""
        lines = self._lines(host, address, port) or self._lines(host, address, None)
        found = [(line, key) for line in lines if (key := self._key(line)) is not None]
        for line in self._pattern_lines:
            found += [(line, key) for key in asyncssh.import_known_hosts(line.text).match(host, address, port)[0]]
        return [f"{line.place} has {described(key)}" for line, key in found]

    def accept(self, name: str, key: asyncssh.SSHKey) -> _Line:
        """Trust a key from now on; returns what is to be added to the first file."""
        text = f"{name} {key.export_public_key().decode().strip()}"
        line = _Line(self.files[0], 0, text)
        self._exact.setdefault(name.lower(), []).append(line)
        return line


def remember(line: _Line) -> None:
    """Add an accepted key to its file. Blocks: not for the engine's loop."""
    line.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with line.file.open("a", encoding="utf-8") as file:
        file.write(line.text + "\n")


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
