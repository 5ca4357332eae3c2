"""Connections to PostgreSQL as a journal needs them: durable, soon aware of a broken line, with any text, and locks."""

from __future__ import annotations

import hashlib
import time
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import create_engine, event

from opskit.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    import psycopg
    from psycopg.abc import Buffer
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

T = TypeVar("T")

SCHEMA: Final = "opskit"
"""Where the tables are, in whatever database."""

LOCKED: Final = 10
"""Seconds to wait for another process that writes in the same transaction, or prunes."""

SILENCE: Final = 30.0
"""Seconds without a word of the answer after which a connection is given up: longer than any lock is waited for."""

_LIBPQ: Final = {
    "application_name": "opskit",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""What holds unless the URL says otherwise: a line that is cut is noticed before a lease ends."""

# Who is paused in mid-commit must not hold others up for long. What is committed must stay, whatever the server's rule.
_SESSION: Final = f"""
    SELECT
        set_config('search_path', '{SCHEMA}', false),
        set_config('lock_timeout', '{LOCKED}s', false),
        set_config('idle_in_transaction_session_timeout', '{LOCKED}s', false),
        set_config('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on'), false)
"""

_SIGN: Final = "\ufffe"
"""No character of any language, and never to be sent to others."""


def engine(url: URL) -> Engine:
    """What connects to a database; raises JournalError without psycopg."""
    if find_spec("psycopg") is None:
        raise JournalError("a journal in PostgreSQL needs psycopg: pip install 'opskit[postgres]'")
    url = url.update_query_dict({name: value for name, value in _LIBPQ.items() if name not in url.query})
    made = create_engine(url, paramstyle="format", pool_size=2, max_overflow=10)

    @event.listens_for(made, "do_connect")
    def _connect(_dialect: object, _record: object, arguments: Sequence[Any], options: Mapping[str, Any]) -> object:
        return _expecting_answers().connect(*arguments, **options)

    @event.listens_for(made, "connect")
    def _connected(connection: psycopg.Connection[Any], _record: object) -> None:
        _keep_any_text(connection)
        connection.execute(_SESSION)
        connection.commit()

    return made


@cache
def _expecting_answers() -> type[psycopg.Connection[Any]]:
    """Connections that a server which hangs, on a machine that still answers, can't keep waiting for ever."""
    import psycopg

    class Connection(psycopg.Connection[Any]):
        def wait(self, gen: Generator[Any, Any, T], *arguments: Any, **options: Any) -> T:
            return super().wait(self._answered(gen), *arguments, **options)

        def _answered(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
            heard, is_ready = time.monotonic(), None
            while True:
                try:
                    wanted = gen.send(is_ready)
                except StopIteration as answer:
                    return answer.value  # type: ignore[no-any-return]  # a generator's own
                if is_ready := (yield wanted):
                    heard = time.monotonic()
                elif time.monotonic() > heard + SILENCE:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server has not answered for {SILENCE:g} s")

    return Connection


def hold(connection: Connection, transactions: Iterable[str]) -> None:
    """Wait until nobody else claims or writes in these transactions, nor prunes; so it stays until the commit.

    These locks are no rows': to lock a row a role needs the right to change it.
    """
    # In one order, so that no two wait for each other.
    connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock_shared(%s),"
        " (SELECT count(pg_advisory_xact_lock(key)) FROM unnest(%s::bigint[]) AS key)",
        (_JOURNAL, sorted(map(_number, transactions))),
    )


def hold_all(connection: Connection) -> None:
    """Wait until nobody else holds any of its transactions, and keep all of the journal until the commit."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_JOURNAL,))


def _number(word: str) -> int:
    """By which a lock is named."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), signed=True)


_JOURNAL: Final = _number("the journal of opskit")


def _keep_any_text(connection: psycopg.Connection[Any]) -> None:
    """Have a connection keep text with a NUL in it, which hosts may print and PostgreSQL takes not, under a sign."""
    from psycopg.types.string import StrDumperUnknown, TextLoader

    class Dumper(StrDumperUnknown):
        def dump(self, obj: str) -> Buffer | None:
            return super().dump(obj.replace(_SIGN, f"{_SIGN}1").replace("\0", f"{_SIGN}0"))

    class Loader(TextLoader):
        def load(self, data: Buffer) -> str:
            text = str(data, "utf-8")
            return text.replace(f"{_SIGN}0", "\0").replace(f"{_SIGN}1", _SIGN) if _SIGN in text else text

    connection.adapters.register_dumper(str, Dumper)
    for kind in ("text", "varchar"):
        connection.adapters.register_loader(kind, Loader)
