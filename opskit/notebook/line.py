"""The verbs of `%opskit`: what is in use, the embedded fleet, the open transaction, the journal."""

from __future__ import annotations

import shlex
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

from opskit import in_use, journal, shared, transactions
from opskit.attaching import attach
from opskit.errors import OpskitError, PlanError, RollbackError, SettingsError, did_you_mean
from opskit.fleet import Inventory
from opskit.fleetlab import Fleet
from opskit.handle import left_alone
from opskit.rendering.escape import one_line
from opskit.rendering.folding import fold
from opskit.settings import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opskit.attaching import Attached
    from opskit.journal.display import Listing
    from opskit.journal.history import History
    from opskit.results import Results
    from opskit.transactions import Transaction

USAGE = """\
%opskit use hosts.yaml   take an inventory from a file, or from a variable
%opskit fleet up 8       start real SSH servers on this machine to play with; %opskit fleet down ends them
%opskit transaction begin "deploy v42"    undo together what the next cells do, until `... end` or `... rollback`;
                         with --lock hosts others are kept off these hosts, --wait-for-lock 60 waits for theirs
%opskit journal          the newest transactions; `journal TX` shows one, `journal --unfinished` what needs somebody
%opskit attach TX        show a transaction of any notebook while it goes on, and what became of it
%opskit rollback TX      undo a transaction, of any notebook
%opskit status           the inventory in use, the open transaction, what is unfinished, and where the journal is
%opskit config           every setting and what it is now; %config Opskit.fanout = 5 changes one
%opskit help             all flags of %%parallel, and this
"""

VERBS: Final[Mapping[str, tuple[str, ...]]] = {
    "use": (),
    "status": (),
    "transaction": ("begin", "end", "rollback"),
    "journal": ("--unfinished",),
    "attach": (),
    "rollback": (),
    "config": (),
    "fleet": ("up", "down"),
    "help": (),
}
"""What `%opskit` knows, and the words that may follow each."""

_LOCKING: Final = {"--lock": "lock", "--wait-for-lock": "wait_for_lock"}

_ALONE: Final = frozenset({"status", "help"})
_NEWEST: Final = 20
_NAME: Final = 60
_LINE: Final = 200

_embedded: list[tuple[Fleet, Inventory]] = []
"""The fleet that is up, of which there is one a kernel: the magics may be loaded again meanwhile."""


class Line:
    """What `%opskit` does.

    Args:
        variables: The notebook's.
        usage: What `help` prints.
        notice: Gives what `status` has to say of the magics' own names; may be empty.
    """

    def __init__(
        self, variables: Callable[[], Mapping[str, object]], usage: str, notice: Callable[[], str] = str
    ) -> None:
        self._variables = variables
        self._usage = usage
        self._notice = notice

    def do(self, line: str) -> object:
        """Do what a line says; returns what the cell shows."""
        verb, rest = _split(line)
        if verb and verb not in VERBS:
            near = did_you_mean(verb, VERBS, plural="there are")
            raise PlanError(f"%opskit: there is no {verb!r}{near}\n%opskit help shows what each does")
        if rest and verb in _ALONE:
            raise PlanError(f"%opskit {verb}: nothing can follow it, and there is {rest[:_NAME]!r}")
        return getattr(self, f"_{verb or 'help'}")(rest)

    def _use(self, what: str) -> None:
        """Take an inventory from a file, or from a variable of the notebook that holds one or a file's path."""
        if not what:
            raise PlanError("%opskit use: name an inventory's file, or a variable that holds an inventory")
        given = what.strip("'\"")
        held: Any = self._variables().get(given.strip("${}"), given)
        if not issubclass(type(held), (Inventory, str, PathLike)):
            raise PlanError(
                f"%opskit use: {what} is a variable of type {type(held).__name__}, and no inventory; "
                "opskit.Inventory.from_frame makes one of a DataFrame"
            )
        in_use.use(held)
        _say(_hosts_in_use())

    def _fleet(self, words: str) -> None:
        """`up [COUNT]` or `down`: the embedded fleet, as long as this kernel lives."""
        verb, count = _split(words)
        if verb not in ("up", "down") or (count and not (verb == "up" and count.isdecimal())):
            raise PlanError("%opskit fleet: write `%opskit fleet up 8` or `%opskit fleet down`")
        fleet = Fleet(int(count or 8)) if verb == "up" else None
        said = "no embedded fleet is up"
        while _embedded:
            before, hosts = _embedded.pop()
            before.down()
            in_use.forget(hosts)
            said = "the embedded fleet is down"
        if fleet is None:
            _say(said)
            return
        fleet.up()
        _embedded.append((fleet, fleet.inventory))
        in_use.use(fleet.inventory)
        _say(_hosts_in_use())

    def _transaction(self, words: str) -> Results | None:
        """`begin ["name"] [--lock hosts] [--wait-for-lock 60]`, `end` or `rollback ["why"]`."""
        verb, rest = _split(words)
        text = rest.strip("'\"") or None
        match verb:
            case "begin":
                name, locking = _to_begin(rest)
                begun = transactions.begin(name, **locking)
                _say(f"{_called(begun)} is open: %opskit transaction end keeps it, rollback undoes it")
                return None
            case "end" if text is None:
                open_one = _open()
                open_one.end()
                _say(f"{_called(open_one)} has ended; %opskit rollback {open_one.id} undoes it")
                return None
            case "rollback":
                return _open().rollback(text)
        raise PlanError('%opskit transaction: write `begin "deploy v42"`, `end` or `rollback`')

    def _journal(self, what: str) -> Listing | History:
        """The newest transactions, those that are unfinished, or one."""
        if what == "--unfinished":
            return journal.listing_of_unfinished()
        if what.startswith("-"):
            raise PlanError("%opskit journal: write `journal`, `journal TX` or `journal --unfinished`")
        return journal.show(self._id(what)) if what else journal.listing(limit=_NEWEST)

    def _attach(self, transaction: str) -> Attached:
        """Show a transaction of any notebook, live if it goes on; does not wait for its end."""
        if not transaction:
            raise PlanError("%opskit attach: name a transaction; %opskit journal lists them")
        return attach(self._id(transaction))

    def _rollback(self, transaction: str) -> Results:
        """Undo a transaction of any notebook, once a person who was shown what that undoes has agreed."""
        if not transaction:
            raise PlanError("%opskit rollback: name a transaction; %opskit journal lists them")
        remedy = "set OPSKIT_YES=1, or opskit.configure(yes=True)"
        return journal.confirmed_rollback(self._id(transaction), remedy=remedy)

    def _status(self, _: str) -> None:
        """What holds here now; what is broken is said in its place."""
        for told in (_hosts_in_use, _transaction_open, _background, _journal, self._notice):
            try:
                line = told()
            except OpskitError as error:
                line = str(error)
            if line:
                _say(line)

    def _config(self, name: str) -> None:
        """Every setting, or the one that is named."""
        found = [row for row in describe() if name in ("", row[0])]
        if not found:
            near = did_you_mean(name, [setting for setting, _, _ in describe()])
            raise SettingsError(f"%opskit config: no setting is called {name!r}{near}\n%opskit config shows them all")
        for setting, value, doc in found:
            _say(f"{setting:22} {value:24} {doc}")

    def _help(self, _: str) -> None:
        _say(self._usage)

    def _id(self, what: str) -> str:
        """What names a transaction, or the id of one: the variable `tx` may stand there as `$tx` and `{tx.id}` too."""
        given = what.strip("'\"")
        held: Any = self._variables().get(given.strip("${}").removesuffix(".id"), given)
        # By its type: what stands for something else, as proxies do, may raise whatever else it is asked.
        if not issubclass(type(held), (transactions.Transaction, str)):
            raise PlanError(f"%opskit: {given} is a variable of type {type(held).__name__}, and no transaction")
        return str(getattr(held, "id", held))


def _say(text: str) -> None:
    print(text)  # noqa: T201 - a magic's answer


def _split(words: str) -> tuple[str, str]:
    """The first word, and what follows it."""
    first, *rest = words.split(None, 1) or [""]
    return first, "".join(rest).strip()


def _to_begin(words: str) -> tuple[str | None, dict[str, Any]]:
    """The name of a transaction, and what it locks."""
    if "--" not in words:
        return words.strip("'\"") or None, {}
    place = "%opskit transaction begin"
    try:
        left = iter(shlex.split(words))
    except ValueError as error:
        raise PlanError(f"{place}: {words[:_NAME]!r}: {error}") from None
    name, locking = [], {}
    for word in left:
        flag, is_joined, value = word.partition("=")
        if not flag.startswith("--"):
            name.append(word)
        elif flag in _LOCKING:
            locking[_LOCKING[flag]] = value if is_joined else next(left, "")
        else:
            raise PlanError(f"{place}: there is no {flag[:_NAME]!r}{did_you_mean(flag, _LOCKING, plural='there are')}")
    return " ".join(name) or None, locking


def _hosts_in_use() -> str:
    inventory = in_use.default_inventory()
    lines = [one_line(f"{len(inventory)} hosts in use: {inventory}", _LINE)]
    for role in sorted(inventory.roles):
        names = fold(host.name for host in inventory if role in host.roles)
        lines.append("  " + one_line(f"{role}: {names}", _LINE))
    return "\n".join(lines)


def _transaction_open() -> str:
    begun = transactions.by_hand()
    return "no transaction is open" if begun is None else f"{_called(begun)} is open"


def _background() -> str:
    going_on = sum(not future.done() for future in left_alone)
    return f"{going_on} in the background, begun with --bg or wait=False" if going_on else ""


def _journal() -> str:
    unfinished = len(journal.listing_of_unfinished().summaries)
    more = ": %opskit journal --unfinished" if unfinished else ""
    return f"{unfinished} unfinished{more}\nthe journal is {shared.store().place}"


def _open() -> Transaction:
    """The transaction that was begun by hand; raises RollbackError if there is none."""
    if (begun := transactions.by_hand()) is None:
        raise RollbackError('no transaction is open here; %opskit transaction begin "deploy v42" opens one')
    return begun


def _called(transaction: Transaction) -> str:
    return one_line(f"transaction {transaction.name or ''}", _NAME) + f" ({transaction.id})"
