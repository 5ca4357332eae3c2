"""Results narrow, fold and raise; the rows themselves never change."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.errors import AuthenticationError, CommandError, HostKeyError, TimeoutExceeded, UnreachableError
from opskit.results import BAD, WORST_FIRST, HostResult, Results, Status


def row(host: str, status: Status = "ok", **more: Any) -> HostResult:
    """A row of the command `uptime`."""
    return HostResult(host, more.pop("branch", None), more.pop("command", "uptime"), status, **more)


MIXED = Results(
    (
        row("web1"),
        row("web2", "failed", exit_code=3, error="exit code 3: no such file"),
        row("web1", "timeout", branch="else"),
        row("db1", "unreachable", error="no answer"),
        row("db2", "skipped", command=None),
    )
)


def test_results_are_an_immutable_sequence() -> None:
    """Length, index, slice, iteration, membership and equality work as a tuple's; assignment does not."""
    assert len(MIXED) == 5
    assert MIXED[1].host == "web2"
    assert MIXED[-1] is MIXED.rows[-1]
    assert MIXED[1:3] == Results(MIXED.rows[1:3])
    assert tuple(MIXED) == MIXED.rows
    assert MIXED[0] in MIXED
    assert MIXED[:2] != MIXED
    assert pickle.loads(pickle.dumps(MIXED)) == MIXED
    with pytest.raises(dataclasses.FrozenInstanceError):
        MIXED.rows = ()  # type: ignore[misc] # the fault under test


def test_one_word_is_one_fate() -> None:
    """`.failed` keeps failed rows alone, not those that timed out or were unreachable."""
    assert [it.host for it in MIXED.ok] == ["web1"]
    assert [it.host for it in MIXED.failed] == ["web2"]
    assert [it.host for it in MIXED.unreachable] == ["db1"]
    assert [it.host for it in MIXED.where("timeout", "skipped")] == ["web1", "db2"]


def test_an_unknown_status_is_refused() -> None:
    """A misspelt status keeps nothing in silence; the error names the known ones."""
    with pytest.raises(ValueError, match=r"no status: 'fialed'; known: failed, timeout"):
        MIXED.where("fialed")  # type: ignore[arg-type] # the fault under test


@given(st.lists(st.builds(row, st.sampled_from(["web1", "web2", "db1"]), st.sampled_from(WORST_FIRST))))
def test_narrowing_loses_and_doubles_no_row(rows: list[HostResult]) -> None:
    """Each row is found once by its status and once by its host, in order."""
    results = Results(tuple(rows))
    assert sum(len(results.where(status)) for status in WORST_FIRST) == len(rows)
    assert list(results.by_host) == list(results.hosts) == list(dict.fromkeys(it.host for it in rows))
    for name, found in results.by_host.items():
        assert list(found) == [it for it in rows if it.host == name]


def test_a_task_has_no_host() -> None:
    """A task's row names no host: neither in `.hosts` nor in `.by_host` nor in the frame."""
    results = Results((row("", branch="restart_queue", command=None), row("web1")))
    assert results.hosts == ("web1",)
    assert list(results.by_host) == ["web1"]
    assert results.df.host.isna().tolist() == [True, False]


def test_good_rows_raise_nothing() -> None:
    """ok, skipped, cancelled and not_started rows make no run a failed one."""
    for status in set(WORST_FIRST) - BAD:
        Results((row("web1", status),)).raise_for_failed()
    Results().raise_for_failed()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("a", "failed")], CommandError),
        ([row("a", "unreachable"), row("b", "unreachable")], UnreachableError),
        ([row("a", "timeout"), row("b")], TimeoutExceeded),
        ([row("a", "unreachable", cause="host_key")], HostKeyError),
        ([row("a", "unreachable", cause="authentication")], AuthenticationError),
        ([row("a", "unreachable", cause="host_key"), row("b", "unreachable")], UnreachableError),
        ([row("a", "unreachable", cause="host_key"), row("b", "failed")], CommandError),
        ([row("a", "timeout"), row("b", "unknown")], CommandError),
    ],
)
def test_the_error_is_of_the_fate_that_all_bad_rows_share(rows: list[HostResult], expected: type[CommandError]) -> None:
    """Bad rows of one fate raise that fate's class, mixed ones CommandError; it carries all rows."""
    results = Results(tuple(rows))
    with pytest.raises(CommandError) as caught:
        results.raise_for_failed()
    assert type(caught.value) is expected
    assert caught.value.results == results


def test_the_message_names_each_host_once_by_what_failed() -> None:
    """P: hosts folded, one line a fault, the worst first; a host with two bad rows stands in its worst."""
    rows = [
        row("web1", "timeout", branch="else", error="did not end within 30 s"),
        *(row(f"web{n}", "failed", exit_code=3, error="exit code 3: no such file") for n in range(1, 21)),
        *(row(f"db{n}", "unreachable", error=f"10.0.0.{n}: no answer") for n in range(1, 4)),
        row("app1"),
    ]
    with pytest.raises(CommandError) as caught:
        Results(tuple(rows)).raise_for_failed()
    assert str(caught.value).split("\n") == [
        "23 of 25 rows on 24 hosts did not end well",
        "✘ 20 failed: web[1-20]: exit code 3: no such file",
        "⌀ 3 unreachable: db[1-3]: 10.0.0.1: no answer (others alike)",
        "Every row is in the error's .results; .results.failed.df has the worst as a table.",
    ]


def test_the_message_is_bounded_and_commands_no_terminal() -> None:
    """S2, S18: a thousand hostile, different errors fill eight lines of text, and forge none of their own."""
    rows = [row(f"h{n}", "failed", exit_code=1, error=f"\x1b[J\x1b]x\x07{'x' * n}\nok: all good") for n in range(1000)]
    with pytest.raises(CommandError) as caught:
        Results(tuple(rows)).raise_for_failed()
    lines = str(caught.value).split("\n")
    assert len(lines) == 8
    assert all(line.isprintable() and len(line) < 300 for line in lines)
    assert "and 995 more, in 995 other ways" in lines[6]


def test_a_failure_without_an_error_line_shows_command_and_last_complaint() -> None:
    """Where a row says nothing of itself, its exit code, command and last line of stderr do."""
    with pytest.raises(CommandError, match="✘ 1 failed: web1: exit 2: ls /x: ls: cannot access"):
        Results(
            (row("web1", "failed", exit_code=2, command="ls /x", stderr="a\nls: cannot access\n"),)
        ).raise_for_failed()


def test_gather_folds_one_outcome_into_one_row() -> None:
    """Most serious first, then most hosts; hosts folded; other outputs stay apart."""
    rows = [
        row("web4", stdout="6.1\n", exit_code=0),
        *(row(f"web{n}", stdout="6.8\n", exit_code=0, branch="when") for n in range(1, 4)),
        row("db1", "failed", stderr="no\n", exit_code=1),
    ]
    gathered = Results(tuple(rows)).gather()
    assert gathered.hosts.tolist() == ["db1", "web[1-3]", "web4"]
    assert gathered["count"].tolist() == [1, 3, 1]
    assert gathered.status.tolist() == ["failed", "ok", "ok"]
    assert gathered.stdout.tolist() == ["", "6.8\n", "6.1\n"]
    assert list(map(str, gathered.dtypes)) == [
        "string", "Int64", "category", "Int64", "string", "string", "string", "string",
    ]  # fmt: skip


def test_gather_of_nothing_has_its_columns() -> None:
    """An empty gather can be filtered like any other."""
    empty = Results().gather()
    assert len(empty) == 0
    assert list(empty.columns) == list(MIXED.gather().columns)
    assert empty.dtypes.equals(MIXED.gather().dtypes)
