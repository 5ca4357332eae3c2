"""Questions to the person who runs this: in a notebook's front end, in a run's own view, or in a terminal."""

from __future__ import annotations

import getpass
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from opskit.errors import PromptRefused

if TYPE_CHECKING:
    from collections.abc import Callable

asks_here: Final[ContextVar[Callable[[str], bool] | None]] = ContextVar("opskit_asks_here", default=None)
"""Who asks for a yes in place of the front end: the view whose button was pressed."""


is_elsewhere: Final[ContextVar[bool]] = ContextVar("opskit_asker_is_elsewhere", default=False)
"""Whether this is done for somebody at another process: whoever is here is not asked about it."""


def ask(question: str, *, hidden: bool, remedy: str) -> str:
    """Ask, in the calling thread, and wait for the answer.

    Args:
        question: What is shown.
        hidden: Whether the answer is not shown while it is typed.
        remedy: What to set where nobody can answer, for the error.

    Raises:
        PromptRefused: Nobody can answer: papermill, nbconvert, cron, a closed terminal.
    """
    nobody = refused("nobody can answer here", question, remedy)
    if not _somebody_there():
        raise nobody
    try:
        return getpass.getpass(question) if hidden else input(question)
    except EOFError:
        raise nobody from None
    except RuntimeError as error:
        if type(error).__name__ != "StdinNotImplementedError":  # a kernel's word for a front end that takes no input
            raise
        raise nobody from None


def confirmed(question: str, *, remedy: str) -> bool:
    """Ask for a yes; anything else is a no. Raises as `ask`."""
    if (asks := asks_here.get()) is not None:
        return asks(question)
    return ask(f"{question} [y/N]: ", hidden=False, remedy=remedy).strip().lower() in ("y", "yes")


def refused(why: str, question: str, remedy: str) -> PromptRefused:
    """Make the error of a question that was not answered; of one of several lines it has the last."""
    asked = question.strip(" :").rpartition("\n")[2]
    return PromptRefused(f"{why}: {asked}; {remedy}")


def _somebody_there() -> bool:
    if is_elsewhere.get():
        return False
    # A kernel puts its own function in place while a cell runs that may ask.
    if hasattr(getpass.getpass, "__self__"):
        return True
    return (
        "ipykernel.kernelapp" not in sys.modules
        and sys.stdin is not None
        and not sys.stdin.closed
        and sys.stdin.isatty()
    )
