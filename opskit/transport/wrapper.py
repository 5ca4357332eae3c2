"""The small POSIX sh program around each remote command: it tells its process group, and ends it when we are gone.

Closing a channel or a connection ends nothing on the host (measured on OpenSSH), and a signal request does not reach
all that a command started. What does is a signal to its process group. So the wrapper first prints, on standard error,
a mark with the number of the group; the transport cuts it off, and knows from it that the command began. A watcher in
the background looks once a second whether the process that serves our connection is still there, and if it is not,
ends the group.

The text must pass any login shell unharmed as one single-quoted word: no newline, no `!` (csh), no quote, no backslash
before a quote or a backslash (fish).
"""

from __future__ import annotations

import secrets
import shlex
from typing import Final

MARK: Final = f"opskit-{secrets.token_hex(4)}:"
"""What the wrapper prints before the group's number; new in each process of ours, so that no output looks like it."""

_GROUP: Final = (
    # The group may not be led by this shell: sudo and ForceCommand stand in between.
    '{ read -r _ _ _ _ g _ </proc/$$/stat; } 2>/dev/null || g=$(ps -o pgid= -p $$ | tr -d " "); '
    # Where the server itself is in the group, it is not ours to end.
    '{ read -r _ _ _ _ h _ </proc/$PPID/stat; } 2>/dev/null; [ "$g" = "$h" ] && g=0; '
)
_WATCH: Final = (
    "[ $g = 0 ] || (a() { if [ -d /proc/self ]; then [ -d /proc/$1 ]; else ps -p $1; fi; }; "
    'trap "" TERM HUP INT; '
    "while a $$; do a $PPID || { kill -s TERM -- -$g; sleep 2; kill -s KILL -- -$g; }; sleep 1; done"
    ") </dev/null >/dev/null 2>&1 & "
)
WRAPPER: Final = f"{_GROUP}echo {MARK}$g >&2; {_WATCH}"
_DECODE: Final = 'for a; do shift; v=$(printf %bx "$a"); set -- "$@" "${v%x}"; done; '


def wrapped(words: list[str], *, reads_nothing: bool) -> str:
    """The line that runs a program with its arguments in the wrapper.

    Args:
        words: The program and its arguments.
        reads_nothing: Whether its standard input is empty.
    """
    run = 'exec "$@" </dev/null' if reads_nothing else 'exec "$@"'
    if any(set(word) & set("\n!\\") for word in words):
        carried = " ".join(f"'{_escaped(word)}'" for word in words)
        return f"exec /bin/sh -c '{WRAPPER}{_DECODE}{run}' opskit {carried}"
    return f"exec /bin/sh -c '{WRAPPER}{run}' opskit {shlex.join(words)}"


def _escaped(word: str) -> str:
    """What not every login shell hands on as it is goes through printf's octal escapes."""
    return "".join(f"\\0{ord(character):03o}" if character in "\n!\\'" else character for character in word)


def signalled(group: int, signal: str) -> str:
    """A command line that sends a signal to a group."""
    return f"exec /bin/sh -c 'kill -s {signal} -- -{group}'"


def killed(group: int) -> str:
    """A command line that kills a group, and succeeds once nothing of it is left; zombies don't count."""
    left = (
        "for p in /proc/[0-9]*/stat; do { read -r s <$p; } 2>/dev/null || continue; s=${s##*) }; set -- $s; "
        f"[ $3 = {group} ] && {{ [ $1 = Z ] || return 0; }}; done; return 1"
    )
    return (
        f"exec /bin/sh -c 'kill -s KILL -- -{group} 2>/dev/null; l() {{ {left}; }}; "
        "for i in 1 2 3 4 5 6 7 8 9 10; do l || exit 0; sleep 0.1; done; exit 1'"
    )
