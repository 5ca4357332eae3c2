"""The embedded fleet: real SSH servers on loopback, each host with a home of its own; stands beside the rooms."""

from __future__ import annotations

from opskit.fleetlab.fleet import Fleet

__all__ = ["Fleet"]
