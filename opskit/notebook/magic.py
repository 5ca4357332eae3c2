"""The magics: each reads its text, calls one function, and gives back what that returned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display

from opskit import session
from opskit.errors import Cancelled, CommandError, OpskitError, PlanError
from opskit.fleet.names import Names
from opskit.notebook import cell as cell_text
from opskit.notebook import flags as flag_text
from opskit.notebook.line import USAGE as LINE_USAGE
from opskit.notebook.line import Line
from opskit.settings import current
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from opskit.handle import Handle
    from opskit.results import Results
    from opskit.work.plan import Plan


@magics_class
class OpskitMagics(Magics):
    """`%%parallel`, `%parallel` and `%opskit`."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._line = Line(lambda: self._variables, _HELP)

    @no_var_expand
    @line_cell_magic
    def parallel(self, line: str, cell: str | None = None) -> Results | Plan | Handle | None:
        """Run commands on hosts, routed by conditions; see below for the text that IPython shows."""
        magic = "%parallel" if cell is None else "%%parallel"
        flags = flag_text.read(line, self._variables, magic, takes_rest=cell is None)
        draft = Draft(flags.options, current(), magic)
        if not draft.terms.wait and flags.out is None:
            raise PlanError(f"{magic}: --bg needs --out NAME: the variable that will steer the run and read its rows")
        names = Names(draft.terms.variables, {}, self._variables, draft.settings)
        draft.compile_check(names, "the line")
        if cell is None:
            if not flags.rest:
                raise PlanError("%parallel: there is no command; write it after the flags: %parallel -r web uptime")
            draft.everywhere(flags.rest, names, "the line")
        else:
            _add_branches(draft, cell, names)
        try:
            outcome = session.execute(draft)
        except (CommandError, Cancelled, KeyboardInterrupt) as error:
            if (results := getattr(error, "results", None)) is not None:
                self._keep(flags.out, results)
                if len(results) and not flags.quiet:
                    display(results)
            raise
        self._keep(flags.out, outcome)
        return None if flags.quiet else outcome

    @no_var_expand
    @line_magic
    def opskit(self, line: str) -> object:
        """Set opskit up, and look back: `%opskit use hosts.yaml`, `%opskit journal`, `%opskit help` and so on."""
        return self._line.do(line)

    @property
    def _variables(self) -> dict[str, Any]:
        assert self.shell is not None
        variables: dict[str, Any] = self.shell.user_ns
        return variables

    def _keep(self, name: str | None, value: object) -> None:
        if name is not None:
            self._variables[name] = value


def _add_branches(draft: Draft, body: str, names: Names) -> None:
    """Hand a cell's branches to the draft, each with the line where it stands."""
    if not body.strip():
        raise PlanError("%%parallel: there is nothing to run; write `when in_('app'): uptime`, or a plain script")
    found = cell_text.branches(body)
    if found is None:
        draft.everywhere(body.strip("\n"), names, "the cell")
        return
    for branch in found:
        place = f"line {branch.line} of the cell"
        options: dict[str, Any] = dict(branch.options)
        try:
            if branch.condition is None:
                draft.otherwise(branch.command, names, place, options)
            else:
                last = _is_true(options.pop("last", "false"), place)
                draft.when(branch.condition, branch.command, names, place, last=last, options=options)
        except OpskitError as error:
            if place not in str(error):
                error.add_note(f"in {place}")
            raise


def _is_true(word: str, place: str) -> bool:
    if word not in ("true", "false"):
        raise PlanError(f"{place}: `last: {word}`: write true or false")
    return word == "true"


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

{flag_text.usage()}

{LINE_USAGE}"""
OpskitMagics.parallel.__doc__ = _HELP
