"""Run a fleet from a notebook: condition-routed commands on all hosts at once, results in a DataFrame.

The public names and nothing else. Each is loaded when it is first used, so that importing opskit costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from opskit.settings import configure as configure
from opskit.settings import settings as settings

if TYPE_CHECKING:
    from opskit import journal as journal
    from opskit.attaching import Attached as Attached
    from opskit.attaching import attach as attach
    from opskit.errors import AuthenticationError as AuthenticationError
    from opskit.errors import Cancelled as Cancelled
    from opskit.errors import CommandError as CommandError
    from opskit.errors import ConditionError as ConditionError
    from opskit.errors import HostKeyError as HostKeyError
    from opskit.errors import HostsBusy as HostsBusy
    from opskit.errors import InventoryError as InventoryError
    from opskit.errors import JournalError as JournalError
    from opskit.errors import NoMatchingHosts as NoMatchingHosts
    from opskit.errors import OpskitError as OpskitError
    from opskit.errors import PlanChanged as PlanChanged
    from opskit.errors import PlanError as PlanError
    from opskit.errors import PromptRefused as PromptRefused
    from opskit.errors import RollbackError as RollbackError
    from opskit.errors import RollbackRequested as RollbackRequested
    from opskit.errors import SettingsError as SettingsError
    from opskit.errors import TemplateError as TemplateError
    from opskit.errors import TimeoutExceeded as TimeoutExceeded
    from opskit.errors import UnreachableError as UnreachableError
    from opskit.fleet import Host as Host
    from opskit.fleet import Inventory as Inventory
    from opskit.fleet import load_inventory as load_inventory
    from opskit.handle import Handle as Handle
    from opskit.in_use import use as use
    from opskit.notebook import load_ipython_extension as load_ipython_extension
    from opskit.notebook import unload_ipython_extension as unload_ipython_extension
    from opskit.observers import observe as observe
    from opskit.results import HostResult as HostResult
    from opskit.results import Results as Results
    from opskit.secrets import Secret as Secret
    from opskit.secrets import secret as secret
    from opskit.session import Parallel as Parallel
    from opskit.session import arun as arun
    from opskit.session import load_plan as load_plan
    from opskit.session import parallel as parallel
    from opskit.session import plan as plan
    from opskit.session import run as run
    from opskit.tasks import Parallelize as Parallelize
    from opskit.tasks import parallelize as parallelize
    from opskit.transactions import Transaction as Transaction
    from opskit.transactions import begin as begin
    from opskit.transactions import on_rollback as on_rollback
    from opskit.transactions import rollback as rollback
    from opskit.transactions import transaction as transaction
    from opskit.work.plan import Plan as Plan
    from opskit.work.plan import Step as Step

__version__ = "0.1.0"

_ROOMS = {
    "opskit.attaching": "Attached attach",
    "opskit.errors": (
        "AuthenticationError Cancelled CommandError ConditionError HostKeyError HostsBusy InventoryError JournalError "
        "NoMatchingHosts OpskitError PlanChanged PlanError PromptRefused RollbackError RollbackRequested SettingsError "
        "TemplateError TimeoutExceeded UnreachableError"
    ),
    "opskit.fleet": "Host Inventory load_inventory",
    "opskit.handle": "Handle",
    "opskit.in_use": "use",
    "opskit.notebook": "load_ipython_extension unload_ipython_extension",
    "opskit.observers": "observe",
    "opskit.results": "HostResult Results",
    "opskit.secrets": "Secret secret",
    "opskit.session": "Parallel arun load_plan parallel plan run",
    "opskit.tasks": "Parallelize parallelize",
    "opskit.transactions": "Transaction begin on_rollback rollback transaction",
    "opskit.work.plan": "Plan Step",
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names.split()}
_PUBLIC_ROOMS = frozenset({"journal"})

__all__ = ["__version__", "configure", "settings", *sorted(_HOMES.keys() | _PUBLIC_ROOMS)]  # noqa: PLE0604 - made of the table above


def __getattr__(name: str) -> Any:
    if name in _PUBLIC_ROOMS:
        return import_module(f"opskit.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'opskit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
