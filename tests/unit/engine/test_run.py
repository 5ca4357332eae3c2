"""The engine, on a transport that answers from a script."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit import events, masking
from opskit.engine import run as run_module
from opskit.engine.ports import Lost, Refused, Unreachable
from opskit.engine.run import Run
from opskit.fleet import Host, Inventory
from opskit.fleet.names import Names
from opskit.progress import Progress
from opskit.results import Results
from opskit.results.result import Status
from opskit.settings import Settings
from opskit.testing import Reply, ScriptedConnection, ScriptedTransport
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from opskit.engine.capture import Capture
    from opskit.testing import ScriptedProcess
    from opskit.work.plan import Plan, Step

FLEET = Inventory([Host(name) for name in ("a", "b", "c", "d", "e")])
BAD = Reply(exit_code=1)
HANGS = Reply(hangs=True)


class Ended(NamedTuple):
    """A run that has ended, and all that it told."""

    results: Results
    told: list[events.Event]
    run: Run

    @property
    def statuses(self) -> dict[str, str]:
        """The status of each host's last row."""
        return {row.host: row.status for row in self.results}


def planned(inventory: Inventory = FLEET, *commands: str, **options: Any) -> Plan:
    """Each command on every host, or on those whose role it is."""
    settings = Settings()
    names = Names.of(None, {}, settings)
    draft = Draft(options, settings, "test")
    draft.compile_check(names, "test")
    for command in commands or ("all",):
        draft.when("True" if command == "all" else f"in_({command!r})", command, names, "test", options={})
    return draft.plan(lambda: inventory)


def ran(
    plan: Plan,
    transport: ScriptedTransport | None = None,
    cancel_at: int | None = None,
    cancel_after: int | None = None,
    **options: Any,
) -> Ended:
    """Run a plan; the cancel, if any, comes when so many events were told, or after so many turns of the loop."""
    told: list[events.Event] = []

    async def finished() -> Ended:
        def emit(event: events.Event) -> None:
            told.append(event)
            if len(told) == cancel_at:
                asyncio.get_running_loop().call_soon(run.cancel)

        run = Run(plan, transport or ScriptedTransport(), emit, max_output=options.pop("max_output", 1000), **options)

        async def cancel_later(turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            run.cancel()

        cancelling = asyncio.ensure_future(cancel_later(cancel_after)) if cancel_after is not None else None
        async with asyncio.timeout(20):
            results = await run.finish()
        if cancelling is not None:
            cancelling.cancel()
        return Ended(results, told, run)

    return asyncio.run(finished())


def bad_on(*names: str) -> ScriptedTransport:
    """Commands fail on these hosts."""
    return ScriptedTransport(lambda host, command: BAD if host in names and command else Reply())


def of_kind(told: Iterable[events.Event], kind: type[Any]) -> list[Any]:
    """The events of a kind."""
    return [event for event in told if isinstance(event, kind)]


def test_events_tell_the_run_from_its_start_to_its_end() -> None:
    """The events come in order, with the plan first, the results last, and each step between its chunk's ends."""
    ended = ran(planned(FLEET.select(limit=3), chunk=2, fanout=1))
    assert [event.kind for event in ended.told] == [
        "run_started",
        *["chunk_started", *["step_started", "step_ended"] * 2, "chunk_ended"],
        *["chunk_started", "step_started", "step_ended", "chunk_ended"],
        "run_ended",
    ]
    started = of_kind(ended.told, events.ChunkStarted)
    assert [(event.chunk, event.hosts, event.steps) for event in started] == [(1, 2, 2), (2, 1, 1)]
    assert ended.told[-1] == events.RunEnded(ended.results)
    assert [event.result for event in of_kind(ended.told, events.StepEnded)] == list(ended.results)


def test_rows_have_what_the_command_came_to() -> None:
    """Exit code, signal, both streams, start and duration are in the row, and `error` says how a command failed."""
    replies = {
        "a": Reply(0, b"fine\n"),
        "b": Reply(3, b"out", b"first\nNo space left\n\n"),
        "c": Reply(None, signal="TERM"),
        "d": Reply(None),
        "e": Reply(1),
    }
    rows = ran(planned(), ScriptedTransport(lambda host, _: replies[host])).results
    assert [(row.status, row.exit_code, row.signal, row.error) for row in rows] == [
        ("ok", 0, None, None),
        ("failed", 3, None, "exit code 3: No space left"),
        ("failed", None, "TERM", "killed by signal TERM"),
        ("failed", None, None, "ended without an exit code"),
        ("failed", 1, None, "exit code 1"),
    ]
    assert (rows[1].stdout, rows[1].stderr) == ("out", "first\nNo space left\n\n")
    assert all(row.started_at and row.seconds is not None and row.attempt == 1 and row.chunk == 1 for row in rows)


def test_a_host_that_can_not_be_reached_gets_nothing_sent() -> None:
    """A25: all its steps are unreachable with the reason and the cause; the other hosts run."""
    transport = ScriptedTransport(
        lambda host, _: Reply(unreachable="no route", cause="host_key") if host == "b" else Reply()
    )
    ended = ran(planned(Inventory([Host("a"), Host("b", roles={"x"})]), "all", "x", on_error="continue"), transport)
    assert [(row.host, row.status, row.error, row.cause) for row in ended.results] == [
        ("a", "ok", None, None),
        ("b", "unreachable", "no route", "host_key"),
        ("b", "unreachable", "no route", "host_key"),
    ]
    assert transport.sent == [("a", "all")]
    assert ended.results[1].attempt is None
    assert ended.results[1].seconds is None


def test_a_lost_connection_is_unknown_and_keeps_what_arrived() -> None:
    """A24: the row keeps its output, has no exit code, and no other row changes."""
    ended = ran(planned(), ScriptedTransport(lambda host, _: Reply(stdout=b"begun\n", lost=host == "c")))
    row = ended.results[2]
    assert (row.status, row.exit_code, row.stdout) == ("unknown", None, "begun\n")
    assert ended.statuses == dict.fromkeys("abde", "ok") | {"c": "unknown"}


def test_a_command_that_outlives_its_timeout_is_ended() -> None:
    """A35: it is ended, its row is `timeout` with what arrived, and the other rows are ok."""
    transport = ScriptedTransport(lambda host, _: Reply(stdout=b"begun\n", hangs=host == "c"))
    ended = ran(planned(timeout=0.01), transport)
    assert transport.ended == [("c", "all")]
    assert ended.statuses == dict.fromkeys("abde", "ok") | {"c": "timeout"}
    assert ended.results[2].stdout == "begun\n"
    assert ended.results[2].error == "did not end within 0.01 s; it was ended"


class Clumsy(ScriptedTransport):
    """Its processes can't be ended, or other methods raise what no transport may."""

    def __init__(self, broken: str, error: Exception | None = None, host: str = "c") -> None:
        super().__init__(lambda _host, _command: HANGS if broken == "end" else Reply(stdout=b"begun\n"))
        self._broken = broken
        self._error = error
        self._host = host

    @asynccontextmanager
    async def connection(self, host: Host, connect_timeout: float) -> AsyncIterator[ScriptedConnection]:
        """Break here, or later."""
        here = host.name == self._host
        if here and self._broken == "connection" and self._error is not None:
            raise self._error
        async with super().connection(host, connect_timeout) as connection:
            yield ClumsyConnection(self, self._broken, self._error) if here else connection


class ClumsyConnection(ScriptedConnection):
    """A connection of a clumsy transport."""

    def __init__(self, transport: ScriptedTransport, broken: str, error: Exception | None) -> None:
        super().__init__(transport)
        self._broken = broken
        self._error = error

    async def start(self, step: Step, capture: Capture) -> ScriptedProcess:
        """Start, with what is broken."""
        if self._broken == "start" and self._error is not None:
            raise self._error
        process = await super().start(step, capture)

        async def broken() -> Any:
            if self._error is None:
                return "process group 7"
            raise self._error

        if self._broken in ("wait", "end"):
            setattr(process, self._broken, broken)
        return process


def test_a_command_that_can_not_be_ended_may_still_run() -> None:
    """Where the end is not sure, the row says so and names the host (R6)."""
    ended = ran(planned(FLEET.select(hosts="c"), timeout=0.01), Clumsy("end"))
    assert ended.results[0].error == "did not end within 0.01 s; it may still run on c: process group 7"


@pytest.mark.parametrize(
    ("error", "status", "sent"),
    [
        (Unreachable("gone", "authentication"), "unreachable", False),
        (Refused("no session"), "failed", False),
        (Lost("gone in the middle"), "unknown", True),
    ],
)
def test_each_way_to_fail_at_the_start_has_its_fate(error: Exception, status: str, *, sent: bool) -> None:
    """`start` says by its exception whether the command may have run, and the row repeats it (R4)."""
    ended = ran(planned(), Clumsy("start", error))
    row = ended.results[2]
    assert (row.status, row.error, row.attempt is not None) == (status, str(error), sent or status == "failed")
    assert row.cause == getattr(error, "cause", None)
    assert ended.statuses == dict.fromkeys("abde", "ok") | {"c": status}


@pytest.mark.parametrize("broken", ["connection", "start", "wait"])
def test_a_fault_of_a_transport_stays_with_its_host(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    """R7, R4: what no transport may raise is one row's fate and one log entry: `unknown` if it may have been sent."""
    ended = ran(planned(fanout=2), Clumsy(broken, ZeroDivisionError("oops")))
    sent = broken != "connection"
    assert ended.statuses == dict.fromkeys("abde", "ok") | {"c": "unknown" if sent else "unreachable"}
    assert "ZeroDivisionError: oops" in str(ended.results[2].error)
    assert ("may still run on c" in str(ended.results[2].error)) == sent
    assert ended.told[-1].kind == "run_ended"
    assert len(caplog.records) == 1


def test_a_fault_while_ending_a_command_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A process whose `end` raises is `timeout`, and may still run."""
    ended = ran(planned(FLEET.select(hosts="c"), timeout=0.01), Clumsy("end", ZeroDivisionError("oops")))
    assert ended.statuses == {"c": "timeout"}
    assert "may still run on c" in str(ended.results[0].error)
    assert len(caplog.records) == 1


def test_a_failing_host_stops_no_other_of_its_chunk() -> None:
    """A21, P28: without max_failures a chunk is judged at its end, also where hosts come one after the other."""
    transport = bad_on("a")
    ended = ran(planned(chunk=3, fanout=1), transport)
    assert ended.statuses == {"a": "failed", "b": "ok", "c": "ok", "d": "not_started", "e": "not_started"}
    assert transport.dialled == ["a", "b", "c"]
    assert [event.good for event in of_kind(ended.told, events.ChunkEnded)] == [False]


@pytest.mark.parametrize("reply", [BAD, Reply(lost=True), Reply(unreachable="down"), HANGS])
def test_every_bad_fate_stops_the_chunks(reply: Reply) -> None:
    """A26: failed, unknown, unreachable and timeout each end the run with their chunk."""
    ended = ran(planned(chunk=2, timeout=0.01), ScriptedTransport(lambda host, _: reply if host == "b" else Reply()))
    assert [row.status for row in ended.results[2:]] == ["not_started"] * 3


def test_continue_runs_every_chunk() -> None:
    """A27: with on_error="continue" chunks go on, whatever failed."""
    ended = ran(planned(chunk=2, on_error="continue"), bad_on("a", "b", "e"))
    assert ended.statuses == {"a": "failed", "b": "failed", "c": "ok", "d": "ok", "e": "failed"}
    assert [event.good for event in of_kind(ended.told, events.ChunkEnded)] == [True] * 3


@pytest.mark.parametrize("on_error", ["stop", "continue"])
@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0, ["failed", *["not_started"] * 4]),
        (1, ["failed", "ok", "failed", "not_started", "not_started"]),
        ("40%", ["failed", "ok", "failed", "ok", "ok"]),
        ("39%", ["failed", "ok", "failed", "not_started", "not_started"]),
    ],
)
def test_beyond_max_failures_nothing_more_is_sent(on_error: str, limit: int | str, expected: list[str]) -> None:
    """A limit that was given holds at once, in the middle of a chunk and under "continue" too; shares round down."""
    ended = ran(planned(max_failures=limit, fanout=1, on_error=on_error), bad_on("a", "c"))
    assert [row.status for row in ended.results] == expected


def test_tolerated_failures_let_the_next_chunk_start() -> None:
    """With max_failures=1 one bad host ends nothing, two do."""
    assert ran(planned(chunk=2, max_failures=1), bad_on("b")).statuses["e"] == "ok"
    assert ran(planned(chunk=2, max_failures=1), bad_on("b", "c")).statuses["e"] == "not_started"


def test_a_host_whose_branches_all_fail_is_one_bad_host() -> None:
    """max_failures counts hosts, not rows."""
    inventory = Inventory([Host(name, roles={"x", "y"}) for name in "ab"])
    ended = ran(planned(inventory, "x", "y", max_failures=1, chunk=1), bad_on("a"))
    assert [row.status for row in ended.results] == ["failed", "failed", "ok", "ok"]


@pytest.mark.parametrize(("fanout", "most"), [(1, 1), (3, 3), (64, 5)])
def test_fanout_is_used_and_never_exceeded(fanout: int, most: int) -> None:
    """So many hosts are worked on at once, each with one connection whatever the number of its branches."""
    inventory = Inventory([Host(name, roles={"x"}) for name in "abcde"])
    transport = ScriptedTransport()
    ran(planned(inventory, "all", "x", fanout=fanout), transport)
    assert transport.most_at_once == most
    assert transport.dialled == ["a", "b", "c", "d", "e"]


def test_a_worker_takes_the_next_host_as_soon_as_it_has_room() -> None:
    """A slow host holds one place of `fanout`, not the others."""
    transport = ScriptedTransport(lambda host, _: HANGS if host == "a" else Reply())
    ended = ran(planned(fanout=2, timeout=0.05), transport)
    order = [event.result.host for event in of_kind(ended.told, events.StepEnded)]
    assert order == ["b", "c", "d", "e", "a"]
    assert [row.host for row in ended.results] == ["a", "b", "c", "d", "e"]


def test_skipped_hosts_are_rows_in_place_and_never_dialled() -> None:
    """A12: the rows are in inventory order, with the hosts that no branch matched."""
    inventory = Inventory([Host("a"), Host("b", roles={"x"}), Host("c"), Host("d", roles={"x", "y"})])
    transport = ScriptedTransport()
    ended = ran(planned(inventory, "x", "y"), transport)
    assert [(row.host, row.command, row.status) for row in ended.results] == [
        ("a", None, "skipped"),
        ("b", "x", "ok"),
        ("c", None, "skipped"),
        ("d", "x", "ok"),
        ("d", "y", "ok"),
    ]
    assert transport.dialled == ["b", "d"]


def test_a_plan_without_steps_ends_at_once() -> None:
    """A11: where nothing matched, all is skipped; the run still begins and ends."""
    ended = ran(planned(FLEET, "nobody"))
    assert set(ended.statuses.values()) == {"skipped"}
    assert [event.kind for event in ended.told] == ["run_started", "run_ended"]


def test_output_is_told_only_where_somebody_listens() -> None:
    """Lines become events for steps with on_output, for no others."""
    transport = ScriptedTransport(lambda _host, _command: Reply(stdout=b"one\ntwo", stderr=b"oops\n"))
    plan = planned(FLEET.select(limit=1))
    assert not of_kind(ran(plan, transport).told, events.Output)
    heard = planned(FLEET.select(limit=1), on_output=lambda *_: None)
    ended = ran(heard, transport)
    lines = [(event.stream, event.text) for event in of_kind(ended.told, events.Output)]
    assert lines == [("stdout", "one"), ("stderr", "oops"), ("stdout", "two")]
    kinds = [event.kind for event in ended.told]
    assert kinds.index("step_ended") > max(index for index, kind in enumerate(kinds) if kind == "output")


def test_output_beyond_the_limit_is_marked() -> None:
    """`max_output` bounds each stream, and the row says that something was left out."""
    transport = ScriptedTransport(lambda _host, _command: Reply(stdout=b"x" * 100))
    row = ran(planned(FLEET.select(limit=1)), transport, max_output=10).results[0]
    assert row.truncated
    assert row.stdout.startswith("xxxxx\n... 90 bytes")


def test_cancel_ends_what_runs_and_keeps_what_arrived() -> None:
    """Running commands are ended and `cancelled` with their output; ended rows stay; the rest is not_started."""
    transport = ScriptedTransport(lambda host, _: Reply(stdout=b"begun\n", hangs=host in "bc"))
    ended = ran(planned(chunk=3, fanout=3), transport, cancel_at=6)
    assert ended.run.cancelled
    assert ended.statuses == {
        "a": "ok",
        "b": "cancelled",
        "c": "cancelled",
        "d": "not_started",
        "e": "not_started",
    }
    assert [row.stdout for row in ended.results[:3]] == ["begun\n"] * 3
    assert ended.results[1].error == "cancelled; it was ended"
    assert sorted(transport.ended) == [("b", "all"), ("c", "all")]
    assert transport.dialled == ["a", "b", "c"]


def test_cancel_before_the_first_chunk_dials_nobody() -> None:
    """A cancel that comes with the start event leaves all steps not_started."""
    transport = ScriptedTransport()
    assert set(ran(planned(), transport, cancel_at=1).statuses.values()) == {"not_started"}
    assert transport.sent == []


class Slow(ScriptedTransport):
    """Its commands hang, and take for ever to end."""

    def __init__(self) -> None:
        super().__init__(lambda _host, _command: HANGS)
        self.ending = asyncio.Event()

    @asynccontextmanager
    async def connection(self, host: Host, connect_timeout: float) -> AsyncIterator[ScriptedConnection]:
        """Open."""
        yield SlowConnection(self)


class SlowConnection(ScriptedConnection):
    """A connection of a slow transport."""

    def __init__(self, transport: Slow) -> None:
        super().__init__(transport)
        self._ending = transport.ending

    async def start(self, step: Step, capture: Capture) -> ScriptedProcess:
        """Send what never ends."""
        process = await super().start(step, capture)

        async def end() -> None:
            self._ending.set()
            await asyncio.Event().wait()

        setattr(process, "end", end)  # noqa: B010 - to the type checker a method can't be replaced
        return process


@pytest.mark.parametrize("first", ["cancel", "timeout"])
def test_a_cancel_does_not_wait_for_an_end_that_is_under_way(first: str) -> None:
    """R8: where ending takes long after a first cancel, or after a timeout, a cancel gives it up: `unknown`."""

    async def twice() -> Results:
        transport, started = Slow(), asyncio.Event()
        told: list[events.Event] = []

        def emit(event: events.Event) -> None:
            told.append(event)
            if isinstance(event, events.StepStarted):
                started.set()

        timeout = 0.001 if first == "timeout" else None
        run = Run(planned(FLEET.select(limit=1), timeout=timeout), transport, emit, max_output=100)
        finishing = asyncio.ensure_future(run.finish())
        await started.wait()
        if first == "cancel":
            run.cancel()
        await transport.ending.wait()
        assert not finishing.done()
        run.cancel()
        async with asyncio.timeout(5):
            results = await finishing
        assert [event.kind for event in told[-3:]] == ["step_ended", "chunk_ended", "run_ended"]
        return results

    row = asyncio.run(twice())[0]
    assert row.status == "unknown"
    assert str(row.error).endswith("a cancel did not wait for its end; it may still run on a")


def test_results_may_be_read_while_it_runs() -> None:
    """A reading is a frozen snapshot: what has ended has its row, all else is not_started."""
    snapshots: list[Results] = []

    async def watched() -> None:
        def emit(event: events.Event) -> None:
            if isinstance(event, events.StepEnded):
                snapshots.append(run.results())

        run = Run(planned(fanout=1), ScriptedTransport(), emit, max_output=100)
        await run.finish()

    asyncio.run(watched())
    assert [[row.status for row in shot].count("ok") for shot in snapshots] == [1, 2, 3, 4, 5]
    assert all(len(shot) == 5 for shot in snapshots)


def test_what_the_transport_lacks_is_raised_before_anything_is_dialled() -> None:
    """An error of `prepare` goes up as it is, nobody was dialled, and the end event comes all the same."""

    class Unprepared(ScriptedTransport):
        async def prepare(self, steps: Iterable[Step]) -> None:
            raise ValueError("no key")

    transport = Unprepared()
    told: list[events.Event] = []
    with pytest.raises(ValueError, match="no key"):
        asyncio.run(Run(planned(), transport, told.append, max_output=100).finish())
    assert [event.kind for event in told] == ["run_started", "run_ended"]
    assert transport.dialled == []


def test_prepare_is_given_every_step() -> None:
    """Steps are prepared in order; of skipped hosts nothing is."""
    seen: list[str] = []

    class Noting(ScriptedTransport):
        async def prepare(self, steps: Iterable[Step]) -> None:
            seen.extend(step.host.name for step in steps)

    inventory = Inventory([Host("a"), Host("b", roles={"x", "y"}), Host("c", roles={"y"})])
    ran(planned(inventory, "x", "y"), Noting())
    assert seen == ["b", "b", "c"]


class Random(ScriptedTransport):
    """Answers as was drawn; connecting and sending take as many turns of the loop as was drawn."""

    def __init__(self, script: Callable[[str, str], Reply], turns: int) -> None:
        super().__init__(script)
        self._turns = turns

    @asynccontextmanager
    async def connection(self, host: Host, connect_timeout: float) -> AsyncIterator[ScriptedConnection]:
        """Open, after some turns."""
        async with super().connection(host, connect_timeout):
            for _ in range(self._turns):
                await asyncio.sleep(0)
            yield RandomConnection(self, self._turns)


class RandomConnection(ScriptedConnection):
    """Takes its time."""

    def __init__(self, transport: ScriptedTransport, turns: int) -> None:
        super().__init__(transport)
        self._turns = turns

    async def start(self, step: Step, capture: Capture) -> ScriptedProcess:
        """Answer, after some turns."""
        for _ in range(self._turns):
            await asyncio.sleep(0)
        return await super().start(step, capture)


replies = st.sampled_from(
    [Reply(), Reply(stdout=b"x\n"), BAD, HANGS, Reply(lost=True), Reply(None, signal="KILL"), Reply(unreachable="down")]
)


@given(data=st.data())
def test_every_step_has_exactly_one_fate(data: st.DataObject) -> None:
    """R3: whatever hosts do and whenever a cancel comes: one row a step, one fate, and the end event last."""
    roles = data.draw(st.lists(st.sets(st.sampled_from(["x", "y"])), min_size=1, max_size=6))
    inventory = Inventory([Host(f"h{number}", roles=found) for number, found in enumerate(roles)])
    scripts = data.draw(
        st.dictionaries(st.sampled_from([(n, c) for n in inventory.names for c in ("x", "y", "")]), replies)
    )
    options: dict[str, Any] = {"timeout": 0.002, "fanout": data.draw(st.integers(1, 4))}
    if chunk := data.draw(st.none() | st.integers(1, 4)):
        options["chunk"] = chunk
    options["on_error"] = data.draw(st.sampled_from(["stop", "continue"]))
    options["max_failures"] = data.draw(st.none() | st.integers(0, 3))
    plan = planned(inventory, "x", "y", **options)
    transport = Random(lambda host, command: scripts.get((host, command), Reply()), data.draw(st.integers(0, 3)))
    ended = ran(plan, transport, cancel_after=data.draw(st.none() | st.integers(0, 30)))

    rows = list(ended.results)
    assert len(rows) == len(plan.steps) + len(plan.skipped)
    assert {row.status for row in rows} <= set(get_args(Status)) - {"running"}
    assert [host for host, _ in groupby(row.host for row in rows)] == list(inventory.names)
    assert transport.most_at_once <= options["fanout"]
    check_sendings(ended, plan, transport)
    check_events(ended, plan)


def check_sendings(ended: Ended, plan: Plan, transport: ScriptedTransport) -> None:
    """No step was sent twice; `not_started`, `unreachable` and `skipped` were never sent; all others were."""
    sent = set(transport.sent)
    assert len(sent) == len(transport.sent)
    unsent = {"not_started", "unreachable", "skipped"}
    assert {(row.host, row.command) for row in ended.results if row.status not in unsent} == sent
    if not ended.run.cancelled and plan.terms.on_error == "continue" and plan.terms.max_failures is None:
        assert "not_started" not in ended.statuses.values()
    assert ended.run.cancelled or "cancelled" not in ended.statuses.values()


def check_events(ended: Ended, plan: Plan) -> None:
    """The end comes last, each step at most once, and no chunk begins before the one before it ended."""
    kinds = [event.kind for event in ended.told]
    assert (kinds[0], kinds[-1], kinds.count("run_ended")) == ("run_started", "run_ended", 1)
    step_ends = of_kind(ended.told, events.StepEnded)
    assert len({id(event.step) for event in step_ends}) == len(step_ends)
    told = {(row.host, row.command): row for row in (event.result for event in step_ends)}
    silent = {"not_started", "skipped"}
    assert all(told.get((row.host, row.command), row) is row for row in ended.results if row.status not in silent)
    assert {key for key, row in told.items() if row.status not in silent} == {
        (row.host, row.command) for row in ended.results if row.status not in silent
    }
    chunk = 0
    for event in ended.told:
        if isinstance(event, events.ChunkStarted):
            chunk += 1
            assert event.chunk == chunk
        elif isinstance(event, (events.StepStarted, events.StepEnded)):
            assert event.step.chunk == chunk
    progress = Progress()
    for event in ended.told:
        progress.apply(event)
    assert progress.over
    assert progress.running == 0
    assert sum(part.ended.total() for part in progress.chunks) == len(step_ends)


def flaky(down: dict[str, int], **replies: Reply) -> ScriptedTransport:
    """These hosts can't be reached so many times, and then answer."""
    tries: Counter[str] = Counter()

    def script(host: str, command: str) -> Reply:
        if not command:
            tries[host] += 1
            return Reply(unreachable="no route") if tries[host] <= down.get(host, 0) else Reply()
        return replies.get(host, Reply())

    return ScriptedTransport(script)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The unreachable are tried again without a wait."""
    monkeypatch.setattr(run_module, "FIRST_BACKOFF", 0.0)


@pytest.mark.usefixtures("at_once")
def test_the_unreachable_are_tried_again() -> None:
    """So many rounds; a row's `attempt` says which one reached its host. Who was reached is not asked again."""
    transport = flaky({"b": 1, "c": 2, "d": 3, "e": 9}, a=BAD)
    ended = ran(planned(retries=2, on_error="continue"), transport)
    assert [(row.status, row.attempt) for row in ended.results] == [
        ("failed", 1),
        ("ok", 2),
        ("ok", 3),
        ("unreachable", None),
        ("unreachable", None),
    ]
    assert Counter(transport.dialled) == {"a": 1, "b": 2, "c": 3, "d": 3, "e": 3}
    assert Counter(name for name, _ in transport.sent) == {"a": 1, "b": 1, "c": 1}
    assert len(of_kind(ended.told, events.StepEnded)) == 5


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("cause", ["host_key", "authentication"])
def test_who_lets_nobody_in_is_not_asked_again(cause: Any) -> None:
    """F19: nor is a host whose key is another one."""
    transport = ScriptedTransport(lambda host, _: Reply(unreachable="no", cause=cause) if host == "b" else Reply())
    assert ran(planned(retries=3), transport).statuses["b"] == "unreachable"
    assert transport.dialled.count("b") == 1


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("reply", [BAD, Reply(lost=True), HANGS])
def test_nothing_else_is_ever_sent_twice(reply: Reply) -> None:
    """R4: what failed, was lost or timed out may have run."""
    transport = ScriptedTransport(lambda host, command: reply if command and host == "b" else Reply())
    ran(planned(retries=3, timeout=0.01), transport)
    assert transport.sent.count(("b", "all")) == 1


@pytest.mark.usefixtures("at_once")
def test_a_fault_in_a_later_round_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """R3, R7: it is not hidden behind the row of the round before."""

    class Breaking(ScriptedTransport):
        @asynccontextmanager
        async def connection(self, host: Host, connect_timeout: float) -> AsyncIterator[ScriptedConnection]:
            self.dialled.append(host.name)
            if self.dialled:
                raise Unreachable("no route") if len(self.dialled) == 1 else ZeroDivisionError("oops")
            yield ScriptedConnection(self)

    ended = ran(planned(FLEET.select(limit=1), retries=2), Breaking())
    assert "ZeroDivisionError: oops" in str(ended.results[0].error)
    assert len(of_kind(ended.told, events.StepEnded)) == 1
    assert len(caplog.records) == 1


def test_the_waits_between_rounds_grow_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each twice the one before, half as much more or less, up to 48 s; also after a thousand rounds."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    run = Run(planned(FLEET.select(limit=1), retries=1100), Never(), lambda _: None, max_output=100)
    assert asyncio.run(run.finish())[0].status == "unreachable"
    assert len(waits) == 1100
    for number, wait in enumerate(waits):
        middle = min(2**number, 32)
        assert 0.5 * middle <= wait <= 1.5 * middle
    assert len(set(waits)) > 100


class Never(ScriptedTransport):
    """Reaches nobody, without a turn of the loop."""

    @asynccontextmanager
    async def connection(self, host: Host, connect_timeout: float) -> AsyncIterator[ScriptedConnection]:
        """Refuse."""
        if not self.dialled:
            raise Unreachable("no route")
        yield ScriptedConnection(self)


def cancelled_when(plan: Plan, transport: ScriptedTransport, kind: str, **options: Any) -> Ended:
    """Cancel a moment after the first event of this kind, when the run waits; it must end in no time."""
    told: list[events.Event] = []

    async def finished() -> Ended:
        def emit(event: events.Event) -> None:
            told.append(event)
            if event.kind == kind:
                asyncio.get_running_loop().call_later(0.01, run.cancel)

        run = Run(plan, transport, emit, max_output=100, **options)
        async with asyncio.timeout(5) as limit:
            results = await run.finish()
        assert not limit.expired()
        return Ended(results, told, run)

    return asyncio.run(finished())


def test_a_cancel_cuts_a_pause() -> None:
    """Between chunks; the next one does not begin."""
    ended = cancelled_when(planned(chunk=2, pause=60), ScriptedTransport(), "chunk_ended")
    assert " ".join(ended.statuses.values()) == "ok ok not_started not_started not_started"


def test_a_cancel_cuts_the_wait_for_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """The unreachable stay so, with one end each."""
    monkeypatch.setattr(run_module, "FIRST_BACKOFF", 60.0)
    ended = cancelled_when(planned(retries=3), flaky({"b": 9}), "step_ended")
    assert ended.statuses == dict.fromkeys("acde", "ok") | {"b": "unreachable"}
    assert len(of_kind(ended.told, events.StepEnded)) == 5


def test_nobody_waits_to_try_a_cancelled_host_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no other host is left, the run ends with its round."""
    monkeypatch.setattr(run_module, "FIRST_BACKOFF", 60.0)

    async def finished() -> Results:
        def emit(event: events.Event) -> None:
            if isinstance(event, events.StepStarted) and event.step.host.name == "d":
                asyncio.get_running_loop().call_soon(run.cancel, ["b"])

        run = Run(planned(retries=3, fanout=1), flaky({"b": 9}), emit, max_output=100)
        async with asyncio.timeout(5):
            return await run.finish()

    assert [row.status for row in asyncio.run(finished())] == ["ok", "unreachable", "ok", "ok", "ok"]


def test_a_cancel_while_it_is_made_ready_dials_nobody() -> None:
    """Nor does one that comes before the run has begun, and then nothing is made ready."""

    class Preparing(ScriptedTransport):
        prepared = 0

        async def prepare(self, steps: Iterable[Step]) -> None:
            self.prepared += 1
            await asyncio.Event().wait()

    transport = Preparing()
    ended = cancelled_when(planned(), transport, "run_started")
    assert set(ended.statuses.values()) == {"not_started"}
    assert (transport.dialled, transport.prepared) == ([], 1)

    early = Preparing()
    run = Run(planned(), early, lambda _: None, max_output=100)
    run.cancel()
    assert {row.status for row in asyncio.run(run.finish())} == {"not_started"}
    assert early.prepared == 0


def test_a_pause_is_made_between_chunks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """N3: neither before the first nor after the last, nor after one that failed."""
    real, waits = asyncio.sleep, []

    async def sleep(seconds: float) -> None:
        if seconds:
            waits.append(seconds)
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    ran(planned(chunk=2, pause=7))
    assert waits == [7, 7]
    ran(planned(chunk=2, pause=7), bad_on("a"))
    assert waits == [7, 7]


def failing_check(*names: str) -> ScriptedTransport:
    """The check fails on these hosts."""
    return ScriptedTransport(
        lambda host, command: Reply(1, stderr=b"sick\n") if command == "healthy" and host in names else Reply()
    )


def test_a_check_runs_on_each_chunks_hosts_after_it() -> None:
    """Where it passes nothing is said of it; the results have the steps alone."""
    transport = failing_check()
    ended = ran(planned(chunk=2, check="healthy"), transport)
    assert [command for _, command in transport.sent] == [*["all"] * 2, *["healthy"] * 2] * 2 + ["all", "healthy"]
    assert len(ended.results) == 5
    assert ended.run.why_stopped is None
    assert len(of_kind(ended.told, events.StepEnded)) == 5


def test_a_check_that_fails_stops_the_next_chunk() -> None:
    """As a failed chunk does; its rows stand behind those of the steps, and the reason names chunk and command."""
    ended = ran(planned(chunk=2, check="healthy"), failing_check("b"))
    assert [(row.host, row.branch, row.status) for row in ended.results[5:]] == [("b", "check", "failed")]
    assert ended.results[5].error == "exit code 1: sick"
    assert [row.status for row in ended.results[:5]] == ["ok", "ok", *["not_started"] * 3]
    assert ended.run.why_stopped == "the check after chunk 1 of 3: `healthy` did not pass on 1 host"
    assert [event.good for event in of_kind(ended.told, events.ChunkEnded)] == [False]


def test_a_check_that_fails_under_continue_stops_nothing() -> None:
    """Its rows are shown all the same."""
    ended = ran(planned(chunk=2, check="healthy", on_error="continue"), failing_check("b", "c"))
    assert [row.status for row in ended.results] == [*["ok"] * 5, "failed", "failed"]
    assert ended.run.why_stopped is None


def test_a_host_that_is_tolerated_may_fail_its_check_too() -> None:
    """max_failures counts bad hosts, be it by their step or by their check."""
    transport = ScriptedTransport(lambda host, command: BAD if command and host == "b" else Reply())
    ended = ran(planned(chunk=2, check="healthy", max_failures=1), transport)
    assert [row.status for row in ended.results] == ["ok", "failed", "ok", "ok", "ok", "failed"]
    ended = ran(planned(chunk=2, check="healthy", max_failures=1), failing_check("a", "c"))
    assert ended.run.why_stopped == "the check after chunk 2 of 3: `healthy` did not pass on 1 host"


def test_after_a_failed_chunk_nothing_is_checked() -> None:
    """It has stopped the run already."""
    transport = bad_on("a")
    ran(planned(chunk=2, check="healthy"), transport)
    assert ("a", "healthy") not in transport.sent


def test_a_cancelled_check_shows_only_what_it_began() -> None:
    """What of it was not started is no row."""
    transport = ScriptedTransport(lambda host, command: HANGS if command == "healthy" and host == "a" else Reply())
    ended = cancelled_when(planned(chunk=5, fanout=1, check="healthy"), transport, "step_ended")
    assert [(row.host, row.status) for row in ended.results[5:]] == [("a", "cancelled")]


def test_a_function_checks_a_chunk() -> None:
    """It is given the rows of the chunk; None lets the next one start."""
    seen: list[list[str]] = []

    async def judge(results: Results) -> str | None:
        seen.append([row.host for row in results])
        return "too slow" if len(seen) == 2 else None

    ended = ran(planned(chunk=2), check=judge)
    assert seen == [["a", "b"], ["c", "d"]]
    assert ended.run.why_stopped == "the check after chunk 2 of 3: too slow"
    assert ended.statuses["e"] == "not_started"


def test_a_host_that_is_cancelled_leaves_the_others() -> None:
    """One that runs is ended, one that waits is not started, one that has ended stays; the next chunk begins."""
    transport = ScriptedTransport(lambda host, _: HANGS if host == "b" else Reply())
    told: list[events.Event] = []

    async def finished() -> Results:
        def emit(event: events.Event) -> None:
            told.append(event)
            if isinstance(event, events.StepStarted) and event.step.host.name == "b":
                asyncio.get_running_loop().call_soon(run.cancel, ["a", "b", "c", "e"])

        run = Run(planned(chunk=3, fanout=1), transport, emit, max_output=100)
        async with asyncio.timeout(5):
            results = await run.finish()
        assert not run.cancelled
        return results

    assert [row.status for row in asyncio.run(finished())] == ["ok", "cancelled", "not_started", "ok", "not_started"]
    assert transport.ended == [("b", "all")]
    assert transport.dialled == ["a", "b", "d"]
    assert [event.good for event in of_kind(told, events.ChunkEnded)] == [True, True]


def test_hosts_that_are_cancelled_twice_are_not_waited_for() -> None:
    """As with a whole run: the second cancel of a host gives up its end, and the other hosts go on."""

    async def twice() -> Results:
        transport, started = Slow(), asyncio.Event()

        def emit(event: events.Event) -> None:
            if isinstance(event, events.StepStarted):
                started.set()

        run = Run(planned(FLEET.select(limit=1)), transport, emit, max_output=100)
        finishing = asyncio.ensure_future(run.finish())
        await started.wait()
        run.cancel(["a"])
        await transport.ending.wait()
        run.cancel(["a"])
        async with asyncio.timeout(5):
            return await finishing

    assert asyncio.run(twice())[0].status == "unknown"


def test_a_cancel_after_the_end_is_none() -> None:
    """Whoever is too late did not cancel."""
    ended = ran(planned())
    ended.run.cancel()
    assert not ended.run.cancelled


def test_each_user_has_one_connection() -> None:
    """N2: branches of one host that log in as other users, in whatever order, run at the same time."""
    inventory = Inventory([Host("a", roles={"x", "y", "z"})])
    settings = Settings()
    draft = Draft({}, settings, "test")
    for role, user in (("x", "ann"), ("y", "bob"), ("z", "ann")):
        draft.when(f"in_({role!r})", role, Names.of(None, {}, settings), "test", options={"user": user})
    transport = ScriptedTransport()
    ended = ran(draft.plan(lambda: inventory), transport)
    assert [row.status for row in ended.results] == ["ok"] * 3
    assert transport.dialled == ["a", "a"]


@pytest.mark.usefixtures("at_once")
def test_too_many_unreachable_hosts_stop_a_run_when_they_were_tried() -> None:
    """A limit counts the unreachable once their rounds are over, and not before."""
    ended = ran(planned(retries=1, max_failures=1, fanout=1, chunk=3), flaky({"a": 1, "b": 1}))
    assert set(ended.statuses.values()) == {"ok"}
    ended = ran(planned(retries=1, max_failures=1, fanout=1, chunk=3), flaky({"a": 9, "b": 9}))
    assert [row.status for row in ended.results] == ["unreachable"] * 2 + ["ok"] + ["not_started"] * 2


def test_rows_know_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """S11, S12: neither their output, cut anywhere, nor their command, nor what went wrong; nor the lines told."""
    monkeypatch.setattr("opskit.masking._known", None)
    plan = planned(FLEET.select(limit=2), "all", on_output=lambda *_: None)
    masking.conceal("hunter2!")
    masking.conceal("all")  # too short for a secret of a user's: here it is the command
    transport = ScriptedTransport(
        lambda host, command: (
            Reply(1, b"x hunter2!\n", b"no hunter2!") if host == "a" else Reply(unreachable="bad hunter2!")
        )
    )
    ended = ran(plan, transport)
    assert (ended.results[0].stdout, ended.results[0].command) == ("x ********\n", "********")
    assert ended.results[0].error == "exit code 1: no ********"
    assert ended.results[1].error == "bad ********"
    assert [event.text for event in of_kind(ended.told, events.Output)] == ["x ********", "no ********"]


@given(data=st.data())
def test_every_step_ends_once_whatever_happens(data: st.DataObject) -> None:
    """R3: with retries, checks, and cancels of hosts and of all: one fate, at most one end event, true progress."""
    names = [f"h{number}" for number in range(data.draw(st.integers(1, 5)))]
    inventory = Inventory([Host(name, roles=data.draw(st.sampled_from([["x"], ["x", "y"]]))) for name in names])
    outcomes = st.sampled_from([Reply(), Reply(stdout=b"x\n"), BAD, HANGS, Reply(lost=True)])
    scripts = {(name, command): data.draw(outcomes) for name in names for command in ("x", "y", "healthy")}
    down = {name: data.draw(st.integers(0, 3)) for name in names}
    options: dict[str, Any] = {"timeout": 0.002, "retries": data.draw(st.integers(0, 2))}
    options |= {"chunk": data.draw(st.integers(1, 5)), "fanout": data.draw(st.integers(1, 3))}
    options |= {"on_error": data.draw(st.sampled_from(["stop", "continue"]))}
    options |= {"max_failures": data.draw(st.none() | st.integers(0, 2))}
    options |= {"check": data.draw(st.sampled_from([None, "healthy"]))}
    plan = planned(inventory, "x", "y", **options)
    tries: Counter[str] = Counter()

    def script(host: str, command: str) -> Reply:
        if command:
            return scripts[host, command]
        tries[host] += 1
        return Reply(unreachable="down") if tries[host] <= down[host] else Reply()

    transport = Random(script, data.draw(st.integers(0, 2)))
    turns = st.tuples(st.integers(0, 40), st.none() | st.sets(st.sampled_from(names), min_size=1))
    cancels = data.draw(st.lists(turns, max_size=3))
    told: list[events.Event] = []

    async def finished() -> Ended:
        run = Run(plan, transport, told.append, max_output=100)

        async def cancel(after: int, hosts: set[str] | None) -> None:
            for _ in range(after):
                await asyncio.sleep(0)
            run.cancel(hosts)

        async with asyncio.timeout(20):
            cancelling = asyncio.gather(*(cancel(*found) for found in cancels))
            results = await run.finish()
            await cancelling
        return Ended(results, told, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "FIRST_BACKOFF", 0.0)
        ended = asyncio.run(finished())

    own = Ended(Results(ended.results.rows[: len(plan.steps)]), told, ended.run)
    check_events(own, plan)
    assert {row.status for row in ended.results} <= set(get_args(Status)) - {"running"}
    assert {row.branch for row in ended.results[len(plan.steps) :]} <= {"check"}
    assert max(Counter(transport.sent).values(), default=1) == 1
    assert all(tries[name] <= 2 * (options["retries"] + 1) for name in names)
    for row in own.results:
        sent = (row.host, row.command) in transport.sent
        assert sent == (row.status not in ("not_started", "unreachable"))
        assert (row.attempt is not None) == sent
    if not cancels and options["on_error"] == "continue" and options["max_failures"] is None:
        assert {row.status for row in own.results}.isdisjoint({"not_started", "cancelled"})
