"""A run being written: its options and branches, checked as they are given, until a plan is made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opskit import checks
from opskit.errors import PlanError
from opskit.fleet import Inventory
from opskit.fleet.conditions import Condition
from opskit.fleet.selection import choose
from opskit.work.branches import Branch
from opskit.work.options import OF_BRANCH, OPTIONS, SELECTION, branch_terms, checked, run_terms
from opskit.work.plan import Plan, make_plan
from opskit.work.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opskit.fleet import Host
    from opskit.fleet.names import Names
    from opskit.settings import Settings


class Draft:
    """Options and branches; every mistake is raised where it is made.

    Args:
        options: The run's options, as the caller gave them.
        settings: What holds where an option says nothing.
        place: Who asks, for errors: `run`, `parallel`, `%%parallel`.

    Raises:
        PlanError: An option is unknown, or its value is bad.
    """

    def __init__(self, options: Mapping[str, Any], settings: Settings, place: str) -> None:
        self.settings = settings
        self._place = place
        self._options = checked(options, OPTIONS, place)
        self.terms = run_terms(self._options, settings)
        self._branches: list[Branch] = []
        self._otherwise_at: str | None = None

    def when(
        self,
        condition: str | Callable[[Host], object],
        command: str,
        names: Names,
        place: str,
        *,
        last: bool = False,
        options: Mapping[str, Any],
    ) -> None:
        """Add a branch; `place` says where it stands, for errors."""
        compiled = Condition.compile(condition, names, place=place)
        try:
            last = checks.yes_or_no(last)
        except ValueError as error:
            raise PlanError(f"branch `{compiled.label}`: last={last!r} {error}") from None
        self._add(compiled.label, compiled, command, names, place, options, last=last)

    def otherwise(self, command: str, names: Names, place: str, options: Mapping[str, Any]) -> None:
        """Add the branch of the hosts that nothing else matched."""
        if self._otherwise_at is not None:
            raise PlanError(
                f"there are two `otherwise` branches, at {self._otherwise_at} and at {place}: "
                "put both commands into one branch"
            )
        self._otherwise_at = place
        self._add("else", None, command, names, place, options)

    def everywhere(self, command: str, names: Names, place: str) -> None:
        """Make this the run's one command, without a condition."""
        self._add(None, None, command, names, place, {})

    def _add(
        self,
        label: str | None,
        condition: Condition | None,
        command: str,
        names: Names,
        place: str,
        options: Mapping[str, Any],
        *,
        last: bool = False,
    ) -> None:
        where = self._place if label is None else f"branch `{label}`"
        if not isinstance(command, str):
            raise PlanError(f"{where}: a command must be text, not {type(command).__name__}")
        template = Template.compile(command, names, enabled=self.terms.template, place=place)
        terms = branch_terms(self._options, checked(options, OF_BRANCH, where), self.settings, where)
        self._branches.append(Branch(label, condition, template, terms, last=last))

    def plan(self, default: Callable[[], Inventory]) -> Plan:
        """Select the hosts and decide what runs where.

        Args:
            default: Gives the inventory to select from, unless `hosts` is one.

        Raises:
            InventoryError: The selection names what is unknown, or leaves no host (NoMatchingHosts).
            PlanError, ConditionError, TemplateError: As `make_plan`.
        """
        criteria = {name: value for name, value in self._options.items() if name in SELECTION}
        inventory = criteria.pop("hosts") if isinstance(criteria.get("hosts"), Inventory) else default()
        skips = self.terms.on_no_hosts == "skip"
        hosts = choose(inventory, **criteria) if skips else inventory.select(**criteria)
        plan = make_plan(hosts, self._branches, self.terms, inventory.roles)
        return replace(plan, warnings=(*plan.warnings, *self._warnings(plan)))

    def _warnings(self, plan: Plan) -> Iterator[str]:
        if self.settings.host_keys == "off" and plan.steps:
            yield 'host keys are not checked (host_keys="off"): somebody in between could read and answer everything'
