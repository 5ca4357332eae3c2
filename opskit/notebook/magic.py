"""The magics: each reads its text, calls one function, and gives back what that returned."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.display import display

from opskit import in_use, session
from opskit.errors import Cancelled, CommandError, OpskitError, PlanError, SettingsError, did_you_mean
from opskit.fleet import Inventory
from opskit.fleet.names import Names
from opskit.fleetlab import Fleet
from opskit.notebook import cell as cell_text
from opskit.notebook import flags as flag_text
from opskit.rendering.folding import fold
from opskit.settings import current, describe
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.handle import Handle
    from opskit.results import Results
    from opskit.work.plan import Plan


@magics_class
class OpskitMagics(Magics):
    """`%%parallel`, `%parallel` and `%opskit`."""

    _fleet: Fleet | None = None
    _fleet_hosts = Inventory(())

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
        """Set opskit up: `%opskit use hosts.yaml`, `%opskit fleet up 8`, `%opskit config`, `%opskit help`."""
        word, _, rest = line.strip().partition(" ")
        verbs: dict[str, Callable[[str], object]] = {
            "use": self._use,
            "fleet": self._fleet_verb,
            "config": self._config,
            "help": self._help,
            "": self._help,
        }
        if word not in verbs:
            raise PlanError(f"%opskit: there is no {word!r}{did_you_mean(word, [verb for verb in verbs if verb])}")
        return verbs[word](rest.strip())

    @property
    def _variables(self) -> dict[str, Any]:
        assert self.shell is not None
        variables: dict[str, Any] = self.shell.user_ns
        return variables

    def _keep(self, name: str | None, value: object) -> None:
        if name is not None:
            self._variables[name] = value

    def _use(self, what: str) -> None:
        """Take an inventory from a file, or from a variable of the notebook that holds one or a file's path."""
        what = what.strip("'\"")
        if not what:
            raise PlanError("%opskit use: name an inventory's file, or a variable that holds an inventory")
        held = self._variables.get(what, what)
        if not isinstance(held, (Inventory, str, PathLike)):
            raise PlanError(
                f"%opskit use: {what} is a variable of type {type(held).__name__}, and no inventory; "
                "opskit.Inventory.from_frame makes one of a DataFrame"
            )
        in_use.use(held)
        self._told()

    def _fleet_verb(self, words: str) -> None:
        """`up [COUNT]` or `down`: the embedded fleet, as long as this kernel lives."""
        verb, _, count = words.partition(" ")
        if verb not in ("up", "down") or (count and not (verb == "up" and count.strip().isdecimal())):
            raise PlanError("%opskit fleet: write `%opskit fleet up 8` or `%opskit fleet down`")
        fleet = Fleet(int(count or 8)) if verb == "up" else None
        if self._fleet is not None:
            self._fleet.down()
            self._fleet = None
            in_use.forget(self._fleet_hosts)
        if fleet is None:
            print("no embedded fleet is up")  # noqa: T201 - a magic's answer
            return
        fleet.up()
        self._fleet, self._fleet_hosts = fleet, fleet.inventory
        in_use.use(self._fleet_hosts)
        self._told()

    def _told(self) -> None:
        inventory = in_use.default_inventory()
        print(f"{len(inventory)} hosts in use: {inventory}")  # noqa: T201 - a magic's answer
        for role in sorted(inventory.roles):
            print(f"  {role}: {fold(host.name for host in inventory if role in host.roles)}")  # noqa: T201 - as above

    def _config(self, name: str) -> None:
        """Every setting, or the one that is named."""
        found = [row for row in describe() if name in ("", row[0])]
        if not found:
            raise SettingsError(f"%opskit config: no setting is called {name!r}; %opskit config shows them all")
        for setting, value, doc in found:
            print(f"{setting:22} {value:24} {doc}")  # noqa: T201 - as above

    def _help(self, _: str) -> None:
        print(_HELP)  # noqa: T201 - as above


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

%opskit use hosts.yaml   take an inventory from a file, or from a variable
%opskit fleet up 8       start real SSH servers on this machine to play with; %opskit fleet down ends them
%opskit config           every setting and what it is now
"""
OpskitMagics.parallel.__doc__ = _HELP
