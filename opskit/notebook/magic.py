"""The magics: each reads its text, calls one function, and gives back what that returned."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display

from opskit import session, views
from opskit.errors import Cancelled, CommandError, OpskitError, PlanError
from opskit.fleet.names import Names
from opskit.notebook import cell as cell_text
from opskit.notebook import flags as flag_text
from opskit.notebook.line import USAGE as LINE_USAGE
from opskit.notebook.line import Line
from opskit.notebook.pointing import Pointer, tell_line
from opskit.settings import current
from opskit.work.draft import Draft
from opskit.work.options import OF_BRANCH, checked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from opskit.handle import Handle
    from opskit.notebook.cell import CellBranch
    from opskit.results import Results
    from opskit.work.plan import Plan


@magics_class
class OpskitMagics(Magics):
    """`%%parallel`, `%parallel` and `%opskit`; and `%%opsparallel`, for where another extension has the first name."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._line = Line(lambda: self._variables, _HELP, lambda: notice(shell))

    @no_var_expand
    @line_cell_magic
    def parallel(self, line: str, cell: str | None = None) -> Results | Plan | Handle | None:
        """Run commands on hosts, routed by conditions; see below for the text that IPython shows."""
        return self._run("parallel", line, cell)

    @no_var_expand
    @line_cell_magic
    def opsparallel(self, line: str, cell: str | None = None) -> Results | Plan | Handle | None:
        """As `parallel`."""
        return self._run("opsparallel", line, cell)

    @no_var_expand
    @line_magic
    def opskit(self, line: str) -> object:
        """Set opskit up, and look back; see below for the text that IPython shows."""
        with self._in_few_lines(f"%opskit {line}"):
            return self._line.do(line)

    def _run(self, name: str, line: str, cell: str | None) -> Results | Plan | Handle | None:
        if cell is None:
            with self._in_few_lines(f"%{name} {line}"):
                return self._in_line(f"%{name}", line)
        with self._in_few_lines():
            return self._in_cell(f"%%{name}", line, cell)

    def _in_line(self, magic: str, line: str) -> Results | Plan | Handle | None:
        flags = flag_text.read(line, self._variables, magic, takes_rest=True)
        if flags.help:
            _show_help()
            return None
        draft, names = self._drafted(magic, flags, "the line")
        if not flags.rest:
            raise PlanError(
                f"{magic}: there is no command; write it after the flags, {magic} -r web uptime, "
                f"or below %{magic} in a cell of its own"
            )
        draft.everywhere(flags.rest, names, "the line")
        return self._outcome(draft, flags)

    def _in_cell(self, magic: str, line: str, body: str) -> Results | Plan | Handle | None:
        pointer = Pointer(f"{magic} {line}\n{body}")
        with pointer.pointing():
            flags = flag_text.read(line, self._variables, magic, takes_rest=False)
            if flags.help:
                _show_help()
                return None
            draft, names = self._drafted(magic, flags, "line 1 of the cell")
            _add_branches(draft, body, names, magic, pointer)
            return self._outcome(draft, flags)

    def _drafted(self, magic: str, flags: flag_text.Flags, place: str) -> tuple[Draft, Names]:
        draft = Draft(flags.options, current(), magic)
        if not draft.terms.wait and flags.out is None:
            raise PlanError(f"{magic}: --bg needs --out NAME: the variable that will steer the run and read its rows")
        names = Names(draft.terms.variables, {}, self._variables, draft.settings)
        draft.compile_check(names, place)
        return draft, names

    def _outcome(self, draft: Draft, flags: flag_text.Flags) -> Results | Plan | Handle | None:
        silent = views.silent.set(flags.quiet)
        try:
            outcome = session.execute(draft)
        except (CommandError, Cancelled, KeyboardInterrupt) as error:
            if (results := getattr(error, "results", None)) is not None:
                self._keep(flags.out, results)
                if len(results) and not flags.quiet:
                    display(results)
            raise
        finally:
            views.silent.reset(silent)
        self._keep(flags.out, outcome)
        return None if flags.quiet else outcome

    @contextmanager
    def _in_few_lines(self, text: str | None = None) -> Iterator[None]:
        """Let what is raised show itself without a traceback; of a line magic, whose text is given, with its line."""
        try:
            yield
        except OpskitError as error:
            if text is not None:
                tell_line(error, text, sys._getframe(), self._variables)  # noqa: SLF001 - no public name has it
            raise
        except KeyboardInterrupt as interrupt:
            if not hasattr(interrupt, "_render_traceback_"):  # one that a run has ended with shows itself already
                interrupt._render_traceback_ = lambda: ["KeyboardInterrupt"]  # type: ignore[attr-defined]  # for IPython
            raise

    @property
    def _variables(self) -> dict[str, Any]:
        assert self.shell is not None
        variables: dict[str, Any] = self.shell.user_ns
        return variables

    def _keep(self, name: str | None, value: object) -> None:
        if name is not None:
            self._variables[name] = value


def install(shell: InteractiveShell) -> None:
    """Register the magics; names that another extension has are left to it, which is said in a line."""
    magics = OpskitMagics(shell)
    if told := notice(shell):
        for names in magics.magics.values():
            names.pop("parallel", None)
        print(told)  # noqa: T201 - whoever loads it must know
    shell.register_magics(magics)


def _show_help() -> None:
    print(_HELP)  # noqa: T201 - a magic's answer


def remove(shell: InteractiveShell) -> None:
    """Take the magics away that are ours."""
    shell.configurables[:] = [found for found in shell.configurables if type(found).__module__ != __name__]
    shell.magics_manager.registry.pop(OpskitMagics.__name__, None)
    for names in shell.magics_manager.magics.values():
        for name in [name for name, function in names.items() if _is_ours(function)]:
            del names[name]


def notice(shell: InteractiveShell) -> str:
    """Say who has `%%parallel` or `%parallel`, if not we have; empty if nobody else has."""
    for kind, sign in (("cell", "%%"), ("line", "%")):
        found = shell.magics_manager.magics[kind].get("parallel")
        if found is not None and not _is_ours(found):
            owner = getattr(found, "__module__", None) or "another extension"
            return f"{sign}parallel belongs to {owner} here: write %%opsparallel and %opsparallel for opskit's"
    return ""


def _is_ours(function: object) -> bool:
    return getattr(function, "__module__", None) == __name__


def _add_branches(draft: Draft, body: str, names: Names, magic: str, pointer: Pointer) -> None:
    """Hand a cell's branches to the draft, each with the line where it stands."""
    if not body.strip():
        raise PlanError(f"{magic}: there is nothing to run; write `when in_('app'): uptime`, or a plain script")
    found = cell_text.branches(body)
    pointer.branches = [cell_text.one_script(body)] if found is None else found
    for branch in pointer.branches:
        place = f"line {branch.line} of the cell"
        pointer.at = branch.line
        if found is None:
            draft.everywhere(branch.command, names, place)
            continue
        options = _options(branch)
        if branch.condition is None:
            draft.otherwise(branch.command, names, place, options)
        else:
            last = options.pop("last", False)
            draft.when(branch.condition, branch.command, names, place, last=last, options=options)
    pointer.at = None


def _options(branch: CellBranch) -> dict[str, Any]:
    """A branch's options, checked here, where each one's own line is known."""
    for name, text in branch.options.items():
        place = f"line {branch.option_lines[name]} of the cell, in the branch of line {branch.line} of the cell"
        if name != "last":
            checked({name: text}, OF_BRANCH, place)
        elif branch.condition is None:
            raise PlanError(f"{place}: `last` is for a `when`: nothing is looked at after `else`")
        elif text not in ("true", "false"):
            raise PlanError(f"{place}: `last: {text}`: write true or false")
    return dict(branch.options)


_HELP = f"""\
%%parallel runs commands on the hosts in use, each host every branch that its conditions match:

    %%parallel --roles app,web --chunk 25% --timeout 30 -o restarts
    when in_('app'): script/restart-mongrel
    when in_('web') and server.vars.dc == 'ams':
        systemctl reload apache2
        systemctl is-active apache2
    else: echo nothing to do on {{{{ server.name }}}}

Without `when` and `else:` the body is one script for every host; `%parallel -r web uptime` is one command on one line.
Under a branch, indented lines such as `timeout: 5`, `env: A=b`, `cwd: /srv` or `last: true` set it up.
In values of flags, $name and {{name}} are the notebook's variables; in commands, {{{{ name }}}} are.
`%%opsparallel` and `%opsparallel` are the same, for where another extension has the shorter names.

{flag_text.usage()}

{LINE_USAGE}"""
OpskitMagics.parallel.__doc__ = OpskitMagics.opsparallel.__doc__ = _HELP
OpskitMagics.opskit.__doc__ = LINE_USAGE
