"""The thread that paints: from a moment after the beginning to the end, and never in anybody's way."""

from __future__ import annotations

import contextvars
import threading

import pytest

from opskit.views import painter
from opskit.views.painter import Painter

cell = contextvars.ContextVar("cell", default="none")


class Watched:
    """A view that notes what is asked of it, and what it shows, which ends when a test says so."""

    def __init__(self, *, stays: bool = True) -> None:
        self.stays = stays
        self.over = threading.Event()
        self.painted = threading.Semaphore(0)
        self.calls: list[str] = []
        self.cell = ""

    def paint(self) -> bool:
        """Note it."""
        self.calls.append("paint")
        self.cell = cell.get()
        self.painted.release()
        return True

    def close(self) -> None:
        """Note it."""
        self.calls.append("close")
        self.painted.release()

    def until_painted(self, times: int = 1) -> None:
        """Wait for that."""
        for _ in range(times):
            assert self.painted.acquire(timeout=5)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment is over at once."""
    monkeypatch.setattr(painter, "MOMENT_SECONDS", 0.001)
    monkeypatch.setattr(painter, "TICK_SECONDS", 0.001)


def test_it_paints_until_the_end_and_then_once_more() -> None:
    """Also if nobody waits: the last picture comes by itself."""
    view = Watched()
    Painter(view, view.over.is_set)
    view.until_painted(3)
    view.over.set()
    while "close" not in view.calls:
        view.until_painted()
    assert set(view.calls[:-1]) == {"paint"}
    assert view.calls[-1] == "close"


def test_nothing_is_painted_of_what_ends_within_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither before the end nor after it; and who waits is not held up."""
    monkeypatch.setattr(painter, "MOMENT_SECONDS", 60)
    view = Watched()
    with Painter(view, view.over.is_set).watched():
        view.over.set()
    assert view.calls == []


def test_who_waited_finds_the_last_picture_shown() -> None:
    """What a cell shows after its wait stands below the view, not above."""
    view = Watched()
    with Painter(view, view.over.is_set).watched():
        view.until_painted()
        view.over.set()
    assert view.calls[-1] == "close"


def test_a_view_that_stays_goes_on_when_a_wait_is_given_up() -> None:
    """A notebook's view follows the run also after a `wait` with a timeout."""
    view = Watched()
    found = Painter(view, view.over.is_set)
    with found.watched():
        view.until_painted()
    assert "close" not in view.calls
    view.until_painted(3)
    view.over.set()


def test_a_terminal_is_painted_only_while_somebody_waits() -> None:
    """The prompt belongs to the user in between; a second wait shows it again."""
    view = Watched(stays=False)
    found = Painter(view, view.over.is_set)
    assert view.calls == []
    for _ in range(2):
        with found.watched():
            view.until_painted()
        assert view.calls[-1] == "close"
        view.calls.clear()
        while view.painted.acquire(blocking=False):
            pass
    view.over.set()


def test_a_terminal_makes_room_for_a_question() -> None:
    """Nothing is painted over it while it waits for its answer."""
    view = Watched(stays=False)
    found = Painter(view, view.over.is_set)
    with found.watched():
        view.until_painted()
        with found.paused():
            assert view.calls[-1] == "close"
            while view.painted.acquire(blocking=False):
                pass
            assert not view.painted.acquire(timeout=0.02)
        view.until_painted()
        view.over.set()


def test_it_paints_in_the_context_of_who_began() -> None:
    """A notebook's front end knows by it to which cell the view belongs."""
    cell.set("cell 7")
    view = Watched()
    Painter(view, view.over.is_set)
    view.until_painted()
    view.over.set()
    assert view.cell == "cell 7"


@pytest.mark.parametrize("broken", ["paint", "close"])
def test_a_view_that_raises_is_reported_once(
    broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is painted no more, and nobody who waits hears of it."""
    view = Watched()

    def fail() -> bool:
        view.over.set()
        raise OSError("the display is gone")

    monkeypatch.setattr(view, broken, fail)
    found = Painter(view, view.over.is_set)
    with found.watched():
        if broken == "close":
            view.until_painted()
            view.over.set()
        else:
            assert view.over.wait(5)
    assert [record.getMessage() for record in caplog.records] == [
        "opskit: progress is not shown any more: OSError: the display is gone"
    ]
    assert ("close" in view.calls) == (broken == "paint")


def test_a_view_that_failed_is_closed_when_all_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before: what it shows goes on, and may be cancelled by it."""
    monkeypatch.setattr(painter, "IDLE_SECONDS", 0.001)
    view, failed = Watched(), threading.Event()

    def fail() -> bool:
        failed.set()
        raise OSError("the display is gone")

    monkeypatch.setattr(view, "paint", fail)
    with Painter(view, view.over.is_set).watched():
        assert failed.wait(5)
        assert not view.painted.acquire(timeout=0.02)
        view.over.set()
    assert view.calls == ["close"]


def test_of_two_who_wait_the_first_to_leave_stops_nothing() -> None:
    """A terminal is painted for as long as somebody waits."""
    view = Watched(stays=False)
    found = Painter(view, view.over.is_set)
    with found.watched():
        with found.watched():
            view.until_painted()
        view.until_painted(3)
        assert "close" not in view.calls
    assert view.calls[-1] == "close"


def test_two_threads_never_paint_one_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that its front end holds up is waited for a while; who waits next is shown something by the same one."""
    monkeypatch.setattr(painter, "END_SECONDS", 0.01)
    view, goes_on = Watched(stays=False), threading.Event()

    def hold_up() -> bool:
        view.painted.release()
        return goes_on.wait(5)

    monkeypatch.setattr(view, "paint", hold_up)
    found = Painter(view, view.over.is_set)
    with found.watched():
        view.until_painted()
    before = set(threading.enumerate())
    with found.watched():
        assert set(threading.enumerate()) <= before
        goes_on.set()
        view.until_painted(2)


def test_without_a_view_there_is_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script, a cron job and a task of a session pay nothing for it."""
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread was started"))
    found = Painter(None, lambda: False)
    with found.watched(), found.paused():
        pass
