"""The plan: every step in its chunk, decided before anything is dialled, and what is said of it."""

from __future__ import annotations

import re
import time
from itertools import groupby
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit import Host, Inventory, Plan
from opskit.errors import ConditionError, PlanError, TemplateError
from opskit.fleet.names import Names
from opskit.settings import Settings
from opskit.work.draft import Draft
from tests.elements import Elements

SIZES = st.one_of(
    st.integers(1, 60),
    st.integers(1, 10_000).map(lambda hundredths: f"{hundredths / 100}%"),
)


def fleet(count: int) -> Inventory:
    """So many web hosts."""
    return Inventory(Host(f"web{number}", roles={"web"}) for number in range(1, count + 1))


def plan(inventory: Inventory, *branches: tuple[str, str], otherwise: str | None = None, **options: Any) -> Plan:
    """The plan of these conditions and commands."""
    draft = Draft(options, Settings(), "parallel")
    names = Names({}, {}, {}, None)
    for condition, command in branches:
        draft.when(condition, command, names, "", options={})
    if otherwise is not None:
        draft.otherwise(otherwise, names, "", {})
    return draft.plan(lambda: inventory)


def sizes(made: Plan) -> list[int]:
    """How many hosts each chunk has."""
    return [len({step.host.name for step in chunk}) for chunk in made.chunks]


@given(count=st.integers(1, 60), chunk=st.one_of(SIZES, st.lists(SIZES, min_size=1, max_size=4)))
def test_every_host_is_in_exactly_one_chunk(count: int, chunk: int | str | list[int | str]) -> None:
    """P25: chunks follow each other without gaps, each as large as its size says, the last size repeating."""
    made = plan(fleet(count), ("True", "a"), ("in_('web')", "b"), chunk=chunk)
    numbers = [step.chunk for step in made.steps]
    assert numbers == sorted(numbers)
    assert [number for number, _ in groupby(numbers)] == list(range(1, len(made.chunks) + 1))
    per_host = {
        name: {step.chunk for step in found} for name, found in groupby(made.steps, lambda step: step.host.name)
    }
    assert len(per_host) == count
    assert all(len(chunks) == 1 for chunks in per_host.values())
    wanted = chunk if isinstance(chunk, list) else [chunk]
    for number, size in enumerate(sizes(made)[:-1]):
        assert size == expected(wanted[min(number, len(wanted) - 1)], count)
    assert 1 <= sizes(made)[-1] <= expected(wanted[min(len(made.chunks), len(wanted)) - 1], count)


def expected(size: int | str, count: int) -> int:
    """How many hosts a size stands for: rounded down from the exact value, and at least one."""
    if isinstance(size, int):
        return size
    return max(1, count * round(float(size.removesuffix("%")) * 100) // 10_000)


@pytest.mark.parametrize(
    ("chunk", "made"),
    [
        (None, [10]),
        (4, [4, 4, 2]),
        (99, [10]),
        ("25%", [2, 2, 2, 2, 2]),
        ("1%", [1] * 10),
        ("100%", [10]),
        ([1, "30%"], [1, 3, 3, 3]),
        ([1, "10%", "100%"], [1, 1, 8]),
        ([3, 2], [3, 2, 2, 2, 1]),
    ],
)
def test_chunks_have_the_sizes_asked_for(chunk: Any, made: list[int]) -> None:
    """P25: of ten hosts; a percentage is rounded down, at least 1; the last entry repeats."""
    assert sizes(plan(fleet(10), ("True", "a"), chunk=chunk)) == made


def test_chunks_are_made_of_hosts_that_have_steps() -> None:
    """A28: hosts count, not steps, for percentages too, and a host that nothing matched takes no place."""
    hosts = fleet(8) | Inventory([Host("db1"), Host("db2")])
    made = plan(hosts, ("in_('web')", "a"), chunk="50%")
    assert sizes(made) == [4, 4]
    assert [host.name for host in made.skipped] == ["db1", "db2"]


def test_no_chunk_where_nothing_matches() -> None:
    """A11: that is no error; everybody is skipped."""
    made = plan(fleet(3), ("False", "a"), chunk=2)
    assert (made.chunks, len(made), len(made.skipped)) == ((), 0, 3)
    assert made  # a plan is true, also an empty one
    assert str(made).splitlines()[-1] == "skipped, no branch matches: web[1-3]"


def test_conditions_are_evaluated_once_for_each_host_and_before_any_command() -> None:
    """A9, A10: in inventory order; one that raises on the last host leaves no plan."""
    asked: list[str] = []

    def chatty(server: Host) -> bool:
        asked.append(server.name)
        return True

    names = Names({}, {}, {}, None)
    draft = Draft({}, Settings(), "parallel")
    draft.when(chatty, "a {{ 1 / 0 }}", names, "", options={})
    with pytest.raises(TemplateError, match="web1"):
        draft.plan(lambda: fleet(3))
    assert asked == ["web1", "web2", "web3"]
    with pytest.raises(ConditionError, match="web3"):
        plan(fleet(3), ("1 / (server.name != 'web3')", "a {{ 1 / 0 }}"))


@pytest.mark.parametrize("command", ["", "  \n\t", "{{ '' | raw }}"])
def test_an_empty_command_is_refused(command: str) -> None:
    """B11: with the branch and the host."""
    with pytest.raises(PlanError, match=r"when in_\('web'\): the command is empty on web1; there is nothing to run"):
        plan(fleet(2), ("in_('web')", command))


def test_a_role_that_nobody_has_is_a_warning() -> None:
    """A3, P7: the condition is false, and the plan says why that may be a slip; once for each branch."""
    made = plan(fleet(2), ("in_('wbe')", "a"), ("in_('web')", "b"))
    assert made.warnings == ("no host has the role 'wbe', which `in_('wbe')` asks for",)
    assert str(made).endswith("\nwarning: no host has the role 'wbe', which `in_('wbe')` asks for")


def test_a_role_of_a_host_that_was_not_selected_is_no_slip() -> None:
    """The whole inventory is asked which roles there are."""
    hosts = fleet(1) | Inventory([Host("db1", roles={"db"})])
    assert plan(hosts, ("in_('db')", "a"), hosts="web1").warnings == ()


def test_a_plan_prints_what_would_happen() -> None:
    """Chunks, folded hosts, branches and commands; who is skipped."""
    hosts = fleet(5) | Inventory([Host("db1", roles={"db"}), Host("queue1")])
    made = plan(
        hosts,
        ("in_('web')", "systemctl reload apache2\nuptime"),
        ("in_('db')", "pg_isready"),
        chunk=[1, 9],
        name="deploy",
    )
    assert str(made) == repr(made)
    assert str(made).splitlines() == [
        "deploy: 6 steps on 6 of 7 hosts, 2 chunks, at most 64 hosts at once",
        "chunk 1 of 2: web1",
        "  web1  [when in_('web')]  systemctl reload apache2",
        "      uptime",
        "chunk 2 of 2: web[2-5],db1",
        "  web[2-5]  [when in_('web')]  systemctl reload apache2",
        "      uptime",
        "  db1  [when in_('db')]  pg_isready",
        "skipped, no branch matches: queue1",
    ]


def test_a_long_plan_is_cut_and_says_so() -> None:
    """A plan of thousands of steps fits on a page, and is written in no time."""
    made = plan(fleet(5_000), otherwise="echo {{ server.name }}", chunk=1)
    began = time.process_time()
    text, page = str(made), made._repr_html_()
    assert time.process_time() - began < 2
    assert len(text.splitlines()) == 201
    assert text.splitlines()[-1] == "... and 9801 more lines; .df has every step"
    assert page.count("<tr>") == 201
    assert "... and 4800 more rows; .df has every step" in page
    assert len(made.df) == 5_000


def test_a_long_plan_shows_each_command_whole_or_not_at_all() -> None:
    """Lines of commands count; none is cut where the page ends."""
    made = plan(fleet(100), otherwise="echo {{ server.name }}\n" + "true\n" * 29 + "rm -rf /")
    text, page = str(made), Elements(made._repr_html_()).text
    assert text.count("\n  web") == text.count("rm -rf /") == page.count("rm -rf /") == 6
    assert text.splitlines()[-1] == f"... and {94 * 31} more lines; .df has every step"
    assert "... and 94 more rows; .df has every step" in page


@pytest.mark.parametrize(
    "command", ["echo " + "x" * 300 + "; rm -rf /", "echo a   b\t c\n\n  rm\n\trf", "echo '\x1b[8mrm'"]
)
def test_a_command_is_shown_as_it_is_sent(command: str) -> None:
    """A32: whole, its blanks and lines kept, and what a terminal would obey marked."""
    made = plan(fleet(1), otherwise=command)
    shown = command.replace("\x1b", "␛")
    assert str(made).endswith("  web1  [else]  " + shown.replace("\n", "\n      "))
    page = made._repr_html_()
    assert shown in Elements(page).text
    assert '<code style="white-space:pre-wrap">' in page


@pytest.mark.parametrize(("between", "left"), [("x" * 10_000, "8,0.."), ("true\n" * 100, "3..")])
def test_a_huge_commands_head_and_tail_are_shown(between: str, left: str) -> None:
    """F26: with a note how much is left out; the end, where a surprise may stand, is kept."""
    made = plan(fleet(1), otherwise=f"echo first\n{between}\nrm -rf /\n")
    for text in (str(made), Elements(made._repr_html_()).text):
        assert "echo first" in text
        assert "rm -rf /" in text
        assert re.search(f"… {left} characters left out …", text)
        assert len(text) < 2_500


def test_chunks_and_skipped_are_made_once() -> None:
    """For 10,000 hosts in as many chunks, whoever asks for each of them."""
    made = plan(fleet(3), ("server.name != 'web1'", "a"), chunk=1)
    assert made.chunks is made.chunks
    assert made.skipped is made.skipped


def test_a_plan_of_one_says_one() -> None:
    """Words agree with their numbers."""
    assert str(plan(fleet(1), otherwise="uptime")).splitlines() == [
        "plan: 1 step on 1 of 1 host, 1 chunk, at most 64 hosts at once",
        "chunk 1 of 1: web1",
        "  web1  [else]  uptime",
    ]


def test_hostile_text_in_a_plan_is_shown_as_text() -> None:
    """S1, S2: markup and escape sequences in names, conditions and commands are marks on a page and in a terminal."""
    evil = "<img src=x onerror=alert(1)>\x1b]0;title\x07\u202e"
    hosts = Inventory([Host("web1", vars={"x": evil}), Host("web2")])
    made = plan(
        hosts,
        (f"'{evil}' and server.name == 'web1'", "echo {{ server.vars.x }} $a$ </code><script>"),
        name=evil,
    )
    page = Elements(made._repr_html_())
    assert page.tags <= {"div", "b", "table", "thead", "tbody", "tr", "th", "td", "code", "span"}
    assert page.text.count("<img src=x onerror=alert(1)>") == 3
    assert "</code><script>" in page.text
    for shown in (page.text, str(made), repr(made)):
        assert not {"\x1b", "\x07", "\u202e"}.intersection(shown)


def test_a_plan_as_html_says_the_same() -> None:
    """A row for each thing that some hosts run, and notes below."""
    made = plan(fleet(3), ("in_('web')", "uptime"), ("in_('wbe')", "a"), chunk=2)
    page = Elements(made._repr_html_()).text
    for words in (
        "plan: 3 steps on 3 of 3 hosts",
        "web[1-2]",
        "when in_('web')",
        "uptime",
        "no host has the role 'wbe'",
    ):
        assert words in page


def test_a_plans_frame_has_a_row_a_step() -> None:
    """With the contract's columns and dtypes, also where there is no step."""
    made = plan(fleet(2), ("in_('web')", "uptime"), otherwise="a", chunk=1)
    dtypes = {"chunk": "Int64", "host": "string", "branch": "category", "command": "string", "undo": "string"}
    for frame in (made.df, plan(fleet(2), ("False", "a")).df):
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == dtypes
    expect = [[1, "web1", "in_('web')", "uptime"], [2, "web2", "in_('web')", "uptime"]]
    assert made.df.drop(columns="undo").to_numpy().tolist() == expect
    assert bool(made.df.undo.isna().all())
    assert isinstance(made.df.index, pd.RangeIndex)


def test_ten_thousand_hosts_are_planned_in_a_moment() -> None:
    """With five conditions and a template; the goal of half a second, made generous for busy machines."""
    hosts = Inventory(
        Host(f"host{number}", roles={f"role{number % 5}"}, vars={"dc": "ams"}) for number in range(10_000)
    )
    branches = [
        (f"in_('role{n}') and server.vars.dc == 'ams'", "deploy {{ server.name }} {{ server.vars.dc }}")
        for n in range(5)
    ]
    began = time.process_time()
    made = plan(hosts, *branches, chunk="10%")
    assert time.process_time() - began < 2
    assert len(made) == 10_000
