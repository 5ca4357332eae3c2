"""The text of a `%%parallel` cell, read into branches. Knows no IPython, and sends nothing."""

from __future__ import annotations

import difflib
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opskit.errors import PlanError, did_you_mean
from opskit.work.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SETTERS: Final = ("undo", "undo_once", "sudo", "user", "env", "cwd", "timeout", "key", "irreversible", "last")
"""The options that an indented line of a branch can set."""

_HEAD: Final = re.compile(r"""when(?=[\s:(\[{'"]|$)|else:""")
_SLIP: Final = re.compile(r"(Else|ELSE|[Oo]therwise|When|WHEN)\b.*:")
_SETTER: Final = re.compile(r"\s+([a-z_]+):(?:\s+(.*))?$")
_LINE_END: Final = re.compile(r"\r\n?|\n")


@dataclass(frozen=True, slots=True)
class CellBranch:
    """One `when` or `else` of a cell.

    Attributes:
        condition: None for `else`.
        command: The script, without the indentation that it had in the cell.
        options: What its option lines set, as text.
        line: Where it stands; the magic's own line is line 1.
    """

    condition: str | None
    command: str
    options: Mapping[str, str]
    line: int


def branches(body: str) -> list[CellBranch] | None:
    """Read the body of a cell, which begins at line 2; None if it is one script without branches.

    Raises:
        PlanError: A line stands where none can, or a branch has no colon; says which line.
    """
    lines = _LINE_END.split(body)
    for number, line in enumerate(lines, 2):
        if slip := _SLIP.match(line):
            raise PlanError(
                f"line {number} of the cell: `{slip[1]}` begins no branch; write `when CONDITION:` or `else:`"
            )
    starts = [number for number, line in enumerate(lines) if _HEAD.match(line)]
    if not starts:
        return None
    for number, line in enumerate(lines[: starts[0]]):
        _expect_nothing(line, number + 2)
    ends = [*starts[1:], len(lines)]
    return [_branch(lines[start:end], start + 2) for start, end in zip(starts, ends, strict=True)]


def _branch(lines: Sequence[str], first: int) -> CellBranch:
    condition, command = _head(lines[0], first)
    rest = [(first + offset, line) for offset, line in enumerate(lines[1:], 1) if not line.startswith("#")]
    options: dict[str, str] = {}
    while rest and (not rest[0][1].strip() or _sets(*rest[0], options)):
        rest.pop(0)
    script = "\n".join([*([command] if command else []), *_dedented(rest)])
    if not script.strip():
        raise PlanError(
            f"line {first} of the cell: the branch has no command; write it after the colon, or indented below"
        )
    return CellBranch(condition, script, options, first)


def _sets(number: int, line: str, options: dict[str, str]) -> bool:
    """Take a line that sets an option up; tell whether it was one."""
    if not (found := _SETTER.match(line)):
        return False
    name, value = found[1], (found[2] or "").strip()
    if name in options:
        raise PlanError(f"line {number} of the cell: `{name}:` stands there a second time for this branch")
    if name in SETTERS:
        options[name] = value
        return True
    # A slip of the pen shall not be sent to hosts as the first line of a script.
    if difflib.get_close_matches(name, [*SETTERS, *OPTIONS], n=1, cutoff=0.75):
        raise PlanError(
            f"line {number} of the cell: no option of a branch is called {name!r}{did_you_mean(name, SETTERS)}"
        )
    return False


def _head(line: str, number: int) -> tuple[str | None, str]:
    """Split `when CONDITION: COMMAND` at the first colon whose left side is an expression."""
    if line.startswith("else"):
        return None, line.split(":", 1)[1].strip()
    text = line.removeprefix("when")
    colons = [found.start() for found in re.finditer(":", text)]
    if not colons:
        raise PlanError(
            f"line {number} of the cell: no colon ends the condition; write `when CONDITION: COMMAND`\n  {line}"
        )
    # Where no left side compiles, what stands before the first colon goes on, to be refused with a caret.
    colon = next((at for at in colons if _compiles(text[:at])), colons[0])
    return text[:colon].strip(), text[colon + 1 :].strip()


def _compiles(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are shown once, when the condition is compiled for good
            compile(text.strip(), "<condition>", "eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _dedented(lines: Sequence[tuple[int, str]]) -> Iterator[str]:
    """A script's lines without the indentation of its first; blank lines around it fall away."""
    while lines and not lines[-1][1].strip():
        lines = lines[:-1]
    if not lines:
        return
    first = lines[0][1]
    indent = first[: len(first) - len(first.lstrip())]
    for number, line in lines:
        if line.strip() and not (indent and line.startswith(indent)):
            if not line[0].isspace():
                _expect_nothing(line, number)
            raise PlanError(
                f"line {number} of the cell: it is indented differently from its script's first line "
                f"({_told(line)} there, {_told(first)} first); indent a script by the same blanks"
            )
        yield line.removeprefix(indent)


def _told(line: str) -> str:
    blanks = line[: len(line) - len(line.lstrip())]
    noun = "tab" if "\t" in blanks else "blank"
    return f"{len(blanks)} {noun}{'' if len(blanks) == 1 else 's'}"


def _expect_nothing(line: str, number: int) -> None:
    if line.strip() and not line.startswith("#"):
        raise PlanError(
            f"line {number} of the cell: `{line.strip()[:60]}` belongs to no branch; "
            "a branch begins with `when CONDITION:` or `else:`, and the lines of its script are indented"
        )
