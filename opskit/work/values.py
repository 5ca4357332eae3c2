"""What the value of an option may be, beside what `opskit.checks` has for settings too: the same kind of functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final

from opskit import checks
from opskit.frames.hosts import is_frame
from opskit.results.parsing import check_parser
from opskit.secrets import Secret

Answers = tuple[tuple[re.Pattern[str], str | Secret], ...]
"""What is answered to prompts that match."""

ROOT: Final = "root"


@dataclass(frozen=True, slots=True)
class Share:
    """A number of hosts, or a part of them."""

    amount: float
    percent: bool

    def __str__(self) -> str:
        return f"{self.amount:g}%" if self.percent else f"{self.amount:g}"

    def of(self, total: int) -> int:
        """How many of `total` hosts this is, rounded down."""
        # In binary fractions 18.4 % of 375 is a little less than 69.
        return int(total * self.amount / 100 + 1e-9) if self.percent else int(self.amount)


def share(value: object, *, least: int) -> Share:
    """N, or a percentage such as "25%"."""
    allowed = f'must be a whole number, {least} or more, or a percentage such as "25%"'
    percent = isinstance(value, str) and value.strip().endswith("%")
    try:
        amount = checks.number(value.strip().removesuffix("%")) if percent else checks.whole(value, least=least)  # type: ignore[attr-defined]  # text, if a percentage
    except ValueError:
        raise ValueError(allowed) from None
    if percent and not (0 < amount <= 100 or amount == least == 0):  # noqa: PLR2004 - the whole, in percent
        raise ValueError(allowed)
    return Share(amount, percent=percent)


def chunk_sizes(value: object) -> tuple[Share, ...]:
    """One size, or a list of sizes whose last entry repeats (in text: separated by commas)."""
    if isinstance(value, str) and "," in value:
        value = [part.strip() for part in value.split(",")]
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("must not be an empty list")
        return tuple(share(entry, least=1) for entry in value)
    return (share(value, least=1),)


def max_failures(value: object) -> Share:
    """How many bad hosts are tolerated."""
    return share(value, least=0)


def stdin(value: object) -> bytes | Path | Secret:
    """What a command reads: text, bytes, a secret, a file's path (as Path), or a frame (as CSV)."""
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return checks.unmasked(value).encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value
    if isinstance(value, PathLike):
        path = checks.path(value)
        if not path.is_file():
            raise ValueError(f"is no file (working folder {Path.cwd()})")
        return path.absolute()  # a plan may be applied elsewhere
    if is_frame(value):
        return str(value.to_csv(index=False)).encode()
    raise ValueError("must be text, bytes, a secret, a Path or a DataFrame")


def variables(value: object) -> Mapping[str, object]:
    """Names and their values; as text such as `environment=production`."""
    if isinstance(value, str):
        value = checks.assignments(value)
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("must be a mapping of names to values")
    return dict(value)


def directory(value: object) -> str:
    """A folder on a host."""
    return checks.text(str(value) if isinstance(value, PathLike) else value)


def rounds(value: object) -> int:
    """A whole number, 0 or more."""
    return checks.whole(value, least=0)


def pause(value: object) -> float:
    """A number of seconds, 0 or more."""
    found = checks.number(value)
    if found < 0:
        raise ValueError("must be 0 seconds or more")
    return found


def check(value: object) -> str | Callable[..., object]:
    """A command, or a function of the chunk's results."""
    if callable(value):
        return checks.function(value)
    try:
        return checks.text(value)
    except ValueError:
        raise ValueError("must be a command, or a function that takes the chunk's results") from None


def undo(value: object) -> str:
    """A command."""
    if callable(value):
        raise ValueError("is a function: an undo of a command is a command; opskit.on_rollback takes functions")  # noqa: TRY004 - callers map ValueError alone
    try:
        return checks.text(value)
    except ValueError:
        raise ValueError("must be a command, not empty, without NUL") from None


def key(value: object) -> str:
    """Text by which what was done is known again."""
    return checks.unmasked(checks.text(value))


def sudo(value: object) -> str | None:
    """The user whom sudo makes of the login user: root for True, nobody (None) for False."""
    try:
        return ROOT if checks.yes_or_no(value) else None
    except ValueError:
        pass
    try:
        return checks.user(value)
    except ValueError:
        raise ValueError("must be True, False or a user's name") from None


def parser(value: object) -> object:
    """What `Results.parse` takes."""
    check_parser(value)
    return value


def answers(value: object) -> Answers:
    """Regular expressions and what is typed where one matches; as text such as `Continue=yes "Name:=Bob B"`."""
    if isinstance(value, str):
        value = checks.assignments(value)
    if not isinstance(value, Mapping):
        raise ValueError('must be a mapping, such as {"Continue\\?": "yes"}')  # noqa: TRY004 - callers map ValueError alone
    found = []
    for pattern, answer in value.items():
        if not isinstance(answer, (str, Secret)) or not isinstance(getattr(pattern, "pattern", pattern), str):
            raise ValueError(f"has {pattern!r}: a regular expression and a text or secret are expected")  # noqa: TRY004 - as above
        try:
            found.append((re.compile(pattern), checks.unmasked(answer) if isinstance(answer, str) else answer))
        except re.error as error:
            raise ValueError(f"has {pattern!r}, which is no regular expression: {error}") from None
    return tuple(found)
