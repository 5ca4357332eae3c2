"""What the value of a setting or an option may be: pure functions, shared, so that one word means one thing.

Each takes what was given (text too: flags, the environment and files give text) and returns the checked value, or
raises ValueError with what is allowed. Who calls says where the value came from.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from numbers import Real
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import Any, Final

from opskit.errors import SettingsError
from opskit.masking import MASK
from opskit.secrets import Secret, secret

Check = Callable[[Any], Any]


def number(value: object) -> float:
    """A finite number (also numpy's), or its text."""
    if isinstance(value, bool) or not isinstance(value, (Real, str)):
        raise ValueError(f"must be a number, not {type(value).__name__}")  # noqa: TRY004 - callers map ValueError alone
    try:
        found = float(value)
    except ValueError:
        raise ValueError("must be a number") from None
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError("must be a finite number")
    return found


def whole(value: object, *, least: int = 1) -> int:
    """A whole number, `least` or more, or its text."""
    found = number(value)
    if found != int(found) or found < least:
        raise ValueError(f"must be a whole number, {least} or more")
    return int(found)


def count(value: object) -> int:
    """A whole number, 1 or more."""
    return whole(value)


def seconds(value: object) -> float:
    """A number of seconds, more than 0."""
    found = number(value)
    if found <= 0:
        raise ValueError("must be more than 0 seconds")
    return found


def limit_in_seconds(value: object) -> float | None:
    """A number of seconds, more than 0, or None for no limit (as text: `none`)."""
    if value is None or value == "none":
        return None
    try:
        return seconds(value)
    except ValueError as error:
        raise ValueError(f"{error}; use None for no limit") from None


def size(value: object) -> int:
    """A number of bytes, 1 or more; text may end in KiB, MiB or GiB."""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([\d.]+)\s*([KMG])i?B?\s*", value, re.IGNORECASE)):
        return whole(round(number(match[1]) * 1024 ** (" KMG".index(match[2].upper()))))
    return whole(value)


def yes_or_no(value: object) -> bool:
    """True or False, or the text of one."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError("must be True or False")


def one_of(*words: str) -> Callable[[object], str]:
    """Make a check that lets only these words pass."""

    def check(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise ValueError("must be one of " + ", ".join(repr(word) for word in words))

    return check


def text(value: object) -> str:
    """Text with something in it, and no NUL."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError("must be text, not empty, without NUL")
    return value


def user(value: object) -> str:
    """A user's name, which no program takes for an option and no shell for anything else."""
    if (
        isinstance(value, str)
        and re.fullmatch(r"[^\s\-(){}<>|;&$`'\"][^\s(){}<>|;&$`'\"]*", value)
        and value.isprintable()
    ):
        return value
    raise ValueError("must be a user's name, without blanks, quotes and what a shell reads")


def shell(value: object) -> str | bool:
    """A shell's path; False sends a command as it is; True is /bin/sh."""
    if value is False or value in ("false", "False"):
        return False
    if value is True:
        return "/bin/sh"
    try:
        return text(value)
    except ValueError:
        raise ValueError("must be a shell's path, or False to send commands as they are") from None


def environment(value: object) -> tuple[tuple[str, str | Secret], ...]:
    """Names and values, from a mapping, or from text such as `A=b C="x y"`; sorted by name."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = assignments(value)
    if not isinstance(value, Mapping):
        raise ValueError("must be a mapping of names to values")  # noqa: TRY004 - callers map ValueError alone
    pairs = []
    for key, item in value.items():
        if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise ValueError(f"has the name {key!r}: no shell takes any but letters, digits and _")
        if isinstance(item, bool) or not isinstance(item, (str, Real, Secret)):
            raise ValueError(f"has a {type(item).__name__} as {key}: a value must be text, a number or a secret")  # noqa: TRY004 - as above
        if "\0" in str(item):
            raise ValueError(f"has a NUL in the value of {key}")
        if isinstance(item, str):
            unmasked(item)
        pairs.append((key, item if isinstance(item, Secret) else str(item)))
    return tuple(sorted(pairs, key=itemgetter(0)))


def unmasked(value: str) -> str:
    """Text that was not made of a secret: that would send what is shown in its place."""
    if MASK in value:
        raise ValueError("has a secret in it that was made a part of text: hand the secret over by itself")
    return value


def assignments(value: str) -> dict[str, str]:
    """Names and values from text such as `A=b C="x y"`."""
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"can't be read ({error}); write A=b C='x y'") from None
    for number, word in enumerate(words, 1):
        if "=" not in word:  # the word may be the rest of a password with a blank in it
            raise ValueError(f"has word {number} without '='; write A=b C='x y'")
    return dict(word.split("=", 1) for word in words)


def paths(value: object) -> tuple[Path, ...]:
    """One path, or several, `~` filled in."""
    if isinstance(value, (str, PathLike)):
        items: Iterable[object] = [value]
    elif isinstance(value, Iterable):
        items = value
    else:
        raise ValueError("must be a path or a list of paths")  # noqa: TRY004 - callers map ValueError alone
    return tuple(path(item) for item in items)


def path(value: object) -> Path:
    """A path, `~` filled in."""
    if not isinstance(value, (str, PathLike)) or not str(value).strip() or "\0" in str(value):
        raise ValueError("must be a path")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"can't be found: {error}") from None


def function(value: object) -> Callable[..., object]:
    """Something that can be called."""
    if not callable(value):
        raise ValueError(f"must be a function, not {type(value).__name__}")  # noqa: TRY004 - callers map ValueError alone
    if inspect.iscoroutinefunction(value):
        raise ValueError("must be a plain function: nobody would await an async one")
    return value


def words(value: object) -> tuple[str, ...]:
    """Several words; as text, with blanks or commas between."""
    found = re.split(r"[\s,]+", value.strip(" ,")) if isinstance(value, str) else value
    if not isinstance(found, Iterable):
        raise ValueError("must be a word or a list of words")  # noqa: TRY004 - callers map ValueError alone
    return tuple(text(word) for word in found if word)


PASSWORDS: Final = ("login", "sudo", "passphrase")
"""What there are passwords for: the keys of the setting `secrets`, and vars of hosts."""


def secrets(value: object) -> tuple[tuple[str, Secret], ...]:
    """Passwords by what they are for, as secrets; as text such as `sudo=NAME` the environment variables with them."""
    if isinstance(value, str):
        named = assignments(value)
        if missing := [kind for kind, name in named.items() if kind in PASSWORDS and name not in os.environ]:
            raise ValueError(
                f"must name, for {missing[0]}, an environment variable that is set, as in sudo=SUDO_PASSWORD"
            )
        value = {kind: {"env": name} for kind, name in named.items()}
    if not isinstance(value, Mapping) or not set(value) <= set(PASSWORDS):
        raise ValueError(f"must be a mapping with the keys {', '.join(PASSWORDS)}")
    return tuple((kind, a_secret(given)) for kind, given in value.items())


def a_secret(value: object) -> Secret:
    """A secret, the text of one, or where it is: `{"env": NAME}`, as a file can say it."""
    try:
        match value:
            case Secret():
                return value
            case str():
                return secret(value)
            case {"env": str(name)}:
                return secret(env=name)
    except SettingsError as error:
        raise ValueError(str(error)) from None
    raise ValueError('must be secrets, their texts, or {"env": NAME}')


_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(value: object) -> datetime:
    """A time: a datetime, how long ago (a timedelta, or text such as `90m`, `2h`, `30d`), or text such as `2026-01-31`.

    Without a zone it is of this machine's; what is returned is UTC.
    """
    try:
        if isinstance(value, str):
            ago = re.fullmatch(r"\s*(\d+)\s*([smhdw])\s*", value)
            value = timedelta(**{_UNITS[ago[2]]: int(ago[1])}) if ago else datetime.fromisoformat(value.strip())
        if isinstance(value, timedelta):
            return datetime.now(UTC) - value
        if isinstance(value, datetime):
            return value.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time such as 2026-01-31 10:00, or how long ago: 90m, 2h, 30d")
