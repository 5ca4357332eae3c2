"""A plan as text and as HTML: what would happen, folded, each command as it is sent."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from opskit.masking import mask
from opskit.rendering.escape import html, one_line, terminal
from opskit.rendering.excerpt import head_and_tail
from opskit.rendering.folding import fold
from opskit.work.described import described, of_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opskit.work.plan import Plan, Step

_SHOWN = 200
_COMMAND_LINES, _COMMAND_CHARACTERS = 40, 2_000


def as_text(plan: Plan) -> str:
    """The plan for a terminal."""
    chunks, lines = plan.chunks, [_headline(plan)]
    for number, steps in enumerate(chunks, 1):
        lines.append(f"chunk {number} of {len(chunks)}: {fold(_names(steps))}")
        for (how, command, undo), names in _folded(steps).items():
            shown = terminal(_faithful(command)).replace("\n", "\n      ")
            # Less indented than the lines of a command can be, so that none of them is taken for it.
            undone = "" if undo is None else "\n    undo: " + terminal(_faithful(undo)).replace("\n", "\n      ")
            lines.append(f"  {fold(names)}  [{one_line(how, 160)}]  {shown}{undone}")
    fit = _fitting(lines)
    if left := sum(line.count("\n") + 1 for line in lines[fit:]):
        lines[fit:] = [_more(left, "line")]
    lines += map(terminal, _notes(plan))
    return "\n".join(lines + [f"warning: {terminal(warning)}" for warning in plan.warnings])


def as_html(plan: Plan) -> str:
    """The plan for a notebook."""
    cell = '<td style="text-align:left;vertical-align:top;white-space:pre-wrap">{}</td>'
    entries = [
        (number, names, how, _faithful(command), None if undo is None else _faithful(undo))
        for number, steps in enumerate(plan.chunks, 1)
        for (how, command, undo), names in _folded(steps).items()
    ]
    shown = _fitting([command if undo is None else f"{command}\n{undo}" for *_, command, undo in entries])
    rows = [
        "<tr>"
        + "".join(
            cell.format(text)
            for text in (
                str(number),
                html(fold(names)),
                html(how),
                _code(command) + ("" if undo is None else f"<div>undo: {_code(undo)}</div>"),
            )
        )
        + "</tr>"
        for number, names, how, command, undo in entries[:shown]
    ]
    notes = [_more(len(entries) - shown, "row")] if len(entries) > shown else []
    notes += [*_notes(plan), *(f"⚠ {warning}" for warning in plan.warnings)]
    heads = "".join(f'<th style="text-align:left">{word}</th>' for word in ("chunk", "hosts", "branch", "command"))
    return (
        f'<div class="opskit-plan tex2jax_ignore mathjax_ignore"><b>{html(_headline(plan))}</b>'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        + "".join(f"<div>{html(note)}</div>" for note in notes)
        + "</div>"
    )


def _headline(plan: Plan) -> str:
    chunks = plan.chunks
    busy = len({step.host.name for step in plan.steps})
    where = f"{_counted(len(plan.steps), 'step')} on {busy} of {_counted(len(plan.hosts), 'host')}"
    how = f"{_counted(len(chunks), 'chunk')}, at most {plan.fanout} hosts at once"
    return f"{one_line(plan.name or 'plan', 60)}: {where}, {how}"


def _notes(plan: Plan) -> Iterator[str]:
    if plan.checks:
        checks = dict.fromkeys(one_line(step.command, 160) for step in plan.checks)
        yield f"after each chunk, on its hosts: {' | '.join(list(checks)[:3])}"
    if options := of_run(plan.terms):
        yield ", ".join(f"{name} {value}" for name, value in options.items())
    if plan.undoable or plan.terms.on_error == "rollback" or any(step.irreversible for step in plan.steps):
        yield _how_much_can_be_undone(plan)
    if plan.skipped:
        yield f"skipped, no branch matches: {fold(host.name for host in plan.skipped)}"
    yield from plan.notes


def _how_much_can_be_undone(plan: Plan) -> str:
    can = f"{plan.undoable} of {_counted(len(plan.steps), 'step')} can be undone"
    first = next((step.chunk for step in plan.steps if step.undo is None), None)
    return can if first is None or not plan.undoable else f"{can}; after chunk {first} not all can be undone any more"


def _folded(steps: Sequence[Step]) -> dict[tuple[str, str, str | None], list[str]]:
    """Hosts by route, command and undo: one entry for all that run the same."""
    found: dict[tuple[str, str, str | None], list[str]] = {}
    for step in steps:
        found.setdefault((_how(step), step.command, step.undo), []).append(step.host.name)
    return found


def _how(step: Step) -> str:
    """The route of a step, and what is not usual about it."""
    return ", ".join(filter(None, (route(step.branch), described(step))))


def _code(command: str) -> str:
    return f'<code style="white-space:pre-wrap">{html(command)}</code>'


def _faithful(command: str) -> str:
    """A command as it is sent, with its blanks and lines; of a long one head and tail. Not yet escaped."""
    return head_and_tail(mask(command).rstrip("\n"), lines=_COMMAND_LINES, characters=_COMMAND_CHARACTERS)


def _fitting(texts: Sequence[str]) -> int:
    """How many of these make a page: each is shown whole, or not at all."""
    return sum(end <= _SHOWN for end in accumulate(text.count("\n") + 1 for text in texts))


def _names(steps: Sequence[Step]) -> Iterator[str]:
    return iter(dict.fromkeys(step.host.name for step in steps))


def route(branch: str | None) -> str:
    """A branch as people name it."""
    if branch is None:
        return "all"
    return branch if branch == "else" else f"when {branch}"


def _more(number: int, noun: str) -> str:
    return f"... and {number} more {noun if number == 1 else noun + 's'}; .df has every step"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
