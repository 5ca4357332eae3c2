"""The options of `run`, `parallel` and the magics: one table, from which checks, flags and help are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from opskit import checks
from opskit.errors import PlanError, did_you_mean
from opskit.work import values

if TYPE_CHECKING:
    from os import PathLike

    from opskit.results import Results
    from opskit.secrets import Secret

OnOutput = Callable[[str, str, str], object]
"""Called with a host's name, `stdout` or `stderr`, and one whole line without its end."""

Hosts = Any
"""Patterns, hosts, an Inventory, Results, rows, a DataFrame or Series, or an iterable of those."""


class BranchOptions(TypedDict, total=False):
    """What one branch may set for itself; see `OPTIONS` for what each means."""

    timeout: float | str | None
    connect_timeout: float | str
    user: str
    sudo: bool | str
    env: Mapping[str, object] | str | None
    cwd: str | PathLike[str]
    shell: str | bool
    pty: bool
    stdin: str | bytes | PathLike[str] | Secret | Any
    answers: Mapping[str, str | Secret]
    on_disconnect: Literal["end", "leave"]
    on_output: OnOutput
    undo: str
    undo_once: bool
    irreversible: bool
    key: str


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
    pause: float | str
    check: str | Callable[[Results], object]
    retries: int
    on_error: Literal["stop", "continue", "rollback"]
    max_failures: int | str
    confirm: bool
    parse: Any
    name: str
    variables: Mapping[str, object]
    template: bool


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        check: From what was given to the checked value; raises ValueError with what is allowed.
        doc: One line for help.
        scope: `run`, or `branch` if a branch may set its own; `selection` goes to `Inventory.select`.
        short: Its one-letter flag.
        switch: Whether its flag takes no value; "or value": it may, after a `=`.
        value: What help calls its flag's value.
    """

    check: checks.Check
    doc: str
    scope: Literal["selection", "run", "branch"] = "run"
    short: str | None = None
    switch: bool | Literal["or value"] = False
    value: str = "VALUE"


def _as_given(value: Any) -> Any:
    return value


OPTIONS: Mapping[str, Option] = {
    "roles": Option(_as_given, "hosts that have any of these roles", "selection", short="r", value="ROLES"),
    "hosts": Option(
        _as_given, "hosts by name or pattern, such as web[1-20],db*", "selection", short="w", value="HOSTS"
    ),
    "only": Option(_as_given, "hosts with these vars, such as dc=ams", "selection", value="NAME=VALUE"),
    "except_": Option(_as_given, "hosts without these vars", "selection", value="NAME=VALUE"),
    "limit": Option(_as_given, "the first N of them", "selection", value="N"),
    "once": Option(checks.yes_or_no, "only the first of them", "selection", switch=True),
    "on_no_hosts": Option(
        checks.one_of("error", "skip"), "what becomes of a selection without hosts: error, skip", value="error|skip"
    ),
    "chunk": Option(
        values.chunk_sizes, "hosts between two barriers: N, 25%, or a list such as 1,10%,100%", value="SIZES"
    ),
    "fanout": Option(checks.count, "how many hosts are worked on at once", value="N"),
    "pause": Option(values.pause, "seconds between chunks", value="SECONDS"),
    "check": Option(
        values.check, "a command that must pass on a chunk's hosts before the next one starts", value="COMMAND"
    ),
    "retries": Option(values.rounds, "how often the unreachable are tried again, after a while", value="N"),
    "on_error": Option(
        checks.one_of("stop", "continue", "rollback"),
        "after a bad chunk: stop, continue, or rollback: undo what was sent, then stop",
        value="stop|continue|rollback",
    ),
    "max_failures": Option(
        values.max_failures,
        "after how many bad hosts, N or 10%, nothing more is sent; left out: after a chunk with one",
        value="N|N%",
    ),
    "timeout": Option(checks.limit_in_seconds, "seconds a command may run", "branch", value="SECONDS"),
    "connect_timeout": Option(checks.seconds, "seconds to connect and log in", "branch", value="SECONDS"),
    "user": Option(checks.user, "who logs in", "branch", value="USER"),
    "sudo": Option(
        values.sudo, "run as root, or as another user: --sudo=postgres", "branch", switch="or value", value="USER"
    ),
    "env": Option(checks.environment, 'environment, such as "A=b C=d"', "branch", value="NAME=VALUE"),
    "cwd": Option(values.directory, "folder to run in", "branch", value="FOLDER"),
    "shell": Option(checks.shell, "what runs the command; false: sent as it is", "branch", value="PATH"),
    "pty": Option(checks.yes_or_no, "run in a terminal", "branch", switch=True),
    "stdin": Option(
        values.stdin, "what the command reads; in a shell - is its own standard input", "branch", value="TEXT"
    ),
    "answers": Option(
        values.answers, "what is typed at prompts that match, such as Continue=yes", "branch", value="REGEX=TEXT"
    ),
    "on_disconnect": Option(
        checks.one_of("end", "leave"),
        "what becomes of a command if this side dies: end, leave",
        "branch",
        value="end|leave",
    ),
    "on_output": Option(checks.function, "called with host, stream and each line", "branch", value="FUNCTION"),
    "undo": Option(
        values.undo, "the command that undoes it, on the hosts where it was sent", "branch", value="COMMAND"
    ),
    "undo_once": Option(
        checks.yes_or_no,
        "leave an undo whose outcome was lost to a person: it must not run twice",
        "branch",
        switch=True,
    ),
    "irreversible": Option(checks.yes_or_no, "nothing can undo it: ask before anything is sent", "branch", switch=True),
    "key": Option(
        values.key, "what was done under this key on a host, and not undone, is not done again", "branch", value="TEXT"
    ),
    "name": Option(checks.text, "what the run is called", value="NAME"),
    "dry_run": Option(checks.yes_or_no, "make the plan and send nothing", short="n", switch=True),
    "confirm": Option(checks.yes_or_no, "ask before anything is sent", switch=True),
    "parse": Option(values.parser, "turn output into columns: df, json, csv or any parser of jc", value="PARSER"),
    "wait": Option(checks.yes_or_no, "whether the call waits for the end", value="true|false"),
    "variables": Option(
        values.variables, "names for conditions and templates, such as release=v42", value="NAME=VALUE"
    ),
    "template": Option(checks.yes_or_no, "whether {{ }} is filled in", value="true|false"),
}


def flag_of(name: str) -> str:
    """How an option is written on a command line, a magic's or a shell's."""
    return "--" + name.rstrip("_").replace("_", "-")


SELECTION = frozenset(name for name, option in OPTIONS.items() if option.scope == "selection")
OF_BRANCH = frozenset(name for name, option in OPTIONS.items() if option.scope == "branch")


_UNTOLD = frozenset({"env", "stdin", "variables", "answers"})
"""What may hold a password is not shown."""


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
        shown = "" if name in _UNTOLD else "=" + re.sub(r"\s+", " ", repr(value))[:80]
        raise PlanError(f"{place}: {name}{shown} {error}") from None
