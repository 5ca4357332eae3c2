"""Ways in, on real OpenSSH: what ~/.ssh/config says, proxy commands, certificates, agents, and busy servers."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit.transport.ssh.lean import connect
from tests.system.ground import descriptors, first, processes, python, row_of, unique_sleep, wait_until
from tests.system.ways import configured, entry, logins, told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import asyncssh

    from tests.system.conftest import StartSshd
    from tests.system.sshd import SshdFleet

pytestmark = pytest.mark.system


def new_key(file: Path, passphrase: str = "") -> Path:
    """Make a key pair."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", file], check=True)
    return file


# What the configuration says


def test_the_users_configuration_is_enough(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """Address, port, user, key and known hosts of a host that the inventory merely names."""
    with configured(tmp_path, entry(sshd_fleet, "web1")):
        assert row_of(opskit.Host("web1")).status == "ok"
    row = row_of(opskit.Host("web1"), connect_timeout=2)
    assert row.status == "unreachable"


def test_the_file_in_the_home_folder_is_read(
    sshd_fleet: SshdFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a setting it is ~/.ssh/config; a change takes effect with the next run; `none` reads none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    file = tmp_path / ".ssh" / "config"
    file.write_text(entry(sshd_fleet, "web1", "Port 1"))
    file.chmod(0o600)
    host = opskit.Host("web1", vars={"known_hosts": str(sshd_fleet.known_hosts)})
    assert "port 1 refused" in str(row_of(host).error)
    file.write_text(entry(sshd_fleet, "web1"))
    assert row_of(host).status == "ok"
    with opskit.configure(ssh_config="none"):
        assert "'web1' can't be resolved" in str(row_of(host).error)


def test_the_inventory_and_the_settings_win(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """Of each thing that both say the inventory's word holds, and of keys a setting's."""
    lines = "Host h1\n  HostName 127.0.0.9\n  Port 1\n  User nobody\n  IdentityFile /none\n  UserKnownHostsFile /none\n"
    with configured(tmp_path, lines):
        assert row_of(first(sshd_fleet)).status == "ok"
        host = sshd_fleet.hosts[0]
        with opskit.configure(known_hosts=sshd_fleet.known_hosts, identity_files=sshd_fleet.identity_file):
            assert row_of(opskit.Host("h1", host.address, host.port, host.user)).status == "ok"


def test_includes_and_conditions(sshd_fleet: SshdFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Include, and Match with exec (whose tokens are filled in), user and host; a file that comes later is seen."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".ssh" / "config.d"
    folder.mkdir(parents=True)
    ran = tmp_path / "ran"
    with configured(
        tmp_path,
        f'Match exec "echo %h %n >> {ran}; test %n = web1"\n  Port {sshd_fleet.hosts[0].port}\n',
        "Include config.d/*\n",
        "Match host no.such.address\n  Port 1\n",
    ):
        assert row_of(opskit.Host("web1")).status == "unreachable"
        (folder / "later").write_text(entry(sshd_fleet, "web1", "Port 1"))
        assert row_of(opskit.Host("web1")).status == "ok"
    assert ran.read_text().splitlines()[-1] == "web1 web1"


def test_a_host_key_under_another_name(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """HostKeyAlias is looked up, told, and written down in place of address and port."""
    file = tmp_path / "known_hosts"
    with configured(tmp_path, entry(sshd_fleet, "web1", "HostKeyAlias ops", f"UserKnownHostsFile {file}")):
        assert row_of(opskit.Host("web1")).cause == "host_key"
        with opskit.configure(host_keys="accept-new"):
            assert row_of(opskit.Host("web1")).status == "ok"
        assert file.read_text().startswith("ops ssh-ed25519 ")
        assert row_of(opskit.Host("web1")).status == "ok"
        new_key(tmp_path / "other")
        file.write_text(f"ops {(tmp_path / 'other.pub').read_text()}")
        with opskit.configure(keepalive=14):  # what is warm was opened on other terms
            row = row_of(opskit.Host("web1"))
    assert row.cause == "host_key"
    assert f"{file}, line 1 has" in str(row.error)
    assert "ssh-keygen -R 'ops'" in str(row.error)


@pytest.mark.parametrize(("said", "status"), [("accept-new", "ok"), ("no", "ok"), ("ask", "unreachable")])
def test_strict_host_key_checking(sshd_fleet: SshdFleet, tmp_path: Path, said: str, status: str) -> None:
    """S14: what the configuration says of host keys holds where the setting is the default."""
    file = tmp_path / "known_hosts"
    lines = entry(sshd_fleet, "web1", f"StrictHostKeyChecking {said}", f"UserKnownHostsFile {file}")
    with configured(tmp_path, lines):
        assert row_of(opskit.Host("web1")).status == status
    assert file.exists() == (said == "accept-new")


@pytest.mark.parametrize(("family", "status"), [("inet", "ok"), ("any", "ok"), ("inet6", "unreachable")])
def test_address_family(sshd_fleet: SshdFleet, tmp_path: Path, family: str, status: str) -> None:
    """A name or address of another family is not dialled."""
    with configured(tmp_path, entry(sshd_fleet, "web1", f"AddressFamily {family}")):
        assert row_of(opskit.Host("web1")).status == status


def test_what_is_not_obeyed_is_told_once(
    sshd_fleet: SshdFleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A keyword that would have made another connection is named with its line; for other hosts nothing is said."""
    lines = entry(sshd_fleet, "web1", "PKCS11Provider /lib/x.so", "ControlMaster auto"), "Host db\n  Ciphers x\n"
    with configured(tmp_path, *lines) as file, caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert row_of(opskit.Host("web1")).status == "ok"
    assert [record.getMessage() for record in caplog.records] == [
        f"opskit: {file}, line 2: PKCS11Provider is not obeyed"
    ]


# ProxyCommand


def netcat() -> str:
    """A program that passes its input on to an address and a port."""
    return "busybox nc %h %p" if shutil.which("busybox") else "nc %h %p"


def test_a_proxy_command(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """S7: what the user's own configuration says is run by the user's shell, and ends with its connection."""
    said = tmp_path / "said"
    command = f"ProxyCommand = sh -c 'echo %n %r >> {said}; {netcat()}'"
    with configured(tmp_path, entry(sshd_fleet, "web1", command)), opskit.configure(idle_seconds=0.1):
        row = row_of(opskit.Host("web1"), "echo here")
        assert (row.status, row.stdout, row.error) == ("ok", "here\n", None)
        port = str(sshd_fleet.hosts[0].port)
        wait_until(lambda: not processes(port))
    assert said.read_text() == f"web1 {sshd_fleet.hosts[0].user}\n"


def test_ssh_as_the_proxy_command_of_many_hosts(sshd: StartSshd, tmp_path: Path) -> None:
    """`ssh -W` through a bastion that takes few at once: all hosts are reached, and no ssh is left."""
    bastion, targets = sshd(MaxStartups="10:30:100"), sshd(16)
    own = tmp_path / "bastion_config"
    own.write_text(entry(bastion, "bastion", "BatchMode yes"))
    lines = [
        entry(targets, host.name, f"ProxyCommand ssh -F {own} -W %h:%p bastion", number=number)
        for number, host in enumerate(targets.hosts)
    ]
    hosts = opskit.Inventory([opskit.Host(host.name) for host in targets.hosts])
    with configured(tmp_path, *lines), opskit.configure(idle_seconds=0.1):
        assert len(opskit.run("true", hosts=hosts, connect_timeout=30).ok) == 16
        wait_until(lambda: not processes(str(own)))
    assert logins(bastion) == 16


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("no-such-program %h", "exit code 127"),
        ("sh -c 'echo it is closed today >&2; exit 3'", "exit code 3: it is closed today"),
        ("sleep 1234.5", "nothing was heard within 0.5 s"),
    ],
)
def test_a_proxy_command_that_fails(sshd_fleet: SshdFleet, tmp_path: Path, command: str, says: str) -> None:
    """An unreachable row that names its first word and its last; no process and no descriptor stays."""
    with configured(tmp_path, entry(sshd_fleet, "web1", f"ProxyCommand {command}")):
        row_of(opskit.Host("web1"), connect_timeout=0.5)
        before = descriptors()
        row = row_of(opskit.Host("web1"), connect_timeout=0.5)
        assert descriptors() <= before
    assert row.status == "unreachable"
    assert f"ProxyCommand {command.split(maxsplit=1)[0]!r} did not reach" in str(row.error)
    assert says in str(row.error)
    assert not processes("1234.5")


def test_a_process_that_exits_leaves_no_complaint(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """Ways that are still open at the end, through a bastion and a ProxyCommand, are nothing to report, nor stay."""
    sleep, argument = unique_sleep()
    command = f"ProxyCommand sh -c '{sleep} & {netcat()}'"
    lines = entry(sshd_fleet, "web1", command), entry(sshd_fleet, "web2", "ProxyJump b"), entry(sshd_fleet, "b")
    with configured(tmp_path, *lines) as file, python(PROGRAM, file) as child:
        out, err = child.communicate(timeout=20)
    assert (out, err, child.returncode) == ("2\n", "", 0)
    wait_until(lambda: not processes(argument))


PROGRAM = """
    opskit.configure(ssh_config=sys.argv[1])
    print(len(opskit.run("true", hosts=opskit.Inventory([opskit.Host("web1"), opskit.Host("web2")])).ok))
"""


def test_an_inventory_brings_no_command(sshd_fleet: SshdFleet, tmp_path: Path) -> None:
    """S7: of an inventory's vars none is run, whatever it is called, and no name becomes a part of a command."""
    ran = tmp_path / "ran"
    names = ("proxy_command", "ProxyCommand", "ansible_ssh_common_args", "ssh_config")
    with configured(tmp_path, 'Match exec "test %r = x"\n  Port 1\nHost *\n  ProxyCommand touch %r\n'):
        odd = first(sshd_fleet, user=f"x -o {ran}")
        with pytest.raises(opskit.SettingsError, match="safely"):
            row_of(odd)
    with configured(tmp_path):
        host = first(sshd_fleet, vars=dict.fromkeys(names, f"-o ProxyCommand='touch {ran}'"))
        assert row_of(host).status == "ok"
    assert not ran.exists()


# Certificates


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A key that signs others."""
    return new_key(tmp_path / "authority")


@pytest.mark.parametrize("beside", [True, False])
def test_a_certificate_logs_in(sshd: StartSshd, authority: Path, tmp_path: Path, beside: bool) -> None:
    """One that lies beside its key is offered, and one that CertificateFile names; the bare key is not enough."""
    fleet, key = sshd(TrustedUserCAKeys=str(authority.with_suffix(".pub"))), new_key(tmp_path / "me")
    user = fleet.hosts[0].user
    lines = [f"IdentityFile {key}", "IdentitiesOnly yes"]
    subprocess.run(["ssh-keygen", "-q", "-s", authority, "-I", "me", "-n", user, key.with_suffix(".pub")], check=True)
    certificate = tmp_path / "me-cert.pub"
    if not beside:
        certificate = certificate.rename(tmp_path / "elsewhere.pub")
        lines.append(f"CertificateFile {certificate}")
    with configured(tmp_path, entry(fleet, "web1", *lines).replace(f"  IdentityFile {fleet.identity_file}\n", "")):
        assert row_of(opskit.Host("web1")).status == "ok"
    certificate.unlink()
    fleet.kill()
    fleet.start()
    with configured(tmp_path, entry(fleet, "web1", *lines[:2]).replace(f"  IdentityFile {fleet.identity_file}\n", "")):
        assert row_of(opskit.Host("web1")).cause == "authentication"


@pytest.mark.parametrize(("principal", "status"), [("ops", "ok"), ("other", "unreachable")])
def test_a_host_certificate_is_trusted_through_its_authority(
    sshd: StartSshd, authority: Path, tmp_path: Path, principal: str, status: str
) -> None:
    """@cert-authority in known_hosts, for the name that the certificate is for."""
    key, file = new_key(tmp_path / "host"), tmp_path / "known_hosts"
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-h", "-I", "host", "-n", principal, f"{key}.pub"]
    subprocess.run(sign, check=True)
    fleet = sshd(HostKey=str(key), HostCertificate=str(tmp_path / "host-cert.pub"))
    file.write_text(f"@cert-authority ops {authority.with_suffix('.pub').read_text()}")
    with configured(tmp_path, entry(fleet, "web1", "HostKeyAlias ops", f"UserKnownHostsFile {file}")):
        row = row_of(opskit.Host("web1"))
    assert (row.status, row.cause) == (status, None if status == "ok" else "host_key")


# Agents


@pytest.fixture
def agent(sshd_fleet: SshdFleet, tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """An ssh-agent that has the fleet's key and others; its socket and its process."""
    path = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        wait_until(path.exists)
        others = [new_key(tmp_path / f"other{number}") for number in range(8)]
        environment = {**os.environ, "SSH_AUTH_SOCK": str(path)}
        subprocess.run(["ssh-add", "-q", *others, sshd_fleet.identity_file], check=True, env=environment)
        yield path, process
        process.terminate()


def test_identity_agent(sshd_fleet: SshdFleet, tmp_path: Path, agent: tuple[Path, subprocess.Popen[bytes]]) -> None:
    """IdentityAgent says where; with IdentitiesOnly, only the keys whose public parts are named are offered."""
    public = tmp_path / "public.pub"
    public.write_text(sshd_fleet.identity_file.with_suffix(".pub").read_text())
    only = [f"IdentityFile {public}", "IdentitiesOnly yes"]
    bare = entry(sshd_fleet, "web1", f"IdentityAgent {agent[0]}", *only).replace(
        f"  IdentityFile {sshd_fleet.identity_file}\n", ""
    )
    with configured(tmp_path, bare):
        row = row_of(opskit.Host("web1"))
        assert (row.status, row.error) == ("ok", None)
        with opskit.configure(agent=False):
            assert row_of(opskit.Host("web1")).cause == "authentication"
    with configured(tmp_path, bare.replace(str(agent[0]), "none")):
        assert row_of(opskit.Host("web1")).cause == "authentication"


def test_keys_on_file_come_before_the_agents(
    sshd: StartSshd, tmp_path: Path, agent: tuple[Path, subprocess.Popen[bytes]]
) -> None:
    """An agent with more keys than the server has patience does not stand before the key that was named."""
    fleet = sshd(MaxAuthTries=2)
    with configured(tmp_path, entry(fleet, "web1", f"IdentityAgent {agent[0]}")):
        assert row_of(opskit.Host("web1")).status == "ok"


@pytest.mark.parametrize("how", ["gone", "stopped"])
def test_an_agent_that_goes_away(
    sshd_fleet: SshdFleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    agent: tuple[Path, subprocess.Popen[bytes]],
    how: str,
) -> None:
    """A row that says so, within connect_timeout, and never a traceback; keys on file still work."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent[0]))
    process, bare = agent[1], first(sshd_fleet)
    host = opskit.Host("h1", bare.address, bare.port, bare.user, vars={"known_hosts": bare.vars["known_hosts"]})
    if how == "gone":
        process.kill()
        process.wait()
    else:
        process.send_signal(signal.SIGSTOP)
    try:
        row = row_of(host, connect_timeout=1)
        assert row.status == "unreachable"
        assert ("which gave none" in str(row.error)) == (how == "gone")
        assert row_of(first(sshd_fleet), connect_timeout=1).status == "ok"
    finally:
        if how == "stopped":
            process.send_signal(signal.SIGCONT)


# Servers that are busy


def same_door(fleet: SshdFleet, folder: Path, count: int) -> opskit.Inventory:
    """Hosts of one server that share no connection, for each trusts a file of its own."""
    hosts = []
    for number in range(count):
        file = folder / f"known_hosts{number}"
        file.write_text(fleet.known_hosts.read_text())
        hosts.append(first(fleet, name=f"h{number}", vars={"known_hosts": str(file)}))
    return opskit.Inventory(hosts)


@pytest.mark.parametrize("startups", ["10:30:100", "2:100:3"])
def test_a_server_that_takes_few_at_once(
    sshd: StartSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, startups: str
) -> None:
    """F15: fifty connections to one sshd are paced, and tried again where it turns them away: all are ok.

    Fewer than ten log in at the same time. That is counted here: sshd itself counts a login for a while longer than it
    takes, and a busy machine's while is long enough for a tenth.
    """
    at_once = [0]

    async def counted(*arguments: Any, **own: Any) -> asyncssh.SSHClientConnection:
        at_once.append(at_once[-1] + 1)
        try:
            return await connect(*arguments, **own)
        finally:
            at_once.append(at_once[-1] - 1)

    monkeypatch.setattr("opskit.transport.ssh.dialling.connect", counted)
    fleet = sshd(MaxStartups=startups)
    assert len(opskit.run("true", hosts=same_door(fleet, tmp_path, 50)).ok) == 50
    assert logins(fleet) == 50
    assert 0 < max(at_once) < 10
    if startups == "2:100:3":
        assert told(fleet, "past MaxStartups") > 0


def test_a_server_that_hangs_up_on_everybody(sshd: StartSshd, tmp_path: Path) -> None:
    """F15: where all tries fail the row says how often it was tried."""
    fleet = sshd(MaxStartups="1:100:1", LoginGraceTime=60)
    host = fleet.hosts[0]
    with ExitStack() as stack:

        def occupied() -> bool:
            return stack.enter_context(socket.create_connection((host.address, host.port))).recv(4) == b"SSH-"

        wait_until(occupied)
        row = row_of(first(fleet), connect_timeout=1.5)
    assert row.status == "unreachable"
    assert re.search(r"tried [3-5] times", str(row.error))
    assert row_of(first(fleet)).status == "ok"
