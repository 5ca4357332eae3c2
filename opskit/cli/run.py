"""`opskit run`: one command on all hosts, and a table."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack, redirect_stdout
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
from opskit.errors import Cancelled, CommandError, PlanError
from opskit.fleet.names import Names
from opskit.in_use import use
from opskit.masking import mask
from opskit.results import Results
from opskit.settings import configure, current
from opskit.work.draft import Draft
from opskit.work.options import OPTIONS, flag_of
from opskit.work.plan import Plan

if TYPE_CHECKING:
    from opskit.work.plan import Step

OR_VALUE: Final = {flag_of(name) for name, option in OPTIONS.items() if option.switch == "or value"}
"""Flags that take a value, or none."""

_NOT_FOR_SHELLS: Final = {"on_output", "wait", "parse"}
"""What only a program can give, or read."""

_RUN: Final = """\
Run a command on all hosts at once, wait for the end, and print a table, failures first. COMMAND is one word for your
shell, so quote it; {{ server.name }} and the like are filled in for each host."""

_RUN_MORE: Final = """\
examples:
  opskit run uptime -i hosts.yaml -r web
  opskit run 'systemctl restart app' -r app --sudo --chunk 1,25% --confirm
  opskit run 'ln -sfn v42 current' --undo 'ln -sfn v41 current' --on-error rollback
  opskit run 'df -P /' --json | jq -r '.rows[] | select(.status != "ok") | .host'

exit codes:
    0  all went well, or nothing was to be done
    1  a host failed
    2  bad input: nothing was sent
    3  every host that failed was unreachable
    4  a host failed, and all was rolled back (--on-error rollback); or somebody else had it rolled back
    5  as 4, but the rollback is incomplete: `opskit journal --unfinished` says what is left
  130  cancelled: Ctrl-C, SIGTERM, or a no to --confirm; remote work was ended

Settings, such as OPSKIT_INVENTORY and OPSKIT_YES=1, are taken from the environment."""


def add_to(verbs: Any) -> None:
    """Add the verb to the command line."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "run",
        help="run a command on hosts",
        usage="opskit run COMMAND [OPTION]...",
        description=_RUN,
        epilog=_RUN_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    groups = {
        "selection": parser.add_argument_group("which hosts (all of the inventory)"),
        "branch": parser.add_argument_group("how the command runs"),
        "run": parser.add_argument_group("how the run goes"),
    }
    own = [
        parser.add_argument("command", metavar="COMMAND", nargs="?", help=argparse.SUPPRESS),
        parser.add_argument("--json", action="store_true", help='print {"rows": [...], "error": null} instead'),
        groups["selection"].add_argument("-i", "--inventory", metavar="PATH", help="their file; else OPSKIT_INVENTORY"),
        groups["run"].add_argument("-y", "--yes", action="store_true", help="answer confirmations with yes"),
    ]
    for name, option in OPTIONS.items():
        if name in _NOT_FOR_SHELLS:
            continue
        flags = [*([f"-{option.short}"] if option.short else []), flag_of(name)]
        takes: dict[str, Any] = {"metavar": option.value}
        if option.switch == "or value":
            takes = {"metavar": f"={option.value}", "nargs": "?"}
        elif option.switch:
            takes = {"action": "store_const", "const": True}
        described = option.doc.replace("%", "%%")
        own.append(groups[option.scope].add_argument(*flags, dest=name, help=described, **takes))
    parser.set_defaults(call=call, flags=[flag for action in own for flag in action.option_strings])


def call(given: argparse.Namespace) -> int:
    """Run it; returns the exit code."""
    from opskit import session

    if given.command is None:
        raise PlanError("there is no command; write it in quotes: opskit run 'uptime' -i hosts.yaml -r web")
    options = {name: value for name in OPTIONS if (value := getattr(given, name, None)) is not None}
    if given.stdin == "-":
        options["stdin"] = sys.stdin.buffer.read()
    raised: BaseException | None = None
    # Nothing but the answer goes to stdout: what is asked is no part of it.
    with ExitStack() as scope, redirect_stdout(sys.stderr):
        if given.yes:
            scope.enter_context(configure(yes=True))
        if given.inventory is not None:
            scope.enter_context(use(given.inventory))
        draft = Draft(options, current(), "opskit run")
        names = Names(draft.terms.variables, {}, {}, draft.settings)
        draft.compile_check(names, "--check")
        draft.everywhere(given.command, names, "the command")
        try:
            begun = session.begin(draft)
            outcome: Results | Plan = begun if isinstance(begun, Plan) else begun.wait()
        except (CommandError, Cancelled, KeyboardInterrupt) as error:
            if not (results := getattr(error, "results", None)):
                raise
            outcome, raised = results, error
    if raised is not None:
        complain(raised)
    written = _print_json(outcome, raised) if given.json else write(str(outcome), sys.stdout)
    code = _exit_code(outcome, raised)
    return code if written else code or FAILED


def _exit_code(outcome: Results | Plan, raised: BaseException | None) -> int:
    if isinstance(raised, (CommandError, Cancelled)) and raised.rolled_back is not None:
        return ROLLED_BACK if raised.rolled_back else INCOMPLETE
    if isinstance(raised, (Cancelled, KeyboardInterrupt)):
        return CANCELLED
    code = code_of(outcome) if isinstance(outcome, Results) else OK
    return code or (OK if raised is None else FAILED)


def _print_json(outcome: Results | Plan, error: BaseException | None) -> bool:
    if isinstance(outcome, Plan):
        return print_document(map(_json_step, outcome.steps), error, warnings=outcome.warnings)
    return print_document(map(json_row, outcome), error)


def _json_step(step: Step) -> dict[str, Any]:
    return {"chunk": step.chunk, "host": step.host.name, "branch": step.branch, "command": mask(step.command)}
