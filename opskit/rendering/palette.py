"""Colour, symbol and word of every status, in one table, for each view and each way out.

The colours are those of Okabe and Ito, which colour-blind people tell apart, moved to a middle lightness: each has a
contrast of 3 or more on white and on a dark theme's background. No status is told by its colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opskit.results import Status


@dataclass(frozen=True, slots=True)
class Look:
    """How one status is shown.

    Attributes:
        colour: `#rrggbb`.
        symbol: One narrow character.
        word: As a person says it.
    """

    colour: str
    symbol: str
    word: str


LOOKS: Final[Mapping[Status, Look]] = {
    "failed": Look("#d55e00", "✘", "failed"),
    "timeout": Look("#b07a00", "◷", "timeout"),
    "unreachable": Look("#b9608f", "⌀", "unreachable"),
    "unknown": Look("#8f7cc0", "?", "unknown"),
    "cancelled": Look("#80808a", "⊘", "cancelled"),
    "not_started": Look("#80808a", "○", "not started"),
    "running": Look("#2a86c8", "◐", "running"),
    "ok": Look("#00966e", "✔", "ok"),
    "skipped": Look("#80808a", "–", "skipped"),  # noqa: RUF001 - a dash is meant
}
