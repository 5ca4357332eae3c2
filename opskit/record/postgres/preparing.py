"""The tables of a journal in PostgreSQL: made and upgraded by `opskit journal init` alone, for who may do that."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import insert, select, update

from opskit.errors import JournalError
from opskit.record import tables
from opskit.record.database import in_words
from opskit.record.places import placed, shown
from opskit.record.postgres.complaints import complaint
from opskit.record.postgres.connecting import SCHEMA, engine, hold_all

if TYPE_CHECKING:
    from sqlalchemy import Connection

_GRANTS: Final = """\
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
GRANT INSERT ON {added} TO {role};
GRANT UPDATE (beat_at, written, ended_at) ON {schema}.owner TO {role};
GRANT DELETE ON {schema}.lock, {schema}.request TO {role};"""


def prepare(url: str | None) -> str:
    """Make what a journal needs, or bring it to this version; says what was done.

    Args:
        url: As `opened` takes it.

    Raises:
        SettingsError: The URL can't be read.
        JournalError: It can't be done, and nothing was; or the journal is of a newer version.
    """
    place = placed(url)
    if isinstance(place, Path):
        from opskit.record.sqlite import SqliteDatabase

        found = place.exists()
        SqliteDatabase(place).close()
        return f"the journal {place} {'is of' if found else 'was made, of'} version {tables.VERSION}"
    connecting = engine(place)
    try:
        with in_words(shown(place), complaint), connecting.begin() as connection:
            hold_all(connection)
            return f"the journal {shown(place)} {_prepared(connection, shown(place))}"
    finally:
        connecting.dispose()


def _prepared(connection: Connection, place: str) -> str:
    if connection.exec_driver_sql("SHOW server_encoding").scalar() != "UTF8":
        raise JournalError(f"the journal {place} would lose text: make its database by `createdb -E UTF8 -T template0`")
    version = _version(connection)
    if version is None:
        if connection.exec_driver_sql(f"SELECT to_regnamespace('{SCHEMA}')").scalar() is None:
            connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
        tables.metadata.create_all(connection, checkfirst=False)
        connection.execute(insert(tables.legal_move), tables.LEGAL)
        connection.execute(insert(tables.meta).values(journal=uuid.uuid4().hex, version=tables.VERSION))
        return f"was made, of version {tables.VERSION}"
    if version > tables.VERSION:
        raise JournalError(_newer(place, version))
    for older in range(version, tables.VERSION):
        tables.UPGRADES[older](connection)
    connection.execute(update(tables.meta).values(version=tables.VERSION))
    return f"is of version {tables.VERSION}" + (f", and was of {version}" if version < tables.VERSION else "")


def _version(connection: Connection) -> int | None:
    if connection.exec_driver_sql(f"SELECT to_regclass('{SCHEMA}.meta')").scalar() is None:
        return None
    version: int = connection.scalars(select(tables.meta.c.version)).one()
    return version


def expect_prepared(place: str, connection: Connection) -> str:
    """The name of the role that this is; raises JournalError if there are no tables of this version for it."""
    role, may_look = connection.exec_driver_sql(
        f"SELECT session_user, has_schema_privilege(to_regnamespace('{SCHEMA}')::oid, 'USAGE')"
    ).one()
    if may_look is False:
        raise JournalError(
            f"the journal {place} is closed to role {role}:"
            f" its owner grants what `opskit journal init --grants {role}` says"
        )
    version = _version(connection) if may_look else None
    if version is None:
        raise JournalError(f"the journal {place} has no tables yet: run opskit journal init, which makes them")
    if version > tables.VERSION:
        raise JournalError(_newer(place, version))
    if version < tables.VERSION:
        raise JournalError(
            f"the journal {place} is of version {version}, and this opskit needs {tables.VERSION}:"
            " run opskit journal init, which upgrades it"
        )
    return str(role)


def _newer(place: str, version: int) -> str:
    return f"the journal {place} is of version {version}, and this opskit knows {tables.VERSION}: upgrade opskit"


def grants(role: str) -> str:
    """What lets a role read the journal and add to it, and neither change nor delete what is in it; as SQL."""
    quoted = '"' + role.replace('"', '""') + '"'
    added = ", ".join(
        f"{SCHEMA}.{table.name}"
        for table in tables.metadata.sorted_tables
        if table not in (tables.meta, tables.legal_move)
    )
    return _GRANTS.format(schema=SCHEMA, role=quoted, added=added)
