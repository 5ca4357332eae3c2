"""A real terminal for a session that asks for one."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING, Final

from asyncssh import constants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncssh.misc import TermModes, TermSize

MODES: Final[Mapping[int, tuple[int, int]]] = {
    constants.PTY_ICRNL: (0, termios.ICRNL),
    constants.PTY_OPOST: (1, termios.OPOST),
    constants.PTY_ONLCR: (1, termios.ONLCR),
    constants.PTY_ISIG: (3, termios.ISIG),
    constants.PTY_ICANON: (3, termios.ICANON),
    constants.PTY_ECHO: (3, termios.ECHO),
    constants.PTY_ECHOE: (3, termios.ECHOE),
    constants.PTY_ECHOK: (3, termios.ECHOK),
    constants.PTY_ECHONL: (3, termios.ECHONL),
    constants.PTY_IEXTEN: (3, termios.IEXTEN),
}
"""Where termios keeps the modes that clients ask for: the index of the set of flags, and the flag."""


def open_terminal(size: TermSize, modes: TermModes) -> tuple[int, int]:
    """Open a terminal and give the descriptors of its master and of the side that the command gets."""
    master, side = os.openpty()
    attributes = termios.tcgetattr(side)
    for mode, (index, flag) in MODES.items():
        if mode in modes:
            attributes[index] = attributes[index] | flag if modes[mode] else attributes[index] & ~flag
    termios.tcsetattr(side, termios.TCSANOW, attributes)
    resize(side, size)
    return master, side


def resize(terminal: int, size: TermSize) -> None:
    """Set a terminal's size; the foreground processes are told by SIGWINCH."""
    columns, rows, width, height = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))


def take_terminal() -> None:
    """Make standard input the terminal that hangs up this process's session; called in the child."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
