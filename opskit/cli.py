"""The same calls for a shell: `opskit run uptime -r web`, `opskit fleet up 8`."""

from __future__ import annotations

import argparse
import io
import json
import signal
import sys
from contextlib import ExitStack, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from opskit import __version__
from opskit.errors import Cancelled, CommandError, OpskitError, PlanError, did_you_mean
from opskit.fleet.names import Names
from opskit.frames.results import COLUMNS
from opskit.masking import mask
from opskit.rendering.escape import terminal
from opskit.results import Results
from opskit.settings import configure, current
from opskit.work.draft import Draft
from opskit.work.options import OPTIONS, flag_of
from opskit.work.plan import Plan, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opskit.results import HostResult

OK, FAILED, BAD_INPUT, UNREACHABLE = 0, 1, 2, 3
CANCELLED: Final = 130

_OR_VALUE: Final = {flag_of(name) for name, option in OPTIONS.items() if option.switch == "or value"}
_NOT_FOR_SHELLS: Final = {"on_output", "wait", "parse"}
"""What only a program can give, or read."""

_RUN: Final = """\
Run a command on all hosts at once, wait for the end, and print a table, failures first. COMMAND is one word for your
shell, so quote it; {{ server.name }} and the like are filled in for each host."""

_RUN_MORE: Final = """\
examples:
  opskit run uptime -i hosts.yaml -r web
  opskit run 'systemctl restart app' -r app --sudo --chunk 1,25% --confirm
  opskit run 'df -P /' --json | jq -r '.rows[] | select(.status != "ok") | .host'

exit codes:
    0  all went well, or nothing was to be done
    1  a host failed
    2  bad input: nothing was sent
    3  every host that failed was unreachable
  130  cancelled: Ctrl-C, SIGTERM, or a no to --confirm; remote work was ended

Settings, such as OPSKIT_INVENTORY and OPSKIT_YES=1, are taken from the environment."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, as `opskit run --help` lists them."""
    words = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for locales that lack our symbols
    # As a service is ended: remote work is ended, a fleet goes down in order.
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        given, rest = _parser().parse_known_args([f"{word}=true" if word in _OR_VALUE else word for word in words])
        if rest:
            raise _misused(given, rest)
        return int(given.call(given))
    except (OpskitError, KeyboardInterrupt) as error:
        if "--json" in words:
            _print_json((), error)
        _complain(error)
        return CANCELLED if isinstance(error, KeyboardInterrupt) else BAD_INPUT
    finally:
        signal.signal(signal.SIGTERM, earlier)


class _Parser(argparse.ArgumentParser):
    """One that is wrong in one line, as every other bad input is."""

    def error(self, message: str) -> NoReturn:
        raise PlanError(f"{message}; {self.prog} --help shows what there is")

    def print_help(self, file: Any = None) -> None:  # noqa: ARG002 - argparse's signature
        _write(self.format_help().rstrip("\n"), sys.stdout)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="opskit", description="Run a fleet over SSH, from a shell.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"opskit {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_run(
        verbs.add_parser(
            "run",
            help="run a command on hosts",
            usage="opskit run COMMAND [OPTION]...",
            description=_RUN,
            epilog=_RUN_MORE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
    )
    fleet = verbs.add_parser("fleet", help="real SSH servers on this machine, to play with").add_subparsers(
        required=True, metavar="VERB"
    )
    up = fleet.add_parser("up", help="start them; they stay until Ctrl-C")
    up.add_argument("count", type=int, nargs="?", default=8, help="how many hosts (8)")
    up.set_defaults(call=_fleet_up)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
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
    parser.set_defaults(call=_run, flags=[flag for action in own for flag in action.option_strings])


def _misused(given: argparse.Namespace, rest: Sequence[str]) -> PlanError:
    """What to say of words that nothing takes: a flag that there is not, or a command without its quotes."""
    flag = next((word.partition("=")[0] for word in rest if word.startswith("-")), None)
    if flag is not None:
        near = did_you_mean(flag, getattr(given, "flags", ()))
        return PlanError(f"no flag is called {flag!r}{near}; a command with flags of its own stands in quotes")
    return PlanError(f"{' '.join(rest)!r} is one word too many; a command of several words stands in quotes")


def _run(given: argparse.Namespace) -> int:
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
            scope.enter_context(session.use(given.inventory))
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
        _complain(raised)
    written = _print_json(outcome, raised) if given.json else _write(str(outcome), sys.stdout)
    code = _exit_code(outcome, raised)
    return code if written else code or FAILED


def _exit_code(outcome: Results | Plan, raised: BaseException | None) -> int:
    if isinstance(raised, (Cancelled, KeyboardInterrupt)):
        return CANCELLED
    fates = {row.status for row in outcome if row.bad} if isinstance(outcome, Results) else set()
    if fates == {"unreachable"}:
        return UNREACHABLE
    return FAILED if fates or raised is not None else OK


def _print_json(outcome: Iterable[HostResult] | Plan, error: BaseException | None) -> bool:
    rows = outcome.steps if isinstance(outcome, Plan) else outcome
    document: dict[str, Any] = {"rows": list(map(_json_row, rows))}
    if isinstance(outcome, Plan):
        document["warnings"] = outcome.warnings
    document["error"] = None if error is None else {"type": type(error).__name__, "message": _message(error)}
    return _write(json.dumps(document, indent=1), sys.stdout)


def _json_row(row: HostResult | Step) -> dict[str, Any]:
    if isinstance(row, Step):
        return {"chunk": row.chunk, "host": row.host.name, "branch": row.branch, "command": mask(row.command)}
    found = {name: getattr(row, name) for name in COLUMNS}
    return found | {"started_at": None if row.started_at is None else row.started_at.isoformat()}


def _complain(error: BaseException) -> None:
    """Say on stderr what went wrong; of a run only that, its rows say the rest."""
    text = _message(error)
    said = text.partition("\n")[0] if hasattr(error, "results") else text
    _write(f"opskit: {terminal(said)}", sys.stderr)


def _message(error: BaseException) -> str:
    return str(error) or "interrupted"


def _write(text: str, stream: TextIO | None) -> bool:
    """Write a line, and whether that could be done. Who reads no further, as `head` does, does no harm."""
    try:
        if stream is not None:  # as where a shell's `>&-` has closed it
            print(text, file=stream, flush=True)
    except BrokenPipeError:
        return True
    except OSError as error:
        if stream is not sys.stderr:
            _write(f"opskit: the answer can't be written: {error.strerror}", sys.stderr)
        return False
    return True


def _fleet_up(given: argparse.Namespace) -> int:
    from opskit.fleetlab import Fleet

    with suppress(KeyboardInterrupt), Fleet(given.count) as fleet:
        # The path last: who waits for it may end us at once.
        _write(f"{len(fleet.inventory)} hosts: {fleet.inventory}; Ctrl-C ends them", sys.stderr)
        _write(str(fleet.path), sys.stdout)
        while True:
            signal.pause()
    return OK
