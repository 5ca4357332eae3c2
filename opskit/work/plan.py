"""The plan: every step that will be sent, in chunks, computed before anything is dialled. It is what runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby
from typing import TYPE_CHECKING

from opskit.errors import PlanError
from opskit.rendering.escape import html, one_line, terminal
from opskit.rendering.excerpt import head_and_tail
from opskit.rendering.folding import fold

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pandas as pd

    from opskit.fleet import Host, Inventory
    from opskit.work.branches import Branch
    from opskit.work.options import RunTerms, Share, Terms

_SHOWN = 200
_COMMAND_LINES, _COMMAND_CHARACTERS = 40, 2_000


@dataclass(frozen=True, slots=True)
class Step:
    """One branch's command on one host.

    Attributes:
        host: Where.
        branch: The condition's text, `else`, or None.
        command: The rendered command.
        terms: How it is run.
        chunk: From 1.
    """

    host: Host
    branch: str | None
    command: str
    terms: Terms
    chunk: int


@dataclass(frozen=True, eq=False)  # without slots: chunks and skipped are made once, when asked for
class Plan:
    """All steps, in chunks. Printing it says what would happen; `df` has a row a step.

    Attributes:
        hosts: The selected hosts, in inventory order.
        steps: In inventory order; a host's steps in the order of their branches.
        warnings: What a person should know before it runs.
        terms: The run's own options.
    """

    hosts: Inventory
    steps: tuple[Step, ...]
    terms: RunTerms
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str | None:
        """What the run is called."""
        return self.terms.name

    @property
    def fanout(self) -> int:
        """How many hosts at most are worked on at once inside a chunk."""
        return self.terms.fanout

    @cached_property
    def chunks(self) -> tuple[tuple[Step, ...], ...]:
        """The steps of each chunk."""
        return tuple(tuple(steps) for _, steps in groupby(self.steps, key=lambda step: step.chunk))

    @cached_property
    def skipped(self) -> tuple[Host, ...]:
        """The hosts that no branch matched. They are never connected to."""
        busy = {step.host.name for step in self.steps}
        return tuple(host for host in self.hosts if host.name not in busy)

    @property
    def df(self) -> pd.DataFrame:
        """A DataFrame with a row a step: chunk (Int64), host, branch (category), command, undo (strings)."""
        from opskit.frames.plan import plan_frame

        return plan_frame(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        chunks, lines = self.chunks, [self._headline()]
        for number, steps in enumerate(chunks, 1):
            lines.append(f"chunk {number} of {len(chunks)}: {fold(_names(steps))}")
            lines += [
                f"  {fold(names)}  [{one_line(_route(branch), 160)}]  "
                + terminal(_faithful(command)).replace("\n", "\n      ")
                for branch, command, names in _folded(steps)
            ]
        shown = _fitting(lines)
        if left := sum(line.count("\n") + 1 for line in lines[shown:]):
            lines[shown:] = [_more(left, "line")]
        if self.skipped:
            lines.append(f"skipped, no branch matches: {fold(host.name for host in self.skipped)}")
        return "\n".join(lines + [f"warning: {terminal(warning)}" for warning in self.warnings])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        cell = '<td style="text-align:left;vertical-align:top;white-space:pre-wrap">{}</td>'
        entries = [
            (number, names, branch, _faithful(command))
            for number, steps in enumerate(self.chunks, 1)
            for branch, command, names in _folded(steps)
        ]
        shown = _fitting([command for *_, command in entries])
        rows = [
            "<tr>"
            + "".join(
                cell.format(text)
                for text in (
                    str(number),
                    html(fold(names)),
                    html(_route(branch)),
                    f'<code style="white-space:pre-wrap">{html(command)}</code>',
                )
            )
            + "</tr>"
            for number, names, branch, command in entries[:shown]
        ]
        notes = [_more(len(entries) - shown, "row")] if len(entries) > shown else []
        notes += [f"skipped, no branch matches: {fold(host.name for host in self.skipped)}"] if self.skipped else []
        notes += [f"⚠ {warning}" for warning in self.warnings]
        heads = "".join(f'<th style="text-align:left">{word}</th>' for word in ("chunk", "hosts", "branch", "command"))
        return (
            f'<div class="opskit-plan tex2jax_ignore mathjax_ignore"><b>{html(self._headline())}</b>'
            f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
            + "".join(f"<div>{html(note)}</div>" for note in notes)
            + "</div>"
        )

    def _headline(self) -> str:
        chunks = self.chunks
        busy = len({step.host.name for step in self.steps})
        where = f"{_counted(len(self.steps), 'step')} on {busy} of {_counted(len(self.hosts), 'host')}"
        how = f"{_counted(len(chunks), 'chunk')}, at most {self.fanout} hosts at once"
        return f"{one_line(self.name or 'plan', 60)}: {where}, {how}"


def make_plan(hosts: Inventory, branches: Sequence[Branch], terms: RunTerms, known_roles: Collection[str]) -> Plan:
    """Decide what runs where, without touching any host.

    Every condition is evaluated once for each host, in inventory order; then the commands are rendered.

    Args:
        hosts: The selected hosts.
        branches: In declared order; the `otherwise`, if any, stands anywhere.
        terms: The run's own options.
        known_roles: The roles of the whole inventory, to warn of one that nobody has.

    Raises:
        PlanError: No branch, or more than one `otherwise`.
        ConditionError: A condition raised on a host, or gave no truth value.
        TemplateError: A command could not be rendered for a host.
    """
    if not branches:
        raise PlanError('there is nothing to run: add a branch, such as when("in_(\'app\')", "uptime")')
    routed = [(host, list(_matching(host, branches))) for host in hosts]
    busy = [(host, matched) for host, matched in routed if matched]
    steps = []
    for (host, matched), chunk in zip(busy, _chunk_numbers(len(busy), terms.chunk), strict=True):
        for branch in matched:
            command = branch.template.render(host)
            if not command.strip():
                raise PlanError(f"{_route(branch.label)}: the command is empty on {host.name}; there is nothing to run")
            steps.append(Step(host, branch.label, command, branch.terms, chunk))
    return Plan(hosts, tuple(steps), terms, tuple(_warnings(branches, known_roles)))


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


def _warnings(branches: Sequence[Branch], known_roles: Collection[str]) -> Iterator[str]:
    for branch in branches:
        if branch.condition is not None:
            for role in sorted(branch.condition.asked_roles - set(known_roles)):
                yield f"no host has the role {role!r}, which `{branch.label}` asks for"


def _folded(steps: Sequence[Step]) -> list[tuple[str | None, str, list[str]]]:
    """Branch, command and hosts: one entry for all hosts that run the same."""
    found: dict[tuple[str | None, str], list[str]] = {}
    for step in steps:
        found.setdefault((step.branch, step.command), []).append(step.host.name)
    return [(branch, command, names) for (branch, command), names in found.items()]


def _faithful(command: str) -> str:
    """A command as it is sent, with its blanks and lines; of a long one head and tail. Not yet escaped."""
    return head_and_tail(command.rstrip("\n"), lines=_COMMAND_LINES, characters=_COMMAND_CHARACTERS)


def _fitting(texts: Sequence[str]) -> int:
    """How many of these make a page: each is shown whole, or not at all."""
    return sum(end <= _SHOWN for end in accumulate(text.count("\n") + 1 for text in texts))


def _names(steps: Sequence[Step]) -> Iterator[str]:
    return iter(dict.fromkeys(step.host.name for step in steps))


def _route(branch: str | None) -> str:
    if branch is None:
        return "all"
    return branch if branch == "else" else f"when {branch}"


def _more(number: int, noun: str) -> str:
    return f"... and {number} more {noun if number == 1 else noun + 's'}; .df has every step"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
