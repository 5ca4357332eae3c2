"""Conditions: what they may name, what counts as true, and what is said when one is wrong."""

from __future__ import annotations

import asyncio
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from opskit.errors import ConditionError
from opskit.fleet.conditions import Condition
from opskit.fleet.host import Host
from opskit.fleet.names import Names

if TYPE_CHECKING:
    from collections.abc import Callable

APP1 = Host("app1", roles={"app"}, vars={"dc": "ams", "cores": 4})
BOTH = Host("both", roles={"app", "web"}, vars={"dc": "fra", "cores": 8})
DB1 = Host("db1", roles={"db"}, vars={"dc": "ams", "cores": 2})
FLEET = (APP1, BOTH, DB1)


def compiled(source: str | Callable[[Host], object], place: str = "", **variables: Any) -> Condition:
    """A condition that knows the variables."""
    return Condition.compile(source, Names(variables, {}, {}, None), place=place)


def holding(source: str | Callable[[Host], object], **variables: Any) -> list[str]:
    """The names of the hosts that the condition holds for."""
    condition = compiled(source, **variables)
    return [host.name for host in FLEET if condition.holds(host)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("in_('app')", ["app1", "both"]),
        ("in_('app') and not in_('web')", ["app1"]),
        ("  server.vars.dc == 'ams'\n", ["app1", "db1"]),
        ("server.name.startswith('db') or server.vars['cores'] > 4", ["both", "db1"]),
        ("server.name in wanted", ["db1"]),
        ("configuration.wanted == configuration['wanted'] == ['db1']", ["app1", "both", "db1"]),
        ("in_('nosuch')", []),
        ("True", ["app1", "both", "db1"]),
    ],
)
def test_a_condition_is_an_expression(source: str, expected: list[str]) -> None:
    """P6, P7: `in_`, `server`, `configuration` and variables; a role that nobody has is False."""
    assert holding(source, wanted=["db1"]) == expected


def test_nothing_shadows_the_own_names() -> None:
    """A13: a notebook's `server`, `in_` and `configuration` do not stand in the way; its x does count."""
    assert holding("in_(x) and server.name == 'both'", server=1, in_=None, configuration=2, x="web") == ["both"]


@pytest.mark.parametrize(
    "source",
    [
        "any(name == server.name for name in wanted)",
        "[name for name in wanted if in_('db')]",
        "(lambda: in_('db') and server.name in wanted)()",
        "sorted(wanted, key=lambda name: server.name != name) and (lambda x: x in [n for n in wanted])(server.name)",
        "(y := server.name) and any(y == name for name in wanted)",
    ],
)
def test_names_are_known_in_inner_scopes(source: str) -> None:
    """Lambdas, comprehensions and generators inside a condition see the same names."""
    assert holding(source, wanted=["db1"]) == ["db1"]


def test_names_come_before_builtins_and_are_taken_once() -> None:
    """What `when()` saw holds: a later change of the notebook's variable changes nothing."""
    variables: dict[str, object] = {"max": "db1"}
    condition = Condition.compile("server.name == max", Names({}, {}, variables, None))
    variables["max"] = "app1"
    assert [condition.holds(host) for host in FLEET] == [False, False, True]


def test_nothing_is_left_of_the_host_before() -> None:
    """What `:=` stored for one host is unknown for the next."""
    condition = compiled("(seen := 1) and False if server.name == 'app1' else seen")
    assert condition.holds(APP1) is False
    with pytest.raises(ConditionError, match="NameError"):
        condition.holds(DB1)


def test_a_callable_takes_the_host() -> None:
    """A10, P5: called once for each host, in the order of the questions."""
    asked: list[str] = []

    def noted(server: Host) -> bool:
        asked.append(server.name)
        return "db" in server.name

    assert holding(noted) == ["db1"]
    assert asked == ["app1", "both", "db1"]


class Wanted:
    """A callable object."""

    def __call__(self, server: Host) -> bool:
        """Hold everywhere."""
        return True

    def chosen(self, server: Host) -> bool:
        """Hold everywhere."""
        return True


def test_a_label_is_readable() -> None:
    """The text as given; a callable's name; of a lambda, its line."""
    assert compiled("  in_('app')\n").label == "in_('app')"
    assert compiled(Wanted().chosen).label == "chosen"
    assert compiled(Wanted()).label == "Wanted"
    assert compiled(partial(Wanted.chosen, Wanted())).label == "chosen"

    asked = lambda server: server.port == 22  # noqa: E731 - a lambda is what is asked about
    assert compiled(asked).label == f"lambda at line {asked.__code__.co_firstlineno}"


def test_roles_asked_about_are_remembered() -> None:
    """N11: so that the plan can warn of a role that nobody has; `or` may leave some unasked."""
    condition = compiled("in_('app') or in_('daemon')")
    assert condition.asked_roles == set()
    condition.holds(APP1)
    assert condition.asked_roles == {"app"}
    condition.holds(DB1)
    assert condition.asked_roles == {"app", "daemon"}


@pytest.mark.parametrize("value", [1, "a", [0], 0.5, np.bool_(True), {"a": 1}, pd.Timestamp(0)])
def test_truth_is_pythons(value: object) -> None:
    """P8: what Python takes for true holds, and what it takes for false does not."""
    assert holding("value", value=value) == ["app1", "both", "db1"]
    assert holding("not value", value=value) == []


@pytest.mark.parametrize("value", [0, "", None, [], {}, 0.0, np.bool_(False), frozenset()])
def test_falsehood_is_pythons(value: object) -> None:
    """P8: empty values, zero and None do not hold."""
    assert holding("value", value=value) == []


async def eventually(_server: Host) -> bool:
    """Hold, but not yet."""
    return True


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.array([1, 2]), "ndarray"),
        (np.array([1]), "ndarray"),
        (pd.Series([True]), "Series"),
        (pd.DataFrame(), "DataFrame"),
        (float("nan"), "float nan"),
        (np.float32("nan"), "float32 nan"),
        (pd.NaT, "NaTType"),
        (pd.NA, "NAType: boolean value of NA is ambiguous"),
        ("abc".startswith, "builtin_function_or_method"),
        (len, "builtin_function_or_method"),
        (iter([]), "list_iterator"),
        ((letter for letter in ""), "generator"),
    ],
)
def test_what_is_neither_true_nor_false_is_refused(value: object, kind: str) -> None:
    """B7: an array, NaN, pandas.NA, a function that nobody called, an iterator."""
    with pytest.raises(ConditionError, match="must be true or false") as caught:
        holding("value", value=value)
    for part in (kind, "`value`", "app1"):
        assert part in str(caught.value)


def test_a_coroutine_is_refused_and_closed() -> None:
    """B7: an `async` condition is an error, and Python has no coroutine to warn of."""
    with pytest.raises(ConditionError, match=r"coroutine.*must be true or false"):
        holding(eventually)
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(ConditionError, match=r"Future.*must be true or false"):
            holding("value", value=loop.create_future())
    finally:
        loop.close()


def test_a_syntax_error_shows_where() -> None:
    """A9, B5: the text, a caret under the column, and the place."""
    with pytest.raises(ConditionError) as caught:
        compiled("  in_('app') and and x", place="line 3 of the cell")
    assert str(caught.value).split("\n") == [
        "this is no condition (line 3 of the cell): invalid syntax",
        "    in_('app') and and x",
        "                   ^",
    ]


def test_a_caret_stands_in_its_own_line() -> None:
    """B5: the text may have lines, tabs and characters of more than one byte."""
    with pytest.raises(ConditionError) as caught:
        compiled("in_('é') and (\n\t'é' = server\n)")
    lines = str(caught.value).split("\n")
    assert lines[1:] == ["    in_('é') and (", "    \t'é' = server", "    \t^", "    )"]


@pytest.mark.parametrize("source", ["x = 1", "import os", "await f()", "in_('app'", "(" * 300, "a\0b", "yield"])
def test_what_is_no_expression_is_refused(source: str) -> None:
    """A9: whatever Python's compiler says no to is a ConditionError."""
    with pytest.raises(ConditionError, match="no condition"):
        compiled(source)


def test_an_empty_condition_is_refused() -> None:
    """B5: it says that it is empty, and where."""
    with pytest.raises(ConditionError, match=r"a condition \(line 2\) is empty"):
        compiled(" ", place="line 2")


def test_a_condition_of_another_type_is_refused() -> None:
    """Neither text nor callable: the type is named."""
    source: Any = 5
    with pytest.raises(ConditionError, match="text or a callable, not int 5"):
        compiled(source)


def test_what_raises_on_one_host_names_condition_host_and_cause() -> None:
    """A9, B6: the cause is kept as such too."""
    condition = compiled("1 / (server.name != 'db1')", place="line 2")
    assert condition.holds(APP1)
    with pytest.raises(ConditionError, match="division by zero") as caught:
        condition.holds(DB1)
    assert str(caught.value) == (
        "condition `1 / (server.name != 'db1')` (line 2) failed on db1: ZeroDivisionError: division by zero"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("source", "near"),
    [
        ("wnated", "did you mean 'wanted'"),
        ("any(wnated for x in [1])", "did you mean 'wanted'"),
        ("srever.name", "did you mean 'server'"),
        ("server.nam", "did you mean 'name'"),
        ("server.vars.dcc", "did you mean 'dc'"),
        ("configuration.wnated", "did you mean 'wanted'"),
        ("server.name.startwith('db')", "did you mean 'startswith'"),
    ],
)
def test_an_unknown_name_brings_near_ones(source: str, near: str) -> None:
    """A9: a NameError or AttributeError says what was likely meant, once."""
    with pytest.raises(ConditionError) as caught:
        holding(source, wanted=1)
    assert str(caught.value).count(near) == 1


def test_a_name_that_is_never_reached_does_no_harm() -> None:
    """As in Python: what a short circuit leaves out is not looked up."""
    assert holding("True or nosuch") == ["app1", "both", "db1"]


def test_in_takes_a_roles_name() -> None:
    """`in_` of anything but text is a mistake, never just False."""
    with pytest.raises(ConditionError, match=r"in_\(\) takes the name of a role, not list"):
        holding("in_(['app'])")


def test_in_takes_one_role() -> None:
    """The message says how several are asked for; the role may be named."""
    with pytest.raises(ConditionError, match=r"in_\(\) takes one role: write in_\('app'\) or in_\('web'\)$"):
        holding("in_('app', 'web')")
    with pytest.raises(ConditionError, match=r"in_\(\) takes the name of a role"):
        holding("in_()")
    assert holding("in_(role='db')") == ["db1"]


def test_an_exit_is_a_failure_of_the_condition() -> None:
    """B6: it ends no program."""
    with pytest.raises(ConditionError, match="`leave` failed on app1: SystemExit: 3"):
        holding(partial(leave, 3))


def leave(code: int, _server: Host) -> bool:
    """End the program."""
    sys.exit(code)


def test_an_interrupt_passes_through() -> None:
    """What a person does is no failure of the condition."""

    def interrupted(_server: Host) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        holding(interrupted)


def test_a_cause_is_shown_harmlessly() -> None:
    """S2: what an error or a value quotes of a host commands no terminal."""

    def failing(_server: Host) -> bool:
        raise ValueError("\x1b]0;pwn\x07")

    with pytest.raises(ConditionError, match=r"ValueError: ␛\]0;pwn␇$"):
        holding(failing)

    class Hostile:
        def __bool__(self) -> bool:
            raise ValueError("\x1b]0;pwn\x07")

    with pytest.raises(ConditionError, match=r"Hostile: ␛\]0;pwn␇.*must be true or false"):
        holding("value", value=Hostile())


def test_conditions_are_cheap() -> None:
    """Five conditions on 10,000 hosts take less than 0.1 s of CPU."""
    hosts = [Host(f"web{number}", roles={"web"}, vars={"dc": "ams"}) for number in range(10_000)]
    conditions = [
        compiled(source, wanted={"web5"})
        for source in (
            "in_('app')",
            "in_('web') and server.vars.dc == 'ams'",
            "server.name in wanted",
            "configuration.wanted",
            "not in_('db')",
        )
    ]

    def spent() -> float:
        start = time.process_time()
        for condition in conditions:
            for host in hosts:
                condition.holds(host)
        return time.process_time() - start

    assert min(spent() for _ in range(5)) < 0.1
