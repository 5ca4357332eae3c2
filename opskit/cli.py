"""The same calls for a shell: `opskit fleet up 8`."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from opskit.errors import OpskitError

if TYPE_CHECKING:
    from collections.abc import Sequence

BAD_INPUT = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.call(given))
    except OpskitError as error:
        print(f"opskit: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="opskit", description="Run a fleet.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    fleet = verbs.add_parser("fleet", help="real SSH servers on this machine, to play with").add_subparsers(
        required=True, metavar="VERB"
    )
    up = fleet.add_parser("up", help="start them; they stay until Ctrl-C")
    up.add_argument("count", type=int, nargs="?", default=8, help="how many hosts (8)")
    up.set_defaults(call=_fleet_up)
    return parser


def _fleet_up(given: argparse.Namespace) -> int:
    from opskit.fleetlab import Fleet

    # As a service is ended: the fleet goes down in order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), Fleet(given.count) as fleet:
        # The path last: who waits for it may end us at once.
        print(f"{len(fleet.inventory)} hosts: {fleet.inventory}; Ctrl-C ends them", file=sys.stderr)  # noqa: T201 - a command's answer
        print(fleet.path, flush=True)  # noqa: T201 - as above
        while True:
            signal.pause()
    return 0
