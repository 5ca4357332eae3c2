"""A magic's line, read into options by the table that `run` and `parallel` use. Knows no IPython."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import PlanError, did_you_mean
from opskit.work.options import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORD: Final = re.compile(r"""(?:[^\s'"]|'[^']*'|"(?:[^"\\]|\\.)*")+""")
_QUOTED: Final = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)\"""")
_VARIABLE: Final = re.compile(r"\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Flags:
    """A magic's line.

    Attributes:
        options: For `run` and `parallel`; values as text, or as the notebook's variable that stood there.
        out: The variable that takes the results.
        quiet: Whether nothing is shown.
        rest: What follows the options, as it stood there.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    out: str | None = None
    quiet: bool = False
    rest: str = ""


def flag_of(name: str) -> str:
    """How an option is written on a magic's line."""
    return "--" + name.rstrip("_").replace("_", "-")


_TAKES_VALUE: Final = {flag_of(name): name for name, option in OPTIONS.items() if option.flag and not option.switch}
_SWITCHES: Final = {flag_of(name): name for name, option in OPTIONS.items() if option.flag and option.switch}
_SHORT: Final = {f"-{option.short}": flag_of(name) for name, option in OPTIONS.items() if option.short} | {
    "-o": "--out",
    "-q": "--quiet",
}


def usage() -> str:
    """Every flag with its meaning, a line each."""
    short = {long: letter for letter, long in _SHORT.items()}
    lines = [
        (flag_of(name), "" if option.switch else " VALUE", option.doc)
        for name, option in OPTIONS.items()
        if option.flag
    ]
    lines += [("--out", " NAME", "the variable that takes the results"), ("--quiet", "", "show nothing but errors")]
    return "\n".join(f"  {short.get(flag, '  '):2} {flag + value:24} {doc}" for flag, value, doc in lines)


def read(line: str, variables: Mapping[str, object], magic: str, *, takes_rest: bool) -> Flags:
    """Read a magic's line.

    Args:
        line: The text after the magic's name.
        variables: The notebook's, for `{name}` and `$name` in values.
        magic: For errors.
        takes_rest: Whether other words may follow the options; the first ends them.

    Raises:
        PlanError: An unknown flag, a missing value, an unclosed quote, or a word where none can be.
    """
    options: dict[str, Any] = {}
    own: dict[str, Any] = {}
    position = 0
    while (word := _next(line, position, magic)) is not None:
        text = word[0]
        if not text.startswith("-") or text == "--":
            rest = line[word.end() if text == "--" else word.start() :].strip()
            if not takes_rest:
                raise PlanError(
                    f"{magic}: {text!r} is no flag, and only flags can stand on this line; usage:\n{usage()}"
                )
            return Flags(options, **own, rest=rest)
        flag, joined, value = text.partition("=")
        flag, position = _SHORT.get(flag, flag), word.end()
        if flag in _SWITCHES or flag == "--quiet":
            target = own if flag == "--quiet" else options
            target[_SWITCHES.get(flag, "quiet")] = True
            continue
        if flag not in _TAKES_VALUE and flag != "--out":
            known = [*_TAKES_VALUE, *_SWITCHES, "--out", "--quiet"]
            raise PlanError(f"{magic}: no flag is called {flag!r}{did_you_mean(flag, known)}; {magic}? shows them all")
        if not joined:
            if (following := _next(line, position, magic)) is None:
                raise PlanError(f"{magic}: {flag} needs a value")
            value, position = following[0], following.end()
        if flag == "--out":
            own["out"] = _identifier(_unquoted(value), magic)
        else:
            options[_TAKES_VALUE[flag]] = _filled(_unquoted(value), variables, f"{magic}: {flag}")
    return Flags(options, **own)


def _next(line: str, position: int, magic: str) -> re.Match[str] | None:
    start = position + len(line[position:]) - len(line[position:].lstrip())
    if start == len(line):
        return None
    found = _WORD.match(line, start)
    if found is None or (found.end() < len(line) and not line[found.end()].isspace()):
        raise PlanError(f"{magic}: a quote is not closed: {line[start:][:60]}")
    return found


def _unquoted(word: str) -> str:
    return _QUOTED.sub(lambda found: found[1] if found[1] is not None else re.sub(r"\\(.)", r"\1", found[2]), word)


def _identifier(word: str, magic: str) -> str:
    if not word.isidentifier():
        raise PlanError(f"{magic}: --out takes a variable's name, not {word!r}")
    return word


def _filled(value: str, variables: Mapping[str, object], place: str) -> object:
    """Fill in variables; a value that is nothing else becomes the variable's own object."""

    def look_up(found: re.Match[str]) -> object:
        name = found[1] or found[2]
        if name not in variables:
            near = did_you_mean(name, [known for known in variables if not known.startswith("_")])
            raise PlanError(f"{place}: no variable is called {name!r}{near}")
        return variables[name]

    if whole := _VARIABLE.fullmatch(value):
        return look_up(whole)
    return _VARIABLE.sub(lambda found: str(look_up(found)), value)
