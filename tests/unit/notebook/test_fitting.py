"""Tab: what fits at a cursor in a cell of ours, and that nothing else is answered, slow, or an error."""

from __future__ import annotations

import sys
from dataclasses import replace
from time import perf_counter
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opskit
from opskit.notebook import fitting as module
from opskit.notebook.cell import SETTERS
from opskit.notebook.fitting import Fit, Known, fitting
from opskit.notebook.flags import SWITCHES, TAKES_VALUE
from opskit.notebook.line import VERBS
from opskit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opskit.record.moves import State

FLEET = opskit.Inventory(
    [
        *(opskit.Host(f"web{number}", roles={"web", "edge"}, vars={"dc": "ams"}) for number in (1, 2, 3)),
        opskit.Host("db1", roles={"db"}, vars={"primary": True}),
    ]
)
VARIABLES = {"slow": ["web1"], "release": "v1", "few": FLEET, "listen": lambda *_: None, "os": ModuleType("os")}


def transactions() -> Mapping[str, State]:
    """Three, of which one is undone."""
    return {"01C": "running", "01B": "rolled_back", "01A": "succeeded"}


KNOWN = Known(lambda: FLEET, lambda: VARIABLES, transactions)


def words(before: str) -> list[str]:
    """The words that fit; none if nothing of ours does."""
    fit = fitting(before, KNOWN)
    return [] if fit is None else list(fit.words)


MAGICS = ("%%parallel", "%%opsparallel", "%parallel", "%opsparallel", "up = %parallel", "for x in y:\n    %parallel")


@pytest.mark.parametrize("magic", MAGICS)
def test_flags_fit_by_their_long_names(magic: str) -> None:
    """All at first, then those that begin so and are not there yet; a short one as the long one that it stands for."""
    assert words(f"{magic} ") == words(f"{magic} -") == sorted({*TAKES_VALUE, *SWITCHES})
    assert words(f"{magic} --ro") == ["--roles"]
    assert words(f"{magic} -r") == ["--roles"]
    assert words(f"{magic} -r web --ro") == []
    assert words(f"{magic} --quiet --name 'a b' --on-n") == ["--on-no-hosts"]
    assert fitting(f"{magic} -q --ti", KNOWN) == Fit("--ti", ("--timeout",), "flag")


@pytest.mark.parametrize("magic", MAGICS)
def test_roles_fit_after_their_flag(magic: str) -> None:
    """Also after a comma, a quote or a =; none twice."""
    for flag in ("-r ", "--roles ", "--roles=", "-r=", "-r '", '--roles "'):
        assert fitting(f"{magic} {flag}", KNOWN) == Fit("", ("db", "edge", "web"), "role")
        assert fitting(f"{magic} {flag}e", KNOWN) == Fit("e", ("edge",), "role")
        assert fitting(f"{magic} {flag}web,d", KNOWN) == Fit("d", ("db",), "role")
        assert words(f"{magic} {flag}web,") == ["db", "edge"]


def test_hosts_fit_after_their_flag() -> None:
    """A pattern of several that begin so, then each; after a comma those that are not there yet; none in brackets."""
    assert words("%%parallel -w ") == ["web[1-3]", "web1", "web2", "web3", "db1"]
    assert words("%%parallel -w we") == ["web[1-3]", "web1", "web2", "web3"]
    assert words("%%parallel --hosts=web1,we") == ["web[1-3]", "web2", "web3"]
    assert words("%%parallel --hosts web[1-2],d") == ["db1"]
    assert words("%%parallel -w web[1,") == []


def test_ten_thousand_hosts_are_a_moment_and_a_few_hundred_words() -> None:
    """Whatever is asked of them."""
    many = opskit.Inventory(
        opskit.Host(f"r{n % 100}n{n}", roles={f"role{n % 50}"}, vars={"n": n}) for n in range(10_000)
    )
    known = replace(KNOWN, inventory=lambda: many)
    for before in ("%%parallel -w ", "%%parallel -w r1", "%%parallel -r ", "%%parallel\nwhen server.vars."):
        begun = perf_counter()
        fit = fitting(before, known)
        assert perf_counter() - begun < 1  # a tenth of that where nothing else runs
        assert fit is not None
        assert len(fit.words) <= 200


def test_variables_fit_after_a_dollar_or_a_brace() -> None:
    """In any value; functions where one is wanted, and nowhere else; no modules."""
    for before in ("%%parallel -w $", "%%parallel -w {", "%parallel --env 'A=$", "%parallel --hosts=web1,$"):
        assert fitting(before, KNOWN) == Fit("", ("slow", "release", "few"), "variable")
    assert fitting("%%parallel -w {sl", KNOWN) == Fit("sl", ("slow",), "variable")
    assert words("%%parallel --on-output $") == ["listen"]
    assert words("%%parallel --undo 'x {{") == []


@pytest.mark.parametrize(
    ("flag", "fixed"),
    [
        ("--on-error", ["stop", "continue", "rollback"]),
        ("--on-disconnect", ["end", "leave"]),
        ("--on-no-hosts", ["error", "skip"]),
        ("--template", ["true", "false"]),
        ("--max-failures", []),
        ("--timeout", []),
        ("--out", []),
        ("-o", []),
    ],
)
def test_fixed_words_fit_after_their_flag(flag: str, fixed: list[str]) -> None:
    """And nothing of ours where any text may stand."""
    assert words(f"%%parallel {flag} ") == fixed
    assert words(f"%%parallel {flag}=") == fixed


def test_parsers_fit_after_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours first, then those of jc by the names that its own command has; without jc ours alone."""
    found = words("%%parallel --parse ")
    assert found[:2] == ["json", "csv"]
    assert {"df", "ls", "apt-get-sqq"} < set(found)
    module._parsers.cache_clear()
    monkeypatch.setitem(sys.modules, "jc", None)
    assert words("%%parallel --parse ") == ["json", "csv"]
    module._parsers.cache_clear()


def test_a_command_on_the_line_is_the_users_own() -> None:
    """From its first word on nothing fits; but for what stands in {{ }}."""
    for before in ("%parallel up", "%parallel -r web ", "%parallel -r web up", "%parallel -q -- -r ", "%%parallel up"):
        assert words(before) == (words("%parallel -r web ") if before == "%parallel -r web " else [])
    assert words("%parallel -r web echo -r ") == []
    assert words("%parallel -r web echo {{ server.na") == ["name"]


def test_a_branch_may_begin_where_a_line_does() -> None:
    """`when ` and `else:`, the latter once; neither in a body that is a script."""
    assert words("%%parallel\n") == ["when ", "else:"]
    assert fitting("%%parallel -r web\n\n# a\nwhen x: y\n  undo: z\nw", KNOWN) == Fit("w", ("when ",), "branch")
    assert words("%%parallel\nelse: x\n") == ["when "]
    assert words("%%parallel\nuptime\n") == []
    assert words("%%parallel\nuptime") == []


def test_roles_fit_in_a_condition() -> None:
    """In the quotes of `in_`."""
    assert fitting("%%parallel\nwhen in_('", KNOWN) == Fit("", ("db", "edge", "web"), "role")
    assert fitting('%%parallel\nwhen not in_("db") and in_( "w', KNOWN) == Fit("w", ("web",), "role")
    assert words("%%parallel\necho in_('") == []


def test_options_fit_below_a_branch_until_its_script_begins() -> None:
    """Those that are not set yet."""
    assert words("%%parallel\nwhen x: y\n  ") == [f"{name}: " for name in SETTERS]
    assert words("%%parallel\nwhen x:\n  undo: z\n\n# a\n  u") == ["undo_once: ", "user: "]
    assert words("%%parallel\nwhen x:\n  uptime\n  u") == []
    assert words("%%parallel\n  u") == []
    assert words("%%parallel\nwhen x: y\n  undo: u") == []


@pytest.mark.parametrize("before", ["%%parallel\nwhen not ", "%%parallel\nelse: a {{ ", "%%parallel\necho {{ x }} {{"])
def test_what_a_host_has_fits_after_server(before: str) -> None:
    """In conditions and templates: its attributes, and the vars of the inventory."""
    assert words(f"{before}server.") == ["address", "name", "port", "roles", "user", "vars"]
    assert fitting(f"{before}server.vars.d", KNOWN) == Fit("d", ("dc",), "var")
    assert words(f"{before}server.vars.") == ["dc", "primary"]


def test_a_var_that_is_no_identifier_does_not_fit_after_a_dot() -> None:
    """What Tab wrote would be an error."""
    known = replace(KNOWN, inventory=lambda: opskit.Inventory([opskit.Host("a", vars={"with-dash": 1, "plain": 2})]))
    assert fitting("%%parallel\nwhen server.vars.", known) == Fit("", ("plain",), "var")


@pytest.mark.parametrize(
    ("before", "fragment"),
    [
        ("%%parallel -r zzz", "zzz"),
        ("%%parallel -w web[1,", ""),
        ("%%parallel -w $zzz", "zzz"),
        ("%parallel -o ", ""),
        ("%%parallel --timeout 5", "5"),
        ("%%parallel --zzz", "--zzz"),
        ("%%parallel\nwhen in_('zzz", "zzz"),
        ("%%parallel\nwhen server.zzz", "zzz"),
        ("%opskit status ", ""),
        ("%opskit use zzz", "zzz"),
    ],
)
def test_where_only_a_word_of_ours_could_stand_nothing_else_fits(before: str, fragment: str) -> None:
    """None is known there; where a script may stand, others are asked."""
    fit = fitting(before, KNOWN)
    assert fit is not None
    assert (fit.fragment, fit.words) == (fragment, ())
    for others in ("%%parallel\nuptime\nls ho", "%%parallel\nls", "%parallel -q ls ho"):
        assert fitting(others, KNOWN) is None


class Unreadable:
    """As what stands for something that is not there: it raises when it is asked what it is."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError


def test_a_variable_that_raises_does_not_keep_others_away() -> None:
    """It may even be meant."""
    known = replace(KNOWN, variables=lambda: {"odd": Unreadable(), "few": FLEET})
    assert fitting("%%parallel -w $", known) == Fit("", ("odd", "few"), "variable")
    fit = fitting("%opskit use few", known)
    assert fit is not None
    assert fit.words[0] == "few"


@pytest.mark.parametrize("piece", ["{{ ", "when ", "in_('", "server.", " ", "a", "$", "'", "x=", "%"])
@pytest.mark.parametrize("start", ["%%parallel\n", "%%parallel ", "%%parallel\nwhen ", "%parallel ", "%opskit ", ""])
def test_a_line_as_long_as_data_is_a_moment(start: str, piece: str) -> None:
    """Pressing a key never takes long."""
    for count in (1_200, 12_000):
        begun = perf_counter()
        fitting(start + piece * count, KNOWN)
        assert perf_counter() - begun < 1


def test_nothing_fits_after_server_in_shell_text() -> None:
    """After the condition's colon, and after the braces."""
    assert words("%%parallel\nwhen x: curl server.") == []
    assert words("%%parallel\nelse: {{ x }} server.") == []


def test_verbs_fit_after_opskit() -> None:
    """And the words of each."""
    assert words("%opskit ") == list(VERBS)
    assert fitting("%opskit tr", KNOWN) == Fit("tr", ("transaction",), "verb")
    assert words("%opskit transaction ") == ["begin", "end", "rollback"]
    assert words("%opskit fleet ") == ["up", "down"]
    assert words("%opskit config keep") == ["keepalive"]
    assert words("%opskit config ") == sorted(Settings.__annotations__)
    for before in ("%opskit status ", "%opskit transaction begin x", "%opskit nonsense ", "%opskit fleet up 8"):
        assert words(before) == []


def test_transactions_fit_where_one_is_named() -> None:
    """The newest; for a rollback those that are not undone."""
    assert words("%opskit journal ") == ["--unfinished", "01C", "01B", "01A"]
    assert words("%opskit\tjournal\t01B") == ["01B"]
    assert words("%opskit attach 0") == ["01C", "01B", "01A"]
    assert fitting("%opskit rollback 0", KNOWN) == Fit("0", ("01C", "01A"), "transaction")


def test_the_journal_is_read_for_nothing_else() -> None:
    """Nor the hosts or the variables where they can't be meant."""

    def fail() -> Mapping[str, State]:
        pytest.fail("it was read")

    def no_inventory() -> opskit.Inventory:
        pytest.fail("it was asked for")

    known = Known(no_inventory, fail, fail)
    for before in ("%%parallel ", "%%parallel --on-error ", "%%parallel\n", "%opskit ", "%opskit config ", "x = 1"):
        fitting(before, known)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with inventories and other files."""
    for name in ("hosts.yaml", "hosts.txt", "more.INI", ".hidden.toml", "sub/inner.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_inventories_fit_after_use(folder: Path) -> None:
    """Variables that hold one, then files that can be read as one, and folders."""
    assert words("%opskit use ") == ["few", "hosts.yaml", "more.INI", "sub/"]
    assert words("%opskit use h") == words("%opskit use 'h") == ["hosts.yaml"]
    assert words("%opskit use sub/") == ["sub/inner.json"]
    assert words("%opskit use ~/sub/i") == ["~/sub/inner.json"]
    assert words("%opskit use .h") == [".hidden.toml"]
    assert words(f"%opskit use {folder}/mo") == [f"{folder}/more.INI"]
    for nothing in ("nowhere/", "~nobody-is-called-so/", "\0/"):
        assert words(f"%opskit use {nothing}") == []


@pytest.mark.parametrize(
    "before",
    [
        "",
        "x = 1",
        "opskit.",
        "%time ",
        "%%bash\n%%parallel ",
        "%%parallel2 -",
        "%%par",
        "%opskitty ",
        "# %parallel -r ",
    ],
)
def test_other_cells_are_left_alone(before: str) -> None:
    """Python, other magics, and what only looks like ours."""
    assert fitting(before, KNOWN) is None


PIECES = st.sampled_from(
    [
        *MAGICS, "%opskit ", "use ", "-r", "-w ", "--on-error=", "when ", "in_('", "server.", "vars.", "{{", "$", "{",
        "\n", " ", ",", "'", '"', "[", ":", "  undo: x", "web", "=", "\\", "--", "\0",
    ]
)  # fmt: skip


@given(st.lists(PIECES | st.text(max_size=4)).map("".join))
def test_no_text_is_an_error(before: str) -> None:
    """And what is replaced stands before the cursor, whatever is there."""
    fit = fitting(before, KNOWN)
    if fit is not None:
        assert before.endswith(fit.fragment)
        assert all(word.startswith(fit.fragment) or fit.kind == "flag" for word in fit.words)
