"""Every error that opskit raises, each saying what failed, where, and what to do next.

    OpskitError
    ├── SettingsError            a setting has an unknown name or a bad value
    ├── InventoryError           the hosts could not be read or selected
    │   └── NoMatchingHosts      a selection left no host
    ├── ConditionError           a condition does not compile, or raises on a host
    ├── TemplateError            a command could not be rendered
    ├── PlanError                what was asked for can't be planned
    │   └── PlanChanged          a saved plan no longer fits its hosts
    ├── CommandError             a run ended badly; carries `.results`
    │   ├── UnreachableError     no session could be had
    │   ├── HostKeyError         a host's key is unknown, changed, or can't be checked
    │   ├── AuthenticationError  a host let nobody in
    │   └── TimeoutExceeded      a command outlived its timeout
    ├── Cancelled                a person ended the run; carries `.results`
    ├── RollbackError            a rollback could not be done
    ├── RollbackRequested        `opskit.rollback("why")` was called
    ├── HostsBusy                somebody else holds the hosts' lock
    ├── PromptRefused            a question had to be asked, and nobody could answer
    └── JournalError             the journal can't be written or read

It imports nothing of opskit but what masks secrets.
"""

from __future__ import annotations

import difflib
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from opskit.masking import mask

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import CodeType, TracebackType

    from opskit.results import Results

_NOT_THE_USERS: Final = {"opskit", "IPython", "ipykernel", *sys.stdlib_module_names}


class OpskitError(Exception):
    """The base of everything that opskit raises on purpose. What it says is without secrets."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(mask(given) if isinstance(given, str) else given for given in arguments))

    def add_note(self, note: str) -> None:
        """Add to what it says, without secrets as well."""
        super().add_note(mask(note))

    def _render_traceback_(self) -> list[str]:
        """Show the message, its notes and the user's line in IPython; the traceback stays in the exception."""
        notes = getattr(self, "__notes__", ())
        return [f"{type(self).__name__}: {self}", *notes, *map(mask, _users_line(self.__traceback__))]


class SettingsError(OpskitError):
    """A setting has an unknown name or a bad value; says which, and where it came from."""


class InventoryError(OpskitError):
    """The hosts could not be read or selected; says where in which file, or which name, and what is near it."""


class NoMatchingHosts(InventoryError):  # noqa: N818 - the contract's name
    """A selection left no host. It never falls back to all of them."""


class ConditionError(OpskitError):
    """A condition does not compile, or raised on a host. Nothing has run."""


class TemplateError(OpskitError):
    """A command could not be rendered for a host. Nothing has run."""


class PlanError(OpskitError):
    """What was asked for can't be planned: an unknown option, a bad value, no branch. Nothing has run."""


class PlanChanged(PlanError):  # noqa: N818 - the contract's name
    """A saved plan no longer fits: a host's address, port or user is another than when it was made."""


class _RunError(OpskitError):
    """What is told of a run that has ended, with its rows.

    Attributes:
        results: The rows of the whole run, the good ones too; empty if nothing could be tried.
        rolled_back: Whether all that was sent was undone, with `on_error="rollback"`; None if that was not tried.
    """

    rolled_back: bool | None = None

    def __init__(self, message: str, results: Results) -> None:
        super().__init__(message)
        self.results = results

    def __reduce__(self) -> tuple[type[_RunError], tuple[str, Results]]:
        """Pickle with the rows: an exception's own way would call the class with the message alone."""
        return type(self), (str(self), self.results)


class CommandError(_RunError):
    """A run ended with rows that failed, timed out, were unreachable or are unknown."""


class UnreachableError(CommandError):
    """Every bad row of the run is unreachable: no session could be had, nothing was sent there."""


class HostKeyError(CommandError):
    """A host's key is unknown or has changed, or the known_hosts file can't be read."""


class AuthenticationError(CommandError):
    """A host accepted none of the keys, or a key can't be used."""


class TimeoutExceeded(CommandError):  # noqa: N818 - the contract's name
    """Every bad row of the run outlived its timeout."""


class Cancelled(_RunError):  # noqa: N818 - the contract's name
    """A person ended the run. `.results` has what arrived."""


class RollbackError(OpskitError):
    """A rollback could not be done: unknown, ended, or somebody else is at it; or not all could be undone.

    Attributes:
        results: The rows of the undos, None if none was tried.
    """

    results: Results | None = None


class RollbackRequested(OpskitError):  # noqa: N818 - the contract's name
    """`opskit.rollback("why")` was called inside a task."""


class HostsBusy(OpskitError):  # noqa: N818 - the contract's name
    """Somebody else holds the lock of these hosts; says who, and since when.

    Attributes:
        is_abandoned: Whether a process that has died holds some of it: that ends only if a person sees to it.
    """

    is_abandoned = False


class PromptRefused(OpskitError):  # noqa: N818 - the contract's name
    """A question had to be asked where nobody can answer; says what to set instead."""


class JournalError(OpskitError):
    """The journal can't be written or read. What was not recorded was not sent."""


def did_you_mean(word: str, known: Iterable[str], *, plural: str = "known") -> str:
    """End an error's sentence about an unknown `word`: the nearest known words, or else the known ones.

    Returns text such as `"; did you mean 'web'?"`, `"; known: app, db, web"`, or nothing if none is known.
    """
    candidates = sorted({str(name) for name in known})
    near = difflib.get_close_matches(str(word), candidates, n=3, cutoff=0.6)
    if near:
        return "; did you mean " + " or ".join(repr(name) for name in near) + "?"
    # A notebook has many names of its own, such as `_` and `__name__`.
    candidates = [name for name in candidates if not name.startswith("_")]
    if not candidates:
        return ""
    shown = ", ".join(map(_visible, candidates[:12])) + (", ..." if len(candidates) > 12 else "")  # noqa: PLR2004 - a line's worth
    return f"; {plural}: {shown}"


def _visible(text: str) -> str:
    """Show what commands a terminal or can't be seen as `repr` does; opskit.rendering is out of reach from here."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def give_notes(error: BaseException, notes: Iterable[str]) -> None:
    """Let an error, whoever's it is, say more, without secrets; one that takes no attributes goes without."""
    with suppress(AttributeError):
        for note in notes:
            error.add_note(mask(note))


def give_results(interrupt: BaseException, results: Results, *, became: str = "the run was ended") -> None:
    """Let an interrupt, which is no error of ours, carry `.results`; and show itself in IPython as our errors do.

    Args:
        interrupt: What was raised.
        results: The rows.
        became: What became of the run.
    """
    interrupt.results = results  # type: ignore[attr-defined]  # for who catches it
    # The list itself, to which notes are added later: an interrupt that its own attribute holds would stay in memory.
    interrupt.__notes__ = notes = getattr(interrupt, "__notes__", [])
    interrupt._render_traceback_ = partial(_interrupt_shown, type(interrupt).__name__, became, notes)  # type: ignore[attr-defined]


def _interrupt_shown(name: str, became: str, notes: Iterable[str]) -> list[str]:
    return [f"{name}: {became}; the error's .results has what arrived", *map(mask, notes)]


def place_in(code: CodeType, line: int) -> str:
    """Say where a line of code stands: `line 3 of the cell`, or `deploy.py, line 3`."""
    file = code.co_filename
    # Cells are no files: IPython calls them `<ipython-input-...>`, a kernel `/tmp/ipykernel_.../....py`.
    if not file.startswith("<ipython-input") and "ipykernel_" not in file:
        return f"{file}, line {line}"
    return f"line {line} of the cell" + ("" if code.co_name.startswith("<") else f" that defines {code.co_name}()")


def _users_line(traceback: TracebackType | None) -> list[str]:
    """The last line of the user's own code in a traceback; none for a magic, whose text is the user's code."""
    found = None
    while traceback is not None:
        module = str(traceback.tb_frame.f_globals.get("__name__"))
        if module.startswith("opskit.notebook"):
            return []
        if module.partition(".")[0] not in _NOT_THE_USERS:
            found = traceback
        traceback = traceback.tb_next
    if found is None:
        return []
    import linecache

    frame, line = found.tb_frame, found.tb_lineno
    text = linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()
    return [f"at {place_in(frame.f_code, line)}" + (f": {text}" if text else "")]
