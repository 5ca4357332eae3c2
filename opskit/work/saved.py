"""Plans in files: rendered steps, what they are run on, and by which address each host was known."""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opskit import checks
from opskit.errors import InventoryError, PlanChanged, PlanError
from opskit.fleet import Host, Inventory
from opskit.masking import mask
from opskit.work.kept import UNREADABLE, Known, fingerprint, packed, packed_fields, unpacked_all, unpacked_fields
from opskit.work.plan import Plan, Step
from opskit.work.quoting import SECRET_VARIABLE
from opskit.work.terms import RunTerms, Terms

if TYPE_CHECKING:
    from os import PathLike

    from opskit.secrets import Secret

FORMAT: Final = 2


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
            "secrets": [packed(secret, "command") for secret in step.secrets],
            "undo": step.undo,
            "undo_secrets": [packed(secret, "undo") for secret in step.undo_secrets],
            "undo_once": step.undo_once,
            "irreversible": step.irreversible,
            "key": step.key,
        }

    content = {
        "opskit_plan": FORMAT,
        "hosts": [fingerprint(host) for host in plan.hosts],
        "run": packed_fields(plan.terms),
        "terms": [packed_fields(found) for found in terms.values()],
        "steps": [step_text(step) for step in plan.steps],
        "checks": [step_text(step) for step in plan.checks],
        "warnings": plan.lasting,
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
    except UNREADABLE as error:
        raise PlanError(f"{place}: is no whole plan: {type(error).__name__}: {error}") from error


def _place(path: object) -> Path:
    try:
        return checks.path(path)
    except ValueError as error:
        raise PlanError(f"a plan's file {path!r} {error}") from None


def _plan(content: dict[str, Any]) -> Plan:
    """The plan, every value of it checked as the option was that it came from."""
    hosts = Inventory(Host(**entry) for entry in content["hosts"])
    secrets: Known = {}
    terms = [unpacked_fields(Terms, entry, secrets) for entry in content["terms"]]

    def step(entry: dict[str, Any]) -> Step:
        found = terms[checks.whole(entry["terms"], least=0)]
        undo = _text_or_none(entry["undo"])
        return Step(
            hosts[entry["host"]].as_user(found.user),
            _text_or_none(entry["branch"]),
            command := checks.text(entry["command"]),
            found,
            checks.count(entry["chunk"]),
            _named(entry["secrets"], command, "command", secrets),
            undo,
            _named(entry["undo_secrets"], undo or "", "undo", secrets),
            checks.yes_or_no(entry["undo_once"]),
            checks.yes_or_no(entry["irreversible"]),
            _text_or_none(entry["key"]),
        )

    steps, of_checks = (tuple(map(step, content[name])) for name in ("steps", "checks"))
    positions = {name: position for position, name in enumerate(hosts.names)}
    order = [(step.chunk, positions[step.host.name]) for step in steps]
    numbers = sorted({step.chunk for step in steps})
    if order != sorted(order) or numbers != list(range(1, len(numbers) + 1)):
        raise ValueError("its steps are not in the order of their chunks and hosts")
    warnings = tuple(map(checks.text, content["warnings"]))
    return Plan(hosts, steps, unpacked_fields(RunTerms, content["run"], secrets), warnings, of_checks)


def _text_or_none(value: object) -> str | None:
    return None if value is None else checks.text(value)


def _named(entries: Any, text: str, what: str, secrets: Known) -> tuple[Secret, ...]:
    """The secrets of a command or an undo, at least all that it names."""
    given = unpacked_all(entries, what, secrets)
    named = {int(number) for number in re.findall(rf"{SECRET_VARIABLE}(\d+)", text)}
    if not named <= set(range(1, len(given) + 1)):
        raise ValueError(f"a {what} names a secret that the plan does not")
    return given


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
