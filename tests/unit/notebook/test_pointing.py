"""Errors of magics: the line of the cell, in the cell's own numbers, shown; and no traceback from inside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import opskit
from opskit import shared
from opskit.errors import PlanError
from opskit.notebook import load_ipython_extension
from opskit.notebook.cell import branches
from opskit.notebook.pointing import Pointer
from opskit.testing import Reply, ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Shown = Callable[[str], list[str]]

FLEET = opskit.Inventory([opskit.Host("app1", roles={"app"}), opskit.Host("web7", roles={"web"})])


@pytest.fixture(autouse=True)
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hosts that answer from a script."""
    transport = ScriptedTransport(lambda _, command: Reply(exit_code=3 if command == "false" else 0))
    monkeypatch.setattr(shared, "transport", lambda *_: transport)
    with opskit.use(FLEET):
        yield


@pytest.fixture(scope="module")
def shell() -> InteractiveShell:
    """A plain IPython with the magics."""
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}), colors="nocolor")
    load_ipython_extension(shell)
    return shell


@pytest.fixture
def shown(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> Shown:
    """Run a cell that fails: the lines of its error."""

    def run(source: str) -> list[str]:
        assert shell.run_cell(source).error_in_exec is not None
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize(
    ("source", "says", "numbers"),
    [
        ("%%parallel --rolse web\nuptime", "did you mean '--roles'", [1]),
        ("%%parallel --timeout soon\nuptime", "timeout='soon' must be a number", [1]),
        ("%%parallel -r wbe\nuptime", "did you mean 'web'", [1]),
        ("%%parallel -w web[1-\nuptime", "this bracket has no partner", [1]),
        ("%%parallel --bg\nuptime", "--bg needs --out NAME", [1]),
        ("%%parallel --check 'x {{ wrod }}'\nuptime", "`{{ wrod }}` (line 1 of the cell)", [1]),
        ("%%parallel --undo 'x {{ wrod }}'\nelse: a", "`{{ wrod }}` (its undo, line 1 of the cell)", [1, 2]),
        ("%%parallel\nwhen server.nmae: a", "(line 2 of the cell) failed on app1: AttributeError", [2]),
        ("%%parallel\nwhen x: a\nwhen 1 / 0: b", "failed on app1: ", [2]),
        ("%%parallel\nwhen in_('app'): a\nwhen 1 / 0: b", "(line 3 of the cell) failed on app1: ZeroDivision", [3]),
        ("%%parallel\nwhen not in_( app ): a", "'app' is not defined; a role stands in quotes: in_('app')", [2]),
        ("%%parallel\nwhen lambda s: s: a", "a function that was not called", [2]),
        ("%%parallel\nwhen in_('app'):\nelse: a", "the branch has no command", [2]),
        ("%%parallel\nelse: a\nelse: b", "two `otherwise` branches", [2, 3]),
        ("%%parallel\nwhen in_('app'): a\n  timeout: soon", "timeout='soon' must be a number", [2, 3]),
        ("%%parallel\nwhen in_('app'): a\n  env: A B", "env has word 1 without '='", [2, 3]),
        ("%%parallel\nwhen in_('app'): a\n  last: maybe", "`last: maybe`: write true or false", [2, 3]),
        ("%%parallel\nelse: a\n  last: true", "`last` is for a `when`", [2, 3]),
        ("%%parallel\nelse: a\n  undo_once: true", "undo_once is about an undo", [2]),
        ("%%parallel\nelse:\n  undo: b {{ wrod }}\n  a", "`{{ wrod }}` (its undo, line 3 of the cell)", [2, 3]),
        ("%%parallel\nelse:\n\n  a\n# b\n  c {{ wrod }}", "`{{ wrod }}` (line 6 of the cell)", [2, 6]),
        ("%%parallel\nelse:\n  a\n  {{ server.nmae }}", "(line 4 of the cell) can't be filled in for app1", [2, 4]),
        ("%%parallel\n\n\na\n  b {{ wrod }}", "`{{ wrod }}` (line 5 of the cell)", [4, 5]),
        ("%%parallel\nuptime\nwhen in_('app'): a", "`uptime` belongs to no branch", [2]),
    ],
)
def test_an_error_shows_the_lines_of_the_cell(shown: Shown, source: str, says: str, numbers: list[int]) -> None:
    """B5, B6, B8, B23, B33: below the message each line that it is about, by its number; a branch's with its head."""
    lines = shown(source)
    assert says in lines[0]
    cell = source.split("\n")
    assert lines[-len(numbers) :] == [f"line {number} of the cell: {cell[number - 1].strip()}" for number in numbers]
    assert not any("Traceback" in line or "opskit/" in line for line in lines)


def test_what_every_notebook_has_is_not_what_was_meant(shown: Shown) -> None:
    """Neither a template's nor a flag's unknown name is answered with the names of IPython's own."""
    for source in ("%%parallel\necho {{ zzqq }}", "%%parallel\necho {{ get_ipython_ }}", "%parallel -w $zzqq a"):
        message = shown(source)[0]
        assert "zzqq" in message or "get_ipython_'" in message
        assert not {"In", "Out", "exit", "get_ipython"} & {*re.findall(r"\w+", message)}


def test_a_line_that_the_message_shows_is_not_shown_twice(shown: Shown) -> None:
    """As with the caret under a mistake."""
    assert shown("%%parallel\nwhen in_('app')): a") == [
        "ConditionError: this is no condition (line 2 of the cell): unmatched ')'",
        "    in_('app'))",
        "              ^",
    ]


def test_without_flags_there_is_no_first_line_to_show(shown: Shown) -> None:
    """An error of what is nowhere in the cell shows none of it."""
    with opskit.use(opskit.Inventory(())):
        assert shown("%%parallel\nuptime") == ["NoMatchingHosts: the inventory has no hosts"]


def test_how_a_run_ended_is_no_mistake_in_a_line(shown: Shown) -> None:
    """Rows that failed show no line of the cell."""
    lines = shown("%%parallel -r app\nfalse")
    assert any(line.startswith("CommandError: ") for line in lines), lines
    assert not any("of the cell" in line for line in lines)


@pytest.mark.parametrize(
    "magic",
    ["%parallel --rolse web uptime", "%opskit flet up 3", "%opskit use nowhere.yaml", "x = %parallel -w web9 a"],
)
def test_a_line_magic_in_a_longer_cell_says_where_it_stands(shown: Shown, magic: str) -> None:
    """With its text; alone in its cell it need not."""
    text = magic.removeprefix("x = ")
    assert shown(f"y = 1\n\n{magic}")[-1] == f"at line 3 of the cell: {text}"
    assert shown(f"def f():\n    {magic}\n\nf()")[-1] == f"at line 2 of the cell that defines f(): {text}"
    assert not any("of the cell" in line for line in shown(magic))


def test_an_interrupt_shows_no_traceback_from_inside(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that comes before anything has run."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("opskit.session.execute", interrupted)
    monkeypatch.setattr("opskit.in_use.use", interrupted)
    for source in ("%parallel uptime", "%%parallel\nuptime", "%opskit use hosts.yaml"):
        outcome = shell.run_cell(source)
        assert type(outcome.error_in_exec) is KeyboardInterrupt
        assert capsys.readouterr().out.strip() == "KeyboardInterrupt"


def test_a_secret_is_in_none_of_the_lines(shown: Shown) -> None:
    """They are masked as messages are."""
    opskit.secret("horse-battery")
    last = shown("%%parallel --rolse --name horse-battery\na")[-1]
    assert last == "line 1 of the cell: %%parallel --rolse --name ********"


def test_what_looks_like_a_line_but_is_none_is_left_alone() -> None:
    """Names and texts come from anywhere."""
    pointer = Pointer("%%parallel\nelse: a")
    pointer.branches = branches("else: a") or ()
    text = "line 9 of the cell, line 0 of the cell, line 99999999 of the cell, line 7, column 1, line 2 of the cell"
    with pytest.raises(PlanError) as caught, pointer.pointing():
        raise PlanError(text)
    assert caught.value.__notes__ == ["line 2 of the cell: else: a"]
    with pytest.raises(PlanError) as caught, pointer.pointing():
        raise PlanError("line 1 of the cell that defines f()")
    assert not hasattr(caught.value, "__notes__")


FILLER = st.lists(st.sampled_from(["", "# a note", "  echo a", "    echo b", "  # kept"]), max_size=5)


@given(before=st.lists(st.sampled_from(["", "# a"])), options=FILLER, above=FILLER, below=FILLER)
def test_a_mistake_is_told_by_its_own_line_wherever_it_stands(
    before: list[str], options: list[str], above: list[str], below: list[str]
) -> None:
    """Whatever stands around it."""
    first = [line for line in options if not line.startswith(" ")]
    lines = [*before, "else:", "  timeout: 5", *first, "  first", *above, "  WRONG", *below]
    body = "\n".join(lines)
    pointer = Pointer(f"%%parallel\n{body}")
    (branch,) = pointer.branches = branches(body) or []
    within = branch.command.split("\n").index("WRONG") + 1
    with pytest.raises(PlanError) as caught, pointer.pointing():
        raise PlanError(f"it (line {within}, column 1, line {branch.line} of the cell) is wrong")
    assert str(caught.value) == f"it (line {lines.index('  WRONG') + 2} of the cell) is wrong"
