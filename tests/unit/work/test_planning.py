"""Plans compared, narrowed and applied; their checks and what they warn of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opskit
from opskit import Host, Inventory
from opskit.errors import ConditionError, InventoryError, PlanError, TemplateError
from opskit.secrets import Secret, secret
from opskit.testing import Reply, ScriptedTransport
from opskit.work.planning import make_plan
from opskit.work.terms import run_terms

if TYPE_CHECKING:
    from opskit.work.plan import Plan

FLEET = Inventory([Host("a", roles={"web"}), Host("b", roles={"web", "db"}), Host("c"), Host("d", roles={"db"})])


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> ScriptedTransport:
    """What answers."""
    scripted = ScriptedTransport()
    monkeypatch.setattr("opskit.shared.transport", lambda *_: scripted)
    return scripted


def planned(*branches: tuple[str, str], **options: Any) -> Plan:
    """The plan of these conditions and commands."""
    with opskit.parallel(hosts=FLEET, dry_run=True, **options) as block:
        for condition, command in branches:
            block.when(condition, command)
    return block.plan


# Comparing


def test_plans_are_compared_step_by_step() -> None:
    """What is new, what is gone, and what has another command; what is the same is no row."""
    here = planned(("in_('web')", "v2"), ("in_('db')", "same"), chunk=1)
    there = planned(("in_('web')", "v1"), ("in_('db')", "same"), ("not server.roles", "old"), chunk=2)
    frame = here.diff(there)
    assert frame.astype(object).where(frame.notna(), None).to_numpy().tolist() == [
        ["changed", None, None, None, "chunk 1", "chunk 2"],
        ["changed", 1, "a", "in_('web')", "v2", "v1"],
        ["changed", 2, "b", "in_('web')", "v2", "v1"],
        ["removed", 2, "c", "not server.roles", None, "old"],
    ]
    back = there.diff(here)
    assert back.change.tolist() == ["changed", "changed", "changed", "added"]
    assert back.command.tolist() == ["chunk 2", "v1", "v1", "old"]


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ({"user": "bob"}, "user bob"),
        ({"sudo": True}, "sudo root"),
        ({"cwd": "/srv"}, "in /srv"),
        ({"env": {"A": "b"}}, "env A"),
        ({"env": {"A": Secret(None, ("env", "DB"))}}, "env A=<secret DB>"),
        ({"shell": "/bin/bash"}, "shell /bin/bash"),
        ({"stdin": "data"}, "stdin of 4 bytes"),
        ({"stdin": Path(__file__)}, f"stdin from {__file__}"),
        ({"answers": {"sure": "yes"}}, "pty, answers 'sure'"),
        ({"timeout": 5}, "timeout 5 s"),
        ({"on_disconnect": "leave"}, "left running if this side dies"),
        ({"retries": 2}, "retries 2"),
        ({"pause": 30}, "pause 30.0"),
        ({"max_failures": "10%"}, "max_failures 10%"),
        ({"on_error": "continue"}, "on_error continue"),
        ({"confirm": True}, "confirm True"),
        ({"check": "true"}, "true"),
    ],
)
def test_how_a_plan_runs_is_shown_and_compared(option: dict[str, Any], shown: str) -> None:
    """Who reads a plan before it is applied sees what is not as usual, and so does who compares it with another."""
    usual, other = planned(("True", "x")), planned(("True", "x"), **option)
    assert shown in str(other)
    assert shown not in str(usual)
    difference = other.diff(usual)
    assert any(shown in command for command in difference.command)
    assert not any(shown in was for was in difference.was.dropna())


def test_values_of_env_are_compared_though_they_are_not_shown() -> None:
    """They may be passwords: that something is another value is told all the same."""
    difference = planned(("True", "x"), env={"A": "one"}).diff(planned(("True", "x"), env={"A": "two"}))
    assert difference.change.tolist() == ["changed"] * len(difference)
    assert len(difference) > 0


def test_only_a_plan_is_compared() -> None:
    """A saved plan's path is a natural try."""
    with pytest.raises(PlanError, match=r"diff takes a Plan, not str; opskit\.load_plan reads one"):
        planned(("True", "x")).diff("restart.plan")  # type: ignore[arg-type]  # that is the test


def test_equal_plans_differ_in_nothing() -> None:
    """The frame has its columns and dtypes also without a row."""
    for here, there in (
        (planned(("True", "x")), planned(("True", "x"))),
        (planned(("True", "x")), planned(("False", "x"))),
    ):
        dtypes = {name: str(dtype) for name, dtype in here.diff(there).dtypes.items()}
        assert dtypes == {
            "change": "category",
            "chunk": "Int64",
            "host": "string",
            "branch": "category",
            "command": "string",
            "was": "string",
        }
    assert planned(("True", "x")).diff(planned(("True", "x"))).empty


def test_equal_branches_are_compared_in_their_order() -> None:
    """P4: a condition may stand there twice; the first is compared with the first."""
    here = planned(("in_('db')", "one"), ("in_('db')", "two"))
    there = planned(("in_('db')", "one"))
    assert here.diff(there)[["change", "host", "command"]].to_numpy().tolist() == [
        ["added", "b", "two"],
        ["added", "d", "two"],
    ]
    assert there.diff(here).change.tolist() == ["removed", "removed"]


# Narrowing


@given(data=st.data(), chunk=st.none() | st.integers(1, 4))
def test_a_narrowed_plan_has_just_the_wanted_steps(data: st.DataObject, chunk: int | None) -> None:
    """In their order, on their hosts alone, in chunks that follow each other from 1, and without any check."""
    options: dict[str, Any] = {} if chunk is None else {"chunk": chunk}
    check = data.draw(st.sampled_from([None, "healthy", bool]))
    plan = planned(("in_('web')", "w {{ server.name }}"), ("True", "t {{ server.name }}"), check=check, **options)
    wanted = data.draw(st.sets(st.integers(0, len(plan) - 1), min_size=1))
    small = plan.only(wanted)
    kept = [plan.steps[position] for position in sorted(wanted)]
    assert [(step.host, step.command, step.terms) for step in small.steps] == [
        (step.host, step.command, step.terms) for step in kept
    ]
    assert [steps[0].chunk for steps in small.chunks] == list(range(1, len(small.chunks) + 1))
    assert [len(steps) for steps in small.chunks] == [
        count for number in sorted({step.chunk for step in kept}) if (count := sum(s.chunk == number for s in kept))
    ]
    assert small.skipped == ()
    assert (small.checks, small.terms.check) == ((), None)
    assert len(plan) == len(plan.steps) > 0


# Applying


def test_a_plan_is_applied_step_by_step_as_it_says(transport: ScriptedTransport) -> None:
    """What the command's variables are later does not count; it may be applied again."""
    release = "v1"
    plan = opskit.plan("deploy {{ release }}", hosts=FLEET)
    release = "v2"
    assert plan.apply().hosts == plan.apply().hosts == ("a", "b", "c", "d")
    assert {command for _, command in transport.sent} == {"deploy v1"}
    assert release == "v2"
    assert opskit.run("x", hosts=FLEET, dry_run=True).apply().hosts == ("a", "b", "c", "d")


def test_a_plan_is_applied_on_the_hosts_in_use(transport: ScriptedTransport) -> None:
    """Which may have other vars and roles by then, but no other address."""
    with opskit.use(FLEET):
        plan = opskit.plan("x", roles="db")
    with pytest.raises(InventoryError, match="there is no inventory"):
        plan.apply()
    with opskit.use(FLEET):
        assert [row.host for row in plan.apply()] == ["b", "d"]


def test_a_plan_of_ones_own_making_can_not_be_applied() -> None:
    """Nothing says how its hosts are reached."""
    plan = planned(("True", "x"))
    bare = type(plan)(plan.hosts, plan.steps, plan.terms)
    with pytest.raises(PlanError, match="can't be run"):
        bare.apply()


def test_applying_a_plan_raises_as_a_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rows."""
    scripted = ScriptedTransport(lambda host, command: Reply(int(host == "c" and bool(command))))
    monkeypatch.setattr("opskit.shared.transport", lambda *_: scripted)
    with pytest.raises(opskit.CommandError, match="c") as caught:
        opskit.plan("x", hosts=FLEET).apply()
    assert [row.status for row in caught.value.results] == ["ok", "ok", "failed", "ok"]


# Checks


def test_a_check_is_planned_for_each_host_that_has_steps() -> None:
    """Rendered for it, in its chunk, by the run's own options."""
    plan = planned(("in_('db')", "x"), chunk=1, check="curl {{ server.name }}", user="ops", timeout=5)
    assert [(step.host.name, step.host.user, step.command, step.chunk) for step in plan.checks] == [
        ("b", "ops", "curl b", 1),
        ("d", "ops", "curl d", 2),
    ]
    assert {step.terms.timeout for step in plan.checks} == {5}
    assert len(plan) == 2


@pytest.mark.parametrize(("check", "error"), [("curl {{ nope }}", TemplateError), ("{{ '' | raw }}", PlanError)])
def test_a_check_that_can_not_be_sent_is_refused(check: str, error: type[Exception]) -> None:
    """Before anything is."""
    with pytest.raises(error):
        planned(("True", "x"), check=check)


# Secrets and users


def test_a_secret_needs_a_shell() -> None:
    """A command that is sent as it is has no variables."""
    with pytest.raises(PlanError, match="shell=False sends the command as it is, so no secret can stand in it"):
        planned(("True", "x {{ s }}"), variables={"s": secret("hunter2!")}, shell=False)


def test_secrets_of_a_command_are_numbered() -> None:
    """The same one has one number; each host may have another."""
    hosts = Inventory([Host(name, vars={"p": secret(f"hunter2{name}")}) for name in ("a", "b")])
    token = secret("swordfish")
    plan = opskit.plan("x {{ t }} {{ server.vars.p }} {{ t }}", hosts=hosts, variables={"t": token})
    command = 'x "$OPSKIT_SECRET_1" "$OPSKIT_SECRET_2" "$OPSKIT_SECRET_1"'
    assert [step.command for step in plan.steps] == [command] * 2
    assert [[found.reveal() for found in step.secrets] for step in plan.steps] == [
        ["swordfish", "hunter2a"],
        ["swordfish", "hunter2b"],
    ]


@pytest.mark.parametrize("command", ["x '{{ s }}'", 'x "{{ s }}"', "x `{{ s }}`", "cat <<E\n{{ s }}\nE", "x # {{ s }}"])
def test_a_secret_can_not_stand_in_quotes(command: str) -> None:
    """It brings its own; the error says why and shows no value."""
    with pytest.raises(TemplateError, match="its value is a secret, so it needs quotes") as caught:
        opskit.plan(command, hosts=FLEET, variables={"s": secret("hunter2!")})
    assert "hunter2!" not in str(caught.value)


def test_a_branchs_user_is_its_steps_alone() -> None:
    """N2: the others, and the inventory, keep theirs."""
    with opskit.parallel(hosts=FLEET, dry_run=True, user="ops") as block:
        block.when("in_('web')", "x", user="deploy")
        block.when("in_('db')", "y")
    assert [(step.host.name, step.host.user) for step in block.plan.steps] == [
        ("a", "deploy"),
        ("b", "deploy"),
        ("b", "ops"),
        ("d", "ops"),
    ]
    assert {host.user for host in block.plan.hosts} == {None}


def test_a_plan_without_branches_is_refused() -> None:
    """B3: with an example of one."""
    with pytest.raises(PlanError, match=r"there is nothing to run: add a branch, such as when\("):
        make_plan(FLEET, [], run_terms({}, opskit.settings), [])


def test_a_condition_that_raises_names_its_host() -> None:
    """B6: also where a check is planned too."""
    with pytest.raises(ConditionError, match="c"):
        planned(("1 / (server.name != 'c')", "x"), check="y")
