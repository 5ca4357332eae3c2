"""What values of settings and options may be: numbers, sizes, words, environments, paths."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit import checks

ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.text(), max_size=3),
    st.dictionaries(st.text(), st.one_of(st.text(), st.floats(), st.none()), max_size=3),
    st.sampled_from(["~nobody-of-this-name/x", "1e999", "nan", "-inf", "\0", "A='", "5 MiB", "..K"]),
)

EVERY_CHECK = [
    checks.number,
    checks.whole,
    checks.count,
    checks.seconds,
    checks.limit_in_seconds,
    checks.size,
    checks.yes_or_no,
    checks.one_of("a", "b"),
    checks.text,
    checks.shell,
    checks.environment,
    checks.paths,
    checks.path,
    checks.function,
]


def refused(check: checks.Check, value: object) -> str:
    """What the ValueError says."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        check(value)
    return str(caught.value)


@pytest.mark.parametrize("check", EVERY_CHECK)
@given(value=ANYTHING)
def test_a_check_passes_or_says_what_is_allowed(check: checks.Check, value: object) -> None:
    """Whatever is given, nothing but a ValueError that ends a sentence comes out."""
    try:
        check(value)
    except ValueError as error:
        assert str(error).startswith(("must be ", "has ", "can't be "))  # noqa: PT017 - most values pass


@pytest.mark.parametrize("value", [5, 5.0, "5", " 5 ", np.int64(5), np.float64(5), Fraction(5)])
def test_numbers_may_come_from_anywhere(value: object) -> None:
    """Python's, numpy's as a column of a DataFrame has them, and text as flags and the environment have it."""
    assert checks.number(value) == 5
    assert checks.count(value) == 5


@pytest.mark.parametrize(
    "value", [True, False, None, "", "abc", "5s", b"5", [5], Decimal("NaN"), "nan", "inf", 10**400]
)
def test_what_is_no_number_is_refused(value: object) -> None:
    """Neither a boolean nor infinity is a number of anything."""
    assert refused(checks.number, value).startswith("must be a ")


def test_whole_numbers_have_a_least() -> None:
    """A count is 1 or more; what is not whole is refused, not rounded."""
    assert checks.whole("0", least=0) == 0
    assert refused(checks.count, 0) == "must be a whole number, 1 or more"
    assert refused(checks.count, 1.5) == "must be a whole number, 1 or more"


def test_a_limit_in_seconds_may_be_none() -> None:
    """None is no limit, as text too; 0 is none."""
    assert checks.limit_in_seconds(None) is None
    assert checks.limit_in_seconds("none") is None
    assert checks.limit_in_seconds("1.5") == 1.5
    assert refused(checks.limit_in_seconds, 0) == "must be more than 0 seconds; use None for no limit"
    assert refused(checks.seconds, -1) == "must be more than 0 seconds"


@pytest.mark.parametrize(
    ("value", "size"),
    [(1, 1), ("64", 64), ("64K", 65536), ("1 MiB", 1048576), ("1.5 mib", 1572864), ("2GB", 2147483648)],
)
def test_sizes_are_bytes(value: object, size: int) -> None:
    """Text may have a unit, in powers of 1024."""
    assert checks.size(value) == size


def test_yes_and_no_have_the_usual_words() -> None:
    """In any case; other words, and numbers, are refused."""
    assert [checks.yes_or_no(word) for word in (True, "yes", "TRUE", "on", "1")] == [True] * 5
    assert [checks.yes_or_no(word) for word in (False, "no", "False", "off", "0")] == [False] * 5
    assert refused(checks.yes_or_no, "maybe") == refused(checks.yes_or_no, 1) == "must be True or False"


def test_words_are_named_where_none_fits() -> None:
    """Who gives another word learns which there are."""
    check = checks.one_of("strict", "off")
    assert check("off") == "off"
    assert refused(check, "lax") == refused(check, None) == "must be one of 'strict', 'off'"


def test_a_shell_is_a_path_or_none_at_all() -> None:
    """False, as text too, sends commands as they are; True is the default."""
    assert checks.shell("/bin/bash") == "/bin/bash"
    assert checks.shell(True) == "/bin/sh"
    assert checks.shell(False) is checks.shell("false") is False
    assert "as they are" in refused(checks.shell, "")


def test_an_environment_is_sorted_pairs_of_text() -> None:
    """From a mapping, or from text as a shell would read it."""
    assert checks.environment({"B": 1, "A": "x y", "C": np.int64(3)}) == (("A", "x y"), ("B", "1"), ("C", "3"))
    assert checks.environment("B=1 A='x y' C=a=b D=") == (("A", "x y"), ("B", "1"), ("C", "a=b"), ("D", ""))
    assert checks.environment(None) == checks.environment({}) == checks.environment("") == ()


@pytest.mark.parametrize("key", ["A=B", "A B", "A\n", "A\0", "", 1])
def test_a_name_of_the_environment_that_can_not_be_is_shown(key: object) -> None:
    """B28: the message has the key."""
    assert repr(key) in refused(checks.environment, {key: "x"})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"A": None}, "has a NoneType as A: a value must be text"),
        ({"A": True}, "has a bool as A"),
        ({"A": "x\0"}, "NUL in the value of A"),
        ("B=1 A", "word 2 without '='"),
        ("A='x", "No closing quotation"),
        ([("A", "x")], "must be a mapping"),
    ],
)
def test_a_value_of_the_environment_that_can_not_be_is_refused(value: object, says: str) -> None:
    """Nothing is turned into text by guessing."""
    assert says in refused(checks.environment, value)


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (checks.environment, "A=b hunter4"),
        (checks.environment, {"A": b"hunter4"}),
        (checks.environment, {"A": ["hunter4"]}),
        (checks.secrets, "hunter4"),
        (checks.secrets, "sudo=hunter4"),
        (checks.secrets, "hunter4=x"),
        (checks.secrets, {"sudo": b"hunter4"}),
    ],
)
def test_what_may_be_a_password_is_in_no_message(check: checks.Check, value: object) -> None:
    """A key or a position says where it is wrong."""
    assert "hunter4" not in refused(check, value)


def test_paths_are_one_or_several() -> None:
    """One path, which may hold blanks, or a list of them; `~` is filled in."""
    home = Path.home()
    assert checks.paths("~/a b") == (home / "a b",)
    assert checks.paths(Path("a b")) == (Path("a b"),)
    assert checks.paths(["~/a", Path("b c")]) == (home / "a", Path("b c"))
    assert checks.path("~/a") == home / "a"
    assert refused(checks.paths, 5) == "must be a path or a list of paths"
    assert refused(checks.paths, [5]) == refused(checks.path, " ") == refused(checks.path, "a\0") == "must be a path"


def test_the_home_of_nobody_can_not_be_found() -> None:
    """A user that is not there is a bad value, not an error of Python's own."""
    assert refused(checks.path, "~nobody-of-this-name/x").startswith("can't be found: ")


def test_a_function_is_what_can_be_called() -> None:
    """Its result instead of it is the usual slip."""
    assert checks.function(print) is print
    assert refused(checks.function, "print") == "must be a function, not str"
