"""Hosts and their names in DataFrames and Series, read and made. A frame is told from other values without pandas."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import InventoryError
from opskit.masking import mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeGuard

    import pandas as pd

    from opskit.fleet import Host

_COLUMNS: Final = ("name", "address", "port", "user", "roles")
_SHOWN: Final = 12


def is_frame(value: object) -> TypeGuard[pd.DataFrame]:
    """Whether this is a DataFrame; nothing can be one before somebody imported pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_series(value: object) -> TypeGuard[pd.Series[Any]]:
    """Whether this is a Series."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.Series)


def names_in(given: pd.DataFrame | pd.Series[Any]) -> list[str]:
    """Host names in a frame's column `host` or `name`, else in an index so named; in a Series, its text values.

    A Series of booleans gives its index where it is true. Missing values are left out: a task's row has no host.

    Raises:
        InventoryError: There is no such column or index, or a name is no text.
    """
    import pandas as pd

    if isinstance(given, pd.DataFrame):
        label, found = _names(given, "host", "name")
        what = f"{label!r} of the DataFrame"
    elif pd.api.types.infer_dtype(given, skipna=True) == "boolean":
        true = given.astype("boolean").fillna(value=False).tolist()
        found, what = given.index[true].to_series(), "the index of the boolean Series"
    else:
        found, what = given, "the Series"
    values: list[Any] = found.dropna().tolist()
    for value in values:
        if not isinstance(value, str):
            raise InventoryError(f"{what} must hold host names as text, not {type(value).__name__} ({value!r})")
    return values


def host_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One mapping a row: `name`, and each other cell that is not missing, under its column; values are Python's own.

    Raises:
        InventoryError: This is no DataFrame, there is no column (or index) `name` or `host`, a column is there twice,
            or names are missing.
    """
    if not is_frame(frame):
        raise InventoryError(f"hosts are read from a DataFrame, not from {type(frame).__name__}")
    _refuse_twins(frame.columns)
    label, names = _names(frame, "name", "host")
    if missing := [row for row, absent in enumerate(names.isna()) if absent]:
        raise InventoryError(
            f"{len(missing)} of {len(frame)} rows of the DataFrame have no {label!r} (its columns: {_columns(frame)}); "
            f"rows, counted from 0 as .iloc does: {_listed(missing)}"
        )
    return [{"name": name, **cells} for name, cells in zip(names, _cells(frame, label), strict=True)]


def host_vars(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Of each host in the column `host` or `name`, else in an index so named, its other cells that are not missing.

    Rows without a host are left out: a task's row has none. Values are Python's own.

    Raises:
        InventoryError: There is no such column or index, a column or a host is there twice, or a name is no text.
    """
    _refuse_twins(frame.columns)
    label, names = _names(frame, "host", "name")
    hosts = Counter(names_in(frame))
    if twice := [repr(name) for name, count in hosts.items() if count > 1]:
        flat = "" if label in frame.columns else ".reset_index()"
        raise InventoryError(
            f"the DataFrame has more than one row of {_listed(twice)}: "
            f"keep one of each, as df{flat}.drop_duplicates({label!r}, keep='last') does"
        )
    return dict(zip(hosts, _cells(frame[names.notna().to_numpy()], label), strict=True))


def hosts_frame(hosts: Sequence[Host]) -> pd.DataFrame:
    """One row a host: name, address, port (Int64), user, roles (sorted, blanks between) and a column for each var.

    A var that is called like one of those columns is in `vars.NAME`. What a host does not have is missing.
    """
    import pandas as pd

    string = pd.StringDtype()
    columns: dict[str, Any] = {
        "name": pd.array([host.name for host in hosts], dtype=string),
        "address": pd.array([host.address for host in hosts], dtype=string),
        "port": pd.array([host.port for host in hosts], dtype="Int64"),
        "user": pd.array([host.user for host in hosts], dtype=string),
        "roles": pd.array([" ".join(sorted(host.roles)) for host in hosts], dtype=string),
    }
    for key in dict.fromkeys(key for host in hosts for key in host.vars):
        cells = pd.Series([_masked(host.vars.get(key)) for host in hosts], dtype=object)
        columns[f"vars.{key}" if key in _COLUMNS else key] = cells.convert_dtypes()
    return pd.DataFrame(columns)


def _names(frame: pd.DataFrame, *labels: str) -> tuple[str, pd.Series[Any]]:
    """The label and the values of the first such column, or else of the first index so named."""
    for label in labels:
        if label in frame.columns:
            _refuse_twins(frame.columns[frame.columns == label])
            return label, frame[label]
    for label in labels:
        if label in frame.index.names:
            return label, frame.index.get_level_values(label).to_series()
    raise InventoryError(
        f"the DataFrame has no column or index {' or '.join(map(repr, labels))}; its columns: {_columns(frame)}"
    )


def _cells(frame: pd.DataFrame, label: str) -> list[dict[str, Any]]:
    """Of each row the cells that are not missing, but for the column of names."""
    found: list[dict[str, Any]] = [{} for _ in range(len(frame))]
    for column in frame.columns:
        if column != label:
            cells = frame[column]
            for record, cell, missing in zip(found, cells.tolist(), cells.isna(), strict=True):
                if not missing:
                    record[str(column)] = _plain(cell)
    return found


def _refuse_twins(columns: pd.Index[Any]) -> None:
    if twins := [repr(column) for column, count in Counter(map(str, columns)).items() if count > 1]:
        raise InventoryError(f"the DataFrame has more than one column {', '.join(twins)}")


def _columns(frame: pd.DataFrame) -> str:
    return _listed([repr(str(column)) for column in frame.columns]) or "none"


def _listed(words: Sequence[object]) -> str:
    return ", ".join([*map(str, words[:_SHOWN]), *["..."] * (len(words) > _SHOWN)])


def _masked(value: Any) -> Any:
    return mask(value) if isinstance(value, str) else value


def _plain(cell: Any) -> Any:
    """A NumPy scalar or array, even one in a column of objects, as Python's own value."""
    return cell.tolist() if type(cell).__module__ == "numpy" else cell
