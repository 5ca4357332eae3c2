"""Quoting: a value as one word of a POSIX shell's command, or None where it can't stand; what ends here-documents."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from opskit.work.shell_context import HOLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opskit.work.shell_context import Context

_HARMLESS = re.compile(r"[A-Za-z0-9_@%+=:,./-]*")

# Shells take these for their own grammar where a command may begin.
_RESERVED = frozenset(
    "case coproc do done elif else esac fi for function if in select then time until while".split()  # noqa: SIM905 - as read
)

_ANNOUNCED = re.compile(r"<<-?[ \t]*((?:'[^'\n]*'|\"[^\"\n]*\"|\\.|[^\s;&|<>()'\"\\])+)")
_IGNORED = str.maketrans("", "", "'\"\\$`() \t" + HOLE)

SECRET_VARIABLE: Final = "OPSKIT_SECRET_"  # noqa: S105 - a name
"""What a shell variable that holds a secret is called, up to its number."""


def quoted(value: str, context: Context) -> str | None:
    """The text that stands for `value` there; None if it can't stand there safely."""
    if value and _HARMLESS.fullmatch(value) and (context.place or (context.bare and value not in _RESERVED)):
        return value
    if not value and context.empty:
        return ""
    if context.place:
        return None
    return "'" + value.replace("'", "'\"'\"'") + "'"


def why_quoted(value: str) -> str:
    """What it is about a value that needs quotes, for an error: the value itself may be nobody's business."""
    harmless = _HARMLESS.match(value)
    assert harmless is not None
    return f"has {value[harmless.end()]!r} in it" if value else "is empty"


def ending_documents(marked: str) -> Iterator[int]:
    """Which values, each with a HOLE before it, stand in a line that a shell may take for the end of a here-document.

    Every word after a `<<` counts, wherever that stands, and neither quotes nor blanks do: where shells differ, and
    where nobody could follow the command, a value too many is refused rather than the rest of a document run.
    """
    for text in (marked, marked.replace("\\\n", "")):  # in some documents a backslash joins lines
        ends = {word.translate(_IGNORED) for word in _ANNOUNCED.findall(text)}
        number = 0
        for line in text.split("\n"):
            values = line.count(HOLE)
            if values and line.translate(_IGNORED) in ends:
                yield from range(number, number + values)
            number += values
