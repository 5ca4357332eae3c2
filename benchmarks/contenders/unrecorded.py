"""opskit without its journal: what nobody can have, to see what the journal costs."""

from __future__ import annotations

import opskit
from benchmarks.contenders.opskit import prepare
from benchmarks.protocol import serve
from opskit.engine.ports import UNRECORDED
from opskit.enlistment import Enlistment

if __name__ == "__main__":
    Enlistment.journal = lambda *_: UNRECORDED  # type: ignore[method-assign]  # the point
    serve(prepare, f"opskit {opskit.__version__} without its journal")
