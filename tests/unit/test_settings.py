"""Settings: where each may come from, which source wins, and what is said of a bad one."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import opskit
from opskit.errors import SettingsError
from opskit.settings import Settings, configuration_file, current, describe

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's configuration folder is a new one, and the environment sets nothing."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in [name for name in os.environ if name.startswith("OPSKIT_")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def file() -> Callable[[str], Path]:
    """Write the user's configuration file."""

    def write(text: str) -> Path:
        path = configuration_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return write


def refused() -> str:
    """What the SettingsError of asking for the settings says."""
    with pytest.raises(SettingsError) as caught:
        current()
    return str(caught.value)


def test_the_defaults_are_the_contracts() -> None:
    """What holds where nobody said anything."""
    assert current() == Settings(
        ssh_config=None,
        known_hosts=None,
        identity_files=None,
        agent=True,
        host_keys="strict",
        connect_timeout=10,
        timeout=None,
        keepalive=15,
        fanout=64,
        connections_per_host=2,
        idle_seconds=300,
        max_output=1024 * 1024,
        shell="/bin/sh",
        env=(),
        inventory=None,
        journal=None,
    )


def test_later_sources_win(file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults, file, environment, `configure`, and in the end the call's own argument."""
    assert opskit.settings.fanout == 64
    file("fanout = 1")
    assert opskit.settings.fanout == 1
    monkeypatch.setenv("OPSKIT_FANOUT", "2")
    assert opskit.settings.fanout == 2
    with opskit.configure(fanout=3):
        assert opskit.settings.fanout == 3
        with opskit.use(opskit.Inventory([opskit.Host("web1")])):
            assert opskit.run("uptime", dry_run=True).fanout == 3
            assert opskit.run("uptime", dry_run=True, fanout=4).fanout == 4


def test_each_source_leaves_the_others_settings_alone(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources are merged setting by setting."""
    file("fanout = 1\ntimeout = 5")
    monkeypatch.setenv("OPSKIT_TIMEOUT", "6")
    with opskit.configure(shell="/bin/bash"):
        now = current()
    assert (now.fanout, now.timeout, now.shell) == (1, 6, "/bin/bash")


def test_a_file_may_hold_everything(file: Callable[[str], Path]) -> None:
    """Values have TOML's types, and are checked as everywhere."""
    file(
        "ssh_config = []\n"
        'known_hosts = ["~/a", "b c"]\nidentity_files = "~/.ssh/ops"\nagent = false\nhost_keys = "off"\n'
        'max_output = "2 MiB"\nshell = false\ninventory = "~/hosts.yaml"\n\n[env]\nLANG = "C"\nN = 1\n'
    )
    now = current()
    assert now.ssh_config == ()
    assert now.known_hosts == (Path.home() / "a", Path("b c"))
    assert now.identity_files == (Path.home() / ".ssh/ops",)
    assert now.agent is now.shell is False
    assert (now.host_keys, now.max_output, now.env) == ("off", 2 * 1024 * 1024, (("LANG", "C"), ("N", "1")))
    assert now.inventory == Path.home() / "hosts.yaml"


def test_a_changed_file_is_read_again(file: Callable[[str], Path]) -> None:
    """Nothing has to be restarted."""
    file("fanout = 1")
    assert opskit.settings.fanout == 1
    file("fanout = 22")
    assert opskit.settings.fanout == 22
    configuration_file().unlink()
    assert opskit.settings.fanout == 64


def test_the_environment_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of setting can be said in the environment."""
    monkeypatch.setenv("OPSKIT_AGENT", "no")
    monkeypatch.setenv("OPSKIT_TIMEOUT", "none")
    monkeypatch.setenv("OPSKIT_KNOWN_HOSTS", f"~/a{os.pathsep}b c")
    monkeypatch.setenv("OPSKIT_SSH_CONFIG", "none")
    monkeypatch.setenv("OPSKIT_ENV", "A=b C='x y'")
    monkeypatch.setenv("OPSKIT_SHELL", "false")
    now = current()
    assert (now.agent, now.timeout, now.shell) == (False, None, False)
    assert now.ssh_config == (Path("none"),)  # as with `ssh -F`
    assert now.known_hosts == (Path.home() / "a", Path("b c"))
    assert now.env == (("A", "b"), ("C", "x y"))


def test_configure_as_a_block_nests_and_is_undone() -> None:
    """Inside, the later call wins, setting by setting; afterwards all is as before."""
    with opskit.configure(fanout=1, timeout=5):
        with opskit.configure(fanout=2):
            assert (opskit.settings.fanout, opskit.settings.timeout) == (2, 5)
            opskit.configure(timeout=None)
            assert (opskit.settings.fanout, opskit.settings.timeout) == (2, None)
        assert (opskit.settings.fanout, opskit.settings.timeout) == (1, 5)
    assert (opskit.settings.fanout, opskit.settings.timeout) == (64, None)


def test_a_block_is_seen_by_its_own_thread_and_tasks_alone() -> None:
    """Other threads see what holds for the process; tasks see the block that they were started in."""

    async def in_a_task() -> int:
        return await asyncio.create_task(fanout())

    async def fanout() -> int:
        return opskit.settings.fanout

    with opskit.configure(fanout=1), ThreadPoolExecutor(1) as threads:
        assert threads.submit(lambda: opskit.settings.fanout).result() == 64
        assert asyncio.run(in_a_task()) == 1


def test_configure_as_a_statement_holds_for_the_process() -> None:
    """Every thread sees it, until another call."""
    try:
        change = opskit.configure(fanout=5)
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(lambda: opskit.settings.fanout).result() == 5
        assert repr(change) == "<set to fanout=5>"
    finally:
        opskit.configure(fanout=64)


def test_a_bad_call_changes_nothing() -> None:
    """One bad value among good ones: none is taken."""
    with pytest.raises(SettingsError, match=r"configure\(\): timeout = 0 must be more than 0"):
        opskit.configure(fanout=5, timeout=0)
    assert opskit.settings.fanout == 64


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("fanout", 0, "configure(): fanout = 0 must be a whole number, 1 or more"),
        ("fanout", True, "configure(): fanout = True must be a number, not bool"),
        ("fanout", None, "configure(): fanout = None must be a number"),
        ("agent", "perhaps", "configure(): agent = 'perhaps' must be True or False"),
        ("host_keys", "lax", "must be one of 'strict', 'accept-new', 'off'"),
        ("known_hosts", 5, "configure(): known_hosts = 5 must be a path or a list of paths"),
        ("fanuot", 5, "configure(): no setting is called 'fanuot'; did you mean 'fanout'"),
    ],
)
def test_a_bad_value_of_configure_names_it(name: str, value: object, says: str) -> None:
    """B29: the source, the setting, the value and what is allowed; of an unknown name the near one."""
    with pytest.raises(SettingsError) as caught:
        opskit.configure(**{name: value})
    assert says in str(caught.value)


def test_none_takes_back_what_has_no_default() -> None:
    """As a file's `timeout` for one block."""
    with opskit.configure(timeout=5, known_hosts="x"), opskit.configure(timeout=None, known_hosts=None):
        assert opskit.settings.timeout is None
        assert opskit.settings.known_hosts is None


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("\n# all\nfanout = 0\n", 3, "fanout = 0 must be a whole number"),
        ("timeout = 5\ntime = 5\n", 2, "no setting is called 'time'; did you mean 'timeout'"),
        ("fanout = 5\n\n[envv]\nA = 'b'\n", 3, "no setting is called 'envv'; did you mean 'env'?"),
        ("fanout = 5\n[env]\n'A B' = 'b'\n", 2, "'A B': no shell"),
        ("fanout = 5\nenv.A = true\n", 2, "has a bool as A"),
        ("fanout = 5\n'agent' = 1\n", 2, "agent = 1 must be True or False"),
    ],
)
def test_a_bad_line_of_the_file_is_named(file: Callable[[str], Path], text: str, line: int, says: str) -> None:
    """B29: path, line, and what is wrong there."""
    path = file(text)
    message = refused()
    assert message.startswith(f"{path}, line {line}: ")
    assert says in message


@pytest.mark.parametrize("content", [b"fanout = \n", b"fanout = '\xff'\n"])
def test_a_file_that_is_no_toml_is_named(file: Callable[[str], Path], content: bytes) -> None:
    """B29: path, and what the reader says of it."""
    path = file("")
    path.write_bytes(content)
    assert refused().startswith(f"{path}: can't be read: ")


def test_a_bad_value_of_the_environment_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """B29: as the user wrote it."""
    monkeypatch.setenv("OPSKIT_FANOUT", "many")
    assert refused() == "environment variable OPSKIT_FANOUT: fanout = 'many' must be a number"


def test_a_misspelt_variable_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """B29: who sets OPSKIT_FANUOT learns that it does nothing; what resembles no setting is somebody else's."""
    monkeypatch.setenv("OPSKIT_HOME_OF_MY_OWN", "x")
    assert current() == Settings()
    monkeypatch.setenv("OPSKIT_FANUOT", "5")
    assert refused() == "environment variable OPSKIT_FANUOT: no setting is called so; did you mean OPSKIT_FANOUT?"


def test_settings_can_be_looked_at() -> None:
    """`dir` has each, `repr` shows each, and an unknown one is answered with the near one."""
    assert dir(opskit.settings) == sorted(Settings.__annotations__)
    assert "fanout = 64\n" in repr(opskit.settings)
    with pytest.raises(SettingsError, match="no setting is called 'fanuot'; did you mean 'fanout'"):
        getattr(opskit.settings, "fanuot")  # noqa: B009 - mypy knows better
    assert not hasattr(opskit.settings, "_repr_html_")


def test_assigning_a_setting_configures_it() -> None:
    """`opskit.settings.fanout = 5` is `opskit.configure(fanout=5)`: checked, and undone with the block around it."""
    with opskit.configure():
        setattr(opskit.settings, "fanout", 5)  # noqa: B010 - the type of `settings` is frozen
        assert opskit.settings.fanout == 5
        with pytest.raises(SettingsError, match="fanout"):
            setattr(opskit.settings, "fanot", 5)  # noqa: B010 - as above
    assert opskit.settings.fanout == 64


def test_every_setting_has_a_meaning() -> None:
    """`%opskit config` shows name, value and a line of help for each."""
    described = describe()
    assert [name for name, _, _ in described] == list(Settings.__slots__)
    assert ("fanout", "64", "how many hosts are worked on at once") in described
    assert all(doc for _, _, doc in described)


def test_the_journal_may_be_anywhere(file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A path or a URL, as text; None is the file of the user's own."""
    file('journal = "/srv/ops.journal"')
    assert current().journal == "/srv/ops.journal"
    monkeypatch.setenv("OPSKIT_JOURNAL", "postgresql://db/ops")
    assert current().journal == "postgresql://db/ops"
    with opskit.configure(journal=None):
        assert current().journal is None
    monkeypatch.setenv("OPSKIT_JOURNAL", " ")
    assert refused() == "environment variable OPSKIT_JOURNAL: journal = ' ' must be text, not empty, without NUL"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ops:hunter2!@db:5432/ops", "postgresql://ops:********@db:5432/ops"),
        ("postgresql://:hunter2!@db/ops", "postgresql://:********@db/ops"),
        ("postgresql://ops:hun:ter/2!@x@db/ops", "postgresql://ops:********@db/ops"),
        (
            "postgresql+psycopg://db/ops?user=a&password=hunter2!&x=y",
            "postgresql+psycopg://db/ops?user=a&password=********&x=y",
        ),
        ("postgresql://db/ops?sslpassword=hun'ter2!", "postgresql://db/ops?sslpassword=********"),
        ("postgresql://ops@db:5432/ops", "postgresql://ops@db:5432/ops"),
        ("postgresql://db:5432/ops", "postgresql://db:5432/ops"),
        ("sqlite:////srv/a:b@c.journal", "sqlite:////srv/a:b@c.journal"),
        ("/srv/a:b@c.journal", "/srv/a:b@c.journal"),
    ],
)
def test_a_password_of_the_journals_url_is_never_shown(url: str, shown: str) -> None:
    """Neither in what the settings say of themselves, nor in what a configuration does, nor in an error."""
    change = opskit.configure(journal=url)
    with change:
        assert {name: value for name, value, _ in describe()}["journal"] == repr(shown)
        assert f"journal = {shown!r}" in repr(opskit.settings)
        assert f"journal={shown!r}" in repr(current())
        assert opskit.settings.journal == url
        assert repr(change).endswith(f"journal={shown!r}>")
    with pytest.raises(SettingsError) as caught:
        opskit.configure(journal=url + "\0")
    assert str(caught.value).endswith("must be text, not empty, without NUL")
    assert "2!" not in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        opskit.configure(journal=url.encode())
    assert "2!" not in str(caught.value)


def test_settings_show_no_values_of_env() -> None:
    """They may be passwords."""
    with opskit.configure(env={"TOKEN": "hunter2!"}):
        assert "env=TOKEN" in repr(current())
        assert "hunter2" not in repr(current())
