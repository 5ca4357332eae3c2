"""Short texts for many names."""

from __future__ import annotations

import pytest

from opskit.errors import InventoryError
from opskit.fleet.ranges import LIMIT, expand, expand_ansible, split_names


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("db", ["db"]),
        ("web[1-3]", ["web1", "web2", "web3"]),
        ("web[08-10]", ["web08", "web09", "web10"]),
        ("web[1-2,7]x", ["web1x", "web2x", "web7x"]),
        ("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
        ("web[5]", ["web5"]),
    ],
)
def test_expands(pattern: str, names: list[str]) -> None:
    """Ranges, lists, padding and several brackets stand for their names, the last bracket first."""
    assert expand(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("web[1:3]", ["web1", "web2", "web3"]),
        ("web[08:10].net", ["web08.net", "web09.net", "web10.net"]),
        ("db[a:c]", ["dba", "dbb", "dbc"]),
        ("db[A:B][1:2]", ["dbA1", "dbA2", "dbB1", "dbB2"]),
        ("web[1:6:2]", ["web1", "web3", "web5"]),
    ],
)
def test_expands_ansible(pattern: str, names: list[str]) -> None:
    """Ansible's own ranges have a colon, and know letters and steps."""
    assert expand_ansible(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "caret"),
    [
        *(
            ("web[5-1]", 4),
            ("web[a-]", 4),
            ("web[1-3,x]", 8),
            ("web[]", 4),
            ("web[1-3", 3),
            ("web1]", 4),
            ("w[[1]]", 1),
        ),
        *(("web[1:3]", 4), ("web[1-020]", 4)),
    ],
)
def test_bad_ranges_are_shown(pattern: str, caret: int) -> None:
    """B14: the error shows the text, and a caret under what is wrong in it."""
    with pytest.raises(InventoryError, match="bad range") as caught:
        expand(pattern)
    _, text, marker = str(caught.value).split("\n")
    assert text == f"  {pattern}"
    assert marker == "  " + " " * caret + "^"


def test_bad_ranges_are_shown_harmlessly() -> None:
    """B14, S2: what commands a terminal, or would break the lines, is marked, and the caret stays in its place."""
    with pytest.raises(InventoryError) as caught:
        expand("\x1b\n\x9bw[\x07")
    assert str(caught.value).split("\n")[1:] == ["  ␛␊⟨U+009B⟩w[␇", "             ^"]
    assert str(caught.value).replace("\n", "").isprintable()


def test_bad_ansible_ranges_are_shown() -> None:
    """B14: a range of the other kind is refused in Ansible's format."""
    with pytest.raises(InventoryError, match=r"\[1:20\]"):
        expand_ansible("web[1-20]")


@pytest.mark.parametrize(
    "pattern", ["web[1-1000000000]", "web[1-100001]", "a[1-1000]b[1-1000]", "w[1-999999999999999999]"]
)
def test_too_many_names_are_refused(pattern: str) -> None:
    """B15: a range that stands for more names than the limit is refused with both figures, before it is expanded."""
    with pytest.raises(InventoryError, match=f"names, and {LIMIT:,} is the limit"):
        expand(pattern)


def test_the_limit_itself_is_allowed() -> None:
    """B15: exactly as many names as the limit are fine."""
    assert len(expand("web[1-100000]")) == LIMIT


def test_lists_split_outside_brackets() -> None:
    """A comma inside brackets belongs to its range; blanks around parts and empty parts do not count."""
    assert split_names("web[1-3,7], db* ,,app") == ["web[1-3,7]", "db*", "app"]
