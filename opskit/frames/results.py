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


DIFFERENCE_COLUMNS: Final[Mapping[str, str]] = {
    "branch": "category",
    "hosts": "string",
    "count": "Int64",
    "status": "category",
    "exit_code": "Int64",
    "signal": "string",
    "diff": "string",
}
"""The columns of `Results.diff()`, in order, and their dtypes; `branch` only where there is one."""

CHANGE_COLUMNS: Final[Mapping[str, str]] = {
    "host": "string",
    "branch": "category",
    "change": "category",
    "before": "string",
    "after": "string",
    "diff": "string",
}
"""The columns of `Results.compare()`, in order, and their dtypes."""


def results_frame(
    rows: Sequence[HostResult], statuses: Sequence[str], dtypes: Mapping[str, str] = COLUMNS
) -> pd.DataFrame:
    """One row for each row, in order; `statuses` are the categories of the column `status`.

    A row without a host (a task's) has a missing one.
    """
    values = {name: list(map(attrgetter(name), rows)) for name in dtypes}
    values["host"] = [name or None for name in values["host"]]
    return _frame(values, dtypes, {"status": statuses})


def records_frame(
    records: Sequence[tuple[Any, ...]], dtypes: Mapping[str, str], categories: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """One row for each record, whose values are those of the columns `dtypes`, in order."""
    columns = zip(*records, strict=True) if records else ((),) * len(dtypes)
    return _frame(dict(zip(dtypes, map(list, columns), strict=True)), dtypes, categories)


def column(values: list[Any], dtype: str, categories: Sequence[str] | None = None) -> Any:
    """Make one column; the categories of a category are those given, or its words as they are met."""
    import pandas as pd

    if dtype == "category":
        known: Any = categories or [word for word in dict.fromkeys(values) if word is not None]
        return pd.Categorical(values, categories=pd.Index(known, dtype="str"))
    return pd.array(values, dtype=dtype)  # type: ignore[call-overload]  # any of the dtypes above


def _frame(
    values: Mapping[str, list[Any]], dtypes: Mapping[str, str], categories: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: column(values[name], dtype, categories.get(name)) for name, dtype in dtypes.items()})
