"""Where a journal is: a file of this machine, or a database that a team shares, as the setting `journal` names it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from opskit.errors import SettingsError
from opskit.masking import SHORTEST, conceal

if TYPE_CHECKING:
    from collections.abc import Sequence

_POSTGRESQL: Final = re.compile(r"postgres(ql)?(\+psycopg)?", re.IGNORECASE)

_FORM: Final = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for @ in a password, %2F for / and so on"


def placed(given: str | None) -> Path | URL:
    """The place that a path or a URL names; None: `journal.db` in the user's state folder.

    Raises:
        SettingsError: The URL has a scheme that no store is made for, or can't be read.
    """
    if given is None:
        import platformdirs

        return Path(platformdirs.user_state_dir("opskit", appauthor=False)) / "journal.db"
    scheme, found, rest = given.partition("://")
    if not found:
        return Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100 - a link is refused, not followed
    if scheme == "sqlite" and rest.startswith("/") and rest != "/":
        return placed(rest[1:])
    if _POSTGRESQL.fullmatch(scheme):
        return _database(rest)
    # Not more of it than the scheme: it may hold a password.
    raise SettingsError(
        f"a journal can't be at {scheme}://...: give a path, sqlite:///path, or postgresql://USER@HOST/DATABASE"
    )


def shown(place: Path | URL) -> str:
    """A place for people to read: without a password, wherever that stands."""
    if isinstance(place, Path):
        return str(place)
    hosts: str | Sequence[str] = place.query.get("host", ())
    bare = URL.create(
        "postgresql", place.username, None, place.host, place.port, place.database, {"host": hosts} if hosts else {}
    )
    return unquote(bare.render_as_string())


def _database(rest: str) -> URL:
    try:
        # An @ that is not encoded would end the password early, and the rest of it would be shown as a host.
        url = make_url(f"postgresql+psycopg://{rest}") if rest.count("@") <= 1 else None
    except (ArgumentError, ValueError):
        url = None
    if url is None:
        raise SettingsError(f"the journal's postgresql://... can't be read: write {_FORM}")
    for password in (url.password, url.query.get("password")):
        if isinstance(password, str) and len(password) >= SHORTEST and password not in shown(url):
            conceal(password)
    return url
