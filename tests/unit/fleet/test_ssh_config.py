"""Inventories in OpenSSH's client configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from opskit.errors import InventoryError
from opskit.fleet import Host, Inventory, load_inventory


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with `.ssh`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh"


def load(text: str) -> Inventory:
    """The inventory in `~/.ssh/config`."""
    Path("~/.ssh/config").expanduser().write_text(text)
    return load_inventory("~/.ssh/config")


def test_names_are_those_without_wildcards() -> None:
    """Every name that a Host line spells out is a host, in order, once, without roles."""
    text = "Host web1 web* !web9 db?\n\nHost db1 web1\nHost *\nHost=c\nhost \"d\" 'e' # f\n"
    assert load(text) == Inventory([Host("web1"), Host("db1"), Host("c"), Host("d"), Host("e")])


def test_the_first_value_counts() -> None:
    """Over all blocks whose patterns match, and what stands before them, the first value of each word is taken."""
    text = """\
        # don't count me
        User early
        Host web1
            HostName 10.0.0.1
            User late
        Host web? !web2
            Port 2222
            HostName late.example.com
        Host web2
        Host *
            Port 23
            HostName %h.example.com
        """
    assert load(text) == Inventory(
        [Host("web1", "10.0.0.1", 2222, "early"), Host("web2", "web2.example.com", 23, "early")]
    )


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("HostName b", "b"),
        ("hostname=b", "b"),
        ("HOSTNAME = b", "b"),
        ('\tHostName\t"b"  # c', "b"),
        ("HostName 'b'", "b"),
        ('HostName b"c"d', "bcd"),
        ("HostName b#c", "b#c"),
        ("HostName %h.%%h", "a.%h"),
        ("HostName", "a"),
        ("HostNames b", "a"),
        ("# HostName b", "a"),
    ],
)
def test_how_a_line_is_written(line: str, address: str) -> None:
    """Keywords in any case, blanks or `=` after them, quotes, comments, and the name for `%h`."""
    assert load(f"Host a\n{line}\n")["a"].address == address


@pytest.mark.parametrize(
    ("patterns", "matches"),
    [
        ("web1", True),
        ("*", True),
        ("w*1", True),
        ("web?", True),
        ("web1?", False),
        ("we", False),
        ("WEB1", False),
        ("[w]eb*", False),
        ("w.b*", False),
        ("db* web*", True),
        ("web* !web1", False),
        ("!web1 web*", False),
        ("!web1", False),
        ("!db1", False),
        ("* !db*", True),
    ],
)
def test_what_patterns_match(patterns: str, matches: bool) -> None:
    """One pattern must match and none that is negated; only `*` and `?` mean something."""
    assert (load(f"Host {patterns}\nUser ops\nHost web1\n")["web1"].user == "ops") is matches


def test_match_is_passed_over(home: Path) -> None:
    """What stands under Match, included files too, is for the connection to honour."""
    (home / "more").write_text("Host b\n")
    inventory = load(
        'Host a\nMatch all\n  User ops\n  Include more\nMatch host a exec "true"\n  Port 1\nHost *\n  Port 2\n'
    )
    assert inventory == Inventory([Host("a", port=2)])


def test_includes(home: Path, tmp_path: Path) -> None:
    """Files included by name or pattern are read where they stand, and count only where the Host around them does."""
    (home / "config.d").mkdir()
    (home / "config.d" / "2").write_text("Host two\n  User two\n")
    (home / "config.d" / "1").write_text("User inner\nHost one\n  Port 1\nHost two\n  User first\nInclude=~/more\n")
    (home / "config.d" / "folder").mkdir()
    (tmp_path / "more").write_text("Host more two\n  Port 3\n")
    text = "Host o*\n  Include config.d/* nowhere\n  HostName o.example.com\n  User late\n"
    text += f"Host *\n  User outer\nInclude {tmp_path}/more\n"
    assert load(text) == Inventory(
        [
            Host("one", "o.example.com", 1, "inner"),
            Host("two", port=3, user="outer"),
            Host("more", port=3, user="outer"),
        ]
    )


@pytest.mark.parametrize("name", ["ssh_config", "fleet.ssh_config"])
def test_other_names(tmp_path: Path, name: str) -> None:
    """A file called `ssh_config`, or with this suffix, is read as `~/.ssh/config` is, and so is a relative `config`."""
    (tmp_path / name).write_text("Host a\n")
    assert load_inventory(tmp_path / name).names == ("a",)


def test_a_config_in_the_working_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In ~/.ssh, `config` alone is its path; elsewhere a file of this name is in no known format."""
    (home / "config").write_text("Host a\n")
    monkeypatch.chdir(home)
    assert load_inventory("config").names == ("a",)
    (home.parent / "config").write_text("Host a\n")
    with pytest.raises(InventoryError, match="no inventory format"):
        load_inventory(home.parent / "config")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Host a\nHost b\n  Port ssh\n", "config:2: host 'b': port must be .* 1-65535, not 'ssh'"),
        ("Host a\nHost b -oProxyCommand=x\n", "config:2: a host's name can't be '-oProxyCommand=x'"),
        ("Host a\n  HostName $(id)\n", r"config:1: host 'a': address can't be '\$\(id\)'"),
        ('Host a\n  User "ops\n', "config:2: a quote is not closed"),
        ("Host a\nInclude config\n", r"config:2: files include one another more than 16 deep, here /\S*config"),
        ("Host a\nInclude latin\n", r"config:2: /\S*latin can't be included: .*utf-8"),
        ("Host a\nInclude ~no-such-user/x\n", r"config:2: Include '~no-such-user/x' can't be found"),
    ],
)
def test_mistakes_are_told_with_their_line(home: Path, text: str, message: str) -> None:
    """B18, B19, S6: what can't be right is refused with its line."""
    (home / "latin").write_bytes(b"# \xfc\n")
    with pytest.raises(InventoryError, match=message):
        load(text)
