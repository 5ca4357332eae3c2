"""A plan as a DataFrame: a row a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opskit.frames.results import records_frame
from opskit.masking import mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from opskit.work.plan import Step

COLUMNS: Final[Mapping[str, str]] = {
    "chunk": "Int64",
    "host": "string",
    "branch": "category",
    "command": "string",
    "undo": "string",
}
"""The columns of `Plan.df`, in order, and their dtypes."""

DIFFERENCE_COLUMNS: Final[Mapping[str, str]] = {
    "change": "category",
    "chunk": "Int64",
    "host": "string",
    "branch": "category",
    "command": "string",
    "was": "string",
}
"""The columns of `Plan.diff()`, in order, and their dtypes."""


def plan_frame(steps: Sequence[Step]) -> pd.DataFrame:
    """A row for each step; `undo` is missing where there is none."""
    records = [
        (step.chunk, step.host.name, step.branch, mask(step.command), None if step.undo is None else mask(step.undo))
        for step in steps
    ]
    return records_frame(records, COLUMNS, {})


def difference_frame(changes: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """A row for each change, whose values are those of `DIFFERENCE_COLUMNS`, in order."""
    return records_frame(changes, DIFFERENCE_COLUMNS, {"change": ("added", "removed", "changed")})
