"""How an error shows itself in IPython: its message, its notes, and the user's own line."""

from __future__ import annotations

import asyncio
import linecache
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit.errors import give_notes, give_results, place_in
from opskit.masking import MASK

if TYPE_CHECKING:
    from pathlib import Path

CELL = "/tmp/ipykernel_4711/1234567.py"


@pytest.fixture
def names() -> dict[str, Any]:
    """The names of a notebook."""
    return {"__name__": "__main__", "opskit": opskit}


def run(source: str, names: dict[str, Any], file: str = CELL) -> None:
    """Run a cell as IPython does: under a name that is no file's, its text known to linecache."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), names)


def shown(source: str, names: dict[str, Any], file: str = CELL) -> list[str]:
    """What IPython shows of the error that a cell raises."""
    with pytest.raises(opskit.OpskitError) as caught:
        run(source, names, file)
    return caught.value._render_traceback_()


@pytest.mark.parametrize("file", [CELL, "<ipython-input-3-0123456789ab>"])
def test_the_cells_line_is_told(names: dict[str, Any], file: str) -> None:
    """Under the message, with its text, by kernels and by plain IPython."""
    assert shown("import opskit\n\nopskit.configure(fanout=0)\n", names, file) == [
        "SettingsError: configure(): fanout = 0 must be a whole number, 1 or more",
        "at line 3 of the cell: opskit.configure(fanout=0)",
    ]


def test_a_call_over_several_lines_is_told_by_its_first(names: dict[str, Any]) -> None:
    """Where Python says that it stands."""
    assert (
        shown("x = 1\nopskit.run(\n    'uptime',\n    chunk=0,\n)", names)[-1] == "at line 2 of the cell: opskit.run("
    )


def test_a_function_of_another_cell_is_named(names: dict[str, Any]) -> None:
    """A line's number alone would be looked for in the wrong cell."""
    run("def deploy():\n    opskit.configure(fanout=0)\n", names, "/tmp/ipykernel_4711/1.py")
    assert shown("deploy()", names)[-1] == "at line 2 of the cell that defines deploy(): opskit.configure(fanout=0)"


def test_a_module_of_the_users_is_named(names: dict[str, Any], tmp_path: Path) -> None:
    """By file and line."""
    module = tmp_path / "deploy.py"
    module.write_text("import opskit\n\ndef deploy():\n    opskit.configure(fanout=0)\n")
    names["deploy"] = {}
    exec(compile(module.read_text(), module, "exec"), names["deploy"])
    assert shown("deploy['deploy']()", names)[-1] == f"at {module}, line 4: opskit.configure(fanout=0)"


def test_libraries_in_between_are_not_the_users(names: dict[str, Any]) -> None:
    """A call that a thread makes stands where it was given to the thread."""
    source = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(1) as threads:\n"
        "    threads.submit(opskit.configure, fanout=0).result()\n"
    )
    assert shown(source, names)[-1] == ("at line 3 of the cell: threads.submit(opskit.configure, fanout=0).result()")


def test_a_magics_error_is_its_message_alone(names: dict[str, Any]) -> None:
    """The text of the cell is the user's code then, and the message names its line where there are several."""
    from opskit.notebook.cell import branches

    names["branches"] = branches
    assert len(shown("branches('when x: a\\nb')", names)) == 1


def test_notes_stand_between(names: dict[str, Any]) -> None:
    """What was added to an error on its way is part of it."""
    source = "try:\n    opskit.configure(fanout=0)\nexcept Exception as error:\n    error.add_note('a note')\n    raise"
    assert shown(source, names)[1:] == ["a note", "at line 2 of the cell: opskit.configure(fanout=0)"]


def test_an_error_that_was_never_raised_has_no_line() -> None:
    """Nor has one whose code can't be read a text."""
    assert opskit.PlanError("x")._render_traceback_() == ["PlanError: x"]
    names: dict[str, Any] = {"__name__": "__main__", "opskit": opskit}
    with pytest.raises(opskit.SettingsError) as caught:
        exec(compile("opskit.configure(fanout=0)", "<string>", "exec"), names)
    assert caught.value._render_traceback_()[1:] == ["at <string>, line 1"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, asyncio.CancelledError])
def test_an_interrupt_carries_results_and_is_shown_in_one_line(kind: type[BaseException]) -> None:
    """It stays what it is, also over a pickle."""
    interrupt = kind()
    give_results(interrupt, results := opskit.Results((opskit.HostResult("web1", None, "sleep 9", "cancelled"),)))
    both: list[Any] = [interrupt, pickle.loads(pickle.dumps(interrupt))]
    for caught in both:
        assert caught.results == results
        assert caught._render_traceback_() == [
            f"{kind.__name__}: the run was ended; the error's .results has what arrived"
        ]
        caught.add_note("a note, later")
        assert caught._render_traceback_()[1:] == ["a note, later"]
        assert type(caught) is kind


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_notes_are_without_secrets(kind: Any) -> None:
    """Also with errors that are none of ours; an interrupt shows what it was given before its rows, too."""
    error, text = kind(), f"password {opskit.secret('canary-5e1d').reveal()}"
    give_notes(error, [text, "two"])
    give_results(error, opskit.Results())
    assert error.__notes__ == [f"password {MASK}", "two"]
    error.add_note(text)
    assert error._render_traceback_()[1:] == [f"password {MASK}", "two", f"password {MASK}"]


def test_places_in_messages_are_told_alike() -> None:
    """A branch of a cell of Python stands on a line of the cell, too."""
    assert place_in(compile("x", CELL, "exec"), 3) == "line 3 of the cell"
    assert place_in(compile("x", "/srv/deploy.py", "exec"), 3) == "/srv/deploy.py, line 3"


def test_a_second_otherwise_in_a_cell_of_python_names_its_lines(names: dict[str, Any]) -> None:
    """B4: by the cell's lines, not by a kernel's files."""
    message = shown("with opskit.parallel() as s:\n    s.otherwise('a')\n    s.otherwise('b')", names)[0]
    assert "at line 2 of the cell and at line 3 of the cell" in message
