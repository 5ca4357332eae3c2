"""Results as files for other tools: Markdown for people, Excel for offices, Parquet for programs."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from opskit import checks
from opskit.errors import OpskitError
from opskit.frames.results import COLUMNS
from opskit.rendering.escape import markdown, one_line, spreadsheet
from opskit.rendering.excerpt import excerpt
from opskit.rendering.palette import LOOKS
from opskit.results.gather import Group, grouped, look

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from opskit.results.result import HostResult
    from opskit.results.results import Results

_LINES: Final = 40
_CHARACTERS: Final = 4_000
_WHY: Final = 200
_CELL_LIMIT: Final = 32_767
"""What a cell of Excel can hold, in UTF-16 code units."""
_CUT: Final = "… cut: Excel holds no more"
_TIME: Final = 'yyyy-mm-dd hh:mm:ss.000" UTC"'


def to_markdown(rows: Sequence[HostResult], path: str | PathLike[str] | None) -> str:
    """A table of the rows, folded; also written to `path` as UTF-8 if there is one."""
    titles = ("status", "hosts", "branch", "exit", "seconds", "error", "stdout", "stderr")
    lines = [titles, ("---",) * len(titles), *map(_markdown_cells, grouped(rows, look))]
    text = "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
    if path is not None:
        write("Results.to_markdown", path, text.encode())
    return text


def to_excel(rows: Sequence[HostResult], path: str | PathLike[str]) -> None:
    """A sheet with a row for each row; no cell is a formula, and times are UTC."""
    try:
        from openpyxl import Workbook  # type: ignore[import-untyped]  # it has no types
        from openpyxl.cell import WriteOnlyCell  # type: ignore[import-untyped]  # it has no types
    except ImportError as error:
        raise _missing("to_excel", "openpyxl") from error
    book = Workbook(write_only=True)
    sheet = book.create_sheet("results")
    sheet.freeze_panes = "A2"
    sheet.append(list(COLUMNS))
    for row in rows:
        cells = []
        for name in COLUMNS:
            cell = WriteOnlyCell(sheet, _excel_value(getattr(row, name)))
            if name == "started_at":
                cell.number_format = _TIME
            cells.append(cell)
        sheet.append(cells)
    content = BytesIO()
    book.save(content)
    write("Results.to_excel", path, content.getvalue())


def to_parquet(results: Results, path: str | PathLike[str]) -> None:
    """The DataFrame as it is, dtypes kept."""
    if find_spec("pyarrow") is None:
        raise _missing("to_parquet", "pyarrow")
    from pyarrow import ArrowException  # type: ignore[import-untyped]  # it has no types

    try:
        content = results.df.to_parquet(None, engine="pyarrow", index=False)
    except (ArrowException, OverflowError) as error:
        raise OpskitError(
            f"Results.to_parquet: a parsed column has values that Parquet can't hold ({one_line(str(error), _WHY)});"
            " convert or drop that column of .df, then write it with DataFrame.to_parquet"
        ) from error
    write("Results.to_parquet", path, content)


def write(method: str, path: str | PathLike[str], content: bytes) -> None:
    """Write a file; `method` is who wants it. A new one is its owner's alone: outputs are nobody else's to read.

    Raises:
        OpskitError: It can't be written; says why, and what to do.
    """
    try:
        place = checks.path(path)
    except ValueError as error:
        raise OpskitError(f"{method}: path={path!r} {error}") from None
    try:
        with open(place, "wb", opener=partial(os.open, mode=0o600)) as file:
            file.write(content)
    except OSError as error:
        if not place.parent.is_dir():
            raise OpskitError(
                f"{method}: there is no folder {place.parent.absolute()}; make it, or name another one"
            ) from error
        why = f"{place.absolute()} can't be written: {error.strerror}"
        raise OpskitError(f"{method}: {why}; name another file, or one in another folder") from error


def _missing(method: str, library: str) -> OpskitError:
    return OpskitError(f'Results.{method} needs {library}, which is not installed: pip install "opskit[reports]"')


def _markdown_cells(group: Group) -> tuple[str, ...]:
    row, status = group.first, LOOKS[group.first.status]
    outputs = (excerpt(text, lines=_LINES, characters=_CHARACTERS) for text in (group.error, row.stdout, row.stderr))
    ended = group.ended or str(row.exit_code if row.exit_code is not None else "")
    return (
        f"{status.symbol} {status.word}",
        markdown(group.hosts),
        markdown(row.branch or ""),
        markdown(ended),
        group.seconds,
        *map(markdown, outputs),
    )


def _excel_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    if not isinstance(value, str):
        return value
    text = spreadsheet(value[: _CELL_LIMIT + 1])
    units = text.encode("utf-16-le")
    if len(units) <= 2 * _CELL_LIMIT:
        return text
    return units[: 2 * (_CELL_LIMIT - len(_CUT))].decode("utf-16-le", "ignore") + _CUT
