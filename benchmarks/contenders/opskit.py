"""opskit as users call it: `opskit.run` on an inventory, its wrapper and its journal on, results as `Results`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import opskit
from benchmarks.protocol import serve

if TYPE_CHECKING:
    from benchmarks.protocol import Run, Servers


def prepare(servers: Servers) -> Run:
    """Use the inventory; what opskit imports when it is first needed, a command on this machine makes it import."""
    with opskit.use(opskit.Inventory([opskit.Host("here", address="local")])):
        opskit.run("true")
    opskit.use(servers.inventory)
    return lambda command, count: [row.stdout for row in opskit.run(command, limit=count)]


if __name__ == "__main__":
    serve(prepare, f"opskit {opskit.__version__}")
