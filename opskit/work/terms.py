"""What holds in the end for a branch and for a run: the call's options over the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from opskit.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from opskit.results import Results
    from opskit.secrets import Secret
    from opskit.settings import Settings
    from opskit.work.options import OnOutput
    from opskit.work.values import Answers, Share


@dataclass(frozen=True, slots=True)
class Terms:
    """How one branch's command is run; shared by all its steps."""

    timeout: float | None
    connect_timeout: float
    env: tuple[tuple[str, str | Secret], ...]
    cwd: str | None
    shell: str | Literal[False]
    stdin: bytes | Path | Secret
    on_output: OnOutput | None
    user: str | None = None
    sudo: str | None = None
    pty: bool = False
    answers: Answers = ()
    on_disconnect: Literal["end", "leave"] = "end"


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
    pause: float = 0.0
    check: str | Callable[[Results], object] | None = None
    retries: int = 0
    confirm: bool = False
    parse: Any = None
    wait: bool = True


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
        pause=given.get("pause", 0.0),
        check=given.get("check"),
        retries=given.get("retries", 0),
        confirm=given.get("confirm", False),
        parse=given.get("parse"),
        wait=given.get("wait", True),
    )


def branch_terms(of_run: Mapping[str, Any], of_branch: Mapping[str, Any], settings: Settings, place: str) -> Terms:
    """From the settings, the run's checked options, and the branch's own, which win (`env` by name).

    Raises:
        PlanError: `shell=False` together with `env`, `cwd` or `sudo`, which only a shell could carry out; or `answers`
            with `pty=False`.
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
        user=given.get("user"),
        sudo=given.get("sudo"),
        pty=bool(given.get("pty", bool(given.get("answers")))),
        answers=given.get("answers", ()),
        on_disconnect=given.get("on_disconnect", settings.on_disconnect),
    )
    for name in ("env", "cwd", "sudo"):
        if terms.shell is False and getattr(terms, name):
            raise PlanError(f"{place}: shell=False sends the command as it is, so {name} can't be set for it")
    if terms.answers and not terms.pty:
        raise PlanError(f"{place}: answers need a terminal to be typed at, so pty can't be False")
    return terms
