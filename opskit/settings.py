"""Every knob, in one typed place: defaults < file < environment < `configure` < a call's own argument."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from opskit import checks
from opskit.defaults import Change, Default
from opskit.errors import SettingsError, did_you_mean
from opskit.masking import MASK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opskit.secrets import Secret


def _setting(default: Any, check: checks.Check, doc: str) -> Any:
    return field(default=default, metadata={"check": check, "doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings:
    """The settings as they hold now: read as `opskit.settings.fanout`, changed by `opskit.configure`."""

    ssh_config: tuple[Path, ...] | None = _setting(
        None, checks.paths, "ssh's configuration files, or none; as ssh: ~/.ssh/config and /etc/ssh/ssh_config"
    )
    known_hosts: tuple[Path, ...] | None = _setting(
        None, checks.paths, "files of known host keys; as ssh: ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts"
    )
    identity_files: tuple[Path, ...] | None = _setting(
        None, checks.paths, "private keys to log in with; as ssh: ~/.ssh/id_ed25519, id_ecdsa, id_rsa"
    )
    agent: bool = _setting(True, checks.yes_or_no, "whether the ssh agent's keys are tried")
    host_keys: Literal["strict", "accept-new", "off"] = _setting(
        "strict", checks.one_of("strict", "accept-new", "off"), "what becomes of a host whose key is not known"
    )
    connect_timeout: float = _setting(10.0, checks.seconds, "seconds to connect and log in")
    timeout: float | None = _setting(None, checks.limit_in_seconds, "seconds a command may run; None: no limit")
    keepalive: float = _setting(15.0, checks.seconds, "seconds of silence before a host is asked; lost after 3")
    fanout: int = _setting(64, checks.count, "how many hosts are worked on at once")
    parallelize_chunk: int = _setting(10, checks.count, "how many tasks of a `parallelize` run at once")
    connections_per_host: int = _setting(2, checks.count, "how many connections to one host at most")
    idle_seconds: float = _setting(300.0, checks.seconds, "how long an unused connection is kept")
    max_output: int = _setting(1024 * 1024, checks.size, "bytes kept of each output stream, head and tail")
    shell: str | Literal[False] = _setting("/bin/sh", checks.shell, "what runs commands; False: sent as they are")
    env: tuple[tuple[str, str | Secret], ...] = _setting((), checks.environment, "environment of every command")
    on_disconnect: Literal["end", "leave"] = _setting(
        "end", checks.one_of("end", "leave"), "what becomes of a command if this side dies"
    )
    secrets: tuple[tuple[str, Secret], ...] = _setting((), checks.secrets, "passwords: of login, sudo, passphrase")
    protected_roles: tuple[str, ...] = _setting((), checks.words, "roles whose hosts are asked about before a run")
    yes: bool = _setting(False, checks.yes_or_no, "whether every confirmation is answered with yes")
    inventory: Path | None = _setting(None, checks.path, "the inventory used where none was named")  # noqa: RUF009 - only a field
    journal: str | None = _setting(
        None, checks.text, "the journal's file, or the URL of its database; None: a file in the user's state folder"
    )

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={_shown(name, getattr(self, name))}' for name in _FIELDS)})"


_FIELDS = {found.name: found for found in fields(Settings)}
_UNTOLD: Final = frozenset({"env", "secrets"})
"""What may hold a password: of it only names are shown."""

_PASSWORD_IN_URL: Final = re.compile(r"(?<=://)([^:/@]*):.*@|(?<=password=)[^&]*", re.DOTALL)

_LISTS_OF_PATHS = {name for name, found in _FIELDS.items() if found.metadata["check"] is checks.paths}


@dataclass(frozen=True, slots=True)
class _Given:
    """Settings that `configure` was given, checked."""

    values: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        return ", ".join(f"{name}={_shown(name, value)}" for name, value in self.values)


def _shown(name: str, value: Any) -> str:
    """A value for people to read."""
    if name in _UNTOLD:
        return " ".join(key for key, _ in value)
    if name != "journal":
        return repr(value)
    return repr(_without_password(value)) if isinstance(value, str) else _without_password(repr(value))


def _without_password(url: str) -> str:
    """A URL of which the password, wherever it stands, is masked."""
    return _PASSWORD_IN_URL.sub(lambda found: MASK if found[1] is None else f"{found[1]}:{MASK}@", url)


_configured: Default[_Given] = Default("opskit_settings", _Given())


def current() -> Settings:
    """The settings that hold for the caller now.

    Raises:
        SettingsError: The file or the environment holds an unknown name or a bad value.
    """
    changes = {**_from_file(configuration_file()), **_from_environment(), **dict(_configured.get().values)}
    return replace(Settings(), **changes) if changes else Settings()


def configure(**values: object) -> Change[_Given]:
    """Change settings for this process, or as `with opskit.configure(...)` for the block alone.

    Inside such a block, or a task, a plain call changes them for the rest of that block or task.

    Raises:
        SettingsError: An unknown name or a bad value; nothing was changed.
    """
    checked = {name: _checked(name, value, "configure()") for name, value in values.items()}
    merged = {**dict(_configured.get().values), **checked}
    return _configured.set(_Given(tuple(merged.items())))


def configuration_file() -> Path:
    """The user's own file, `opskit/config.toml` in the configuration folder of the system."""
    import platformdirs

    return Path(platformdirs.user_config_dir("opskit", appauthor=False)) / "config.toml"


def describe() -> list[tuple[str, str, str]]:
    """Name, value and meaning of every setting, for people to read."""
    now = current()
    return [(name, _shown(name, getattr(now, name)), found.metadata["doc"]) for name, found in _FIELDS.items()]


def _checked(name: str, value: object, source: str) -> Any:
    if name not in _FIELDS:
        raise SettingsError(f"{source}: no setting is called {name!r}{did_you_mean(name, _FIELDS)}")
    if value is None and _FIELDS[name].default is None:
        return None
    try:
        return _FIELDS[name].metadata["check"](value)
    except ValueError as error:
        shown = "" if name in _UNTOLD else f" = {_shown(name, value)}"
        raise SettingsError(f"{source}: {name}{shown} {error}") from None


def _from_environment() -> dict[str, Any]:
    prefix = "OPSKIT_"
    found = {}
    for variable, value in os.environ.items():
        if not variable.startswith(prefix):
            continue
        name = variable.removeprefix(prefix).lower()
        if name in _FIELDS:
            given = value.split(os.pathsep) if name in _LISTS_OF_PATHS else value
            found[name] = _checked(name, given, f"environment variable {variable}")
        elif near := difflib.get_close_matches(name, _FIELDS, n=1, cutoff=0.75):
            # What resembles no setting is left alone: others may use the prefix too.
            meant = prefix + near[0].upper()
            raise SettingsError(f"environment variable {variable}: no setting is called so; did you mean {meant}?")
    return found


def _from_file(path: Path) -> Mapping[str, Any]:
    try:
        stamp = path.stat()
    except OSError:
        return {}
    return _parsed_file(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=4)
def _parsed_file(path: Path, changed: int, length: int) -> Mapping[str, Any]:  # noqa: ARG001 - the cache's key
    import tomllib

    try:
        content = path.read_text("utf-8")
        values = tomllib.loads(content)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: can't be read: {error}") from error
    lines = content.splitlines()

    def line_of(name: str) -> int:
        key = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[].=]""")
        return next((number for number, line in enumerate(lines, 1) if key.match(line)), 1)

    return {name: _checked(name, value, f"{path}, line {line_of(name)}") for name, value in values.items()}


class _Current:
    """`opskit.settings`: each reading of an attribute gives what holds now."""

    def __getattr__(self, name: str) -> object:
        if name in _FIELDS:
            return getattr(current(), name)
        if name.startswith("_"):
            raise AttributeError(name)
        raise SettingsError(f"no setting is called {name!r}{did_you_mean(name, _FIELDS)}")

    def __setattr__(self, name: str, value: object) -> None:
        configure(**{name: value})

    def __dir__(self) -> list[str]:
        return list(_FIELDS)

    def __repr__(self) -> str:
        return "\n".join(f"{name} = {value}" for name, value, _ in describe())


settings: Settings = cast("Settings", _Current())
