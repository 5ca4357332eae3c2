"""Which hosts are meant."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.errors import InventoryError, NoMatchingHosts, PlanError
from opskit.fleet import Host, Inventory
from opskit.fleet.selection import choose
from opskit.results import HostResult, Results


class Row(NamedTuple):
    """What one row of results has in common with everything else that tells a host."""

    host: str


ORIGINALS = Inventory(
    [
        Host("app1", roles="app", vars={"primary": True, "dc": "ams"}),
        Host("app2", roles=["app", "report"], vars={"dc": "fra"}),
        Host("app3", roles="app", vars={"dc": "ams", "primary": False}),
        Host("web1", roles="web", vars={"rack": 7}),
        Host("web2", roles="web"),
        Host("file", roles="file", vars={"no_deploy": True}),
    ]
)
"""The fleet O of the cases."""

EVERYBODY = ORIGINALS.names


def selected(**criteria: Any) -> tuple[str, ...]:
    """The names that a selection of the fleet leaves."""
    return ORIGINALS.select(**criteria).names


def test_roles() -> None:
    """A29: roles left out mean everybody; several are united, in the inventory's order; `once` takes the first."""
    assert selected() == EVERYBODY
    assert selected(roles="web") == ("web1", "web2")
    assert selected(roles="web,app") == selected(roles=["web", "app"]) == EVERYBODY[:5]
    assert selected(roles="app", once=True) == ("app1",)


def test_an_unknown_role_names_near_ones() -> None:
    """A29, B1, B2: an unknown role is NoMatchingHosts, with the count of hosts and the nearest role."""
    for select in (ORIGINALS.select, lambda **criteria: choose(ORIGINALS, **criteria)):
        with pytest.raises(NoMatchingHosts, match="6 hosts has the role 'wbe'; did you mean 'web'"):
            select(roles=["app", "wbe"])
    with pytest.raises(NoMatchingHosts, match="known roles: app, file, report, web"):
        ORIGINALS.select(roles="bogus")


def test_vars() -> None:
    """A30: `only` keeps the hosts whose vars say so, `except_` drops them."""
    assert selected(roles="app", only="primary") == selected(roles="app", only={"primary": True}) == ("app1",)
    assert selected(except_="no_deploy") == selected(except_={"no_deploy": True}) == EVERYBODY[:5]


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ({"dc": "ams"}, ("app1", "app3")),
        ({"dc": ["ams", "fra"]}, ("app1", "app2", "app3")),
        ({"dc": {"fra"}}, ("app2",)),
        ({"dc": "ams", "primary": True}, ("app1",)),
        ({"primary": False}, ("app3",)),
        (["primary"], ("app1",)),
        ("dc=ams", ("app1", "app3")),
        ("dc=ams,primary", ("app1",)),
        (["dc=ams", "primary=false"], ("app3",)),
        ("rack=7", ("web1",)),
    ],
)
def test_only(only: Any, names: tuple[str, ...]) -> None:
    """All entries must hold: equal to the value or any of a list's, true if only named, or, in text, written so."""
    assert selected(only=only) == names


@pytest.mark.parametrize(
    "except_", [{"dc": "fra", "primary": True}, "dc=fra,primary", {"dc": ["fra"], "primary": [True, 1]}]
)
def test_except_drops_where_any_entry_holds(except_: Any) -> None:
    """A host goes if one of several entries holds; a var that it does not have never holds."""
    assert selected(except_=except_) == ("app3", "web1", "web2", "file")


def test_all_criteria_must_hold() -> None:
    """A31: hosts narrow roles, and roles hosts: reach does not grow."""
    assert selected(hosts=["app1", "web1"], roles="web") == ("web1",)


def test_unknown_hosts_name_near_ones() -> None:
    """A31: an unknown name is an InventoryError with the nearest host; many of them are folded."""
    with pytest.raises(InventoryError, match="no host 'app'; did you mean 'app"):
        ORIGINALS.select(hosts=["app", "web1"])
    with pytest.raises(InventoryError, match=r"no host 'web\[3-20\]'"):
        ORIGINALS.select(hosts="web[1-20]")


def test_nothing_selects_nothing() -> None:
    """A31: an empty selection is NoMatchingHosts, or an empty inventory where that is asked for; never everybody."""
    nothings: list[dict[str, Any]] = [{"hosts": []}, {"hosts": ""}, {"roles": []}, {"roles": " , "}]
    for nothing in [*nothings, {"hosts": Inventory([])}]:
        with pytest.raises(NoMatchingHosts, match="none of 6 hosts"):
            ORIGINALS.select(**nothing)
        assert len(choose(ORIGINALS, **nothing)) == 0


def test_no_match_tells_the_selection() -> None:
    """B1: the error has the selection in words, the count of hosts, and what is near."""
    with pytest.raises(
        NoMatchingHosts, match=r"none of 6 hosts matches roles=web, hosts=app\*; known roles: app, file"
    ):
        ORIGINALS.select(roles="web", hosts="app*")
    with pytest.raises(NoMatchingHosts, match="no host has a var 'rak'; did you mean 'rack'"):
        ORIGINALS.select(only={"rak": 7})
    with pytest.raises(NoMatchingHosts, match="the inventory has no hosts"):
        Inventory([]).select()


@pytest.mark.parametrize("option", ["roles", "hosts", "only", "except_"])
def test_none_is_an_error(option: str) -> None:
    """None is a mistake somewhere else, not a word for all."""
    with pytest.raises(InventoryError, match=f"{option}=None selects nothing.*leave {option} out"):
        selected(**{option: None})


@pytest.mark.parametrize(
    "hosts",
    [
        "web[1-2]",
        "web*",
        "web?",
        "web2, web1",
        ["web2", "web1", "web1"],
        (name for name in ("web1", "web2")),
        [Host("web1"), "web2"],
        ORIGINALS.select(roles="web"),
        [Row("web1"), Row(""), [Row("web2")]],
        Results((HostResult("web2", None, "x", "ok"), HostResult("web1", None, "x", "failed"))),
        pd.DataFrame({"host": ["web2", None, "web1"], "name": "app1"}),
        pd.DataFrame({"name": ["web2", "web1"]}),
        pd.DataFrame({"x": [1, 2]}, index=pd.Index(["web1", "web2"], name="host")),
        pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_tuples([("web1", 1), ("web2", 2)], names=["name", "n"])),
        pd.Series(["web1", "web2", None]),
        pd.Series([False, True, True], index=["app1", "web1", "web2"]),
        pd.Series([True, None, True, False], index=["web1", "app1", "web2", "app2"], dtype="boolean"),
        pd.Series([True, None, True], index=["web1", "app1", "web2"], dtype=object),
        [pd.Series(["web1"]), "web2"],
        pd.Series(["web1", "web2"], dtype="category"),
    ],
)
def test_hosts_in_every_shape(hosts: Any) -> None:
    """Patterns, hosts, rows, inventories, frames, Series and mixtures of them name hosts, in the inventory's order."""
    assert selected(hosts=hosts) == ("web1", "web2")


def test_one_row_is_a_host() -> None:
    """One row of results, or of a DataFrame, stands for its host."""
    assert selected(hosts=Row("web1")) == ("web1",)
    assert selected(hosts=pd.DataFrame({"host": ["web1"], "stdout": "app*"}).iloc[0]) == ("web1",)


def test_data_is_never_read_as_a_pattern() -> None:
    """R20: a name that comes from a frame or a row is taken as it is, so that no output selects everybody."""
    for hosts in (pd.Series(["*"]), pd.DataFrame({"host": ["web[1-2]"]}), Row("web*")):
        with pytest.raises(InventoryError, match="no host"):
            ORIGINALS.select(hosts=hosts)


def test_a_glob_without_a_match_is_no_error_of_its_own() -> None:
    """A pattern may match nothing as long as something else does."""
    assert selected(hosts="db*,web1") == ("web1",)


@pytest.mark.parametrize(
    ("criteria", "message"),
    [
        ({"hosts": pd.DataFrame({"machine": ["web1"]})}, "no column or index 'host' or 'name'; its columns: 'machine'"),
        ({"hosts": pd.DataFrame([["web1", "web2"]], columns=["host", "host"])}, "more than one column 'host'"),
        ({"hosts": pd.Series([1, 2])}, "the Series must hold host names as text, not int"),
        ({"hosts": pd.Series([True, False])}, "the index of the boolean Series must hold host names"),
        ({"hosts": 3}, r"hosts= takes .* not 3 \(int\)"),
        ({"hosts": [None]}, "hosts=None"),
        ({"hosts": b"web1"}, "not b'web1'"),
        ({"hosts": "web[2-1]"}, "bad range"),
        ({"roles": 3}, "roles= takes"),
        ({"roles": [3]}, "roles= takes"),
        ({"only": ""}, "only= takes"),
        ({"only": [""]}, "only= takes"),
        ({"only": 3}, "only= takes"),
        ({"except_": {3: 4}}, "except_= takes"),
        ({"except_": [3]}, "except_= takes"),
    ],
)
def test_bad_criteria(criteria: dict[str, Any], message: str) -> None:
    """A criterion that can't be read is an InventoryError that says what it takes."""
    with pytest.raises(InventoryError, match=message):
        ORIGINALS.select(**criteria)


def test_limit() -> None:
    """`limit` takes the first so many, all if there are fewer; `once` wins."""
    assert selected(roles="app", limit=2) == ("app1", "app2")
    assert selected(limit=99) == EVERYBODY
    assert selected(limit="2") == ("app1", "app2")
    assert selected(limit=3, once=True) == ("app1",)


def test_unknown_options() -> None:
    """B23: an option that is none is a PlanError with the one that is near."""
    with pytest.raises(PlanError, match="select: no option is called 'role'; did you mean 'roles'"):
        ORIGINALS.select(role="app")


def test_words_for_an_error_are_made_for_an_error_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A selection of 10,000 hosts that succeeds folds no names and looks for nothing near."""

    def unwanted(*_: object, **__: object) -> str:
        raise AssertionError

    monkeypatch.setattr("opskit.fleet.selection.fold", unwanted)
    monkeypatch.setattr("opskit.fleet.selection.did_you_mean", unwanted)
    assert selected(roles="app", hosts=["app1"], only={"dc": "ams"}, except_="no_deploy") == ("app1",)


@pytest.mark.parametrize("limit", [0, -1, None, "x", 1.5, True])
def test_bad_limits(limit: Any) -> None:
    """A limit that is no whole number from 1 on is a PlanError with the value and what is allowed."""
    with pytest.raises(PlanError, match=f"limit={limit!r} must be"):
        ORIGINALS.select(limit=limit)


def test_bad_once() -> None:
    """`once` is True or False, not a text that looks true."""
    with pytest.raises(PlanError, match="once='no'"):
        ORIGINALS.select(once="no")  # type: ignore[arg-type]


@given(st.lists(st.sampled_from(EVERYBODY), min_size=1))
def test_order_is_the_inventorys(names: list[str]) -> None:
    """However hosts are named, they come in the inventory's order, each once."""
    assert selected(hosts=names) == tuple(name for name in EVERYBODY if name in names)
