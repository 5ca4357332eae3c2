"""Ansible's inventories in YAML, TOML and JSON."""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from opskit.errors import InventoryError
from opskit.fleet import Host, Inventory, load_inventory


def load(folder: Path, text: str, name: str = "a.yaml") -> Inventory:
    """The inventory in a file of this text."""
    file = folder / name
    file.write_text(text)
    return load_inventory(file)


SITE = """\
all:
  vars: {x: all, y: all, z: all, w: all}
  hosts:
    lone:
  children:
    site:
      vars: {x: site, y: site, z: site}
      children:
        web:
        db:
          hosts: {"db[a:b]": {x: host}}
    web:
      hosts:
        web[01:02].example.com:2222:
          ansible_user: ops
      vars: {x: web, y: web}
    ungrouped:
      hosts:
        other:
"""


def test_groups_are_roles_and_closer_vars_win(tmp_path: Path) -> None:
    """A host has all groups above it as roles, but for Ansible's own; vars of all yield to a parent's, and so on."""
    web = {"x": "web", "y": "web", "z": "site", "w": "all"}
    site = {"x": "host", "y": "site", "z": "site", "w": "all"}
    everywhere = dict.fromkeys("xyzw", "all")
    assert load(tmp_path, SITE) == Inventory(
        [
            Host("lone", vars=everywhere),
            Host("dba", roles=["db", "site"], vars=site),
            Host("dbb", roles=["db", "site"], vars=site),
            Host("web01.example.com", port=2222, user="ops", roles=["site", "web"], vars=web),
            Host("web02.example.com", port=2222, user="ops", roles=["site", "web"], vars=web),
            Host("other", vars=everywhere),
        ]
    )


def test_connection_vars(tmp_path: Path) -> None:
    """Ansible's words for address, port, user, key and a local host become ours, of hosts as of groups."""
    text = """\
        web:
          vars: {ansible_user: ops, ansible_ssh_private_key_file: ~/.ssh/ops}
          hosts:
            a: {ansible_host: 10.0.0.1, ansible_port: "2222", ansible_become: true}
            b: {ansible_connection: local}
        """
    keys = {"identity_files": ["~/.ssh/ops"]}
    assert load(tmp_path, text) == Inventory(
        [
            Host("a", "10.0.0.1", 2222, "ops", "web", {"ansible_become": True, **keys}),
            Host("b", "local", user="ops", roles="web", vars=keys),
        ]
    )


DYNAMIC = {
    "_meta": {"hostvars": {"a": {"x": 1}, "nowhere": {"x": 2}}, "profile": "x"},
    "all": {"children": ["ungrouped", "site"]},
    "site": {"children": ["web", "empty"], "vars": {"y": 3}},
    "web": ["a", "b"],
    "db": {"hosts": ["b", "c"], "vars": {"x": 4}},
}


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_what_dynamic_inventories_print(tmp_path: Path, name: str) -> None:
    """Groups may be lists of hosts, children lists of names, and vars of hosts stand apart; no group, no host."""
    assert load(tmp_path, json.dumps(DYNAMIC), name) == Inventory(
        [
            Host("a", roles=["web", "site"], vars={"x": 1, "y": 3}),
            Host("b", roles=["web", "site", "db"], vars={"x": 4, "y": 3}),
            Host("c", roles=["db"], vars={"x": 4}),
        ]
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "all: {hosts: {h: }}"),
        ("a.yaml", "web: {hosts: h}"),
        ("a.yaml", "site: {children: {web: {hosts: [h]}}}"),
        ("a.json", '{"web": {"hosts": ["h"]}}'),
        ("a.json", '{"_meta": {}, "web": ["h"]}'),
        ("a.toml", "[web.hosts]\nh = {}\n"),
        ("a.toml", '[web]\nhosts = ["h"]\n'),
    ],
)
def test_what_is_ansibles(tmp_path: Path, name: str, text: str) -> None:
    """A document with `all` or `_meta`, or with groups that hold hosts or children, is Ansible's."""
    assert load(tmp_path, text, name).names == ("h",)


def test_priorities_of_groups(tmp_path: Path) -> None:
    """`ansible_group_priority` decides between groups that are as far from `all`, and is no var."""
    text = "a: {hosts: [h], vars: {x: a, ansible_group_priority: 2}}\nb: {hosts: [h], vars: {x: b}}\n"
    assert load(tmp_path, text)["h"].vars == {"x": "a"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.yaml",
            "a:\n children:\n  b:\n   children:\n    c:\n     children:\n      a:\n",
            r"yaml:7: .*: a > b > c > a$",
        ),
        ("a.yaml", "a:\n  children:\n    a:\n", r"yaml:3: .*: a > a$"),
        ("a.json", '{"a": {\n"children": [\n"b"]},\n"b": {"children": [\n"a"]}}', r"json:5: .*: a > b > a$"),
        ("a.json", '{"all": {"children": ["a"]},\n"a": {"children": ["all"]}}', r"json:2: .*: a > all > a$"),
    ],
)
def test_cycles_of_groups(tmp_path: Path, name: str, text: str, message: str) -> None:
    """B16: groups that contain themselves are refused with the whole cycle and where it closes."""
    with pytest.raises(InventoryError, match=message):
        load(tmp_path, text, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("all:\n  hosts:\n    h:\n  var: {}\n", "yaml:4: unknown key 'var' in all; did you mean 'vars'"),
        ("all:\n  children:\n    web: 5\n", r"yaml:3: all\.children\.web must be a mapping, not int"),
        ("all:\n  hosts: 5\n", r"yaml:2: all\.hosts must be a mapping, not int"),
        ("all:\n  hosts:\n    h: 5\n", r"yaml:3: all\.hosts\.h must be a mapping, not int"),
        ("all:\n  hosts: [h]\n  vars: [x]\n", r"yaml:3: all\.vars must be a mapping, not list"),
        ("all:\n  hosts:\n    1:\n", "yaml:3: a name must be text, not int"),
        ("all:\n  hosts:\n  - h\n  - g: {}\n", "yaml:4: a name must be text, not dict"),
        ("all:\n  hosts: [h]\n_meta:\n  hostvars: 5\n", r"yaml:4: _meta\.hostvars must be a mapping, not int"),
        ("all:\n  vars:\n    x: 1\n    ansible_group_priority: x\n", "yaml:4: ansible_group_priority must be .*'x'"),
        ("all:\n  hosts:\n    g:\n    h[3:1]:\n", "yaml:4: bad range 'h"),
        ("all:\n  hosts:\n    g:\n    h[1:1000000000]:\n", "yaml:4: bad range .* 1,000,000,000 names"),
        (
            "all:\n  hosts:\n    g:\n    h: {ansible_port: ssh}\n",
            "yaml:4: host 'h': port must be .* 1-65535, not 'ssh'",
        ),
        ("all:\n  hosts:\n    g:\n    -oProxyCommand=x:\n", "yaml:4: a host's name can't be '-oProxyCommand=x'"),
        ("all:\n  hosts:\n    h: {ansible_user: 5}\n", "yaml:3: host 'h': user must be text, not int"),
        ("all:\n  hosts:\n    h: {x: !vault 5}\n", "yaml:3: the tag !vault is not allowed"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    """B14, B15, B17, B18, B19: what can't be right is refused with its line, its keys and what is near."""
    with pytest.raises(InventoryError, match=message):
        load(tmp_path, text)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
VARS = st.fixed_dictionaries(
    {},
    optional={
        "x": PLAIN,
        "y": PLAIN,
        "ansible_host": st.sampled_from(["10.0.0.1", "10.0", "local"]),
        "ansible_port": st.integers(1, 65535),
        "ansible_user": st.sampled_from(["ops", "1000"]),
        "ansible_connection": st.sampled_from(["ssh", "local"]),
        "ansible_group_priority": st.integers(-2, 3),
    },
)
PATTERNS = st.sampled_from(["h1", "h2", "h[1:3]", "h[01:02]", "h[a:c]", "h2:2222", "h[1:3:2]:22"])
HOSTS = st.dictionaries(PATTERNS, VARS, max_size=3)


@st.composite
def groups(draw: st.DrawFn, names: str) -> dict[str, Any]:
    """A group, whose children have some of these names and contain only later ones."""
    children = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
    group = {
        "hosts": draw(HOSTS),
        "vars": draw(VARS),
        "children": {child: draw(groups(names[names.index(child) + 1 :])) for child in children},
    }
    return {key: group[key] for key in draw(st.permutations(list(group)))}


def as_ini(name: str, group: dict[str, Any]) -> str:
    """The same group, and those below it, in sections of the same order."""
    text = f"[{name}]\n"
    for key, content in group.items():
        if key == "hosts":
            lines = [
                [pattern, *(f"{name}={value!r}" for name, value in own.items())] for pattern, own in content.items()
            ]
            text += f"[{name}]\n" + "".join(f"{shlex.join(line)}\n" for line in lines)
        elif key == "vars":
            text += f"[{name}:vars]\n" + "".join(f"{key} = {value!r}\n" for key, value in content.items())
        else:
            text += f"[{name}:children]\n" + "".join(f"{child}\n" for child in content)
            text += "".join(as_ini(child, below) for child, below in content.items())
    return text


@given(groups("abcd"), st.lists(st.sampled_from(["a", "c", "ungrouped"]), unique=True), st.data())
def test_formats_agree(everything: dict[str, Any], more: list[str], data: st.DataObject) -> None:
    """A tree of groups is the same inventory in YAML, JSON and INI, whatever its groups, hosts and vars."""
    everything["hosts"]["h"] = {}
    document = {"all": everything} | {name: data.draw(groups("d")) for name in more}
    with tempfile.TemporaryDirectory() as folder:
        ini = load(Path(folder), "".join(as_ini(name, group) for name, group in document.items()), "a.ini")
        assert load(Path(folder), yaml.safe_dump(document, sort_keys=False)) == ini
        assert load(Path(folder), json.dumps(document), "a.json") == ini


def test_passwords_become_ours_and_what_is_not_followed_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A login's and sudo's password are known under opskit's names; a connection of another kind is warned of."""
    text = (
        "all:\n  hosts:\n    web1: {ansible_password: open sesame, ansible_become_pass: 20261121}\n    web2:\n"
        "  vars: {ansible_ssh_common_args: -J bastion}\n"
    )
    web1, _ = load(tmp_path, text)
    assert (web1.vars.login, web1.vars.sudo) == ("open sesame", 20261121)
    assert [record.getMessage().partition(": a bastion")[0] for record in caplog.records] == [
        "opskit: ansible_ssh_common_args of host web1 is not followed"
    ]
