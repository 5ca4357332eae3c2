"""Names as one short text, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.fleet.ranges import expand, split_names
from opskit.rendering.folding import fold

PARTS = st.sampled_from(
    ["", "web", "db-", ".example.com", "0", "1", "7", "8", "9", "09", "10", "11", "99", "100", "007"]
)
NAMES = st.lists(st.lists(PARTS, max_size=5).map("".join).filter(bool), max_size=30)


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ([], ""),
        (["db1"], "db1"),
        (["web1", "web2", "web3", "db1"], "web[1-3],db1"),
        (["web3", "db1", "web1", "web7", "web2"], "web[1-3,7],db1"),
        ([f"web{number:02d}" for number in range(1, 10)], "web[01-09]"),
        (["web08", "web09", "web10", "web9"], "web[08-10,9]"),
        (["web1.example.com", "web2.example.com"], "web[1-2].example.com"),
        ([f"r{rack}n{node}" for rack in (1, 2) for node in (1, 2, 3)], "r[1-2]n[1-3]"),
        (["a", "a", "b"], "a,b"),
    ],
)
def test_folds(names: list[str], folded: str) -> None:
    """Numbers fold to runs, padding stays, groups come as their first names did, and a lone name stays as it is."""
    assert fold(names) == folded


@given(NAMES)
def test_nothing_is_lost(names: list[str]) -> None:
    """Folded names expand to the same names, each once."""
    expanded = [name for part in split_names(fold(names)) for name in expand(part)]
    assert sorted(expanded) == sorted(set(names))


def test_very_long_numbers_fold() -> None:
    """A name may be longer than any number that Python reads."""
    names = ["x" + "9" * 5000, "x" + "9" * 4999 + "8"]
    assert set(expand(fold(names))) == set(names)
