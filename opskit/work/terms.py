"""What holds in the end for a branch and for a run: the call's options over the settings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from opskit.errors import PlanError
from opskit.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from opskit.results import Results
    from opskit.settings import Settings
    from opskit.work.options import OnOutput
    from opskit.work.values import Answers, Share


@dataclass(frozen=True)  # without slots: the terms of its undo are made once, for all its steps
class Terms:
    """How one branch's command is run; shared by all its steps."""

    timeout: float | None
    connect_timeout: float
    shell: str | Literal[False]
    on_disconnect: Literal["end", "leave"]
    env: tuple[tuple[str, str | Secret], ...] = ()
    cwd: str | None = None
    stdin: bytes | Path | Secret = b""
    on_output: OnOutput | None = None
    user: str | None = None
    sudo: str | None = None
    pty: bool = False
    answers: Answers = ()

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The secrets that these terms hold."""
        given = (self.stdin, *(value for _, value in (*self.env, *self.answers)))
        return tuple(value for value in given if isinstance(value, Secret))

    @cached_property
    def of_undo(self) -> Terms:
        """How what these terms ran is undone: the same way, but with nothing to read, and with nobody who listens."""
        return replace(self, stdin=b"", on_output=None)


@dataclass(frozen=True, slots=True)
class RunTerms:
    """How a run goes, apart from its branches.

    Attributes:
        in_turn: Whether the steps of a host wait for each other, as undos do; no option.
    """

    fanout: int
    chunk: tuple[Share, ...] | None = None
    pause: float = 0.0
    check: str | Callable[[Results], object] | None = None
    retries: int = 0
    on_error: Literal["stop", "continue", "rollback"] = "stop"
    max_failures: Share | None = None
    on_no_hosts: Literal["error", "skip"] = "error"
    name: str | None = None
    dry_run: bool = False
    confirm: bool = False
    wait: bool = True
    parse: Any = None
    template: bool = True
    in_turn: bool = False
    variables: Mapping[str, object] = field(default_factory=dict)


def run_terms(given: Mapping[str, Any], settings: Settings) -> RunTerms:
    """From a run's checked options."""
    return RunTerms(**_fields_of(RunTerms, {"fanout": settings.fanout, **given}))


def branch_terms(of_run: Mapping[str, Any], of_branch: Mapping[str, Any], settings: Settings, place: str) -> Terms:
    """From the settings, the run's checked options, and the branch's own, which win (`env` by name).

    Raises:
        PlanError: `shell=False` together with `env`, `cwd` or `sudo`, which only a shell could carry out; or `answers`
            with `pty=False`.
    """
    inherited = {name: getattr(settings, name) for name in ("timeout", "connect_timeout", "shell", "on_disconnect")}
    given = {**inherited, **of_run, **of_branch}
    env = {**dict(settings.env), **dict(of_run.get("env", ())), **dict(of_branch.get("env", ()))}
    pty = given.get("pty", bool(given.get("answers")))
    terms = Terms(**_fields_of(Terms, {**given, "env": tuple(env.items()), "pty": pty}))
    for name in ("env", "cwd", "sudo"):
        if terms.shell is False and getattr(terms, name):
            raise PlanError(f"{place}: shell=False sends the command as it is, so {name} can't be set for it")
    if terms.answers and not terms.pty:
        raise PlanError(f"{place}: answers need a terminal to be typed at, so pty can't be False")
    return terms


def _fields_of(kind: type[Terms | RunTerms], given: Mapping[str, Any]) -> dict[str, Any]:
    names = {found.name for found in fields(kind)}
    return {name: value for name, value in given.items() if name in names}
