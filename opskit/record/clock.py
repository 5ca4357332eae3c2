"""The clock by which a process knows how old its leases are: it goes on while the process, or the machine, sleeps."""

from __future__ import annotations

import time


def boot_clock() -> float:
    """Seconds since some moment; where the system can't tell those of its sleep, without them."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
