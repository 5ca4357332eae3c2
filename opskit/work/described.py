"""How a step and a run go, in words: what is not as usual, for who reads a plan before it is applied."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opskit.masking import mask
from opskit.secrets import Secret
from opskit.work.quoting import SECRET_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opskit.work.plan import Plan, Step
    from opskit.work.terms import RunTerms

_USUAL_SHELL: Final = "/bin/sh"
_SELDOM: Final = ("pause", "retries", "max_failures", "on_error", "confirm", "parse")
_OF_A_RUN: Final = ("chunk", "fanout", *_SELDOM)


def described(step: Step) -> str:
    """Who a step is on its host, where, and with what; empty if all is as usual. Values of `env` are not shown."""
    return ", ".join(_words(step))


def _words(step: Step) -> Iterator[str]:  # noqa: C901, PLR0912 - one line an option
    terms = step.terms
    if terms.user is not None:
        yield f"user {terms.user}"
    if terms.sudo is not None:
        yield f"sudo {terms.sudo}"
    if terms.cwd is not None:
        yield f"in {terms.cwd}"
    if terms.env:
        yield "env " + " ".join(f"{name}={value!r}" if isinstance(value, Secret) else name for name, value in terms.env)
    if terms.shell != _USUAL_SHELL:
        yield f"shell {terms.shell}"
    if terms.pty:
        yield "pty"
    if isinstance(terms.stdin, Path):
        yield f"stdin from {terms.stdin}"
    elif terms.stdin:
        yield f"stdin {terms.stdin!r}" if isinstance(terms.stdin, Secret) else f"stdin of {len(terms.stdin)} bytes"
    if terms.answers:
        yield "answers " + " ".join(repr(pattern.pattern) for pattern, _ in terms.answers)
    if terms.timeout is not None:
        yield f"timeout {terms.timeout:g} s"
    if terms.on_disconnect == "leave":
        yield "left running if this side dies"
    for number, secret in enumerate(step.secrets, 1):
        yield f"{SECRET_VARIABLE}{number} is {secret!r}"
    for number, secret in enumerate(step.undo_secrets, 1):
        yield f"in its undo {SECRET_VARIABLE}{number} is {secret!r}"
    if step.undo_once:
        yield "undone once at most"
    if step.irreversible:
        yield "irreversible"
    if step.key is not None:
        yield f"key {step.key}"


def of_run(terms: RunTerms) -> dict[str, str]:
    """A run's own options that are not as usual, by name."""
    usual = {found.name: found.default for found in fields(terms)}
    return {name: _text(value) for name in _SELDOM if (value := getattr(terms, name)) != usual[name]}


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


Change = tuple[str, "int | None", "str | None", "str | None", "str | None", "str | None"]
"""A row of `Plan.diff`."""


def changes(plan: Plan, other: Plan) -> list[Change]:
    """What differs: the options of the run, then each step that is in one of the two alone or is not the same."""
    found: list[Change] = []
    for name in _OF_A_RUN:
        here, there = (f"{name} {_text(getattr(each.terms, name))}" for each in (plan, other))
        if here != there:
            found.append(("changed", None, None, None, here, there))
    steps, others = _numbered(plan), _numbered(other)
    for key in dict.fromkeys((*steps, *others)):
        step, was = steps.get(key), others.get(key)
        if step is not None and was is not None and _content(step) == _content(was):
            continue
        change = "removed" if step is None else "added" if was is None else "changed"
        chunk = (step or was).chunk  # type: ignore[union-attr]  # one of the two is there
        found.append((change, chunk, *key[:2], _line(step), _line(was)))
    return found


def _content(step: Step) -> tuple[object, ...]:
    """What must be equal for two steps to be the same; secrets are known by their names."""
    terms = [(found.name, getattr(step.terms, found.name)) for found in fields(step.terms) if found.name != "on_output"]
    undoing = (step.undo, repr(step.undo_secrets), step.undo_once, step.irreversible)
    return step.command, repr(terms), repr(step.secrets), undoing, step.key


def _line(step: Step | None) -> str | None:
    if step is None:
        return None
    how, undo = described(step), step.undo
    return mask(step.command + (f"  [{how}]" if how else "") + ("" if undo is None else f"  undo: {undo}"))


def _numbered(plan: Plan) -> dict[tuple[str, str | None, int], Step]:
    """Steps and checks by host, branch, and which one of those it is."""
    found: dict[tuple[str, str | None, int], Step] = {}
    for step in (*plan.steps, *plan.checks):
        number = 1
        while (step.host.name, step.branch, number) in found:
            number += 1
        found[step.host.name, step.branch, number] = step
    return found
