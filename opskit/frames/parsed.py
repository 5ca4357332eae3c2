"""Records that were parsed from the output of hosts, as DataFrames whose dtypes fit all values of each column."""

from __future__ import annotations

import re
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final

from opskit.frames.results import COLUMNS, column, results_frame

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    import pandas as pd

    from opskit.results import HostResult
    from opskit.results.parsing import Record

_DTYPES: Final = {
    "boolean": "boolean",
    "integer": "Int64",
    "floating": "Float64",
    "mixed-integer-float": "Float64",
    "string": "string",
}
"""By what pandas says the values are; any other column stays one of objects."""
_PLAIN_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+)?")
"""What is surely meant as a number: no `007`, and no `1e5`, which may be the start of a hash."""


def parsed_frame(found: Sequence[tuple[HostResult, Sequence[Record]]], *, typed: bool) -> pd.DataFrame:
    """One row for each record: `host`, `branch` if some row has one, the record's fields, `error` if there is one.

    A row without records has one row here if it is not ok or has an error, else none.
    """
    import pandas as pd

    lines: list[tuple[HostResult, Record, str | None]] = []
    for row, records in found:
        lines += [(row, record, None) for record in records]
        why = row.error or (None if row.ok else row.status)
        if why and not records:
            lines.append((row, {}, why))
    columns = {"host": column([row.host or None for row, _, _ in lines], "string")}
    if any(row.branch is not None for row, _ in found):
        columns["branch"] = column([row.branch for row, _, _ in lines], "category")
    columns |= _fields([record for _, record, _ in lines], taken=("host", "branch", "error"), typed=typed)
    errors = [why for _, _, why in lines]
    if any(errors):
        columns["error"] = column(errors, "string")
    return pd.DataFrame(columns)


def joined_frame(
    found: Sequence[tuple[HostResult, Sequence[Record]]], statuses: Sequence[str], *, typed: bool
) -> pd.DataFrame:
    """The columns of `results_frame`, then the records' fields: one row for each record, or for each row without."""
    import pandas as pd

    lines = [(row, record) for row, records in found for record in records or ({},)]
    # Python's strings are shared by all records of an output; Arrow's would be copied for each.
    dtypes = {**COLUMNS, "stdout": "string[python]", "stderr": "string[python]"}
    rows = results_frame([row for row, _ in lines], statuses, dtypes)
    fields = _fields([record for _, record in lines], taken=COLUMNS, typed=typed)
    return pd.concat([rows, pd.DataFrame(fields, index=rows.index)], axis=1)


def _fields(records: Sequence[Record], *, taken: Container[str], typed: bool) -> dict[str, Any]:
    """A column for each field, in the order in which they are met; `_parsed` is added to a name that is taken."""
    names = dict.fromkeys(name for record in records for name in record)
    columns = {}
    for name in names:
        free = name
        while free in taken or (free != name and free in names):
            free += "_parsed"
        columns[free] = _column([record.get(name) for record in records], typed=typed)
    return columns


def _column(values: list[Any], *, typed: bool) -> Any:
    import pandas as pd

    if not typed:
        values = _numbers(values)
    # DataFrame.convert_dtypes would round large integers where others are missing.
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind in _DTYPES and not (kind == "integer" and _beyond_int64(values)):
        try:
            return pd.array(values, dtype=_DTYPES[kind])  # type: ignore[call-overload]  # any of several dtypes
        except (OverflowError, TypeError, ValueError):  # such as an integer that no float can hold
            pass
    return pd.Series(values, dtype=object)


def _numbers(values: list[Any]) -> list[Any]:
    """Numbers, and None where there was nothing, if every other text is a plain number; else the texts."""
    texts = [value for value in values if value]
    if not texts or not all(map(_PLAIN_NUMBER.fullmatch, texts)):
        return values
    return [(float(value) if "." in value else int(value)) if value else None for value in values]


def _beyond_int64(values: list[Any]) -> bool:
    return any(isinstance(value, Integral) and not -(2**63) <= int(value) < 2**63 for value in values)
