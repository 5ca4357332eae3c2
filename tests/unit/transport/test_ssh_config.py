"""What ssh's configuration files say of a host: found once for hosts that are treated alike, and as ssh finds it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

import opskit
from opskit.fleet import Host
from opskit.settings import Settings
from opskit.transport.ssh import config, parser
from opskit.transport.ssh.route import Routes
from tests.needs import need_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opskit.transport.ssh.config import HostConfig, SshConfig


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with an empty .ssh."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


@pytest.fixture
def said(home: Path) -> Callable[..., HostConfig]:
    """Write a configuration, and look a host up in it."""

    def look_up(text: str, name: str = "web1", **own: object) -> HostConfig:
        return written(home, text).of(Host(name, **own))  # type: ignore[arg-type]  # as the tests say

    return look_up


def written(folder: Path, text: str) -> SshConfig:
    """Read a file of this text."""
    file = folder / "ssh_config"
    file.write_text(text)
    found = config.read((file,))
    assert found is not None
    return found


def test_of_each_thing_the_first_word_holds(said: Callable[..., HostConfig]) -> None:
    """Patterns with `!`, several of them, keywords in any case, `=` and quotes; of IdentityFile all hold."""
    text = """
        host web* !web9
            PORT = 2201
            identityfile "~/.ssh/with space"
            AddressFamily inet
            HostKeyAlias ops
        Host *
            Port 2202
            User "me"
            IdentityFile ~/.ssh/other
    """
    web, other = said(text), said(text, "web9")
    assert (web.port, web.user, web.family, web.host_key_alias) == (2201, "me", socket.AF_INET, "ops")
    assert [file.name for file in web.identity_files] == ["with space", "other"]
    assert (other.port, len(other.identity_files)) == (2202, 1)


def test_tokens_are_each_hosts_own(home: Path) -> None:
    """Hosts that are treated alike share what was read, and not what their tokens stand for."""
    found = written(
        home,
        "Host *\n HostName %h.example.com\n IdentityFile ~/.ssh/%n-%h-%p-%r\n User me\n"
        " ProxyCommand nc %h %p %%\n CertificateFile ${HOME}/c\n",
    )
    for name in ("web1", "web2"):
        host = found.of(Host(name))
        assert host.address == f"{name}.example.com"
        assert host.identity_files == (home / ".ssh" / f"{name}-{name}.example.com-22-me",)
        assert host.proxy_command == f"nc {name}.example.com 22 %"
        assert host.certificate_files == (home / "c",)
    own = found.of(Host("web3", "10.0.0.3", 2200, "you"))
    assert own.proxy_command == "nc 10.0.0.3 2200 %"
    assert own.identity_files == (home / ".ssh" / "web3-10.0.0.3-2200-you",)


def test_what_the_inventory_says_is_what_conditions_see(said: Callable[..., HostConfig]) -> None:
    """Match host sees the address, user the inventory's user; originalhost the name."""
    text = (
        'Match host 10.* user you\n Port 1\nMatch originalhost web1 exec "test %h-%r = 10.0.0.1-me"\n Port 2\n'
        "Match all\n Port 3\n"
    )
    assert said(text, address="10.0.0.1", user="you").port == 1
    assert said(text, address="10.0.0.1", user="me").port == 2
    assert said(text, address="10.0.0.2", user="me").port == 3


def test_match_final_fills_in_what_is_left(said: Callable[..., HostConfig]) -> None:
    """As for ssh, it comes last wherever it stands."""
    text = "Match final\n Port 1\n User last\nHost web1\n Port 2\n IdentityFile /a\n"
    found = said(text)
    assert (found.port, found.user, len(found.identity_files)) == (2, "last", 1)


@pytest.mark.parametrize(
    ("lines", "jump", "command"),
    [
        ("ProxyJump a,b\n ProxyCommand c", "a,b", None),
        ("ProxyCommand c d\n ProxyJump a", None, "c d"),
        ("ProxyJump none\n ProxyCommand c", None, None),
        ("ProxyCommand none\n ProxyJump a", None, None),
        ("ProxyCommand=c", None, "c"),
    ],
)
def test_of_proxies_the_first_one_holds(
    said: Callable[..., HostConfig], lines: str, jump: str | None, command: str | None
) -> None:
    """ProxyJump and ProxyCommand exclude each other, also as `none`."""
    found = said(f"Host *\n {lines}\n")
    assert (found.proxy_jump, found.proxy_command) == (jump, command)


def test_known_hosts_of_one_kind_leave_the_other(said: Callable[..., HostConfig], home: Path) -> None:
    """Who names a file of the user's keeps the system's."""
    found = said("UserKnownHostsFile ~/a ~/b")
    assert found.known_hosts is not None
    assert [str(file) for file in found.known_hosts] == [f"{home}/a", f"{home}/b", "/etc/ssh/ssh_known_hosts"]
    assert said("Port 1").known_hosts is None


def test_changes_are_seen(home: Path) -> None:
    """A file that changed, one that is included, and one more of those; what did not change is not read again."""
    folder = home / ".ssh" / "config.d"
    folder.mkdir()
    found = written(home, "Include config.d/*.conf\nPort 1\n")
    file = home / "ssh_config"

    def port() -> int | None:
        now = config.read((file,))
        assert now is not None
        return now.of(Host("a")).port

    assert port() == 1
    assert config.read((file,)) is found
    (folder / "x.conf").write_text("Port 22222\n")
    assert port() == 22222
    (folder / "x.conf").write_text("Port 3\n")
    assert port() == 3
    file.write_text("Port 444\n")
    assert port() == 444


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Host a\n\n  Port many\n", "line 3: Invalid Port integer value: many"),
        ('Host "a\n', "line 1: No closing quotation"),
        ("Host *\n IdentityFile %z\n", "%z is not known"),
        ("Host *\n IdentityFile ${NO_SUCH}\n", "no environment variable is called NO_SUCH"),
        ("Port 70000\n", "Port 70000"),
        ("Include ~/ssh_config\n", "more than 16 deep"),
        ("Match nonsense x\n", "line 1: Invalid match condition"),
    ],
)
def test_a_broken_file_is_told_with_its_line(said: Callable[..., HostConfig], text: str, says: str) -> None:
    """Also where the line is for another host."""
    with pytest.raises(opskit.SettingsError) as caught:
        said(text, "b")
    assert says in str(caught.value)


def test_a_file_that_is_named_must_be_there(home: Path) -> None:
    """The defaults need not; `none` and no file at all read nothing."""
    with pytest.raises(opskit.SettingsError, match="nothing does not exist"):
        config.read((home / "nothing",))
    assert config.read(()) is config.read(config.NO_FILES) is None


def test_a_file_that_others_may_write_is_refused(home: Path) -> None:
    """It may name commands; ssh refuses it too."""
    file = home / ".ssh" / "config"
    file.write_text("Port 1\n")
    file.chmod(0o666)
    with pytest.raises(opskit.SettingsError, match="chmod 600"):
        config.read(None)
    file.chmod(0o600)
    found = config.read(None)
    assert found is not None
    assert found.of(Host("a")).port == 1


def test_what_is_not_obeyed_is_told_once(said: Callable[..., HostConfig], caplog: pytest.LogCaptureFixture) -> None:
    """With file and line, for the hosts that it is for; what says no is not told."""
    with caplog.at_level(logging.WARNING):
        said("Host db\n Ciphers x\nHost web1\n MACs y\n CanonicalizeHostname no\n ControlPath ~/%C\n")
    assert [record.getMessage().partition("ssh_config, ")[2] for record in caplog.records] == [
        "line 4: MACs is not obeyed"
    ]


def test_that_host_keys_are_not_checked_is_told(
    said: Callable[..., HostConfig], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S14: what weakens trust is not done in silence."""
    monkeypatch.setattr(parser, "_warned", set())
    with caplog.at_level(logging.WARNING):
        assert said("StrictHostKeyChecking no\n").host_keys == "off"
    assert "host keys are not checked" in caplog.text


def test_hosts_that_are_treated_alike_are_looked_up_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 hosts and three kinds the files are read three times; the next run reads nothing."""
    reads = 0
    parse = parser.Lookup.parse

    def count(reader: parser.Lookup, path: Path) -> None:
        nonlocal reads
        reads += 1
        parse(reader, path)

    monkeypatch.setattr(parser.Lookup, "parse", count)
    found = written(home, "Host web*\n Port 1\nHost db*\n User %%\nHost *\n HostName %h.example\n")
    hosts = [Host(f"{kind}{number}") for kind in ("web", "db", "app", "x") for number in range(50)]
    for _ in range(2):
        for host in hosts:
            found.of(host)
    assert reads == 3


@pytest.mark.parametrize("name", ["web1", "db1", "db7", "other.example.com"])
def test_openssh_finds_the_same(home: Path, name: str) -> None:
    """`ssh -G` is asked what it makes of the same file."""
    need_program("ssh", "openssh-client")
    (home / ".ssh" / "more").write_text("Host db*\n  IdentityFile ~/.ssh/db_%r\n  Port 2299\n")
    found = written(
        home,
        f"Include {home}/.ssh/more\n"
        "Host web* !web2\n  HostName %h.example.com\n  User web\n  ProxyJump me@b:2222\n"
        'Match host *.example.com exec "test %n = web1"\n  Port 2200\n  AddressFamily inet6\n'
        "Match originalhost db1,db2\n  User root\n  HostKeyAlias dbs\n"
        "Match user root\n  StrictHostKeyChecking accept-new\n"
        "Host *\n  User any\n  IdentityFile ~/.ssh/any_%h\n  IdentitiesOnly yes\n",
    ).of(Host(name))
    command = ["ssh", "-G", "-F", str(home / "ssh_config"), name]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    ssh = dict(reversed([line.partition(" ")[::2] for line in lines]))
    files = [line.partition(" ")[2] for line in lines if line.startswith("identityfile ")]
    assert (found.address or name, str(found.port or 22), found.user) == (ssh["hostname"], ssh["port"], ssh["user"])
    assert found.proxy_jump == ssh.get("proxyjump")
    assert found.host_key_alias == ssh.get("hostkeyalias")
    assert [file.name for file in found.identity_files] == [
        os.path.basename(file).replace("%h", found.address or name).replace("%r", str(found.user))  # noqa: PTH119 - a text
        for file in files
    ]
    assert found.identities_only == (ssh["identitiesonly"] == "yes")
    assert (found.host_keys or "strict") == ("accept-new" if ssh["stricthostkeychecking"] == "accept-new" else "strict")
    assert {"any": socket.AF_UNSPEC, "inet6": socket.AF_INET6}[ssh["addressfamily"]] == found.family


def test_the_way_of_a_host(home: Path) -> None:
    """Inventory before settings before configuration, and for the bastions of a chain each its own."""
    file = home / "ssh_config"
    file.write_text(
        "Host web1\n HostName 10.0.0.1\n Port 2201\n ProxyJump a,u@b:2222\nHost a\n HostName 10.0.0.2\n User boss\n"
    )
    routes = Routes(Settings(ssh_config=(file,)))
    web = routes.to(Host("web1", port=2200))
    assert [(hop.address, hop.port) for hop in web.chain()] == [("10.0.0.1", 2200), ("b", 2222), ("10.0.0.2", 22)]
    assert [hop.login.user for hop in web.chain()][1:] == ["u", "boss"]
    assert web.where == "10.0.0.1 port 2200 through the bastion b port 2222 through the bastion 10.0.0.2 port 22"
    own = routes.to(Host("web1", "10.9.9.9", vars={"proxy_jump": "[::1]:2", "identity_files": "/k"}))
    assert own.bastion is not None
    assert (own.address, own.bastion.address, own.bastion.port) == ("10.9.9.9", "::1", 2)
    assert [str(key) for key in own.bastion.login.identity_files or ()] == ["/k"]
    with pytest.raises(opskit.InventoryError, match="proxy_jump must be text"):
        routes.to(Host("web1", vars={"proxy_jump": 5}))
