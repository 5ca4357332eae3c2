"""Ansible's INI inventories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from opskit.errors import InventoryError
from opskit.fleet import Host, Inventory, load_inventory

if TYPE_CHECKING:
    from pathlib import Path


def load(folder: Path, text: str) -> Inventory:
    """The inventory in an INI file of this text."""
    file = folder / "hosts.ini"
    file.write_text(text)
    return load_inventory(file)


def test_groups_are_roles(tmp_path: Path) -> None:
    """Roles are a host's groups and those above them; `all` and `ungrouped` are none; the file's order stays."""
    inventory = load(
        tmp_path,
        """\
        lone
        ; a comment
        [web]
        web[1:2].example.com
        # another
        [db]   # the database
        db[a:b]
        web1.example.com
        [all]
        other
        [site:children]
        web   # with a comment
        [everything:children]
        site
        db
        """,
    )
    assert {host.name: sorted(host.roles) for host in inventory} == {
        "lone": [],
        "web1.example.com": ["db", "everything", "site", "web"],
        "web2.example.com": ["everything", "site", "web"],
        "dba": ["db", "everything"],
        "dbb": ["db", "everything"],
        "other": [],
    }
    assert inventory.names[:3] == ("lone", "web1.example.com", "web2.example.com")


def test_vars_of_closer_groups_win(tmp_path: Path) -> None:
    """Vars of all yield to a parent's, a parent's to a child's, and all to the host's own, whatever their names."""
    text = """\
        [web]
        web1 a=host
        web2
        [zone:children]
        web
        [web:vars]
        a=child
        b=child
        [zone:vars]
        a=parent
        b=parent
        c=parent
        [all:vars]
        a=all
        b=all
        c=all
        d=all
        """
    web1, web2 = load(tmp_path, text)
    assert web1.vars == {"a": "host", "b": "child", "c": "parent", "d": "all"}
    assert web2.vars == {"a": "child", "b": "child", "c": "parent", "d": "all"}


def test_the_longest_way_counts(tmp_path: Path) -> None:
    """A group that is both a child and a grandchild is as close to its hosts as the longer way says."""
    text = "[b]\nh\n[z:children]\ny\nb\n[y:children]\nb\n[y:vars]\nx=y\n[b:vars]\nx=b\n"
    assert load(tmp_path, text)["h"].vars.x == "b"


def test_priorities_decide_between_groups_equally_far(tmp_path: Path) -> None:
    """Among groups as far from `all` the last name wins, unless `ansible_group_priority` says another; it is no var."""
    text = "[a]\nh\n[b]\nh\n[c:children]\na\n[a:vars]\nx=a\ny=a\n[b:vars]\nx=b\nz=b\n[c:vars]\ny=c\nz=c\n"
    assert load(tmp_path, text)["h"].vars == {"x": "a", "y": "a", "z": "c"}
    assert load(tmp_path, f"{text}[b:vars]\nansible_group_priority=2\n")["h"].vars == {"x": "a", "y": "a", "z": "b"}


def test_vars_of_ungrouped(tmp_path: Path) -> None:
    """Vars of `ungrouped` are for hosts that are in no group, wherever else they are listed."""
    text = "h\ng\n[web]\ng\n[all]\no\n[ungrouped:vars]\nx=1\n"
    assert {host.name: dict(host.vars) for host in load(tmp_path, text)} == {"h": {"x": 1}, "g": {}, "o": {"x": 1}}


def test_connection_vars(tmp_path: Path) -> None:
    """Ansible's words for address, port, user, key and a local host become ours; the others stay vars."""
    text = """\
        a ansible_host=10.0.0.1 ansible_port=2222 ansible_user=ops ansible_ssh_private_key_file=~/.ssh/ops
        b ansible_ssh_host=10.0 ansible_ssh_port="22" ansible_ssh_user=1000 ansible_become=True
        c ansible_connection=local
        d:2222
        e[1:2]:2223 ansible_connection=ssh
        f:2222 ansible_port=2224
        fe80::1
        """
    assert load(tmp_path, text) == Inventory(
        [
            Host("a", "10.0.0.1", 2222, "ops", vars={"identity_files": ["~/.ssh/ops"]}),
            Host("b", "10.0", 22, "1000", vars={"ansible_become": True}),
            Host("c", "local"),
            Host("d", port=2222),
            Host("e1", port=2223, vars={"ansible_connection": "ssh"}),
            Host("e2", port=2223, vars={"ansible_connection": "ssh"}),
            Host("f", port=2224),
            Host("fe80::1"),
        ]
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=1", 1),
        ("x=1.5", 1.5),
        ("x=True", True),
        ("x=true", "true"),
        ("x=None", None),
        ("x=ams", "ams"),
        ("x='a b'", "a b"),
        ('x="a # b"', "a # b"),
        ("x=a # b", "a"),
        ("x=\"['a', 1]\"", ["a", 1]),
        ("""x='{"a": 1}'""", {"a": 1}),
        ("x=0644", "0644"),
        ("x=1is", "1is"),
        ("x=", ""),
        ("x=a=b", "a=b"),
        ("x=(", "("),
        ("x=10.0.0.1", "10.0.0.1"),
    ],
)
def test_values_of_hosts(tmp_path: Path, text: str, value: Any) -> None:
    """A value on a host's line is read as a shell would, then as a Python literal if it is one."""
    assert load(tmp_path, f"h {text}")["h"].vars == {"x": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x = 1", 1),
        ("x='a b'", "a b"),
        ("x=a b # c", "a b # c"),
        ("x=[1, 2]", [1, 2]),
        (r"x='\d'", r"\d"),
        ("x=1 # c", 1),
    ],
)
def test_values_of_groups(tmp_path: Path, text: str, value: Any) -> None:
    """A value in a section of vars is the rest of its line, read as a Python literal if it is one."""
    assert load(tmp_path, f"h\n[all:vars]\n{text}\n")["h"].vars == {"x": value}


def test_listing_a_host_twice_adds_to_it(tmp_path: Path) -> None:
    """In this format a host in two groups is one host, with the vars of both lines."""
    inventory = load(tmp_path, "[a]\nh x=1 y=1\n[b]\nh y=2\n")
    assert inventory == Inventory([Host("h", roles=["a", "b"], vars={"x": 1, "y": 2})])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\nh\n[a:children]\nb\n[b:children]\nc\n[c:children]\na\n", "ini:8: .*: a > b > c > a"),
        ("h\n[a:children]\na\n", "ini:3: .*: a > a"),
        ("h\n[all:children]\nweb\n[web:children]\nall\n", "ini:5: .*: all > web > all"),
    ],
)
def test_cycles_of_groups(tmp_path: Path, text: str, message: str) -> None:
    """B16: groups that contain themselves are refused with the whole cycle, even if no host is in them."""
    with pytest.raises(InventoryError, match=message):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[web]\nh\n[site:children]\nwbe\n", "ini:4: no group is called 'wbe'; did you mean 'web'"),
        ("[web]\nh\n[wbe:vars]\nx=1\n", "ini:3: no group is called 'wbe'; did you mean 'web'"),
        ("h\n[all:vars]\nansible_group_priority=x\n", "ini:3: ansible_group_priority must be .*, not 'x'"),
        ("h\n[web:var]\nx=1\n", r"ini:2: a section is \[web\].*not \[web:var\]"),
        ("g\nh x\n", "ini:2: expected key=value, not 'x'"),
        ("h\n[all:vars]\nx y\n", "ini:3: expected key=value, not 'x y'"),
        ("h =x\n", "ini:1: expected key=value, not '=x'"),
        ("h x='a\n", "ini:1: a quote is not closed"),
        ("g\nh[3:1]\n", "ini:2: bad range 'h"),
        ("g\nh[1:1000000000]\n", "ini:2: bad range .* 1,000,000,000 names"),
        ("g\nh ansible_port=ssh\n", "ini:2: host 'h': port must be .* 1-65535, not 'ssh'"),
        ("g\nh:0\n", "ini:2: host 'h': port must be .* 1-65535, not 0"),
        ("g\n-oProxyCommand=x\n", "ini:2: a host's name can't be '-oProxyCommand=x'"),
        ("g\nh ansible_user=-oProxyCommand=x\n", "ini:2: host 'h': user can't be '-oProxyCommand=x'"),
        ("h ansible_host='{{ address }}'\n", "ini:1: host 'h': address can't be '{{ address }}'"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    """B14, B15, B18, B19, S6: what can't be right is refused with its line and what is near."""
    with pytest.raises(InventoryError, match=message):
        load(tmp_path, text)
