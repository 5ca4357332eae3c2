"""A plan as a DataFrame: a row a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
    """A row for each step; `undo` may be missing."""
    records = [(step.chunk, step.host.name, step.branch, mask(step.command), None) for step in steps]
    return records_frame(records, COLUMNS, {})


def plan_difference(
    steps: Mapping[tuple[str, str | None, int], Step], others: Mapping[tuple[str, str | None, int], Step]
) -> pd.DataFrame:
    """A row for each key that is in one of the two alone, or has another command there."""
    records = []
    for key in dict.fromkeys((*steps, *others)):
        here, there = steps.get(key), others.get(key)
        if here and there and here.command == there.command:
            continue
        change = "removed" if here is None else "added" if there is None else "changed"
        found = here or there
        assert found is not None
        records.append((change, found.chunk, *key[:2], here and mask(here.command), there and mask(there.command)))
    return records_frame(records, DIFFERENCE_COLUMNS, {"change": ("added", "removed", "changed")})
