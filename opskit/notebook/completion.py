"""Tab in cells of ours: what fits there, handed to IPython's completer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Final

from opskit import shared
from opskit.errors import InventoryError
from opskit.fleet import Inventory
from opskit.fleet.readers import READERS
from opskit.in_use import default_inventory
from opskit.notebook.fitting import Known, fitting
from opskit.settings import current

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

    from opskit.record.moves import State

_OURS: Final = "opskit"
_NEWEST: Final = 20
_PATIENCE: Final = 0.3
"""Seconds for which a key may be pressed in vain; what was read in the meantime is there at the next one."""

_reader: Final = ThreadPoolExecutor(1, "opskit-tab")


def install(shell: InteractiveShell) -> None:
    """Have IPython ask us first; where something of ours fits, nothing else is offered."""
    try:
        from IPython.core.completer import SimpleCompletion, context_matcher
    except ImportError:  # IPython before 8.6, as Colab has it: there Tab offers what it did
        return
    known = Known(_inventory, lambda: _variables(shell), _transactions)

    @context_matcher(identifier=_OURS)  # type: ignore[untyped-decorator]  # IPython's has no types
    def matcher(context: CompletionContext) -> SimpleMatcherResult:
        lines = context.full_text.split("\n")
        above, line = lines[: context.cursor_line], context.line_with_cursor
        try:
            fit = fitting("\n".join([*above, line[: context.cursor_position]]), known)
        except Exception:  # noqa: BLE001 - a key pressed while somebody writes is no place for an error, whatever broke
            fit = None
        if fit is None:
            return {"completions": []}
        # What stands there already keeps all of Python's names away, which no word at all would not.
        found = [SimpleCompletion(word, type=fit.kind) for word in fit.words or (fit.fragment,)]
        return {"completions": found, "matched_fragment": fit.fragment, "ordered": True, "suppress": True}

    remove(shell)
    shell.Completer.custom_matchers.append(matcher)


def remove(shell: InteractiveShell) -> None:
    """Have IPython ask us no more."""
    matchers = getattr(shell.Completer, "custom_matchers", [])
    matchers[:] = [matcher for matcher in matchers if getattr(matcher, "matcher_identifier", None) != _OURS]


def _inventory() -> Inventory:
    """The inventory in use; none while a long file is still read, nor one that a program would have to print."""
    path = current().inventory
    if path is not None and path.suffix.lower() not in READERS:
        return Inventory(())
    reading = _reader.submit(copy_context().run, default_inventory)
    try:
        return reading.result(_PATIENCE)
    except (TimeoutError, InventoryError):
        return Inventory(())


def _variables(shell: InteractiveShell) -> Mapping[str, object]:
    """What the user has named, without what IPython has."""
    hidden = shell.user_ns_hidden
    return {
        name: held
        for name, held in sorted(shell.user_ns.items())
        if not name.startswith("_") and not (name in hidden and hidden[name] is held)
    }


def _transactions() -> Mapping[str, State]:
    """The newest of a journal on this machine; one on a server is not asked."""
    scheme, url, _ = (current().journal or "").partition("://")
    if url and scheme != "sqlite":
        return {}
    return {now.transaction.id: now.state for now in shared.store().transactions(limit=_NEWEST)}
