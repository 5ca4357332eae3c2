"""Progress drawn: counts, symbols, hostile output made harmless, nothing invented, and at the same cost always."""

from __future__ import annotations

import io
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import IPython
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from opskit import Host, HostResult, Inventory, Results, events, masking, views
from opskit.fleet.names import Names
from opskit.progress import MOST_CELLS, Cell, ChunkProgress, Progress, WorkProgress
from opskit.rendering.escape import css_string
from opskit.settings import Settings
from opskit.showing import Alike, Outlook, Shown, Tail
from opskit.views import account, markup, notebook, terminal
from opskit.views.figures import last_lines, shown_chunks
from opskit.work.draft import Draft
from tests.elements import Elements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opskit.results import Status

EVIL = "<img src=x onerror=alert(1)></div>\x1b]0;title\x07\x1b[2J\u202e$a$\r\nsecond"


def progress(
    hosts: int = 4, *, command: str = "uptime", started: int = 0, ended: tuple[Status, ...] = (), **options: Any
) -> Progress:
    """How far a run is of which so many steps have started, and the first ones of them have ended like this."""
    draft = Draft(options, Settings(), "run")
    draft.everywhere(command, Names({}, {}, {}, None), "")
    plan = draft.plan(lambda: Inventory(Host(f"web{number}") for number in range(1, hosts + 1)))
    found = Progress()
    found.apply(events.RunStarted(plan))
    for step in plan.steps[:started]:
        found.apply(events.StepStarted(step))
    for step, status in zip(plan.steps, ended, strict=False):
        found.apply(events.StepEnded(step, HostResult(step.host.name, None, "uptime", status, chunk=step.chunk)))
    return found


def shown(found: Progress, tails: Sequence[Tail] = (), **more: Any) -> Shown:
    """What a view is given of a run."""
    nothing: dict[str, Any] = {"results": Results, "outlook": lambda: Outlook("running"), "rollback": None}
    nothing |= {"cancel": lambda hosts: None, "tails": lambda hosts: tails}
    return Shown(found, "01TX", **nothing | more)


def on_a_page(what: Shown, seconds: float = 12.3) -> str:
    """The text of the notebook's view."""
    parts = what.works()
    return Elements(account.as_html(what, seconds, parts, None)).text


def in_a_terminal(what: Shown, seconds: float = 12.3, width: int = 200) -> str:
    """The text of the terminal's view."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(terminal.drawn(what, seconds, console.width))
    return captured.get()


BOTH = pytest.mark.parametrize("drawn", [on_a_page, in_a_terminal])


@BOTH
def test_counts_are_told_with_symbol_and_word(drawn: Callable[[Shown], str]) -> None:
    """Each status that there is, failures first; then what runs and what is left; and how long it has been."""
    text = drawn(shown(progress(9, started=7, ended=("ok", "ok", "failed", "unreachable"))))
    places = [text.index(words) for words in ("✘ 1 failed", "⌀ 1 unreachable", "✔ 2 ok", "3 running", "2 left")]
    assert places == sorted(places)
    assert "chunk 1/1" in text
    assert "12 s, about 15 s left" in text
    assert "timeout" not in text


@BOTH
def test_the_runs_name_is_shown(drawn: Callable[[Shown], str]) -> None:
    """Where it has one."""
    assert "deploy v42" in drawn(shown(progress(name="deploy v42")))


@BOTH
def test_no_secret_is_shown(drawn: Callable[[Shown], str]) -> None:
    """S11: neither in the name of a run nor in its command, which stands where it has no name."""
    masking.conceal("correct horse")
    assert "correct horse" not in drawn(shown(progress(name="login correct horse")))
    found = progress(command="login correct horse")
    assert "correct horse" not in drawn(shown(found))
    assert "correct horse" not in drawn(shown(Progress(), works=lambda: [WorkProgress("task", "ok", 1, [found])]))


@BOTH
def test_a_chunk_is_shown_while_its_connections_are_made(drawn: Callable[[Shown], str]) -> None:
    """Before any command runs, and between two chunks, one sees what is waited for."""
    assert "chunk 1/2" in (text := drawn(shown(progress(4, chunk=2))))
    assert "0 running" in text
    assert "2 left" in text
    between = progress(4, started=2, ended=("ok", "ok"), chunk=2)
    assert "chunk 2/2" not in drawn(shown(between))
    between.apply(events.ChunkEnded(1, good=True))
    assert "chunk 2/2" in drawn(shown(between))


def test_chunks_that_never_began_are_not_shown_in_the_end() -> None:
    """The run was stopped: nothing is waited for."""
    found = progress(4, started=2, ended=("ok", "failed"), chunk=2)
    found.apply(events.ChunkEnded(1, good=False))
    found.apply(events.RunEnded(Results(())))
    assert [number for number, _ in shown_chunks(found)] == [1]
    assert "running" not in on_a_page(shown(found))


@BOTH
def test_nothing_is_known_before_the_run_has_started(drawn: Callable[[Shown], str]) -> None:
    """A view may be painted at any time."""
    assert shown_chunks(Progress()) == []
    assert "12 s" in drawn(shown(Progress()))


def test_of_many_chunks_the_last_ones_are_shown() -> None:
    """With a word of the others."""
    found = progress(20, started=12, ended=("ok",) * 11, chunk=1)
    for number in range(1, 12):
        found.apply(events.ChunkEnded(number, good=True))
    assert [number for number, _ in shown_chunks(found)] == list(range(5, 13))
    assert "4 earlier chunks endedchunk 5/20" in on_a_page(shown(found))


@BOTH
def test_undos_have_a_bar_of_their_own(drawn: Callable[[Shown], str]) -> None:
    """While a rollback goes on, and after it."""
    found = progress(2, started=2, ended=("ok", "failed"))
    assert "undoing" not in drawn(shown(found))
    found.undone = ChunkProgress(2, running=1, ended=Counter({"ok": 1}))
    assert "undoing" in (text := drawn(shown(found)))
    assert "1 running" in text


@BOTH
def test_each_task_has_a_line(drawn: Callable[[Shown], str]) -> None:
    """With its fate in symbol and word, and how long it took."""
    run = progress(3, started=3, ended=("ok", "failed"))
    parts = [WorkProgress("migrate", "ok", 3.2, [run]), WorkProgress("restart", "running", None, ())]
    text = drawn(shown(Progress(chunks=[ChunkProgress(2, running=1)]), works=lambda: parts))
    assert "✔ ok" in text
    assert "migrate" in text
    assert "3 s" in text
    assert "◐ running" in text
    assert "restart" in text


def test_commands_stand_under_their_task() -> None:
    """Each with its counts; of many tasks, and of many commands, the last ones, with a word of the others."""
    runs = [progress(3, started=3, ended=("ok", "failed")) for _ in range(7)]
    parts = [WorkProgress("old", "ok", 1, ()), *(WorkProgress("deploy", "running", 1, runs) for _ in range(40))]
    text = on_a_page(shown(Progress(chunks=[ChunkProgress(2, running=1)]), works=lambda: parts))
    assert "1 not shown" in text
    assert "2 earlier commands" in text
    assert text.count("uptime✘ 1 failed✔ 1 ok1 running") == 40 * 5


def test_of_many_tasks_it_says_how_many_are_not_shown() -> None:
    """Who shows a session picks those that matter now; the others are counted."""
    parts = [WorkProgress("deploy", "running", 1, ())]
    text = on_a_page(shown(Progress(chunks=[ChunkProgress(600), ChunkProgress(600)]), works=lambda: parts))
    assert "1,199 not shown" in text


def test_what_undoes_it_names_the_whole() -> None:
    """A part has no id that the commands take; where nothing can be undone, nothing is named."""
    part = replace(shown(progress(undo="rm x")), transaction="01TX.3")
    assert account.what_undoes(part, None) == (
        "`opskit rollback 01TX` in a terminal, or `%opskit rollback 01TX` in any notebook, "
        "undoes all of the transaction that it is a part of."
    )
    assert account.what_undoes(shown(progress(undo="rm x")), None).endswith("undoes it.")
    assert account.what_undoes(shown(progress()), None) == ""
    tasks = shown(Progress("both", "both"))
    assert account.what_undoes(tasks, Outlook("running"))
    tasks.progress.finish()
    assert account.what_undoes(tasks, Outlook("succeeded")) == ""
    assert account.what_undoes(tasks, Outlook("succeeded", "", [Alike("call()", ())]))


def test_of_many_commands_the_first_ones_are_told() -> None:
    """With their hosts folded; a function has none."""
    found = [Alike("rm $", ("web1", "web2")), Alike("call('x')", ()), *(Alike(f"cp {n}", ("db1",)) for n in range(9))]
    text = Elements(markup.commands("these:", found)).text
    assert text.startswith("these:web[1-2]: rm $call('x')db1: cp 0")
    assert text.endswith("cp 5and 3 more")


def test_a_transaction_tells_what_can_be_undone() -> None:
    """Its name, its id and its state in words; it has no bars, and no time passes for it."""
    what = shown(Progress("deploy", "transaction deploy"), cancel=None, is_transaction=True)
    outlook = Outlook(
        "rolling back", "", [Alike("rm x", ("web1", "web2")), Alike("call()", ())], [Alike("date", ("web1",))]
    )
    text = Elements(account.as_html(what, 12, (), outlook)).text
    assert text == "transaction deploy01TXrolling back3 of 4 steps can be undone"
    assert account.as_text(what, 12, (), Outlook("succeeded")) == "transaction deploy  01TX  succeeded"


@BOTH
def test_hostile_text_is_shown_as_text(drawn: Callable[[Shown], str]) -> None:
    """S1, S2: what a run or a task is called brings neither markup nor commands for the terminal."""
    parts = [WorkProgress(EVIL, "ok", 1, ())]
    text = drawn(shown(progress(name=EVIL), works=lambda: parts))
    assert text.count("<img src=x onerror=alert(1)>") == 2
    assert "\x1b]" not in text
    assert not {"\x07", "\u202e", "\r"}.intersection(text)
    assert "\x1b[2J" not in text


def test_hostile_text_brings_no_element_into_a_page() -> None:
    """S1: nothing but what the view itself draws with."""
    parts = [WorkProgress(f"task {EVIL}", "ok", 1, [progress(name=EVIL)])]
    page = Elements(account.as_html(shown(progress(started=1, name=EVIL)), 1, parts, None))
    assert page.tags == {"div", "span", "b", "code"}


@given(st.text())
def test_no_text_ends_a_string_of_css(text: str) -> None:
    """S1: what stands in a style sheet is letters, digits, blanks and escapes, whatever a host prints."""
    string = css_string(text)
    assert string[0] == string[-1] == '"'
    rest, read = string[1:-1], ""
    while rest:
        if rest[0] == "\\":
            assert rest[7] == " "
            read, rest = read + chr(int(rest[1:7], 16)), rest[8:]
        else:
            assert (rest[0].isascii() and rest[0].isalnum()) or rest[0] == " "
            read, rest = read + rest[0], rest[1:]
    assert not set(text) & set('"\\<>{};') - set(read)


def test_the_last_lines_of_output_are_shown_in_a_terminal() -> None:
    """Each with its host, on one line, cut."""
    tails = [Tail("web1", "".join(f"line {number}\n" for number in range(9))), Tail("db1", "x" * 1000)]
    text = in_a_terminal(shown(progress(), tails))
    assert "line 5" not in text
    assert "line 8" in text
    assert "web1" in text
    assert "x" * 200 not in text


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_narrow_terminal_has_a_line_for_each(width: int) -> None:
    """Cut, and never to the right edge: what a terminal echoes there would begin a new line, and the view stay."""
    tails = [Tail(f"web{number}.example.org", "x y " * 250) for number in range(6)]
    works = [WorkProgress("work " * 20, "running", None, (progress(started=2),))]
    text = in_a_terminal(shown(progress(name="rolling upgrade " * 3, started=2), tails, works=lambda: works), 9, width)
    assert len(text.splitlines()) == 1 + 1 + 1 + 6
    assert max(map(len, text.splitlines())) < width - 2
    assert all(name in text for name in ("chunk 1/1 ", *(f"web{number}." for number in range(6))))


def test_a_run_in_a_transaction_says_how_far_it_is() -> None:
    """By the chunk that it is at."""
    works = [WorkProgress("upgrade", "running", None, (progress(started=2),))]
    assert "running  chunk 1/1  2 running" in in_a_terminal(shown(Progress(), works=lambda: works))


def test_each_host_has_its_share_of_the_last_lines() -> None:
    """The one that prints most leaves room for the others; a line's last state is what counts."""
    tails = [Tail("web1", "a\nb\nc\nd\n"), Tail("db1", "10%\r50%\r"), Tail("app1", "")]
    assert last_lines(tails, 3) == [("web1", "d"), ("db1", "50%")]
    assert last_lines(tails[:1], 3) == [("web1", "b"), ("web1", "c"), ("web1", "d")]


class Uncounted(list[ChunkProgress]):
    """Chunks that must not be gone through."""

    def __iter__(self) -> Iterator[ChunkProgress]:
        raise AssertionError("all chunks were gone through")


@pytest.mark.parametrize("drawn", [on_a_page, partial(terminal.drawn, width=80)], ids=["notebook", "terminal"])
def test_drawing_costs_the_same_at_any_number_of_hosts(drawn: Callable[[Shown, float], object]) -> None:
    """Chunks are not gone through, and cells are bounded; the run here has a hundred thousand chunks."""
    found = Progress(chunks=Uncounted(ChunkProgress(1, over=True) for _ in range(100_000)))
    for number in range(50_000):
        found.chunks[number].ended["ok"] = 1
    found.cells = [Cell((f"web{number}",)) for number in range(MOST_CELLS)]
    drawn(shown(found), 1)


class Kernel:
    """A shell of IPython, with a kernel or without."""

    def __init__(self, kernel: object) -> None:
        self.kernel = kernel


def test_the_view_fits_where_the_caller_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel has the notebook's; else a terminal has bars, and what is no terminal nothing."""
    what = shown(Progress())
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    assert views.choose(what) is None
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert isinstance(views.choose(what), terminal.TerminalView)
    monkeypatch.setattr(IPython, "get_ipython", lambda: Kernel(None))
    assert isinstance(views.choose(what), terminal.TerminalView)
    monkeypatch.setattr(IPython, "get_ipython", lambda: Kernel(object()))
    assert isinstance(views.choose(what), notebook.NotebookView)
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert views.choose(what) is None


def test_a_terminals_bars_stand_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is painted, and they are gone in the end."""
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    view = terminal.TerminalView(shown(progress(started=2)))
    assert view.paint()
    view.close()
    assert "2 running" in stream.getvalue()


def test_what_is_higher_than_the_terminal_leaves_nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut, and not shown whole at the end, which could not be taken away."""
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("LINES", "5"), ("COLUMNS", "60")):
        monkeypatch.setenv(name, value)
    view = terminal.TerminalView(shown(progress(started=2), [Tail(f"web{number}", "line") for number in range(6)]))
    assert view.paint()
    view.close()
    assert "web0" in stream.getvalue()
    assert "web5" not in stream.getvalue()
