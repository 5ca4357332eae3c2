"""Results leave as Markdown, Excel and Parquet: whole, typed, and without a live formula or link (S4)."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from openpyxl import load_workbook  # type: ignore[import-untyped]  # it has no types

from opskit.errors import OpskitError
from opskit.results import HostResult, Results

if TYPE_CHECKING:
    from pathlib import Path

BEGAN = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
ROWS = Results(
    (
        HostResult("web1", "in_('web')", "uptime", "ok", 0, None, "=1+1\n", "", False, BEGAN, 0.25, 1, 1, "01TX", None),
        HostResult(
            "web2", "in_('web')", "uptime", "failed", 3, "KILL", "a|b\x00\x1b[31m\x0b\ufffe", "@x", error="+why"
        ),
        HostResult("-db1", None, None, "skipped", stdout="é" * 40_000),
        HostResult(
            "web3",
            "else",
            "x",
            "ok",
            stdout="\U0001f600" * 30_000,
            started_at=BEGAN.astimezone(timezone(timedelta(hours=2))),
        ),
    )
)


def test_excel_holds_every_row_as_plain_cells(tmp_path: Path) -> None:
    """S4: no cell is a formula, control characters are marks, times are UTC, the header is frozen."""
    path = tmp_path / "results.xlsx"
    ROWS.to_excel(path)
    sheet = load_workbook(path).active
    cells = list(sheet.iter_rows())
    assert [cell.value for cell in cells[0]] == list(ROWS.df.columns)
    assert len(cells) == 1 + len(ROWS)
    assert sheet.freeze_panes == "A2"
    assert not any(cell.data_type == "f" for row in cells for cell in row)
    values = [
        dict(zip([cell.value for cell in cells[0]], [cell.value for cell in row], strict=True)) for row in cells[1:]
    ]
    assert values[0]["stdout"] == "'=1+1\n"
    assert values[0]["started_at"] == BEGAN.replace(tzinfo=None)
    assert values[3]["started_at"] == BEGAN.replace(tzinfo=None)
    assert "UTC" in cells[1][9].number_format
    assert values[1]["stdout"] == "a|b␀␛[31m␋⟨U+FFFE⟩"
    assert (values[1]["stderr"], values[1]["error"], values[2]["host"]) == ("'@x", "'+why", "'-db1")
    assert (values[0]["exit_code"], values[1]["exit_code"], values[2]["exit_code"]) == (0, 3, None)


def test_excel_cells_stay_within_their_limit(tmp_path: Path) -> None:
    """F26: a longer text is cut to 32,767 UTF-16 units, in no character's middle, and says so."""
    path = tmp_path / "results.xlsx"
    ROWS.to_excel(path)
    longest = [row[6] for row in load_workbook(path).active.iter_rows(min_row=4, values_only=True)]
    for text in longest:
        assert 32_700 < len(text.encode("utf-16-le")) // 2 <= 32_767
        assert text.endswith("… cut: Excel holds no more")


def test_parquet_keeps_values_and_dtypes(tmp_path: Path) -> None:
    """What is read back is `.df`: columns, dtypes and values."""
    path = tmp_path / "results.parquet"
    ROWS.to_parquet(path)
    back = pd.read_parquet(path)
    assert {name: str(dtype) for name, dtype in back.dtypes.items()} == {
        name: str(dtype) for name, dtype in ROWS.df.dtypes.items()
    }
    pd.testing.assert_frame_equal(back, ROWS.df, check_categorical=False)
    Results().to_parquet(path)
    assert list(pd.read_parquet(path).columns) == list(ROWS.df.columns)


def test_markdown_is_one_table_of_outcomes(tmp_path: Path) -> None:
    """S4, S18: a reader of Markdown sees one row an outcome, the worst first, and the file holds what was returned."""
    path = tmp_path / "results.md"
    text = ROWS.to_markdown(path)
    assert path.read_text(encoding="utf-8") == text
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    assert rendered.count("<tr>") == 1 + len(ROWS)
    assert rendered.index("✘ failed") < rendered.index("✔ ok") < rendered.index("skipped")
    assert "<code>=1+1</code>" in rendered
    assert len(text) < 20_000


@pytest.mark.parametrize(("method", "library"), [("to_excel", "openpyxl"), ("to_parquet", "pyarrow")])
def test_a_missing_library_is_named_with_its_cure(
    method: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra, the error says what to install, and no file is left behind."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OpskitError, match=rf'{method} needs {library}.*pip install "opskit\[reports\]"'):
        getattr(ROWS, method)(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["to_excel", "to_parquet", "to_markdown", "report"])
def test_a_new_file_is_its_owners_alone(method: str, tmp_path: Path) -> None:
    """S13: whatever the umask says; a file that is there keeps the rights that somebody gave it."""
    before = os.umask(0)
    try:
        for name, mode in (("new", 0o600), ("shared", 0o644)):
            path = tmp_path / name
            if name == "shared":
                path.touch(mode=0o644)
            getattr(Results((HostResult("web1", None, "uptime", "ok"),)), method)(path)
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)
