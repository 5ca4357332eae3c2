"""Functions that are told every event of every run."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit import Host, Inventory, observers, shared
from opskit.bridge.callbacks import UserThread
from opskit.errors import PlanError
from opskit.testing import Reply, ScriptedTransport

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opskit.events import Event

WEB = Inventory([Host("web1"), Host("web2")])


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is dialled."""
    script = ScriptedTransport(lambda _, command: Reply(stdout=b"one\ntwo\n") if command else Reply())
    monkeypatch.setattr(shared, "transport", lambda *_: script)


def kinds(told: list[Event]) -> list[str]:
    """The events' words."""
    return [event.kind for event in told]


def test_an_observer_is_told_everything_in_order() -> None:
    """Each event of a run, with the plan first and the results last, and every line though no step asks for it."""
    told: list[Event] = []
    opskit.observe(told.append)
    results = opskit.run("uptime", hosts=WEB, chunk=1)
    assert kinds(told) == [
        "run_started",
        *["chunk_started", "step_started", "output", "output", "step_ended", "chunk_ended"] * 2,
        "run_ended",
    ]
    assert [event.text for event in told if event.kind == "output"] == ["one", "two"] * 2  # type: ignore[union-attr]
    assert told[-1].results == results  # type: ignore[union-attr]


def test_it_is_called_in_a_thread_of_its_own_before_the_run_returns() -> None:
    """Neither on the engine's loop, which it could hold up, nor in the caller's thread."""
    threads: set[str] = set()
    opskit.observe(lambda _: threads.add(threading.current_thread().name))
    opskit.run("uptime", hosts=WEB)
    assert threads == {"opskit-callbacks"}


def test_a_stopped_observer_hears_nothing_more() -> None:
    """`observe` gives what stops it; stopping twice does nothing."""
    told: list[Event] = []
    stop = opskit.observe(told.append)
    opskit.run("uptime", hosts=WEB)
    heard = len(told)
    stop()
    stop()
    opskit.run("uptime", hosts=WEB)
    assert len(told) == heard > 0


def test_one_that_stops_in_the_middle_hears_nothing_more() -> None:
    """Also in the run that goes on."""
    told: list[Event] = []

    def first_only(event: Event) -> None:
        told.append(event)
        stop()

    stop = opskit.observe(first_only)
    opskit.run("uptime", hosts=WEB)
    assert kinds(told) == ["run_started"]


def test_one_that_is_added_while_a_run_goes_on_hears_the_next() -> None:
    """It is told whole runs."""
    late: list[Event] = []

    def add(event: Event) -> None:
        if event.kind == "run_started" and not late:
            opskit.observe(late.append)

    stop = opskit.observe(add)
    opskit.run("uptime", hosts=WEB)
    stop()
    assert late == []
    opskit.run("uptime", hosts=WEB)
    assert kinds(late)[0] == "run_started"
    assert kinds(late)[-1] == "run_ended"


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_one_that_raises_is_reported_once_and_dropped(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """F27: for this run and all others, also if it tries to leave; the run and the other observers go on."""
    told: list[Event] = []

    def broken(event: Event) -> None:
        raise error

    opskit.observe(broken)
    opskit.observe(told.append)
    assert len(opskit.run("uptime", hosts=WEB).ok) == 2
    assert len(opskit.run("uptime", hosts=WEB).ok) == 2
    assert kinds(told).count("run_ended") == 2
    assert [record.getMessage() for record in caplog.records] == [
        f"opskit: observer {broken.__qualname__} is not called any more: it raised {type(error).__name__}: {error}"
    ]


def test_one_that_is_too_slow_is_reported_by_its_name(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F27: the run is not held up; the report names the user's function."""
    monkeypatch.setattr(UserThread, "FURTHEST_BEHIND", 300)
    go_on = threading.Event()

    def slow(event: Event) -> None:
        if event.kind == "run_ended":
            go_on.set()
        go_on.wait(5)

    opskit.observe(slow)
    handle = opskit.run("uptime", hosts=WEB, wait=False)
    handle._future.result(5)
    go_on.set()
    handle.wait()
    assert [record.getMessage() for record in caplog.records] == [
        f"opskit: {slow.__qualname__} is not called any more: it is too slow"
    ]


async def awaited(event: Event) -> None:
    """Nobody would await it."""


@pytest.mark.parametrize(
    ("given", "says"), [(5, "must be a function, not int"), (awaited, "must be a plain function: nobody would await")]
)
def test_what_is_no_function_is_refused(given: Any, says: str) -> None:
    """At once, where it was given."""
    with pytest.raises(PlanError, match=f"observe: the observer {says}"):
        opskit.observe(given)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution on the path with two observers, one of which can't be imported."""
    (tmp_path / "opskit_fake_observer.py").write_text("told = []\ntell = told.append\n")
    metadata = tmp_path / "opskit_fake-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: opskit-fake\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[opskit.observers]\nfake = opskit_fake_observer:tell\nbroken = opskit_fake_observer:nothing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    observers._install.cache_clear()
    yield
    observers._install.cache_clear()
    sys.modules.pop("opskit_fake_observer", None)


@pytest.mark.usefixtures("installed")
def test_an_installed_package_observes(caplog: pytest.LogCaptureFixture) -> None:
    """By the entry point group; one that can't be loaded is reported once and stops no run."""
    for _ in range(2):
        opskit.run("uptime", hosts=WEB)
    told = sys.modules["opskit_fake_observer"].told
    assert kinds(told).count("run_started") == 2
    assert len(caplog.records) == 1
    assert "the observer 'broken' can't be used: AttributeError" in caplog.text


@pytest.mark.usefixtures("installed")
def test_packages_are_installed_once_by_threads_that_come_first_together() -> None:
    """However many runs begin at the same time."""
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        observers.observers()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(observers.observers()) == 1
