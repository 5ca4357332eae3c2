"""What of an output is shown, and what is said to be left out (F26)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.rendering.excerpt import excerpt, head_and_tail, last_line, last_states


@given(st.text(st.sampled_from("ab \r\n"), max_size=400), st.integers(3, 20), st.integers(9, 90))
def test_an_excerpt_is_bounded_and_accounts_for_what_it_left_out(text: str, lines: int, characters: int) -> None:
    """F26: never more than was asked for beside one note, which counts the rest."""
    whole = last_states(text).rstrip("\n")
    shown = excerpt(text, lines=lines, characters=characters)
    note = re.search(r"^… ([\d,]+) characters left out …$", shown, re.MULTILINE)
    if note is None:
        assert shown == whole
    else:
        head, tail = shown[: note.start() - 1], shown[note.end() + 1 :]
        assert whole.startswith(head)
        assert whole.endswith(tail)
        assert len(head) + len(tail) + int(note[1].replace(",", "")) == len(whole)
    assert len(shown) <= characters + 60
    assert shown.count("\n") <= lines + 1


def test_a_note_is_never_longer_than_what_it_stands_for() -> None:
    """F26: ten lines that would lose one short one are shown."""
    ten = "\n".join(f"l{number}" for number in range(10))
    assert excerpt(ten, lines=9, characters=100) == ten
    long = ten.replace("l3", "l" * 60)
    assert excerpt(long, lines=9, characters=1_000) == long.replace("\n" + "l" * 60, "\n… 62 characters left out …")


def test_head_and_tail_are_of_the_text_as_it_is() -> None:
    """What a command holds is shown, also before a carriage return."""
    assert head_and_tail("rm -rf /\recho", lines=2, characters=100) == "rm -rf /\recho"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("10%\r50%\r99%", "99%"),
        ("10%\r99%\r", "99%"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("10%\r100%\r\nnext", "100%\nnext"),
        ("plain", "plain"),
    ],
)
def test_a_progress_bar_shows_its_last_state(text: str, state: str) -> None:
    """S2: of a line that was written over, what follows its last carriage return is shown."""
    assert last_states(text) == state


def test_the_last_line_is_the_last_that_says_something() -> None:
    """Empty lines at the end are passed over."""
    assert last_line("one\ntwo\n\n  \n") == "two"
    assert last_line("") == ""


def test_ten_megabytes_on_one_line_are_cut_at_once() -> None:
    """F26: the display of a huge line is small, head and tail."""
    shown = excerpt("a" * 10_000_000 + "end", lines=200, characters=6_000)
    assert len(shown) < 6_100
    assert shown.endswith("aend")
    assert "9,994,003 characters left out" in shown
