"""Progress drawn: counts, symbols, hostile output made harmless, nothing for a moment, and at the same cost always."""

from __future__ import annotations

import io
import sys
import time
from typing import TYPE_CHECKING, Any

import IPython
import pytest
from rich.console import Console

from opskit import Host, HostResult, Inventory, Results, events, views
from opskit.fleet.names import Names
from opskit.progress import ChunkProgress, Progress
from opskit.settings import Settings
from opskit.views import notebook, terminal
from opskit.views.moment import shown_chunks
from opskit.work.draft import Draft
from tests.elements import Elements

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.results import Status

EVIL = "<img src=x onerror=alert(1)></div>\x1b]0;title\x07\x1b[2J\u202e$a$\r\nsecond"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Shown:
    """What a notebook was told to display, and then to show in its place."""

    def __init__(self) -> None:
        self.first: list[dict[str, str]] = []
        self.updates: list[dict[str, str]] = []

    def display(self, data: dict[str, str], **_: Any) -> Shown:
        """Take what is displayed."""
        self.first.append(data)
        return self

    def update(self, data: dict[str, str], **_: Any) -> None:
        """Take what is shown in its place."""
        self.updates.append(data)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The views' clock."""
    clock = Clock()
    monkeypatch.setattr(notebook, "monotonic", clock)
    monkeypatch.setattr(terminal, "monotonic", clock)
    return clock


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """What the notebook's view displays."""
    shown = Shown()
    monkeypatch.setattr("IPython.display.display", shown.display)
    return shown


def progress(hosts: int = 4, *, started: int = 0, ended: tuple[Status, ...] = (), **options: Any) -> Progress:
    """How far a run is of which so many steps have started, and the first ones of them have ended like this."""
    draft = Draft(options, Settings(), "run")
    draft.everywhere("uptime", Names({}, {}, {}, None), "")
    plan = draft.plan(lambda: Inventory(Host(f"web{number}") for number in range(1, hosts + 1)))
    found = Progress()
    found.apply(events.RunStarted(plan))
    for step in plan.steps[:started]:
        found.apply(events.StepStarted(step))
    for step, status in zip(plan.steps, ended, strict=False):
        found.apply(events.StepEnded(step, HostResult(step.host.name, None, "uptime", status, chunk=step.chunk)))
    return found


def told(found: Progress, *lines: str) -> Progress:
    """The same, with lines that a host printed."""
    draft = Draft({}, Settings(), "run")
    draft.everywhere("uptime", Names({}, {}, {}, None), "")
    step = draft.plan(lambda: Inventory([Host("web1")])).steps[0]
    for line in lines:
        found.apply(events.Output(step, "stdout", line))
    return found


def on_a_page(found: Progress, seconds: float = 12.3) -> str:
    """The text of the notebook's view."""
    return Elements(notebook.drawn(found, seconds)).text


def in_a_terminal(found: Progress, seconds: float = 12.3) -> str:
    """The text of the terminal's view."""
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(terminal.drawn(found, seconds))
    return captured.get()


BOTH = pytest.mark.parametrize("drawn", [on_a_page, in_a_terminal])


@BOTH
def test_counts_are_told_with_symbol_and_word(drawn: Callable[[Progress], str]) -> None:
    """Each status that there is, failures first; then what runs and what is left; and how long it has been."""
    text = drawn(progress(9, started=7, ended=("ok", "ok", "failed", "unreachable")))
    places = [text.index(words) for words in ("✘ 1 failed", "⌀ 1 unreachable", "✔ 2 ok", "3 running", "2 left", "12 s")]
    assert places == sorted(places)
    assert "chunk 1/1" in text
    assert "timeout" not in text


@BOTH
def test_the_runs_name_is_shown(drawn: Callable[[Progress], str]) -> None:
    """Where it has one."""
    assert "deploy v42" in drawn(progress(name="deploy v42"))


@BOTH
def test_a_chunk_is_shown_while_its_connections_are_made(drawn: Callable[[Progress], str]) -> None:
    """Before any command runs, and between two chunks, one sees what is waited for."""
    assert "chunk 1/2" in (text := drawn(progress(4, chunk=2)))
    assert "0 running" in text
    assert "2 left" in text
    between = progress(4, started=2, ended=("ok", "ok"), chunk=2)
    assert "chunk 2/2" not in drawn(between)
    between.apply(events.ChunkEnded(1, good=True))
    assert "chunk 2/2" in drawn(between)


def test_chunks_that_never_began_are_not_shown_in_the_end() -> None:
    """The run was stopped: nothing is waited for."""
    found = progress(4, started=2, ended=("ok", "failed"), chunk=2)
    found.apply(events.ChunkEnded(1, good=False))
    found.apply(events.RunEnded(Results(())))
    assert [number for number, _ in shown_chunks(found)] == [1]
    assert "running" not in on_a_page(found)


def test_nothing_is_known_before_the_run_has_started() -> None:
    """A view may be painted at any time."""
    assert shown_chunks(Progress()) == []
    assert on_a_page(Progress()) == in_a_terminal(Progress()).strip() == "12 s"


def test_of_many_chunks_the_last_ones_are_shown() -> None:
    """With a word of the others."""
    found = progress(20, started=12, ended=("ok",) * 11, chunk=1)
    for number in range(1, 12):
        found.apply(events.ChunkEnded(number, good=True))
    assert [number for number, _ in shown_chunks(found)] == list(range(5, 13))
    assert on_a_page(found).startswith("4 earlier chunks endedchunk 5/20")


@BOTH
def test_hostile_text_is_shown_as_text(drawn: Callable[[Progress], str]) -> None:
    """S1, S2: what hosts print, and what a run is called, brings neither markup nor commands for the terminal."""
    text = drawn(told(progress(name=EVIL), EVIL))
    assert text.count("<img src=x onerror=alert(1)></div>") == 2
    assert "\x1b]" not in text
    assert not {"\x07", "\u202e", "\r"}.intersection(text)
    assert "\x1b[2J" not in text


def test_hostile_text_brings_no_element_into_a_page() -> None:
    """S1: nothing but what the view itself draws with."""
    page = Elements(notebook.drawn(told(progress(started=1, name=EVIL), EVIL), 1))
    assert page.tags == {"div", "span"}


@BOTH
def test_the_last_lines_of_output_are_shown_while_it_runs(drawn: Callable[[Progress], str]) -> None:
    """Each with its host, on one line, cut."""
    text = drawn(told(progress(), *(f"line {number}" for number in range(9)), "x" * 1000))
    assert "line 3" not in text
    assert "line 8" in text
    assert "web1" in text
    assert "x" * 200 not in text


def test_lines_of_output_go_when_the_run_has_ended() -> None:
    """They are in the results then."""
    found = told(progress(), "line 1")
    found.apply(events.RunEnded(Results(())))
    assert "line 1" not in on_a_page(found)


def test_a_short_run_shows_nothing_in_a_notebook(clock: Clock, shown: Shown) -> None:
    """What ends within a moment needs no progress."""
    view = notebook.NotebookView()
    for _ in range(6):
        view.paint(progress())
        clock.now += 0.1
    view.close(progress())
    assert shown.first == shown.updates == []


def test_a_longer_run_is_one_display_updated_in_place(clock: Clock, shown: Shown) -> None:
    """It comes after a moment, is painted some times a second, and shows the end."""
    view = notebook.NotebookView()
    for _ in range(20):
        clock.now += 0.1
        view.paint(progress(started=2))
    assert len(shown.first) == 1
    assert len(shown.updates) in (4, 5)
    view.close(progress(started=4, ended=("ok",) * 4))
    assert "✔ 4 ok" in Elements(shown.updates[-1]["text/html"]).text
    assert [data["text/plain"] for data in shown.first] == [""]


def test_a_short_run_shows_nothing_in_a_terminal(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a character."""
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    view = terminal.TerminalView()
    clock.now += 0.6
    view.paint(progress())
    view.close(progress())
    assert stream.getvalue() == ""


def test_a_longer_run_is_drawn_on_standard_error(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars are painted after a moment."""
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    view = terminal.TerminalView()
    clock.now += 0.8
    view.paint(progress(started=2))
    view.close(progress())
    assert "2 running" in stream.getvalue()


@pytest.mark.parametrize("draw", [notebook.drawn, terminal.drawn], ids=["notebook", "terminal"])
def test_drawing_costs_the_same_at_any_number_of_hosts(draw: Callable[[Progress, float], object]) -> None:
    """Neither hosts nor chunks are gone through; the run here has ten thousand of each."""

    def cost(hosts: int) -> float:
        found = Progress(chunks=[ChunkProgress(1, over=True) for _ in range(hosts)])
        for chunk in found.chunks[: hosts // 2]:
            chunk.ended["ok"] = 1
        return min(_seconds(lambda: draw(found, 1)) for _ in range(20))

    assert cost(100_000) < 5 * cost(100)


def _seconds(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


class Kernel:
    """A shell of IPython, with a kernel or without."""

    def __init__(self, kernel: object) -> None:
        self.kernel = kernel


def test_the_view_fits_where_the_caller_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel has the notebook's; else a terminal has bars, and what is no terminal nothing."""
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    assert isinstance(views.choose(), views.Silent)
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert isinstance(views.choose(), terminal.TerminalView)
    monkeypatch.setattr(IPython, "get_ipython", lambda: Kernel(None))
    assert isinstance(views.choose(), terminal.TerminalView)
    monkeypatch.setattr(IPython, "get_ipython", lambda: Kernel(object()))
    assert isinstance(views.choose(), notebook.NotebookView)
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert isinstance(views.choose(), views.Silent)


def test_silence_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it is given."""
    views.Silent().paint(progress())
    views.Silent().close(progress())
    assert capsys.readouterr() == ("", "")
