"""A magic's line, read into options by the table that `run` and `parallel` use. Knows no IPython."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, Final

from opskit import checks
from opskit.errors import PlanError, did_you_mean
from opskit.fleet.names import NOTEBOOKS_OWN
from opskit.secrets import Secret
from opskit.work.options import OPTIONS, Option, flag_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORD: Final = re.compile(r"""(?:[^\s'"]|'[^']*'|"(?:[^"\\]|\\.)*")+""")
_QUOTED: Final = re.compile(r"""'([^']*)'|"((?:[^"\\]|\\.)*)\"""")
# Of `{{name}}` the template makes something, where the option is one.
_VARIABLE: Final = re.compile(r"(?<!\{)\{([^\W\d]\w*)\}(?!\})|\$([^\W\d]\w*)")


@dataclass(frozen=True, slots=True)
class Flags:
    """A magic's line.

    Attributes:
        options: For `run` and `parallel`; values as text, or as the notebook's variable that stood there.
        out: The variable that takes the results.
        quiet: Whether nothing is shown.
        help: Whether all flags are shown instead; what stands after that was not read.
        rest: What follows the options, as it stood there.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    out: str | None = None
    quiet: bool = False
    help: bool = False
    rest: str = ""


_KNOWN: Final[Mapping[str, Option]] = {
    **{name: option for name, option in OPTIONS.items() if name != "wait"},
    "bg": Option(checks.yes_or_no, "don't wait for the end; needs --out", switch=True),
    "out": Option(checks.text, "the variable that takes the results", short="o", value="NAME"),
    "quiet": Option(checks.yes_or_no, "show nothing but errors", short="q", switch=True),
    "help": Option(checks.yes_or_no, "show this", short="h", switch=True),
}
"""What a magic's line can say: the options of a run, and the magics' own."""

TAKES_VALUE: Final = {flag_of(name): name for name, option in _KNOWN.items() if not option.switch}
"""Flags that a value follows, and their options."""

SWITCHES: Final = {flag_of(name): name for name, option in _KNOWN.items() if option.switch}
"""Flags that stand alone, and their options."""

SHORT: Final = {f"-{option.short}": flag_of(name) for name, option in _KNOWN.items() if option.short}
"""One-letter flags, and the long ones that they stand for."""

_OTHER_DASHES: Final = ("\N{EN DASH}", "\N{EM DASH}")
"""What word processors and chats make of `--`."""

_PAIRS: Final = frozenset({"env", "answers", "variables"})
_OR_VALUE: Final = {flag_of(name) for name, option in _KNOWN.items() if option.switch == "or value"}


def usage() -> str:
    """Every flag with its meaning, a line each."""
    lines = []
    for name, option in _KNOWN.items():
        flag = flag_of(name) + ("" if option.switch else f" {option.value}")
        lines.append(f"  {f'-{option.short}' if option.short else '':2} {flag:26} {option.doc}")
    return "\n".join(lines)


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
    given: dict[str, Any] = {}
    position = 0
    flag = ""
    while (word := _next(line, position, magic)) and word[0].startswith(("-", *_OTHER_DASHES)) and word[0] != "--":
        flag, joined, text = word[0].partition("=")
        flag, position = SHORT.get(flag, flag), word.end()
        name = _name_of(flag, magic, takes_rest=takes_rest)
        if name == "help":
            return Flags(help=True)
        if name in given:
            raise PlanError(f"{magic}: {flag} stands there twice; write one, its values with commas between")
        if flag in SWITCHES and not joined:
            given[name] = True
            continue
        if flag in SWITCHES and flag not in _OR_VALUE:
            raise PlanError(f"{magic}: {flag} takes no value; to say no, leave it out")
        if not joined:
            if (following := _next(line, position, magic)) is None:
                raise PlanError(f"{magic}: {flag} needs a value")
            text, position = following[0], following.end()
        fill = _filled_pairs if name in _PAIRS else _filled
        value = fill(_unquoted(text), variables, f"{magic}: {flag}")
        given[name] = _identifier(value, magic) if name == "out" else value
    if word and not takes_rest:
        meant = f"; a value of {flag} stands after a =, {flag}={word[0]}" if flag in _OR_VALUE else ""
        raise PlanError(
            f"{magic}: {word[0]!r} is no flag{meant}; commands stand below this line, and {magic}? shows all flags"
        )
    if given.pop("bg", False):
        given["wait"] = False
    rest = line[word.end() if word[0] == "--" else word.start() :].strip() if word else ""
    return Flags(out=given.pop("out", None), quiet=given.pop("quiet", False), options=given, rest=rest)


def _name_of(flag: str, magic: str, *, takes_rest: bool) -> str:
    if (name := TAKES_VALUE.get(flag) or SWITCHES.get(flag)) is not None:
        return name
    if flag.startswith(("--", *_OTHER_DASHES)):
        near = did_you_mean(flag, [*TAKES_VALUE, *SWITCHES])
    elif (short := flag[:2]) in SHORT:
        dash = "-" if SHORT[short] in SWITCHES else ""
        near = f"; a one-letter flag stands by itself: {short} {dash}{flag[2:]}"
    else:
        near = did_you_mean(flag, SHORT, plural="one-letter flags")
    after = " COMMAND" if takes_rest else ""
    raise PlanError(
        f"{magic}: no flag is called {flag!r}{near}\n"
        f"usage: {magic} [-r ROLES] [-w HOSTS] [-o NAME] [-q] [-n] [--FLAG VALUE ...]{after}; {magic}? shows every flag"
    )


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


def _identifier(word: object, magic: str) -> str:
    if not isinstance(word, str):
        raise PlanError(f"{magic}: --out takes a variable's name, not a {type(word).__name__}")
    if not word.isidentifier() or iskeyword(word):
        raise PlanError(f"{magic}: --out takes a variable's name, not {word!r}")
    if word in NOTEBOOKS_OWN or re.fullmatch(r"_+|_i+|_[ido]h|__\w+__", word):
        raise PlanError(f"{magic}: --out can't be {word}, which is the notebook's own; take another name")
    return word


def _filled(value: str, variables: Mapping[str, object], place: str) -> object:
    """Fill in variables; a value that is nothing else becomes the variable's own object."""

    def look_up(found: re.Match[str]) -> object:
        name = found[1] or found[2]
        if name not in variables:
            near = did_you_mean(name, {known for known in variables if not known.startswith("_")} - NOTEBOOKS_OWN)
            raise PlanError(f"{place}: no variable is called {name!r}{near}")
        held = variables[name]
        try:
            held.__class__  # noqa: B018 - what every check of a value asks first, and what proxies refuse
        except Exception as error:
            raise _unusable(found, place, error) from error
        return held

    def as_text(found: re.Match[str]) -> str:
        if isinstance(held := look_up(found), Secret):
            raise PlanError(f"{place}: {found[0]} is a secret, which can't be a part of text: hand it over by itself")
        try:
            return str(held)
        except Exception as error:
            raise _unusable(found, place, error) from error

    if whole := _VARIABLE.fullmatch(value):
        return look_up(whole)
    return _VARIABLE.sub(as_text, value)


def _unusable(found: re.Match[str], place: str, error: Exception) -> PlanError:
    return PlanError(f"{place}: {found[0]} can't be used: {type(error).__name__}: {error}")


def _filled_pairs(value: str, variables: Mapping[str, object], place: str) -> object:
    """As `_filled`, for text such as `A=$x B=y`: each value by itself, so that it may be a secret."""
    if _VARIABLE.fullmatch(value) or not _VARIABLE.search(value):
        return _filled(value, variables, place)
    try:
        pairs = checks.assignments(value)
    except ValueError as error:
        raise PlanError(f"{place} {error}") from None
    return {key: _filled(text, variables, place) for key, text in pairs.items()}
