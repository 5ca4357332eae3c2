"""Making a plan: which branch on which host, in which chunk, with every command rendered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opskit.errors import PlanError
from opskit.masking import mask
from opskit.work.plan import Plan, Step
from opskit.work.plan_display import route

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from opskit.fleet import Host, Inventory
    from opskit.work.branches import Branch
    from opskit.work.template import Rendered, Template
    from opskit.work.terms import RunTerms
    from opskit.work.values import Share


def make_plan(
    hosts: Inventory,
    branches: Sequence[Branch],
    terms: RunTerms,
    known_roles: Collection[str],
    check: Branch | None = None,
) -> Plan:
    """Decide what runs where, without touching any host.

    Every condition is evaluated once for each host, in inventory order; then the commands are rendered.

    Args:
        hosts: The selected hosts.
        branches: In declared order; the `otherwise`, if any, stands anywhere.
        terms: The run's own options.
        known_roles: The roles of the whole inventory, to warn of one that nobody has.
        check: What must pass on each chunk's hosts.

    Raises:
        PlanError: No branch, or more than one `otherwise`.
        ConditionError: A condition raised on a host, or gave no truth value.
        TemplateError: A command, an undo or a key could not be rendered for a host.
    """
    if not branches:
        raise PlanError('there is nothing to run: add a branch, such as when("in_(\'app\')", "uptime")')
    routed = [(host, list(_matching(host, branches))) for host in hosts]
    busy = [(host, matched) for host, matched in routed if matched]
    steps, checks = [], []
    for (host, matched), chunk in zip(busy, _chunk_numbers(len(busy), terms.chunk), strict=True):
        steps += [_step(host, branch, chunk) for branch in matched]
        if check is not None:
            checks.append(_step(host, check, chunk))
    _expect_own_keys(steps)
    return Plan(hosts, tuple(steps), terms, tuple(_warnings(branches, known_roles, steps)), tuple(checks))


def _step(host: Host, branch: Branch, chunk: int) -> Step:
    command, secrets = _rendered(branch.template, host, branch, "command")
    undo, undo_secrets = (None, ()) if branch.undo is None else _rendered(branch.undo, host, branch, "undo")
    return Step(
        host.as_user(branch.terms.user),
        branch.label,
        command,
        branch.terms,
        chunk,
        secrets,
        undo,
        undo_secrets,
        branch.undo_once,
        branch.irreversible,
        None if branch.key is None else _key(branch.key, host, branch),
    )


def _rendered(template: Template, host: Host, branch: Branch, what: str) -> Rendered:
    """The command of a branch for a host, or its undo."""
    made = template.render(host)
    if not made.command.strip():
        raise PlanError(f"{route(branch.label)}: the {what} is empty on {host.name}; there is nothing to run")
    if made.secrets and branch.terms.shell is False:
        raise PlanError(f"{route(branch.label)}: shell=False sends the {what} as it is, so no secret can stand in it")
    return made


def _key(template: Template, host: Host, branch: Branch) -> str:
    if not (key := template.plain(host)).strip():
        raise PlanError(
            f"{route(branch.label)}: the key is empty on {host.name}; what was done could not be told by it"
        )
    if mask(key) != key:
        raise PlanError(
            f"{route(branch.label)}: there is a secret in the key on {host.name}, which the journal can't keep"
        )
    return key


def _expect_own_keys(steps: Sequence[Step]) -> None:
    """Raise PlanError where a key would stand for two commands on one host."""
    known: dict[tuple[str, str], Step] = {}
    for step in steps:
        if step.key is not None and known.setdefault((step.key, step.host.name), step) is not step:
            raise PlanError(f"{route(step.branch)}: the key {step.key!r} stands for two commands on {step.host.name}")


def _matching(host: Host, branches: Sequence[Branch]) -> Iterator[Branch]:
    """The branches of a host: all that match, up to a `last`; else the `otherwise`."""
    matched = False
    for branch in branches:
        if branch.condition is not None and branch.condition.holds(host):
            matched = True
            yield branch
            if branch.last:
                return
    if not matched:
        yield from (branch for branch in branches if branch.otherwise)


def _chunk_numbers(total: int, sizes: tuple[Share, ...] | None) -> Iterator[int]:
    """The chunk of each of `total` hosts; the last size repeats."""
    if sizes is None:
        yield from (1 for _ in range(total))
        return
    done, number = 0, 0
    while done < total:
        size = max(1, sizes[min(number, len(sizes) - 1)].of(total))
        number += 1
        yield from (number for _ in range(min(size, total - done)))
        done += size


def _warnings(branches: Sequence[Branch], known_roles: Collection[str], steps: Sequence[Step]) -> Iterator[str]:
    for branch in branches:
        if branch.condition is not None:
            for role in sorted(branch.condition.asked_roles - set(known_roles)):
                yield f"no host has the role {role!r}, which `{branch.label}` asks for"

    in_commands = [(step.branch, "command", "`stdin` or `env`") for step in steps if step.secrets]
    in_undos = [(step.branch, "undo", "`env`") for step in steps if step.undo_secrets]
    for label, what, better in dict.fromkeys((*in_commands, *in_undos)):
        yield (
            f"{route(label)}: a secret stands in its {what}; a program that takes it as an argument shows it to "
            f"everybody on its host. Better hand it over by {better}"
        )
