"""By what an entry of the journal is undone: what this process remembers of it, or can make of what is written."""

from __future__ import annotations

import contextvars
import json
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opskit.errors import InventoryError, OpskitError
from opskit.in_use import default_inventory
from opskit.masking import MASK, mask
from opskit.rendering.escape import said_by
from opskit.work.kept import unpacked_secrets, unpacked_terms, unpacked_way
from opskit.work.plan import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opskit.fleet import Host
    from opskit.record.facts import Account, Entry
    from opskit.secrets import Secret
    from opskit.work.terms import Terms

NOT_WHOLE = "a secret stood in it as plain text, which the journal has masked: undo it by hand, and settle it"
NEEDS_NOTEBOOK = "only the notebook or script that registered it can call it, while it still runs"
NOT_AGREED = "nobody has agreed to its being called from here"


@dataclass(frozen=True, slots=True)
class Callback:
    """A function that undoes something, with its arguments and the context that it was registered in."""

    function: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: contextvars.Context

    def __str__(self) -> str:
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        given = [*map(_shown, self.args), *(f"{name}={_shown(value)}" for name, value in self.kwargs.items())]
        return mask(f"{name}({', '.join(given)})")

    def packed(self) -> str | None:
        """As JSON, for another process; None if that could not import this very function, or get its arguments."""
        module, name = getattr(self.function, "__module__", None), getattr(self.function, "__qualname__", "")
        if module in (None, "__main__"):
            return None
        path = f"{module}:{name}"
        call = {"function": path, "args": list(self.args), "kwargs": dict(self.kwargs)}
        try:
            text = json.dumps(call)
            is_same = json.loads(text) == call and _resolved(path) == self.function
        except Exception:  # noqa: BLE001 - arguments compare as they like
            return None
        return text if is_same and mask(text) == text else None


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - the user's own class
        return f"<{type(value).__name__}>"


def _resolved(path: str) -> Any:
    """What `module:name` names; raises what importing does."""
    module, _, name = path.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


@dataclass(frozen=True, slots=True)
class Unavailable:
    """What can't be undone from here, and why."""

    why: str


Undo = Step | Callback | Unavailable
"""By what an entry is undone: a command, or a function; or that neither can be had."""


def recovered(accounts: Iterable[Account], *, calls: bool) -> dict[int, Undo]:
    """By what each of these is undone, from the journal alone. A person may be asked for secrets, in this thread.

    Args:
        accounts: What is to be undone.
        calls: Whether functions that another process has registered may be imported and called.
    """
    reader = _Reader()
    found: dict[int, Undo] = {}
    for account in accounts:
        entry = account.entry
        if entry.host is not None:
            found[entry.seq] = reader.step(entry)
        elif entry.call is None:
            found[entry.seq] = Unavailable(NEEDS_NOTEBOOK)
        else:
            found[entry.seq] = _imported(entry.call) if calls else Unavailable(NOT_AGREED)
    return found


class _Reader:
    """Makes commands of what is written; those that shared terms and secrets share them again."""

    def __init__(self) -> None:
        self._secrets: dict[tuple[str, str], Secret] = {}
        self._terms: dict[str, Terms] = {}
        self._named: dict[tuple[str, str], tuple[Secret, ...]] = {}

    def step(self, entry: Entry) -> Step | Unavailable:
        """The command, with its secrets; or why it can't be had."""
        assert entry.way is not None
        assert entry.terms is not None
        assert entry.undo is not None
        if entry.terms not in self._terms:
            self._terms[entry.terms] = unpacked_terms(entry.terms, self._secrets)
        terms = self._terms[entry.terms]
        if MASK in entry.undo or MASK in (terms.cwd or ""):
            return Unavailable(NOT_WHOLE)
        asked = entry.undo, entry.secrets or "[]"
        try:
            if asked not in self._named:
                self._named[asked] = unpacked_secrets(asked[1], self._secrets)
            for secret in (*self._named[asked], *terms.secrets):
                secret.reveal()
        except OpskitError as error:
            return Unavailable(said_by(error))
        host = _as_in_use(unpacked_way(entry.way)).as_user(terms.user)
        return Step(host, entry.branch, entry.undo, terms, entry.chunk, self._named[asked])


def _as_in_use(host: Host) -> Host:
    """The host as the inventory in use has it, if it is the same: that may know passwords, which no journal does."""
    try:
        found = default_inventory()[host.name]
    except InventoryError:
        return host
    same = (found.address, found.port, found.user) == (host.address, host.port, host.user)
    return found if same else host


def _imported(packed: str) -> Callback | Unavailable:
    """A function that another process has registered; or why it can't be had."""
    call = json.loads(packed)
    try:
        function = _resolved(call["function"])
    except Exception as error:  # noqa: BLE001 - a module may raise whatever it likes
        return Unavailable(f"{call['function']} can't be imported here: {said_by(error)}")
    return Callback(function, tuple(call["args"]), call["kwargs"], contextvars.copy_context())
