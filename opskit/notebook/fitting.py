"""What fits where the cursor stands in a cell of ours, for Tab. Knows no IPython; asks no network."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

from opskit.fleet import Host, Inventory
from opskit.fleet.ranges import split_names
from opskit.fleet.readers import READERS
from opskit.notebook.cell import beginnings, settable
from opskit.notebook.flags import SHORT, SWITCHES, TAKES_VALUE
from opskit.notebook.line import VERBS
from opskit.record.moves import FINAL
from opskit.rendering.folding import fold
from opskit.settings import settings
from opskit.work.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opskit.record.moves import State


@dataclass(frozen=True, slots=True)
class Known:
    """What a notebook knows; each is asked only where it is needed.

    Attributes:
        inventory: Gives the hosts in use; an inventory without hosts if there are none.
        variables: Gives the notebook's own variables.
        transactions: Gives the ids of the newest transactions, newest first, and the state of each.
    """

    inventory: Callable[[], Inventory]
    variables: Callable[[], Mapping[str, object]]
    transactions: Callable[[], Mapping[str, State]]


@dataclass(frozen=True, slots=True)
class Fit:
    """What may stand at the cursor.

    Attributes:
        fragment: The text before the cursor that a word replaces.
        words: The whole words, in the order in which they are shown; none where only a word of ours could stand, and
            none is known.
        kind: What they are, in a word.
    """

    fragment: str
    words: tuple[str, ...]
    kind: str


_CELL: Final = re.compile(r"\s*%%(?:ops)?parallel(?=\s|$)(.*)", re.DOTALL)
# An assignment may stand before a line magic: `up = %parallel -r web uptime`.
_LINE: Final = re.compile(r"\s*(?:[\w\s,.*]+=\s*)?%((?:ops)?parallel|opskit)\s+(.*)")
# Tolerant: the last quote need not be closed yet.
_WORD: Final = re.compile(r"""(?:[^\s'"]|'[^']*(?:'|$)|"(?:[^"\\]|\\.)*(?:"|\\?$))+""")
_ITEM: Final = re.compile(r"""[^,'"=\s]*$""")
_VARIABLE: Final = re.compile(r"(?:\$|(?<!\{)\{)(\w*)$")
_ROLE: Final = re.compile(r"""when\b.*\bin_\(\s*['"]([^'"]*)$""")
# A condition ends at its colon; one with a colon inside goes without help.
_SERVER: Final = re.compile(r"(?:\{\{[^}]*|when\b[^:]*)\bserver\.(vars\.)?(\w*)$")
_HOSTS: Final = 200
_PATTERN: Final = 60
_LONGEST: Final = 4000
"""Characters of a line with which somebody is helped: on longer ones patterns would take their time."""

_TAKE_FUNCTIONS: Final = frozenset({"check", "on_output"})
_TAKE_TRANSACTIONS: Final = frozenset({"journal", "rollback", "attach"})
_ATTRIBUTES: Final = tuple(sorted(field.name for field in fields(Host)))


def fitting(before: str, known: Known) -> Fit | None:
    """Say what fits at the end of `before`, a cell's text up to the cursor; None if that is nothing of ours."""
    line = before.rpartition("\n")[2]
    if len(line) > _LONGEST:
        return None
    if cell := _CELL.fullmatch(before):
        flags, below, body = cell[1].partition("\n")
        return _in_body(body, known) if below else _in_flags(flags, known)
    if "%" not in line or not (found := _LINE.fullmatch(line)):
        return None
    if found[1] == "opskit":
        return _in_verbs(found[2], known)
    return _in_expression(found[2], known) or _in_flags(found[2], known)


def _in_flags(line: str, known: Known) -> Fit | None:
    words = _WORD.findall(line)
    word = words.pop() if words and line.endswith(words[-1]) else ""
    given, waiting = set(), None
    for earlier in words:
        if waiting:
            waiting = None
        elif not earlier.startswith("-") or earlier == "--":
            return None
        else:
            flag, joined, _ = earlier.partition("=")
            flag = SHORT.get(flag, flag)
            given.add(flag)
            waiting = flag if flag in TAKES_VALUE and not joined else None
    flag, joined, value = word.partition("=")
    if waiting:
        return _of_value(TAKES_VALUE[waiting], word, known)
    if joined:
        return _of_value(TAKES_VALUE.get(SHORT.get(flag, flag), ""), value, known)
    if word in SHORT:
        return Fit(word, (SHORT[word],), "flag")
    if word and not word.startswith("-"):
        return None
    return _fit(word, sorted({*TAKES_VALUE, *SWITCHES} - given), "flag")


def _of_value(option: str, text: str, known: Known) -> Fit:
    if found := _VARIABLE.search(text):
        wants_function = option in _TAKE_FUNCTIONS
        return _fit(
            found[1],
            (
                name
                for name, held in known.variables().items()
                if callable(held) is wants_function and not issubclass(type(held), ModuleType)
            ),
            "variable",
        )
    item = text[_item_at(text) :]
    if option == "roles":
        return _others(text, item, sorted(known.inventory().roles), "role")
    if option == "hosts" and text.count("[") == text.count("]"):
        return _others(text, item, _hosts(item, known.inventory()), "host")
    if option == "parse":
        return _fit(item, _parsers(), "parser")
    words = OPTIONS[option].value.split("|") if option in OPTIONS else []
    fixed = len(words) > 1 and all(map(str.islower, words))  # `N|N%` are no words
    return _fit(item, words if fixed else (), "value")


def _item_at(text: str) -> int:
    """Where the last item of a list begins."""
    found = _ITEM.search(text)
    return found.start() if found else len(text)


def _others(text: str, item: str, words: Iterable[str], kind: str) -> Fit:
    """Those of the words that do not stand in the list yet."""
    listed = set(split_names(text[: len(text) - len(item)].strip("'\"")))
    return _fit(item, (word for word in words if word not in listed), kind)


def _hosts(item: str, inventory: Inventory) -> list[str]:
    """Patterns of several hosts that begin so, then names."""
    names = [name for name in inventory.names if name.startswith(item)]
    patterns = [pattern for pattern in split_names(fold(names)) if "[" in pattern and len(pattern) <= _PATTERN]
    return [*patterns, *names][:_HOSTS]


@cache
def _parsers() -> tuple[str, ...]:
    own = ("json", "csv")
    try:
        import jc
    except ImportError:
        return own
    return (*own, *sorted(name.replace("_", "-") for name in jc.parser_mod_list() if name not in own))


def _in_body(body: str, known: Known) -> Fit | None:
    above, _, line = body.rpartition("\n")
    if fit := _in_expression(line, known):
        return fit
    if role := _ROLE.match(line):
        return _fit(role[1], sorted(known.inventory().roles), "role")
    word = line.strip()
    if word and not word.isidentifier():
        return None
    lines = above.split("\n")
    if line[:1].isspace():
        fit = _fit(word, (f"{name}: " for name in settable(lines)), "option")
    else:
        fit = _fit(word, beginnings(lines), "branch")
    return fit if fit.words else None  # it may be a script's line


def _in_expression(line: str, known: Known) -> Fit | None:
    """What may follow `server.` and `server.vars.` in a condition, and in `{{ }}`."""
    if not (found := _SERVER.search(line)):
        return None
    if not found[1]:
        return _fit(found[2], _ATTRIBUTES, "attribute")
    names = {key for host in known.inventory() for key in host.vars}
    return _fit(found[2], sorted(filter(str.isidentifier, names)), "var")


def _in_verbs(line: str, known: Known) -> Fit:
    verb = "".join(line.split(None, 1)[:1])
    if verb == line:
        return _fit(verb, VERBS, "verb")
    rest = line[len(verb) :].lstrip()
    if verb == "use":
        return _inventories(rest.lstrip("'\""), known)
    if verb == "config":
        return _fit(rest, dir(settings), "setting")
    words = list(VERBS.get(verb, ()))
    if verb in _TAKE_TRANSACTIONS:
        ended = FINAL if verb == "rollback" else ()
        words += [found for found, state in known.transactions().items() if state not in ended]
    return _fit(rest, words, "transaction" if verb in _TAKE_TRANSACTIONS else "word")


def _inventories(text: str, known: Known) -> Fit:
    """Variables that hold an inventory, then folders and files that an inventory may be read from."""
    names = [name for name, held in known.variables().items() if issubclass(type(held), Inventory)]
    return _fit(text, [*names, *_files(text)], "inventory")


def _files(text: str) -> list[str]:
    folder, slash, beginning = text.rpartition("/")
    try:
        with os.scandir(Path(f"{folder}{slash}" or ".").expanduser()) as entries:
            found = [
                f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}"
                for entry in entries
                if (beginning or not entry.name.startswith("."))
                and (entry.is_dir() or Path(entry.name).suffix.lower() in READERS or entry.name == "ssh_config")
            ]
    except (OSError, RuntimeError, ValueError):  # no such folder, no such user, a NUL
        return []
    return sorted(found)


def _fit(fragment: str, words: Iterable[str], kind: str) -> Fit:
    return Fit(fragment, tuple(word for word in words if word.startswith(fragment)), kind)
