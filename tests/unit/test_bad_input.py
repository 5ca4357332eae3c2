"""Bad input, row by row of the design's table: the right error, what it says, and nobody was dialled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import opskit
from opskit import shared
from opskit.fleet.readers import executable
from opskit.notebook import load_ipython_extension
from opskit.testing import ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Cell = Callable[[str], tuple[BaseException, str]]

FLEET = opskit.Inventory(
    [
        opskit.Host("app1", roles={"app"}),
        opskit.Host("both", roles={"app", "web"}),
        opskit.Host("web7", roles={"web"}),
    ]
)


@pytest.fixture(autouse=True)
def nobody_is_dialled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test ends without a connection having been opened."""
    transport = ScriptedTransport()
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    with opskit.use(FLEET):
        yield
    assert not transport.dialled
    assert not transport.sent


@pytest.fixture(scope="module")
def shell() -> InteractiveShell:
    """A plain IPython with the magics."""
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    load_ipython_extension(shell)
    return shell


@pytest.fixture
def cell(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Cell:
    """Run a cell that fails: its error, and what it shows."""

    def run(source: str) -> tuple[BaseException, str]:
        outcome = shell.run_cell(source)
        error = outcome.error_before_exec or outcome.error_in_exec
        assert error is not None
        text = capsys.readouterr().out
        assert len(text.splitlines()) <= 8
        assert "Traceback" not in text
        return error, text

    return run


def raised(kind: type[opskit.OpskitError], call: Callable[[], object]) -> str:
    """What the error of exactly this class says."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return str(caught.value)


def routed(condition: Any, command: str = "uptime", **options: Any) -> Callable[[], object]:
    """A `parallel` with one branch."""

    def call() -> None:
        with opskit.parallel(**options) as block:
            block.when(condition, command)

    return call


def test_b1_no_host_matched() -> None:
    """B1: the selection, the number of hosts, the roles there are."""
    message = raised(opskit.NoMatchingHosts, lambda: opskit.run("uptime", roles="app", only={"dc": "ams"}))
    for words in ("none of 3 hosts", "roles=app", "only={'dc': 'ams'}", "known roles: app, web"):
        assert words in message


def test_b2_an_unknown_role() -> None:
    """B2: the word, and the near one."""
    with pytest.raises(opskit.InventoryError, match=r"'wbe'.*did you mean 'web'"):
        opskit.run("uptime", roles="wbe")


def test_b3_no_branch(cell: Cell) -> None:
    """B3: nothing to run, and how a branch looks."""

    def call() -> None:
        with opskit.parallel():
            pass

    message = raised(opskit.PlanError, call)
    assert "nothing to run" in message
    assert 'when("in_(' in message
    error, text = cell("%%parallel\n\n")
    assert type(error) is opskit.PlanError
    assert "nothing to run" in text
    assert "when in_('app')" in text
    error, text = cell("%parallel -r web")
    assert "there is no command" in text


def test_b4_otherwise_twice(cell: Cell) -> None:
    """B4: both lines."""

    def call() -> None:
        with opskit.parallel() as block:
            block.otherwise("a")
            block.otherwise("b")

    message = raised(opskit.PlanError, call)
    line = call.__code__.co_firstlineno
    assert f"test_bad_input.py, line {line + 2} and" in message
    assert f"test_bad_input.py, line {line + 3}:" in message
    error, text = cell("%%parallel\nelse: a\nwhen x: b\nelse:\n  c")
    assert type(error) is opskit.PlanError
    assert "at line 2 of the cell and at line 4 of the cell" in text


def test_b5_a_condition_with_a_mistake(cell: Cell) -> None:
    """B5: the text with a caret, and the line."""
    message = raised(opskit.ConditionError, routed("in_('app') andd x"))
    assert "    in_('app') andd x\n" in message
    assert "^" in message.splitlines()[-1]
    error, text = cell("%%parallel\nwhen in_('app'): a\n\nwhen in_('web')): b\n")
    assert type(error) is opskit.ConditionError
    assert "(line 4 of the cell)" in text
    assert "    in_('web'))\n              ^" in text


def test_b6_a_condition_that_raises(cell: Cell) -> None:
    """B6: condition, host, cause; on the first host that it raises on."""
    message = raised(opskit.ConditionError, routed("1 / (server.name != 'web7')", chunk=1))
    for words in ("`1 / (server.name != 'web7')`", "web7", "ZeroDivisionError: division by zero"):
        assert words in message

    def picky(server: opskit.Host) -> bool:
        return bool(server.vars.dc)

    assert "`picky`" in raised(opskit.ConditionError, routed(picky))
    error, text = cell("%%parallel\nwhen server.nmae: a")
    assert type(error) is opskit.ConditionError
    assert "(line 2 of the cell) failed on app1: AttributeError" in text
    assert "did you mean 'name'" in text


async def coroutine(server: opskit.Host) -> bool:
    """A condition that would have to be awaited."""
    return bool(server)


@pytest.mark.parametrize(
    ("condition", "kind"),
    [(lambda _: np.array([True, False]), "ndarray"), (lambda _: float("nan"), "nan"), (coroutine, "coroutine")],
)
def test_b7_a_condition_that_gives_no_truth(condition: Any, kind: str) -> None:
    """B7: what it gave, and what it must."""
    message = raised(opskit.ConditionError, routed(condition))
    assert kind in message
    assert "must be true or false" in message


def test_b8_a_template_with_a_mistake(cell: Cell) -> None:
    """B8: of an undefined name the near ones; of a mistake line and column; of one host's values that host."""
    release = "v42"
    message = raised(
        opskit.TemplateError, lambda: opskit.run(f"echo {{{{ relase }}}} {release}", variables={"release": 1})
    )
    assert "'relase' is not defined; did you mean 'release'" in message
    message = raised(opskit.TemplateError, lambda: opskit.run("uptime\necho {{ a b }}"))
    assert "line 2, column 6" in message
    message = raised(opskit.TemplateError, lambda: opskit.run("echo {{ server.vars.dc }}"))
    assert "app1" in message
    error, text = cell("%%parallel\nelse:\n    uptime\n    echo {{ server.nmae }}")
    assert type(error) is opskit.TemplateError
    for words in ("server.nmae", "app1", "did you mean 'name'", "line 2 of the cell"):
        assert words in text


@pytest.mark.parametrize("command", ["", "  \n ", "{{ '' | raw }}"])
def test_b11_an_empty_command(command: str) -> None:
    """B11: with the branch."""
    assert "when in_('web'): the command is empty" in raised(opskit.PlanError, routed("in_('web')", command))
    assert "the command is empty" in raised(opskit.PlanError, lambda: opskit.run(command))


def test_b11_a_branch_without_a_command(cell: Cell) -> None:
    """B11: with its line."""
    error, text = cell("%%parallel\nwhen in_('app'):\n  timeout: 5\nelse: a")
    assert type(error) is opskit.PlanError
    assert "line 2 of the cell: the branch has no command" in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.ini", "[a]\nh\n[a:children]\nb\n[b:children]\na\n"),
        ("a.yaml", "a:\n  hosts: {h: }\n  children:\n    b:\n      children:\n        a:\n"),
        ("a.json", '{"a": {"hosts": ["h"], "children": ["b"]}, "b":\n\n\n\n\n{"children": ["a"]}}'),
    ],
)
def test_b16_a_cycle_of_groups(tmp_path: Path, name: str, text: str) -> None:
    """B16: the cycle, and the line where it closes; whatever the format, and nothing is in use then."""
    (tmp_path / name).write_text(text)
    message = raised(opskit.InventoryError, lambda: opskit.use(tmp_path / name))
    assert f"{name}:6: " in message
    assert message.endswith("a > b > a")


@pytest.mark.parametrize("vars_of", ["hosts: {h: {vars: {x: %s}}}", "all: {hosts: {h: {x: %s}}}"])
def test_b17_bad_yaml(tmp_path: Path, cell: Cell, vars_of: str) -> None:
    """B17: a tag that makes objects, and aliases without bound: the line, and what is not allowed or the limit."""
    file = tmp_path / "hosts.yaml"
    file.write_text("\n" + vars_of % "!!python/object/apply:os.abort []")
    message = raised(opskit.InventoryError, lambda: opskit.load_inventory(file))
    assert "hosts.yaml:2: the tag !!python/object/apply:os.abort is not allowed" in message
    bomb = "x"
    for level in range(8):
        bomb = f"[&l{level} {bomb}, {', '.join([f'*l{level}'] * 9)}]"
    file.write_text(vars_of % bomb)
    error, text = cell(f"%opskit use {file}")
    assert type(error) is opskit.InventoryError
    assert "hosts.yaml:1: not allowed" in text
    assert "more than 2,000,000 values" in text


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo no access >&2; exit 1", "exit code 1; last line of stderr: no access"),
        ("echo oops; echo odd >&2", "not JSON: Expecting value (column 1); exit code 0; last line of stderr: odd"),
        (
            "echo waiting >&2; exec sleep 1000",
            "took longer than 1 seconds and was ended; last line of stderr: waiting",
        ),
    ],
)
def test_b21_an_executable_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: Cell, script: str, says: str
) -> None:
    """B21: command, exit code and last line of stderr, or the timeout; hung ones are ended."""
    if "sleep" in script:
        monkeypatch.setattr(executable, "TIMEOUT", 1)
    file = tmp_path / "fleet.py"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    error, text = cell(f"%opskit use {file}")
    assert type(error) is opskit.InventoryError
    assert f"`{file} --list`" in text
    assert says in text


def test_b23_an_unknown_option(cell: Cell) -> None:
    """B23: the near one, wherever options can stand."""
    near = "did you mean 'chunk'?"
    assert near in raised(opskit.PlanError, lambda: opskit.run("uptime", chunks=3))  # type: ignore[call-overload]
    assert near in raised(opskit.PlanError, lambda: opskit.parallel(chunks=3))  # type: ignore[call-arg]
    assert "did you mean 'timeout'?" in raised(opskit.PlanError, lambda: routed_with(timout=3))
    error, text = cell("%%parallel\nwhen in_('app'): a\n  timout: 3")
    assert type(error) is opskit.PlanError
    assert "line 3 of the cell" in text
    assert "did you mean 'timeout'?" in text


def routed_with(**options: Any) -> None:
    """A `when` with these options."""
    with opskit.parallel() as block:
        block.when("True", "a", **options)


@pytest.mark.parametrize("value", [0, -1, "x%", "0%", [], float("nan"), True])
def test_b24_a_bad_chunk(value: Any) -> None:
    """B24: the value and what is allowed."""
    message = raised(opskit.PlanError, lambda: opskit.run("uptime", chunk=value))
    assert f"chunk={value!r} must " in message
    assert "whole number, 1 or more" in message or "empty list" in message


@pytest.mark.parametrize("value", [0, -1, "abc", float("inf")])
def test_b25_a_bad_timeout(value: Any) -> None:
    """B25: the value, and None for none; of a run, and of a branch."""
    for call in (lambda: opskit.run("uptime", timeout=value), lambda: routed_with(timeout=value)):
        message = raised(opskit.PlanError, call)
        assert f"timeout={value!r} must be " in message
        assert "use None for no limit" in message


def test_b25_a_bad_timeout_in_a_cell(cell: Cell) -> None:
    """B25: the line is told too."""
    error, text = cell("%%parallel\nwhen in_('app'): a\nelse: b\n  timeout: soon")
    assert type(error) is opskit.PlanError
    assert "timeout='soon' must be a number; use None for no limit" in text
    assert "line 3 of the cell" in text


@pytest.mark.parametrize(("option", "value"), [("max_failures", "200%"), ("on_error", "ignore")])
def test_b26_a_bad_stop_rule(option: str, value: str) -> None:
    """B26: the value and what is allowed."""
    options: dict[str, Any] = {option: value}
    message = raised(opskit.PlanError, lambda: opskit.run("uptime", **options))
    assert f"{option}={value!r} must be " in message
    assert "a percentage" in message or "'continue'" in message


@pytest.mark.parametrize("key", ["A=B", "A B", "A\0"])
def test_b28_a_bad_name_in_the_environment(key: str) -> None:
    """B28: the name."""
    for call in (lambda: opskit.run("uptime", env={key: "x"}), lambda: routed_with(env={key: "x"})):
        assert f"has the name {key!r}" in raised(opskit.PlanError, call)


def test_b29_a_bad_setting(monkeypatch: pytest.MonkeyPatch, cell: Cell) -> None:
    """B29: a run with a bad setting does not begin; where it came from is told (files: test_settings.py)."""
    monkeypatch.setenv("OPSKIT_FANOUT", "0")
    for call in (lambda: opskit.run("uptime"), opskit.parallel):
        assert "environment variable OPSKIT_FANOUT: fanout = '0' must" in raised(opskit.SettingsError, call)
    monkeypatch.delenv("OPSKIT_FANOUT")
    error, text = cell("import opskit\n\nopskit.configure(fanuot=5)")
    assert type(error) is opskit.SettingsError
    assert "did you mean 'fanout'" in text
    assert text.endswith("at line 3 of the cell: opskit.configure(fanuot=5)\n")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("%parallel --rolse web uptime", "no flag is called '--rolse'; did you mean '--roles'"),
        ("%parallel -r 'web uptime", "a quote is not closed: 'web uptime"),
        ("%%parallel --chunks 5\nuptime", "no flag is called '--chunks'; did you mean '--chunk'"),
        ("%%parallel -r web uptime\nuptime", "%%parallel? shows all flags"),
        ("%%parallel\nwhen x:\n\ta\n    b", "line 4 of the cell: it is indented differently"),
        ("%opskit flet up", "there is no 'flet'; did you mean 'fleet'?"),
        ("%opskit fleet up many", "write `%opskit fleet up 8`"),
        ("%opskit fleet up ²", "write `%opskit fleet up 8`"),
        ("%opskit fleet down 3", "`%opskit fleet down`"),
        ("%opskit use", "name an inventory's file"),
        ("%%parallel\nOtherwise: a", "line 2 of the cell: `Otherwise` begins no branch"),
        ("x = 5\n%opskit use x", "x is a variable of type int, and no inventory"),
        ("%%parallel\nwhen in_('app'): a\n  last: maybe", "line 2 of the cell: `last: maybe`: write true or false"),
    ],
)
def test_b33_a_bad_magic(cell: Cell, source: str, says: str) -> None:
    """B33: line, usage, near flag."""
    error, text = cell(source)
    assert type(error) is opskit.PlanError
    assert says in text


def test_b33_a_bad_count_of_hosts(cell: Cell) -> None:
    """B33: says how many there can be."""
    error, text = cell("%opskit fleet up 501")
    assert type(error) is opskit.SettingsError
    assert "an embedded fleet has 1 to 500 hosts" in text
