"""Runs that go on, plans that are kept, and secrets, on real SSH servers."""

from __future__ import annotations

import logging
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

import opskit
from opskit import bridge, masking
from opskit.errors import Cancelled, CommandError, PlanChanged, TimeoutExceeded, UnreachableError
from opskit.in_use import default_inventory
from opskit.settings import configure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opskit.events import Event
    from opskit.fleetlab import Fleet
    from opskit.handle import Handle

pytestmark = pytest.mark.system

SLEEPS = "echo begun; exec sleep 987654"


@pytest.fixture(autouse=True)
def fleet_in_use(embedded: Fleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test runs on the fleet F, and leaves nothing running there."""
    monkeypatch.setattr(masking, "_known", None)
    with opskit.use(embedded.inventory):
        yield
    assert asleep() == 0


def asleep() -> int:
    """How many of the commands above run, on all hosts, once those that are being ended have ended."""
    for _ in range(50):
        found = subprocess.run(["pgrep", "-fc", "sleep 987654"], capture_output=True, text=True, check=False)
        if not int(found.stdout):
            break
        time.sleep(0.05)  # the kernel takes a moment to bury what was killed
    return int(found.stdout)


def begun(steps: int, command: str = SLEEPS, **options: object) -> Handle:
    """A run of which so many steps have printed something."""
    there = threading.Semaphore(0)
    found: Handle = opskit.run(command, wait=False, on_output=lambda *_: there.release(), **options)  # type: ignore[call-overload]  # any option
    assert all(there.acquire(timeout=10) for _ in range(steps))
    return found


def test_a_run_is_read_and_cancelled_while_it_goes_on() -> None:
    """A snapshot has what was printed so far; cancel ends the remote processes, on one host and on all."""
    handle = begun(5)
    shot = handle.results
    assert {(row.status, row.stdout) for row in shot} == {("running", "begun\n")}
    with pytest.raises(TimeoutExceeded):
        handle.wait(0.05)
    handle.cancel("app*")
    limit = time.monotonic() + 10
    while [row.status for row in handle.results].count("cancelled") < 2:
        assert time.monotonic() < limit
    assert [row.status for row in handle.results] == ["cancelled", "cancelled", "running", "running", "running"]
    handle.cancel()
    with pytest.raises(Cancelled) as caught:
        handle.wait(20)
    assert {(row.status, row.error, row.stdout) for row in caught.value.results} == {
        ("cancelled", "cancelled; it was ended", "begun\n")
    }


def test_an_interrupt_ends_the_remote_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """R8: a Ctrl-C while it is waited for; the rows are there, and the next call works."""
    handle = begun(2, roles="web")
    monkeypatch.setattr(bridge, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(handle, "_tick", interrupt_once())
    with pytest.raises(KeyboardInterrupt) as caught:
        handle.wait()
    assert {row.status for row in caught.value.results} == {"cancelled"}  # type: ignore[attr-defined]
    assert len(opskit.run("true").ok) == 5


def interrupt_once() -> object:
    """What raises one interrupt."""
    left = iter([True])
    return lambda: signal.raise_signal(signal.SIGINT) if next(left, False) else None


def test_several_threads_run_on_one_fleet() -> None:
    """At the same time, over the same connections; each has its own rows."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with opskit.use(inventory):
                for _ in range(3):
                    rows = opskit.run("echo {{ server.name }} {{ number }}", variables={"number": number})
                    assert [row.stdout for row in rows] == [f"{row.host} {number}\n" for row in rows]
        except BaseException as error:  # noqa: BLE001 - that there is none is the point
            failures.append(error)

    inventory = default_inventory()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_unreachable_are_tried_again_and_told_by_their_attempt(
    embedded: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that nobody listens at: three rounds, one row, one error."""
    monkeypatch.setattr("opskit.engine.run.FIRST_BACKOFF", 0.01)
    first = embedded.inventory["app1"]
    gone = opskit.Host("gone", "127.0.0.1", 1, first.user, vars=dict(first.vars))
    told: list[Event] = []
    stop = opskit.observe(told.append)
    with pytest.raises(UnreachableError) as caught:
        opskit.run("true", hosts=opskit.Inventory([gone, first]), retries=2)
    stop()
    assert [(row.status, row.attempt) for row in caught.value.results] == [("unreachable", None), ("ok", 1)]
    assert [event.kind for event in told].count("step_ended") == 2


def test_a_check_stops_the_next_chunk() -> None:
    """By a command on the chunk's own hosts, or by a function of its results."""
    command = "test {{ server.name }} != app2"
    says = "the check after chunk 1 of 3: `test app1 != app2` did not pass on 1 host"
    with pytest.raises(CommandError, match=says) as caught:
        opskit.run("true", chunk=2, check=command)
    rows = caught.value.results
    assert [row.status for row in rows] == ["ok", "ok", "not_started", "not_started", "not_started", "failed"]
    assert (rows[5].host, rows[5].branch) == ("app2", "check")
    with pytest.raises(CommandError, match="the check after chunk 2 of 3"):
        opskit.run("true", chunk=2, check=lambda results: "web1" not in results.hosts)


def test_a_plan_is_kept_and_applied(tmp_path: Path, embedded: Fleet) -> None:
    """In a file, with a check and a secret of the environment; on hosts that moved it is refused."""
    path = tmp_path / "deploy.plan"
    opskit.plan("echo {{ server.name }}", chunk="50%", check="true", name="deploy").save(path)
    results = opskit.load_plan(path).apply()
    assert [row.stdout.strip() for row in results] == list(embedded.inventory.names)
    moved = opskit.Inventory(
        opskit.Host(host.name, host.address, 1, host.user, host.roles, host.vars) for host in embedded.inventory
    )
    with opskit.use(moved), pytest.raises(PlanChanged, match="app1 has another port"):
        opskit.load_plan(path).apply()


def test_a_secret_reaches_the_host_and_comes_back_masked(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S10, S11, S12: in the command, the environment and standard input; echoed in pieces, in Base64, as an error."""
    value = "c4n$ary' \"x"
    monkeypatch.setenv("OPSKIT_TEST_CANARY", value)
    canary = opskit.secret(env="OPSKIT_TEST_CANARY")
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    script = (
        "x={{ canary }}\n"
        'test "$x" = "$TOKEN" && test "$x" = "$(cat)" && test ${#x} = 11\n'
        'printf "%s\\n" "$x" | sed "s/./&\\n/4" | while read -r part; do printf "%s" "$part"; done; echo\n'
        'echo "$x"; printf "before%s" "$x" | base64; echo "$x" >&2; ps -o args= -p $$ -p $PPID\n'
        "exit 3"
    )
    with configure(env={"TOKEN": canary}):
        plan = opskit.plan(
            script, stdin=canary, variables={"canary": canary}, on_output=lambda *line: told.append(str(line)), name="x"
        )
        with pytest.raises(CommandError) as caught:
            plan.apply()
    results = caught.value.results
    assert {row.exit_code for row in results} == {3}
    saved = opskit.plan(script, stdin=canary, env={"TOKEN": canary}, variables={"canary": canary})
    saved.save(tmp_path / "x.plan")
    everything = "\n".join(
        [
            *(repr(caught.value), str(caught.value), *caught.value._render_traceback_(), repr(results)),
            *(results.df.to_csv(), str(results._repr_mimebundle_()), results.to_markdown(), str(plan), repr(told)),
            *(caplog.text, repr(opskit.settings), (tmp_path / "x.plan").read_text(), plan._repr_html_()),
        ]
    )
    assert "********" in everything
    assert results[0].stdout.splitlines()[1] == "********"
    for form in (value, repr(value)[1:-1], "NG4kYXJ5", "yNG4kYX"):
        assert form not in everything
