"""The options of `run`, `parallel` and the magics: one table, from which checks, flags and help are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from opskit import checks
from opskit.errors import PlanError, did_you_mean
from opskit.frames.hosts import is_frame

if TYPE_CHECKING:
    from opskit.settings import Settings

OnOutput = Callable[[str, str, str], object]
"""Called with a host's name, `stdout` or `stderr`, and one whole line without its end."""

Hosts = Any
"""Patterns, hosts, an Inventory, Results, rows, a DataFrame or Series, or an iterable of those."""


class BranchOptions(TypedDict, total=False):
    """What one branch may set for itself; see `OPTIONS` for what each means."""

    timeout: float | str | None
    connect_timeout: float | str
    env: Mapping[str, object] | str | None
    cwd: str | PathLike[str]
    shell: str | bool
    stdin: str | bytes | PathLike[str] | Any
    on_output: OnOutput


class RunOptions(BranchOptions, total=False):
    """What a run may set; see `OPTIONS` for what each means."""

    roles: str | Iterable[str]
    hosts: Hosts
    only: str | Iterable[str] | Mapping[str, object]
    except_: str | Iterable[str] | Mapping[str, object]
    limit: int
    once: bool
    on_no_hosts: Literal["error", "skip"]
    chunk: int | str | list[int | str]
    fanout: int
    on_error: Literal["stop", "continue"]
    max_failures: int | str
    name: str
    variables: Mapping[str, object]
    template: bool


@dataclass(frozen=True, slots=True)
class Share:
    """A number of hosts, or a part of them."""

    amount: float
    percent: bool

    def of(self, total: int) -> int:
        """How many of `total` hosts this is, rounded down."""
        # In binary fractions 18.4 % of 375 is a little less than 69.
        return int(total * self.amount / 100 + 1e-9) if self.percent else int(self.amount)


def _share(value: object, *, least: int) -> Share:
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


def _chunk(value: object) -> tuple[Share, ...]:
    """One size, or a list of sizes whose last entry repeats (in text: separated by commas)."""
    if isinstance(value, str) and "," in value:
        value = [part.strip() for part in value.split(",")]
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("must not be an empty list")
        return tuple(_share(entry, least=1) for entry in value)
    return (_share(value, least=1),)


def _max_failures(value: object) -> Share:
    return _share(value, least=0)


def _stdin(value: object) -> bytes | Path:
    """What a command reads: text, bytes, a file's path (as Path), or a frame (as CSV)."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value
    if isinstance(value, PathLike):
        path = checks.path(value)
        if not path.is_file():
            raise ValueError(f"is no file (working folder {Path.cwd()})")
        return path
    if is_frame(value):
        return str(value.to_csv(index=False)).encode()
    raise ValueError("must be text, bytes, a Path or a DataFrame")


def _variables(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("must be a mapping of names to values")
    return dict(value)


def _directory(value: object) -> str:
    return checks.text(str(value) if isinstance(value, PathLike) else value)


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        check: From what was given to the checked value; raises ValueError with what is allowed.
        doc: One line for help.
        scope: `run`, or `branch` if a branch may set its own; `selection` goes to `Inventory.select`.
        short: A magic's one-letter flag.
        switch: Whether its flag takes no value.
        flag: Whether it has a flag at all: not where only Python can say the value.
    """

    check: checks.Check
    doc: str
    scope: Literal["selection", "run", "branch"] = "run"
    short: str | None = None
    switch: bool = False
    flag: bool = True


def _as_given(value: Any) -> Any:
    return value


OPTIONS: Mapping[str, Option] = {
    "roles": Option(_as_given, "hosts that have any of these roles", "selection", short="r"),
    "hosts": Option(_as_given, "hosts by name or pattern, such as web[1-20],db*", "selection", short="w"),
    "only": Option(_as_given, "hosts with these vars, such as dc=ams", "selection"),
    "except_": Option(_as_given, "hosts without these vars", "selection"),
    "limit": Option(_as_given, "the first N of them", "selection"),
    "once": Option(checks.yes_or_no, "only the first of them", "selection", switch=True),
    "on_no_hosts": Option(checks.one_of("error", "skip"), "what becomes of a selection without hosts: error, skip"),
    "chunk": Option(_chunk, "hosts between two barriers: N, 25%, or a list such as 1,10%,100%"),
    "fanout": Option(checks.count, "how many hosts are worked on at once"),
    "on_error": Option(checks.one_of("stop", "continue"), "after a bad chunk: stop, continue"),
    "max_failures": Option(
        _max_failures, "after how many bad hosts, N or 10%, nothing more is sent; left out: after a chunk with one"
    ),
    "timeout": Option(checks.limit_in_seconds, "seconds a command may run", "branch"),
    "connect_timeout": Option(checks.seconds, "seconds to connect and log in", "branch"),
    "env": Option(checks.environment, 'environment, such as "A=b C=d"', "branch"),
    "cwd": Option(_directory, "folder to run in", "branch"),
    "shell": Option(checks.shell, "what runs the command; false: sent as it is", "branch"),
    "stdin": Option(_stdin, "what the command reads", "branch"),
    "on_output": Option(checks.function, "called with host, stream and each line", "branch", flag=False),
    "name": Option(checks.text, "what the run is called"),
    "dry_run": Option(checks.yes_or_no, "make the plan and send nothing", short="n", switch=True),
    "variables": Option(_variables, "names for conditions and templates", flag=False),
    "template": Option(checks.yes_or_no, "whether {{ }} is filled in", flag=True),
}

SELECTION = frozenset(name for name, option in OPTIONS.items() if option.scope == "selection")
OF_BRANCH = frozenset(name for name, option in OPTIONS.items() if option.scope == "branch")


@dataclass(frozen=True, slots=True)
class Terms:
    """How one branch's command is run; shared by all its steps."""

    timeout: float | None
    connect_timeout: float
    env: tuple[tuple[str, str], ...]
    cwd: str | None
    shell: str | Literal[False]
    stdin: bytes | Path
    on_output: OnOutput | None


@dataclass(frozen=True, slots=True)
class RunTerms:
    """How a run goes, apart from its branches."""

    chunk: tuple[Share, ...] | None
    fanout: int
    on_error: Literal["stop", "continue"]
    max_failures: Share | None
    on_no_hosts: Literal["error", "skip"]
    name: str | None
    dry_run: bool
    template: bool
    variables: Mapping[str, object]


def checked(given: Mapping[str, Any], known: Iterable[str], place: str) -> dict[str, Any]:
    """Check the options that were given to `place`. None leaves an option out, but for those where None says something.

    Raises:
        PlanError: An option is unknown here, or its value is bad; says what is allowed.
    """
    allowed = frozenset(known)
    for name in given:
        if name not in allowed:
            elsewhere = "; it belongs to the whole run" if name in OPTIONS else did_you_mean(name, allowed)
            raise PlanError(f"{place}: no option is called {name!r}{elsewhere}")
    telling = SELECTION | {"timeout"}
    return {name: _check(name, value, place) for name, value in given.items() if value is not None or name in telling}


def _check(name: str, value: Any, place: str) -> Any:
    try:
        return OPTIONS[name].check(value)
    except ValueError as error:
        # What may hold a password is not shown.
        shown = "" if name in ("env", "stdin", "variables") else "=" + re.sub(r"\s+", " ", repr(value))[:80]
        raise PlanError(f"{place}: {name}{shown} {error}") from None


def run_terms(given: Mapping[str, Any], settings: Settings) -> RunTerms:
    """From a run's checked options."""
    return RunTerms(
        chunk=given.get("chunk"),
        fanout=given.get("fanout", settings.fanout),
        on_error=given.get("on_error", "stop"),
        max_failures=given.get("max_failures"),
        on_no_hosts=given.get("on_no_hosts", "error"),
        name=given.get("name"),
        dry_run=given.get("dry_run", False),
        template=given.get("template", True),
        variables=given.get("variables", {}),
    )


def branch_terms(of_run: Mapping[str, Any], of_branch: Mapping[str, Any], settings: Settings, place: str) -> Terms:
    """From the settings, the run's checked options, and the branch's own, which win (`env` by name).

    Raises:
        PlanError: `shell=False` together with `env` or `cwd`, which only a shell could carry out.
    """
    given = {**of_run, **of_branch}
    env = {**dict(settings.env), **dict(of_run.get("env", ())), **dict(of_branch.get("env", ()))}
    terms = Terms(
        timeout=given.get("timeout", settings.timeout),
        connect_timeout=given.get("connect_timeout", settings.connect_timeout),
        env=tuple(env.items()),
        cwd=given.get("cwd"),
        shell=given.get("shell", settings.shell),
        stdin=given.get("stdin", b""),
        on_output=given.get("on_output"),
    )
    if terms.shell is False and (terms.env or terms.cwd):
        culprit = "env" if terms.env else "cwd"
        raise PlanError(f"{place}: shell=False sends the command as it is, so {culprit} can't be set for it")
    return terms
