"""Where a journal is: URLs of PostgreSQL are read, and shown without what is secret; `journal init` of a file."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from opskit.cli import main
from opskit.errors import JournalError, SettingsError
from opskit.masking import MASK, mask
from opskit.record.places import placed, shown
from opskit.record.store import opened

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "0n1y-here"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (f"postgresql://ann:{SECRET}@db.example:5433/ops?sslmode=require", "postgresql://ann@db.example:5433/ops"),
        (f"postgres://db/ops?password={SECRET}", "postgresql://db/ops"),
        (f"postgresql+psycopg:///ops?host=/run/pg&user=ann&password={SECRET}", "postgresql:///ops?host=/run/pg"),
    ],
)
def test_a_url_is_shown_without_its_password(given: str, says: str) -> None:
    """B30, R21: wherever the password stands; from then on it is masked in all that is shown."""
    assert shown(placed(given)) == says
    assert mask(f"hosts said {SECRET}") == f"hosts said {MASK}"


def test_a_password_that_stands_elsewhere_too_is_not_masked() -> None:
    """One that is the user's name, say, would tear holes into every text."""
    placed("postgresql://nobodys-name:nobodys-name@db/ops")
    assert mask("nobodys-name") == "nobodys-name"


@pytest.mark.parametrize(
    "given", ["postgresql://ann:on1y@here@db/ops", "postgresql://ann:on1y-here@db:port/ops", "postgresql://a@b@c"]
)
def test_a_url_that_can_not_be_read_is_not_shown(given: str) -> None:
    """B30: an @ in a password that is not encoded would make a host of the password's end."""
    with pytest.raises(SettingsError, match=r"can't be read: write postgresql://USER:.*%40 for @") as error:
        opened(given)
    assert "here" not in "".join(traceback.format_exception(error.value))


def test_without_psycopg_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is named, as pip takes it."""
    monkeypatch.setattr("opskit.record.postgres.connecting.find_spec", lambda name: None)
    with pytest.raises(JournalError, match=r"needs psycopg: pip install 'opskit\[postgres\]'"):
        opened("postgresql://ann@db/ops")


def test_init_of_a_file_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SQLite does not need it, and it does no harm."""
    monkeypatch.setenv("OPSKIT_JOURNAL", str(tmp_path / "journal.db"))
    assert main(["journal", "init"]) == main(["journal", "init"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"the journal {tmp_path / 'journal.db'} was made, of version 2",
        f"the journal {tmp_path / 'journal.db'} is of version 2",
    ]


def test_the_rights_of_a_role_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """To be read, and given to psql; a role's name is quoted."""
    assert main(["journal", "init", "--grants", 'the "ops" team']) == 0
    assert 'GRANT USAGE ON SCHEMA opskit TO "the ""ops"" team";\n' in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--grants", "ops"], ["init", "--unfinished"], ["init", "--since", "2h"]])
def test_init_stands_alone(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With flags of other uses it is bad input, and nothing is made."""
    assert main(["journal", *words]) == 2
    assert "opskit journal" in capsys.readouterr().err
