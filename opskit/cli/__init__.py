"""The same calls for a shell: `opskit run uptime -r web`, `opskit journal`, `opskit fleet up 8`; a module a verb."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from opskit import __version__
from opskit.cli import attach, fleet, journal, run
from opskit.cli.answers import BAD_INPUT, CANCELLED, complain, print_document, write
from opskit.errors import Cancelled, OpskitError, PlanError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, as the `--help` of each verb lists them."""
    words = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for locales that lack our symbols
    # As a service is ended: remote work is ended, a fleet goes down in order.
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        given, rest = _parser().parse_known_args([f"{word}=true" if word in run.OR_VALUE else word for word in words])
        if rest:
            raise _misused(given, rest)
        return int(given.call(given))
    except (OpskitError, KeyboardInterrupt) as error:
        if "--json" in words:
            print_document((), error)
        complain(error)
        return CANCELLED if isinstance(error, (KeyboardInterrupt, Cancelled)) else BAD_INPUT
    finally:
        signal.signal(signal.SIGTERM, earlier)


class _Parser(argparse.ArgumentParser):
    """One that is wrong in one line, as every other bad input is."""

    def error(self, message: str) -> NoReturn:
        raise PlanError(f"{message}; {self.prog} --help shows what there is")

    def print_help(self, file: Any = None) -> None:  # noqa: ARG002 - argparse's signature
        write(self.format_help().rstrip("\n"), sys.stdout)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="opskit", description="Run a fleet over SSH, from a shell.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"opskit {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    run.add_to(verbs)
    attach.add_to(verbs)
    journal.add_to(verbs)
    fleet.add_to(verbs)
    return parser


def _misused(given: argparse.Namespace, rest: Sequence[str]) -> PlanError:
    """What to say of words that nothing takes: a flag that there is not, or a command without its quotes."""
    quoted = "; a command {} stands in quotes" if given.call is run.call else ""
    flag = next((word.partition("=")[0] for word in rest if word.startswith("-")), None)
    if flag is not None:
        near = did_you_mean(flag, getattr(given, "flags", ()))
        return PlanError(f"no flag is called {flag!r}{near}{quoted.format('with flags of its own')}")
    return PlanError(f"{' '.join(rest)!r} is one word too many{quoted.format('of several words')}")
