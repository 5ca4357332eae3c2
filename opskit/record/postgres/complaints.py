"""What PostgreSQL complains of: whether it passes, and in words, with what to do. Below `postgres.py`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy.exc import DBAPIError

from opskit.record.postgres.connecting import LOCKED

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.exc import SQLAlchemyError

Kind = Literal["away", "passes", "locked", "stays"]
"""No connection can be had; a connection or a transaction was lost; another holds a lock; anything else."""

_PASSING: Final = re.compile(r"08|40001|40P01|57P0[123]|25P03|53300")
"""Codes of what another attempt may not meet any more."""

_NOT_LET_IN: Final[dict[str, Callable[[re.Match[str]], str]]] = {
    r'password authentication failed for user "(.*?)"': lambda said: (
        f"does not let {said[1]} in with that password: put the right one into the URL, PGPASSWORD or ~/.pgpass"
    ),
    r"no password supplied": lambda _: "asks for a password: put one into the URL, PGPASSWORD or ~/.pgpass",
    r'role "(.*?)" does not exist': lambda said: (
        f"is on a server that knows no role {said[1]!r}: name another in the URL, or make it by `createuser {said[1]}`"
    ),
    r'database "(.*?)" does not exist': lambda said: (
        f"does not exist: make its database by `createdb {said[1]}`, then its tables by `opskit journal init`"
    ),
    r'permission denied for database "(.*?)"': lambda said: (
        f"may not be connected to: its owner says `GRANT CONNECT ON DATABASE {said[1]}`"
    ),
    r"(no pg_hba.conf entry .*|\S+ authentication failed .*)": lambda said: f"does not let us in: {said[1]}",
}
"""What a server says to who may not connect; no code comes with it. In other languages it is shown as it is."""

_BY_CODE: Final = {
    "25006": "can't be written, its server only reads: name the one that the others are copies of",
    "53100": "can't be written, its server's disk is full: make room there",
    "42P01": "lacks a table: run opskit journal init, as the role that owns it",
    "42703": "lacks a column: run opskit journal init, as the role that owns it",
}


def kind_of(error: SQLAlchemyError) -> Kind:
    """Whether another attempt may go well."""
    if not isinstance(error, DBAPIError):
        return "stays"
    code = _code(error)
    if code == "55P03":
        return "locked"
    if error.connection_invalidated or _PASSING.match(code):
        return "passes"
    # To connect failed: why, stands in the text alone.
    return "away" if _is_refusal(error) and _not_let_in(error) is None else "stays"


def complaint(error: SQLAlchemyError, who_else: Callable[[], str] = str) -> str:
    """What is wrong with the journal, and what to do.

    Args:
        error: What was raised.
        who_else: Names who may hold a lock, in words.
    """
    if not isinstance(error, DBAPIError):
        return f"can't be used ({error})"
    code, said = _code(error), _said(error)
    if kind_of(error) == "locked":
        return f"is locked by another process for {LOCKED} s now{who_else()}: end that one, or try again"
    if code == "42501":
        doing = (error.statement or "").split(None, 1)[0] or "work"
        return f"is not for this role to {doing} in ({said}): its owner grants what `opskit journal init --grants` says"
    if not_let_in := _not_let_in(error):
        return not_let_in
    if kind_of(error) in ("away", "passes"):
        return f"can't be reached ({said}): see to its server, or name another by OPSKIT_JOURNAL"
    return _BY_CODE.get(code, f"can't be used ({said})")


def _code(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _is_refusal(error: DBAPIError) -> bool:
    """Whether no connection could be had: nothing was asked then."""
    return error.statement is None and not _code(error)


def _not_let_in(error: DBAPIError) -> str | None:
    if not _is_refusal(error):
        return None
    for pattern, words in _NOT_LET_IN.items():
        if found := re.search(pattern, str(error.orig)):
            return words(found)
    return None


def _said(error: DBAPIError) -> str:
    """What the server or the driver says, in one line."""
    lines = str(error.orig).strip().splitlines() or [""]
    return re.sub(r"^(connection failed|connection is bad): ", "", lines[0])
