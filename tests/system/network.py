"""Hosts in a network of their own, a namespace behind a virtual cable, of which a test may cut off whom it wants."""

from __future__ import annotations

import os
import secrets
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.needs import need_program
from tests.system.sshd import SshdFleet, SshdHost, find_sshd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Network:
    """A network of 256 addresses out of those for benchmarks, 198.18.0.0/15, as a context manager gives it.

    Attributes:
        hosts: The addresses that are there, for servers.
        silent: An address whose packets nobody answers.
        nowhere: An address to which a router says that there is no route.
    """

    def __init__(self) -> None:
        self._name = f"opskit-{secrets.token_hex(4)}"
        self._net = f"198.18.{secrets.randbelow(256)}"
        self.hosts = [f"{self._net}.{number}" for number in range(10, 30)]
        self.silent = f"{self._net}.70"
        self.nowhere = f"{self._net}.130"

    def up(self, stack: ExitStack) -> None:
        """Make it; all of it goes with the stack."""
        cable = self._name.removeprefix("opskit-")
        _ip("netns", "add", self._name)
        stack.callback(_ip, "netns", "delete", self._name)
        _ip("link", "add", f"ok{cable}", "type", "veth", "peer", "name", "inside", "netns", self._name)
        stack.callback(_ip, "link", "delete", f"ok{cable}")
        _ip("address", "add", f"{self._net}.1/26", "dev", f"ok{cable}")
        _ip("link", "set", f"ok{cable}", "up")
        _ip("route", "add", f"{self._net}.0/24", "via", f"{self._net}.2")
        for address in (f"{self._net}.2", *self.hosts):
            self._inside("address", "add", f"{address}/26", "dev", "inside")
        self._inside("link", "set", "inside", "up")
        self._inside("route", "add", "blackhole", f"{self._net}.64/26")
        self._inside("route", "add", "unreachable", f"{self._net}.128/26")
        _ip("netns", "exec", self._name, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.heal()
        self._inside("rule", "delete", "pref", "0")  # what the kernel delivers before it looks at any other rule

    def cut_off(self, address: str) -> None:
        """Drop all that this address sends, and all that is sent to it, without a word."""
        for direction in ("from", "to"):
            self._inside("rule", "add", direction, address, "pref", "1", "blackhole")

    def heal(self) -> None:
        """Let all packets pass again."""
        self._inside("rule", "flush")
        for table, preference in (("local", "10"), ("main", "20")):
            self._inside("rule", "add", "pref", preference, "lookup", table)

    def _inside(self, *words: str) -> None:
        _ip("-n", self._name, *words)

    @contextmanager
    def sshd(self, folder: Path, count: int, **config: str | int) -> Iterator[SshdFleet]:
        """Start real OpenSSH inside, each host with an address of its own."""
        program = folder / "sshd"
        program.write_text(f'#!/bin/sh\nexec ip netns exec {self._name} {find_sshd()} "$@"\n')
        program.chmod(0o755)
        fleet = SshdFleet(count, **config)
        fleet.hosts = tuple(
            SshdHost(host.name, address, 2022, host.user)
            for host, address in zip(fleet.hosts, self.hosts, strict=False)
        )
        fleet._write_files()
        with ExitStack() as stack:
            stack.callback(fleet.down)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
                fleet.start()
            yield fleet


@contextmanager
def network() -> Iterator[Network]:
    """Make a network for tests of lines that break; only root may, so for others the test is skipped."""
    need_program("ip", "iproute2")
    need_program("sshd", "openssh-server")
    if os.geteuid() != 0:
        pytest.skip("a network of its own can be made by root alone")
    with ExitStack() as stack:
        made = Network()
        made.up(stack)
        yield made


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
