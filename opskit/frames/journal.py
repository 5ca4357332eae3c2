"""Transactions as DataFrames: a row a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opskit.frames.results import records_frame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

COLUMNS: Final[Mapping[str, str]] = {
    "transaction": "string",
    "name": "string",
    "kind": "category",
    "state": "category",
    "who": "string",
    "machine": "string",
    "notebook": "string",
    "started_at": "datetime64[ns, UTC]",
    "ended_at": "datetime64[ns, UTC]",
    "hosts": "Int64",
    "ok": "Int64",
    "failed": "Int64",
    "undone": "Int64",
    "owed": "Int64",
    "reason": "string",
    "what_to_do": "string",
}
"""The columns of `opskit.journal.unfinished()`, in order, and their dtypes; `opskit.journal.df` is without the last."""


def journal_frame(records: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """One row for each record, whose values are those of the columns, in order."""
    return records_frame(records, COLUMNS, {})
