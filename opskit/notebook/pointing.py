"""Where in a cell an error of a magic stands: in the cell's own lines, which are shown with it. Knows no IPython."""

from __future__ import annotations

import linecache
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opskit.errors import ConditionError, InventoryError, OpskitError, PlanError, TemplateError, place_in
from opskit.rendering.escape import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

    from opskit.notebook.cell import CellBranch

_LINE: Final = re.compile(r"\bline (\d{1,6}) of the cell\b(?! that defines)")
# As templates say it: a line of the command, or of an option's text, and then where the branch stands.
_IN_COMMAND: Final = re.compile(r"line (\d{1,6}), column \d+, (?:its (\w+), )?line (\d{1,6}) of the cell\b")
_LONGEST: Final = 160


class Pointer:
    """Says of errors at which lines of a cell they are.

    Args:
        cell: Its whole text.

    Attributes:
        branches: Those that were read of it so far.
        at: The line that is being read; None where errors name their line themselves.
    """

    def __init__(self, cell: str) -> None:
        self._lines = re.split(r"\r\n?|\n", cell)
        self.branches: Sequence[CellBranch] = ()
        self.at: int | None = None

    @contextmanager
    def pointing(self) -> Iterator[None]:
        """Let errors of what the cell says show its lines; of how a run ended they don't."""
        try:
            yield
        except (ConditionError, InventoryError, PlanError, TemplateError) as error:
            self._point(error)
            raise

    def _point(self, error: OpskitError) -> None:
        heads: set[int] = set()
        by_line = {branch.line: branch for branch in self.branches}

        def as_in_cell(found: re.Match[str]) -> str:
            branch = by_line.get(int(found[3]))
            if branch is None:
                return f"line {found[3]} of the cell"
            heads.add(branch.line)
            if found[2] is not None:
                # An option that is not the branch's own is one of the first line's flags.
                return f"its {found[2]}, line {branch.option_lines.get(found[2], 1)} of the cell"
            within = dict(enumerate(branch.command_lines, 1))
            return f"line {within.get(int(found[1]), branch.line)} of the cell"

        message = _IN_COMMAND.sub(as_in_cell, str(error))
        error.args = (message, *error.args[1:])
        named = {int(found) for found in _LINE.findall(message)}
        numbers = heads | named | ({self.at} if self.at else set())
        if not numbers and self._has_flags:
            numbers = {1}
        quoted = {line.strip() for line in message.split("\n")[1:]} - {""}
        # What hosts and files are called may look like a line's number too.
        for number in sorted(numbers & set(range(1, len(self._lines) + 1))):
            line = self._lines[number - 1].strip()
            if number not in named or not any(part in line for part in quoted):
                error.add_note(f"line {number} of the cell: {one_line(line, _LONGEST)}")

    @property
    def _has_flags(self) -> bool:
        return len(self._lines[0].split()) > 1


def tell_line(error: OpskitError, text: str, frame: FrameType | None, variables: Mapping[str, object]) -> None:
    """Say in which line of a cell of several a line magic stands.

    Args:
        error: What it raised.
        text: Of the magic.
        frame: Who asks; the cell's is further out.
        variables: The notebook's, by which the cell's frame is known.
    """
    while frame is not None and frame.f_globals is not variables:
        frame = frame.f_back
    if frame is None:
        return
    lines = linecache.getlines(frame.f_code.co_filename)
    if sum(bool(line.strip()) for line in lines) > 1:
        error.add_note(f"at {place_in(frame.f_code, frame.f_lineno)}: {one_line(text, _LONGEST)}")
