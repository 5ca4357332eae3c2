"""The text of a `%%parallel` cell, read into branches. Knows no IPython, and sends nothing."""

from __future__ import annotations

import difflib
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opskit.errors import PlanError, did_you_mean
from opskit.work.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

SETTERS: Final = ("undo", "undo_once", "sudo", "user", "env", "cwd", "timeout", "key", "irreversible", "last")
"""The options that an indented line of a branch can set."""

_HEAD: Final = re.compile(r"""when(?=[\s:(\[{'"]|$)|else:""")
_SLIP: Final = re.compile(r"(Else|ELSE|[Oo]therwise|When|WHEN)\b.*:")
_LOST: Final = re.compile(r"(\s+when|\s*(?:el)?if)\b.*\bin_\(.*:")
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
        command_lines: Where each line of the command stands.
        option_lines: Where each option stands.
    """

    condition: str | None
    command: str
    options: Mapping[str, str]
    line: int
    command_lines: Sequence[int] = field(default=(), compare=False)
    option_lines: Mapping[str, int] = field(default_factory=dict, compare=False)


def branches(body: str) -> list[CellBranch] | None:
    """Read the body of a cell, which begins at line 2; None if it is one script without branches.

    Raises:
        PlanError: A line stands where none can, or a branch has no colon; says which line.
    """
    lines = _LINE_END.split(body)
    for number, line in enumerate(lines, 2):
        if slip := _SLIP.match(line) or _LOST.match(line):
            raise PlanError(
                f"line {number} of the cell: `{slip[1]}` begins no branch; write `when CONDITION:` or `else:`, "
                "at the beginning of the line"
            )
    starts = [number for number, line in enumerate(lines) if _HEAD.match(line)]
    if not starts:
        return None
    for number, line in enumerate(lines[: starts[0]]):
        _expect_nothing(line, number + 2)
    ends = [*starts[1:], len(lines)]
    return [_branch(lines[start:end], start + 2) for start, end in zip(starts, ends, strict=True)]


def one_script(body: str) -> CellBranch:
    """A body without branches, as the one command that it is, for every host."""
    first = 2 + len(body) - len(body.lstrip("\n"))
    command = body.strip("\n")
    return CellBranch(None, command, {}, first, range(first, first + len(_LINE_END.split(command))))


def beginnings(above: Iterable[str]) -> tuple[str, ...]:
    """The words by which a line below these lines of a body may begin a branch; none where the body is a script."""
    outer = [line for line in above if line.strip() and not line[0].isspace() and not line.startswith("#")]
    if not all(map(_HEAD.match, outer)):
        return ()
    return ("when ",) if any(line.startswith("else") for line in outer) else ("when ", "else:")


def settable(above: Sequence[str]) -> tuple[str, ...]:
    """The options that an indented line below these lines of a body may set; none where a script has begun."""
    left = dict.fromkeys(SETTERS)
    for line in reversed(above):
        if _HEAD.match(line):
            return tuple(left)
        if found := _SETTER.match(line):
            left.pop(found[1], None)
        elif line.strip() and not line.startswith("#"):
            break
    return ()


def _branch(lines: Sequence[str], first: int) -> CellBranch:
    condition, command = _head(lines[0], first)
    rest = [(first + offset, line) for offset, line in enumerate(lines[1:], 1) if not line.startswith("#")]
    options: dict[str, str] = {}
    option_lines: dict[str, int] = {}
    while rest and (not rest[0][1].strip() or _sets(*rest[0], options)):
        number, _ = rest.pop(0)
        option_lines |= dict.fromkeys(options.keys() - option_lines.keys(), number)
    found = [*([(first, command)] if command else []), *_dedented(rest)]
    if not any(line.strip() for _, line in found):
        raise PlanError(
            f"line {first} of the cell: the branch has no command; write it after the colon, or indented below"
        )
    return CellBranch(
        condition, "\n".join(line for _, line in found), options, first, [number for number, _ in found], option_lines
    )


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


def _dedented(lines: Sequence[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """A script's lines, each with its number, without the indentation of the first; blank ones around it fall away."""
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
                f"({_indentation(line)} there, {_indentation(first)} first); indent a script by the same blanks"
            )
        yield number, line.removeprefix(indent)


def _indentation(line: str) -> str:
    blanks = line[: len(line) - len(line.lstrip())]
    noun = "tab" if "\t" in blanks else "blank"
    return f"{len(blanks)} {noun}{'' if len(blanks) == 1 else 's'}"


def _expect_nothing(line: str, number: int) -> None:
    if line.strip() and not line.startswith("#"):
        raise PlanError(
            f"line {number} of the cell: `{line.strip()[:60]}` belongs to no branch; "
            "a branch begins with `when CONDITION:` or `else:`, and the lines of its script are indented"
        )
