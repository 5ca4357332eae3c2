"""The verbs of `%opskit`: what is in use, the embedded fleet, the open transaction, the journal."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Final

from opskit import in_use, journal, shared, transactions
from opskit.errors import InventoryError, PlanError, RollbackError, SettingsError, did_you_mean
from opskit.fleet import Inventory
from opskit.fleetlab import Fleet
from opskit.handle import left_alone
from opskit.rendering.escape import one_line
from opskit.rendering.folding import fold
from opskit.settings import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opskit.journal.display import Listing
    from opskit.journal.history import History
    from opskit.results import Results
    from opskit.transactions import Transaction

USAGE = """\
%opskit use hosts.yaml   take an inventory from a file, or from a variable
%opskit fleet up 8       start real SSH servers on this machine to play with; %opskit fleet down ends them
%opskit transaction begin "deploy v42"    undo together what the next cells do, until `... end` or `... rollback`
%opskit journal          the newest transactions; `journal TX` shows one, `journal --unfinished` what needs somebody
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
    "rollback": (),
    "config": (),
    "fleet": ("up", "down"),
    "help": (),
}
"""What `%opskit` knows, and the words that may follow each."""

_NEWEST: Final = 20
_NAME: Final = 60
_LINE: Final = 200


class Line:
    """What `%opskit` does; it remembers the embedded fleet of this kernel.

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
        self._fleet: Fleet | None = None
        self._fleet_hosts = Inventory(())

    def do(self, line: str) -> object:
        """Do what a line says; returns what the cell shows."""
        word, _, rest = line.strip().partition(" ")
        verbs: dict[str, Callable[[str], object]] = {
            "use": self._use,
            "fleet": self._fleet_verb,
            "transaction": self._transaction,
            "journal": self._journal,
            "rollback": self._rollback,
            "status": self._status,
            "config": self._config,
            "help": self._help,
            "": self._help,
        }
        if word not in verbs:
            near = did_you_mean(word, VERBS, plural="there are")
            raise PlanError(f"%opskit: there is no {word!r}{near}\n%opskit help shows what each does")
        return verbs[word](rest.strip())

    def _use(self, what: str) -> None:
        """Take an inventory from a file, or from a variable of the notebook that holds one or a file's path."""
        what = what.strip("'\"")
        if not what:
            raise PlanError("%opskit use: name an inventory's file, or a variable that holds an inventory")
        held = self._variables().get(what, what)
        if not isinstance(held, (Inventory, str, PathLike)):
            raise PlanError(
                f"%opskit use: {what} is a variable of type {type(held).__name__}, and no inventory; "
                "opskit.Inventory.from_frame makes one of a DataFrame"
            )
        in_use.use(held)
        _tell_of_hosts()

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
        _tell_of_hosts()

    def _transaction(self, words: str) -> Results | None:
        """`begin ["name"]`, `end` or `rollback ["why"]`."""
        verb, _, rest = words.partition(" ")
        text = rest.strip().strip("'\"") or None
        match verb:
            case "begin":
                begun = transactions.begin(text)
                print(f"{_called(begun)} is open: %opskit transaction end keeps it, rollback undoes it")  # noqa: T201 - as above
                return None
            case "end" if text is None:
                open_one = _open()
                open_one.end()
                print(f"{_called(open_one)} has ended; %opskit rollback {open_one.id} undoes it")  # noqa: T201 - as above
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
        return journal.show(what) if what else journal.listing(limit=_NEWEST)

    def _rollback(self, transaction: str) -> Results:
        """Undo a transaction of any notebook, once a person who was shown what that undoes has agreed."""
        if not transaction:
            raise PlanError("%opskit rollback: name a transaction; %opskit journal lists them")
        return journal.confirmed_rollback(transaction, remedy="set OPSKIT_YES=1, or opskit.configure(yes=True)")

    def _status(self, _: str) -> None:
        """What holds here now."""
        try:
            _tell_of_hosts()
        except InventoryError:
            print("no inventory is in use")  # noqa: T201 - a magic's answer
        begun = transactions.by_hand()
        print("no transaction is open" if begun is None else f"{_called(begun)} is open")  # noqa: T201 - as above
        if going_on := sum(not future.done() for future in left_alone):
            print(f"{going_on} in the background, begun with --bg or wait=False")  # noqa: T201 - as above
        unfinished = len(journal.listing_of_unfinished().summaries)
        print(f"{unfinished} unfinished" + (": %opskit journal --unfinished" if unfinished else ""))  # noqa: T201 - as above
        print(f"the journal is {shared.store().path}")  # noqa: T201 - as above
        if notice := self._notice():
            print(notice)  # noqa: T201 - as above

    def _config(self, name: str) -> None:
        """Every setting, or the one that is named."""
        found = [row for row in describe() if name in ("", row[0])]
        if not found:
            near = did_you_mean(name, [setting for setting, _, _ in describe()])
            raise SettingsError(f"%opskit config: no setting is called {name!r}{near}\n%opskit config shows them all")
        for setting, value, doc in found:
            print(f"{setting:22} {value:24} {doc}")  # noqa: T201 - as above

    def _help(self, _: str) -> None:
        print(self._usage)  # noqa: T201 - as above


def _tell_of_hosts() -> None:
    inventory = in_use.default_inventory()
    print(one_line(f"{len(inventory)} hosts in use: {inventory}", _LINE))  # noqa: T201 - a magic's answer
    for role in sorted(inventory.roles):
        names = fold(host.name for host in inventory if role in host.roles)
        print("  " + one_line(f"{role}: {names}", _LINE))  # noqa: T201 - as above


def _open() -> Transaction:
    """The transaction that was begun by hand; raises RollbackError if there is none."""
    if (begun := transactions.by_hand()) is None:
        raise RollbackError('no transaction is open here; %opskit transaction begin "deploy v42" opens one')
    return begun


def _called(transaction: Transaction) -> str:
    return one_line(f"transaction {transaction.name or ''}", _NAME) + f" ({transaction.id})"
