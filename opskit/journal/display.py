"""The journal as text and as HTML: a list of transactions, and one with its moves, steps, undos and notes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, Final

from opskit.record import keys
from opskit.record.moves import words
from opskit.record.standing import is_left, is_owed, status
from opskit.rendering.escape import html, one_line, terminal
from opskit.rendering.excerpt import head_and_tail
from opskit.rendering.folding import fold
from opskit.results import html as results_html
from opskit.results import text as results_text
from opskit.work.plan_display import route

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from opskit.journal.history import History, Summary
    from opskit.record.facts import Account, Kind, Note, Now, Part
    from opskit.results import HostResult

_BLOCKS: Final = 20
_NAMES: Final = 60
_LINE: Final = 300
_COMMAND_LINES, _COMMAND_CHARACTERS = 20, 1_500
_AGAIN: Final = 8


@dataclass(frozen=True, slots=True)
class _Block:
    """What stands together: the steps of one branch, what registered undos there are, or the head of a part.

    Attributes:
        title: Whose steps these are.
        command: What was sent, escaped; None of tasks, and where there is only an undo.
        rows: What became of it.
        undo: What undoes it, escaped.
        undos: What became of that, where it was tried.
        notes: What else is to be said.
    """

    depth: int
    title: str
    command: str | None = None
    rows: Sequence[HostResult] = ()
    undo: str | None = None
    undos: Sequence[HostResult] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, repr=False)
class Listing:
    """Transactions as a table, which displays itself as text and as HTML."""

    summaries: Sequence[Summary]

    def __repr__(self) -> str:
        if not self.summaries:
            return "no transactions"
        rows = [_HEADS, *map(_cells, self.summaries)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, *map(terminal, self._to_do())])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:  # noqa: ARG002 - IPython's signature
        rows = "".join(_row("td", _cells(summary)) for summary in self.summaries)
        table = f"<table><thead>{_row('th', _HEADS)}</thead><tbody>{rows}</tbody></table>" if rows else ""
        notes = "".join(f"<div>{html(note)}</div>" for note in (self._to_do() if rows else ["no transactions"]))
        return {"text/html": _framed(table + notes), "text/plain": repr(self)}

    def _to_do(self) -> list[str]:
        return [f"to do: {summary.what_to_do}" for summary in self.summaries if summary.what_to_do is not None]


_HEADS: Final = (
    "transaction",
    "what",
    "state",
    "who",
    "begun (UTC)",
    "hosts",
    "ok",
    "failed",
    "undone",
    "owed",
    "reason",
)


def _cells(summary: Summary) -> tuple[str, ...]:
    figures = summary.hosts, summary.ok, summary.failed, summary.undone, summary.owed
    return (
        summary.transaction,
        _named(summary.kind, summary.name),
        words(summary.state),
        one_line(f"{summary.who} on {summary.machine}", _NAMES),
        f"{summary.started_at:%Y-%m-%d %H:%M}",
        *(f"{figure:,}" if figure else "" for figure in figures),
        one_line(summary.reason or "", _NAMES),
    )


def as_text(history: History) -> str:
    """One transaction for a terminal."""
    lines = list(_head(history))
    for block in _shown(history):
        lines += _indented(block.depth, [*_titled(block), *_rows(block.rows)])
        if block.undo is not None:
            lines += _indented(block.depth + 1, [f"undo: {block.undo}"])
            lines += _indented(block.depth + 1, _rows(block.undos))
        lines += _indented(block.depth + 1, block.notes)
    return "\n".join([*lines, *_foot(history)])


def as_html(history: History) -> str:
    """One transaction for a notebook."""
    parts = [f"<div>{html(line)}</div>" for line in _head(history)]
    for block in _shown(history):
        inner = f"<div><b>{html(block.title)}</b> {_code(block.command)}</div>{_table(block.rows)}"
        if block.undo is not None:
            inner += f"<div>undo: {_code(block.undo)}</div>{_table(block.undos)}"
        inner += "".join(f"<div>{html(note)}</div>" for note in block.notes)
        parts.append(f'<div style="margin:4px 0 4px {16 * block.depth}px">{inner}</div>')
    return _framed("".join([*parts, *(f"<div>{html(line)}</div>" for line in _foot(history))]))


def _head(history: History) -> Iterator[str]:
    now, begun = history.now, history.now.transaction
    abandoned = " (abandoned: its owner died)" if now.abandoned else ""
    yield f"transaction {begun.id}: {_named(begun.kind, begun.name)}, {words(now.state)}{abandoned}"
    if begun.notebook is not None:
        yield f"begun in {one_line(begun.notebook, _LINE)}"
    for move in history.moves:
        yield f"  {_time(move.at)}  {words(move.state):16}  {_by(move)}"
    if history.locked:
        yield one_line(f"keeps others off {fold(_locked(history))}, until it has ended", _LINE)


def _locked(history: History) -> Iterator[str]:
    """What it keeps others off: hosts by their names, as far as what it can undo tells them."""
    entries, machine = (account.entry for account in history.accounts), history.moves[0].owner.machine
    names = {keys.of_way(entry.way, machine): entry.host for entry in entries}
    return (names.get(key) or keys.for_people(key) for key in history.locked)


def _by(move: Now) -> str:
    return one_line(f"{move.owner}" + (f": {move.why}" if move.why else ""), _LINE)


def _foot(history: History) -> Iterator[str]:
    entries = {account.entry.seq: account.entry for account in history.accounts}

    def alike(note: Note) -> tuple[Any, ...]:
        return tuple(getattr(note, field.name) for field in fields(note) if field.name != "seq")

    for _, found in groupby(history.notes, key=alike):
        notes = list(found)
        first = notes[0]
        hosts = fold(entries[note.seq].host or "functions" for note in notes if note.seq is not None)
        what = "undo on " if first.undo else ""
        settled = f" ({what}{hosts}: {first.old_status}, now {first.new_status})" if hosts else ""
        yield one_line(f"{_time(first.at)}  {first.who}: {first.text}{settled}", _LINE)
    if (to_do := history.summary.what_to_do) is not None:
        yield f"to do: {to_do}"


def _shown(history: History) -> Iterator[_Block]:
    blocks = _Parts(history).blocks(0, history.now.transaction.kind)
    yield from islice(blocks, _BLOCKS)
    if left := sum(1 for _ in blocks):
        yield _Block(0, f"... and {left:,} more: opskit.journal.results({history.now.transaction.id!r}) has every row")


class _Parts:
    """The parts of a transaction, with what belongs to each."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._inner: defaultdict[int, list[Part]] = defaultdict(list)
        for part in history.parts:
            self._inner[part.parent].append(part)
        self._own: defaultdict[int, dict[object, list[Account]]] = defaultdict(dict)
        for account in history.accounts:
            entry = account.entry
            alike = entry.branch, entry.command is None, None if entry.host else entry.undo
            self._own[entry.part].setdefault(alike, []).append(account)

    def blocks(self, number: int, kind: Kind, depth: int = 0) -> Iterator[_Block]:
        """What a part is made of, in the order in which that was begun."""
        if kind == "parallelize":
            yield _Block(depth, "", rows=[self._history.task_row(task) for task in self._inner[number]])
        accounts = {found[0].entry.seq: found for found in self._own[number].values()}
        parts = {part.number: part for part in self._inner[number]}
        for place in sorted([*accounts, *parts]):
            if place in accounts:
                yield _block(self._history, accounts[place], depth)
                continue
            part = parts[place]
            below = self.blocks(part.number, part.kind, depth + 1)
            if (first := next(below, None)) is not None:
                yield _Block(depth, f"{part.number}. {_named(part.kind, part.name)}")
                yield first
                yield from below


def _block(history: History, accounts: Sequence[Account], depth: int) -> _Block:
    first = accounts[0].entry
    tried = [account for account in accounts if status(account, undo=True) != "not_started"]
    return _Block(
        depth,
        "on rollback" if first.command is None else one_line(route(first.branch), _LINE),
        _command(account.entry.command for account in accounts),
        [history.row(account) for account in accounts if account.entry.command is not None],
        _command(account.entry.undo for account in accounts),
        [history.row(account, undo=True) for account in tried],
        [*_again(tried), *_left(history, accounts)],
    )


def _left(history: History, accounts: Sequence[Account]) -> Iterator[str]:
    """What is not undone, and whether it will be."""
    words = ("can be undone", "left to a person, since nobody knows what became of the undo")
    found: dict[str, list[str | None]] = {}
    for account in accounts:
        if is_left(account):
            word = "not undone" if history.now.state == "closed" else words[not is_owed(account)]
            found.setdefault(word, []).append(account.entry.host)
    for word, names in found.items():
        hosts = fold(name for name in names if name)
        yield one_line(f"{word}: {hosts}" if hosts else word, _LINE)


def _again(tried: Iterable[Account]) -> Iterator[str]:
    """Undos that were sent more than once, and why."""
    several = [account for account in tried if len(account.undo_intents) > 1]
    for account in several[:_AGAIN]:
        fates = {outcome.attempt: outcome.status for outcome in account.undo_outcomes}
        each = ", ".join(f"{one.attempt} {fates.get(one.attempt, 'unknown')}" for one in account.undo_intents)
        yield one_line(f"{account.entry.host or 'it'} was undone in several attempts: {each}", _LINE)
    if len(several) > _AGAIN:
        yield f"and so on {len(several) - _AGAIN} more"


def _command(found: Iterable[str | None]) -> str | None:
    """The first of these commands, which come from one template, and how many others there are; escaped."""
    commands = list(dict.fromkeys(command for command in found if command is not None))
    if not commands:
        return None
    whole = head_and_tail(commands[0].rstrip("\n"), lines=_COMMAND_LINES, characters=_COMMAND_CHARACTERS)
    return terminal(whole) + (f"  (and {len(commands) - 1:,} like it)" if len(commands) > 1 else "")


def _titled(block: _Block) -> list[str]:
    words = ": ".join(filter(None, (block.title, block.command)))
    return [words] if words else []


def _rows(rows: Sequence[HostResult]) -> list[str]:
    return _indented(1, [results_text.as_text(rows)]) if rows else []


def _indented(depth: int, texts: Iterable[str]) -> list[str]:
    return ["  " * depth + line for text in texts for line in text.split("\n")]


def _table(rows: Sequence[HostResult]) -> str:
    return results_html.as_html(rows) if rows else ""


def _code(command: str | None) -> str:
    return "" if command is None else f'<code style="white-space:pre-wrap">{html(command)}</code>'


def _row(cell: str, texts: Iterable[str]) -> str:
    return "<tr>" + "".join(f'<{cell} style="text-align:left">{html(text)}</{cell}>' for text in texts) + "</tr>"


def _framed(inner: str) -> str:
    return f'<div class="opskit-journal tex2jax_ignore mathjax_ignore" style="text-align:left">{inner}</div>'


def _named(kind: str, name: str | None) -> str:
    return kind if name is None else f"{kind} {one_line(name, _NAMES)}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
