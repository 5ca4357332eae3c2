"""`Fleet`: starts the embedded fleet's server process, writes its inventory, and ends it; knows no SSH library."""

from __future__ import annotations

import getpass
import json
import os
import re
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

from opskit.errors import InventoryError, OpskitError, SettingsError, did_you_mean
from opskit.fleetlab.layout import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from opskit.fleet import Inventory

USER: Final = "ops"
LARGEST: Final = 500
PATIENCE: Final = 30.0
"""Seconds until a server process that says nothing is given up."""


class Fleet:
    """Real SSH servers on 127.0.0.1, for examples, Binder, tests and first contact: no infrastructure needed.

    Of every eight hosts three are `app`, three `web`, one `db` and one `queue`. One host, `both`, stands for a web host
    and has the roles `app` and `web`. Eight are app1 app2 app3 both web1 web2 db1 queue1, five app1 app2 both web1 db1.
    Each has a var `dc`, "ams" and "fra" in turn, a home folder of its own, and a command `service` whose services (one
    for each role of the host, running) can be made to fail or to hang: `service app fail`, `service app hang restart`,
    `service app mend`. `systemctl` is the same for those who are used to it.

    The servers live in one process. They let in only a key made for this fleet, and end with the process that made
    the Fleet, however that ends; commands that still run on the hosts end with them.

    Args:
        count: How many hosts, 1 to 500.
        folder: Where keys and homes live: a new or empty folder, kept at the end. By default a temporary one, removed.
        roles: The exact hosts in place of a count: each name with its roles.
        max_sessions: How many sessions one connection may have at once; sshd's default.

    Raises:
        SettingsError: The count, a name or `max_sessions` is bad.
    """

    def __init__(
        self,
        count: int = 8,
        *,
        folder: str | os.PathLike[str] | None = None,
        roles: Mapping[str, str | Iterable[str]] | None = None,
        max_sessions: int = 10,
    ) -> None:
        if not 1 <= count <= LARGEST:
            raise SettingsError(f"Fleet(count={count!r}): an embedded fleet has 1 to {LARGEST} hosts")
        if max_sessions < 1:
            raise SettingsError(f"Fleet(max_sessions={max_sessions!r}): a connection has at least 1 session")
        self._hosts = layout(count) if roles is None else {name: _words(given) for name, given in roles.items()}
        _check_names(self._hosts)
        self._given_folder = None if folder is None else Path(folder).expanduser().absolute()
        self._max_sessions = max_sessions
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._end: weakref.finalize[..., Fleet] | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()

    @property
    def folder(self) -> Path:
        """The fleet's private folder; the homes are below it, `homes/NAME`."""
        if self._folder is None:
            raise OpskitError("the embedded fleet is not up: call fleet.up(), or use `with Fleet() as fleet:`")
        return self._folder

    @property
    def path(self) -> Path:
        """The inventory's file, YAML."""
        return self.folder / "hosts.yaml"

    @property
    def inventory(self) -> Inventory:
        """The fleet's hosts, read from `path`."""
        from opskit.fleet import load_inventory

        return load_inventory(self.path)

    def up(self) -> None:
        """Start the servers and wait until all of them listen; does nothing if they do.

        Raises:
            SettingsError: The folder given is not empty, or can't be made.
            OpskitError: The server process did not start; says what it said.
        """
        if self._process is not None:
            return
        folder = _private_folder(self._given_folder)
        settings = {
            "hosts": self._hosts,
            "users": _users(),
            "max_sessions": self._max_sessions,
            "keep": self._given_folder is not None,
        }
        _write_private(folder / "settings.json", json.dumps(settings))
        with tempfile.TemporaryFile() as errors:
            self._process = _start(folder, errors)
            self._end = weakref.finalize(self, _end, self._process, folder, settings["keep"], os.getpid())
            self._folder = folder
            try:
                _write_private(self.path, self._inventory_text(json.loads(self._answer())))
            except BaseException as error:
                self.down()
                if not isinstance(error, (OSError, ValueError)):
                    raise
                errors.seek(0)
                said = errors.read().decode(errors="replace").strip() or "nothing on standard error"
                raise OpskitError(f"the embedded fleet did not start: {error}. Its server said:\n{said}") from error

    def down(self) -> None:
        """End the servers, every command that still runs on the hosts, and the folder if it is temporary."""
        if self._end is not None:
            self._end()
        self._process = self._folder = self._end = None

    def stop(self, host: str) -> None:
        """Make one host's server go away: it refuses connections, and drops those that it has.

        Commands that run there live on, as under sshd; `start` brings the server back at the same port.
        """
        self._ask("stop", host)

    def start(self, host: str) -> None:
        """Bring the server of a stopped host back; does nothing if it is there."""
        self._ask("start", host)

    def _ask(self, verb: str, host: str) -> None:
        if host not in self._hosts:
            raise InventoryError(f"the embedded fleet has no host {host!r}{did_you_mean(host, self._hosts)}")
        folder = self.folder  # says so if the fleet is not up
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{verb} {host}\n".encode())
            answer = self._answer()
        except OSError as error:
            raise OpskitError(f"the embedded fleet in {folder} is gone ({error}): call down(), then up()") from error
        if answer != "ok":
            raise OpskitError(f"the embedded fleet could not {verb} {host}: {answer}")

    def _answer(self) -> str:
        """Read one line of the server process, or raise an OSError that says why there is none."""
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + PATIENCE
        line = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise TimeoutError(f"no answer within {PATIENCE:g} s")
                part = os.read(self._process.stdout.fileno(), 65536)
                if not part:
                    raise ConnectionError("the server process ended")
                line += part
        return line.decode().strip()

    def _inventory_text(self, ports: Mapping[str, int]) -> str:
        import yaml

        variables = {
            "known_hosts": str(self.folder / "known_hosts"),
            "identity_files": [str(self.folder / "id_ed25519")],
        }
        hosts = {
            name: {
                "address": "127.0.0.1",
                "port": ports[name],
                "roles": list(roles),
                "vars": {"dc": ("ams", "fra")[number % 2]},
            }
            for number, (name, roles) in enumerate(self._hosts.items())
        }
        document = {"defaults": {"user": USER, "vars": variables}, "hosts": hosts}
        return yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120)


def _words(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _check_names(hosts: Mapping[str, tuple[str, ...]]) -> None:
    if not hosts:
        raise SettingsError("Fleet(roles={}): an embedded fleet has at least one host")
    for host, roles in hosts.items():
        for name in (host, *roles):  # both become names of files
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
                raise SettingsError(
                    f"Fleet(roles=...): {name!r} of host {host!r} can't be a name: use letters, digits, '_', '.', '-'"
                )


def _users() -> list[str]:
    with suppress(KeyError, OSError):  # a container may run under a user id that has no name
        return [USER, getpass.getuser()]
    return [USER]


def _private_folder(given: Path | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="opskit-fleet-"))
    try:
        given.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(given.iterdir()):
            raise SettingsError(f"Fleet(folder={str(given)!r}): the folder is not empty; name a new one")
        given.chmod(0o700)
    except OSError as error:
        raise SettingsError(
            f"Fleet(folder={str(given)!r}): {error.strerror}; name a folder that can be made"
        ) from error
    return given


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _start(folder: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    package = str(Path(__file__).parents[2])  # the server must be of this opskit, wherever it was imported from
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-P", "-m", "opskit.fleetlab.server", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C in the owner's terminal is for the owner
    )


def _end(process: subprocess.Popen[bytes], folder: Path, keep: bool, owner: int) -> None:
    """End the server process by closing its standard input; at the latest when the owner's interpreter exits."""
    if os.getpid() != owner:
        return  # a fork of the owner ends; the fleet is not its own
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
