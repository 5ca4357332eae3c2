"""Output becomes columns, whatever hosts print: one that can't be parsed has its own error, and costs no other."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from io import StringIO
from time import process_time
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from opskit.errors import OpskitError, PlanError
from opskit.results import HostResult, Results, check_parser

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DF = """\
Filesystem     1K-blocks      Used Available Use% Mounted on
/dev/sda1       41152736  12345678  28807058  31% /
tmpfs            4096000         0   4096000   0% /dev/shm
"""


def row(host: str, stdout: str = "", **more: Any) -> HostResult:
    """A row that ended ok and printed this."""
    return HostResult(host, more.pop("branch", None), "c", more.pop("status", "ok"), stdout=stdout, **more)


def of(*outputs: str) -> Results:
    """Results of web1, web2, ... that printed these."""
    return Results(tuple(row(f"web{number}", text) for number, text in enumerate(outputs, 1)))


def values(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """The columns as lists, None where a value is missing."""
    return {str(name): [None if value is pd.NA else value for value in frame[name]] for name in frame}


def test_a_parser_of_jc_gives_a_row_a_record() -> None:
    """The contract's example: df on two hosts is a row a filesystem, numbers as numbers."""
    frame = of(DF, DF).parse("df")
    assert list(frame) == ["host", "filesystem", "1k_blocks", "used", "available", "mounted_on", "use_percent"]
    assert frame.host.tolist() == ["web1", "web1", "web2", "web2"]
    assert frame.query("use_percent > 30").mounted_on.tolist() == ["/", "/"]
    assert [str(frame[name].dtype) for name in ("host", "filesystem", "used")] == ["string", "string", "Int64"]


def test_a_streaming_parser_of_jc_reads_lines() -> None:
    """Any parser of jc is one, by either spelling of its name."""
    assert of("a,b\n1,2\n").parse("csv-s").a.tolist() == of("a,b\n1,2\n").parse("csv_s").a.tolist() == ["1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1}', {"a": [1]}),
        ('[{"a": 1}, {"b": "x"}]', {"a": [1, None], "b": [None, "x"]}),
        ('{"a": 1}\n{"a": 2}\n', {"a": [1, 2]}),
        ('\n{\n "a": 1\n}\r\n{\n "a": 2\n}\n', {"a": [1, 2]}),
        ("[1, null, 3]", {"value": [1, None, 3]}),
        ("true\nfalse\n", {"value": [True, False]}),
        ('{"a": {"b": {"c": 1}, "d": []}, "e": {}}', {"a.b.c": [1], "a.d": [[]], "e": [{}]}),
        ('\ufeff{"a": NaN}\n{"a": 1.5}', {"a": [None, 1.5]}),
        ("null", {"value": [None]}),
        ('{"\\ud800": "\\udfff"}', {"\ufffd": ["\ufffd"]}),
    ],
)
def test_json_is_a_value_a_list_or_a_value_a_line(text: str, expected: dict[str, list[Any]]) -> None:
    """Objects are records, nested ones get dots, anything else is the column `value`."""
    found = values(of(text).parse("json"))
    assert found.pop("host") == ["web1"] * len(next(iter(expected.values())))
    assert found == expected


@pytest.mark.parametrize("text", ["", " \n", "[]"])
def test_an_output_that_tells_of_nothing_has_no_row(text: str) -> None:
    """No record is no error: neither a row nor a column `error`."""
    frame = of(text, '{"a": 1}').parse("json")
    assert values(frame) == {"host": ["web2"], "a": [1]}


@pytest.mark.parametrize("text", ["{", "nope", "1 2", '{"a": 1} {"a": 2}', "01", "9" * 5000, '{"a": 1}\n{"a'])
def test_what_is_no_json_is_the_rows_error(text: str) -> None:
    """Also a text that only starts as JSON, such as a version or a date, is none."""
    frame = of(text, '{"a": 1}').parse("json")
    assert frame.host.tolist() == ["web1", "web2"]
    assert re.match(r"stdout can't be parsed as json: (Expecting|Extra|Unterminated|Exceeds)", frame.error[0])
    assert values(frame)["a"] == [None, 1]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_a_bomb_of_nested_values_is_the_rows_error(text: str) -> None:
    """S17: what is nested deeper than Python goes neither ends the kernel nor the other host's rows."""
    frame = of(text, '{"a": 1}').parse("json")
    assert frame.host.tolist() == ["web1", "web2"]
    assert frame.error.isna()[1]


@pytest.mark.parametrize(
    ("parser", "text"),
    [
        ("json", json.dumps({str(number): 1 for number in range(1001)})),
        ("json", "\n".join(f'{{"{number}": 1}}' for number in range(1001))),
        ("yaml", "".join(f"a{n}: &a{n} {{x: {f'*a{n - 1}' if n else 1}, y: {f'*a{n - 1}' if n else 1}}}\n" for n in range(40))),  # noqa: E501 - one document
        ("yaml", "&a\nx: *a\n"),
    ],
    ids=["one record", "many records", "doubled forty times", "holds itself"],
)  # fmt: skip
def test_a_host_can_ask_for_a_thousand_columns_and_no_more(parser: str, text: str) -> None:
    """S17: a host that prints millions of fields gets an error, and the kernel lives."""
    frame = Results((row("web1", text),)).parse(parser)
    assert list(frame) == ["host", "error"]
    assert len(frame) == 1


def test_hostile_yaml_and_xml_run_and_read_nothing(tmp_path: Path) -> None:
    """S17: tags that name Python functions stay data, entities of XML are refused."""
    planted, secret = tmp_path / "planted", tmp_path / "secret"
    secret.write_text("canary")
    of(f'!!python/object/apply:os.system ["touch {planted}"]', f"!!python/name:os.system {planted}").parse("yaml")
    frame = of(f'<!DOCTYPE x [<!ENTITY y SYSTEM "file://{secret}">]><x>&y;</x>').parse("xml")
    assert not planted.exists()
    assert frame.error.notna().all()
    assert "canary" not in frame.to_string()


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_is_split_at_the_delimiter_that_its_header_has(delimiter: str) -> None:
    """Quoted fields hold delimiters and lines; plain numbers become numbers."""
    lines = ['"na,me;\t"', "size", "note"], ['"a,\n;b"', "1", '"say ""hi"""'], ["c", "-20", ""]
    found = values(of("\r\n".join(map(delimiter.join, lines)) + "\r\n").parse("csv"))
    assert found == {
        "host": ["web1", "web1"], "na,me;\t": ["a,\r\n;b".replace("\r", ""), "c"], "size": [1, -20],
        "note": ['say "hi"', ""],
    }  # fmt: skip


def test_numbers_of_text_are_told_a_column_at_a_time() -> None:
    """A column of plain numbers is one, gaps and all; `007`, `1e5` and a lone word keep their column text."""
    csv = "a,b,c,d,e,f\n1,0.5,007,1e5,1,1234567890123456789\n,2,1,2,x,1\n"
    frame = of(csv).parse("csv")
    assert [str(frame[name].dtype) for name in "abcdef"] == ["Int64", "Float64", *["string"] * 4]
    assert values(frame)["a"] == [1, None]
    assert values(frame)["c"] == ["007", "1"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b\n1,2\n3\n", "record 2 has 1 fields, the header 2"),
        ("a,b\n1,2,3\n", "record 1 has 3 fields, the header 2"),
        ("a,b,a\n1,2,3\n", "the header names 'a' twice"),
        ('a,b\n1,"2\n', "unexpected end of data"),
    ],
)
def test_a_broken_csv_is_the_rows_error(text: str, why: str) -> None:
    """A line that does not fit its header is not moved into other columns."""
    assert of(text).parse("csv").error.tolist() == [f"stdout can't be parsed as csv: {why}"]


@pytest.mark.parametrize("kind", [str, lambda text: re.compile(text, re.MULTILINE)])
def test_each_match_of_a_pattern_is_a_record(kind: Callable[[str], str | re.Pattern[str]]) -> None:
    """As text or compiled; `^` and `$` of text are those of lines; a group that took no part is missing."""
    results = of("load: 1.5\nload: 2 high\n", "no load\n")
    frame = results.parse(kind(r"^load: (?P<load>[\d.]+)(?: (?P<note>\w+))?$"))
    assert values(frame) == {"host": ["web1", "web1"], "load": [1.5, 2.0], "note": [None, "high"]}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (len, {"value": [3]}),
        (lambda text: {"a": text}, {"a": ["a,b"]}),
        (lambda text: ({"a": word} for word in text.split(",")), {"a": ["a", "b"]}),
        (lambda text: text.split(","), {"value": ["a", "b"]}),
        (lambda text: pd.read_csv(StringIO(text + "\n1,2")), {"a": [1], "b": [2]}),
        (lambda text: None, {}),
    ],
)
def test_a_function_returns_records(function: Callable[[str], object], expected: dict[str, list[Any]]) -> None:
    """A mapping, a value, several of them, a frame, or None."""
    found = values(of("a,b").parse(function))
    del found["host"]
    assert found == expected


def test_a_function_that_raises_costs_its_own_host_alone() -> None:
    """Its exception is the row's error, on one line that commands no terminal."""

    def read(text: str) -> int:
        if not text.isdecimal():
            raise KeyError("no\nnumber \x1b[2J" + text * 1000)
        return int(text)

    frame = of("1", "x", "3").parse(read)
    assert values(frame)["value"] == [1, None, 3]
    assert frame.error[1].startswith("stdout can't be parsed as read: KeyError: ")
    assert frame.error[1].isprintable()
    assert len(frame.error[1]) <= 300


def test_an_interrupt_is_no_error_of_a_host() -> None:
    """Who ends a long parse gets out of it."""

    def read(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        of("x").parse(read)


def test_rows_that_are_not_ok_have_their_own_error() -> None:
    """They are not parsed, whatever they printed; where they say nothing, their status does."""
    results = Results(
        (
            row("web1", '{"a": 1}', branch="else"),
            row("web2", '{"a": 2}', branch="else", status="failed", error="exit code 3: no"),
            row("web3", branch="else", status="skipped"),
            row("", '{"a": 4}', branch="task"),
        )
    )
    frame = results.parse("json")
    assert values(frame) == {
        "host": ["web1", "web2", "web3", None], "branch": ["else", "else", "else", "task"], "a": [1, None, None, 4],
        "error": [None, "exit code 3: no", "skipped", None],
    }  # fmt: skip
    assert [str(frame[name].dtype) for name in frame] == ["string", "category", "Int64", "string"]


def test_a_cut_output_is_not_parsed() -> None:
    """The middle of it is missing, so the records would be wrong in silence."""
    frame = Results((row("web1", "1\n2\n", truncated=True),)).parse("json")
    assert frame.error[0].endswith("more than settings.max_output, so that records would be missing: raise it")
    assert list(frame) == ["host", "error"]


def test_a_field_does_not_take_the_place_of_a_column() -> None:
    """host, branch and error get a suffix, as often as it takes to be alone."""
    text = '{"host": 1, "branch": 2, "error": 3, "host_parsed": 4}'
    assert list(of(text, "x").parse("json")) == [
        "host", "host_parsed_parsed", "branch_parsed", "error_parsed", "host_parsed", "error",
    ]  # fmt: skip


def test_large_integers_stay_exact() -> None:
    """Beside missing ones, and beyond 64 bits, no digit is lost."""
    frame = of('{"a": 9007199254740993, "b": 9223372036854775808, "c": 1.0}', '{"d": [1, 2]}', '{"d": [3, 4]}').parse(
        "json"
    )
    assert frame.a[0] == 9007199254740993
    assert frame.b[0] == 9223372036854775808
    assert [str(frame[name].dtype) for name in "abcd"] == ["Int64", "object", "Float64", "object"]
    assert frame.d[2] == [3, 4]
    assert of(f"[1{'0' * 400}, 1.5]").parse("json")["value"][0] == 10**400


@pytest.mark.parametrize(
    ("parser", "why"),
    [
        ("dff", r"parser='dff' must be \"json\", .* or the name of a parser of jc; did you mean 'df'\?"),
        ("", "parser='' must be .*; known: acpi"),
        ("../df", "must be"),
        ("(?P<x", "is no regular expression: missing >, unterminated name at position 4"),
        (re.compile("x"), "must be a pattern of text that has a named group"),
        (re.compile(b"(?P<x>x)"), "must be a pattern of text that has a named group"),
        (3, "; not int"),
        (None, "; not NoneType"),
    ],
)
def test_an_unknown_parser_is_refused_before_anything_is_parsed(parser: Any, why: str) -> None:
    """Also for no rows; planning refuses it with the same words."""
    with pytest.raises(PlanError, match=why):
        Results().parse(parser)
    with pytest.raises(ValueError, match=why.removeprefix(f"parser={parser!r} ")):
        check_parser(parser)


def test_without_jc_its_parsers_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """json, csv and patterns need nothing; any other name tells what is missing."""
    monkeypatch.setitem(sys.modules, "jc", None)
    assert of("[1]").parse("json")["value"].tolist() == of("value\n1\n").parse("csv")["value"].tolist() == [1]
    with pytest.raises(OpskitError, match=r"'df' is neither .*not installed: pip install \"opskit\[parse\]\""):
        of(DF).parse("df")


def test_with_a_parser_the_frame_has_its_columns_after_the_contracts() -> None:
    """A row a record; one for each row without; what can't be parsed is told in `error`, and nothing else changes."""
    rows = (*of('[{"a": 1, "host": "x"}, {"a": 2}]', "x", "[]"), row("db1", status="failed", error="exit code 3"))
    plain, joined = Results(rows).df, Results(rows, parser=check_parser("json")).df
    assert list(joined) == [*plain, "a", "host_parsed"]
    assert joined.host.tolist() == ["web1", "web1", "web2", "web3", "db1"]
    assert values(joined[["a", "error"]]) == {
        "a": [1, 2, None, None, None],
        "error": [None, None, "stdout can't be parsed as json: Expecting value: line 1 column 1 (char 0)", None,
                  "exit code 3"],
    }  # fmt: skip
    assert all(joined[name].dtype == str(plain[name].dtype) for name in plain)
    assert list(Results(parser=check_parser("json")).df) == list(plain)


def test_narrowed_results_keep_their_parser() -> None:
    """By status, slice, host: each `.df` has the parsed columns; equality, hash and repr mind the rows alone."""
    results = replace(of('{"a": 1}', '{"a": 2}'), parser=check_parser("json"))
    for narrowed in (results.ok, results.where("ok"), results[:1], results.by_host["web1"]):
        assert narrowed.df.a[0] == 1
    assert results == of('{"a": 1}', '{"a": 2}')
    assert repr(results) == repr(of('{"a": 1}', '{"a": 2}'))
    assert hash(results) == hash(Results(results.rows))


def test_an_output_is_not_copied_for_each_of_its_records() -> None:
    """A frame of many records shares the text that they came from."""
    results = replace(of("[" + ",".join(["1"] * 1000) + "]" + " " * 100_000), parser=check_parser("json"))
    stdout = results.df.stdout
    assert len({id(text) for text in stdout}) == 1


def test_parsed_columns_that_parquet_cant_hold_are_an_error_of_ours(tmp_path: Path) -> None:
    """Values of several kinds in one column: the error says what to do."""
    results = replace(of('[{"a": 1}, {"a": "x"}]'), parser=check_parser("json"))
    with pytest.raises(OpskitError, match=r"Results\.to_parquet: a parsed column has values .*DataFrame\.to_parquet"):
        results.to_parquet(tmp_path / "rows.parquet")
    replace(results, parser=check_parser(str.splitlines)).to_parquet(tmp_path / "rows.parquet")


def test_two_hundred_hosts_are_parsed_in_a_blink() -> None:
    """200 hosts of 100 records each cost well under a second a parser."""
    results = of(*["user,load\n" + "bob,1.5\n" * 100] * 200)
    for parser in ("csv", r"^(?P<user>\w+),(?P<load>[\d.]+)$"):
        began = process_time()
        assert len(results.parse(parser)) == 20_000
        assert process_time() - began < 2
