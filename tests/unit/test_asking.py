"""Questions to a person, and where there is none."""

from __future__ import annotations

import builtins
import getpass
import io
import sys
from types import ModuleType
from typing import Any

import pytest

from opskit.asking import ask, confirmed
from opskit.errors import PromptRefused


class Terminal(io.StringIO):
    """A terminal in which these lines are typed."""

    def isatty(self) -> bool:
        """It is one."""
        return True


class Kernel:
    """What a kernel puts in the place of `input` and `getpass` while a cell runs."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, bool]] = []

    def getpass(self, question: str) -> str:
        """Ask the front end, unseen."""
        return self._ask(question, hidden=True)

    def raw_input(self, question: str) -> str:
        """Ask the front end."""
        return self._ask(question, hidden=False)

    def _ask(self, question: str, *, hidden: bool) -> str:
        self.asked.append((question, hidden))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def runs_a_cell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin one."""
        monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", ModuleType("ipykernel.kernelapp"))
        monkeypatch.setattr(getpass, "getpass", self.getpass)
        monkeypatch.setattr(builtins, "input", self.raw_input)


def test_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is typed is the answer; what is hidden goes by getpass."""
    monkeypatch.setattr(sys, "stdin", Terminal("blue\n"))
    assert ask("Which? ", hidden=False, remedy="") == "blue"
    assert capsys.readouterr().out == "Which? "
    monkeypatch.setattr(getpass, "getpass", lambda question: f"unseen: {question}")
    assert ask("Which? ", hidden=True, remedy="") == "unseen: Which? "


def test_a_cell_is_asked_by_its_front_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook the kernel's own functions ask, though its standard input is no terminal."""
    kernel = Kernel("blue")
    kernel.runs_a_cell(monkeypatch)
    assert ask("Which? ", hidden=False, remedy="") == "blue"
    assert ask("Which? ", hidden=True, remedy="") == "blue"
    assert kernel.asked == [("Which? ", False), ("Which? ", True)]


class StdinNotImplementedError(RuntimeError):
    """A kernel's word for a front end that takes no input: papermill, nbconvert."""


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("why", [StdinNotImplementedError("no"), EOFError()])
def test_a_front_end_without_input_is_refused(why: Exception, monkeypatch: pytest.MonkeyPatch, *, hidden: bool) -> None:
    """Nobody is there under papermill and nbconvert: the error says what was asked and what to set."""
    Kernel(why).runs_a_cell(monkeypatch)
    with pytest.raises(PromptRefused) as caught:
        ask("Password of ops: ", hidden=hidden, remedy="set X")
    assert str(caught.value) == "nobody can answer here: Password of ops; set X"


def test_another_error_of_the_kernel_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the kernel's word for `no input` is a refusal."""
    Kernel(RuntimeError("socket closed")).runs_a_cell(monkeypatch)
    with pytest.raises(RuntimeError, match="socket closed"):
        ask("Which? ", hidden=False, remedy="")


def closed() -> io.StringIO:
    """A standard input that was closed."""
    stream = Terminal()
    stream.close()
    return stream


@pytest.mark.parametrize("stdin", [None, io.StringIO("y\n"), closed()])
def test_nobody_is_asked_without_a_terminal(stdin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cron, a pipe, a closed standard input: refused before anything is read."""
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("it was asked"))
    with pytest.raises(PromptRefused, match="nobody can answer here: Which; set X"):
        ask("Which: ", hidden=False, remedy="set X")


def test_a_kernel_between_cells_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the kernel was started from a terminal, which nobody looks at."""
    monkeypatch.setitem(sys.modules, "ipykernel.kernelapp", ModuleType("ipykernel.kernelapp"))
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    with pytest.raises(PromptRefused):
        ask("Which: ", hidden=False, remedy="")


def test_an_interrupt_while_asked_goes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at a question is an interrupt, no answer."""
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(builtins, "input", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ask("Which: ", hidden=False, remedy="")


@pytest.mark.parametrize(
    ("typed", "yes"),
    [("y", True), ("YES", True), (" yes ", True), ("", False), ("n", False), ("yep", False), ("1", False)],
)
def test_only_a_yes_is_a_yes(typed: str, monkeypatch: pytest.MonkeyPatch, *, yes: bool) -> None:
    """Return alone is a no."""
    kernel = Kernel(typed)
    kernel.runs_a_cell(monkeypatch)
    assert confirmed("the plan\nRun this?", remedy="") is yes
    assert kernel.asked == [("the plan\nRun this? [y/N]: ", False)]


def test_a_long_question_is_refused_by_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan above a question is not told again."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(PromptRefused) as caught:
        confirmed("the plan\nRun this?", remedy="set OPSKIT_YES=1")
    assert str(caught.value) == "nobody can answer here: Run this? [y/N]; set OPSKIT_YES=1"
