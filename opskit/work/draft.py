"""A run being written: its options and branches, checked as they are given, until a plan is made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from opskit import checks
from opskit.errors import PlanError
from opskit.fleet import Inventory
from opskit.fleet.conditions import Condition
from opskit.fleet.selection import choose
from opskit.work.branches import CHECK, Branch
from opskit.work.options import OF_BRANCH, OPTIONS, SELECTION, checked
from opskit.work.planning import make_plan
from opskit.work.template import Template
from opskit.work.terms import branch_terms, run_terms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opskit.fleet import Host
    from opskit.fleet.names import Names
    from opskit.settings import Settings
    from opskit.work.plan import Plan

_UNDOING: Final = frozenset({"undo", "undo_once", "irreversible", "key"})
_NO_UNDO: Final = "undo_once is about an undo, and there is none; add undo=COMMAND, or leave it out"


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
        _one_of_both(self._options, place)
        self.terms = run_terms(self._options, settings)
        self._branches: list[Branch] = []
        self._otherwise_at: str | None = None
        self._check: Branch | None = None

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
        branch = self._branch(compiled.label, compiled, command, names, place, options, last=last)
        self._branches.append(branch)

    def otherwise(self, command: str, names: Names, place: str, options: Mapping[str, Any]) -> None:
        """Add the branch of the hosts that nothing else matched."""
        if self._otherwise_at is not None:
            raise PlanError(
                f"there are two `otherwise` branches, at {self._otherwise_at} and at {place}: "
                "put both commands into one branch"
            )
        self._otherwise_at = place
        self._branches.append(self._branch("else", None, command, names, place, options))

    def everywhere(self, command: str, names: Names, place: str) -> None:
        """Make this the run's one command, without a condition."""
        self._branches.append(self._branch(None, None, command, names, place, {}))

    def compile_check(self, names: Names, place: str) -> None:
        """Compile the command of the option `check`, if that is one."""
        if isinstance(self.terms.check, str):
            check = self._branch(CHECK, None, self.terms.check, names, place, {})
            self._check = replace(check, undo=None, undo_once=False, irreversible=False, key=None)

    def _branch(
        self,
        label: str | None,
        condition: Condition | None,
        command: str,
        names: Names,
        place: str,
        options: Mapping[str, Any],
        *,
        last: bool = False,
    ) -> Branch:
        where = self._place if label is None else f"branch `{label}`"
        if not isinstance(command, str):
            raise PlanError(f"{where}: a command must be text, not {type(command).__name__}")
        template = Template.compile(command, names, enabled=self.terms.template, place=place)
        own = checked(options, OF_BRANCH, where)
        terms = branch_terms(self._options, own, self.settings, where)
        undoing = self._undoing(own, where)

        def compiled(name: str) -> Template | None:
            if name not in undoing:
                return None
            at = f"its {name}, {place}" if place else f"its {name}"
            return Template.compile(undoing[name], names, enabled=self.terms.template, place=at)

        return Branch(
            label,
            condition,
            template,
            terms,
            last,
            compiled("undo"),
            undoing.get("undo_once", False),
            undoing.get("irreversible", False),
            compiled("key"),
        )

    def _undoing(self, own: Mapping[str, Any], place: str) -> dict[str, Any]:
        """What a branch says of its undoing, or else the run: its own `undo` and `irreversible` each end the other."""
        _one_of_both(own, place)
        ended = {"irreversible"} if "undo" in own else {"undo"} if own.get("irreversible") else set()
        inherited = {name: self._options[name] for name in _UNDOING & self._options.keys() - ended}
        found = {**inherited, **{name: own[name] for name in _UNDOING & own.keys()}}
        if own.get("undo_once") and "undo" not in found:
            raise PlanError(f"{place}: {_NO_UNDO}")
        return found if "undo" in found else {**found, "undo_once": False}

    @property
    def brings_hosts(self) -> bool:
        """Whether an inventory was given with the call, in place of the one in use."""
        return isinstance(self._options.get("hosts"), Inventory)

    def plan(self, default: Callable[[], Inventory]) -> Plan:
        """Select the hosts and decide what runs where.

        Args:
            default: Gives the inventory to select from, unless `hosts` is one.

        Raises:
            InventoryError: The selection names what is unknown, or leaves no host (NoMatchingHosts).
            PlanError: `undo_once` where no branch has an undo; and with ConditionError, TemplateError as `make_plan`.
        """
        if self._options.get("undo_once") and not any(branch.undo for branch in self._branches):
            raise PlanError(f"{self._place}: {_NO_UNDO}")
        criteria = {name: value for name, value in self._options.items() if name in SELECTION}
        inventory = criteria.pop("hosts") if self.brings_hosts else default()
        skips = self.terms.on_no_hosts == "skip"
        hosts = choose(inventory, **criteria) if skips else inventory.select(**criteria)
        plan = make_plan(hosts, self._branches, self.terms, inventory.roles, self._check)
        return replace(plan, warnings=(*plan.warnings, *self._warnings(plan, inventory.roles)))

    def _warnings(self, plan: Plan, known_roles: frozenset[str]) -> Iterator[str]:
        if self.terms.on_error == "rollback" and plan.steps and not plan.undoable:
            yield "nothing of this can be undone: no branch has an `undo`"
        if self.settings.host_keys == "off" and plan.steps:
            yield 'host keys are not checked (host_keys="off"): somebody in between could read and answer everything'
        for role in self.settings.protected_roles:
            if role not in known_roles:
                yield f"no host has the role {role!r}, which the setting protected_roles names"
        for name, text in dict.fromkeys(
            (name, text)
            for step in plan.steps
            for name, text in (("cwd", step.terms.cwd), *((f"env {key}", text) for key, text in step.terms.env))
            if isinstance(text, str) and "{{" in text
        ):
            yield f"{name} is sent as it stands, {text!r}: only commands are templates"


def _one_of_both(given: Mapping[str, Any], place: str) -> None:
    if given.get("irreversible") and "undo" in given:
        raise PlanError(
            f"{place}: irreversible says that nothing can undo it, and it has an undo; leave one of them out"
        )
