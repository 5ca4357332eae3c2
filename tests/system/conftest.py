"""Fleets for the system tests: the embedded one, and real OpenSSH."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from opskit.fleetlab import Fleet
from tests.needs import need_program
from tests.system.sshd import SshdFleet

if TYPE_CHECKING:
    from collections.abc import Iterator

F = {"app1": ["app"], "app2": ["app"], "both": ["app", "web"], "web1": ["web"], "db1": ["db"]}
"""The fleet of the acceptance cases."""


class StartSshd(Protocol):
    """`sshd(count=1, **config)`: starts daemons of the test's own, with these lines of sshd_config."""

    def __call__(self, count: int = 1, **config: str | int) -> SshdFleet:
        """Start them, and give the fleet; it ends with the test."""


@pytest.fixture(scope="session")
def embedded() -> Iterator[Fleet]:
    """The embedded fleet with the hosts of the acceptance cases; shared, so leave it as it was."""
    with Fleet(roles=F) as fleet:
        yield fleet


@pytest.fixture
def own() -> Iterator[Fleet]:
    """An embedded fleet of one host, app1, that the test may break."""
    with Fleet(1) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def sshd_fleet() -> Iterator[SshdFleet]:
    """Twenty hosts of real OpenSSH; shared, so leave them as they were."""
    need_program("sshd", "openssh-server")
    with SshdFleet(20) as fleet:
        yield fleet


@pytest.fixture
def sshd() -> Iterator[StartSshd]:
    """Start real OpenSSH of the test's own, with a configuration of its own."""
    need_program("sshd", "openssh-server")
    with ExitStack() as stack:

        def start(count: int = 1, **config: str | int) -> SshdFleet:
            return stack.enter_context(SshdFleet(count, **config))

        yield start
