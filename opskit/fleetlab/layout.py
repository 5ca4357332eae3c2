"""Which hosts and roles a fleet of so many hosts has; asked by `Fleet`, knows no server."""

from __future__ import annotations

from collections import Counter
from typing import Final

EIGHT: Final = ("app", "web", "db", "app", "both", "web", "queue", "app")
"""What each host is, in the order in which a growing fleet gets them: five hosts are one of each kind but the queue."""

ROLES: Final = {"app": ("app",), "both": ("app", "web"), "web": ("web",), "db": ("db",), "queue": ("queue",)}
"""The roles of each kind, in the inventory's order."""


def layout(count: int) -> dict[str, tuple[str, ...]]:
    """Give the hosts of a fleet of `count`, each with its roles: `{"app1": ("app",), "both": ("app", "web"), ...}`."""
    counts = Counter(EIGHT[number % len(EIGHT)] for number in range(count))
    counts["web"] += max(
        counts["both"] - 1, 0
    )  # one host of two roles shows what a branch does there; more only confuse
    hosts: dict[str, tuple[str, ...]] = {}
    for kind, roles in ROLES.items():
        if kind == "both":
            hosts |= {kind: roles} if counts[kind] else {}
        else:
            hosts |= {f"{kind}{number}": roles for number in range(1, counts[kind] + 1)}
    return hosts
