"""The DataFrame has the contract's columns and dtypes, whatever the hosts sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.results import WORST_FIRST, HostResult, Results

DTYPES = {
    "host": "string",
    "branch": "category",
    "command": "string",
    "status": "category",
    "exit_code": "Int64",
    "signal": "string",
    "stdout": "string",
    "stderr": "string",
    "truncated": "boolean",
    "started_at": "datetime64[ns, UTC]",
    "seconds": "float64",
    "chunk": "Int64",
    "attempt": "Int64",
    "transaction": "string",
    "error": "string",
}

BEGAN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FULL = HostResult(
    "web1",
    "in_('web')",
    "uptime",
    "failed",
    3,
    "KILL",
    "out\0put\n",
    "é\ufffd",
    True,
    BEGAN,
    0.25,
    1,
    2,
    "01TX",
    "why",
    "host_key",
)
BARE = HostResult("db1", None, None, "skipped")

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ROWS = st.builds(
    HostResult,
    TEXT.filter(bool),
    st.none() | TEXT,
    st.none() | TEXT,
    st.sampled_from(WORST_FIRST),
    st.none() | st.integers(-(2**31), 2**31),
    st.none() | TEXT,
    TEXT,
    TEXT,
    st.booleans(),
    st.none() | st.datetimes(datetime(1980, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds UTC
    st.none() | st.floats(0, 1e6),
    st.none() | st.integers(1, 100),
    st.none() | st.integers(0, 9),
    st.none() | TEXT,
    st.none() | TEXT,
)


@pytest.mark.parametrize("rows", [(), (BARE,), (FULL,), (FULL, BARE), (BARE, BARE)])
def test_columns_and_dtypes_are_the_contract(rows: tuple[HostResult, ...]) -> None:
    """Order and dtypes hold for no rows, for rows without values, and for full ones."""
    frame = Results(rows).df
    assert list(frame.columns) == list(DTYPES)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert all(frame[name].dtype == dtype for name, dtype in DTYPES.items())
    assert tuple(frame.status.cat.categories) == WORST_FIRST


@given(st.lists(ROWS, max_size=5))
def test_each_value_comes_back_from_the_frame(rows: list[HostResult]) -> None:
    """F26: NUL, replacement marks, any text and any missing value stay what they are, in the order of the rows."""
    frame = Results(tuple(rows)).df
    for name in DTYPES:
        values = [None if missing else value for value, missing in zip(frame[name], frame[name].isna(), strict=True)]
        assert values == [getattr(row, name) for row in rows]


def test_a_changed_frame_changes_no_other() -> None:
    """Whoever writes into a frame writes into that one alone."""
    results = Results((FULL, BARE))
    frame = results.df
    frame.loc[0, "stdout"] = "changed"
    assert results.df.loc[0, "stdout"] == FULL.stdout


def test_status_sorts_by_severity() -> None:
    """The category's order is the one in which a person reads: worst first."""
    frame = Results((BARE, HostResult("a", None, "x", "ok"), FULL)).df.sort_values("status")
    assert frame.status.tolist() == ["failed", "ok", "skipped"]


def test_ten_thousand_rows_become_a_frame_at_once() -> None:
    """`.df` of 10,000 rows takes at most 150 ms (here doubled for a busy machine), pandas already loaded."""
    rows = tuple(
        HostResult(
            f"web{n}",
            f"b{n % 3}",
            f"echo {n}",
            "ok",
            0,
            None,
            f"out {n}\n",
            "",
            False,
            BEGAN + timedelta(0, n),
            0.1,
            1,
            1,
        )
        for n in range(10_000)
    )
    assert len(Results(rows[:1]).df) == 1
    began = process_time()
    assert len(Results(rows).df) == 10_000
    assert process_time() - began < 0.3
