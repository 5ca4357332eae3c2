"""What is kept of the output, and its lines."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from time import process_time

from hypothesis import given
from hypothesis import strategies as st

from opskit.engine.capture import Capture

MARK = "bytes left out"

pieces_of_bytes = st.lists(st.binary(max_size=12), max_size=40)
texts = st.text(st.sampled_from("ab\n\r\0é€😀"), max_size=60)


def captured(pieces: list[bytes], limit: int) -> Capture:
    """A capture that got these pieces on stdout."""
    capture = Capture(limit)
    for piece in pieces:
        capture.received("stdout", piece)
    capture.finish()
    return capture


def lines_of(pieces: list[bytes], limit: int = 1000) -> list[str]:
    """The lines that were handed out."""
    lines: list[str] = []
    capture = Capture(limit, lambda _, line: lines.append(line))
    for piece in pieces:
        capture.received("stdout", piece)
    capture.finish()
    return lines


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, some of them empty."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(pieces=pieces_of_bytes)
def test_everything_is_kept_up_to_the_limit(pieces: list[bytes]) -> None:
    """What fits is the decoded whole, however it was cut, and is not marked."""
    whole = b"".join(pieces)
    capture = captured(pieces, max(1, len(whole)))
    assert capture.stdout == whole.decode("utf-8", "replace")
    assert not capture.truncated


@given(pieces=st.lists(st.text("abc", max_size=12).map(str.encode), max_size=40), limit=st.integers(1, 40))
def test_beyond_the_limit_head_and_tail_are_kept(pieces: list[bytes], limit: int) -> None:
    """R19: half of the limit is the output's beginning, half its end, with the number of bytes between them."""
    whole = b"".join(pieces).decode()
    capture = captured(pieces, limit)
    assert capture.truncated == (len(whole) > limit)
    if capture.truncated:
        head, left_out, tail = capture.stdout.split("\n")
        assert head == whole[: limit // 2]
        assert tail == whole[-(limit - limit // 2) :]
        assert left_out == f"... {len(whole) - limit} {MARK} ..."


@given(pieces=pieces_of_bytes, limit=st.integers(1, 30))
def test_what_is_kept_is_bounded_whatever_the_pieces(pieces: list[bytes], limit: int) -> None:
    """R19: never more text than the limit and the mark, also of bytes that are no UTF-8."""
    capture = captured(pieces, limit)
    assert len(capture.stdout) <= limit + len(f"\n... {sum(map(len, pieces))} {MARK} ...\n")


@given(text=st.text("é€😀", min_size=4, max_size=30), limit=st.integers(8, 60))
def test_no_half_character_stands_at_the_cut(text: str, limit: int) -> None:
    """A character that the cut goes through is left out, not replaced."""
    assert "\ufffd" not in captured([text.encode()], limit).stdout


def test_streams_are_kept_apart() -> None:
    """Each stream has its own text and its own limit; either one's overflow marks the row."""
    capture = Capture(10)
    capture.received("stdout", b"out")
    capture.received("stderr", b"e" * 11)
    assert capture.stdout == "out"
    assert capture.stderr == f"eeeee\n... 1 {MARK} ...\neeeee"
    assert capture.truncated


def test_many_small_pieces_cost_no_more_than_what_is_kept() -> None:
    """R19: memory is bounded by the limit, not by the number of pieces."""
    tracemalloc.start()
    try:
        capture = Capture(64 * 1024)
        for number in range(100_000):
            capture.received("stdout", b"%d\n" % number)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 3 * 64 * 1024
    assert capture.stdout.endswith("\n99999\n")


@given(text=texts, places=st.lists(st.integers(0, 300), max_size=20))
def test_lines_are_those_of_the_whole(text: str, places: list[int]) -> None:
    r"""A34: however output is cut, also inside a character or between \r and \n, each line is whole and comes once."""
    expected = text.split("\n")
    if expected[-1] == "":
        expected.pop()
    limit = max(map(len, expected), default=0) + 1
    assert lines_of(cut(text.encode(), places), limit) == [line.removesuffix("\r") for line in expected]


@given(data=st.binary(max_size=60), places=st.lists(st.integers(0, 100), max_size=10))
def test_lines_of_bytes_that_are_no_text(data: bytes, places: list[int]) -> None:
    """Bad bytes are replaced as in the text, wherever the pieces end."""
    assert lines_of(cut(data, places)) == lines_of([data])


def test_a_line_comes_as_soon_as_it_is_whole() -> None:
    """A line does not wait for what follows it; what has no end waits for the end."""
    lines: list[tuple[str, str]] = []
    capture = Capture(100, lambda *told: lines.append(told))
    capture.received("stdout", b"one\ntw")
    assert lines == [("stdout", "one")]
    capture.received("stderr", b"oops\n")
    capture.received("stdout", b"o")
    assert lines == [("stdout", "one"), ("stderr", "oops")]
    capture.finish()
    assert lines[2:] == [("stdout", "two")]


def test_nothing_is_handed_out_after_the_end() -> None:
    """What a host still sends after its step has ended is no line of the run."""
    lines: list[str] = []
    capture = Capture(100, lambda _, line: lines.append(line))
    capture.finish()
    capture.received("stdout", b"late\n")
    capture.finish()
    assert lines == []


@given(size=st.integers(0, 60), places=st.lists(st.integers(0, 100), max_size=20), limit=st.integers(1, 20))
def test_a_line_beyond_the_limit_comes_in_pieces(size: int, places: list[int], limit: int) -> None:
    r"""R19: no line end, no unbounded wait: the pieces together are the line, with every \r in its inside."""
    line = ("progress\r" * 10)[:size]
    pieces = cut(line.encode(), places)
    handed_out = lines_of(pieces, limit)
    assert "".join(handed_out) in (line, line.removesuffix("\r"))
    assert all(len(part) <= limit + max(map(len, pieces)) for part in handed_out)


def test_one_line_of_ten_mebibytes_is_quick_and_bounded() -> None:
    """F26: the time for a long line grows with its length alone, also in tiny pieces."""
    size = 10 * 1024 * 1024
    begin = process_time()
    handed_out = lines_of([b"x" * 64] * (size // 64), limit=1024 * 1024)
    assert process_time() - begin < 3
    assert sum(map(len, handed_out)) == size
    assert max(map(len, handed_out)) <= 1024 * 1024 + 64
