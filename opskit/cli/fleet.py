"""`opskit fleet up`: the embedded fleet, until a signal ends it."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opskit.cli.answers import OK, write

if TYPE_CHECKING:
    import argparse


def add_to(verbs: Any) -> None:
    """Add the verb to the command line."""
    fleet = verbs.add_parser("fleet", help="real SSH servers on this machine, to play with").add_subparsers(
        required=True, metavar="VERB"
    )
    up = fleet.add_parser("up", help="start them; they stay until Ctrl-C")
    up.add_argument("count", type=int, nargs="?", default=8, help="how many hosts (8)")
    up.set_defaults(call=_up)


def _up(given: argparse.Namespace) -> int:
    from opskit.fleetlab import Fleet

    with suppress(KeyboardInterrupt), Fleet(given.count) as fleet:
        # The path last: who waits for it may end us at once.
        write(f"{len(fleet.inventory)} hosts: {fleet.inventory}; Ctrl-C ends them", sys.stderr)
        write(str(fleet.path), sys.stdout)
        while True:
            signal.pause()
    return OK
