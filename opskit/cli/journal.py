"""`opskit journal`, `rollback`, `close`, `settle` and `prune`: what was done, seen and undone from a shell."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from opskit.cli.answers import FAILED, INCOMPLETE, OK, complain, json_row, print_document, write
from opskit.errors import PlanError, RollbackError
from opskit.in_use import use
from opskit.settings import configure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opskit.journal.history import History
    from opskit.results import HostResult

_NEWEST: Final = 20

_JSON: Final = (("--json",), {"action": "store_true", "help": 'print {"rows": [...], "error": null} and more instead'})

_CODES: Final = """\
exit codes:
    0  done
    2  bad input: an unknown transaction, or one that somebody else is at; nothing was changed
  130  interrupted"""

_JOURNAL_MORE: Final = f"""\
opskit journal init makes what OPSKIT_JOURNAL=postgresql://... needs, or upgrades it; of a file that happens by itself.

{_CODES}"""

_ROLLBACK_MORE: Final = """\
What a live process is at it is asked to cancel and to undo, with its functions; that is waited for. Ctrl-C takes back
what it has not begun. What nobody is at any more is undone from here: commands from the journal alone; functions that
another process registered are called only if they can be imported, and if a person agrees; --yes does not answer that.

exit codes:
    0  undone
    2  bad input: an unknown transaction, one that ended, one that somebody else rolls back, or whose process does not
       answer for 30 s; nothing was undone
    5  incomplete: some undos failed, or need their notebook; the same command tries the rest again
  130  interrupted, or a no to the question"""


def add_to(verbs: Any) -> None:
    """Add the verbs to the command line."""
    one = _takes("transaction", metavar="TX", help="its id, or the beginning of that")
    _add(
        verbs,
        "journal",
        _journal,
        "show what was run, by whom, and how it ended",
        _takes(
            "transaction", metavar="TX", nargs="?", help="show this one; the beginning of its id is enough; or `init`"
        ),
        _takes("--unfinished", action="store_true", help="those that need somebody, and what to do"),
        _takes("--since", metavar="TIME", help="begun then or later: 2h, 30d, 2026-01-31"),
        _takes("--until", metavar="TIME", help="begun before then"),
        _takes("--name", metavar="NAME", help="called so"),
        _takes("--host", metavar="HOST", help="on this host"),
        _takes("--who", metavar="USER", help="of this user"),
        _takes("--grants", metavar="ROLE", help="init: print the SQL that lets a role of PostgreSQL read and add"),
        more=_JOURNAL_MORE,
    )
    _add(
        verbs,
        "rollback",
        _rollback,
        "undo a transaction",
        one,
        _takes("--why", metavar="TEXT", help="what the journal says of it"),
        _takes("--force", action="store_true", help="ask no live process: take over what is idle, or elsewhere"),
        _takes("-y", "--yes", action="store_true", help="don't ask before"),
        _takes("-i", "--inventory", metavar="PATH", help="where hosts' passwords are named; else OPSKIT_INVENTORY"),
        more=_ROLLBACK_MORE,
    )
    _add(
        verbs,
        "close",
        _close,
        "leave a transaction as it is, for good",
        one,
        _takes("--why", metavar="TEXT", required=True, help="for whoever reads the journal later"),
        _takes("--force", action="store_true", help="also of a live process, if it is idle, or elsewhere"),
    )
    _add(
        verbs,
        "settle",
        _settle,
        "say what became of steps that the journal does not know about",
        one,
        _takes("host", metavar="HOST", help="its steps that are unknown, or all if none is"),
        _takes("status", metavar="STATUS", help="ok, failed, not_started and so on"),
        _takes("--why", metavar="TEXT", required=True, help="how that is known"),
        _takes("--undo", action="store_true", help="of their undos"),
        _takes("--branch", metavar="BRANCH", help="only steps of this branch"),
    )
    _add(
        verbs,
        "prune",
        _prune,
        "forget transactions that ended long ago",
        _takes("--before", metavar="TIME", required=True, help="how long ago, or when: 90d, 2026-01-31"),
    )


def _takes(*names: str, **how: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return names, how


def _add(
    verbs: Any,
    name: str,
    call: Callable[[argparse.Namespace], int],
    says: str,
    *takes: tuple[tuple[str, ...], dict[str, Any]],
    more: str = _CODES,
) -> None:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=says,
        description=f"{says[0].upper()}{says[1:]}.",
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    own = [parser.add_argument(*names, **how) for names, how in (*takes, _JSON)]
    parser.set_defaults(call=call, flags=[flag for action in own for flag in action.option_strings])


def _journal(given: argparse.Namespace) -> int:
    from opskit import journal

    which = {name: value for name in ("since", "until", "name", "host", "who") if (value := getattr(given, name))}
    # No id begins so: ULIDs have no I.
    if given.transaction == "init" and not which and not given.unfinished:
        return _init(given)
    if given.grants is not None:
        raise PlanError("--grants belongs to opskit journal init, alone")
    if (given.transaction is not None) + given.unfinished + bool(which) > 1:
        raise PlanError("opskit journal shows one transaction, or --unfinished ones, or those that other flags select")
    if given.transaction is not None:
        shown = journal.show(given.transaction)
        return _ended(print_document(**_document(shown)) if given.json else write(str(shown), sys.stdout))
    if given.unfinished:
        found = journal.listing_of_unfinished()
    else:
        found = journal.listing(**which) if which else journal.listing(limit=_NEWEST)
    if given.json:
        return _ended(print_document(map(asdict, found.summaries)))
    if len(found.summaries) == _NEWEST and not which:
        write(f"the newest {_NEWEST}; --since 30d shows those of 30 days", sys.stderr)
    return _ended(write(str(found), sys.stdout))


def _init(given: argparse.Namespace) -> int:
    from opskit.record.postgres.preparing import grants, prepare
    from opskit.settings import current

    said = prepare(current().journal) if given.grants is None else grants(given.grants)
    return _ended(print_document((), did=said) if given.json else write(said, sys.stdout))


def _document(shown: History) -> dict[str, Any]:
    undos = (account for account in shown.accounts if account.entry.undo is not None)
    return {
        "rows": map(json_row, shown.rows()),
        "transaction": asdict(shown.summary),
        "moves": [
            {"at": move.at, "state": move.state, "who": move.owner.who, "machine": move.owner.machine, "why": move.why}
            for move in shown.moves
        ],
        "undos": [json_row(shown.row(account, undo=True)) for account in undos],
        "notes": list(map(asdict, shown.notes)),
    }


def _rollback(given: argparse.Namespace) -> int:
    from opskit import journal

    raised = None
    # Nothing but the answer goes to stdout: what is asked is no part of it.
    with ExitStack() as scope, redirect_stdout(sys.stderr):
        if given.yes:
            scope.enter_context(configure(yes=True))
        if given.inventory is not None:
            scope.enter_context(use(given.inventory))
        try:
            remedy = "give --yes, or set OPSKIT_YES=1"
            rows = journal.confirmed_rollback(given.transaction, given.why, remedy=remedy, force=given.force)
        except RollbackError as error:
            if error.results is None:
                raise
            rows, raised = error.results, error
    if raised is not None:
        complain(raised)
    code = _answered(given, rows, "nothing was to be undone", raised)
    return code if raised is None else INCOMPLETE


def _close(given: argparse.Namespace) -> int:
    from opskit import journal

    journal.close(given.transaction, given.why, force=given.force)
    return _answered(given, (), f"{given.transaction} is closed")


def _settle(given: argparse.Namespace) -> int:
    from opskit import journal

    rows = journal.settle(given.transaction, given.host, given.status, given.why, undo=given.undo, branch=given.branch)
    return _answered(given, rows, "")


def _prune(given: argparse.Namespace) -> int:
    from opskit import journal

    pruned = journal.prune(given.before)
    if given.json:
        return _ended(print_document((), pruned=pruned))
    return _ended(write(f"{pruned} transactions forgotten", sys.stdout))


def _answered(
    given: argparse.Namespace, rows: Sequence[HostResult], otherwise: str, error: BaseException | None = None
) -> int:
    """Print rows, or, where there is none, this."""
    if given.json:
        return _ended(print_document(map(json_row, rows), error))
    return _ended(write(str(rows) if rows else otherwise, sys.stdout))


def _ended(written: bool) -> int:
    return OK if written else FAILED
