"""Whatever hosts print, each parser makes a frame of it: records, or an error in the row of who printed it (S17)."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.results import HostResult, Results, check_parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.integers(2**62, 2**66),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3)


@pytest.fixture(autouse=True, scope="module")
def files_that_jc_leaves_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Its parser of plist writes what it can't read to a temporary file, and forgets it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("jc")))
        yield


def of(*outputs: str) -> Results:
    """Results of web1, web2, ... that printed these."""
    return Results(tuple(HostResult(f"web{n}", None, "c", "ok", stdout=text) for n, text in enumerate(outputs, 1)))


def check_frames(texts: Sequence[str], parser: Any) -> pd.DataFrame:
    """Parse both ways, and show it; the joined frame has every host."""
    results = replace(of(*texts), parser=check_parser(parser))
    frame, joined = results.parse(parser), results.df
    assert frame.columns.is_unique
    assert joined.columns.is_unique
    frame.to_html()
    assert set(frame.host) <= set(results.hosts) == set(joined.host)
    if "error" in frame:
        assert all(len(why) <= 300 and not set(why) & set("\n\r\x1b\u202e") for why in frame.error.dropna())
    return frame


@given(st.lists(JSON, min_size=1, max_size=3))
def test_any_json_is_a_frame(printed: list[Any]) -> None:
    """Whatever hosts print as JSON is parsed, without an error, a record for each item."""
    frame = check_frames([json.dumps(value) for value in printed], "json")
    assert "error" not in frame
    assert len(frame) == sum(len(value) if isinstance(value, list) else 1 for value in printed)


@pytest.mark.parametrize("parser", ["json", "csv", r"(?P<a>\w)(?P<b>.*)", str.split])
@given(texts=TEXTS)
def test_any_text_is_a_frame_or_an_error(parser: Any, texts: list[str]) -> None:
    """No output raises, and a host without a record has printed nothing of the kind."""
    check_frames(texts, parser)


@given(texts=TEXTS, parser=st.sampled_from(jc.parser_mod_list()))
def test_any_text_is_a_frame_or_an_error_to_jc(texts: list[str], parser: str) -> None:
    """S17: no parser of jc raises through, whatever a host prints."""
    check_frames(texts, parser)


def test_every_parser_of_jc_takes_the_output_of_another_command() -> None:
    """Each gives records or an error for each host that printed something: none gets lost."""
    results = of(
        "Filesystem 1K-blocks Used\n/dev/sda1 41152736 12345678\n", "\x00\x1b[31m\ufffd\n\n", "a: b\nc = d\n1 2 3\n", ""
    )
    for parser in set(jc.parser_mod_list()) - {"csv"}:  # that name is ours
        assert set(results.parse(parser).host) == {"web1", "web2", "web3"}, parser


@given(st.lists(st.lists(st.text("ab01,;\t\"' \n.-"), min_size=2, max_size=2), max_size=4))
def test_csv_that_was_written_is_read_back(lines: list[list[str]]) -> None:
    """Any fields that are quoted as they should be come back, as text or as the number that the text was."""
    quoted = ['"x","y"', *(",".join('"' + text.replace('"', '""') + '"' for text in line) for line in lines)]
    frame = of("\n".join(quoted)).parse("csv")
    assert "error" not in frame
    assert len(frame) == len(lines)
    if lines and str(frame.x.dtype) == "string":
        assert frame.x.tolist() == [line[0] for line in lines]
