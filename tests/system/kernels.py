"""Kernels of both lines of ipykernel on this environment's packages, and a front end that talks to one.

A file gets the older line's by `kernel6 = kernels.kernel6`.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from jupyter_client.manager import KernelManager
from traitlets.config import Config

from tests.needs import need_ipykernel6

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 30.0
# As in tools/demo.py: without it ipykernel 7 warns that other users of this machine could listen.
ENCRYPTED = Config(KernelManager={"transport_encryption": "auto"})


def write_kernel6(jupyter_path: Path) -> str:
    """Write the specification of a kernel of ipykernel 6 below a folder of JUPYTER_PATH, and return its name."""
    specification = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "ipykernel 6",
        "language": "python",
        # Before the environment's own packages, so that its ipykernel 7 is not seen.
        "env": {"PYTHONPATH": str(need_ipykernel6())},
    }
    kernel = jupyter_path / "kernels" / "ipykernel-6"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps(specification))
    return kernel.name


@pytest.fixture(scope="session")
def kernel6(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name a kernel of ipykernel 6 that this process and its children find."""
    jupyter_path = tmp_path_factory.mktemp("jupyter_path")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(jupyter_path))
        yield write_kernel6(jupyter_path)


class Ended(NamedTuple):
    """What became of a request: its reply, which of the replies it was, and what was printed."""

    reply: dict[str, Any]
    turn: int
    text: str

    @property
    def status(self) -> str:
        """`ok`, `error` or `aborted`."""
        return str(self.reply["status"])


class FrontEnd:
    """A kernel, and the requests to it as a front end sends them: as many as it likes at once."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client = manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def send(self, kind: str, **content: Any) -> str:
        """Send a message for which there is no method, such as a comm's; return its id, as those do."""
        message = self.client.session.msg(kind, content)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def ended(self, *requests: str) -> list[Ended]:
        """Wait for all replies to these requests, and for all that they have printed."""
        replies: dict[str, Any] = {}
        deadline = time.monotonic() + PATIENCE
        while len(replies) < len(requests):
            message = self.client.get_shell_msg(timeout=deadline - time.monotonic())
            if (request := message["parent_header"].get("msg_id")) in requests:
                assert request not in replies, "replied to twice"
                replies[request] = message["content"]
        texts = dict.fromkeys(requests, "")
        idle: set[str] = set()
        while len(idle) < len(requests):
            message = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            if (request := message["parent_header"].get("msg_id")) in requests:
                content = message["content"]
                texts[request] += content.get("text", "")
                if content.get("execution_state") == "idle":
                    idle.add(request)
        turns = list(replies)
        return [Ended(replies[request], turns.index(request), texts[request]) for request in requests]

    def run(self, *cells: str) -> list[Ended]:
        """Run these cells, sent at once."""
        return self.ended(*[self.client.execute(cell) for cell in cells])


@contextmanager
def started(name: str) -> Iterator[FrontEnd]:
    """Run a kernel of this name."""
    manager = KernelManager(kernel_name=name, config=ENCRYPTED)
    manager.start_kernel()
    try:
        front_end = FrontEnd(manager)
        yield front_end
        front_end.client.stop_channels()
    finally:
        manager.shutdown_kernel(now=True)
