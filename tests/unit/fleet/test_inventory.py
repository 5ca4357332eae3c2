"""Inventories as values."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from opskit.errors import InventoryError
from opskit.fleet import Host, Inventory


@pytest.fixture
def fleet() -> Inventory:
    """Two web hosts and a database, in this order."""
    return Inventory(
        [
            Host("web1", "10.0.0.1", 22, "ops", "web", {"dc": "ams", "weight": 3}),
            Host("web2", roles=["web", "app"], vars={"dc": "fra", "spare": True}),
            Host("db1", roles="db"),
        ]
    )


def test_is_a_collection(fleet: Inventory) -> None:
    """It has a length, an order, members by name and by Host, and hosts by name."""
    assert len(fleet) == 3
    assert fleet.names == tuple(host.name for host in fleet) == ("web1", "web2", "db1")
    assert "web1" in fleet
    assert Host("web1") in fleet
    assert "web3" not in fleet
    assert 1 not in fleet
    assert fleet["db1"].roles == {"db"}
    assert fleet.roles == {"web", "app", "db"}
    assert not Inventory([])


def test_an_unknown_name_is_an_inventory_error(fleet: Inventory) -> None:
    """`inv["wbe1"]` names the nearest host; a KeyError is not for users."""
    with pytest.raises(InventoryError, match="no host 'wbe1'; did you mean 'web1'"):
        fleet["wbe1"]
    with pytest.raises(InventoryError, match="no host 0"):
        fleet[0]  # type: ignore[index]


def test_duplicates_are_refused() -> None:
    """B13: a name can be there once; the error tells both hosts apart."""
    with pytest.raises(InventoryError, match=r"'a': 10.0.0.1 and ops@a port 22"):
        Inventory([Host("a", "10.0.0.1"), Host("a", user="ops", port=22)])


@pytest.mark.parametrize(
    ("hosts", "message"),
    [(["a"], r"made of hosts: 'a' \(str\) is no Host"), (None, r"not of NoneType \(None\)"), (5, r"not of int \(5\)")],
)
def test_what_is_no_host_is_refused(hosts: Any, message: str) -> None:
    """An InventoryError shows what was given."""
    with pytest.raises(InventoryError, match=message):
        Inventory(hosts)


def test_set_operations(fleet: Inventory) -> None:
    """Union keeps the left one's order and hosts, then the new ones; intersection and difference go by name."""
    other = Inventory([Host("new"), Host("db1", roles="other"), Host("web1", "10.0.0.1", 22, "ops")])
    assert (fleet | other).names == ("web1", "web2", "db1", "new")
    assert (fleet | other)["db1"].roles == {"db"}
    assert (fleet & other).names == ("web1", "db1")
    assert (fleet - other).names == ("web2",)
    with pytest.raises(TypeError):
        fleet | ["web1"]  # type: ignore[operator]


@pytest.mark.parametrize("other", [Host("db1", "10.9.9.9"), Host("db1", port=2222), Host("db1", user="root")])
def test_union_refuses_another_host_of_the_same_name(fleet: Inventory, other: Host) -> None:
    """A union of two machines that share a name is an error, not a guess."""
    with pytest.raises(InventoryError, match="'db1' is another one"):
        fleet | Inventory([other])


def test_equality_hash_and_pickle(fleet: Inventory) -> None:
    """Equal hosts in equal order make equal inventories, which pickle and can be keys."""
    assert fleet == Inventory(list(fleet)) == pickle.loads(pickle.dumps(fleet))
    assert fleet != Inventory(reversed(list(fleet)))
    assert fleet != Inventory([*(fleet - fleet.select(hosts="db1")), Host("db1")])
    assert hash(fleet) == hash(Inventory(list(fleet)))


def test_texts_are_folded(fleet: Inventory) -> None:
    """As text it is folded names; its repr counts them and stays short."""
    assert str(fleet) == "web[1-2],db1"
    assert repr(fleet) == "<Inventory: 3 hosts: web[1-2],db1>"
    many = Inventory(Host("x" * number) for number in range(1, 200))
    assert repr(many).startswith("<Inventory: 199 hosts: x,xx,")
    assert len(repr(many)) < 500


def test_html_is_a_table_of_few_and_a_summary_of_many(fleet: Inventory) -> None:
    """Up to 20 hosts are rows, more are counted by role; vars, of which one may be a password, stay out."""
    assert fleet._repr_html_().count("<tr") == 4
    assert "10.0.0.1" in fleet._repr_html_()
    assert "ams" not in fleet._repr_html_()
    many = Inventory(Host(f"web{number}", roles="web") for number in range(21))._repr_html_()
    assert "<tr" not in many
    assert "21 hosts: web[0-20]" in many
    assert "web (21)" in many


def test_html_is_escaped() -> None:
    """S1: a role is text in HTML, whatever it holds."""
    shown = Inventory([Host("a", roles="<script>alert(1)</script>")])._repr_html_()
    assert "<script" not in shown
    assert "&lt;script" in shown


def test_frame(fleet: Inventory) -> None:
    """The DataFrame has a row a host and a column for each var; what a host does not have is missing."""
    frame = fleet.df
    assert list(frame.columns) == ["name", "address", "port", "user", "roles", "dc", "weight", "spare"]
    assert frame["port"].dtype == "Int64"
    assert frame["roles"].tolist() == ["web", "app web", "db"]
    assert frame["port"].isna().tolist() == [False, True, True]
    assert frame["dc"].isna().tolist() == [False, False, True]


def test_a_var_named_like_a_column_keeps_its_own() -> None:
    """A var called `port` does not hide the host's port."""
    frame = Inventory([Host("a", port=22, vars={"port": "eth0"})]).df
    assert frame.loc[0, "port"] == 22
    assert frame.loc[0, "vars.port"] == "eth0"


def test_frames_go_there_and_back(fleet: Inventory) -> None:
    """An inventory made of `.df` is the inventory."""
    assert Inventory.from_frame(fleet.df) == fleet
    assert len(Inventory([]).df) == 0


def test_from_frame_reads_what_tables_hold() -> None:
    """Floats of a column with gaps are ports, roles may be text or lists, NumPy's scalars become Python's."""
    frame = pd.DataFrame(
        {
            "host": ["a", "b", "c"],
            "port": [22.0, None, None],
            "roles": ["web, app;x", ["db"], None],
            "cores": [4, 8, 16],
            "disks": pd.Series([np.int64(2), np.array([1, 2]), None], dtype=object),
            3: ["x", "", None],
        }
    )
    a, b, c = Inventory.from_frame(frame)
    assert (a.port, b.port) == (22, None)
    assert [sorted(host.roles) for host in (a, b, c)] == [["app", "web", "x"], ["db"], []]
    assert (type(a.vars.cores), type(a.vars.disks), b.vars.disks) == (int, int, [1, 2])
    assert (a.vars["3"], b.vars["3"], "3" in c.vars) == ("x", "", False)


def test_from_frame_takes_names_from_an_index() -> None:
    """An index called `name` or `host` holds the names as well as a column does."""
    frame = pd.DataFrame({"user": ["ops"]}, index=pd.Index(["a"], name="host"))
    assert Inventory.from_frame(frame) == Inventory([Host("a", user="ops")])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            pd.DataFrame({"hostname": ["a"], "port": [1]}),
            "no column or index 'name' or 'host'; its columns: 'hostname', 'port'",
        ),
        (pd.DataFrame({"name": ["a", None, "c", float("nan")]}), "2 of 4 rows .*name.*: 1, 3"),
        (pd.DataFrame({"name": [1]}), "name must be text, not int"),
        (pd.DataFrame({"name": ["-a"]}), "can't be '-a'"),
        (pd.DataFrame([["a", 1, 2]], columns=["name", "x", "x"]), "more than one column 'x'"),
        (pd.DataFrame({"name": ["a"], "port": [22.5]}), "port must be"),
        (pd.DataFrame({"name": ["a", "a"]}), "'a' is there twice, in rows 0 and 1 of the DataFrame"),
        ([1], "hosts are read from a DataFrame, not from list"),
    ],
)
def test_bad_frames_are_refused(frame: Any, message: str) -> None:
    """B13, B20: the error names the columns, or the rows."""
    with pytest.raises(InventoryError, match=message):
        Inventory.from_frame(frame)


def test_nothing_heavy_is_imported() -> None:
    """Making, selecting and showing hosts imports neither pandas nor a reader's library."""
    code = (
        "import sys; from opskit.fleet import Host, Inventory\n"
        "inv = Inventory([Host('a', roles='x')]); inv.select(roles='x', hosts=['a']); inv._repr_html_()\n"
        "print({'pandas', 'numpy', 'yaml', 'tomllib', 'csv', 'asyncssh', 'IPython'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout == "set()\n"


def test_with_vars_of_a_frame(fleet: Inventory) -> None:
    """Columns become vars by host; what is missing, or of no host here, is left out; all else stays as it is."""
    frame = pd.DataFrame(
        {
            "host": ["web2", "other", None, "web1", "db1"],
            "os": ["debian", "hpux", "x", "alpine", None],
            "weight": pd.array([None, 1, 1, 4, None], dtype="Int64"),
            "name": ["n", None, None, None, None],
        }
    )
    more = fleet.with_vars(frame)
    web1, web2, db1 = more
    assert web1 == Host("web1", "10.0.0.1", 22, "ops", "web", {"dc": "ams", "weight": 4, "os": "alpine"})
    assert type(web1.vars.weight) is int
    assert web2.vars == {"dc": "fra", "spare": True, "os": "debian", "name": "n"}
    assert db1 == fleet["db1"]
    assert "os" not in fleet["web1"].vars
    assert pickle.loads(pickle.dumps(more)) == more


def test_with_vars_takes_names_from_an_index_or_name(fleet: Inventory) -> None:
    """As in `select`, a column `name` or an index named `host` says whose a row is; an inventory's own frame fits."""
    by_index = pd.DataFrame({"os": ["debian"]}, index=pd.Index(["db1"], name="host"))
    by_name = pd.DataFrame({"name": ["db1"], "os": ["debian"]})
    assert fleet.with_vars(by_index) == fleet.with_vars(by_name) == fleet.with_vars({"db1": {"os": "debian"}})
    assert fleet.with_vars(fleet.df)["web1"].vars.roles == "web"


def test_with_vars_of_a_mapping(fleet: Inventory) -> None:
    """A mapping of names to vars replaces those that are there, and adds the others."""
    more = fleet.with_vars({"web1": {"dc": "lon", "disk": {"free": 3}}})
    assert more["web1"].vars == {"dc": "lon", "weight": 3, "disk": {"free": 3}}
    assert more["web1"].vars.disk.free == 3
    assert list(more)[1:] == list(fleet)[1:]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            pd.DataFrame({"host": ["a", "b", "a", None, None]}),
            r"more than one row of 'a': keep one of each, as df\.drop_duplicates\('host'",
        ),
        (
            pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", "a"], name="host")),
            r"more than one row of 'a': .*df\.reset_index\(\)\.drop_duplicates\('host'",
        ),
        (pd.DataFrame({"server": ["a"]}), "no column or index 'host' or 'name'; its columns: 'server'"),
        (pd.DataFrame([["a", 1, 2]], columns=["host", "x", "x"]), "more than one column 'x'"),
        (pd.DataFrame({"host": [1]}), "must hold host names as text"),
        ({"wbe1": {}}, "no host 'wbe1'; did you mean 'web1'"),
        ({"web1": 5}, "host 'web1': vars must be a mapping, not int"),
        ({"web1": {5: 1}}, "host 'web1': vars: a key must be text"),
        (["web1"], "with_vars takes a DataFrame, or a mapping .*, not list"),
    ],
)
def test_bad_vars_are_refused(fleet: Inventory, given: Any, message: str) -> None:
    """A host that is there twice, or unknown in a mapping, and what holds no vars, are told with what to do."""
    with pytest.raises(InventoryError, match=message):
        fleet.with_vars(given)
