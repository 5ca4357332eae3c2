"""Progress as a fold of events."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit import events
from opskit.fleet import Host, Inventory
from opskit.fleet.names import Names
from opskit.progress import LINES_KEPT, Progress
from opskit.results import HostResult, Results
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


def test_the_last_lines_are_kept() -> None:
    """Of what hosts print only the last lines stay, with their host's name."""
    plan = planned()
    lines = [events.Output(plan.steps[0], "stdout", f"line {number}") for number in range(LINES_KEPT + 3)]
    progress = folded(events.RunStarted(plan), *lines)
    assert list(progress.lines) == [("h0", f"line {number}") for number in range(3, LINES_KEPT + 3)]


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
