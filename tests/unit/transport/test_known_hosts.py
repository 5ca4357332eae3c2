"""Whom we trust: known_hosts files, as OpenSSH writes them."""

from __future__ import annotations

import logging
import os
import subprocess
from typing import TYPE_CHECKING

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.transport.ssh import known_hosts
from opskit.transport.ssh.known_hosts import KnownHosts, described, remember

if TYPE_CHECKING:
    from pathlib import Path

A, B, C = (asyncssh.generate_private_key("ssh-ed25519").convert_to_public() for _ in range(3))
ECDSA = asyncssh.generate_private_key("ecdsa-sha2-nistp256").convert_to_public()


def text(key: asyncssh.SSHKey) -> str:
    """Algorithm and key, as the files have them."""
    return " ".join(key.export_public_key().decode().split()[:2])


def hashed(name: str, key: asyncssh.SSHKey, folder: Path) -> str:
    """A line as `ssh-keygen -H` makes it."""
    file = folder / "to_hash"
    file.write_text(f"{name} {text(key)}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    return file.read_text().strip()


def known(folder: Path, *lines: str) -> KnownHosts:
    """The known hosts of a file with these lines."""
    file = folder / "known_hosts"
    file.write_bytes(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))
    return KnownHosts([file])


def trusted(hosts: KnownHosts, host: str, address: str = "", port: int | None = None) -> list[object]:
    """The keys that a host may show."""
    return list(hosts(host, address, port)[0])


def test_a_plain_name_and_its_address(tmp_path: Path) -> None:
    """An entry counts for the name as it was written and for the address that it has."""
    hosts = known(tmp_path, f"web1 {text(A)}", f"10.0.0.5 {text(B)}")
    assert trusted(hosts, "web1") == [A]
    assert trusted(hosts, "web1", "10.0.0.5") == [A, B]
    assert trusted(hosts, "web2") == []


def test_several_names_on_one_line(tmp_path: Path) -> None:
    """Each of the names, separated by commas, has the key."""
    hosts = known(tmp_path, f"web1,10.0.0.5,[web1]:2222 {text(A)}")
    assert trusted(hosts, "web1") == trusted(hosts, "10.0.0.5") == trusted(hosts, "web1", "", 2222) == [A]


def test_several_keys_of_one_host(tmp_path: Path) -> None:
    """All entries of a name count, also from several files."""
    other = tmp_path / "other"
    other.write_text(f"web1 {text(B)}\n")
    known(tmp_path, f"web1 {text(A)}", f"web1 {text(ECDSA)}")
    hosts = KnownHosts([tmp_path / "known_hosts", other, tmp_path / "missing"])
    assert trusted(hosts, "web1") == [A, ECDSA, B]
    assert hosts.broken == []


def test_another_port_is_another_host(tmp_path: Path) -> None:
    """`[host]:port` counts for this port alone; the plain name counts where the port has no entry of its own."""
    hosts = known(tmp_path, f"web1 {text(A)}", f"[web1]:2222 {text(B)}")
    assert trusted(hosts, "web1", "", 2222) == [B]
    assert trusted(hosts, "web1", "", 2223) == [A]
    assert trusted(hosts, "web1") == [A]


@pytest.mark.parametrize("port", [None, 2222])
@pytest.mark.parametrize("kind", ["plain", "hashed", "pattern"])
def test_names_have_no_case(tmp_path: Path, kind: str, port: int | None) -> None:
    """As for OpenSSH, WEB1 is web1: in the file, in the inventory, and with a port."""
    name = "Web1" if kind != "hashed" else "web1"  # OpenSSH hashes names in lower case
    name = f"[{name}]:{port}" if port else name
    line = {"plain": f"{name} {text(A)}", "pattern": f"{name[:-1]}? {text(A)}"}.get(kind) or hashed(name, A, tmp_path)
    hosts = known(tmp_path, line)
    assert trusted(hosts, "WEB1", "", port) == trusted(hosts, "web1", "", port) == [A]
    assert hosts.told("WEB1", "", port) == hosts.told("web1", "", port) != []


@pytest.mark.parametrize(("name", "port"), [("web1", None), ("[web1]:2222", 2222)])
def test_hashed_names(tmp_path: Path, name: str, port: int | None) -> None:
    """S14: entries of `ssh-keygen -H` count for the host that they hide, and for no other."""
    hosts = known(tmp_path, hashed(name, A, tmp_path))
    assert trusted(hosts, "web1", "", port) == [A]
    assert trusted(hosts, "web2", "", port) == []


def test_patterns_and_negation(tmp_path: Path) -> None:
    """`*` and `?` match; a name that a `!` pattern of the line matches is excluded."""
    hosts = known(tmp_path, f"*.example.com,!db.example.com,web? {text(A)}")
    assert trusted(hosts, "app.example.com") == trusted(hosts, "web7") == [A]
    assert trusted(hosts, "db.example.com") == trusted(hosts, "web10") == []


def test_revoked_keys_and_authorities_are_in_groups_of_their_own(tmp_path: Path) -> None:
    """S14: `@revoked` and `@cert-authority` lines are no trusted keys; asyncssh gets them as what they are."""
    hosts = known(tmp_path, f"web1 {text(A)}", f"@revoked * {text(B)}", f"@cert-authority *.example.com {text(C)}")
    assert [list(group) for group in hosts("web1", "", None)[:3]] == [[A], [], [B]]
    assert [list(group) for group in hosts("a.example.com", "", None)[:3]] == [[], [C], [B]]


def test_a_revoked_key_of_a_port_stays_revoked(tmp_path: Path) -> None:
    """S14: also where nothing but plain entries is known of the port, and a key of the host without a port."""
    hosts = known(tmp_path, f"web1 {text(C)}", f"[web1]:2222 {text(A)}", f"@revoked [web1]:2222 {text(A)}")
    assert [list(group) for group in hosts("web1", "", 2222)[:3]] == [[A], [], [A]]


def test_entries_without_a_port_add_nothing_to_those_with_it(tmp_path: Path) -> None:
    """S14: of whatever kind they are, plain, hashed or a pattern."""
    hosts = known(tmp_path, f"[web1]:2222 {text(A)}", f"web1 {text(B)}", f"web? {text(C)}", hashed("web1", C, tmp_path))
    assert trusted(hosts, "web1", "", 2222) == [A]


def test_comments_and_empty_lines(tmp_path: Path) -> None:
    """They count as lines and as nothing else; a comment behind an entry may be in any encoding."""
    hosts = known(
        tmp_path,
        "# a comment",
        "",
        "   ",
        f"  web1 {text(A)} root@Büro",
        f"web? {text(B)} Büro",
        f"{hashed('web3', C, tmp_path)} \udcfc",
        f"web4\t{text(A)}\r",
    )
    assert trusted(hosts, "web1") == [A, B]
    assert trusted(hosts, "web3") == [B, C]
    assert trusted(hosts, "web4") == [A, B]
    assert hosts.told("web1", "", None)[0].startswith(f"{tmp_path / 'known_hosts'}, line 4 has ")
    assert hosts.broken == []


BROKEN = [
    "web1",
    "web1 ssh-ed25519",
    "@revoked web1 ssh-ed25519",
    "@nonsense web1 {key}",
    "web? ssh-ed25519 AAAA",
    "web* {algorithm} !!!!",
    "|1|nonsense {key}",
    "|2|aGVsbG8=|aGVsbG8= {key}",
    "@cert-authority web1 ssh-ed25519 AAAA",
    "@revoked",
]


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_line_is_named_and_the_others_count(tmp_path: Path, line: str) -> None:
    """B34: what can't be read is noted with file and line; all other lines are still used."""
    broken = line.format(key=text(A), algorithm="ssh-ed25519")
    hosts = known(tmp_path, f"web1 {text(A)}", broken, f"web? {text(B)}")
    assert hosts.broken == [f"{tmp_path / 'known_hosts'}, line 2"]
    assert trusted(hosts, "web1") == [A, B]


def test_a_broken_key_of_a_plain_entry_is_named_when_it_is_looked_at(tmp_path: Path) -> None:
    """B34: keys of plain entries are decoded for the hosts that are dialled alone; the place is noted once."""
    hosts = known(tmp_path, "web1 ssh-ed25519 AAAA", f"web1 {text(A)}")
    assert trusted(hosts, "web1") == trusted(hosts, "web1") == [A]
    assert hosts.broken == [f"{tmp_path / 'known_hosts'}, line 1"]


def test_an_unreadable_file_is_named_and_the_others_count(tmp_path: Path) -> None:
    """B34: a file that can't be read, here a folder, is noted with the reason."""
    known(tmp_path, f"web1 {text(A)}")
    hosts = KnownHosts([tmp_path, tmp_path / "known_hosts"])
    assert hosts.broken == [f"{tmp_path} (Is a directory)"]
    assert trusted(hosts, "web1") == [A]


@pytest.mark.parametrize("kind", ["plain", "hashed", "pattern"])
def test_what_is_known_of_a_host_is_told_with_place_and_fingerprint(tmp_path: Path, kind: str) -> None:
    """F18: file, line and SHA-256 fingerprint, as `ssh-keygen -l` prints it, for every kind of entry."""
    line = {"plain": f"web1 {text(A)}", "pattern": f"web? {text(A)}"}.get(kind) or hashed("web1", A, tmp_path)
    hosts = known(tmp_path, "# first", line)
    file = tmp_path / "key.pub"
    file.write_text(text(A))
    printed = subprocess.run(["ssh-keygen", "-l", "-f", file], check=True, capture_output=True, text=True).stdout
    assert hosts.told("web1", "10.0.0.5", None) == [
        f"{tmp_path / 'known_hosts'}, line 2 has ssh-ed25519 {printed.split()[1]}"
    ]
    assert described(A).endswith(printed.split()[1])


def test_an_entry_that_matches_twice_is_told_once(tmp_path: Path) -> None:
    """A line that has the name and the address is one place."""
    hosts = known(tmp_path, f"web1,10.0.0.5 {text(A)}", f"*,!db {text(B)}")
    assert len(hosts.told("web1", "10.0.0.5", None)) == 2


def test_authorities_and_revoked_keys_are_not_told_as_known(tmp_path: Path) -> None:
    """They say nothing about the key that a host has."""
    hosts = known(tmp_path, f"@revoked web1 {text(A)}", f"@cert-authority web1 {text(B)}")
    assert hosts.told("web1", "", None) == []


def test_only_entries_of_the_port_are_told(tmp_path: Path) -> None:
    """As for OpenSSH, the key of port 22 says nothing against another key at port 2222 of the same name."""
    hosts = known(tmp_path, f"web1 {text(A)}", f"web? {text(A)}", hashed("web1", A, tmp_path))
    assert hosts.told("web1", "", 2222) == []
    assert len(hosts.told("web1", "", None)) == 3


def test_an_accepted_key_is_trusted_from_then_on(tmp_path: Path) -> None:
    """It counts at once, and after it was written for who reads the file later; nothing else in the file changes."""
    hosts = known(tmp_path, f"web1 {text(A)}")
    line = hosts.accept("[Web2]:2222", B)
    assert trusted(hosts, "Web2", "", 2222) == [B]
    remember(line)
    assert (tmp_path / "known_hosts").read_text() == f"web1 {text(A)}\n[web2]:2222 {text(B)}\n"
    again = KnownHosts([tmp_path / "known_hosts"])
    assert trusted(again, "web2", "", 2222) == [B]


def test_remembering_makes_the_file_and_its_folder(tmp_path: Path) -> None:
    """A first host key needs no preparation; the folder is for its owner alone."""
    file = tmp_path / "new" / "known_hosts"
    remember(KnownHosts([file]).accept("web1", A))
    assert file.read_text() == f"web1 {text(A)}\n"
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_remembering_does_not_spoil_a_last_line_without_its_end(tmp_path: Path) -> None:
    """A file that ends in the middle of a line gets the line's end first."""
    file = tmp_path / "known_hosts"
    file.write_text(f"web1 {text(A)}")
    remember(KnownHosts([file]).accept("web2", B))
    hosts = KnownHosts([file])
    assert (trusted(hosts, "web1"), trusted(hosts, "web2")) == ([A], [B])


def test_a_key_that_can_not_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The host is trusted for this process; that it will not be remembered is said once."""
    hosts = KnownHosts([tmp_path])
    with caplog.at_level(logging.WARNING, logger="opskit"):
        remember(hosts.accept("web1", A))
    assert trusted(hosts, "web1") == [A]
    assert [record.getMessage() for record in caplog.records] == [
        f"opskit: the host key of web1 could not be added to {tmp_path}: Is a directory"
    ]


def test_files_are_read_again_only_when_they_changed(tmp_path: Path) -> None:
    """The same files are one value until one of them is written to."""
    file = tmp_path / "known_hosts"
    file.write_text(f"web1 {text(A)}\n")
    first = known_hosts.read([file])
    assert known_hosts.read([file]) is first
    file.write_text(f"web1 {text(B)}\n")
    os.utime(file, ns=(1, 1))
    assert trusted(known_hosts.read([file]), "web1") == [B]


names = st.sampled_from(["web1", "web2", "10.0.0.5", "[web1]:2222", "[10.0.0.5]:2222", "web1,10.0.0.5", "web1,web2"])
patterns = st.sampled_from(["web?", "*", "!web2,web*", "[web1]:*", "*,!10.0.0.5", "10.0.0.*"])
marks = st.sampled_from(["", "", "", "@revoked ", "@cert-authority "])
entries = st.tuples(marks, names | patterns, st.sampled_from([A, B, C])).map(
    lambda drawn: f"{drawn[0]}{drawn[1]} {text(drawn[2])}"
)


@given(
    lines=st.lists(entries | st.just("# comment") | st.just(""), max_size=8),
    host=st.sampled_from(["web1", "web2", "10.0.0.5", "db"]),
    address=st.sampled_from(["", "10.0.0.5", "10.0.0.6"]),
    port=st.sampled_from([None, 2222]),
)
def test_verdicts_are_those_of_asyncssh(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], host: str, address: str, port: int | None
) -> None:
    """S14: for every file and host the trusted keys, authorities and revoked keys are those that asyncssh finds."""
    hosts = known(tmp_path_factory.mktemp("known"), *lines)
    ours = hosts(host, address, port)
    theirs = asyncssh.import_known_hosts("\n".join(lines)).match(host, address, port)
    assert [set(group) for group in ours] == [set(group) for group in theirs]
