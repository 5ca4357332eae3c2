"""Inventories in OpenSSH's client configuration: the names that its `Host` lines spell out, and where they lead.

A small parser of our own: which names a file has is nothing that a library for connections tells. Of a host it reads
HostName, User and Port; all else, and what stands under `Match`, is for the connection to honour.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opskit import checks
from opskit.errors import InventoryError
from opskit.fleet.host import Host
from opskit.fleet.readers.places import at, inventory_of
from opskit.fleet.records import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opskit.fleet.inventory import Inventory
    from opskit.fleet.readers.places import Here

_LINE: Final = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+|$)(.*)")
_WORD: Final = re.compile(r"""#.*|(?P<word>(?:"[^"]*"|'[^']*'|[^\s"'])+)|(?P<lonely>["'])""")
"""A comment, a word of which parts may be quoted, or a quote that has no partner."""

_QUOTED: Final = re.compile(r"""(["'])(.*?)\1""")
_FIELDS: Final = ("hostname", "user", "port")
_DEEPEST: Final = 16
"""How many files may include one another, as in ssh."""

_Conditions = tuple[re.Pattern[str], ...]
"""What a name must match: the words of its `Host` line, and of those that stand around an Include."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Settings, of which the first of a kind counts, for the hosts whose names all these patterns match."""

    conditions: _Conditions
    settings: dict[str, str] = field(default_factory=dict)


def read(text: str, path: Path) -> Inventory:
    """Read each name of a `Host` line that has no wildcard or negation, in order, as a host without roles.

    Raises:
        InventoryError: A quote is not closed, an included file can't be read, or a value can't be right; says where.
    """
    config = _Config()
    config.read(text, path, (), 0)
    return inventory_of(config.hosts())


class _Config:
    """The blocks of a file and of those that it includes, in the order in which ssh reads them."""

    def __init__(self) -> None:
        self._names: dict[str, Here] = {}
        self._blocks: list[_Block] = []

    def read(self, text: str, path: Path, around: _Conditions, depth: int) -> None:
        """Read a file that stands inside of blocks with the conditions `around`."""
        block: _Block | None = self._open(around)
        for number, line in enumerate(text.split("\n"), start=1):
            place = partial("{}:{}".format, path, number)
            found = _LINE.fullmatch(line)
            keyword = found[1].lower() if found else ""
            if found is None or keyword not in (*_FIELDS, "host", "match", "include"):
                continue
            words = _words(found[2], place)
            if keyword == "host":
                self._note(words, place)
                block = self._open((*around, _condition(words)))
            elif keyword == "match":
                block = None
            elif block and keyword == "include":
                for file in _files(words, place):
                    self._include(file, block.conditions, depth + 1, place)
                block = self._open(block.conditions)
            elif block and words:
                block.settings.setdefault(keyword, words[0])

    def hosts(self) -> Iterator[tuple[Host, Here]]:
        """Each name with what the first block that matches it says of each field."""
        found: dict[str, dict[str, str]] = {name: {} for name in self._names}
        listed = "\n".join(found)  # searched as a whole: a file of thousands of hosts has as many blocks
        for block in self._blocks:
            for name in set(found).intersection(*(condition.findall(listed) for condition in block.conditions)):
                found[name] = block.settings | found[name]
        for name, settings in found.items():
            address = _with_name(settings["hostname"], name) if "hostname" in settings else None
            with at(self._names[name]):
                host = Host(name, address, whole(settings.get("port")), settings.get("user"))
            yield host, self._names[name]

    def _open(self, conditions: _Conditions) -> _Block:
        self._blocks.append(_Block(conditions))
        return self._blocks[-1]

    def _note(self, words: list[str], place: Here) -> None:
        for word in words:
            if not word.startswith("!") and "*" not in word and "?" not in word:
                self._names.setdefault(word, place)

    def _include(self, file: Path, around: _Conditions, depth: int, place: Here) -> None:
        if depth > _DEEPEST:
            raise InventoryError(f"{place()}: files include one another more than {_DEEPEST} deep, here {file}")
        try:
            text = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InventoryError(f"{place()}: {file} can't be included: {error}") from error
        self.read(text, file, around, depth)


def _words(text: str, place: Here) -> list[str]:
    words = []
    for found in _WORD.finditer(text):
        if found["lonely"]:
            raise InventoryError(f"{place()}: a quote is not closed")
        if found["word"]:
            words.append(_QUOTED.sub(r"\2", found["word"]))
    return words


def _condition(words: list[str]) -> re.Pattern[str]:
    """Match each line that is a name which one of the words matches, and none of those with a `!`."""
    refused = [word[1:] for word in words if word.startswith("!")]
    wanted = [word for word in words if not word.startswith("!")]
    return re.compile(f"^(?!{_any_of(refused)}$){_any_of(wanted)}$", re.MULTILINE)


def _any_of(patterns: list[str]) -> str:
    """As in ssh, only `*` and `?` mean something."""
    texts = (re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".") for pattern in patterns)
    return f"(?:{'|'.join(texts)})" if patterns else "(?!)"


def _files(patterns: list[str], place: Here) -> Iterator[Path]:
    """The files that there are; a relative pattern is one of `~/.ssh`, and one that nothing matches is no mistake."""
    for pattern in patterns:
        try:
            inside = checks.path("~/.ssh") / checks.path(pattern)
        except ValueError as error:
            raise InventoryError(f"{place()}: Include {pattern!r} {error}") from None
        for name in sorted(glob(str(inside))):  # noqa: PTH207 - a Path's glob takes no absolute pattern, and hidden files
            if Path(name).is_file():
                yield Path(name)


def _with_name(address: str, name: str) -> str:
    return re.sub("%[%h]", lambda token: name if token[0] == "%h" else "%", address)
