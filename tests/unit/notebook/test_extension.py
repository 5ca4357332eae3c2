"""`%load_ext opskit` and back: names that others have, Tab in IPython's completer, and `%config Opskit`."""

from __future__ import annotations

from contextlib import ExitStack
from functools import wraps
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class
from traitlets.config import Config

import opskit
from opskit.errors import SettingsError
from opskit.notebook import completion, load_ipython_extension, unload_ipython_extension
from opskit.record import store
from opskit.record.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FLEET = opskit.Inventory([opskit.Host("app1", roles={"app"}), opskit.Host("web7", roles={"web"})])


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[InteractiveShell]:
    """A plain IPython, in which the extension is not loaded yet; settings changed in it end with the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with ExitStack() as scope:
        scope.enter_context(opskit.use(FLEET))
        scope.enter_context(opskit.configure())
        yield InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")


@pytest.fixture
def loaded(shell: InteractiveShell) -> InteractiveShell:
    """The same, with the extension."""
    load_ipython_extension(shell)
    return shell


@magics_class
class Others(Magics):
    """Another extension, which has the names."""

    @line_cell_magic
    def parallel(self, line: str, cell: str = "") -> str:
        """Tell that it was called."""
        return f"theirs {line} {cell}"


def names(shell: InteractiveShell, kind: str) -> set[str]:
    """The magics of ours that there are."""
    return {"parallel", "opsparallel", "opskit"} & {*shell.magics_manager.magics[kind]}


def is_ours(configurable: object) -> bool:
    """Whether a thing that has settings is ours."""
    return type(configurable).__name__.startswith("Opskit")


# Names


def test_loading_is_silent_and_brings_both_names(loaded: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    """`%%opsparallel` is the same by another name; it says that name in its errors."""
    assert capsys.readouterr().out == ""
    assert names(loaded, "cell") == {"parallel", "opsparallel"}
    assert names(loaded, "line") == {"parallel", "opsparallel", "opskit"}
    plan = loaded.run_cell("%%opsparallel -n -r app\nuptime").result
    assert [step.host.name for step in plan.steps] == ["app1"]
    assert str(loaded.run_cell("%opsparallel -r web").error_in_exec).startswith("%opsparallel: there is no command")
    assert str(loaded.run_cell("%%opsparallel --bg\na").error_in_exec).startswith("%%opsparallel: --bg needs")


@pytest.mark.parametrize("kind", ["cell", "line"])
def test_a_name_that_another_extension_has_is_left_to_it(
    shell: InteractiveShell, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """Loading says so in one line, and what to write; neither `parallel` is ours then; unloading leaves theirs."""
    shell.register_magics(Others)
    for other in {"cell", "line"} - {kind}:
        del shell.magics_manager.magics[other]["parallel"]
    load_ipython_extension(shell)
    sign = "%%" if kind == "cell" else "%"
    said = f"{sign}parallel belongs to {__name__} here: write %%opsparallel and %opsparallel for opskit's\n"
    assert capsys.readouterr().out == said
    assert names(shell, "cell") == {"opsparallel"} | ({"parallel"} if kind == "cell" else set())
    assert "theirs" in str(shell.run_cell("%%parallel a\nb" if kind == "cell" else "%parallel a").result)
    unload_ipython_extension(shell)
    assert names(shell, kind) == {"parallel"}


def test_status_says_that_another_extension_took_the_name_later(
    loaded: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing can be done about it but to say so."""
    loaded.run_line_magic("opskit", "status")
    assert "belongs to" not in capsys.readouterr().out
    loaded.register_magics(Others)
    loaded.run_line_magic("opskit", "status")
    assert capsys.readouterr().out.endswith("here: write %%opsparallel and %opsparallel for opskit's\n")


def test_unloading_takes_away_what_is_ours(loaded: InteractiveShell) -> None:
    """Magics, Tab and `%config Opskit`; loading brings them again, once; nothing of ours is left where settings are."""
    config = loaded.magics_manager.magics["line"]["config"]
    theirs = [type(found).__name__ for found in loaded.configurables if not is_ours(found)]
    unload_ipython_extension(loaded)
    unload_ipython_extension(loaded)
    assert not names(loaded, "cell") | names(loaded, "line")
    assert loaded.Completer.custom_matchers == []
    assert [type(found).__name__ for found in loaded.configurables] == theirs
    assert "OpskitMagics" not in loaded.magics_manager.registry
    assert loaded.magics_manager.magics["line"]["config"] is not config
    for _ in range(2):
        load_ipython_extension(loaded)
        assert len(loaded.Completer.custom_matchers) == 1
        assert sorted(type(found).__name__ for found in loaded.configurables if is_ours(found)) == [
            "Opskit",
            "OpskitMagics",
        ]
        unload_ipython_extension(loaded)


def test_what_another_extension_has_put_around_config_stays(loaded: InteractiveShell) -> None:
    """Unloading takes ours out from under it: `%config` knows the settings no more, and theirs is still called."""
    lines = loaded.magics_manager.magics["line"]
    ours, called = lines["config"], list[str]()

    @wraps(ours)
    def theirs(line: str) -> object:
        called.append(line)
        return ours(line)

    lines["config"] = theirs
    assert loaded.run_line_magic("config", "Opskit.fanout") == 64
    unload_ipython_extension(loaded)
    assert lines["config"] is theirs
    with pytest.raises(ValueError, match="Opskit"):  # as IPython says it
        loaded.run_line_magic("config", "Opskit.fanout")
    load_ipython_extension(loaded)
    assert loaded.run_line_magic("config", "Opskit.fanout") == 64
    assert called == ["Opskit.fanout"] * 2


# Tab


def offered(shell: InteractiveShell, before: str, after: str = "") -> list[str]:
    """What IPython offers at a cursor, as a front end asks it."""
    with provisionalcompleter():
        return [found.text for found in shell.Completer.completions(before + after, len(before))]


def test_where_ours_fits_nothing_else_is_offered(loaded: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    """No files, no Python; elsewhere IPython offers what it always does."""
    assert offered(loaded, "%%parallel -r ", "\nuptime") == ["app", "web"]
    assert offered(loaded, "%%parallel\nwhen in_('", "')") == ["app", "web"]
    assert offered(loaded, "x = 1\n%opsparallel --rol") == ["--roles"]
    assert offered(loaded, "%%parallel --on-error ") == ["stop", "continue", "rollback"]  # as they are told, not sorted
    loaded.user_ns["mine"] = 1
    assert "mine" in offered(loaded, "mi")
    assert offered(loaded, "%%parallel -w $") == ["mine"]
    unload_ipython_extension(loaded)
    assert "--roles" not in offered(loaded, "%%parallel --rol")


def test_a_variable_of_ipythons_own_is_not_offered(loaded: InteractiveShell) -> None:
    """Nor one with an underscore; but one of that name that the user has set."""
    loaded.user_ns |= {"_hidden": 1, "In": "mine now"}
    assert offered(loaded, "%%parallel -w $") == ["In"]


def test_transactions_are_offered_from_the_journal(loaded: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read when one is to be named, and not before."""
    read: list[int] = []
    whole = Store.transactions

    def watched(self: Store, **which: Any) -> Any:
        read.append(which["limit"])
        return whole(self, **which)

    monkeypatch.setattr(Store, "transactions", watched)
    with opskit.transaction() as tx:
        opskit.run("uptime", hosts=opskit.Inventory([opskit.Host("here", address="local")]))
    assert offered(loaded, "%opskit ") != []
    assert read == []
    assert offered(loaded, "%opskit rollback ") == [tx.id]
    assert len(read) == 1


def test_a_journal_on_a_server_is_not_asked(loaded: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be far away, or gone."""
    opened: list[str | None] = []
    monkeypatch.setattr(store, "opened", opened.append)
    for url in ("postgresql://ops@db/ops", "postgresql+psycopg://ops@db/ops", "sqlite:///ops.journal", "ops.journal"):
        opskit.configure(journal=url)
        offered(loaded, "%opskit rollback ")
    assert opened == ["sqlite:///ops.journal", "ops.journal"]


def broken() -> opskit.Inventory:
    """An inventory that can't be had."""
    raise OSError


def test_what_breaks_is_no_error_of_who_presses_tab(
    loaded: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad setting, an inventory that can't be read: nothing is offered, nothing is said."""
    monkeypatch.setattr(completion, "default_inventory", broken)
    assert "app" not in offered(loaded, "%%parallel -r ")
    monkeypatch.setenv("OPSKIT_FANOUT", "many")
    for before in ("%%parallel -r a", "%opskit rollback "):
        offered(loaded, before)
    assert capsys.readouterr() == ("", "")


def test_a_program_that_would_print_the_inventory_is_not_run(
    loaded: InteractiveShell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may take its time, or ask the network; a file is read."""
    asked: list[Path | None] = []

    def inventory() -> opskit.Inventory:
        asked.append(opskit.settings.inventory)
        return FLEET

    monkeypatch.setattr(completion, "default_inventory", inventory)
    for name in ("inventory.py", "inventory", "hosts.yaml"):
        opskit.configure(inventory=tmp_path / name)
        offered(loaded, "%%parallel -r a")
    assert asked == [tmp_path / "hosts.yaml"]


def test_an_inventory_that_takes_long_is_read_meanwhile(
    loaded: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first key goes without its hosts; once they are there, they are offered."""
    monkeypatch.setattr(completion, "_PATIENCE", 0.01)
    read, finished = Event(), Event()

    def inventory() -> opskit.Inventory:
        assert read.wait(60)
        finished.set()
        return FLEET

    monkeypatch.setattr(completion, "default_inventory", inventory)
    assert offered(loaded, "%%parallel -r a") == ["a"]
    read.set()
    assert finished.wait(60)
    monkeypatch.setattr(completion, "_PATIENCE", 60)
    assert offered(loaded, "%%parallel -r a") == ["app"]


@pytest.mark.parametrize(
    "before", ["%%parallel -r zzz", "%%parallel -o ", "%opskit fleet up ", "%%parallel --timeout "]
)
def test_where_ours_knows_nothing_pythons_names_are_kept_away(loaded: InteractiveShell, before: str) -> None:
    """Nothing can be meant there but what stands there already."""
    assert all(before.endswith(word) for word in offered(loaded, before))


def test_an_older_ipython_goes_without(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 8.6 it had no such matchers; the magics are there."""
    monkeypatch.delattr("IPython.core.completer.context_matcher")
    load_ipython_extension(shell)
    assert shell.Completer.custom_matchers == []
    assert names(shell, "cell") == {"parallel", "opsparallel"}
    unload_ipython_extension(shell)


# %config


def kept(shell: InteractiveShell) -> str:
    """All that IPython itself keeps of settings."""
    return repr([found.config for found in (shell, *shell.configurables)])


@pytest.fixture
def config(loaded: InteractiveShell) -> Callable[[str], Any]:
    """What a line of `%config` gives; raises what it raises."""

    def run(line: str) -> Any:
        outcome = loaded.run_cell(f"%config {line}")
        outcome.raise_error()
        return outcome.result

    return run


def test_config_and_configure_are_one_layer(config: Callable[[str], Any]) -> None:
    """The later call wins, whichever it is; each shows what holds now."""
    assert config("Opskit.fanout") == 64
    config("Opskit.fanout = 5")
    assert opskit.settings.fanout == config("Opskit.fanout") == 5
    opskit.configure(fanout=7)
    assert config("Opskit.fanout") == 7
    config("Opskit.timeout = 3")
    assert (opskit.settings.fanout, opskit.settings.timeout) == (7, 3)


def test_config_lists_every_setting(config: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    """With its help, and what holds now."""
    opskit.configure(fanout=7)
    config("Opskit")
    said = capsys.readouterr().out
    assert "Opskit.fanout=<Setting>\n    how many hosts are worked on at once\n    Current: 7\n" in said
    assert said.count("    Current: ") == len(dir(opskit.settings))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("Opskit.fanout = 0", "%config Opskit: fanout = 0 must be a whole number, 1 or more"),
        ("Opskit.fanuot = 5", "%config Opskit: no setting is called 'fanuot'; did you mean 'fanout'?"),
        ("Opskit.fanuot", "%config Opskit: no setting is called 'fanuot'; did you mean 'fanout'?"),
        ("Opskit.fanout += 1", "%config Opskit: write `Opskit.fanout = 5` or `Opskit.fanout`; `Opskit` shows all"),
        ("Opskit.fanout =", "%config Opskit: write `Opskit.fanout = 5` or `Opskit.fanout`; `Opskit` shows all"),
        ("Opskit.fanout = nix", "%config Opskit: the value of fanout can't be read: name 'nix' is not defined"),
        ("Opskit.fanout = 5 5", "%config Opskit: the value of fanout can't be read: invalid syntax"),
        ("Opskit.fanout = 1 / 0", "%config Opskit: the value of fanout can't be had: ZeroDivisionError"),
        ("Opskit.secrets = 'hunter4'", "%config Opskit: secrets has word 1 without '='; write A=b C='x y'"),
        ("Opskit.secrets = int('hunter4')", "%config Opskit: the value of secrets can't be had: ValueError"),
    ],
)
def test_a_bad_value_fails_the_cell_and_changes_nothing(
    config: Callable[[str], Any], capsys: pytest.CaptureFixture[str], line: str, says: str
) -> None:
    """B29: in a line, without a traceback; IPython alone would log it, and "Run all" would go on."""
    before = opskit.settings.fanout
    with pytest.raises(SettingsError) as caught:
        config(line)
    assert str(caught.value) == says
    assert capsys.readouterr() == (f"SettingsError: {says}\n", "")
    assert opskit.settings.fanout == before
    config("Opskit.fanout = 6")  # the error was that one line's
    config("InteractiveShell.ast_node_interactivity = 'last_expr'")


def test_config_takes_what_configure_takes(config: Callable[[str], Any], loaded: InteractiveShell) -> None:
    """Variables and expressions of the notebook; values as text."""
    loaded.user_ns["most"] = 3
    config("Opskit.fanout = most + 1")
    config("opskit.max_output = '2 MiB'")  # as the package is written
    assert (opskit.settings.fanout, opskit.settings.max_output) == (4, 2 * 1024**2)


def test_config_never_shows_a_secret(config: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Of the environment and the passwords only names, of the journal's URL no password."""
    opskit.configure(
        secrets={"sudo": opskit.secret("horse-battery")},
        env={"TOKEN": "staple-correct"},
        journal="postgresql://ops:hunter22@db/ops",
    )
    config("Opskit")
    shown = [repr(config(f"Opskit.{name}")) for name in ("secrets", "env", "journal")]
    assert shown == ["sudo", "TOKEN", "'postgresql://ops:********@db/ops'"]
    said = capsys.readouterr().out
    for word in ("horse-battery", "staple-correct", "hunter22"):
        assert word not in said


def test_config_keeps_nothing_in_clear(config: Callable[[str], Any], loaded: InteractiveShell) -> None:
    """IPython keeps what is set by its own means, for everything that has settings."""
    config("Opskit.env = {'TOKEN': 'staple-correct'}")
    config("Opskit.secrets = {'sudo': 'horse-battery'}")
    with pytest.raises(SettingsError):
        config("Opskit.secrets = {'nobody': 'hunter22'}")
    config("InteractiveShell.ast_node_interactivity = 'last_expr'")
    assert "last_expr" in kept(loaded)
    for word in ("staple-correct", "horse-battery", "hunter22", "Opskit"):
        assert word not in kept(loaded)


def test_ipythons_own_configuration_is_taken_at_load(shell: InteractiveShell) -> None:
    """`c.Opskit.fanout = 5`, once: what was set since holds when the extension is loaded again."""
    shell.config["Opskit"] = Config({"fanout": 5, "timeout": "3"})
    load_ipython_extension(shell)
    assert (opskit.settings.fanout, opskit.settings.timeout) == (5, 3)
    opskit.configure(fanout=7)
    unload_ipython_extension(shell)
    load_ipython_extension(shell)
    assert opskit.settings.fanout == 7


def test_what_config_was_told_before_the_extension_was_there_is_taken_too(shell: InteractiveShell) -> None:
    """IPython kept it everywhere; now it is where it belongs, and nowhere else."""
    shell.run_line_magic("config", "Opskit.env = {'TOKEN': 'staple-correct'}")
    assert "staple-correct" in kept(shell)
    load_ipython_extension(shell)
    assert opskit.settings.env == (("TOKEN", "staple-correct"),)
    assert "staple-correct" not in kept(shell)


def test_a_mistake_in_ipythons_own_configuration_loads_nothing(shell: InteractiveShell) -> None:
    """It says where the setting stands."""
    shell.config["Opskit"] = Config({"fanuot": 5})
    with pytest.raises(SettingsError, match=r"^c\.Opskit in IPython's configuration: no setting is called 'fanuot'"):
        load_ipython_extension(shell)
    assert not names(shell, "line")
    assert not [found for found in shell.configurables if is_ours(found)]


def test_names_of_settings_complete_in_config(loaded: InteractiveShell) -> None:
    """By IPython's own means."""
    assert offered(loaded, "%config Opskit.parallelize_") == ["Opskit.parallelize_chunk"]


def test_setting_the_trait_is_configuring(loaded: InteractiveShell) -> None:
    """As code that has IPython's configurables does it."""
    configurable: Any = next(found for found in loaded.configurables if type(found).__name__ == "Opskit")
    configurable.fanout = 9
    assert opskit.settings.fanout == configurable.fanout == 9
    with pytest.raises(SettingsError):
        configurable.fanout = "many"
    assert opskit.settings.fanout == 9
