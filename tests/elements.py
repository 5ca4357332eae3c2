"""What stands in a piece of HTML, for tests of what is shown."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

_EMPTY: Final = {"br", "img", "input", "meta", "wbr"}
"""Elements that are never closed."""


class Elements(HTMLParser):
    """The elements and the text of HTML, which closes what it opens: anything else is an error.

    Attributes:
        found: Every element, in order: its tag and its attributes.
        texts: The texts that stand right within the elements of each tag, in order.
        text: All of them as one, without style sheets.
    """

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.text = ""
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert self._open == []

    @property
    def tags(self) -> set[str]:
        """The tags of all elements."""
        return {tag for tag, _ in self.found}

    def values(self, name: str) -> list[str]:
        """The values of an attribute, of all elements that have it."""
        return [attributes[name] or "" for _, attributes in self.found if name in attributes]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take an element."""
        self.found.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last, and no other."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Take a text."""
        within = self._open[-1] if self._open else ""
        self.texts.setdefault(within, []).append(data)
        if within != "style":
            self.text += data
