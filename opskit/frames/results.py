"""Rows of results as DataFrames, with the columns and dtypes of the contract."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from opskit.results import HostResult

COLUMNS: Final[Mapping[str, str]] = {
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
"""The columns of `Results.df`, in order, and their dtypes."""

GATHERED_COLUMNS: Final[Mapping[str, str]] = {
    "hosts": "string",
    "count": "Int64",
    "status": "category",
    "exit_code": "Int64",
    "signal": "string",
    "stdout": "string",
    "stderr": "string",
    "error": "string",
}
"""The columns of `Results.gather()`, in order, and their dtypes."""


def results_frame(rows: Sequence[HostResult], statuses: Sequence[str]) -> pd.DataFrame:
    """One row for each row, in order; `statuses` are the categories of the column `status`.

    A row without a host (a task's) has a missing one.
    """
    values = {name: list(map(attrgetter(name), rows)) for name in COLUMNS}
    values["host"] = [name or None for name in values["host"]]
    return _frame(values, COLUMNS, statuses)


def gathered_frame(records: Sequence[tuple[Any, ...]], statuses: Sequence[str]) -> pd.DataFrame:
    """One row for each record, whose values are those of `GATHERED_COLUMNS`, in order."""
    columns = zip(*records, strict=True) if records else ((),) * len(GATHERED_COLUMNS)
    return _frame(dict(zip(GATHERED_COLUMNS, map(list, columns), strict=True)), GATHERED_COLUMNS, statuses)


def _frame(values: Mapping[str, list[Any]], dtypes: Mapping[str, str], statuses: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    def column(name: str, dtype: Any) -> Any:
        if dtype == "category":
            known: Any = (
                statuses if name == "status" else [word for word in dict.fromkeys(values[name]) if word is not None]
            )
            return pd.Categorical(values[name], categories=pd.Index(known, dtype="str"))
        return pd.array(values[name], dtype=dtype)

    return pd.DataFrame({name: column(name, dtype) for name, dtype in dtypes.items()})
