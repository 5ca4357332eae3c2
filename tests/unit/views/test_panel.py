"""The widgets of a run without a front end: what they show, what their buttons do, and what is left when they go."""

from __future__ import annotations

import gc
import re
import threading
import weakref
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

import IPython
import pytest
from ipywidgets import HTML, Button, ToggleButtons, VBox  # type: ignore[import-untyped]  # it has no types
from ipywidgets.widgets import widget as ipywidgets_widget  # type: ignore[import-untyped]  # it has no types

from opskit import Host, HostResult, Inventory, Results, events, views
from opskit.asking import confirmed
from opskit.errors import Cancelled, CommandError, InventoryError, JournalError, OpskitError, RollbackError
from opskit.fleet.names import Names
from opskit.progress import Progress
from opskit.settings import Settings
from opskit.showing import Alike, Outlook, Shown, Tail
from opskit.views import export, front_end, notebook, panel
from opskit.views.notebook import MOST_KEPT, NotebookView
from opskit.work.draft import Draft
from tests.elements import Elements

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from opskit.work.plan import Step

EVIL = '</style><img src=x onerror=alert(1)>\x1b[2J\u202e"}*{display:none}'
UNDONE = (Alike("rm a", ("web1", "web2")), Alike("call()", ()))


class Run:
    """A run of so many hosts that goes on as a test says, and what its view is given."""

    def __init__(self, hosts: int = 3, **more: Any) -> None:
        undo = more.pop("undo", "rm a")
        draft = Draft({} if undo is None else {"undo": undo}, Settings(), "run")
        draft.everywhere("uptime", Names({}, {}, {}, None), "")
        plan = draft.plan(lambda: Inventory(Host(f"web{number}") for number in range(1, hosts + 1)))
        self.steps: list[Step] = list(plan.steps)
        self.progress = Progress()
        self.progress.apply(events.RunStarted(plan))
        for step in self.steps:
            self.progress.apply(events.StepStarted(step))
        self.rows: list[HostResult] = []
        self.again: list[Sequence[HostResult]] = []
        self.cancelled: list[Collection[str] | None] = []
        self.outlook = Outlook("running", "", UNDONE, [Alike("date", ("web3",))])
        self.line = "line"
        self.why: list[str] = []
        self.undo: Callable[[], Results] = lambda: Results((HostResult("web1", None, "rm a", "ok"),))
        given: dict[str, Any] = {"cancel": self.cancelled.append, "tails": self.tails, "rollback": self.rollback}
        self.shown = Shown(self.progress, "01TX", results=self.results, outlook=lambda: self.outlook, **given | more)

    def end(self, *statuses: Any) -> Run:
        """Let the hosts end like this, one by one, and the run with the last one."""
        for step, status in zip(self.steps, statuses, strict=True):
            row = HostResult(step.host.name, None, "uptime", status, stdout=f"said by {step.host.name}\n", chunk=1)
            self.rows.append(row)
            self.progress.apply(events.StepEnded(step, row))
        self.progress.apply(events.RunEnded(Results(())))
        return self

    def results(self) -> Results:
        """The rows as of now."""
        return Results(tuple(self.rows), again=self.run_again)

    def run_again(self, rows: Sequence[HostResult]) -> Results:
        """Note it; they end well this time."""
        self.again.append(rows)
        done = (HostResult(row.host, None, "uptime", "ok", stdout="done\n", transaction="01TX2") for row in rows)
        return Results(tuple(done), again=self.run_again)

    def tails(self, hosts: Collection[str]) -> list[Tail]:
        """What hosts have printed last."""
        return [Tail(host, f"{self.line} of {host} {EVIL}\n") for host in hosts or ("web1", "web2")]

    def rollback(self, why: str) -> Results:
        """Note why; what was undone is owed no more."""
        self.why.append(why)
        rows = self.undo()
        self.outlook = Outlook("rolled back", "transaction 01TX was rolled back by ada")
        return rows


class Displays:
    """What a notebook was told to display, and then to show in its place."""

    def __init__(self) -> None:
        self.first: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []

    def display(self, data: dict[str, Any], **_: Any) -> Displays:
        """Take what is displayed."""
        self.first.append(data)
        return self

    def update(self, data: dict[str, Any], **_: Any) -> None:
        """Take what is shown in its place."""
        self.updates.append(data)

    @property
    def last(self) -> str:
        """The text of the last update."""
        return Elements(str(self.updates[-1]["text/html"])).text


@pytest.fixture(autouse=True)
def displays(monkeypatch: pytest.MonkeyPatch) -> Iterator[Displays]:
    """A front end where somebody can click, that delivers clicks."""
    displays = Displays()
    monkeypatch.setattr("IPython.display.display", displays.display)
    monkeypatch.setattr(notebook, "why_no_buttons", lambda: None)
    monkeypatch.setattr(front_end, "delivers_clicks", lambda: True)
    yield displays
    while notebook._kept:
        notebook._kept.pop().forget()


def boxed(view: NotebookView) -> Any:
    """All of its widgets."""
    assert view._panel is not None
    return view._panel.box


def painted(run: Run) -> NotebookView:
    """The view of a run, painted once."""
    view = NotebookView(run.shown)
    view.paint()
    return view


def inside(widget: Any) -> Iterator[Any]:
    """A widget, and all that is in it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from inside(child)


def buttons(view: NotebookView) -> dict[str, Any]:
    """The buttons that are shown, by their words."""
    found = (widget for widget in inside(boxed(view)) if isinstance(widget, Button))
    return {widget.description: widget for widget in found if "opskit-past" not in widget._dom_classes}


def text(view: NotebookView) -> str:
    """What the widgets say."""
    pieces = [widget.value for widget in inside(boxed(view)) if isinstance(widget, HTML)]
    return "\n".join(Elements(piece).text for piece in pieces if not piece.startswith("<style>"))


def press(view: NotebookView, words: str) -> None:
    """Press a button, and wait until the threads that it began have ended, or ask."""
    before = set(threading.enumerate())
    buttons(view)[words].click()
    settled(view, before)


def settled(view: NotebookView, before: set[threading.Thread]) -> None:
    """Wait until the threads of buttons that are not among these have ended, or ask."""

    def is_settled() -> bool:
        begun = [thread for thread in set(threading.enumerate()) - before if thread.name == "opskit-button"]
        return not begun or "No" in buttons(view)

    until(is_settled)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    end = monotonic() + 5
    while not condition():
        assert monotonic() < end
        threading.Event().wait(0.005)


def answer(view: NotebookView, words: str) -> None:
    """Answer a question, and wait as after a press."""
    buttons(view)[words].click()
    until(lambda: words not in buttons(view))
    settled(view, {thread for thread in threading.enumerate() if thread.name != "opskit-button"})


def grid(view: NotebookView) -> Any:
    """The cells of the hosts."""
    return next(widget for widget in inside(boxed(view)) if isinstance(widget, ToggleButtons))


def sheets(view: NotebookView) -> str:
    """The style sheets beside the widgets."""
    return "".join(
        widget.value for widget in inside(boxed(view)) if isinstance(widget, HTML) and "<style" in widget.value
    )


def test_a_run_is_two_displays(displays: Displays) -> None:
    """A static one, hidden while the widgets show the same, and the widgets with a line for where they can't live."""
    run = Run()
    view = painted(run)
    assert len(displays.first) == 2
    static, live = displays.first
    assert set(static) == {"text/html", "text/plain"}
    assert static["text/html"].startswith('<div class="opskit-static opskit-live">')
    assert "it had not ended" in static["text/html"]
    assert "uptime  ◐ running" in static["text/plain"]
    assert set(live) == {"application/vnd.jupyter.widget-view+json", "text/html", "text/plain"}
    for told in ("text/html", "text/plain"):
        assert "interrupt the kernel to cancel" in live[told]
        assert "opskit rollback 01TX" in live[told]
    run.end("ok", "ok", "failed")
    view.close()
    assert "✘ 1 failed✔ 2 ok" in displays.last
    assert "✘ 1 failed  ✔ 2 ok" in displays.updates[-1]["text/plain"]
    assert displays.updates[-1]["text/html"].startswith('<div class="opskit-static">')
    ended = '<div class="opskit-ended '
    assert any(isinstance(widget, HTML) and widget.value.startswith(ended) for widget in inside(boxed(view)))


def test_nothing_is_sent_when_nothing_has_changed() -> None:
    """Painting again sends no message, until something happens."""
    run = Run()
    view = painted(run)
    values = [widget.value for widget in inside(boxed(view)) if isinstance(widget, HTML)]
    assert not view.paint()
    assert values == [widget.value for widget in inside(boxed(view)) if isinstance(widget, HTML)]
    run.end("ok", "ok", "ok")
    assert view.paint()


def test_at_most_ten_messages_are_sent_in_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is painted, and whatever changes."""
    now = 1000.0
    monkeypatch.setattr(panel, "monotonic", lambda: now)
    run = Run()
    view = painted(run)
    sent: list[object] = []
    for widget in inside(boxed(view)):
        if isinstance(widget, HTML):
            widget.observe(sent.append, "value")
    for tick in range(100):
        now += 0.01
        run.progress.apply(events.UndoStarted(run.steps[0]))
        run.line = f"line {tick}"
        view.paint()
    assert 5 < len(sent) <= 10


def test_cells_say_state_and_last_line() -> None:
    """S1: in style sheets that nothing a host prints can end."""
    run = Run()
    view = painted(run)
    pieces = [part.partition("</style>") for part in sheets(view).split("<style>")[1:]]
    assert any("line of web1" in sheet for sheet, *_ in pieces)
    assert any("running" in sheet and "chosen" in sheet and '[value="2"]' in sheet for sheet, *_ in pieces)
    assert not any("<" in sheet for sheet, *_ in pieces)


def test_many_hosts_share_cells() -> None:
    """Then a cell counts them."""
    view = painted(Run(900))
    assert len(grid(view).options) == 300
    assert "3 running" in sheets(view)


def test_a_chosen_host_narrows_lines_and_then_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until "All hosts" is pressed."""
    monkeypatch.setattr(panel, "LINES_SECONDS", 0)
    run = Run()
    view = painted(run)
    grid(view).index = 1
    view.paint()
    assert "line of web2" in text(view)
    assert "line of web1" not in text(view)
    run.end("ok", "ok", "failed")
    view.close()
    assert "said by web2" in text(view)
    assert "said by web1" not in text(view)
    press(view, "All hosts")
    assert "said by" not in text(view)
    assert "All hosts" not in buttons(view)


def test_the_last_lines_stay_in_the_end() -> None:
    """A style sheet takes them away when something else stands below: till then the page would jump."""
    view = painted(Run().end("ok", "ok", "ok"))
    view.close()
    assert "line of web1" in text(view)
    assert any("opskit-lines-last" in widget.value for widget in inside(boxed(view)) if isinstance(widget, HTML))


def test_cancel_ends_all_or_the_chosen_hosts() -> None:
    """Its words say which; it is gone when the run has ended."""
    run = Run()
    view = painted(run)
    assert set(buttons(view)) == {"Cancel", "Rollback"}
    grid(view).index = 1
    cancels = [buttons(view)["Cancel web2"], buttons(view)["Cancel"]]
    press(view, "Cancel web2")
    press(view, "Cancel")
    assert run.cancelled == [("web2",), None]
    assert buttons(view)["Cancel"].disabled
    run.end("ok", "cancelled", "cancelled")
    view.close()
    assert "Cancel" not in buttons(view)
    assert "Cancelling" not in text(view)
    for late in cancels:
        late.click()
    assert len(run.cancelled) == 2


def test_an_error_of_a_button_is_one_line() -> None:
    """An OpskitError as it says; another one with its type."""

    def cancel(hosts: object) -> None:
        raise errors.pop()

    errors: list[Exception] = [ValueError("what\nis this"), InventoryError("no such host")]
    view = painted(Run(cancel=cancel))
    press(view, "Cancel")
    assert "✘ no such host" in text(view)
    press(view, "Cancel")
    assert "✘ ValueError: what ⏎ is this" in text(view)


def test_a_rollback_says_what_it_undoes_and_asks() -> None:
    """How much can be undone, newest first, folded; what stays; and that what runs is cancelled first."""
    run = Run()
    view = painted(run)
    press(view, "Rollback")
    told = text(view)
    assert "It still runs, and is cancelled first: what it has sent until then is undone, too." in told
    assert "This undoes at least 3 of 4 steps, newest first:web[1-2]: rm acall()" in told
    assert "1 step without an undo, which stay as they are:web3: date" in told
    assert buttons(view)["Rollback"].disabled
    answer(view, "No")
    assert not run.why
    assert "No" not in buttons(view)
    assert not buttons(view)["Rollback"].disabled


def test_a_second_click_begins_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page learns late that a button is disabled, or gone: a double click retries once, asks once, writes once."""
    monkeypatch.chdir(tmp_path)
    goes_on = threading.Event()
    run = Run()

    def again(rows: Sequence[HostResult]) -> Results:
        assert goes_on.wait(5)
        return Run.run_again(run, rows)

    run.run_again = again  # type: ignore[method-assign]  # it waits
    view = painted(run.end("ok", "ok", "failed"))
    view.close()
    retry, rollback = buttons(view)["Retry failed"], buttons(view)["Rollback"]
    retry.click()
    retry.click()
    rollback.click()
    goes_on.set()
    settled(view, set())
    assert len(run.again) == 1
    assert "No" not in buttons(view)
    press(view, "Rollback")
    buttons(view)["Yes, roll back"].click()
    rollback.click()
    until(lambda: "No" not in buttons(view))
    settled(view, set())
    assert "No" not in buttons(view)
    assert len(run.why) == 1
    press(view, "Export")
    form = buttons(view)["Markdown"]
    form.click()
    form.click()
    settled(view, set())
    assert len(list(tmp_path.iterdir())) == 1


def test_yes_to_what_has_changed_is_asked_again() -> None:
    """What is undone is what was shown."""
    run = Run().end("ok", "ok", "ok")
    view = painted(run)
    view.close()
    press(view, "Rollback")
    run.outlook = replace(run.outlook, undone=UNDONE[:1])
    buttons(view)["Yes, roll back"].click()
    until(lambda: "This undoes 2 of 3" in text(view))
    assert not run.why
    answer(view, "Yes, roll back")
    assert len(run.why) == 1


def test_a_question_is_asked_anew_when_the_run_has_ended() -> None:
    """Until then what is undone may become more, and it says so."""
    run = Run()
    view = painted(run)
    press(view, "Rollback")
    assert "It still runs" in text(view)
    assert "at least 3 of 4" in text(view)
    run.end("ok", "ok", "ok")
    view.close()
    until(lambda: "This undoes 3 of 4" in text(view))
    assert "It still runs" not in text(view)
    answer(view, "No")
    assert not run.why


def test_yes_while_it_runs_is_not_asked_again_because_it_goes_on() -> None:
    """It is expected to do more until it is cancelled."""
    run = Run()
    view = painted(run)
    press(view, "Rollback")
    run.outlook = replace(run.outlook, undone=UNDONE[:1])
    answer(view, "Yes, roll back")
    assert len(run.why) == 1


def test_a_rollback_shows_how_far_it_is_of_all() -> None:
    """Of as many undos as were shown before, not of those that have begun."""
    goes_on = threading.Event()

    def undo() -> Results:
        run.progress.apply(events.UndoStarted(run.steps[0]))
        assert goes_on.wait(5)
        return Results(())

    run = Run().end("ok", "ok", "ok")
    run.undo = undo
    shows_how_far(run, goes_on)


def shows_how_far(run: Run, goes_on: threading.Event) -> None:
    """Press Rollback after the end of a run, and see its first undo until that may go on."""
    view = painted(run)
    view.close()
    press(view, "Rollback")
    buttons(view)["Yes, roll back"].click()
    until(lambda: "rolling back1 running, 2 left" in text(view))
    goes_on.set()
    settled(view, set())


def test_later_work_on_the_same_hosts_is_in_the_question() -> None:
    """Who says yes has agreed to that, too."""
    run = Run().end("ok", "ok", "ok")
    run.outlook = replace(run.outlook, newer=["01LATER run by bob, <b>succeeded</b>"])
    view = painted(run)
    view.close()
    press(view, "Rollback")
    assert "which stays as it is:01LATER run by bob, <b>succeeded</b>" in text(view)
    answer(view, "Yes, roll back")
    assert run.why == ["the Rollback button"]


def test_a_rollback_is_done_once_and_says_by_whom(displays: Displays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows follow; the button is gone, and the static display tells of it, too."""
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    run = Run().end("ok", "ok", "ok")
    view = painted(run)
    view.close()
    press(view, "Rollback")
    assert "still runs" not in text(view)
    answer(view, "Yes, roll back")
    assert run.why == ["the Rollback button"]
    assert "rolled back by ada at" in text(view)
    assert "1 of 1 undone" in displays.last
    assert "Rollback" not in buttons(view)
    assert "has restarted." in text(view)  # and nothing of another rollback
    assert "opskit rollback" not in displays.last


def test_the_end_of_a_rollback_is_told_once(displays: Displays) -> None:
    """The widgets hide their line where the static display has it; a page that was loaded since hears of them alone."""
    view = painted(Run().end("ok", "ok", "ok"))
    view.close()
    press(view, "Rollback")
    answer(view, "Yes, roll back")
    (name,) = re.findall('<div class="(opskit-[0-9a-f]{8})">', displays.updates[-1]["text/html"])
    assert f".opskit-view .{name}{{display:none}}" in sheets(view)


def test_an_incomplete_rollback_can_be_tried_again() -> None:
    """What it came to is told, with its rows."""

    def fail() -> Results:
        error = RollbackError("rollback incomplete: 0 of 1 undone")
        error.results = Results((HostResult("web1", None, "rm a", "failed", stderr="busy"),))
        raise error

    run = Run().end("ok", "ok", "ok")
    run.undo = fail
    view = painted(run)
    view.close()
    press(view, "Rollback")
    answer(view, "Yes, roll back")
    assert "✘ rollback incomplete: 0 of 1 undone (by" in text(view)
    assert "busy" in text(view)
    assert not buttons(view)["Roll back the rest"].disabled


def test_what_comes_up_on_the_way_is_asked_in_the_view() -> None:
    """As that later work stands on what is undone: a thread has no other place to ask."""
    answers: list[bool] = []

    def undo() -> Results:
        answers.append(confirmed(f"done since:\n  01TY by {EVIL}\nUndo it all the same?", remedy=""))
        if not answers[-1]:
            raise Cancelled("not confirmed: nothing was undone", Results(()))
        return Results(())

    run = Run().end("ok", "ok", "ok")
    run.undo = undo
    view = painted(run)
    view.close()
    press(view, "Rollback")
    answer(view, "Yes, roll back")
    assert "done since:01TY by </style><img" in text(view)
    answer(view, "No")
    assert "✘ not confirmed: nothing was undone" in text(view)
    press(view, "Rollback")
    answer(view, "Yes, roll back")
    answer(view, "Yes")
    assert answers == [False, True]
    assert "0 of 0 undone" in text(view)


def test_nothing_is_asked_where_nothing_can_be_undone() -> None:
    """It says so, and what stays."""
    run = Run()
    run.outlook = Outlook("running", kept=[Alike("date", ("web3",))])
    view = painted(run)
    press(view, "Rollback")
    assert "Nothing to undo: what was sent has no undo, and stays as it is:web3: date" in text(view)
    assert "No" not in buttons(view)


def test_what_was_rolled_back_elsewhere_says_by_whom() -> None:
    """Nothing is asked, and nothing tried, any more."""
    run = Run()
    run.outlook = Outlook("rolled back", "transaction 01TX was rolled back by bob on laptop")
    view = painted(run)
    press(view, "Rollback")
    assert "was rolled back by bob on laptop" in text(view)
    assert "Rollback" not in buttons(view)
    assert not run.why


def test_what_failed_is_retried_within_the_view() -> None:
    """The rows of the retry follow; a view of it would stand there; then there is nothing to retry."""
    run = Run()
    places: list[object] = []

    def again(rows: Sequence[HostResult]) -> Results:
        places.append(views.standing_in.get())
        return Run.run_again(run, rows)

    run.run_again = again  # type: ignore[method-assign]  # it is noted on the way
    view = painted(run)
    assert "Retry failed" not in buttons(view)
    run.end("ok", "failed", "timeout")
    view.close()
    press(view, "Retry failed")
    assert [[row.host for row in rows] for rows in run.again] == [["web2", "web3"]]
    assert [isinstance(place, VBox) for place in places] == [True]
    assert "2 hosts" in text(view)
    assert "Retry failed" not in buttons(view)
    assert views.standing_in.get() is None


def test_a_retry_that_fails_can_be_tried_again() -> None:
    """Its error is one line; what failed this time is tried next."""

    def fail(rows: Sequence[HostResult]) -> Results:
        run.again.append(rows)
        raise CommandError("1 of 2 did not end well\n  details", Results(tuple(rows[:1]), again=fail))

    run = Run()
    run.run_again = fail  # type: ignore[method-assign]  # it fails
    view = painted(run)
    run.end("ok", "failed", "timeout")
    view.close()
    press(view, "Retry failed")
    assert "✘ 1 of 2 did not end well" in text(view)
    press(view, "Retry failed")
    assert [len(rows) for rows in run.again] == [2, 1]


def test_no_to_a_retry_leaves_the_button() -> None:
    """Nothing was run, and so the rows are what they were."""

    def refuse(rows: Sequence[HostResult]) -> Results:
        raise Cancelled(
            "not confirmed: nothing was sent", Results((HostResult("web2", None, "uptime", "not_started"),))
        )

    run = Run()
    run.run_again = refuse  # type: ignore[method-assign]  # somebody says no
    view = painted(run.end("ok", "failed", "ok"))
    view.close()
    press(view, "Retry failed")
    assert "✘ not confirmed: nothing was sent" in text(view)
    assert "Retry failed" in buttons(view)
    assert "not started" not in text(view)


def test_a_retry_is_what_the_transaction_says() -> None:
    """A run of a transaction that has ended is run again outside of it: whoever began it knows how."""
    retried: list[Results] = []

    def retry(rows: Results) -> Results:
        retried.append(rows)
        return rows

    view = painted(Run(retry=retry).end("ok", "failed", "ok"))
    view.close()
    press(view, "Retry failed")
    assert len(retried) == 1


def test_after_a_retry_its_rows_are_the_newest(
    displays: Displays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chosen host shows them, Export writes them, and the static display says that there are some."""
    monkeypatch.chdir(tmp_path)
    view = painted(Run().end("ok", "failed", "timeout"))
    view.close()
    grid(view).index = 1
    assert "said by web2" in text(view)
    press(view, "Retry failed")
    assert "said by web2" not in text(view)
    assert "retried: 2 ok (01TX2)" in displays.last
    press(view, "Export")
    press(view, "Markdown")
    written = next(tmp_path.iterdir()).read_text()
    assert "failed" not in written
    assert "said by web1" in written


def test_a_view_within_another_keeps_its_bars(displays: Displays) -> None:
    """It has no display of its own, and leaves the retry to the one around it."""
    around = VBox()
    token = views.standing_in.set(around)
    try:
        run = Run()
        view = painted(run)
    finally:
        views.standing_in.reset(token)
    run.end("ok", "ok", "failed")
    view.close()
    assert not displays.first
    assert around.children == (boxed(view),)
    assert "chunk 1/1" in text(view)
    assert "Retry failed" not in buttons(view)


def test_exports_never_overwrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stands in the working folder; the view says its name; what can't be written leaves none."""
    monkeypatch.chdir(tmp_path)
    run = Run()
    view = painted(run)
    run.end("ok", "ok", "failed")
    view.close()
    for name in ("opskit-01TX.md", "opskit-01TX-2.md"):
        press(view, "Export")
        press(view, "Markdown")
        assert f"Written: {name}" in text(view)
        assert "Markdown" not in buttons(view)
    assert {path.name for path in tmp_path.iterdir()} == {"opskit-01TX.md", "opskit-01TX-2.md"}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}

    def fail(*_: object) -> None:
        raise OpskitError("the disk is full")

    monkeypatch.setitem(export.FORMS, "Excel", ("xlsx", fail))
    press(view, "Export")
    assert {"HTML", "Excel", "Markdown", "Parquet"} <= set(buttons(view))
    press(view, "Excel")
    assert "✘ the disk is full" in text(view)
    assert len(list(tmp_path.iterdir())) == 2


def test_where_nothing_can_be_written_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as in a folder that is gone."""
    (gone := tmp_path / "gone").mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    view = painted(Run().end("ok", "ok", "ok"))
    view.close()
    press(view, "Export")
    press(view, "Markdown")
    assert "nothing can be written in the working folder: No such file or directory; os.chdir(...)" in text(view)
    monkeypatch.chdir(tmp_path)


def test_without_undos_nothing_is_said_to_undo_it(displays: Displays) -> None:
    """Where there are no buttons; the button itself tells what was sent and stays."""
    view = painted(Run(undo=None))
    told = str(displays.first)
    view.close()
    assert "Rollback" in buttons(view)
    assert "opskit rollback" not in told + str(displays.updates) + text(view)


def test_views_of_one_cell_stand_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The widgets of each follow its static display, though two are painted at once."""
    made: list[str] = []
    others: list[threading.Thread] = []

    def display(data: dict[str, Any], **_: Any) -> Displays:
        made.append("widgets" if len(data) == 3 else "static")
        if not others:
            others.append(threading.Thread(target=painted, args=(Run(),)))
            others[0].start()
            others[0].join(0.1)
        return Displays()

    monkeypatch.setattr("IPython.display.display", display)
    painted(Run())
    others[0].join()
    assert made == ["static", "widgets"] * 2


def test_it_says_where_clicks_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second after it was opened, until one has come."""
    now = 1000.0
    monkeypatch.setattr(panel, "monotonic", lambda: now)
    monkeypatch.setattr(front_end, "delivers_clicks", lambda: False)
    view = painted(Run())
    assert "interrupt the kernel" not in text(view)
    now += 2
    view.paint()
    assert "interrupt the kernel" in text(view)
    grid(view).index = 0
    now += 1
    view.paint()
    assert "interrupt the kernel" not in text(view)


def test_without_buttons_the_static_display_says_all(displays: Displays, monkeypatch: pytest.MonkeyPatch) -> None:
    """And why, and what to do: where ipywidgets is not installed, and where nobody can click."""
    monkeypatch.setattr(notebook, "why_no_buttons", lambda: front_end.NOT_INSTALLED)
    run = Run()
    view = painted(run)
    assert len(displays.first) == 1
    assert "3 running" in displays.last
    assert "ipywidgets is not installed" in displays.last
    assert "%opskit rollback 01TX" in displays.last
    run.end("ok", "ok", "ok")
    view.close()
    assert "✔ 3 ok" in displays.last


class Kernel:
    """What a view asks of a kernel."""

    def __init__(self, subshells: list[str], *, stdin: bool = True, supports: bool = True) -> None:
        self.kernel = self
        self.shell_channel_thread = self.manager = self
        self._allow_stdin = stdin
        self._supports_kernel_subshells = supports
        self.list_subshell = lambda: subshells


def test_what_the_front_end_can_do_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No person, no buttons; no subshells, no clicks while a cell runs."""
    monkeypatch.undo()
    for kernel, clicks in ((Kernel(["1"]), True), (Kernel([]), False), (Kernel(["1"], supports=False), False)):
        monkeypatch.setattr(IPython, "get_ipython", lambda kernel=kernel: kernel)
        assert front_end.why_no_buttons() is None
        assert front_end.delivers_clicks() is clicks
    monkeypatch.setattr(IPython, "get_ipython", lambda: Kernel([], stdin=False))
    assert front_end.why_no_buttons() == front_end.NOBODY
    monkeypatch.setattr(front_end, "find_spec", lambda name: None)
    assert front_end.why_no_buttons() == front_end.NOT_INSTALLED


def test_a_transaction_asks_the_journal_only_when_something_has_ended(displays: Displays) -> None:
    """What can be undone costs a look into the journal; the last look says how it ended."""
    asked: list[Outlook] = []
    states = ["running", "succeeded", "rolled back"]

    def outlook() -> Outlook:
        asked.append(Outlook(states[len(asked)], undone=UNDONE))
        return asked[-1]

    works: list[Any] = []
    run, progress = Run(cancel=None), Progress("deploy", "transaction deploy")
    given = (progress, "01TX", run.results, outlook, run.rollback)
    view = NotebookView(Shown(*given, works=lambda: list(works), is_transaction=True))
    view.paint()
    view.paint()
    assert len(asked) == 1
    assert set(buttons(view)) == {"Rollback", "Export"}
    assert "transaction deploy01TXrunning3 of 3 steps can be undone" in text(view)
    works.append(run_part("ok"))
    view.paint()
    assert len(asked) == 2
    assert "succeeded3 of 3 steps can be undone✔ okuptime1 s" in displays.last  # so it is in the saved notebook
    view.close()
    assert len(asked) == 3
    assert "rolled back" in displays.last


def test_what_another_process_runs_has_no_cancel(displays: Displays) -> None:
    """It is a run all the same: its time counts from when it began, and its end may need a word."""
    said = [""]
    run = Run(cancel=None, seconds_before=90.0, remark=lambda: said[0])
    view = painted(run)
    assert set(buttons(view)) == {"Rollback", "Export"}
    assert "1 min 30 s" in text(view)
    assert "3 running" in text(view)
    run.end("ok", "failed", "unknown")
    said[0] = "its process has died; opskit rollback 01TX"
    view.close()
    assert set(buttons(view)) == {"Rollback", "Export", "Retry failed"}
    assert said[0] in text(view)
    assert said[0] in displays.last
    assert said[0] in displays.updates[-1]["text/plain"]


def test_a_rollback_looks_at_what_nobody_tells_of() -> None:
    """How far it is then comes from looks, also after the end, when nothing paints any more."""
    goes_on, undoing = threading.Event(), threading.Event()

    def undo() -> Results:
        undoing.set()
        assert goes_on.wait(5)
        return Results(())

    def look() -> None:
        if undoing.is_set() and not run.progress.undone.total:
            run.progress.apply(events.UndoStarted(run.steps[0]))

    run = Run(cancel=None, look=look).end("ok", "ok", "ok")
    run.undo = undo
    shows_how_far(run, goes_on)


def test_what_a_rollback_came_to_stays_when_the_end_is_learned_late() -> None:
    """As where a look into the journal tells of the end, some time after the rollback's own rows came."""
    run = Run(cancel=None)
    view = painted(run)
    press(view, "Rollback")
    answer(view, "Yes, roll back")
    assert "1 of 1 undone" in text(view)
    run.end("cancelled", "cancelled", "cancelled")
    view.close()
    assert "1 of 1 undone" in text(view)
    assert "1 host✔ 1 ok" in text(view)


def test_a_journal_that_fails_ends_no_view() -> None:
    """What was known before is shown, and how it ended."""

    def outlook() -> Outlook:
        raise JournalError("the journal can't be read")

    run = Run(cancel=None)
    view = NotebookView(replace(run.shown, progress=Progress("deploy", "transaction deploy"), outlook=outlook))
    view.paint()
    view.close()
    assert "transaction deploy" in text(view)
    press(view, "Rollback")
    assert "the journal can't be read" in text(view)


def run_part(status: Any) -> Any:
    """Something that a cell did."""
    from opskit.progress import WorkProgress

    return WorkProgress("uptime", status, 1.0, ())


def test_old_views_keep_no_widgets(displays: Displays) -> None:
    """The newest ones keep their buttons; others say so, and ipywidgets, and the process, remember nothing of them."""
    before = len(ipywidgets_widget._instances)
    view: NotebookView | None = painted(Run().end("ok", "failed", "ok"))
    assert view is not None
    view.close()
    press(view, "Export")
    press(view, "Retry failed")
    press(view, "Rollback")  # and nobody answers
    forgotten = weakref.ref(view._panel)
    view, with_it = None, len(ipywidgets_widget._instances)
    painted(Run().end("ok", "ok", "ok")).close()
    of_another = len(ipywidgets_widget._instances) - with_it
    for _ in range(MOST_KEPT - 1):
        painted(Run().end("ok", "ok", "ok")).close()
    too_old = [update["text/html"] for update in displays.updates if "too old for buttons" in update["text/html"]]
    assert ["opskit rollback 01TX" in told for told in too_old] == [True]
    for thread in threading.enumerate():
        if thread.name == "opskit-button":
            thread.join(5)
    gc.collect()
    assert forgotten() is None
    assert len(ipywidgets_widget._instances) == before + MOST_KEPT * of_another
