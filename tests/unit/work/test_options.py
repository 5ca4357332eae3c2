"""The table of options: what each may be, who may set it, and what holds in the end."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.errors import PlanError
from opskit.fleet import Host
from opskit.secrets import secret
from opskit.settings import Settings
from opskit.work.options import (
    OF_BRANCH,
    OPTIONS,
    SELECTION,
    BranchOptions,
    RunOptions,
    checked,
)
from opskit.work.terms import Terms, branch_terms, run_terms
from opskit.work.values import Share

SETTINGS = Settings(timeout=7.0, fanout=3, env=(("LANG", "C"), ("A", "settings")))


def taken(**options: Any) -> dict[str, Any]:
    """The options, checked."""
    return checked(options, OPTIONS, "run")


def refused(**options: Any) -> str:
    """What the PlanError says."""
    with pytest.raises(PlanError) as caught:
        taken(**options)
    return str(caught.value)


def terms(of_run: dict[str, Any], of_branch: dict[str, Any] | None = None, settings: Settings = SETTINGS) -> Terms:
    """What a branch's command is run on."""
    return branch_terms(taken(**of_run), checked(of_branch or {}, OF_BRANCH, "branch"), settings, "run")


async def asynchronous(*_: Any) -> bool:
    """Nobody would await it."""
    return True


def test_types_and_table_name_the_same_options() -> None:
    """What a type checker lets through is what the table knows; `dry_run` decides what a call returns."""
    assert set(RunOptions.__annotations__) | {"dry_run", "wait"} == set(OPTIONS)
    assert set(BranchOptions.__annotations__) == OF_BRANCH
    assert {"roles", "hosts", "only", "except_", "limit", "once"} == SELECTION


def test_an_unknown_option_is_answered_with_the_near_one() -> None:
    """B23: as `chunks` for `chunk`."""
    assert refused(chunks=3) == "run: no option is called 'chunks'; did you mean 'chunk'?"


def test_an_option_of_the_run_is_not_a_branchs() -> None:
    """The message says whose it is, and that it exists."""
    with pytest.raises(PlanError, match="branch `x`: no option is called 'chunk'; it belongs to the whole run"):
        checked({"chunk": 1}, OF_BRANCH, "branch `x`")


@pytest.mark.parametrize(
    "value",
    [0, -1, 1.5, "x%", "0%", "-5%", "101%", "nan%", "", "1,", "x", True, float("nan"), 10**400, [0], [1, "x"], {}],
)
def test_a_bad_chunk_is_refused(value: object) -> None:
    """B24: with the value and what is allowed."""
    allowed = 'must be a whole number, 1 or more, or a percentage such as "25%"'
    assert refused(chunk=value) == f"run: chunk={repr(value)[:80]} {allowed}"


def test_an_empty_list_of_chunks_is_refused() -> None:
    """B24: it would be no size at all."""
    assert refused(chunk=[]) == "run: chunk=[] must not be an empty list"


@pytest.mark.parametrize(
    ("value", "sizes"),
    [
        (3, [3]),
        ("3", [3]),
        (np.int64(3), [3]),
        ("25%", [50]),
        (" 12.5 % ", [25]),
        ([1, "10%", "100%"], [1, 20, 200]),
        ((1, 2), [1, 2]),
        ("1, 10%,100%", [1, 20, 200]),
    ],
)
def test_chunks_are_numbers_percentages_or_lists(value: object, sizes: list[int]) -> None:
    """As Python says them, and as flags do."""
    assert [share.of(200) for share in taken(chunk=value)["chunk"]] == sizes


@given(total=st.integers(0, 20_000), thousandths=st.integers(1, 100_000))
def test_a_percentage_is_rounded_down_from_its_exact_value(total: int, thousandths: int) -> None:
    """P25: of any number of hosts, also where binary fractions fall a little short, as 18.4 % of 375 does."""
    assert Share(thousandths / 1000, percent=True).of(total) == total * thousandths // 100_000


@pytest.mark.parametrize("value", [0, -1, "abc", float("inf"), float("nan"), True])
def test_a_bad_timeout_is_refused(value: object) -> None:
    """B25: the value, and that None means none."""
    message = refused(timeout=value)
    assert message.startswith(f"run: timeout={value!r} must be ")
    assert message.endswith("; use None for no limit")


@pytest.mark.parametrize("value", ["200%", -1, "x", [1]])
def test_a_bad_number_of_failures_is_refused(value: object) -> None:
    """B26: the value and what is allowed."""
    assert refused(max_failures=value).endswith('must be a whole number, 0 or more, or a percentage such as "25%"')


def test_failures_are_a_number_or_a_percentage() -> None:
    """None at all is a number too."""
    assert [taken(max_failures=value)["max_failures"].of(40) for value in (0, "0%", 3, "10%")] == [0, 0, 3, 4]


def test_words_are_named_where_none_fits() -> None:
    """B26: `on_error="ignore"` is answered with the words there are."""
    assert refused(on_error="ignore") == "run: on_error='ignore' must be one of 'stop', 'continue', 'rollback'"
    assert refused(on_no_hosts="fail") == "run: on_no_hosts='fail' must be one of 'error', 'skip'"


@pytest.mark.parametrize("key", ["A=B", "A B", "A\0", ""])
def test_a_bad_name_in_the_environment_is_refused(key: str) -> None:
    """B28: the message has the key."""
    assert f"has the name {key!r}" in refused(env={key: "x"})


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("fanout", 0, "must be a whole number, 1 or more"),
        ("connect_timeout", 0, "must be more than 0 seconds"),
        ("cwd", "", "must be text"),
        ("cwd", 5, "must be text"),
        ("shell", "", "must be a shell's path, or False"),
        ("stdin", 5, "must be text, bytes, a secret, a Path or a DataFrame"),
        ("stdin", Path("nowhere/at.all"), "is no file (working folder "),
        ("stdin", Path("~nobody-of-this-name/x"), "can't be found: "),
        ("on_output", 5, "must be a function, not int"),
        ("name", " ", "must be text"),
        ("dry_run", "perhaps", "must be True or False"),
        ("template", 2, "must be True or False"),
        ("pause", -1, "must be 0 seconds or more"),
        ("pause", float("inf"), "must be a finite number"),
        ("pause", True, "must be a number, not bool"),
        ("retries", -1, "must be a whole number, 0 or more"),
        ("retries", 1.5, "must be a whole number, 0 or more"),
        ("retries", "many", "must be a number"),
        ("check", " ", "must be a command, or a function that takes the chunk's results"),
        ("check", 5, "must be a command, or a function"),
        ("check", "a\0b", "must be a command, or a function"),
        ("check", asynchronous, "must be a plain function: nobody would await an async one"),
        ("on_output", asynchronous, "must be a plain function: nobody would await an async one"),
        ("user", "", "must be a user's name, without blanks, quotes and what a shell reads"),
        ("user", "-oProxyCommand=x", "must be a user's name"),
        ("user", "$(id)", "must be a user's name"),
        ("user", "a b", "must be a user's name"),
        ("user", "a\u202eb", "must be a user's name"),
        ("user", 5, "must be a user's name"),
        ("sudo", "-u x", "must be True, False or a user's name"),
        ("sudo", 2, "must be True, False or a user's name"),
        ("sudo", "", "must be True, False or a user's name"),
        ("pty", "perhaps", "must be True or False"),
        ("confirm", 2, "must be True or False"),
        ("wait", 2, "must be True or False"),
        ("on_disconnect", "kill", "must be one of 'end', 'leave'"),
        ("answers", "yes", "has word 1 without '='"),
        ("answers", ["x"], "must be a mapping"),
        ("answers", {"(": "x"}, "has '(', which is no regular expression: "),
        ("answers", {"x": 5}, "has 'x': a regular expression and a text or secret are expected"),
        ("answers", {re.compile(b"x"): "y"}, "a regular expression and a text or secret are expected"),
        ("answers", {5: "y"}, "has 5: a regular expression and a text or secret are expected"),
        ("parse", "nope", "parse='nope' "),
        ("parse", 5, "parse=5 "),
        ("variables", {1: 2}, "must be a mapping of names to values"),
        ("undo", " \n", "must be a command, not empty, without NUL"),
        ("undo", 5, "must be a command"),
        ("undo", "a\0b", "must be a command"),
        ("undo_once", "perhaps", "must be True or False"),
        ("irreversible", 2, "must be True or False"),
        ("key", "", "must be text"),
        ("key", 5, "must be text"),
        ("key", "a ******** b", "made a part of text"),
    ],
)
def test_every_other_bad_value_is_refused(option: str, value: object, says: str) -> None:
    """The message names the option, shows the value, and says what is allowed."""
    message = refused(**{option: value})
    assert message.startswith(f"run: {option}")
    assert says in message


def test_a_long_bad_value_is_cut() -> None:
    """What was given by mistake is shown on one line, not in full."""
    message = refused(on_output="x\n" * 10_000)
    assert len(message) < 200
    assert "\n" not in message


def test_none_leaves_an_option_out_but_where_it_says_something() -> None:
    """`timeout=None` takes the settings' limit away; None of a selection is for the selection to refuse."""
    given = taken(chunk=None, env=None, fanout=None, name=None, timeout=None, hosts=None)
    assert given == {"timeout": None, "hosts": None}


def test_a_run_has_the_contracts_defaults() -> None:
    """Where nothing was said, the settings and the contract speak."""
    run = run_terms(taken(), SETTINGS)
    assert (run.chunk, run.fanout, run.on_error, run.max_failures) == (None, 3, "stop", None)
    assert (run.on_no_hosts, run.name, run.dry_run, run.template, run.variables) == ("error", None, False, True, {})
    assert terms({}) == Terms(
        timeout=7.0, connect_timeout=10, shell="/bin/sh", on_disconnect="end", env=SETTINGS.env, cwd=None, stdin=b""
    )


def test_a_branchs_own_options_win() -> None:
    """Over the run's, and those over the settings; a limit can be taken away again."""
    own = terms({"timeout": 5, "cwd": "/srv"}, {"timeout": 1, "shell": "/bin/bash"})
    assert (own.timeout, own.cwd, own.shell) == (1, "/srv", "/bin/bash")
    assert terms({"timeout": 5}).timeout == 5
    assert terms({"timeout": None}).timeout is None
    assert terms({"timeout": 5}, {"timeout": "none"}).timeout is None


def test_environments_are_merged_by_name() -> None:
    """A19: settings, run and branch; the branch wins."""
    env = dict(terms({"env": {"A": "run", "B": "run"}}, {"env": "B=branch C=1"}).env)
    assert env == {"LANG": "C", "A": "run", "B": "branch", "C": "1"}


@pytest.mark.parametrize("other", [{"env": {"A": "b"}}, {"cwd": "/srv"}])
def test_without_a_shell_nothing_can_be_set_for_the_command(other: dict[str, Any]) -> None:
    """`shell=False` with `env` or `cwd` is refused, whoever of run and branch says which."""
    plain = Settings()
    for of_run, of_branch in (({"shell": False, **other}, {}), (other, {"shell": False}), ({"shell": "false"}, other)):
        with pytest.raises(PlanError, match=f"shell=False sends the command as it is, so {next(iter(other))} can't"):
            terms(of_run, of_branch, plain)


def test_standard_input_is_bytes_or_a_file(tmp_path: Path) -> None:
    """Text as UTF-8, a DataFrame as CSV; a path is read when it is sent."""
    path = tmp_path / "dump.sql"
    path.write_text("x")
    frame = pd.DataFrame({"a": [1], "b": ["x y"]})
    assert taken(stdin="ä")["stdin"] == "ä".encode()
    assert taken(stdin=b"\xff")["stdin"] == b"\xff"
    assert taken(stdin=path)["stdin"] == path
    assert taken(stdin=frame)["stdin"] == b"a,b\n1,x y\n"


def test_variables_are_taken_once() -> None:
    """Who changes the mapping later changes no run."""
    variables = {"a": 1}
    kept = taken(variables=variables)["variables"]
    variables["a"] = 2
    assert kept == {"a": 1}


def test_every_option_has_a_line_of_help() -> None:
    """`%%parallel?` shows it."""
    assert all(option.doc and "\n" not in option.doc for option in OPTIONS.values())


@pytest.mark.parametrize("option", ["env", "stdin", "answers", "variables"])
def test_what_may_hold_a_password_is_not_shown(option: str) -> None:
    """Its name alone stands in the error."""
    assert "hunter2!" not in refused(**{option: ["hunter2!"]})


def test_secrets_are_values_of_options() -> None:
    """Of `env`, `stdin` and `answers`; they stay what they are."""
    found = secret("hunter2!")
    made = taken(env={"A": found}, stdin=found, answers={"x": found})
    assert dict(made["env"])["A"] is made["stdin"] is made["answers"][0][1] is found


@pytest.mark.parametrize(
    ("value", "user"),
    [(True, "root"), ("yes", "root"), ("postgres", "postgres"), (False, None), ("no", None), ("root", "root")],
)
def test_sudo_is_a_user(value: object, user: str | None) -> None:
    """Root for True; a branch's False takes the run's away."""
    assert terms({"sudo": value}).sudo == user
    assert terms({"sudo": value}, {"sudo": False}).sudo is None


@given(name=st.text(max_size=8))
def test_every_user_that_is_taken_can_log_in(name: str) -> None:
    """S6: what passes here is a user that a host may have, and no option of a program."""
    try:
        found = taken(user=name)["user"]
    except PlanError:
        return
    assert Host("a", user=found).user == name
    assert not name.startswith("-")


def test_answers_are_typed_at_a_terminal() -> None:
    """They imply one, and a run without one can't have them; no answers imply nothing."""
    assert terms({"answers": 'Continue=yes "Name:=Bob B"'}).pty
    assert [answer for _, answer in terms({"answers": 'Continue=yes "Name:=Bob B"'}).answers] == ["yes", "Bob B"]
    assert not terms({"answers": {}}).pty
    for of_run, branch in (({"answers": {"x": "y"}, "pty": False}, {}), ({"pty": False}, {"answers": {"x": "y"}})):
        with pytest.raises(PlanError, match="run: answers need a terminal to be typed at, so pty can't be False"):
            terms(of_run, branch)


def test_sudo_needs_a_shell() -> None:
    """`shell=False` sends a command as it is."""
    with pytest.raises(PlanError, match="shell=False sends the command as it is, so sudo can't be set for it"):
        terms({"shell": False, "sudo": True}, settings=Settings())


def test_what_becomes_of_a_command_without_this_side() -> None:
    """The setting, the run's option, the branch's."""
    leaving = Settings(on_disconnect="leave")
    assert terms({}).on_disconnect == "end"
    assert terms({}, settings=leaving).on_disconnect == "leave"
    assert terms({"on_disconnect": "leave"}, {"on_disconnect": "end"}, leaving).on_disconnect == "end"


def test_the_page_of_options_has_a_row_for_each() -> None:
    """docs/options.md says what `help(opskit.run)` sends its reader to, in the table's words."""
    page = (Path(__file__).parents[3] / "docs" / "options.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (?:run|run, branch) \| (.*) \|$", page, re.MULTILINE))
    assert rows == {name: option.doc for name, option in OPTIONS.items()}


@pytest.mark.parametrize("option", ["env", "stdin", "answers"])
def test_what_is_shown_of_a_secret_is_never_sent_in_its_place(option: str) -> None:
    """Text made of a secret holds its mask: who built such text is told, and no host gets asterisks."""
    text = "user:" + str(secret("hunter2!"))
    assert "made a part of text" in refused(**{option: text if option == "stdin" else {"A": text}})


@pytest.mark.parametrize("name", ["A-B", "1A", "A.B", "A B", ""])
def test_names_that_no_shell_takes_are_refused(name: str) -> None:
    """B28: a shell would lose such a variable without a word."""
    assert "no shell takes any but letters, digits and _" in refused(env={name: "x"})


def test_a_function_is_no_undo_of_a_command() -> None:
    """The message says what takes functions."""
    assert "an undo of a command is a command; opskit.on_rollback takes functions" in refused(undo=print)


def test_a_misspelt_undo_is_not_taken_for_sudo() -> None:
    """`undo` is one letter from `sudo`: of the two near names both are said."""
    assert "did you mean 'undo'" in refused(udno="x")
