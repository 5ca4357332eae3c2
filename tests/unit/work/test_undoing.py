"""How a step is undone: whose undo holds, how it is rendered, what the plan says of it, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opskit
from opskit import Host, Inventory, masking
from opskit.elsewhere import ALONE
from opskit.errors import PlanError, TemplateError
from opskit.secrets import secret
from tests.elements import Elements

if TYPE_CHECKING:
    from pathlib import Path

    from opskit.work.plan import Plan, Step

FLEET = Inventory([Host("web1", roles={"web"}), Host("web2", roles={"web"}, vars={"dc": "ams"}), Host("db1")])


def planned(**options: Any) -> Plan:
    """The plan of one command everywhere."""
    return opskit.plan("deploy {{ server.name }}", hosts=FLEET, **options)


def of_branches(*branches: tuple[str, str, dict[str, Any]], **options: Any) -> Plan:
    """The plan of these conditions, commands and options."""
    with opskit.parallel(hosts=FLEET, dry_run=True, **options) as block:
        for condition, command, own in branches:
            block.when(condition, command, **own)
    return block.plan


def refused(*branches: tuple[str, str, dict[str, Any]], **options: Any) -> str:
    """What the PlanError says, which comes before anything is dialled."""
    with pytest.raises(PlanError) as caught:
        of_branches(*branches, **options)
    return str(caught.value)


def undos(plan: Plan) -> dict[tuple[str, str], str | None]:
    """The undo of each host and command."""
    return {(step.host.name, step.command): step.undo for step in plan.steps}


# Rendering


def test_an_undo_is_rendered_for_each_host_when_the_plan_is_made() -> None:
    """N9: with the names of then; so is the key, which no shell reads and which is not quoted."""
    release = "v 41"
    undo, key = "back {{ server.name }} {{ release }}", "to {{ release }} on {{ server.name }}"
    plan = opskit.plan("deploy {{ release }}", hosts=FLEET, undo=undo, key=key)
    release = "v 42"
    assert release
    assert [step.undo for step in plan.steps] == [f"back {name} 'v 41'" for name in ("web1", "web2", "db1")]
    assert [step.key for step in plan.steps] == [f"to v 41 on {name}" for name in ("web1", "web2", "db1")]


@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_an_undo_is_rendered_as_a_command_is(value: str) -> None:
    """The same text becomes the same, whichever of the two it is."""
    masking._known = None
    text = "a {{ v }}\r\nb {{ server.name }} {{.Name}} '$x'"
    plan = opskit.plan(text, hosts=FLEET, undo=text, variables={"v": value})
    assert [step.undo for step in plan.steps] == [step.command for step in plan.steps]


def test_without_templates_undo_and_key_are_sent_as_they_are() -> None:
    """`template=False` holds for all of a run."""
    plan = opskit.plan("x", hosts=FLEET, undo="u {{ v }}", key="k {{ v }}", template=False)
    assert {(step.undo, step.key) for step in plan.steps} == {("u {{ v }}", "k {{ v }}")}


def test_an_undo_that_can_not_be_rendered_is_refused_with_its_place() -> None:
    """B8: it says that it is the undo, and where the branch stands; nothing has run."""
    with pytest.raises(TemplateError, match=r"`\{\{ nope \}\}` \(line 2, column 1, its undo, .*'nope' is not defined"):
        planned(undo="a\n{{ nope }}")
    with pytest.raises(TemplateError, match=r"its key, .*web1: Vars has no 'dc'"):
        planned(key="{{ server.vars.dc }}")


def test_an_undo_or_key_that_is_empty_on_a_host_is_refused() -> None:
    """B11: with the branch and the host."""
    option = {"variables": {"v": ""}}
    assert refused(("True", "x", {"undo": "{{ v | raw }} "}), **option).startswith(
        "when True: the undo is empty on web1; there is nothing to run"
    )
    assert refused(("True", "x", {"key": " {{ v }}"}), **option).startswith("when True: the key is empty on web1")
    assert "undo=' ' must be a command" in refused(("True", "x", {"undo": "  "}))


def test_a_secret_may_stand_in_an_undo_and_never_in_a_key() -> None:
    """It has numbers of its own there, is among the plan's, and is warned of; a key is shown and kept."""
    first, second = secret("hunter2!"), secret("swordfish")
    variables = {"a": first, "b": second}
    plan = opskit.plan("x {{ a }}", hosts=FLEET, undo="y {{ b }} {{ a }}", variables=variables)
    step = plan.steps[0]
    assert (step.command, step.secrets) == ('x "$OPSKIT_SECRET_1"', (first,))
    assert (step.undo, step.undo_secrets) == ('y "$OPSKIT_SECRET_1" "$OPSKIT_SECRET_2"', (second, first))
    assert plan.secrets == (first, second)
    assert [warning.split(";")[0] for warning in plan.warnings] == [
        "all: a secret stands in its command",
        "all: a secret stands in its undo",
    ]
    with pytest.raises(TemplateError, match="its value is a secret"):
        opskit.plan("x", hosts=FLEET, key="{{ a }}", variables=variables)
    assert "shell=False sends the undo as it is, so no secret" in refused(
        ("True", "x", {"undo": "{{ a }}"}), shell=False, variables=variables
    )


# Whose undo holds


def test_the_runs_undo_holds_for_branches_that_set_none() -> None:
    """And so do its key and `undo_once`; a branch's own win; an `irreversible` branch has no undo."""
    plan = of_branches(
        ("server.name == 'web1'", "a", {}),
        ("server.name == 'web2'", "b", {"undo": "own", "undo_once": False, "key": "k2"}),
        ("server.name == 'db1'", "c", {"irreversible": True}),
        undo="run's",
        undo_once=True,
        key="k",
    )
    found = [(step.undo, step.undo_once, step.irreversible, step.key) for step in plan.steps]
    assert found == [("run's", True, False, "k"), ("own", False, False, "k2"), (None, False, True, "k")]


def test_a_branchs_undo_takes_the_place_of_an_irreversible_run() -> None:
    """The nearer word is the one that holds."""
    plan = of_branches(("in_('web')", "a", {"undo": "u"}), ("not in_('web')", "b", {}), irreversible=True)
    assert [(step.undo, step.irreversible) for step in plan.steps] == [("u", False), ("u", False), (None, True)]


def test_what_contradicts_itself_is_refused() -> None:
    """`irreversible` with an undo, and `undo_once` without one, of a run or of a branch."""
    both = "irreversible says that nothing can undo it, and it has an undo"
    assert refused(("True", "x", {"undo": "u", "irreversible": True})).startswith(f"branch `True`: {both}")
    assert refused(("True", "x", {}), undo="u", irreversible=True).startswith(f"parallel: {both}")
    assert refused(("True", "x", {"undo_once": True})).startswith("branch `True`: undo_once is about an undo, and")
    assert refused(("True", "x", {}), undo_once=True).startswith("parallel: undo_once is about an undo, and")
    assert of_branches(("True", "x", {"undo": "u"}), ("True", "y", {}), undo_once=True).undoable == 3


def test_a_check_has_no_undo_and_no_key() -> None:
    """It changes nothing, and is made each time."""
    for options in ({"undo": "u", "undo_once": True, "key": "k"}, {"irreversible": True, "key": "k"}):
        checks = planned(check="true", **options).checks
        assert len(checks) == 3
        assert {(step.undo, step.undo_once, step.irreversible, step.key) for step in checks} == {
            (None, False, False, None)
        }


# The step that undoes


def test_a_step_is_undone_on_its_terms() -> None:
    """N9: as its user, by sudo, with its env, cwd, shell, terminal, answers and timeouts; with nothing to read."""
    terms: dict[str, Any] = {
        "user": "ops", "sudo": "postgres", "env": {"A": "b"}, "cwd": "/srv", "shell": "/bin/bash", "timeout": 5,
        "connect_timeout": 3, "answers": {"sure": "yes"}, "on_disconnect": "leave",
    }  # fmt: skip
    plan = of_branches(
        ("in_('web')", "x", {"stdin": "data", "on_output": print, "undo": "u", "undo_once": True, "key": "k", **terms}),
        chunk=1,
    )
    step = plan.steps[1]
    undoing = step.undoing()
    assert (undoing.host, undoing.host.user, undoing.branch, undoing.chunk) == (step.host, "ops", "in_('web')", 2)
    assert (undoing.command, undoing.undo, undoing.undo_once, undoing.key) == ("u", None, False, None)
    assert (undoing.terms.stdin, undoing.terms.on_output) == (b"", None)
    usual = of_branches(("in_('web')", "x", terms)).steps[1]
    assert undoing.terms == usual.terms


def test_an_undo_of_what_is_sent_as_it_is_is_sent_so_too() -> None:
    """`shell=False` holds for both."""
    assert planned(undo="u", shell=False).steps[0].undoing().terms.shell is False


def test_undoing_names_the_undos_own_secrets() -> None:
    """Their numbers are those of the undo."""
    held = secret("hunter2!")
    step = planned(undo="u {{ held }}", variables={"held": held}).steps[0]
    undoing = step.undoing()
    assert (undoing.command, undoing.secrets, undoing.undo_secrets) == ('u "$OPSKIT_SECRET_1"', (held,), ())


def test_all_steps_that_share_terms_share_those_of_their_undos() -> None:
    """Ten thousand undos hold one object, whatever was made of their steps in between; so do narrowed plans."""
    plan = planned(undo="u", stdin="data", chunk=1)
    assert len({id(step.undoing().terms) for step in (*plan.steps, *plan.only({0, 2}).steps)}) == 1
    branches = of_branches(("True", "x", {"undo": "u", "timeout": 1}), ("True", "y", {"undo": "u", "timeout": 2}))
    assert len({id(step.undoing().terms) for step in branches.steps}) == 2


# What the plan says


def lines(plan: Plan) -> list[str]:
    """Its text."""
    return str(plan).splitlines()


def test_the_undo_stands_under_its_command() -> None:
    """In a terminal less indented than a command's own lines, so that none can pass for it; and on the page."""
    plan = opskit.plan("one\n    undo: fake", hosts=FLEET, undo="back\nagain <b>")
    assert lines(plan)[1:] == [
        "chunk 1 of 1: web[1-2],db1",
        "  web[1-2],db1  [all]  one",
        "          undo: fake",
        "    undo: back",
        "      again <b>",
        "3 of 3 steps can be undone",
        ALONE,
    ]
    page = Elements(plan._repr_html_())
    assert "undo: back\nagain <b>" in page.text
    assert "3 of 3 steps can be undone" in page.text


def test_hosts_with_other_undos_are_not_folded() -> None:
    """What would be undone where must be seen."""
    plan = opskit.plan("x", hosts=FLEET, undo="u {{ server.name }}")
    assert [line for line in lines(plan) if "undo: " in line] == [f"    undo: u {host.name}" for host in FLEET]


@pytest.mark.parametrize(
    ("branches", "options", "says"),
    [
        ([("True", "x", {})], {}, None),
        ([("True", "x", {"undo": "u"})], {"chunk": 1}, "3 of 3 steps can be undone"),
        ([("False", "x", {"undo": "u"})], {}, None),
        (
            [("in_('web')", "x", {"undo": "u"}), ("not in_('web')", "y", {})],
            {"chunk": 1},
            "2 of 3 steps can be undone; after chunk 3 not all can be undone any more",
        ),
        (
            [("True", "x", {"undo": "u"}), ("server.name == 'web2'", "y", {"irreversible": True})],
            {"chunk": 1},
            "3 of 4 steps can be undone; after chunk 2 not all can be undone any more",
        ),
        ([("True", "x", {"irreversible": True})], {}, "0 of 3 steps can be undone"),
        ([("True", "x", {})], {"on_error": "rollback"}, "0 of 3 steps can be undone"),
    ],
)
def test_the_plan_says_how_much_can_be_undone(
    branches: list[tuple[str, str, dict[str, Any]]], options: dict[str, Any], says: str | None
) -> None:
    """And after which chunk no longer all can; nothing where nobody asked for undoing."""
    plan = of_branches(*branches, **options)
    assert [line for line in lines(plan) if "can be undone" in line and "warning" not in line] == (
        [says] if says else []
    )
    assert plan.undoable == sum(step.undo is not None for step in plan.steps)


def test_a_rollback_of_nothing_is_warned_of() -> None:
    """`on_error="rollback"` where no branch has an undo; not where one has, or where nothing runs."""
    warning = "nothing of this can be undone: no branch has an `undo`"
    assert planned(on_error="rollback").warnings == (warning,)
    assert planned(on_error="rollback", undo="u").warnings == ()
    assert of_branches(("False", "x", {}), on_error="rollback").warnings == ()


def test_the_frame_has_the_undo() -> None:
    """Missing where there is none, and without secrets."""
    secret("hunter2!")
    plan = of_branches(("in_('web')", "x", {"undo": "u hunter2!"}), ("not in_('web')", "y", {}))
    assert plan.df.undo.fillna("none").tolist() == ["u ********", "u ********", "none"]
    assert str(plan.df.undo.dtype) == "string"
    assert "hunter2!" not in str(plan) + plan._repr_html_()


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ({"undo": "back"}, "undo: back"),
        ({"irreversible": True}, "irreversible"),
        ({"key": "add-{{ server.name }}"}, "key add-web1"),
    ],
)
def test_how_a_step_is_undone_is_shown_and_compared(option: dict[str, Any], shown: str) -> None:
    """It is a part of what a step is."""
    usual, other = planned(), planned(**option)
    assert shown in str(other)
    assert shown not in str(usual)
    difference = other.diff(usual)
    assert difference.change.tolist() == ["changed"] * 3
    assert shown in difference.command[0]
    assert shown not in difference.was[0]
    assert other.diff(planned(**option)).empty


def test_undo_once_is_shown_and_compared() -> None:
    """And so are the secrets of an undo, by their names."""
    usual, once = planned(undo="u"), planned(undo="u", undo_once=True)
    assert once.diff(usual).command[0].endswith("  [undone once at most]  undo: u")
    one, other = (planned(undo="u {{ s }}", variables={"s": secret(prompt=name)}) for name in ("one", "other"))
    assert "in its undo OPSKIT_SECRET_1 is <secret one>" in str(one)
    assert len(one.diff(other)) == 3


# Plans in files, and plans made smaller


def undoing(step: Step) -> tuple[object, ...]:
    """All that says how it is undone."""
    return step.undo, list(map(repr, step.undo_secrets)), step.undo_once, step.irreversible, step.key


def test_a_saved_plan_keeps_how_it_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendered, with its secrets by their names; applied and narrowed plans have it too."""
    monkeypatch.setenv("OPSKIT_TEST_TOKEN", "hunter2!")
    plan = of_branches(
        (
            "in_('web')",
            "x",
            {"undo": "u {{ server.name }} {{ token }}", "undo_once": True, "key": "k {{ server.name }}"},
        ),
        ("not in_('web')", "y", {"irreversible": True}),
        variables={"token": secret(env="OPSKIT_TEST_TOKEN")},
        on_error="rollback",
    )
    plan.save(tmp_path / "plan")
    assert "hunter2" not in (tmp_path / "plan").read_text()
    loaded = opskit.load_plan(tmp_path / "plan")
    assert list(map(undoing, loaded.steps)) == list(map(undoing, plan.steps))
    assert loaded.terms.on_error == "rollback"
    assert loaded.diff(plan).empty
    assert str(loaded) == str(plan)
    assert undoing(plan.only({1}).steps[0]) == undoing(plan.steps[1])


def test_an_undo_with_a_secret_that_was_given_as_a_value_is_not_saved(tmp_path: Path) -> None:
    """As a command with one."""
    with pytest.raises(PlanError, match="undo has a secret that was given as a value"):
        planned(undo="u {{ s }}", variables={"s": secret("hunter2!")}).save(tmp_path / "plan")


@pytest.mark.parametrize(
    "bad",
    [
        {"undo": 5}, {"undo": ""}, {"undo": 'x "$OPSKIT_SECRET_1"'}, {"undo_once": 7}, {"irreversible": None},
        {"key": " "}, {"undo_secrets": 5}, {"undo_secrets": [{"secret": "X", "kind": "file"}]},
    ],
)  # fmt: skip
def test_an_undo_that_was_tampered_with_is_refused(bad: dict[str, Any], tmp_path: Path) -> None:
    """PlanError, and nothing else."""
    place = tmp_path / "plan"
    planned(undo="u").save(place)
    content = json.loads(place.read_text())
    content["steps"][0].update(bad)
    place.write_text(json.dumps(content))
    with pytest.raises(PlanError, match="is no whole plan"):
        opskit.load_plan(place)
