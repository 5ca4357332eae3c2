"""A transaction without a value for each of its entries: what its figures are made of. The store tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.record.facts import Account, Now


@dataclass(frozen=True, slots=True)
class Outline:
    """A transaction in which entries that standing.py can't tell apart are counted, not listed.

    Attributes:
        now: Where it stands.
        moves: How it came there.
        hosts: How many it has entries on.
        alike: One account for all that are alike, and how many they are. It may be another transaction's.
        locks: How many hosts and names it keeps others off.
    """

    now: Now
    moves: Sequence[Now]
    hosts: int
    alike: Sequence[tuple[Account, int]]
    locks: int = 0
