"""A run being written: each mistake is raised where it is made, and a plan comes of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from opskit import Host, Inventory
from opskit.errors import ConditionError, InventoryError, NoMatchingHosts, PlanError, TemplateError
from opskit.fleet.names import Names
from opskit.settings import Settings
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from opskit.work.plan import Plan

FLEET = Inventory(
    [
        Host("app1", roles={"app"}),
        Host("app2", roles={"app"}),
        Host("both", roles={"app", "web"}),
        Host("web1", roles={"web"}),
        Host("db1", roles={"db"}),
    ]
)
NOTHING = Names({}, {}, {}, None)


def draft(**options: Any) -> Draft:
    """A new one."""
    return Draft(options, Settings(), "parallel")


def planned(subject: Draft, fleet: Inventory = FLEET) -> Plan:
    """Its plan, on the fleet."""
    return subject.plan(lambda: fleet)


def steps(plan: Plan) -> list[tuple[str, str | None, str]]:
    """Host, branch and command of each step."""
    return [(step.host.name, step.branch, step.command) for step in plan.steps]


def test_branches_become_steps() -> None:
    """A1: every branch that matches a host, in inventory order, then in the order of the branches."""
    subject = draft()
    subject.otherwise("echo E", NOTHING, "line 1", {})
    subject.when("in_('app')", "echo A", NOTHING, "line 2", options={})
    subject.when("in_('web')", "echo W {{ server.name }}", NOTHING, "line 3", options={})
    assert steps(planned(subject)) == [
        ("app1", "in_('app')", "echo A"),
        ("app2", "in_('app')", "echo A"),
        ("both", "in_('app')", "echo A"),
        ("both", "in_('web')", "echo W both"),
        ("web1", "in_('web')", "echo W web1"),
        ("db1", "else", "echo E"),
    ]


def test_last_ends_the_search() -> None:
    """A7, A8: a host that matched such a branch looks at no later one."""
    subject = draft(hosts="both")
    subject.when("in_('app')", "a", NOTHING, "", options={}, last=True)
    subject.when("in_('web')", "w", NOTHING, "", options={})
    assert steps(planned(subject)) == [("both", "in_('app')", "a")]


def test_last_is_true_or_false() -> None:
    """P9: `"no"` is no; anything else is refused by name."""
    subject = draft(hosts="both")
    word: Any = "no"
    subject.when("in_('app')", "a", NOTHING, "", options={}, last=word)
    subject.when("in_('web')", "w", NOTHING, "", options={})
    assert [command for _, _, command in steps(planned(subject))] == ["a", "w"]
    word = "maybe"
    with pytest.raises(PlanError, match=r"branch `in_\('app'\)`: last='maybe' must be True or False"):
        subject.when("in_('app')", "a", NOTHING, "", options={}, last=word)


def test_one_command_everywhere_has_no_branch() -> None:
    """As `opskit.run` makes it."""
    subject = draft(roles="web")
    subject.everywhere("uptime", NOTHING, "")
    assert steps(planned(subject)) == [("both", None, "uptime"), ("web1", None, "uptime")]


def test_an_option_is_refused_before_anything_else() -> None:
    """B23: when the draft begins, not when it is planned."""
    with pytest.raises(PlanError, match="parallel: no option is called 'rolse'; did you mean 'roles'"):
        draft(rolse="web")


def test_a_branchs_option_is_refused_with_its_branch() -> None:
    """The message says which branch."""
    with pytest.raises(PlanError, match=r"branch `in_\('app'\)`: timeout=0 must be more than 0"):
        draft().when("in_('app')", "a", NOTHING, "line 3", options={"timeout": 0})
    with pytest.raises(PlanError, match="branch `else`: no option is called 'last'"):
        draft().otherwise("a", NOTHING, "line 3", {"last": True})


def test_a_mistake_is_raised_where_it_is_made() -> None:
    """B5, B8: a condition or template that does not compile needs no plan to be found, and says where it stands."""
    with pytest.raises(ConditionError, match=r"line 3 of the cell"):
        draft().when("in_('app'", "a", NOTHING, "line 3 of the cell", options={})
    with pytest.raises(TemplateError, match=r"line 3 of the cell"):
        draft().otherwise("echo {{ a b }}", NOTHING, "line 3 of the cell", {})


def test_a_second_otherwise_is_refused() -> None:
    """B4: with both places."""
    subject = draft()
    subject.otherwise("a", NOTHING, "line 2 of the cell", {})
    with pytest.raises(PlanError, match=r"at line 2 of the cell and at line 5 of the cell"):
        subject.otherwise("b", NOTHING, "line 5 of the cell", {})


@pytest.mark.parametrize("command", [None, 5, b"uptime", ["uptime"]])
def test_a_command_is_text(command: Any) -> None:
    """The message names the branch and what was given."""
    kind = type(command).__name__
    with pytest.raises(PlanError, match=f"branch `x`: a command must be text, not {kind}"):
        draft().when("x", command, NOTHING, "", options={})
    with pytest.raises(PlanError, match=f"parallel: a command must be text, not {kind}"):
        draft().everywhere(command, NOTHING, "")


def test_no_branch_is_refused_before_hosts_are_looked_up() -> None:
    """B3, P2: there is nothing to run, and the message shows a `when`."""
    with pytest.raises(PlanError, match=r"nothing to run.*when\("):
        planned(draft())


def test_a_selection_that_leaves_nobody_is_an_error_unless_it_may() -> None:
    """B1: never all hosts; `on_no_hosts="skip"` makes an empty plan."""
    subject = draft(roles="app", only={"dc": "ams"})
    subject.everywhere("uptime", NOTHING, "")
    with pytest.raises(NoMatchingHosts):
        planned(subject)
    subject = draft(roles="app", only={"dc": "ams"}, on_no_hosts="skip")
    subject.everywhere("uptime", NOTHING, "")
    assert len(planned(subject)) == len(planned(subject).hosts) == 0


def test_a_misspelt_role_is_an_error_also_where_nobody_may_match() -> None:
    """B2: `on_no_hosts="skip"` is about a good selection that finds nobody."""
    subject = draft(roles="wbe", on_no_hosts="skip")
    subject.everywhere("uptime", NOTHING, "")
    with pytest.raises(InventoryError, match="'wbe'; did you mean 'web'"):
        planned(subject)


def test_an_inventory_as_hosts_replaces_the_default() -> None:
    """The default is not even asked for, and the other criteria hold for it."""

    def nobody() -> Inventory:
        raise AssertionError

    subject = draft(hosts=FLEET - FLEET.select(hosts="web1"), roles="web")
    subject.everywhere("uptime", NOTHING, "")
    assert steps(subject.plan(nobody)) == [("both", None, "uptime")]


def test_without_templates_braces_are_text() -> None:
    """`template=False` sends what stands there."""
    subject = draft(template=False, hosts="db1")
    subject.everywhere("echo {{ x }}", NOTHING, "")
    assert steps(planned(subject)) == [("db1", None, "echo {{ x }}")]


def test_terms_of_the_run_hold_for_each_branch_unless_it_says_otherwise() -> None:
    """Options that a branch may set are the run's where it does not."""
    subject = draft(timeout=5, hosts="both")
    subject.when("in_('app')", "a", NOTHING, "", options={})
    subject.when("in_('web')", "w", NOTHING, "", options={"timeout": 1})
    assert [step.terms.timeout for step in planned(subject).steps] == [5, 1]
