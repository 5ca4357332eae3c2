"""Logging in by password, and by keys that have a passphrase, on real OpenSSH: who is asked, and what reaches whom."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import secrets
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncssh
import pytest

import opskit
from opskit import bridge
from opskit.engine.run import Run
from opskit.settings import current
from opskit.transport.passwords import Passwords
from opskit.transport.ssh import Pool, SshTransport
from tests.needs import missing, need_module, need_program
from tests.system.ground import first, row_of, sessions, wait_until
from tests.system.sshd import SshdFleet
from tests.system.ways import configured, entry, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.system.conftest import StartSshd

pytestmark = pytest.mark.system

RIGHT = "Zebra9 \\ 'pass' $word €"
WRONG = "Wombat7 wrong"
PASSPHRASE = "Quokka3 words"
SETS_LOGIN = 'set opskit.configure(secrets={"login": opskit.secret(env="LOGIN_PASSWORD")}), or the host\'s var login'


class Ground(NamedTuple):
    """Twenty hosts that let in whoever has a password, and a key that they don't know."""

    fleet: SshdFleet
    users: list[str]
    key: Path

    def user(self) -> str:
        """A new user with the right password: nobody was asked for it yet, and no connection is open."""
        name = f"opskit-t-{secrets.token_hex(3)}"
        self.users.append(name)
        subprocess.run(["useradd", "-m", name], check=True)
        subprocess.run(["chpasswd"], input=f"{name}:{RIGHT}", text=True, check=True)
        return name

    def host(self, user: str, number: int = 0, **variables: Any) -> opskit.Host:
        """A host, where this user logs in."""
        host = self.fleet.hosts[number]
        trust = {"known_hosts": str(self.fleet.known_hosts), "identity_files": [str(self.key)]}
        return opskit.Host(host.name, host.address, host.port, user, vars=trust | variables)

    def hosts(self, user: str, count: int = 20) -> opskit.Inventory:
        """All of them, or the first."""
        return opskit.Inventory([self.host(user, number) for number in range(count)])

    def refused(self, user: str) -> int:
        """How many passwords of this user the hosts have refused."""
        return told(self.fleet, f"Failed password for {user} ")

    def accepted(self, user: str) -> int:
        """How many they have accepted."""
        return told(self.fleet, f"Accepted password for {user} ")


def need_root() -> None:
    """Only root's sshd lets others in."""
    need_program("sshd", "openssh-server")
    if os.geteuid() != 0:
        missing("only root can make users who log in by password")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The fleet; its users are removed afterwards."""
    need_root()
    users: list[str] = []
    try:
        with SshdFleet(20, PasswordAuthentication="yes", LogLevel="DEBUG1") as fleet:
            fleet.folder.chmod(0o755)
            (fleet.folder / "home").chmod(0o777)
            yield Ground(fleet, users, new_key(tmp_path_factory.mktemp("keys") / "unknown"))
    finally:
        for user in users:
            subprocess.run(["userdel", "-r", user], capture_output=True, check=False)


def new_key(file: Path, passphrase: str = "", kind: str = "ed25519", *options: str) -> Path:
    """A key, with a passphrase that it costs little to try."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-a", "1", *options, "-N", passphrase, "-f", file], check=True)
    return file


class Person:
    """Types these answers, and then no more."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.questions: list[str] = []
        self.while_typing: Callable[[], object] = lambda: None

    def answer(self, question: str = "", stream: object = None) -> str:
        """Stand in for `getpass`, as a notebook's kernel does."""
        self.questions.append(question)
        self.while_typing()
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Person:
    """Somebody who can answer."""
    somebody = Person()
    monkeypatch.setattr(getpass, "getpass", somebody.answer)
    return somebody


def run_all(hosts: opskit.Inventory, command: str = "id -un") -> opskit.Results:
    """The rows of a command, whatever becomes of it."""
    return opskit.run(command, hosts=hosts, on_error="continue")


# A login's password


def test_a_password_that_is_set_lets_in(ground: Ground) -> None:
    """Where no key is enough it is given, after it was right on one host, and to each host once."""
    user = ground.user()
    with opskit.configure(secrets={"login": RIGHT}):
        assert [row.stdout for row in run_all(ground.hosts(user))] == [f"{user}\n"] * 20
    assert (ground.accepted(user), ground.refused(user)) == (20, 0)


def test_what_was_right_once_is_given_at_once(ground: Ground) -> None:
    """Only who comes before the first verdict dials twice; all others dial once, and have the password with them."""
    user = ground.user()
    with opskit.configure(secrets={"login": RIGHT}, fanout=1):
        assert {row.status for row in run_all(ground.hosts(user, 6))} == {"ok"}
    assert told(ground.fleet, f"closed by authenticating user {user} ") == 1


def test_a_wrong_password_reaches_one_host(ground: Ground) -> None:
    """F19: of twenty hosts one is sent it, once; each row says where it was refused, what to set, what was tried."""
    user = ground.user()
    with opskit.configure(secrets={"login": WRONG}):
        results = opskit.run("true", hosts=ground.hosts(user), on_error="continue", retries=2)
    assert {(row.status, row.cause) for row in results} == {("unreachable", "authentication")}
    assert (ground.accepted(user), ground.refused(user)) == (0, 1)
    (where,) = (row.host for row in results if "so it was not tried" not in str(row.error))
    for row in results:
        elsewhere = "" if row.host == where else f", so it was not tried on {row.host}"
        told_of = f"{where} refused the password of {user}{elsewhere}; {SETS_LOGIN} (tried before: {ground.key})"
        assert row.error == told_of


def test_a_host_that_refuses_what_others_accept_is_alone(ground: Ground) -> None:
    """R7: its refusal is no other host's, and it is not given the password again."""
    user = ground.user()
    hosts = [ground.host(user, number) for number in range(4)]
    other = first(ground.fleet, name="other", user=ground.user(), vars={"identity_files": [str(ground.key)]})
    subprocess.run(["chpasswd"], input=f"{other.user}:{WRONG}", text=True, check=True)
    with opskit.configure(secrets={"login": RIGHT}):
        results = opskit.run("true", hosts=opskit.Inventory([*hosts, other]), on_error="continue", retries=3)
    assert [row.status for row in results] == ["ok"] * 4 + ["unreachable"]
    assert str(results[4].error).startswith(f"other refused the password of {other.user}; ")
    assert ground.refused(str(other.user)) == 1


def test_a_key_costs_no_more_than_before(ground: Ground) -> None:
    """Where a key is accepted the login is three requests over one connection, also if a password is at hand."""
    user = ground.user()
    key = {"identity_files": [str(ground.fleet.identity_file)]}
    request = f"userauth-request for user {user} "
    with opskit.configure(secrets={"login": RIGHT}, fanout=1):
        assert row_of(ground.host(user, 0, **key)).status == "ok"
        assert told(ground.fleet, request) == 3
        hosts = opskit.Inventory([ground.host(user, 1), ground.host(user, 2, **key)])
        assert [row.status for row in run_all(hosts)] == ["ok", "ok"]
    assert (told(ground.fleet, f"Accepted publickey for {user} "), ground.accepted(user)) == (2, 1)


def test_where_nobody_can_answer_the_row_says_what_to_set(ground: Ground) -> None:
    """Nothing is sent and nothing hangs: each row names who asks, and what to set."""
    user = ground.user()
    results = run_all(ground.hosts(user))
    assert {(row.status, row.cause) for row in results} == {("unreachable", "authentication")}
    asked = [str(row.error) for row in results if str(row.error).startswith("nobody can answer here: ")]
    assert [f"password of {user} (" in error for error in asked] == [True]
    assert all(SETS_LOGIN in str(row.error) and str(ground.key) in str(row.error) for row in results)
    assert ground.refused(user) == 0
    with pytest.raises(opskit.AuthenticationError):
        opskit.run("true", hosts=ground.hosts(user))


def test_a_person_is_asked_once_while_nothing_is_open(ground: Ground, person: Person) -> None:
    """One answer serves the fleet and the process, and no host is kept waiting with a login half done."""
    user = ground.user()
    others = set(sessions(ground.fleet))

    def nothing_is_open() -> bool:
        return set(sessions(ground.fleet)) <= others

    def while_typing() -> None:
        wait_until(lambda: told(ground.fleet, f"closed by authenticating user {user} ") == 20)
        wait_until(nothing_is_open)

    person.answers, person.while_typing = [RIGHT], while_typing
    with opskit.configure(idle_seconds=0.01):
        for _ in range(2):
            assert [row.stdout for row in run_all(ground.hosts(user))] == [f"{user}\n"] * 20
            wait_until(nothing_is_open)
    (question,) = person.questions
    asker = question.removeprefix(f"password of {user} (").removesuffix(" and others ask for it): ")
    assert asker in {host.name for host in ground.fleet.hosts}
    assert (ground.accepted(user), ground.refused(user)) == (40, 0)


def test_no_time_runs_while_a_person_types(ground: Ground, person: Person) -> None:
    """An answer that takes longer than connect_timeout still lets in."""
    person.answers, person.while_typing = [RIGHT], lambda: threading.Event().wait(1.1)
    assert row_of(ground.host(ground.user()), connect_timeout=1).status == "ok"


def test_a_wrong_answer_is_asked_again_in_the_next_run(ground: Ground, person: Person) -> None:
    """It is sent to one host and forgotten."""
    user = ground.user()
    person.answers = [WRONG, RIGHT]
    assert {row.cause for row in run_all(ground.hosts(user, 4))} == {"authentication"}
    assert ground.refused(user) == 1
    assert [row.status for row in run_all(ground.hosts(user, 4))] == ["ok"] * 4
    assert len(person.questions) == 2


def test_a_cancel_while_a_password_is_awaited(ground: Ground) -> None:
    """Nobody waits for an answer any more, and each row says that nothing was begun."""
    runs: list[Run] = []
    ended: list[bool] = []

    async def ask(question: str, remedy: str) -> str:
        asyncio.get_running_loop().call_soon(runs[0].cancel)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return ""

    async def finish() -> opskit.Results:
        now = current()
        transport = SshTransport(Pool(), now, Passwords().of_run(now, ask))
        runs.append(Run(plan, transport, lambda _: None, max_output=1024))
        return await runs[0].finish()

    plan = opskit.plan("true", hosts=ground.hosts(ground.user(), 4))
    results = bridge.engine().submit(finish()).result(20)
    assert {row.status for row in results} <= {"cancelled", "not_started"}
    wait_until(lambda: ended)


def test_a_short_password_lets_in(ground: Ground, person: Person) -> None:
    """What is too short to be masked is no less a password."""
    user = ground.user()
    subprocess.run(["chpasswd"], input=f"{user}:abc", text=True, check=True)
    person.answers = ["abc"]
    assert row_of(ground.host(user)).status == "ok"
    assert row_of(ground.host(user, 1, login="abc")).status == "ok"


def test_an_expired_password_is_told(ground: Ground) -> None:
    """Where the server wants a new one, the row says so in its words."""
    user = ground.user()
    subprocess.run(["chage", "-d", "0", user], check=True)
    row = row_of(ground.host(user, login=RIGHT))
    assert row.status == "failed"
    assert "password has expired" in row.stderr


def behind_a_bastion(ground: Ground, bastion: str, tmp_path: Path) -> tuple[str, ...]:
    """An ssh configuration in which two hosts are behind a third, which this user logs in to by password."""
    key = f"IdentityFile {ground.key}"
    gate = entry(ground.fleet, "gate", f"User {bastion}", key, "IdentitiesOnly yes", number=2)
    gate = gate.replace(f"  IdentityFile {ground.fleet.identity_file}\n", "")
    return gate, *(entry(ground.fleet, name, "ProxyJump gate", number=n) for n, name in enumerate(("web1", "web2")))


def test_a_bastions_own_password(ground: Ground, person: Person, tmp_path: Path) -> None:
    """The question names the bastion; it is asked once for all hosts behind it, and the hosts' is another one."""
    gatekeeper, user, gate = ground.user(), ground.user(), ground.fleet.hosts[2]
    person.answers = [RIGHT, RIGHT]
    hosts = opskit.Inventory([opskit.Host("web1"), opskit.Host("web2", user=user, vars=ground.host(user).vars)])
    with configured(tmp_path, *behind_a_bastion(ground, gatekeeper, tmp_path)):
        assert [row.stdout for row in run_all(hosts)] == [f"{gate.user}\n", f"{user}\n"]
    assert person.questions == [
        f"password of {gatekeeper} (the bastion {gate.address} asks for it): ",
        f"password of {user} (web2 and others ask for it): ",
    ]
    assert ground.accepted(gatekeeper) == 1


def test_a_bastion_that_refuses(ground: Ground, tmp_path: Path) -> None:
    """Each row behind it names it, and it was asked once."""
    gatekeeper = ground.user()
    with (
        configured(tmp_path, *behind_a_bastion(ground, gatekeeper, tmp_path)),
        opskit.configure(secrets={"login": WRONG}),
    ):
        results = run_all(opskit.Inventory([opskit.Host("web1"), opskit.Host("web2")]))
    address = ground.fleet.hosts[2].address
    for row in results:
        assert (row.status, row.cause) == ("unreachable", "authentication")
        assert f"the bastion can't be reached: {address} refused the password of {gatekeeper}; " in str(row.error)
    assert ground.refused(gatekeeper) == 1


# Servers that ask questions of their own


@pytest.fixture
def pam(ground: Ground) -> Iterator[Ground]:
    """One host that asks through PAM, and takes a password in no other way."""
    with SshdFleet(UsePAM="yes", KbdInteractiveAuthentication="yes", LogLevel="DEBUG1") as fleet:
        fleet.folder.chmod(0o755)
        yield Ground(fleet, ground.users, ground.key)


def test_a_server_that_asks_through_pam(pam: Ground) -> None:
    """Its one hidden question is answered by the password; one that wants a new password too is told in its words."""
    user = pam.user()
    with opskit.configure(secrets={"login": RIGHT}):
        assert row_of(pam.host(user), "id -un").stdout == f"{user}\n"
    assert told(pam.fleet, f"Accepted keyboard-interactive/pam for {user}") == 1
    user = pam.user()
    subprocess.run(["chage", "-d", "0", user], check=True)
    row = row_of(pam.host(user, login=RIGHT))
    assert (row.status, row.cause) == ("unreachable", "authentication")
    assert f"h1 wants more than the password of {user}: " in str(row.error)
    assert "Current password" in str(row.error)


Questions = list[tuple[str, bool]]


class Asking(asyncssh.SSHServer):
    """Asks these questions one after the other, and takes the right password as the answer to each."""

    def __init__(self, *rounds: Questions, takes: Callable[[Asking], Any] | None = None) -> None:
        self.rounds = list(rounds)
        self.asks = bool(rounds)
        self.takes = takes
        self.answers: list[str] = []
        self.connections: list[asyncssh.SSHServerConnection] = []
        self.has_let_in = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Note whom to hang up on."""
        self.connections.append(conn)

    def auth_completed(self) -> None:
        """Somebody is in; there is nothing for them."""
        self.has_let_in = True

    def password_auth_supported(self) -> bool:
        """If something is to become of it."""
        return self.takes is not None

    def validate_password(self, username: str, password: str) -> Any:
        """Let become of it what was said."""
        self.answers.append(password)
        assert self.takes is not None
        return self.takes(self)

    def kbdint_auth_supported(self) -> bool:
        """If there are questions."""
        return self.asks

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        """Ask the first."""
        return "", "", "en", self.rounds.pop(0)

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> Any:
        """Ask the next, until one is answered wrongly or none is left."""
        self.answers.extend(responses)
        if any(response != RIGHT for response in responses):
            return False
        return ("", "", "en", self.rounds.pop(0)) if self.rounds else True


@contextmanager
def served(server: Asking, folder: Path) -> Iterator[opskit.Host]:
    """A host that is such a server."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def serve() -> tuple[asyncssh.SSHAcceptor, int]:
        acceptor = await asyncssh.listen("127.0.0.1", 0, server_factory=lambda: server, server_host_keys=[key])
        return acceptor, acceptor.get_port()

    async def stop(acceptor: asyncssh.SSHAcceptor) -> None:
        for connection in server.connections:
            connection.abort()
        acceptor.close()
        await acceptor.wait_closed()

    try:
        acceptor, port = asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
        file = folder / "known_hosts_of_asking"
        file.write_text(f"[127.0.0.1]:{port} {key.export_public_key().decode()}")
        with opskit.configure(agent=False):
            yield opskit.Host("web1", "127.0.0.1", port, "deploy", vars={"known_hosts": str(file), "login": RIGHT})
        asyncio.run_coroutine_threadsafe(stop(acceptor), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


HIDDEN = ("Passwort: ", False)


@pytest.mark.parametrize(
    ("rounds", "given", "says"),
    [
        ([[HIDDEN]], [RIGHT], None),
        ([[], [HIDDEN], []], [RIGHT], None),
        ([[HIDDEN], [("Code: ", False)]], [RIGHT], "web1 wants more than the password of deploy: 'Code:'; set"),
        ([[("Who are you? ", True)]], [], "asks deploy for what no password answers: 'Who are you?'; log in there"),
        ([[HIDDEN, ("Code: ", False)]], [], "asks deploy for what no password answers: 'Passwort: Code:'; log in"),
    ],
)
def test_what_a_server_may_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: list[Questions], given: list[str], says: str | None
) -> None:
    """One hidden question is answered, once; what is only told is heard; all else is told, and gets no password."""
    monkeypatch.setenv("HOME", str(tmp_path))
    server = Asking(*rounds)
    with served(server, tmp_path) as host:
        row = row_of(host)
    assert server.answers == given
    assert server.has_let_in is (says is None)
    assert row.cause == (None if says is None else "authentication")
    assert (says or "") in str(row.error)


def demand(server: Asking) -> bool:
    """Ask for another password."""
    raise asyncssh.PasswordChangeRequired("Think of a new one.\n\x1b[31mNow")


def hang_up(server: Asking) -> bool:
    """Say no by ending the connection."""
    server.connections[-1].disconnect(asyncssh.DISC_BY_APPLICATION, "go away")
    return False


async def say_nothing(server: Asking) -> bool:
    """Never answer."""
    return await asyncio.Event().wait()


@pytest.mark.parametrize(("takes", "reached"), [(hang_up, 1), (say_nothing, 2)])
def test_a_server_that_gives_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: Callable[[Asking], Any], reached: int
) -> None:
    """F19: who hangs up has refused it, for all; who says nothing holds up the others for connect_timeout alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    servers = Asking(takes=takes), Asking(takes=takes)
    (tmp_path / "other").mkdir()
    with served(servers[0], tmp_path) as one, served(servers[1], tmp_path / "other") as two:
        other = opskit.Host("web2", two.address, two.port, two.user, vars=two.vars)
        results = opskit.run("true", hosts=opskit.Inventory([one, other]), on_error="continue", connect_timeout=0.5)
    assert {row.status for row in results} == {"unreachable"}
    assert sum(len(server.answers) for server in servers) == reached
    assert ("so it was not tried on" in "".join(str(row.error) for row in results)) == (reached == 1)


def test_a_server_that_demands_a_new_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row says what it wants, in words that command no terminal."""
    monkeypatch.setenv("HOME", str(tmp_path))
    server = Asking(takes=demand)
    with served(server, tmp_path) as host:
        row = row_of(host)
    assert server.answers == [RIGHT]
    assert row.cause == "authentication"
    assert "web1 wants more than the password of deploy: 'a new password. Think of a new one. " in str(row.error)
    assert "\x1b" not in str(row.error)


# Keys that have a passphrase


@pytest.fixture
def unlockings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were unlocked, each at a cost."""
    need_module("bcrypt")
    found: list[str] = []
    read = asyncssh.read_private_key

    def counted(path: Path, passphrase: str) -> asyncssh.SSHKey:
        found.append(path.name)
        return read(path, passphrase)

    monkeypatch.setattr(asyncssh, "read_private_key", counted)
    return found


@pytest.fixture
def locked(sshd_fleet: SshdFleet, tmp_path: Path) -> Path:
    """The fleet's key, with a passphrase."""
    file = tmp_path / "locked"
    file.write_bytes(sshd_fleet.identity_file.read_bytes())
    file.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-a", "1", "-P", "", "-N", PASSPHRASE, "-f", file], check=True)
    return file


def with_key(fleet: SshdFleet, *keys: Path, **variables: Any) -> opskit.Inventory:
    """All hosts, which are logged in to by these keys."""
    named = {"identity_files": [str(key) for key in keys]} if keys else {}
    shared = {"known_hosts": str(fleet.known_hosts), **named, **variables}
    return opskit.Inventory([opskit.Host(each.name, each.address, each.port, vars=shared) for each in fleet.hosts])


def test_a_passphrase_is_asked_once_for_the_process(
    sshd_fleet: SshdFleet, locked: Path, person: Person, unlockings: list[str]
) -> None:
    """Before anything is dialled, for all hosts; the next run asks nothing and pays nothing, until the file changes."""
    person.answers = [PASSPHRASE]
    with opskit.configure(agent=False, idle_seconds=0.01):
        for _ in range(2):
            assert {row.status for row in run_all(with_key(sshd_fleet, locked), "true")} == {"ok"}
        assert person.questions == [f"passphrase of {locked}: "]
        assert unlockings == ["locked"]
        os.utime(locked, (1, 1))
        assert {row.status for row in run_all(with_key(sshd_fleet, locked), "true")} == {"ok"}
    assert unlockings == ["locked"] * 2


@pytest.mark.parametrize("format_of_file", ["RFC4716", "PEM"])
@pytest.mark.parametrize("source", ["setting", "var"])
def test_a_passphrase_that_is_set(sshd: StartSshd, tmp_path: Path, source: str, format_of_file: str) -> None:
    """The setting's or the host's own, for keys in files of the newer and of the older kind."""
    need_module("bcrypt")
    key = new_key(tmp_path / "key", PASSPHRASE, "ecdsa", "-m", format_of_file)
    fleet = sshd()
    fleet.identity_file.with_suffix(".pub").write_text(key.with_suffix(".pub").read_text())
    of_host = {"passphrase": PASSPHRASE} if source == "var" else {}
    with opskit.configure(agent=False, secrets={"passphrase": PASSPHRASE if source == "setting" else WRONG}):
        (row,) = run_all(with_key(fleet, key, **of_host))
    assert (row.status, row.error) == ("ok", None)


def test_a_wrong_passphrase_names_the_key(sshd_fleet: SshdFleet, locked: Path, person: Person) -> None:
    """B35: AuthenticationError before anything is dialled, and what to set; the next run asks again."""
    need_module("bcrypt")
    person.answers = [WRONG, PASSPHRASE]
    with opskit.configure(agent=False):
        with pytest.raises(opskit.AuthenticationError) as caught:
            run_all(with_key(sshd_fleet, locked))
        assert str(caught.value).startswith(f"key {locked} can't be used: this passphrase is wrong; set ")
        assert len(caught.value.results) == 0
        assert {row.status for row in run_all(with_key(sshd_fleet, locked))} == {"ok"}


def test_a_passphrase_that_nobody_can_give(sshd_fleet: SshdFleet, locked: Path) -> None:
    """PromptRefused before anything is dialled: it names the key and what to set."""
    with opskit.configure(agent=False), pytest.raises(opskit.errors.PromptRefused) as caught:
        run_all(with_key(sshd_fleet, locked))
    assert str(locked) in str(caught.value)
    assert 'secrets={"passphrase": ' in str(caught.value)
    assert "ssh-add" in str(caught.value)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: Path) -> Path:
    """A home whose only key is locked; gives the key."""
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return locked.rename(tmp_path / ".ssh" / "id_ed25519")


def test_a_locked_default_key_is_asked_for_as_a_last_resort(
    sshd_fleet: SshdFleet, home: Path, person: Person, unlockings: list[str]
) -> None:
    """Only where there is no other key; who gives no passphrase, or a wrong one, is told that it was left out."""
    need_module("bcrypt")
    other = new_key(home.with_name("id_ecdsa"), kind="ecdsa")
    row = run_all(with_key(sshd_fleet))[0]
    assert f"(tried: not {home} (it has a passphrase; add it to the agent with ssh-add), {other})" in str(row.error)
    assert person.questions == unlockings == []
    other.unlink()
    row = run_all(with_key(sshd_fleet))[0]
    assert row.cause == "authentication"
    assert f"not {home} (passphrase of {home}: nobody" in str(row.error) or f"not {home} (nobody can" in str(row.error)
    person.answers = [WRONG, PASSPHRASE]
    assert f"not {home} (this passphrase is wrong; set " in str(run_all(with_key(sshd_fleet))[0].error)
    assert {row.status for row in run_all(with_key(sshd_fleet))} == {"ok"}
    assert person.questions == [f"passphrase of {home}: "] * 3


def test_what_an_agent_can_do_is_not_asked(
    sshd_fleet: SshdFleet, locked: Path, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A locked key that an agent has is left to it; one that it does not have is asked for."""
    need_module("bcrypt")
    path = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    other = new_key(tmp_path / "other", PASSPHRASE)
    with subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(path.exists)
            subprocess.run(["ssh-add", "-q", sshd_fleet.identity_file], check=True)
            assert {row.status for row in run_all(with_key(sshd_fleet, locked))} == {"ok"}
            assert person.questions == []
            person.answers = [PASSPHRASE]
            assert {row.status for row in run_all(with_key(sshd_fleet, other, locked))} == {"ok"}
            assert person.questions == [f"passphrase of {other}: "]
        finally:
            process.terminate()


# Nobody else sees them


@pytest.mark.parametrize("kind", ["login", "passphrase"])
@pytest.mark.parametrize("source", ["setting", "var", "typed"])
def test_passwords_are_shown_nowhere(
    ground: Ground,
    tmp_path: Path,
    person: Person,
    caplog: pytest.LogCaptureFixture,
    kind: str,
    source: str,
) -> None:
    """S11: not in a row, an error, a log or a plan, whatever fails; the command's own output is masked too."""
    need_module("bcrypt")
    canary = f"Canary{secrets.token_hex(4)}"
    key = new_key(tmp_path / "locked", canary)
    variables: dict[str, Any] = {kind: canary} if source == "var" else {}
    if kind == "passphrase":
        variables["identity_files"] = [str(key)]
    host = ground.host(ground.user(), 0, **variables)
    file = ground.fleet.folder / canary[::-1]
    file.write_text(canary)
    subprocess.run(["chpasswd"], input=f"{host.user}:{canary}", text=True, check=True)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("asyncssh").setLevel(logging.DEBUG)
    person.answers = [canary] if source == "typed" else []
    with opskit.configure(agent=False, secrets={kind: canary} if source == "setting" else {}):
        row = row_of(host, f"cat {file}")
        plan = opskit.plan("true", hosts=opskit.Inventory([host]))
    assert (row.status, row.stdout) == (("ok", "********") if kind == "login" else ("unreachable", ""))
    shown = [repr(row), str(row.error), row.stdout, repr(plan), caplog.text, repr(opskit.settings)]
    assert not [text for text in shown if canary in text]


def test_a_person_at_a_terminal_types_it(ground: Ground, tmp_path: Path) -> None:
    """In a script at a real terminal the question is shown, what is typed is not, and the run goes on."""
    user = ground.user()
    host = ground.host(user)
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import opskit
            host = opskit.Host("web1", "{host.address}", {host.port}, "{user}", vars={dict(host.vars)!r})
            print("in:", opskit.run("id -un", hosts=opskit.Inventory([host]))[0].stdout)
        """)
    )
    # A process of its own makes the terminal the controlling one, where getpass looks for the person.
    spawn = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", sys.executable, str(script)]
    with subprocess.Popen(spawn, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        seen = b""
        while b"ask for it): " not in seen:
            piece = os.read(process.stdout.fileno(), 65536)
            assert piece, seen
            seen += piece
        process.stdin.write(f"{RIGHT}\n".encode())
        process.stdin.flush()
        seen += process.stdout.read()
    text = seen.decode()
    assert f"password of {user} (web1 and others ask for it): " in text
    assert f"in: {user}" in text
    assert "Zebra9" not in text
