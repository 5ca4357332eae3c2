"""Hosts are compared with each other, and a run with an earlier one: what differs is told once, with its hosts."""

from __future__ import annotations

import re
from time import process_time
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.errors import InventoryError, PlanError
from opskit.fleet.ranges import expand
from opskit.results import WORST_FIRST, HostResult, Results, Status


def row(host: str, stdout: str = "", status: Status = "ok", **more: Any) -> HostResult:
    """A row that printed this."""
    return HostResult(host, more.pop("branch", None), "c", status, stdout=stdout, **more)


def numbered(count: int, *changed: int) -> str:
    """So many lines, those of these numbers changed."""
    places = set(changed)
    return "".join(f"{number}{' changed' if number in places else ''}\n" for number in range(count))


def patched(text: str, patch: str) -> str:
    """Do what a unified diff says, and what `patch` does; each line of the text that it names has to be there."""
    lines, made, at, kind = text.split("\n"), [], 0, ""
    for line in patch.split("\n")[2:]:
        if hunk := re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@", line):
            start = int(hunk[1]) - (hunk[2] != "0")
            made += lines[at:start]
            at = start
        elif line[0] == "\\":
            made[-1:] = [made[-1] + NO_NEWLINE] if kind != "-" else made[-1:]
        else:
            kind = line[0]
            if kind != "+":
                assert lines[at] == line[1:]
                at += 1
            made += [line[1:]] * (kind != "-")
    return "".join(f"{line}\n" for line in made + lines[at:-1]).replace(f"{NO_NEWLINE}\n", "")


NO_NEWLINE = "\0"
FLEET = Results(
    (
        row("web1", "a\nb\nc\n"),
        row("web2", "a\nX\nc\n"),
        row("web3", "a\nb\nc\n"),
        row("web4", "", "failed", exit_code=3),
        row("web5", "a\nX\nc\n"),
        row("web6", "a\nb\nc\n", "failed", exit_code=4),
    )
)


def test_hosts_are_compared_with_the_one_that_is_named() -> None:
    """A row for each distinct difference: most hosts first, those like the reference last, and itself not at all."""
    frame = FLEET.diff("web1")
    assert list(frame) == ["hosts", "count", "status", "exit_code", "signal", "diff"]
    assert frame.hosts.tolist() == ["web[2,5]", "web4", "web6", "web3"]
    assert frame["count"].tolist() == [2, 1, 1, 1]
    assert frame["diff"].tolist() == [
        "--- web1\n+++ web[2,5]\n@@ -1,3 +1,3 @@\n a\n-b\n+X\n c",
        "--- web1\n+++ web4\n@@ -1,3 +0,0 @@\n-a\n-b\n-c",
        "",
        "",
    ]
    assert [str(dtype) for dtype in frame.dtypes] == ["string", "Int64", "category", "Int64", "string", "string"]


def test_an_end_that_differs_is_a_difference() -> None:
    """The same output with another status, exit code or signal is not like the reference."""
    results = Results((row("a", "x"), row("b", "x", "failed", exit_code=3), row("c", "x", "failed", signal="KILL")))
    frame = results.diff("a")
    assert frame[["hosts", "status", "diff"]].to_numpy().tolist() == [["b", "failed", ""], ["c", "failed", ""]]
    assert frame.exit_code[0] == 3
    assert frame.signal[1] == "KILL"


def test_without_a_name_hosts_are_compared_with_most_of_them() -> None:
    """The header says which those are; every host is in the frame, the most usual ones last."""
    frame = FLEET.diff()
    assert frame.hosts.tolist() == ["web[2,5]", "web4", "web6", "web[1,3]"]
    assert frame["diff"].tolist()[-1] == ""
    assert frame.set_index("hosts")["diff"]["web[2,5]"].startswith("--- web[1,3] (most hosts)\n+++ web[2,5]\n")


def test_hosts_that_did_nothing_are_no_measure() -> None:
    """Two unreachable hosts have one outcome, and the four good ones one each: a good one is the reference."""
    rows = [row(f"web{n}", f"{n}\n") for n in range(4)] + [row(f"db{n}", status="unreachable") for n in range(2)]
    assert Results(tuple(rows)).diff().hosts.tolist()[-1] == "web0"
    assert Results(tuple(rows[4:])).diff()["diff"].tolist() == [""]


def test_branches_are_compared_for_themselves() -> None:
    """A column tells the branch; where the reference has no row of it there is nothing to compare, and all is kept."""
    rows = (row("a", "1\n", branch="x"), row("b", "2\n", branch="x"), row("a", "1\n", branch="else"))
    frame = Results((*rows, row("b", "1\n", branch="else"), row("c", "9", branch="z"), row("d", branch="z"))).diff("a")
    assert frame[["branch", "hosts"]].to_numpy().tolist() == [["x", "b"], ["else", "b"], ["z", "c,d"]]
    assert frame["diff"].isna().tolist() == [False, False, True]
    assert frame["diff"].tolist()[:2] == ["--- a\n+++ b\n@@ -1 +1 @@\n-1\n+2", ""]


def test_several_commands_of_one_branch_are_compared_in_their_order() -> None:
    """The rows of a session's second command are not held against those of its first."""
    frame = Results((row("a", "1"), row("b", "1"), row("a", "2"), row("b", "2"))).diff("a")
    assert frame["diff"].tolist() == ["", ""]


def test_tasks_are_no_hosts() -> None:
    """A task's row is left out."""
    assert Results((row("", "x", branch="task"), row("a"))).diff().hosts.tolist() == ["a"]


def test_nothing_to_compare_is_an_empty_frame() -> None:
    """Also of no rows at all, and where the reference is alone."""
    for frame in (Results().diff(), Results((row("a"),)).diff("a")):
        assert len(frame) == 0
        assert frame.columns[-1] == "diff"


def test_an_unknown_reference_is_refused() -> None:
    """The error names the host that is near it."""
    with pytest.raises(InventoryError, match="diff: no host 'wbe1' in these results; did you mean 'web1'"):
        FLEET.diff("wbe1")
    with pytest.raises(InventoryError, match="diff: no host '' in these results"):
        Results((row("", branch="task"),)).diff("")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a\nb\n", "a\nc\n"),
        ("a", "a\n"),
        ("", "a"),
        ("a\r\n", "a\n"),
        ("x\x0cy\u2028z\n", "x\x0cy\n"),
        (numbered(6000), numbered(6000, 3000)),
        (numbered(6000), numbered(5990)),
        (numbered(6000), "x\n" + numbered(6000)),
    ],
)
def test_a_diff_is_a_patch(old: str, new: str) -> None:
    """It makes the one output of the other, line ends and all."""
    assert patched(old, Results((row("a", old), row("b", new))).diff("a")["diff"][0]) == new


def test_very_long_outputs_are_compared_by_their_first_lines() -> None:
    """Beyond the bound the text says so, and the time does not grow with the square of the lines."""
    began = process_time()
    every_other = numbered(100_000, *range(0, 100_000, 2))
    text = Results((row("a", numbered(100_000)), row("b", every_other))).diff("a")["diff"][0]
    assert process_time() - began < 5
    assert text.startswith("--- a\n+++ b\n@@ -1,50 +1,50 @@\n-0\n-1\n")
    assert text.count("\n") < 110
    assert text.endswith("between the first and the last difference lie 99,999 and 99,999 lines")


OUTPUTS = st.lists(st.sampled_from(["a", "b", "", "\r"])).map("\n".join)
STATUSES: tuple[Status, ...] = ("ok", "failed", "unreachable")
CELLS = st.tuples(st.sampled_from(STATUSES), OUTPUTS, st.sampled_from([None, "x", "else"]))
ROWS = st.lists(CELLS, min_size=1, max_size=8).map(
    lambda cells: [row(f"h{n}", text, status, branch=branch) for n, (status, text, branch) in enumerate(cells)]
)


@given(ROWS, st.data())
def test_the_folded_hosts_are_a_partition_of_the_hosts(rows: list[HostResult], data: st.DataObject) -> None:
    """Each host but the reference stands in one row; without a diff only those that are like it, or not comparable."""
    results = Results(tuple(rows))
    reference = data.draw(st.none() | st.sampled_from(results.hosts))
    frame = results.diff(reference)
    found = [name for hosts in frame.hosts for name in expand(hosts)]
    assert sorted(found) == sorted(set(results.hosts) - {reference})
    assert frame["count"].sum() == len(found)
    if reference is not None:
        expected = results.by_host[reference][0]
        for hosts, text in zip(frame.hosts, frame["diff"], strict=True):
            for one in (results.by_host[name][0] for name in expand(hosts)):
                assert pd.isna(text) == (one.branch != expected.branch)
                assert pd.isna(text) or (text == "") == (one.stdout == expected.stdout)


@given(ROWS)
def test_a_branch_of_hosts_that_are_all_alike_is_one_row(rows: list[HostResult]) -> None:
    """The reference has no row of difference: without a name, each branch ends with those that are like it."""
    frame = Results(tuple(rows)).diff()
    if "branch" not in frame:
        frame["branch"] = pd.Series([None] * len(frame), dtype=object)
    last = frame.groupby("branch", dropna=False, observed=True)["diff"].last()
    assert (last == "").all()


EARLIER = Results(
    (
        row("same", "x", seconds=1.0),
        row("output", "old\n"),
        row("code", "x", "failed", exit_code=3),
        row("status", "x\n"),
        row("gone", "x"),
        row("branch", "x", branch="a"),
        row("", "x\n", branch="task"),
    )
)
LATER = Results(
    (
        row("same", "x", seconds=9.0, stderr="noise"),
        row("output", "new\n"),
        row("code", "x", "failed", signal="KILL"),
        row("status", "", "failed", exit_code=1),
        row("new", "x"),
        row("branch", "x", branch="b"),
        row("", "y\n", branch="task"),
    )
)


def test_runs_are_compared_by_host_and_branch() -> None:
    """A row for each outcome that changed, in order, what is gone last; times and stderr are no outcome."""
    frame = LATER.compare(EARLIER)
    assert list(frame) == ["host", "branch", "change", "before", "after", "diff"]
    found = [[None if pd.isna(value) else value for value in line] for line in frame.to_numpy().tolist()]
    assert found == [
        ["output", None, "output", "ok", "ok", "--- before\n+++ after\n@@ -1 +1 @@\n-old\n+new"],
        ["code", None, "exit_code", "exit 3", "signal KILL", ""],
        ["status", None, "status", "ok", "failed", "--- before\n+++ after\n@@ -1 +0,0 @@\n-x"],
        ["new", None, "appeared", None, "ok", ""],
        ["branch", "b", "appeared", None, "ok", ""],
        [None, "task", "output", "ok", "ok", "--- before\n+++ after\n@@ -1 +1 @@\n-x\n+y"],
        ["gone", None, "gone", "ok", None, ""],
        ["branch", "a", "gone", "ok", None, ""],
    ]
    assert list(frame.change.cat.categories) == ["appeared", "gone", "status", "exit_code", "output"]


def test_a_missing_exit_code_is_not_that_of_success() -> None:
    """Words tell them apart."""
    frame = Results((row("a", exit_code=0),)).compare(Results((row("a"),)))
    assert frame[["before", "after"]].to_numpy().tolist() == [["no exit code", "exit 0"]]


@given(ROWS, ROWS)
def test_comparing_back_is_the_same_the_other_way_round(rows: list[HostResult], others: list[HostResult]) -> None:
    """Nothing changes against itself; what appeared one way is gone the other, before and after change places."""
    one, other = Results(tuple(rows)), Results(tuple(others))
    assert len(one.compare(one)) == 0
    turned = {"appeared": "gone", "gone": "appeared"}

    def lines(frame: pd.DataFrame, *, back: bool) -> list[str]:
        cells = frame[["host", "branch", "change", "before", "after"]].to_numpy().tolist()
        return sorted(
            str([host, branch, turned.get(change, change), after, before] if back else [host, branch, change, *ends])
            for host, branch, change, *ends in cells
            for before, after in (ends,)
        )

    assert lines(one.compare(other), back=False) == lines(other.compare(one), back=True)


def test_no_change_is_an_empty_frame_with_its_columns() -> None:
    """It can be filtered like any other."""
    empty = LATER.compare(LATER)
    assert len(empty) == 0
    assert empty.dtypes.astype(str).equals(LATER.compare(EARLIER).dtypes.astype(str))


@pytest.mark.parametrize("earlier", [None, "web1", {}, 3, [1], pd.DataFrame()])
def test_what_has_no_rows_cannot_be_compared(earlier: Any) -> None:
    """The error names its type; rows as a list are as good as Results."""
    name = type(earlier).__name__
    with pytest.raises(PlanError, match=f"compare: needs the Results of an earlier run, not {name}"):
        LATER.compare(earlier)
    assert LATER.compare(list(EARLIER)).equals(LATER.compare(EARLIER))


def test_a_thousand_hosts_that_change_alike_are_compared_once() -> None:
    """The cost is that of the distinct changes."""
    before = Results(tuple(row(f"h{n}", numbered(1000)) for n in range(1000)))
    text = numbered(1000, *range(0, 1000, 3))
    after = Results(tuple(row(f"h{n}", text) for n in range(1000)))
    began = process_time()
    assert len(after.compare(before)) == 1000
    assert process_time() - began < 5


def test_statuses_are_in_the_order_in_which_a_person_reads_them() -> None:
    """As in every other frame."""
    assert tuple(FLEET.diff().status.cat.categories) == WORST_FIRST
