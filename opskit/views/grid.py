"""The hosts of a run as a grid of cells, each with colour and symbol of its state; one of them can be chosen.

The cells are one widget, so they cost one model whatever their number. It is never changed once it is shown: states and
hover texts come as style sheets beside it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from ipywidgets import Box, ToggleButtons  # type: ignore[import-untyped]  # it has no types

from opskit.rendering.escape import css_string, one_line
from opskit.rendering.folding import fold
from opskit.rendering.palette import LOOKS
from opskit.results.result import worst_first
from opskit.views.front_end import hear

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opskit.progress import Cell
    from opskit.results import Status

MOST_NAMED: Final = 60
"""Up to so many cells have room for names."""

_NAME: Final = 40
_LINE: Final = 160
_LETTER, _WIDEST = 8, 240
"""In pixels."""


class Grid:
    """The cells.

    Args:
        cells: They stay the same objects for as long as the run lasts.
        chosen: Called when another cell is chosen, or none any more, in a thread of the kernel's.

    Attributes:
        widget: What shows it.
        alone: Whether each cell is one host.
    """

    def __init__(self, cells: Sequence[Cell], chosen: Callable[[], object]) -> None:
        self._cells = cells
        self._id = f"opskit-{secrets.token_hex(4)}"
        self.alone = all(len(cell.hosts) == 1 for cell in cells)
        self._names = [fold(cell.hosts) for cell in cells]
        options = [(one_line(name, _NAME), number) for number, name in enumerate(self._names)]
        self._buttons = hear(ToggleButtons(options=options, index=None))
        self._buttons.observe(lambda _: chosen(), "index")
        named = self.alone and len(cells) <= MOST_NAMED
        self.widget = Box([self._buttons])
        for name in (self._id, "opskit-grid", "opskit-named" if named else "opskit-small"):
            self.widget.add_class(name)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Those of the chosen cell; none if no cell is chosen."""
        number = self._buttons.index
        return () if number is None else self._cells[number].hosts

    @property
    def name(self) -> str:
        """What the chosen cell is called."""
        number = self._buttons.index
        return "" if number is None else self._names[number]

    def clear(self) -> None:
        """Choose none."""
        self._buttons.index = None

    def states(self) -> str:
        """The style sheet of the cells' states: a rule for each state."""
        cells: dict[Status, list[str]] = {}
        for number, cell in enumerate(self._cells):
            cells.setdefault(cell.status, []).append(f'[value="{number}"]')
        rules = [f".{self._id}{{--w:{self._width()}px}}"]
        for status, found in cells.items():
            look = LOOKS[status]
            solid = "" if status == "not_started" else f"--b:{look.colour};--f:#fff;--m:100%;"
            where = f".{self._id} button:is({','.join(found)})"
            symbol, alone, chosen = map(css_string, (look.symbol, f"{look.word} ", f"{look.word}, chosen "))
            said = f"--s:{symbol};--l:{alone};--a:{chosen}"
            rules.append(f"{where}.widget-toggle-button{{--c:{look.colour};{said};{solid}}}")
        return f"<style>{''.join(rules)}</style>"

    def hovers(self, last: Mapping[str, str]) -> str:
        """The style sheet of what the cells say under the pointer.

        Args:
            last: The last line that hosts printed, by host.
        """
        rules = (
            f'.{self._id} [value="{number}"]{{--t:{css_string(self._said(cell, self._names[number], last))}}}'
            for number, cell in enumerate(self._cells)
        )
        return f"<style>{''.join(rules)}</style>"

    def _said(self, cell: Cell, name: str, last: Mapping[str, str]) -> str:
        if len(cell.hosts) > 1:
            counts = (f"{count} {LOOKS[status].word}" for status, count in worst_first(cell.counts))
            return one_line(f"{name}: {', '.join(counts)}", _LINE)
        look = LOOKS[cell.status]
        line = one_line(last.get(cell.hosts[0], ""), _LINE)
        return f"{name}: {look.symbol} {look.word}" + (f" · {line}" if line else "")

    def _width(self) -> int:
        """Of a cell with a name, in pixels."""
        longest = max(len(one_line(name, _NAME)) for name in self._names)
        return min(_WIDEST, _LETTER * longest + 32)
