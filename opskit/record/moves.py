"""The states of a transaction and its legal moves: one table, which the database is given too, and holds us to."""

from __future__ import annotations

from typing import Final, Literal

State = Literal[
    "running", "succeeded", "failed", "cancelled", "rolling_back", "rolled_back", "rollback_partial", "closed"
]

BEGINNING: Final = ""
"""What a transaction's first move comes from."""

MOVES: Final[frozenset[tuple[str, State]]] = frozenset(
    {
        (BEGINNING, "running"),
        ("running", "succeeded"),
        ("running", "failed"),
        ("running", "cancelled"),
        ("running", "rollback_partial"),  # it ended, but a part of it was undone and something of that is left
        ("running", "rolling_back"),
        ("running", "closed"),
        ("succeeded", "rolling_back"),
        ("failed", "rolling_back"),
        ("cancelled", "rolling_back"),
        ("rolling_back", "rolling_back"),  # who died in the middle is taken over from
        ("rolling_back", "rolled_back"),
        ("rolling_back", "rollback_partial"),
        ("rollback_partial", "rolling_back"),
        ("rollback_partial", "closed"),
    }
)

CLAIMS: Final[frozenset[State]] = frozenset({"rolling_back", "closed"})
"""What only a new owner may move to: the epoch goes up, and who owned the transaction can write no intent any more."""

GOING_ON: Final[frozenset[State]] = frozenset({"running", "rolling_back"})
"""States in which a transaction goes on, and keeps its locks, also when its owner has died."""

FINAL: Final[frozenset[State]] = frozenset({"rolled_back", "closed"})


def words(state: str) -> str:
    """A state for people to read."""
    return "rolled back in part" if state == "rollback_partial" else state.replace("_", " ")


OPEN: Final[tuple[State, ...]] = ("running", "rolling_back", "rollback_partial")
"""States in which a transaction may still need somebody."""
