"""Who is alive: each writing process holds the lock of a file, which the kernel lets go when the process ends."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_held: Final[set[int]] = set()
"""Descriptors of this process's locks. A fork's child shares them, and would keep a dead parent alive."""


def _let_go() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)


class Lock:
    """The lock by which an owner shows that it lives.

    A stopped process counts as alive, and no clock is asked.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self._file = _file(folder, owner)
        self._descriptor: int | None = None

    def hold(self) -> None:
        """Take it, if that is not done yet; raises OSError."""
        if self._descriptor is not None:
            return
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        _held.add(descriptor)
        self._descriptor = descriptor

    def let_go(self) -> None:
        """Let it go; nobody else ever takes it, so its file goes too."""
        if self._descriptor in _held:
            self._file.unlink(missing_ok=True)
            _held.discard(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = None


def alive(folder: Path, owner: str) -> bool:
    """Whether that owner's process holds its lock still."""
    try:
        descriptor = os.open(_file(folder, owner), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two who look at once do not take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def bury(folder: Path, owner: str) -> None:
    """Remove what a dead owner left."""
    _file(folder, owner).unlink(missing_ok=True)


def _file(folder: Path, owner: str) -> Path:
    return folder / "owners" / f"{owner}.lock"
