"""A plan as a DataFrame: a row a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opskit.masking import mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
            "command": pd.array([mask(step.command) for step in steps], dtype=string),
            "undo": pd.array([None] * len(steps), dtype=string),
        }
    )


def plan_difference(
    steps: Mapping[tuple[str, str | None, int], Step], others: Mapping[tuple[str, str | None, int], Step]
) -> pd.DataFrame:
    """A row for each key that is in one of the two alone, or has another command there.

    Columns change (category: added, removed, changed), chunk (Int64), host (string), branch (category), command and
    was (strings).
    """
    import pandas as pd

    rows = []
    for key in dict.fromkeys((*steps, *others)):
        here, there = steps.get(key), others.get(key)
        if here is None or there is None:
            step = here or there
            assert step is not None
            change = "added" if there is None else "removed"
            rows.append((change, step.chunk, *key[:2], here and mask(here.command), there and mask(there.command)))
        elif here.command != there.command:
            rows.append(("changed", here.chunk, *key[:2], mask(here.command), mask(there.command)))
    changes, chunks, hosts, branches, commands, earlier = zip(*rows, strict=True) if rows else ((),) * 6
    string = pd.StringDtype()
    return pd.DataFrame(
        {
            "change": pd.Categorical(changes, categories=["added", "removed", "changed"]),
            "chunk": pd.array(chunks, dtype="Int64"),
            "host": pd.array(hosts, dtype=string),
            "branch": pd.Categorical(branches),
            "command": pd.array(commands, dtype=string),
            "was": pd.array(earlier, dtype=string),
        }
    )
