"""`opskit attach`: a transaction of any process, followed to its end."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, Final

from opskit.cli.answers import (
    CANCELLED,
    FAILED,
    INCOMPLETE,
    OK,
    ROLLED_BACK,
    code_of,
    complain,
    json_row,
    print_document,
    write,
)
from opskit.errors import JournalError, TimeoutExceeded
from opskit.record.moves import words

if TYPE_CHECKING:
    from opskit.results import Results

STILL_RUNNING: Final = 124
"""As timeout(1) says it."""

_MORE: Final = """\
Ctrl-C ends the watching and nothing else: the transaction goes on. `opskit rollback TX` undoes it, also while it runs.

exit codes:
    0  it ended well
    1  a host failed, or it was cancelled, or its process has died
    2  bad input: an unknown transaction
    3  every host that failed was unreachable
    4  it was rolled back
    5  its rollback is incomplete: `opskit journal --unfinished` says what is left
  124  it still goes on after --timeout
  130  interrupted: it goes on"""

_UNDONE: Final = {"rolled_back": ROLLED_BACK, "rollback_partial": INCOMPLETE}
_GOOD: Final = frozenset({"succeeded", "closed"})
_TOLD: Final = frozenset({"succeeded", "failed", "abandoned"})
"""What the rows tell, or a warning."""


def add_to(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "attach",
        help="show a transaction while it goes on, and how it ended",
        description="Show a transaction of any process while it goes on, and print its rows when it has ended.",
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    own = [
        parser.add_argument("transaction", metavar="TX", help="its id, or the beginning of that"),
        parser.add_argument("--timeout", type=float, metavar="SECONDS", help="how long to wait for its end (for ever)"),
        parser.add_argument(
            "--json", action="store_true", help='print {"rows": [...], "error": null} and more instead'
        ),
    ]
    parser.set_defaults(call=call, flags=[flag for action in own for flag in action.option_strings])


def call(given: argparse.Namespace) -> int:
    """Follow it to its end; returns the exit code."""
    from opskit.attaching import attach

    attached, raised = attach(given.transaction), None
    try:
        rows = attached.wait(given.timeout)
    except (TimeoutExceeded, KeyboardInterrupt) as error:
        if (found := getattr(error, "results", None)) is None:
            raise
        rows, raised = found, error
        complain(raised)
    state = ""
    with nullcontext() if raised is None else suppress(JournalError):  # that it is away was said with what was raised
        state = attached.state
    if given.json:
        more = {"transaction": attached.transaction, "state": state or None}
        written = print_document(map(json_row, rows), raised, **more)
    else:
        written = write(str(rows), sys.stdout)
        if raised is None and state not in _TOLD:
            write(f"opskit: transaction {attached.transaction}: {words(state)}", sys.stderr)
    code = _exit_code(rows, state, raised)
    return code if written else code or FAILED


def _exit_code(rows: Results, state: str, raised: BaseException | None) -> int:
    if raised is not None:
        return STILL_RUNNING if isinstance(raised, TimeoutExceeded) else CANCELLED
    if state in _UNDONE:
        return _UNDONE[state]
    return code_of(rows) or (OK if state in _GOOD else FAILED)
