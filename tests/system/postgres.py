"""Servers of PostgreSQL for tests: private, reached by a socket in a folder of their own, with fresh journals."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
import pytest
from sqlalchemy.engine import URL

from opskit.record.postgres import database
from opskit.record.postgres.preparing import prepare
from tests.needs import need_postgres
from tests.system.crashing import LEASE, Ground
from tests.unit.record.material import setting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from tests.system.sshd import SshdFleet
    from tests.system.test_crashes import GroundIn

SUPERUSER: Final = "boss"
PROTECTED: Final = "keyholder"
"""A role that needs its password, which is `PASSWORD`; all others are trusted."""

PASSWORD: Final = "quite 5ecret@home"

_RULES: Final = f"""\
local all {PROTECTED} scram-sha-256
local all all trust
host opskit all 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host all all 198.18.0.0/15 trust
"""


class Server:
    """A server, as a context manager.

    Args:
        address: Where it listens, too, for proxies and networks of tests.
        within: What starts a program in the network of that address.

    Attributes:
        folder: Where its socket is.
        address: As given.
        port: Of the socket's name, and of its address.
    """

    def __init__(self, address: str = "127.0.0.1", within: Sequence[str] = ()) -> None:
        self._programs = need_postgres()
        self.address = address
        # PostgreSQL refuses to be started by root.
        self._as_user: Sequence[str] = ()
        if os.geteuid() == 0:
            self._as_user = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")
        self._within = within
        self._numbers = itertools.count(1)
        self.folder = Path(tempfile.mkdtemp(prefix="opskit-pg-"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    def __enter__(self) -> Self:
        if self._as_user:
            shutil.chown(self.folder, "postgres", "postgres")
        # With the order of a language, in which names don't sort as their bytes do.
        language = ("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US")
        self._run("initdb", "-D", self._data, "-U", SUPERUSER, "-A", "trust", "--no-sync", *language)
        (self._data / "pg_hba.conf").write_text(_RULES)
        settings = {
            "listen_addresses": f"'{self.address}'",
            "port": self.port,
            "unix_socket_directories": f"'{self.folder}'",
            "fsync": "off",
            "shared_buffers": "'32MB'",
        }
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        self.start()
        self.sql(f"CREATE ROLE {PROTECTED} LOGIN PASSWORD '{PASSWORD}'")
        self.sql("CREATE DATABASE template_of_journals")
        prepare(setting(self.url("template_of_journals")))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start it, and wait until it can be connected to."""
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", self.folder / "log")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: `immediate` as a crash does, `fast` in order."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", self._data)

    def url(self, database: str, role: str = SUPERUSER, password: str | None = None) -> URL:
        """By its socket."""
        query = {"host": str(self.folder), "port": str(self.port)}
        return URL.create("postgresql+psycopg", role, password, database=database, query=query)

    def url_by(self, port: int, database: str, **query: str) -> URL:
        """By TCP: by its own port, or that of who passes it on."""
        return URL.create("postgresql+psycopg", SUPERUSER, None, self.address, port, database, query)

    def sql(self, statement: str, database: str = "postgres", role: str = SUPERUSER) -> list[tuple[Any, ...]]:
        """What it answers, in a connection of its own."""
        with psycopg.connect(
            host=str(self.folder), port=self.port, dbname=database, user=role, autocommit=True
        ) as connection:
            answer = connection.execute(statement)
            return answer.fetchall() if answer.description else []

    def journal(self) -> str:
        """The name of a new database with a journal's tables."""
        name = f"journal_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE template_of_journals")
        return name

    def cleared(self, name: str) -> URL:
        """The journal in this database, in which nothing is left of what other tests wrote."""
        self.sql("DELETE FROM opskit.tx; DELETE FROM opskit.owner", name)
        return self.url(name)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _run(self, program: str, *words: object) -> None:
        done = subprocess.run(
            [*self._within, *self._as_user, self._programs / program, *map(str, words)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if program != "pg_ctl" else subprocess.DEVNULL,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program} failed: {done.stdout or (self.folder / 'log').read_text()}"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server that tests share, each with databases of its own; leave it running."""
    with Server() as started:
        yield started


@pytest.fixture(scope="module")
def database_name(server: Server) -> str:
    """The database that the tests of a module share: to make one takes longer than to clear it."""
    return server.journal()


@pytest.fixture
def journal(server: Server, database_name: str) -> URL:
    """Where the journal is; with nothing in it."""
    return server.cleared(database_name)


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """As short as the programs of the crash tests have them."""
    for name, seconds in (("LEASE", LEASE), ("MARGIN", LEASE / 3), ("BEAT", LEASE / 6)):
        monkeypatch.setattr(database, name, seconds)


@pytest.fixture
def ground_in(sshd_fleet: SshdFleet, server: Server) -> GroundIn:
    """Makes hosts in their first state in a folder, with a journal of their own on the server."""
    return lambda folder: Ground(sshd_fleet, folder, setting(server.url(server.journal())))
