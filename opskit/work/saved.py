"""Plans in files: rendered steps, what they are run on, and by which address each host was known."""

from __future__ import annotations

import json
import os
import re
import tempfile
from base64 import b64decode, b64encode
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from opskit import checks
from opskit.errors import InventoryError, OpskitError, PlanChanged, PlanError
from opskit.fleet import Host, Inventory
from opskit.masking import mask
from opskit.secrets import Secret
from opskit.work.options import OPTIONS
from opskit.work.plan import Plan, Step
from opskit.work.quoting import SECRET_VARIABLE
from opskit.work.terms import RunTerms, Terms
from opskit.work.values import Share

if TYPE_CHECKING:
    from os import PathLike

FORMAT: Final = 1

T = TypeVar("T", Terms, RunTerms)


def save(plan: Plan, path: str | PathLike[str]) -> None:
    """Write a plan; see `Plan.save`."""
    terms = {id(step.terms): step.terms for step in (*plan.steps, *plan.checks)}
    numbers = {known: number for number, known in enumerate(terms)}

    def step_text(step: Step) -> dict[str, Any]:
        return {
            "host": step.host.name,
            "branch": step.branch,
            "command": step.command,
            "chunk": step.chunk,
            "terms": numbers[id(step.terms)],
            "secrets": [_packed(secret, "command") for secret in step.secrets],
        }

    content = {
        "opskit_plan": FORMAT,
        "hosts": [_fingerprint(host) for host in plan.hosts],
        "run": _packed_fields(plan.terms),
        "terms": [_packed_fields(found) for found in terms.values()],
        "steps": [step_text(step) for step in plan.steps],
        "checks": [step_text(step) for step in plan.checks],
        "warnings": plan.warnings,
    }
    text = json.dumps(content, indent=1)
    if mask(text) != text:
        raise PlanError("the plan can't be saved: a secret stands in it as plain text; name it by {{ }} in a command")
    _write(_place(path), text)


def _write(place: Path, text: str) -> None:
    """Put a file in place whole or not at all, one that nobody else can read, whatever stood there."""
    try:
        if place.exists() and not place.is_file():
            raise PlanError(f"the plan can't be written to {place}: it is no file")
        descriptor, name = tempfile.mkstemp(prefix=place.name, dir=place.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(place)
        except BaseException:
            Path(name).unlink()
            raise
    except OSError as error:
        raise PlanError(f"the plan can't be written to {place}: {error.strerror}") from error


def load(path: str | PathLike[str]) -> Plan:
    """Read a plan; see `opskit.load_plan`."""
    place = _place(path)
    try:
        if place.exists() and not place.is_file():
            raise PlanError(f"{place}: is no file")
        content = json.loads(place.read_text("utf-8"))
    except OSError as error:
        raise PlanError(f"{place}: can't be read: {error.strerror} (working folder {Path.cwd()})") from error
    except (ValueError, RecursionError) as error:
        raise PlanError(f"{place}: is no plan: {error}") from error
    version = content.get("opskit_plan") if isinstance(content, dict) else None
    if version != FORMAT:
        raise PlanError(f"{place}: is no plan that this opskit can read (format {version}, expected {FORMAT})")
    try:
        return _plan(content)
    except (LookupError, TypeError, ValueError, AttributeError, re.error, OpskitError) as error:
        raise PlanError(f"{place}: is no whole plan: {type(error).__name__}: {error}") from error


def _place(path: object) -> Path:
    try:
        return checks.path(path)
    except ValueError as error:
        raise PlanError(f"a plan's file {path!r} {error}") from None


def _plan(content: dict[str, Any]) -> Plan:
    """The plan, every value of it checked as the option was that it came from."""
    hosts = Inventory(Host(**entry) for entry in content["hosts"])
    secrets: dict[tuple[str, str], Secret] = {}
    terms = [_unpacked_fields(Terms, entry, secrets) for entry in content["terms"]]

    def step(entry: dict[str, Any]) -> Step:
        found = terms[checks.whole(entry["terms"], least=0)]
        given = tuple(checks.a_secret(_unpacked(packed, secrets)) for packed in entry["secrets"])
        command = checks.text(entry["command"])
        named = {int(number) for number in re.findall(rf"{SECRET_VARIABLE}(\d+)", command)}
        if not named <= set(range(1, len(given) + 1)):
            raise ValueError("a command names a secret that the plan does not")
        return Step(
            hosts[entry["host"]].as_user(found.user),
            None if entry["branch"] is None else checks.text(entry["branch"]),
            command,
            found,
            checks.count(entry["chunk"]),
            given,
        )

    steps, of_checks = (tuple(map(step, content[name])) for name in ("steps", "checks"))
    positions = {name: position for position, name in enumerate(hosts.names)}
    order = [(step.chunk, positions[step.host.name]) for step in steps]
    numbers = sorted({step.chunk for step in steps})
    if order != sorted(order) or numbers != list(range(1, len(numbers) + 1)):
        raise ValueError("its steps are not in the order of their chunks and hosts")
    warnings = tuple(map(checks.text, content["warnings"]))
    return Plan(hosts, steps, _unpacked_fields(RunTerms, content["run"], secrets), warnings, of_checks)


def refreshed(plan: Plan, inventory: Inventory) -> Plan:
    """The plan on its hosts as they are in this inventory.

    Raises:
        PlanChanged: One is gone, or has another address, port or user.
    """
    hosts = []
    for planned in plan.hosts:
        try:
            host = inventory[planned.name]
        except InventoryError as error:
            raise PlanChanged(f"the plan was made for {planned.name}, but {error}; nothing was sent") from error
        for name in ("address", "port", "user"):
            was, now = getattr(planned, name), getattr(host, name)
            if was != now:
                raise PlanChanged(
                    f"{host.name} has another {name} than when the plan was made: {now}, not {was}; nothing was sent. "
                    "Make the plan again"
                )
        hosts.append(host)
    now_hosts = Inventory(hosts)

    def moved(step: Step) -> Step:
        return replace(step, host=now_hosts[step.host.name].as_user(step.terms.user))

    return replace(plan, hosts=now_hosts, steps=tuple(map(moved, plan.steps)), checks=tuple(map(moved, plan.checks)))


def _fingerprint(host: Host) -> dict[str, Any]:
    return {
        "name": host.name,
        "address": host.address,
        "port": host.port,
        "user": host.user,
        "roles": sorted(host.roles),
    }


_LEFT_OUT: Final = frozenset({"variables", "template", "dry_run"})
"""What conditions and templates named has been filled in, and is not needed any more."""

_MAPPINGS: Final = frozenset({"env", "answers"})

_MAY_BE_NONE: Final = frozenset(
    ("timeout", "cwd", "on_output", "user", "sudo", "chunk", "max_failures", "name", "check", "parse")
)


def _packed_fields(terms: Terms | RunTerms) -> dict[str, Any]:
    return {name: _packed(getattr(terms, name), name) for name in _kept_fields(type(terms))}


def _unpacked_fields(kind: type[T], entry: dict[str, Any], secrets: dict[tuple[str, str], Secret]) -> T:
    if sorted(entry) != sorted(names := _kept_fields(kind)):
        raise ValueError(f"{', '.join(names)} are expected, not {', '.join(entry)}")
    return kind(**{name: _as_option(name, _unpacked(value, secrets)) for name, value in entry.items()})


def _kept_fields(kind: type[Terms | RunTerms]) -> list[str]:
    return [found.name for found in fields(kind) if found.name not in _LEFT_OUT]


def _as_option(name: str, value: Any) -> Any:
    if value is None and name in _MAY_BE_NONE:
        return None
    try:
        return OPTIONS[name].check(dict(value) if name in _MAPPINGS else value)
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _packed(value: Any, what: str) -> Any:  # noqa: PLR0911 - a table of kinds
    """A value as JSON: what JSON has no word for as an object of its kind and its content."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return {"bytes": b64encode(value).decode()}
        case Path():
            return {"path": str(value)}
        case re.Pattern():
            return {"pattern": value.pattern, "flags": value.flags}
        case Share():
            return f"{value.amount}%" if value.percent else value.amount
        case Secret(source=(kind, name)):
            return {"secret": name, "kind": kind}
        case tuple():
            return [_packed(item, what) for item in value]
    if isinstance(value, Secret):
        raise PlanError(
            f"the plan can't be saved: {what} has a secret that was given as a value, which no file shall hold; "
            'make it with secret(env="NAME") or secret(prompt="...")'
        )
    raise PlanError(f"the plan can't be saved: {what} is a {type(value).__name__}, which no file can hold")


def _unpacked(value: Any, secrets: dict[tuple[str, str], Secret]) -> Any:
    """The value again; a secret that stands in several places is one, for which is asked once."""
    match value:
        case list():
            return tuple(_unpacked(item, secrets) for item in value)
        case {"bytes": str(text)}:
            return b64decode(text, validate=True)
        case {"path": str(text)}:
            return Path(text)
        case {"pattern": str(text), "flags": int(flags)}:
            return re.compile(text, flags)
        case {"secret": str(name), "kind": "env" | "prompt" as kind}:
            return secrets.setdefault((kind, name), Secret(None, (kind, name)))
        case dict():
            raise ValueError(f"no value is of the kind {', '.join(map(repr, value))}")
    return value
