"""Hosts as values."""

from __future__ import annotations

import copy
import pickle
import re
from dataclasses import FrozenInstanceError, replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit import masking
from opskit.errors import InventoryError
from opskit.fleet import Host, Inventory
from opskit.fleet.host import Vars


def test_defaults() -> None:
    """A host needs a name alone: that is dialled, and nothing else is known."""
    host = Host("web1")
    assert (host.address, host.port, host.user, host.roles, dict(host.vars)) == ("web1", None, None, frozenset(), {})


def test_roles_and_vars_are_taken_in_any_shape() -> None:
    """One text is one role; any iterable is a set of them; any mapping is vars."""
    assert Host("a", roles="web").roles == {"web"}
    assert Host("a", roles=["web", "app", "web"]).roles == {"web", "app"}
    assert Host("a", vars={"dc": "ams"}).vars == {"dc": "ams"}


def test_hosts_are_frozen() -> None:
    """No attribute of a host, nor of its vars, can be set."""
    host = Host("web1", vars={"dc": "ams"})
    with pytest.raises(FrozenInstanceError):
        host.port = 22  # type: ignore[misc]
    with pytest.raises(AttributeError):
        host.vars.dc = "fra"  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        host.vars["dc"] = "fra"


def test_equality_is_by_all_fields_and_hash_by_name() -> None:
    """Two hosts of one name differ if any field does, and still meet in one bucket."""
    host = Host("web1", port=22)
    assert host == Host("web1", "web1", 22)
    assert host != replace(host, vars=Vars({"dc": "ams"}))
    assert hash(host) == hash(Host("web1", port=23))


def test_hosts_survive_pickle_and_copy() -> None:
    """A host, with nested vars, comes out of pickle and copy as it went in."""
    host = Host("web1", "10.0.0.1", 22, "ops", {"web"}, {"disk": {"size": 3}, "tags": ["a", {"b": 1}]})
    for twin in (pickle.loads(pickle.dumps(host)), copy.deepcopy(host)):
        assert twin == host
        assert twin.vars.disk.size == 3


def test_vars_are_attributes_too() -> None:
    """Keys, also those of nested mappings and of mappings in lists, can be read as attributes."""
    values = Vars({"dc": "ams", "disk": {"size": 3}, "disks": [{"size": 4}]})
    assert values.dc == "ams"
    assert values.disk.size == values["disk"]["size"] == 3
    assert values.disks[0].size == 4
    assert "disk" in dir(values)


def test_a_missing_var_names_near_ones() -> None:
    """A missing attribute is an AttributeError that names the nearest var."""
    with pytest.raises(AttributeError, match="'region'; did you mean 'regions'"):
        Vars({"regions": 1}).region  # noqa: B018 - reading is what raises


def test_vars_do_not_change_with_their_source() -> None:
    """What is done later to the mapping or list that vars were made of does not reach them."""
    source: dict[str, Any] = {"tags": ["a"], "disk": {"size": 3}}
    values = Vars(source)
    source["tags"].append("b")
    source["disk"]["size"] = 4
    assert values == {"tags": ["a"], "disk": {"size": 3}}


BAD_NAMES: Final = [
    *(
        "",
        " ",
        "-oProxyCommand=x",
        "a b",
        "a\tb",
        "a\n",
        "a/b",
        "a\0b",
        "a,b",
        "a[1]",
        "a]",
        "a\x1bb",
        "a\u202eb",
        "a\u200b",
    ),
    *("$(id)", "`id`", "a;id", "a|b", "a&b", "a>b", "{{ x }}", "a'b", 'a"b', "a\\b"),
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_and_addresses_are_refused(name: str) -> None:
    """B19, S6: what could be an option, a path, a list or a piece of shell is no name, and is shown by its repr."""
    shown = re.escape(repr(name)) if name.strip() else "is empty"
    with pytest.raises(InventoryError, match=shown):
        Host(name)
    with pytest.raises(InventoryError, match=f"host 'web1': address.*{shown}"):
        Host("web1", name)


@pytest.mark.parametrize("user", ["", "-oProxyCommand=x", "a\nb", "a\x1bb", "$(id)", "`id`", 'a"b', "a;b"])
def test_bad_users_are_refused(user: str) -> None:
    """B19, S6: a user that could be an option or a piece of shell is refused."""
    with pytest.raises(InventoryError, match="host 'web1': user"):
        Host("web1", user=user)


@pytest.mark.parametrize(
    "name", ["web1", "10.0.0.1", "fe80::1%eth0", "db-1.example.com", "host_1", "bücher.example", "a@b"]
)
def test_usual_names_are_fine(name: str) -> None:
    """Names, addresses of both kinds and names in other scripts are accepted."""
    assert Host(name).address == name
    assert Host("web1", user=f"CORP\\{name}").user == f"CORP\\{name}"


@pytest.mark.parametrize("port", [0, -1, 65536, 70000, "ssh", "22", 22.0, True])
def test_bad_ports_are_refused(port: Any) -> None:
    """B18: a port is a whole number from 1 to 65535; the error names host, key and limits."""
    with pytest.raises(InventoryError, match=r"host 'web1': port must be .* 1-65535"):
        Host("web1", port=port)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", 1), ("address", 1), ("user", 1), ("roles", 1), ("roles", [1]), ("roles", ["a b"]), ("roles", [""])),
        *(("roles", [["a"]]), ("vars", 1), ("vars", {1: 2})),
    ],
)
def test_wrong_types_are_refused(field: str, value: Any) -> None:
    """A value of a wrong type is an InventoryError, never another error."""
    with pytest.raises(InventoryError):
        Host(**{"name": "web1", field: value})


@given(st.text())
def test_any_name_is_taken_or_refused(name: str) -> None:
    """B19: no text makes anything but a host or an InventoryError, and no host's name is dangerous."""
    try:
        host = Host(name)
    except InventoryError:
        return
    assert host.name
    assert not host.name.startswith("-")
    assert host.name.isprintable()
    assert not set(host.name) & set(" /,[]$`;|&'\"")


def test_an_unknown_var_shows_the_known_ones_harmlessly() -> None:
    """S2: a key of an inventory commands no terminal."""
    with pytest.raises(AttributeError) as caught:
        _ = Host("a", vars={"\x1b]0;x\x07k": 1, "é b": 2}).vars.zzz
    assert str(caught.value) == "no var is called 'zzz'; known: \\x1b]0;x\\x07k, é b"


def test_vars_that_hold_passwords_are_not_shown() -> None:
    """S11: neither by a host, nor by an inventory's frame; who makes words of the value gets it still."""
    host = Host("web1", vars={"sudo": "swordfish 1", "login": 20261121, "dc": "ams"})
    shown = repr(host) + Inventory([host]).df.to_string()
    assert "swordfish" not in shown
    assert "20261121" not in repr(host)
    assert host.vars.sudo == "swordfish 1"
    assert "ams" in shown


def test_a_var_that_says_yes_or_no_is_no_password() -> None:
    """`sudo: false` hides no word of what hosts print."""
    Host("web1", vars={"sudo": False, "login": True})
    assert masking.mask("False, True") == "False, True"
