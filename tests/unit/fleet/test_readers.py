"""Inventories from files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from opskit.errors import InventoryError
from opskit.fleet import Host, Inventory, load_inventory

FLEET = Inventory(
    [
        Host("web01", port=2222, user="ops", roles={"web", "linux"}, vars={"dc": "ams", "tags": ["a"]}),
        Host("web02", port=2222, user="ops", roles={"web", "linux"}, vars={"dc": "ams", "tags": ["a"]}),
        Host("db1", "10.0.0.9", user="postgres", roles={"db", "linux"}, vars={"dc": "fra", "tags": ["a"]}),
        Host("here", "local", user="ops", roles={"linux"}, vars={"dc": "ams", "tags": ["a"]}),
    ]
)
"""What every document below describes."""

YAML = """\
defaults:
  user: ops
  roles: linux
  vars: {dc: ams, tags: [a]}
hosts:
  web[01-02]: {port: 2222, roles: [web]}
  db1:
    address: 10.0.0.9
    user: postgres
    roles: [db]
    vars: {dc: fra}
  here: {address: local}
"""

YAML_LIST = """\
defaults: {user: ops, roles: [linux], vars: {dc: ams, tags: [a]}}
hosts:
  - {name: "web[01-02]", port: 2222, roles: "web"}
  - {name: db1, address: 10.0.0.9, user: postgres, roles: db, vars: {dc: fra}}
  - {name: here, address: local, port: null}
"""

TOML = """\
[defaults]
user = "ops"
roles = "linux"
vars = {dc = "ams", tags = ["a"]}

[hosts."web[01-02]"]
port = 2222
roles = ["web"]

[hosts.db1]
address = "10.0.0.9"
user = "postgres"
roles = ["db"]
vars.dc = "fra"

[hosts.here]
address = "local"
"""

JSON = json.dumps(
    {
        "defaults": {"user": "ops", "roles": ["linux"], "vars": {"dc": "ams", "tags": ["a"]}},
        "hosts": {
            "web[01-02]": {"port": 2222, "roles": "web"},
            "db1": {"address": "10.0.0.9", "user": "postgres", "roles": ["db"], "vars": {"dc": "fra"}},
            "here": {"address": "local"},
        },
    }
)


def load(folder: Path, name: str, content: str | bytes) -> Inventory:
    """The inventory in a file of this name and content."""
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_inventory(file)


@pytest.mark.parametrize(
    ("name", "content"),
    [("hosts.yaml", YAML), ("hosts.yml", YAML_LIST), ("HOSTS.YAML", YAML), ("hosts.toml", TOML), ("hosts.json", JSON)],
)
def test_documents(tmp_path: Path, name: str, content: str) -> None:
    """One shape in three formats: ranges, defaults that are merged, united or overridden, and lists of hosts."""
    assert load(tmp_path, name, content) == FLEET


def test_byte_order_marks_are_no_content(tmp_path: Path) -> None:
    """A mark that some editors put first does not become a part of the first word."""
    assert load(tmp_path, "a.csv", b"\xef\xbb\xbfname\nweb1\n").names == ("web1",)
    assert load(tmp_path, "a.yaml", b"\xef\xbb\xbfhosts: {web1: }\n").names == ("web1",)


def test_csv(tmp_path: Path) -> None:
    """Columns are those of `from_frame`: roles apart by blanks, commas or semicolons; empty cells say nothing."""
    text = 'name,address,port,user,roles,dc\nweb1,10.0.0.1,2222,ops,"web app;x, y",ams\n\nweb2 ,,,,,\n'
    assert load(tmp_path, "hosts.csv", text) == Inventory(
        [Host("web1", "10.0.0.1", 2222, "ops", ["web", "app", "x", "y"], {"dc": "ams"}), Host("web2")]
    )
    assert load(tmp_path, "hosts.csv", "host,rack\nweb1,07\n") == Inventory([Host("web1", vars={"rack": "07"})])


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may be text or a Path, and start with ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "hosts.csv").write_text("name\na\n")
    assert load_inventory("~/hosts.csv") == load_inventory(Path("~/hosts.csv")) == Inventory([Host("a")])


def test_missing_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B12: a file that can't be read is named, with the reason and the working folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InventoryError, match=rf"hosts.yaml: No such file.*working folder {tmp_path}"):
        load_inventory("hosts.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InventoryError, match=r"folder\.yaml: Is a directory"):
        load_inventory("folder.yaml")


@pytest.mark.parametrize("path", [None, 5, "", "a\0.yaml", ["a.yaml"]])
def test_what_is_no_path_is_refused(path: Any) -> None:
    """B12: an InventoryError shows what was given."""
    with pytest.raises(InventoryError, match=rf"load_inventory\({re.escape(repr(path))}\): must be a path"):
        load_inventory(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", 'hosts: {"web[\\e]0;pwn\\a": {}}'),
        ("a.yaml", 'hosts: {"web\\e]0;pwn\\a": {prot: 22}}'),
        ("a.yaml", "hosts: {web1: {vars: !%1B%5D0 {}}}"),
        ("a.json", '{"hosts": {"web\\u001b[2J": 5}}'),
        ("a.csv", "web\x1b[2J,port\n"),
        ("a.ini", "[we\x1b[31mb\na\n"),
        ("a.ini", "[a\x1b[2Jb]\na\n"),
        ("a.ini", "[a\x1b:b]\na\n"),
        ("a.ini", "[a\x1b:children]\na\x1b\n"),
    ],
)
def test_errors_show_the_file_harmlessly(tmp_path: Path, name: str, content: str) -> None:
    """S2: what an inventory holds commands no terminal through an error."""
    with pytest.raises(InventoryError) as caught:
        load(tmp_path, name, content)
    assert str(caught.value).replace("\n", "").isprintable()


def test_unknown_suffixes(tmp_path: Path) -> None:
    """A suffix that no reader takes is refused, with those that are known."""
    with pytest.raises(InventoryError, match=r"suffix '.yamml'; did you mean '.yaml'"):
        load(tmp_path, "hosts.yamml", "")
    suffixes = r"known suffixes: .csv, .ini, .json, .ssh_config, .toml, .yaml, .yml .*must be executable"
    with pytest.raises(InventoryError, match=suffixes):
        load(tmp_path, "hosts", "")
    with pytest.raises(InventoryError, match=r"hosts\.yamml: No such file.*working folder"):
        load_inventory(tmp_path / "folder" / "hosts.yamml")
    with pytest.raises(InventoryError, match="Is a directory"):
        load_inventory(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (f"a.{suffix}", content)
        for suffix in ("yaml", "toml", "json", "csv", "ini", "ssh_config")
        for content in (b"", b"\xef\xbb\xbf \n")
    ]
    + [("a.yaml", b"# nobody\n"), ("a.yaml", b"hosts: {}"), ("a.yaml", b"hosts:"), ("a.yaml", b"defaults: {user: x}")]
    + [
        ("a.json", b'{"hosts": []}'),
        ("a.toml", b"[hosts]\n"),
        ("a.csv", b"name\n"),
        ("a.csv", b",,\n"),
        ("a.ini", b"[web]\n"),
    ],
)
def test_no_hosts(tmp_path: Path, name: str, content: bytes) -> None:
    """B12: an inventory without hosts is an error with path and working folder, however it came to have none."""
    with pytest.raises(InventoryError, match=r"a\.\w+: no hosts in this file \(working folder /"):
        load(tmp_path, name, content)


@pytest.mark.parametrize("suffix", ["yaml", "toml", "json", "csv", "ini", "ssh_config"])
def test_wrong_encodings(tmp_path: Path, suffix: str) -> None:
    """B22: a file that is not UTF-8 is refused with line, byte and position."""
    with pytest.raises(InventoryError, match=rf"a.{suffix}:2: not UTF-8: byte 0xfc at position 6"):
        load(tmp_path, f"a.{suffix}", "name\nm\u00fcnchen\n".encode("latin-1"))


DUPLICATES = [
    ("a.yaml", "hosts:\n  a: {}\n  b: {}\n  a: {}\n", r"a.yaml:4: 'a' is there twice, first in line 2"),
    ("a.yaml", "hosts:\n  w[1-3]: {}\n  w2: {}\n", r"a.yaml:3: host 'w2' is there twice, first at \S*a.yaml:2"),
    ("a.yaml", "hosts:\n  - name: a\n  - name: a\n", r"a.yaml:3: host 'a' is there twice, first at \S*a.yaml:2"),
    (
        "a.json",
        '{"hosts": {\n"b": {"vars": {"a": 1}},\n"a": {},\n"a": {}}}',
        r"a.json:4: 'a' is there twice, .* line 3",
    ),
    ("a.json", '{"hosts": [\n{"name": "a"},\n{"name": "a"}]}', r"a.json:3: host 'a' is there twice, first at \S*:2"),
    ("a.toml", "[hosts.a]\n[hosts.b]\n[hosts.a]\n", r"a.toml:3: not TOML: .*first in line 1"),
    ("a.toml", "[hosts]\na = {}\na = {}\n", r"a.toml:3: not TOML: .*first in line 2"),
    ("a.toml", '[[hosts]]\nname = "a"\n[[hosts]]\nname = "a"\n', r"a.toml:3: host 'a' is there twice, first at \S*:1"),
    ("a.csv", "name\na\nb\na\n", r"a.csv:4: host 'a' is there twice, first at \S*a.csv:2"),
]


@pytest.mark.parametrize(("name", "content", "message"), DUPLICATES)
def test_duplicates(tmp_path: Path, name: str, content: str, message: str) -> None:
    """B13: a host that is there twice is refused with both lines."""
    with pytest.raises(InventoryError, match=message):
        load(tmp_path, name, content)


MISTAKES = [
    ("a.yaml", "hosts: {a: }\ndefault: {}\n", "a.yaml:2: unknown key 'default'; did you mean 'defaults'"),
    ("a.yaml", "hosts:\n  a:\n    prot: 22\n", r"a.yaml:3: unknown key 'prot' in hosts\.a; did you mean 'port'"),
    (
        "a.yaml",
        "hosts:\n  - name: a\n    adress: b\n",
        r"a.yaml:3: unknown key 'adress' in hosts\.0; did you mean 'address'",
    ),
    ("a.yaml", "defaults:\n  name: x\nhosts: {a: }\n", r"a.yaml:2: unknown key 'name' in defaults"),
    (
        "a.json",
        '{"hosts": {\n"b": {"vars": {"prot": 1}},\n"a": {\n"prot": 22}}}',
        "a.json:4: unknown key 'prot' in hosts.a",
    ),
    ("a.toml", "[hosts.b]\nvars.x = 1\n[hosts.a]\nprot = 22\n", "a.toml:4: unknown key 'prot' in hosts.a"),
    (
        "a.yaml",
        "hosts:\n  a:\n    user: ops\n    port: ssh\n",
        "a.yaml:4: host 'a': port must be .* 1-65535, not 'ssh'",
    ),
    ("a.yaml", "defaults:\n  port: 70000\nhosts: {a: }\n", "a.yaml:2: .*port must be .* 1-65535, not 70000"),
    ("a.json", '{"hosts": {\n"a": {"port": true}}}', "a.json:2: host 'a': port must be .* 1-65535, not True"),
    ("a.toml", "[hosts.b]\nport = 1\n[hosts.a]\nport = 0\n", "a.toml:4: host 'a': port must be .* 1-65535, not 0"),
    ("a.csv", "name,port\na,22\nb,ssh\n", "a.csv:3: host 'b': port must be .* 1-65535, not 'ssh'"),
    ("a.csv", "name,port\na,22\n,22\n", "a.csv:3: a host's name is empty"),
    ("a.yaml", "hosts:\n  -oProxyCommand=x: {}\n", "a.yaml:2: a host's name can't be '-oProxyCommand=x'"),
    ("a.csv", "name\na\nb c\n", "a.csv:3: a host's name can't be 'b c'"),
    ("a.yaml", "hosts:\n  1: {}\n", "a.yaml:2: a host's name must be text, not int"),
    ("a.yaml", "hosts:\n  a:\n    roles: 3\n", "a.yaml:3: roles must be a list of texts, or one text, not int"),
    ("a.yaml", "hosts:\n  a:\n    roles: [no]\n", "a.yaml:3: host 'a': a role must be text, not bool"),
    ("a.yaml", "hosts:\n  a:\n    vars: x\n", "a.yaml:3: vars must be a mapping, not str"),
    ("a.yaml", "hosts:\n  a: 3\n", r"a.yaml:2: hosts\.a must be a mapping of address"),
    ("a.yaml", "hosts:\n  - a\n", "a.yaml:2: each entry of a list of hosts is a mapping with a `name`"),
    ("a.yaml", "hosts: 3\n", "a.yaml:1: `hosts` is a mapping by name, or a list, not int"),
    ("a.yaml", "- a\n", "a.yaml:1: an inventory is a mapping with `hosts`, not list"),
    ("a.yaml", "hosts:\n  web[5-1]: {}\n", "a.yaml:2: bad range 'web"),
    ("a.csv", "name,port\na,22\nb\n", "a.csv:3: a row of 1 cells, where the heading has 2"),
    ("a.csv", "name,port\na,22,33\n", "a.csv:2: a row of 3 cells, where the heading has 2"),
    ("a.csv", "machine,port\na,22\n", "a.csv:1: no column is called 'name' or 'host'; the columns: machine, port"),
    ("a.csv", "name,x,x\na,1,2\n", "a.csv:1: more than one column is called 'x'"),
    ("a.csv", 'name\n"a\n', "a.csv:2: not CSV"),
    ("a.yaml", "hosts: {a: }\nb: : c\n", "a.yaml:2: not YAML: mapping values are not allowed"),
    ("a.yaml", "hosts: {a: {vars: {x: 2024-99-99}}}", "a.yaml: not YAML: month must be"),
    ("a.yaml", "hosts: {a: }\n---\nhosts: {b: }\n", "a.yaml:2: not YAML: .*another document"),
    ("a.yaml", "hosts:\n  \x00", "a.yaml: not YAML"),
    ("a.json", '{"hosts":\n{"a"}}', "a.json:2: not JSON: Expecting ':'"),
    ("a.json", "[" * 100_000, "a.json: not an inventory: values are nested too deeply"),
    ("a.json", '{"hosts": {"a": {"vars": {"x": ' + "[" * 800 + "]" * 800 + "}}}}", "a.json: .* nested too deeply"),
    ("a.toml", "[hosts.a]\nport =\n", "a.toml:2: not TOML"),
    ("a.json", "9" * 5000, "a.json: not JSON: Exceeds the limit"),
    ("a.toml", "x = " + "9" * 5000, "a.toml: not TOML: Exceeds the limit"),
]


@pytest.mark.parametrize(("name", "content", "message"), MISTAKES)
def test_mistakes_are_told_with_their_place(tmp_path: Path, name: str, content: str, message: str) -> None:
    """B14, B18, B19, B22: what can't be right is refused with file, line and key, and what is near."""
    with pytest.raises(InventoryError, match=message):
        load(tmp_path, name, content)


def test_yaml_tags_are_refused(tmp_path: Path) -> None:
    """B17: a tag that would make an object is not allowed; nothing is made of it."""
    victim = tmp_path / "victim"
    text = f"hosts:\n  a:\n    vars:\n      x: !!python/object/apply:os.mkdir [{victim}]\n"
    with pytest.raises(InventoryError, match=r"a\.yaml:4: the tag !!python/object/apply:os\.mkdir is not allowed"):
        load(tmp_path, "a.yaml", text)
    assert not victim.exists()


def test_yaml_alias_bombs_are_refused(tmp_path: Path) -> None:
    """B17: aliases are counted in full, so that a small file can't come to billions of values."""
    levels = [f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 10)}]" for level in range(1, 12)]
    with pytest.raises(
        InventoryError, match=r"a.yaml:\d+: not allowed: with its aliases .* more than 2,000,000 values"
    ):
        load(tmp_path, "a.yaml", "\n".join(["x0: &x0 [1, 1, 1, 1]", *levels]))
    with pytest.raises(InventoryError, match=r"a.yaml:2: not allowed: a value that contains itself"):
        load(tmp_path, "a.yaml", "hosts:\n  a: &a {vars: {x: *a}}\n")


@pytest.mark.parametrize("nested", ["[" * 200_000, "- " * 200_000, "{a: " * 200_000, "[" * 200 + "]" * 200])
def test_yaml_nested_too_deeply_is_refused(tmp_path: Path, nested: str) -> None:
    """B17: nesting without bound, which would crash the interpreter inside the YAML library, is refused."""
    with pytest.raises(InventoryError, match=r"a\.yaml:1: not allowed: nested more than 100 deep"):
        load(tmp_path, "a.yaml", nested)


def test_yaml_aliases_and_merges_are_fine(tmp_path: Path) -> None:
    """Aliases and merge keys that stay small are ordinary YAML."""
    text = "hosts:\n  a: &a {port: 22, user: ops}\n  b: *a\n  c:\n    <<: *a\n    port: 23\n"
    a, b, c = load(tmp_path, "a.yaml", text)
    assert (a.port, b.port, c.port, c.user) == (22, 22, 23, "ops")


def test_a_host_may_be_called_hosts(tmp_path: Path) -> None:
    """Words of the format are names where names stand."""
    assert load(tmp_path, "a.yaml", "hosts: {hosts: , all: }").names == ("hosts", "all")
