"""Command templates: `{{ expression }}` in shell text, filled in for each host so that a value stays one word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from opskit.errors import TemplateError, did_you_mean
from opskit.fleet.names import near_attributes
from opskit.masking import MASK
from opskit.rendering.escape import terminal
from opskit.secrets import Secret
from opskit.work.quoting import SECRET_VARIABLE, ending_documents, quoted, why_quoted
from opskit.work.shell_context import HOLE, Context, contexts

if TYPE_CHECKING:
    from jinja2 import Environment, TemplateSyntaxError

    from opskit.fleet.host import Host
    from opskit.fleet.names import Names

LONGEST_COMMAND = 128 * 1024
"""Bytes in UTF-8: what Linux takes as one argument of a program."""

_OWN_NAMES = frozenset({"server", "configuration"})
_AS_IT_IS = "`template=False` sends the text as it is"
_ALONE = "there is a secret in it, and a secret can only stand for itself: {{ name }}"
_GO_TEMPLATE = re.compile(r"-?\s*\.")


class Rendered(NamedTuple):
    """A command for one host, and the secrets that it names by `"$OPSKIT_SECRET_1"` and so on."""

    command: str
    secrets: tuple[Secret, ...] = ()


class Raw(str):
    """Text that `| raw` made: shell text, inserted without quotes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Expression:
    """One `{{ }}`: its text, where it stands (for errors), and what evaluates it."""

    text: str
    place: str
    evaluate: Callable[[Mapping[str, object]], object]

    def __str__(self) -> str:
        return f"`{{{{ {self.text} }}}}`{self.place}"


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """A command with its expressions compiled. Made by `Template.compile`.

    Attributes:
        literals: The shell text before, between and after the expressions.
        expressions: One less than `literals`.
        contexts: What may stand where each expression is.
    """

    literals: tuple[str, ...]
    expressions: tuple[Expression, ...]
    contexts: tuple[Context, ...]
    _place: str
    _values: Mapping[str, object]

    @classmethod
    def compile(cls, text: str, names: Names, *, enabled: bool = True, place: str = "") -> Template:
        """Find and compile the expressions of a command; what they name has the value that it has now.

        Args:
            text: The command; its line ends become line feeds.
            names: What the expressions may name besides `server` and `configuration`.
            enabled: False takes the text as it is.
            place: Where the command stands, for errors, such as `line 3 of the cell`.

        Raises:
            TemplateError: An expression does not end or parse, or names what is unknown; or a command without
                expressions can't be sent.
        """
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        literals, expressions, values = _split(text, names, place) if enabled else ([text], [], {})
        if HOLE in text or not expressions:
            _check_command(text, f"the command{_in_brackets(place)}")
        found = contexts(HOLE.join(literals)) if expressions else []
        return cls(tuple(literals), tuple(expressions), tuple(found), place, values)

    def render(self, host: Host) -> Rendered:
        """The command for a host. A secret is named in it by a shell variable, which the transport sets.

        Raises:
            TemplateError: An expression raised or gave no text, a value can't be quoted where it stands or would end
                a here-document, or the command can't be sent: it has a NUL, or is over 128 KiB long.
        """
        if not self.expressions:
            return Rendered(self.literals[0])
        names = {**self._values, "server": host}
        values = [_value(expression, names, host) for expression in self.expressions]
        places = list(self._contexts_with(values))
        words = []
        secrets: dict[Secret, int] = {}
        for expression, value, context in zip(self.expressions, values, places, strict=True):
            word = _word(value, context, secrets)
            if word is None:
                raise TemplateError(_refusal(expression, value, context, host))
            words.append(word)
        command = self._filled_with(words)
        _check_command(command, f"the command{_in_brackets(self._place)} for {host.name}")
        if "<<" in command:
            for number in ending_documents(self._filled_with([HOLE + word for word in words])):
                if places[number].place and not isinstance(values[number], Raw):
                    raise TemplateError(_ends_document(self.expressions[number], host))
        return Rendered(command, tuple(secrets))

    def plain(self, host: Host) -> str:
        """What it says for a host where no shell reads it: values stand in it as they are.

        Raises:
            TemplateError: An expression raised or gave no text, a value is a secret, or there is a NUL in it.
        """
        names = {**self._values, "server": host}
        words = []
        for expression in self.expressions:
            value = _value(expression, names, host)
            if isinstance(value, Secret):
                raise TemplateError(
                    f"{expression} can't be filled in for {host.name}: its value is a secret, and this text is shown "
                    "and kept as it is"
                )
            words.append(value)
        text = self._filled_with(words)
        _check_command(text, f"the text{_in_brackets(self._place)} for {host.name}")
        return text

    def _filled_with(self, words: list[str]) -> str:
        return "".join(chain.from_iterable(zip_longest(self.literals, words, fillvalue="")))

    def _contexts_with(self, values: list[str | Secret]) -> Iterable[Context]:
        """The contexts of the holes; raw values are shell text, so they are read as such."""
        if not any(isinstance(value, Raw) for value in values) or all(isinstance(value, Raw) for value in values):
            return self.contexts
        pieces = [self.literals[0]]
        for value, literal in zip(values, self.literals[1:], strict=True):
            pieces += (value.replace(HOLE, "") if isinstance(value, Raw) else HOLE, literal)
        unread = iter(contexts("".join(pieces)))
        return [Context() if isinstance(value, Raw) else next(unread) for value in values]


def _split(text: str, names: Names, place: str) -> tuple[list[str], list[Expression], dict[str, object]]:
    """The literal text around the expressions, the expressions, and the values of what they name."""
    literals, expressions = [""], []
    values: dict[str, object] = {}
    at = 0
    while (opening := text.find("{{", at)) >= 0:
        literals[-1] += text[at:opening]
        at = opening + 2
        if _GO_TEMPLATE.match(text, at):
            literals[-1] += "{{"
            continue
        expression, at = _expression_at(text, opening, place)
        values |= _named_in(expression, names)
        expressions.append(expression)
        literals.append("")
    literals[-1] += text[at:]
    return literals, expressions, {**values, "configuration": names.configuration()}


def _expression_at(text: str, opening: int, place: str) -> tuple[Expression, int]:
    """The expression that opens there, to the first `}}` at which it is one; and where the text goes on."""
    from jinja2 import TemplateAssertionError, TemplateSyntaxError

    line, column = text.count("\n", 0, opening) + 1, opening - text.rfind("\n", 0, opening)
    where = _in_brackets(f"line {line}, column {column}", place)
    start = opening + 2
    first = closing = text.find("}}", start)
    shown = f"`{text[opening : closing + 2 if closing >= 0 else opening + 40]}`{where}"
    if text.startswith("-", start):
        raise TemplateError(f"{shown}: `{{{{-` is unknown here, write `{{{{ }}}}`; {_AS_IT_IS}")
    message = "no `}}` ends it"
    while closing >= 0:
        source = text[start:closing]
        try:
            evaluate = _environment().compile_expression(source, undefined_to_none=False)
        except TemplateAssertionError as error:
            raise TemplateError(f"{shown}: {_sentence(error)}{_near_filters(source)}; {_AS_IT_IS}") from error
        except TemplateSyntaxError as error:
            message = _sentence(error) if closing == first else message
        else:
            return Expression(source.strip(), where, evaluate), closing + 2
        closing = text.find("}}", closing + 1)
    raise TemplateError(f"{shown} is no expression: {message}; {_AS_IT_IS}")


def _sentence(error: TemplateSyntaxError) -> str:
    return str(error.message).split("\n", 1)[0].rstrip(".")


def _near_filters(source: str) -> str:
    known = _environment().filters
    used = re.findall(r"\|\s*(\w+)", source)
    return "".join(did_you_mean(name, known) for name in used if name not in known)


def _named_in(expression: Expression, names: Names) -> dict[str, object]:
    """The values of the names that an expression uses."""
    from jinja2.nodes import Name

    # Not jinja2.meta, which leaves out Jinja's globals: a notebook may well have a `namespace` of its own.
    environment = _environment()
    parsed = environment.parse(f"{{{{ {expression.text} }}}}")
    wanted = {node.name for node in parsed.find_all(Name)} - _OWN_NAMES
    values = names.pick(wanted)
    for name in sorted(wanted - values.keys() - environment.globals.keys()):
        near = did_you_mean(name, {*_OWN_NAMES, *names.known()})
        raise TemplateError(f"{expression}: {name!r} is not defined{near}; {_AS_IT_IS}")
    return values


def _word(value: str | Secret, context: Context, secrets: dict[Secret, int]) -> str | None:
    """What stands for a value in the command; None if it can't stand there safely."""
    if isinstance(value, Raw):
        return value
    if not isinstance(value, Secret):
        return quoted(value, context)
    if context.place:
        return None
    return f'"${SECRET_VARIABLE}{secrets.setdefault(value, len(secrets) + 1)}"'


def _value(expression: Expression, names: Mapping[str, object], host: Host) -> str | Secret:
    from jinja2 import UndefinedError

    try:
        value = expression.evaluate(names)
        return value if isinstance(value, Secret) else _without_secrets(_text(value))
    except (Exception, SystemExit) as error:
        own = isinstance(error, (_NoTextError, UndefinedError))
        cause = terminal(str(error) if own else f"{type(error).__name__}: {error}")
        raise TemplateError(f"{expression} can't be filled in for {host.name}: {cause}") from error


def _without_secrets(text: str) -> str:
    """What a filter made of a secret would send its mask."""
    if MASK in text or quote(MASK) in text:
        raise _NoTextError(_ALONE)
    return text


class _NoTextError(TypeError):
    """A value is nothing that could be written into a command."""


def _text(value: Any) -> str:
    """The text of a scalar."""
    if isinstance(value, Raw):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    from jinja2 import Undefined

    if isinstance(value, Undefined):
        return str(value)  # which raises, naming what is missing
    kind = type(value).__name__
    if value is None:
        raise _NoTextError("its value is None; `| default('...', true)` gives another, `| join` makes text of a list")
    if isinstance(value, (bytes, bytearray)):
        raise _NoTextError(f"its value is {kind}, not text; decode it first")
    if isinstance(value, Iterable):
        raise _NoTextError(f"its value is a collection ({kind}); `| join(' ')` makes one text of it")
    if callable(value):
        raise _NoTextError(f"its value is a function ({kind}) that was not called; write parentheses after it")
    if not isinstance(value, (int, float)) and _has_no_text(type(value)):
        raise _NoTextError(f"its value is no text but an object ({kind}); name one of its attributes")
    if value != value:  # noqa: PLR0124 - only NaN and its like differ from themselves
        raise _NoTextError(f"its value is missing ({kind} {value})")
    return str(value)


def _has_no_text(kind: type) -> bool:
    return not any("__str__" in base.__dict__ for base in kind.__mro__[:-1])


def _refusal(expression: Expression, value: str | Secret, context: Context, host: Host) -> str:
    why, way_out = "is a secret", ""
    if not isinstance(value, Secret):
        why, way_out = why_quoted(value), f". `{{{{ {expression.text} | raw }}}}` inserts it as it is"
    return (
        f"{expression} can't be filled in for {host.name}: its value {why}, so it needs quotes, and they "
        f"could not hold {context.place}. Take the quotes around it away (a value brings its own), or set a variable "
        f'first, `value={{{{ {expression.text} }}}}`, and write "$value" here{way_out}'
    )


def _ends_document(expression: Expression, host: Host) -> str:
    return (
        f"{expression} can't be filled in for {host.name}: it would make its line the end of a here-document, and the "
        "lines after it commands. Give the here-document another delimiter, one that no value can be. "
        f"`{{{{ {expression.text} | raw }}}}` inserts it as it is"
    )


def _check_command(command: str, what: str) -> None:
    """Raise if the command can't be sent."""
    if HOLE in command:
        raise TemplateError(f"{what} has a NUL at character {command.index(HOLE) + 1}, which no shell can take")
    try:
        size = len(command.encode())
    except UnicodeEncodeError as error:
        raise TemplateError(
            f"{what} has {command[error.start]!r} at character {error.start + 1}, which is no character of UTF-8"
        ) from error
    if size > LONGEST_COMMAND:
        raise TemplateError(f"{what} is {size} bytes long, over the limit of {LONGEST_COMMAND}: use `put` or stdin")


def _in_brackets(*places: str) -> str:
    known = [place for place in places if place]
    return f" ({', '.join(known)})" if known else ""


@cache
def _environment() -> Environment:
    import jinja2

    class Missing(jinja2.StrictUndefined):
        """Names what is near, when it is used: making it must stay cheap for `| default`."""

        __slots__ = ()

        @property
        def _undefined_message(self) -> str:
            owner, name = self._undefined_obj, self._undefined_name
            return f"{type(owner).__name__} has no {name!r}{near_attributes(owner, str(name))}"

    environment = jinja2.Environment(undefined=Missing)  # noqa: S701 - a shell's text, not HTML
    # A secret's mask is refused with the rest of the text.
    environment.filters["raw"] = lambda value: Raw(str(value) if isinstance(value, Secret) else _text(value))
    return environment
