"""A plan as a DataFrame: a row a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from opskit.work.plan import Step


def plan_frame(steps: Sequence[Step]) -> pd.DataFrame:
    """Columns chunk (Int64), host (string), branch (category), command and undo (strings; undo may be missing)."""
    import pandas as pd

    string = pd.StringDtype()
    return pd.DataFrame(
        {
            "chunk": pd.array([step.chunk for step in steps], dtype="Int64"),
            "host": pd.array([step.host.name for step in steps], dtype=string),
            "branch": pd.Categorical([step.branch for step in steps]),
            "command": pd.array([step.command for step in steps], dtype=string),
            "undo": pd.array([None] * len(steps), dtype=string),
        }
    )
