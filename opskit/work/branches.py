"""A branch: a condition and the command that it routes, with the terms on which the command is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opskit.fleet.conditions import Condition
    from opskit.work.template import Template
    from opskit.work.terms import Terms

CHECK: Final = "check"
"""What stands in place of a branch's label where a row, or an entry, is of the option `check`."""


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """One `when`, the `otherwise`, or the single command of a run that has no conditions.

    Attributes:
        label: The condition's text or its callable's name; `else`; None where there is no condition.
        condition: None for `otherwise` and for a run's single command.
        template: What becomes the command, per host.
        terms: How the command is run.
        last: Whether the search ends for a host that this branch matched.
        undo: What becomes the command that undoes it, per host; None if nothing does.
        undo_once: As of `Step`, and so are the next ones.
        key: What becomes its key, per host; None if it has none.
    """

    label: str | None
    condition: Condition | None
    template: Template
    terms: Terms
    last: bool = False
    undo: Template | None = None
    undo_once: bool = False
    irreversible: bool = False
    key: Template | None = None

    @property
    def otherwise(self) -> bool:
        """Whether this branch is for the hosts that nothing else matched."""
        return self.condition is None
