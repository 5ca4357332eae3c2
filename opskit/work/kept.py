"""Terms, secrets and hosts as JSON: what plans in files, and the journal, keep of them."""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from opskit.errors import JournalError, OpskitError, PlanError
from opskit.fleet import Host
from opskit.masking import mask
from opskit.secrets import Secret
from opskit.work.options import OPTIONS
from opskit.work.quoting import SECRET_VARIABLE
from opskit.work.terms import RunTerms, Terms
from opskit.work.values import Share

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

Known = dict[tuple[str, str], Secret]
"""Secrets by where they come from: one that stands in several places is one, for which is asked once."""

UNREADABLE: Final = (LookupError, TypeError, ValueError, AttributeError, RecursionError, re.error, OpskitError)
"""What may be raised where JSON is not what was kept."""

T = TypeVar("T", Terms, RunTerms)
V = TypeVar("V")

_LEFT_OUT: Final = frozenset({"variables", "template", "dry_run", "in_turn"})
"""What conditions and templates named has been filled in; the others are of no use in what is kept."""

_NOT_IN_JOURNAL: Final = frozenset({"on_output"})

_MAPPINGS: Final = frozenset({"env", "answers"})

_MAY_BE_NONE: Final = frozenset(
    ("timeout", "cwd", "on_output", "user", "sudo", "chunk", "max_failures", "name", "check", "parse")
)

_OF_WAY: Final = ("known_hosts", "identity_files", "proxy_jump")
"""The vars of a host that decide how it is reached."""


# For the journal: whoever reads it may be another person, elsewhere, who is asked for what it could not hold


def packed_terms(terms: Terms) -> str:
    """Terms for the journal, as JSON, without `on_output`.

    What `env`, `answers` and `stdin` hold of secrets that were given as values, also as a part of text, is left out:
    who reads it is asked for that. In `cwd` it is masked, and who reads it can't use it.
    """
    without = replace(
        terms,
        env=tuple((name, _hidden(value)) for name, value in terms.env),
        answers=tuple((pattern, _hidden(answer)) for pattern, answer in terms.answers),
        stdin=terms.stdin if isinstance(terms.stdin, Path) else _hidden(terms.stdin),
        cwd=None if terms.cwd is None else mask(terms.cwd),
    )
    return json.dumps(packed_fields(without, _NOT_IN_JOURNAL, for_journal=True))


def unpacked_terms(text: str, known: Known | None = None) -> Terms:
    """Terms of the journal.

    Args:
        text: What `packed_terms` made.
        known: Secrets that other texts named, to which this one's are added; not those that were given as values,
            which are known by no name.

    Raises:
        JournalError: The text is nothing that this opskit has written.
    """

    def unpack() -> Terms:
        return unpacked_fields(Terms, json.loads(text), {} if known is None else known, _NOT_IN_JOURNAL)

    return _read("how a command is run", unpack)


def packed_secrets(secrets: Sequence[Secret]) -> str:
    """What an undo names as `$OPSKIT_SECRET_n`, for the journal, as JSON; no value stands in it."""
    return json.dumps([packed(secret, "undo", for_journal=True) for secret in secrets])


def unpacked_secrets(text: str, known: Known | None = None) -> tuple[Secret, ...]:
    """What an undo of the journal names; arguments and errors as `unpacked_terms`."""

    def unpack() -> tuple[Secret, ...]:
        return unpacked_all(json.loads(text), "undo", {} if known is None else known)

    return _read("the secrets of an undo", unpack)


def packed_way(host: Host) -> str:
    """How a host is reached, for the journal, as JSON: without passwords, and of its vars only what ssh needs."""
    ways = {name: _as_text(host.vars[name]) for name in _OF_WAY if name in host.vars}
    return json.dumps({**fingerprint(host), "vars": ways})


def unpacked_way(text: str) -> Host:
    """The host that is reached so.

    Raises:
        JournalError: The text is nothing that this opskit has written.
    """
    return _read("how a host is reached", lambda: Host(**json.loads(text)))


def fingerprint(host: Host) -> dict[str, Any]:
    """What a host is known by again."""
    return {
        "name": host.name,
        "address": host.address,
        "port": host.port,
        "user": host.user,
        "roles": sorted(host.roles),
    }


def _hidden(value: str | bytes | Secret) -> Any:
    """The value, or where it has a secret in it, one that is to be asked for."""
    if isinstance(value, Secret):
        return value
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return value if mask(text) == text else Secret(None)


def _as_text(value: Any) -> Any:
    """A path, or several, as text; None says that there is no way through another host."""
    if isinstance(value, (list, tuple)):
        return list(map(str, value))
    return None if value is None else str(value)


def _read(what: str, unpack: Callable[[], V]) -> V:
    try:
        return unpack()
    except UNREADABLE as error:
        raise JournalError(
            f"the journal says {what} in a way that this opskit can't read: {type(error).__name__}: {error}; "
            "use the opskit that wrote it, or settle this step by hand"
        ) from error


# For both


def packed_fields(
    terms: Terms | RunTerms, left_out: Collection[str] = (), *, for_journal: bool = False
) -> dict[str, Any]:
    """Terms by name, each as JSON."""
    return {
        name: packed(getattr(terms, name), name, for_journal=for_journal)
        for name in _kept_fields(type(terms), left_out)
    }


def unpacked_fields(kind: type[T], entry: dict[str, Any], secrets: Known, left_out: Collection[str] = ()) -> T:
    """Terms again, each checked as the option was that it came from; raises any of UNREADABLE."""
    if sorted(entry) != sorted(names := _kept_fields(kind, left_out)):
        raise ValueError(f"{', '.join(names)} are expected, not {', '.join(entry)}")
    return kind(**{name: _as_option(name, unpacked(value, name, secrets)) for name, value in entry.items()})


def _kept_fields(kind: type[Terms | RunTerms], left_out: Collection[str]) -> list[str]:
    return [found.name for found in fields(kind) if found.name not in _LEFT_OUT and found.name not in left_out]


def _as_option(name: str, value: Any) -> Any:
    if value is None and name in _MAY_BE_NONE:
        return None
    try:
        return OPTIONS[name].check(dict(value) if name in _MAPPINGS else value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def packed(value: Any, what: str, *, for_journal: bool = False) -> Any:  # noqa: PLR0911 - a table of kinds
    """A value as JSON: what JSON has no word for as an object of its kind and its content.

    Args:
        value: Of an option.
        what: What has it, for errors.
        for_journal: Whether a secret that was given as a value is left out, to be asked for, in place of an error.

    Raises:
        PlanError: It is nothing that a file can hold.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return {"bytes": b64encode(value).decode()}
        case Path():
            return {"path": str(value)}
        case re.Pattern():
            return {"pattern": value.pattern, "flags": value.flags}
        case Share():
            return f"{value.amount}%" if value.percent else value.amount
        case Secret(source=(kind, name)):
            return {"secret": name, "kind": kind}
        case Secret() if for_journal:
            return {"secret": None, "kind": "given"}
        case tuple():
            return [packed(item, what, for_journal=for_journal) for item in value]
    if isinstance(value, Secret):
        raise PlanError(
            f"the plan can't be saved: {what} has a secret that was given as a value, which no file shall hold; "
            'make it with secret(env="NAME") or secret(prompt="...")'
        )
    raise PlanError(f"the plan can't be saved: {what} is a {type(value).__name__}, which no file can hold")


def unpacked_all(entries: Any, what: str, secrets: Known) -> tuple[Secret, ...]:
    """What a command, or an undo, names as `$OPSKIT_SECRET_1` and so on. Raises any of UNREADABLE."""
    found = tuple(
        unpacked(entry, f"${SECRET_VARIABLE}{number} of the {what}", secrets) for number, entry in enumerate(entries, 1)
    )
    if not all(isinstance(each, Secret) for each in found):
        raise ValueError(f"the {what} names what is no secret")
    return found


def unpacked(value: Any, what: str, secrets: Known) -> Any:  # noqa: PLR0911 - a table of kinds
    """The value again; `what` has it, for who is asked for a secret. Raises any of UNREADABLE."""
    match value:
        case [key, {"secret": _} as held]:  # of `env` or `answers`
            name = unpacked(key, what, secrets)
            return name, unpacked(held, f"{what} {getattr(name, 'pattern', name)}", secrets)
        case list():
            return tuple(unpacked(item, what, secrets) for item in value)
        case {"bytes": str(text)}:
            return b64decode(text, validate=True)
        case {"path": str(text)}:
            return Path(text)
        case {"pattern": str(text), "flags": int(flags)}:
            return re.compile(text, flags)
        case {"secret": str(name), "kind": "env" | "prompt" as kind}:
            return secrets.setdefault((kind, name), Secret(None, (kind, name)))
        case {"secret": None, "kind": "given"}:
            return Secret(None, ("prompt", f"the secret that was given as a value to {what}"))
        case dict():
            raise ValueError(f"no value is of the kind {', '.join(map(repr, value))}")
    return value
