"""Output into records: the parsers that `Results.parse` and the option `parse` take, and what they make of rows."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import OpskitError, did_you_mean
from opskit.frames.hosts import is_frame
from opskit.rendering.escape import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.results.result import HostResult

Record = Mapping[str, Any]
"""One thing that an output tells of, its values by their names."""

_ALLOWED: Final = (
    'must be "json", "csv", a pattern with a named group, (?P<name>...), a function, or the name of a parser of jc'
)
_MOST_FIELDS: Final = 1_000
"""So many columns one host may ask for; a frame with a million of them would take the kernel down."""
_WHY: Final = 300
_NAME: Final = 60
_LINE_END: Final = re.compile(r"[ \t\r]*(?:\n\s*|\Z)")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Parser:
    """A way from one command's stdout to records; `check_parser` makes it.

    Attributes:
        name: What an error line calls it.
        read: From stdout to a record (a mapping), a bare value, several of those, or None; may raise anything.
        typed: Whether its values have types of their own. If not they are text, and a column of which every value is
            a plain number becomes one of numbers.
    """

    name: str
    read: Callable[[str], Any]
    typed: bool = True


def check_parser(value: object) -> Parser:
    """Make the parser that is meant, without parsing anything; see `Results.parse` for what may be meant.

    Raises:
        ValueError: It is none; the text says what is allowed, and goes on from the name of what was given.
        OpskitError: It may be a parser of jc, which is not installed.
    """
    if isinstance(value, Parser):
        return value
    if isinstance(value, str) and "(?P<" in value:
        try:
            value = re.compile(value, re.MULTILINE)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
    if isinstance(value, re.Pattern):
        if not isinstance(value.pattern, str) or not value.groupindex:
            raise ValueError("must be a pattern of text that has a named group, (?P<name>...)")
        return Parser(one_line(value.pattern, _NAME), partial(_matches, value), typed=False)
    if value == "json":
        return Parser("json", _json_values)
    if value == "csv":
        return Parser("csv", _csv_lines, typed=False)
    if callable(value):
        return Parser(getattr(value, "__name__", type(value).__name__), value)
    if not isinstance(value, str):
        raise ValueError(f"{_ALLOWED}; not {type(value).__name__}")  # noqa: TRY004 - callers map ValueError alone
    return _parser_of_jc(value)


def parsed(rows: Iterable[HostResult], parser: Parser) -> list[tuple[HostResult, Sequence[Record]]]:
    """Each row with its records, in order; none if it is not ok, or if its output tells of nothing.

    A row whose output can't be parsed has none either, and its `error` says what failed. Nothing that a host printed
    raises.
    """
    return [_parsed(row, parser) for row in rows]


def _parsed(row: HostResult, parser: Parser) -> tuple[HostResult, Sequence[Record]]:
    if not row.ok:
        return row, ()
    if row.truncated:
        why = "there was more than settings.max_output, so that records would be missing: raise it"
    else:
        try:
            return row, _records(parser.read(row.stdout))
        except Exception as error:  # noqa: BLE001 - whatever one host's output breaks must not lose the other hosts
            why = str(error) if isinstance(error, (ValueError, csv.Error)) else f"{type(error).__name__}: {error}"
    return replace(row, error=one_line(f"stdout can't be parsed as {parser.name}: {why}", _WHY)), ()


def _records(found: Any) -> list[Record]:
    if found is None:
        return []
    if is_frame(found):
        found = found.to_dict("records")
    if isinstance(found, (str, bytes, Mapping)) or not isinstance(found, Iterable):
        found = [found]
    records: list[Record] = []
    names: set[str] = set()
    for item in found:
        record: dict[str, Any] = {}
        # A few lines of YAML can stand for millions of fields, so they are counted as they are met.
        for name, value in _fields(item if isinstance(item, Mapping) else {"value": item}):
            names.add(name)
            if len(names) > _MOST_FIELDS:
                raise ValueError(f"its records have more than {_MOST_FIELDS:,} fields")
            record[name] = value
        records.append(record)
    return records


def _fields(record: Mapping[Any, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a record, those of mappings in it named `outer.inner`."""
    for key, value in record.items():
        name = _encodable(f"{outer}{key}")
        if isinstance(value, Mapping) and value:
            yield from _fields(value, f"{name}.")
        else:
            yield name, _encodable(value) if isinstance(value, str) else value


def _encodable(text: str) -> str:
    """Halves of characters, which JSON and YAML can spell, as the replacement character: no frame can hold them."""
    return _SURROGATE.sub("\ufffd", text)


def _json_values(text: str) -> Any:
    """One value, over as many lines as it likes, or several, each of which ends with its line."""
    text = text.removeprefix("\ufeff").lstrip()
    values, position, decoder = [], 0, json.JSONDecoder()
    while position < len(text):
        value, end = decoder.raw_decode(text, position)
        values.append(value)
        line_end = _LINE_END.match(text, end)
        if line_end is None:
            raise json.JSONDecodeError("Extra data", text, end)
        position = line_end.end()
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


def _csv_lines(text: str) -> list[Record]:
    """Each line under the names in the first one, apart by whichever of `,`, `;` and tab splits that into the most."""

    def lines(delimiter: str, *, strict: bool) -> Iterator[list[str]]:
        file = StringIO(text.removeprefix("\ufeff"), newline="")
        return (line for line in csv.reader(file, delimiter=delimiter, strict=strict) if line)

    delimiter = max(",;\t", key=lambda mark: len(next(lines(mark, strict=False), ())))
    every = lines(delimiter, strict=True)
    header = next(every, [])
    if len(set(header)) < len(header):
        raise ValueError(f"the header names {Counter(header).most_common(1)[0][0]!r} twice")
    records: list[Record] = []
    for number, line in enumerate(every, 1):
        if len(line) != len(header):
            raise ValueError(f"record {number:,} has {len(line):,} fields, the header {len(header):,}")
        records.append(dict(zip(header, line, strict=True)))
    return records


def _matches(pattern: re.Pattern[str], text: str) -> list[Record]:
    return [match.groupdict() for match in pattern.finditer(text)]


def _parser_of_jc(name: str) -> Parser:
    try:
        import jc
    except ImportError:
        raise OpskitError(
            f'{name!r} is neither "json" nor "csv" nor a pattern with a named group; jc, which has parsers of other'
            ' names, is not installed: pip install "opskit[parse]"'
        ) from None
    module, known = name.replace("-", "_"), jc.parser_mod_list()
    if module not in known:
        raise ValueError(f"{_ALLOWED}{did_you_mean(module, ['json', *known])}")
    return Parser(name, partial(_read_by_jc, module, by_line=module in jc.streaming_parser_mod_list()))


def _read_by_jc(module: str, text: str, *, by_line: bool) -> Any:
    import jc

    if not text.strip():
        return None
    found = list(jc.parse(module, text.splitlines(), quiet=True)) if by_line else jc.parse(module, text, quiet=True)
    if not found:  # which is what many of its parsers make of the output of another command
        raise ValueError("there is no record in it")
    return found
