"""The small POSIX sh program around each command: it tells its process group, and ends it when we are gone.

Closing a channel or a connection ends nothing on the host (measured on OpenSSH), and a signal request does not reach
all that a command started. What does is a signal to its process group. So the wrapper first prints, on standard error,
a mark with the number of the group; the transport cuts it off, and knows from it that the command began. A watcher in
the background looks once a second whether the process that serves our connection is still there, and if it is not,
ends the group. Where the command reads nothing, the watcher has its standard input, and looks from when that is closed:
who serves us closes it, at the latest when he dies. Under sudo the wrapper runs inside, as the user whom sudo makes;
what serves the connection is told to it as `$0`. That user need not be root, and so may not signal the server: `/proc`
and `ps` say whether it is there.

The text must pass any login shell unharmed as one single-quoted word: no newline, no `!` (csh), no quote, no backslash
before a quote or a backslash (fish).
"""

from __future__ import annotations

import secrets
import shlex
import string
from typing import Final

_OURS: Final = f"opskit-{secrets.token_hex(4)}"
"""New in each process of ours, so that no output looks like it."""

MARK: Final = f"{_OURS}:"
"""What the wrapper prints before the group's number."""

PROMPT: Final = f"{_OURS}?"
"""How sudo asks for a password: this, whose password it wants, and a colon."""


def _told(server: str) -> str:
    """Find out the group, and tell it; `server` is how the shell calls the process that serves the connection."""
    return (
        # The group may not be led by this shell: sudo and ForceCommand stand in between.
        '{ read -r _ _ _ _ g _ </proc/$$/stat; } 2>/dev/null || g=$(ps -o pgid= -p $$ | tr -d " "); '
        # Where the server itself is in the group, as Dropbear is, it is not ours to end: then the command gets its own,
        # a moment after the mark.
        f'{{ read -r _ _ _ _ h _ </proc/{server}/stat; }} 2>/dev/null; [ "$g" = "$h" ] && {{ g=0; '
        'command -v setsid >/dev/null && g=$$ && set -- setsid "$@"; }; '
        f"echo {MARK}$g >&2; "
    )


def _watched(server: str, *, input_is_free: bool) -> str:
    """End the group when the server is gone; `input_is_free` says that the command has no use for standard input.

    Then nobody looks before that is closed. So a short command costs its host no look, and no process that waits for
    the next one.
    """
    waits, opened = ("while read -r _ <&3; do :; done; exec 3<&-; ", "3<&0") if input_is_free else ("", "")
    return (
        "{ [ $g = 0 ] || (a() { if [ -d /proc/self ]; then [ -d /proc/$1 ]; else ps -p $1; fi; }; "
        f'trap "" TERM HUP INT; {waits}'
        f"while a $$; do a {server} || {{ kill -s TERM -- -$g; sleep 2; kill -s KILL -- -$g; }}; sleep 1; done"
        f") </dev/null >/dev/null 2>&1 & }} {opened}; "
    )


_DEAF: Final = 'trap "" HUP; '

# Output to a connection that is gone would end the command. So somebody takes it who stays, and goes on taking.
_KEPT: Final = (
    'd=$(mktemp -d) && mkfifo "$d/1" "$d/2" && { '
    'k() { trap "" HUP TERM INT; cat; exec cat >/dev/null; }; '
    'k <"$d/1" & k <"$d/2" >&2 & exec >"$d/1" 2>"$d/2"; rm -r "$d"; }; '
)
_DECODE: Final = 'for a; do shift; v=$(printf %b. "$a"); set -- "$@" "${v%.}"; done; '


def wrapped(
    words: list[str], *, reads_nothing: bool, sudo: str | None = None, left: bool = False, terminal: bool = False
) -> list[str]:
    """A program with its arguments in the wrapper: a shell, its option, its script, what it has as `$0`, and the rest.

    Args:
        words: The program and its arguments.
        reads_nothing: Whether its standard input is empty.
        sudo: The user whom sudo makes of the login user.
        left: Whether it goes on when the connection is gone. What it prints after that is lost; with a terminal, to
            print is an error then.
        terminal: Whether it has a terminal.
    """
    kept = _KEPT if left and not terminal else ""
    run = f'{kept}exec "$@" </dev/null' if reads_nothing else f'{kept}exec "$@"'
    server = "$PPID" if sudo is None else "$0"
    script = _told(server) + (_DEAF if left else _watched(server, input_is_free=reads_nothing)) + run
    if sudo is None:
        return ["/bin/sh", "-c", script, "opskit", *words]
    ask = f'u=$1; shift; exec sudo -S -p "{PROMPT}%p:" -u "$u" -- /bin/sh -c "$0" $PPID "$@"'
    return ["/bin/sh", "-c", ask, script, sudo, *words]


def line(arguments: list[str]) -> str:
    """The line by which every login shell runs what `wrapped` gives."""
    _, _, script, zeroth, *words = arguments
    name = shlex.quote(zeroth)
    if any(set(word) & set("\n!\\") for word in words):
        carried = " ".join(f"'{_escaped(word)}'" for word in words)
        return f"exec /bin/sh -c '{_DECODE}{script}' {name} {carried}"
    return f"exec /bin/sh -c '{script}' {name} {shlex.join(words)}"


def _escaped(word: str) -> str:
    """What not every login shell hands on as it is goes through printf's octal escapes."""
    return "".join(f"\\0{ord(character):03o}" if character in "\n!\\'" else character for character in word)


def reading(names: list[str], exported: list[str]) -> str:
    """The part of a script that reads variables from standard input, a line of `sent` each; it has no line end.

    The shell must have `printf` built in, as all common ones have: so the values stand in the arguments of no process.
    """
    read = "".join(
        f'IFS= read -r {name}; {name}=$(printf %b. "${name}"); {name}=${{{name}%.}}; ' for name in [*exported, *names]
    )
    return read + "".join(f"export {name}; " for name in exported)


def sent(value: str) -> bytes:
    """A value as `reading` reads it."""
    return b"".join(_SENT[byte] for byte in value.encode("utf-8", "surrogateescape")) + b"\n"


_SENT: Final = [
    bytes([byte]) if chr(byte) in set(string.printable) - set(string.whitespace) - {"\\"} else b"\\0%03o" % byte
    for byte in range(256)
]


def signalled(group: int, signal: str, sudo: str | None = None, *, asks: bool = False) -> str:
    """A command line that sends a signal to a group.

    Args:
        group: Its number.
        signal: The signal's name without SIG.
        sudo: Whose group it is, if sudo is needed for it.
        asks: Whether sudo needs a password; it is read from standard input.
    """
    return _aside(f"kill -s {signal} -- -{group}", sudo, asks=asks)


def killed(group: int, sudo: str | None = None, *, asks: bool = False) -> str:
    """A command line that kills a group, and succeeds once nothing of it is left; zombies don't count."""
    left = (
        "for p in /proc/[0-9]*/stat; do { read -r s <$p; } 2>/dev/null || continue; s=${s##*) }; set -- $s; "
        f"[ $3 = {group} ] && {{ [ $1 = Z ] || return 0; }}; done; return 1"
    )
    script = (
        f"kill -s KILL -- -{group} 2>/dev/null; l() {{ {left}; }}; "
        "for i in 1 2 3 4 5 6 7 8 9 10; do l || exit 0; sleep 0.1; done; exit 1"
    )
    return _aside(script, sudo, asks=asks)


def _aside(script: str, sudo: str | None, *, asks: bool) -> str:
    if sudo is None:
        return f"exec /bin/sh -c '{script}'"
    how = '-S -p ""' if asks else "-n"
    return line(["/bin/sh", "-c", f'exec sudo {how} -u "$1" -- /bin/sh -c "$0"', script, sudo])
