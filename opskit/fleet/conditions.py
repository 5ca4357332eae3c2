"""Conditions: text or callables, compiled once, that tell whether a branch's command is for a host."""

from __future__ import annotations

import builtins
import inspect
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from symtable import symtable
from typing import TYPE_CHECKING

from opskit.errors import ConditionError, did_you_mean
from opskit.fleet.names import near_attributes
from opskit.rendering.escape import terminal

if TYPE_CHECKING:
    from opskit.fleet.host import Host
    from opskit.fleet.names import Names

_OWN_NAMES = frozenset({"in_", "server", "configuration"})


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """Whether a branch is for a host. Made by `Condition.compile`.

    Attributes:
        label: The text as it was given; of a callable its name.
        place: Where it stands, for errors; may be empty.
        asked_roles: The roles that `in_` was asked about so far.
    """

    label: str
    place: str
    _evaluate: Callable[[Host, set[str]], object]
    _hints: dict[str, str]
    asked_roles: set[str] = field(default_factory=set)

    @classmethod
    def compile(cls, source: str | Callable[[Host], object], names: Names, *, place: str = "") -> Condition:
        """Compile a Python expression, or take a callable as it is.

        In an expression `in_(role)`, `server` and `configuration` come first, then `names` as they are now, then
        builtins.

        Args:
            source: The expression, or a callable that takes the host.
            names: What the expression may name.
            place: Where it stands, for errors, such as `line 3 of the cell`.

        Raises:
            ConditionError: The text is no expression; the message has a caret under the place.
        """
        if not isinstance(source, str):
            if not callable(source):
                raise ConditionError(
                    f"a condition{_at(place)} must be text or a callable, not {type(source).__name__} {source!r}"
                )
            function = source
            return cls(_name_of(source), place, lambda host, _asked: function(host), {})
        text = source.strip()
        try:
            code = compile(text, "<condition>", "eval")
            wanted = _free_names(text) - _OWN_NAMES
        except SyntaxError as error:
            raise ConditionError(_described(text, place, error)) from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise ConditionError(f"`{text}`{_at(place)} is no condition: {error}") from error
        captured = names.pick(wanted)
        fixed = {"__builtins__": builtins, **captured, "configuration": names.configuration()}

        def evaluate(host: Host, asked: set[str]) -> object:
            # A new dict each time: what `:=` stores for one host is not there for the next. Names stand in the globals,
            # for that is where lambdas and generators inside the condition look.
            seen = {**fixed, "server": host, "in_": partial(in_, host, asked)}
            return eval(code, seen)  # noqa: S307 - a condition is the user's own code

        missing = {name for name in wanted - captured.keys() if not hasattr(builtins, name)}
        known = {*_OWN_NAMES, *names.known(), *dir(builtins)} if missing else ()
        return cls(text, place, evaluate, {name: _hint(name, text, known) for name in missing})

    def holds(self, host: Host) -> bool:
        """Whether the condition is true for a host, by Python's truth.

        Raises:
            ConditionError: It raised, or gave what is neither true nor false: an array, NaN, a coroutine, a function
                that was not called.
        """
        try:
            result = self._evaluate(host, self.asked_roles)
            if result is True or result is False:
                return result
            unfit = _unfit(result)
        except (Exception, SystemExit) as error:  # `exit()` is no way to end a notebook from here
            cause = terminal(f"{type(error).__name__}: {error}{self._near(error)}")
            raise ConditionError(f"condition `{self.label}`{_at(self.place)} failed on {host.name}: {cause}") from error
        if unfit:
            raise ConditionError(
                f"condition `{self.label}`{_at(self.place)} gave {terminal(unfit)} on {host.name}; "
                "it must be true or false"
            )
        return bool(result)

    def _near(self, error: BaseException) -> str:
        if isinstance(error, NameError):
            return self._hints.get(str(error.name), "")
        # What opskit's own values raise ends with near names already, after a semicolon.
        if isinstance(error, AttributeError) and error.name is not None and ";" not in str(error):
            return near_attributes(error.obj, error.name)
        return ""


def in_(host: Host, asked: set[str], role: object = None, *more: object) -> bool:
    """What a condition knows by this name, but for the host and the roles asked about, which are filled in."""
    if more:
        raise TypeError(f"in_() takes one role: write {' or '.join(f'in_({one!r})' for one in (role, *more))}")
    if not isinstance(role, str):
        raise TypeError(f"in_() takes the name of a role, not {type(role).__name__} {role!r}")
    asked.add(role)
    return role in host.roles


def _unfit(result: object) -> str:
    """What kind of value it is that can't be meant as true or false; empty if it can."""
    kind = type(result).__name__
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()  # or Python would warn that it was never awaited
        return f"a value to await ({kind})"
    if callable(result):
        return f"a function that was not called ({kind}; write parentheses after it)"
    if isinstance(result, Iterator):
        return f"an iterator, which is always true ({kind}; write any() or all() around it)"
    if getattr(result, "ndim", 0):
        return f"many values ({kind}; write .any() or .all() after it)"
    try:
        missing = not isinstance(result, (str, Collection)) and bool(result != result)  # noqa: PLR0124 - NaN does
        bool(result)
    except Exception as error:  # noqa: BLE001 - whatever it raises, as pandas.NA does, it has no truth
        return f"what has no truth value ({kind}: {error})"
    return f"a missing value ({kind} {result})" if missing else ""


def _free_names(text: str) -> set[str]:
    """The names that the text takes from outside, also inside its lambdas and comprehensions."""
    tables = [symtable(text, "<condition>", "eval")]
    names: set[str] = set()
    while tables:
        table = tables.pop()
        names.update(symbol.get_name() for symbol in table.get_symbols() if symbol.is_global())
        tables.extend(table.get_children())
    return names


def _hint(name: str, text: str, known: Collection[str]) -> str:
    """End the sentence about a name that nobody knows; a role is often written without quotes."""
    if re.search(rf"\bin_\(\s*{name}\s*\)", text):
        return f"; a role stands in quotes: in_({name!r})"
    return did_you_mean(name, known)


def _name_of(function: Callable[[Host], object]) -> str:
    inner: object = function
    while isinstance(inner, partial):
        inner = inner.func
    name = getattr(inner, "__name__", type(inner).__name__)
    code = getattr(inner, "__code__", None)
    return f"lambda at line {code.co_firstlineno}" if name == "<lambda>" and code else str(name)


def _described(text: str, place: str, error: SyntaxError) -> str:
    if not text:
        return f"a condition{_at(place)} is empty"
    lines = text.split("\n")
    number = min(max(error.lineno or 1, 1), len(lines))
    column = min(max(error.offset or 1, 1), len(lines[number - 1]) + 1)
    before = "".join("\t" if character == "\t" else " " for character in lines[number - 1][: column - 1])
    shown = [*lines[:number], f"{before}^", *lines[number:]]
    return "\n".join([f"this is no condition{_at(place)}: {error.msg}", *(f"    {line}" for line in shown)])


def _at(place: str) -> str:
    return f" ({place})" if place else ""
