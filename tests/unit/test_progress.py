"""Progress as a fold of events."""

from __future__ import annotations

from collections import Counter
from dataclasses import FrozenInstanceError, fields, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit import events
from opskit.fleet import Host, Inventory
from opskit.fleet.names import Names
from opskit.progress import MOST_CELLS, Progress, foremost
from opskit.results import WORST_FIRST, HostResult, Results
from opskit.settings import Settings
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from opskit.results.result import Status
    from opskit.work.plan import Plan, Step


def planned(hosts: int = 5, chunk: int = 2) -> Plan:
    """One command on so many hosts."""
    inventory = Inventory([Host(f"h{number}") for number in range(hosts)])
    draft = Draft({"chunk": chunk, "name": "deploy"}, Settings(), "test")
    draft.everywhere("true", Names.of(None, {}, Settings()), "test")
    return draft.plan(lambda: inventory)


def ended(step: Step, status: Status = "ok") -> events.StepEnded:
    """The event of a step's end."""
    return events.StepEnded(step, HostResult(step.host.name, None, step.command, status))


def folded(*told: events.Event) -> Progress:
    """The progress after these events."""
    progress = Progress()
    for event in told:
        progress.apply(event)
    return progress


def counts(progress: Progress) -> list[tuple[int, int, int]]:
    """Running, ended and left of each chunk."""
    return [(chunk.running, chunk.ended.total(), chunk.left) for chunk in progress.chunks]


def test_it_knows_all_chunks_from_the_start() -> None:
    """Before anything ran there is a name, and each chunk with all of its steps left."""
    progress = folded(events.RunStarted(planned()))
    assert progress.name == "deploy"
    assert counts(progress) == [(0, 0, 2), (0, 0, 2), (0, 0, 1)]
    assert not progress.over


def test_steps_move_from_left_to_running_to_ended() -> None:
    """Each step is counted in its own chunk, in one place at a time."""
    plan = planned()
    first, second, third, *_ = plan.steps
    begun = (events.RunStarted(plan), events.ChunkStarted(1, 2, 2), events.StepStarted(first))
    assert counts(folded(*begun)) == [(1, 0, 1), (0, 0, 2), (0, 0, 1)]
    assert folded(*begun).running == 1
    later = (*begun, ended(first), events.StepStarted(second), ended(second, "failed"), events.ChunkEnded(1, good=True))
    progress = folded(*later, events.ChunkStarted(2, 2, 2), events.StepStarted(third))
    assert counts(progress) == [(0, 2, 0), (1, 0, 1), (0, 0, 1)]
    assert progress.chunks[0].ended == {"ok": 1, "failed": 1}
    assert [chunk.over for chunk in progress.chunks] == [True, False, False]


def test_a_step_that_was_never_sent_does_not_leave_running() -> None:
    """An unreachable host ends its steps without a start: nothing runs below zero."""
    plan = planned()
    progress = folded(events.RunStarted(plan), ended(plan.steps[0], "unreachable"))
    assert counts(progress)[0] == (0, 1, 1)
    assert progress.chunks[0].ended == {"unreachable": 1}


def cells(progress: Progress) -> list[tuple[str, str]]:
    """Each cell's hosts and state."""
    return [(",".join(cell.hosts), cell.status) for cell in progress.cells]


def test_each_host_has_a_cell_that_follows_it() -> None:
    """It waits, runs, and then shows what mattered most of all that it did."""
    plan = planned(3, chunk=3)
    first, second, third = plan.steps
    begun = (events.RunStarted(plan), events.StepStarted(first), events.StepStarted(second), ended(first))
    assert cells(folded(*begun)) == [("h0", "ok"), ("h1", "running"), ("h2", "not_started")]
    later = folded(*begun, ended(second, "failed"), ended(third, "unreachable"))
    assert cells(later) == [("h0", "ok"), ("h1", "failed"), ("h2", "unreachable")]


def test_a_host_runs_until_the_last_of_its_steps_has_ended() -> None:
    """Between two steps it is at work as well; of different fates the worst is shown."""
    draft = Draft({}, Settings(), "test")
    for condition in ("True", "1"):
        draft.when(condition, "true", Names.of(None, {}, Settings()), "test", last=False, options={})
    plan = draft.plan(lambda: Inventory([Host("h0")]))
    first, second = plan.steps
    begun = (events.RunStarted(plan), events.StepStarted(first), ended(first, "failed"))
    assert cells(folded(*begun)) == [("h0", "running")]
    assert cells(folded(*begun, events.StepStarted(second), ended(second))) == [("h0", "failed")]


@pytest.mark.parametrize("hosts", [1, MOST_CELLS, MOST_CELLS + 1, 5 * MOST_CELLS])
def test_many_hosts_share_cells(hosts: int) -> None:
    """There are never more cells than can be shown, and each host is in one of them, in order."""
    progress = folded(events.RunStarted(planned(hosts, chunk=hosts)))
    assert len(progress.cells) <= MOST_CELLS
    assert [name for cell in progress.cells for name in cell.hosts] == [f"h{number}" for number in range(hosts)]
    assert all(cell.counts["not_started"] == len(cell.hosts) for cell in progress.cells)


def test_a_cell_shows_what_matters_most_of_its_hosts() -> None:
    """One that failed before those that run, those before what waits, and that before what is done."""
    assert foremost({"ok", "running", "unknown", "failed"}) == "failed"
    assert foremost({"ok", "running", "not_started"}) == "running"
    assert foremost({"ok", "not_started"}) == "not_started"
    assert foremost({"ok"}) == foremost(set()) == "ok"


@given(fates=st.lists(st.sampled_from(WORST_FIRST), min_size=1, max_size=12))
def test_cells_count_every_host_once(fates: list[Status]) -> None:
    """Whatever becomes of the hosts, and of whom nothing was heard: the counts add up, and are those of the fates."""
    plan = planned(12, chunk=12)
    progress = folded(events.RunStarted(plan), *map(ended, plan.steps, fates))
    counts = sum((cell.counts for cell in progress.cells), Counter[str]())
    assert counts == Counter(fates) + Counter({"not_started": 12 - len(fates)})


def test_undos_are_counted_by_themselves() -> None:
    """They belong to no chunk: how many were begun, run, and have ended."""
    plan = planned(2, chunk=2)
    first, second = plan.steps
    begun = (events.RunStarted(plan), events.UndoStarted(first), events.UndoStarted(second))
    progress = folded(*begun, events.UndoEnded(first, HostResult("h0", None, "undo", "ok")))
    assert (progress.undone.total, progress.undone.running, progress.undone.ended["ok"]) == (2, 1, 1)
    assert counts(progress) == [(0, 0, 2)]


@pytest.mark.parametrize(("name", "title"), [("deploy", "deploy"), (None, "true")])
def test_a_run_is_called_by_its_name_or_its_first_command(name: str | None, title: str) -> None:
    """So that a view of several can tell them apart."""
    plan = replace(planned(), terms=replace(planned().terms, name=name))
    assert folded(events.RunStarted(plan)).title == title


@pytest.mark.parametrize(
    ("command", "title"),
    [
        ("touch /tmp/{{ server.name }}", "touch /tmp/{{ server.name }}"),
        ("df", "df"),
        ("echo {{ server.name }} {{ server.vars.size }}", "echo h0 0"),
    ],
)
def test_a_command_that_differs_in_its_hosts_name_is_a_template(command: str, title: str) -> None:
    """One host's own would be taken for that of all."""
    draft = Draft({}, Settings(), "test")
    draft.everywhere(command, Names.of(None, {}, Settings()), "test")
    plan = draft.plan(lambda: Inventory([Host(f"h{number}", vars={"size": number}) for number in range(3)]))
    assert folded(events.RunStarted(plan)).title == title


def test_it_knows_how_many_steps_have_an_undo() -> None:
    """Before the plan is known nobody can say."""
    draft = Draft({"undo": "rm x"}, Settings(), "test")
    draft.everywhere("touch x", Names.of(None, {}, Settings()), "test")
    plan = draft.plan(lambda: Inventory([Host(f"h{number}") for number in range(3)]))
    assert Progress().undoable is None
    assert folded(events.RunStarted(plan)).undoable == 3
    assert folded(events.RunStarted(planned())).undoable == 0


def test_a_run_of_several_commands_says_how_many() -> None:
    """Its first one alone would be taken for all of it; a command that is the same everywhere is one."""
    draft = Draft({}, Settings(), "test")
    names = Names.of(None, {}, Settings())
    draft.when("server.name == 'h0'", "uptime", names, "test", last=False, options={})
    draft.otherwise("df", names, "test", {})
    plan = draft.plan(lambda: Inventory([Host(f"h{number}") for number in range(4)]))
    assert folded(events.RunStarted(plan)).title == "uptime (and 1 more)"


def test_its_state_is_that_of_its_steps_once_it_is_over() -> None:
    """It runs until then; a run of no steps ended well."""
    plan = planned(2, chunk=2)
    told = (events.RunStarted(plan), ended(plan.steps[0], "failed"), ended(plan.steps[1]))
    assert folded(*told).status == "running"
    assert folded(*told, events.RunEnded(Results(()))).status == "failed"
    assert folded(events.RunEnded(Results(()))).status == "ok"


def test_the_end_ends_it_whatever_is_missing() -> None:
    """After the end event it is over, also where steps never started."""
    progress = folded(events.RunStarted(planned()), events.RunEnded(Results(())))
    assert progress.over
    assert progress.chunks[2].left == 1


@given(order=st.permutations(range(6)))
def test_the_same_events_give_the_same_progress(order: list[int]) -> None:
    """It is a pure fold: equal events, equal progress; the order in which hosts end does not matter in the end."""
    plan = planned(6, chunk=3)
    start: list[events.Event] = [events.RunStarted(plan), *(events.StepStarted(step) for step in plan.steps)]
    told: list[events.Event] = [*start, *(ended(plan.steps[index]) for index in order), events.RunEnded(Results(()))]
    assert folded(*told) == folded(*told) == folded(*start, *map(ended, plan.steps), events.RunEnded(Results(())))


def test_events_are_frozen_and_say_their_kind() -> None:
    """Each event is an immutable value whose `kind` is the contract's word."""
    plan = planned()
    step = plan.steps[0]
    every: list[events.Event] = [
        events.RunStarted(plan),
        events.ChunkStarted(1, 2, 2),
        events.StepStarted(step),
        events.Output(step, "stdout", "x"),
        ended(step),
        events.ChunkEnded(1, good=True),
        events.RunEnded(Results(())),
    ]
    words = ["run_started", "chunk_started", "step_started", "output", "step_ended", "chunk_ended", "run_ended"]
    assert [event.kind for event in every] == words
    for event in every:
        with pytest.raises(FrozenInstanceError):
            setattr(event, fields(event)[0].name, None)
