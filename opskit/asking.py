"""Questions to the person who runs this: in a notebook's front end or a terminal, and nowhere else."""

from __future__ import annotations

import getpass
import sys

from opskit.errors import PromptRefused


def ask(question: str, *, hidden: bool, remedy: str) -> str:
    """Ask, in the calling thread, and wait for the answer.

    Args:
        question: What is shown.
        hidden: Whether the answer is not shown while it is typed.
        remedy: What to set where nobody can answer, for the error.

    Raises:
        PromptRefused: Nobody can answer: papermill, nbconvert, cron, a closed terminal.
    """
    if not _somebody_there():
        raise _refused(question, remedy)
    try:
        return getpass.getpass(question) if hidden else input(question)
    except EOFError:
        raise _refused(question, remedy) from None
    except RuntimeError as error:
        if type(error).__name__ != "StdinNotImplementedError":  # a kernel's word for a front end that takes no input
            raise
        raise _refused(question, remedy) from None


def confirmed(question: str, *, remedy: str) -> bool:
    """Ask for a yes; anything else is a no. Raises as `ask`."""
    return ask(f"{question} [y/N]: ", hidden=False, remedy=remedy).strip().lower() in ("y", "yes")


def _somebody_there() -> bool:
    # A kernel puts its own function in place while a cell runs that may ask.
    if hasattr(getpass.getpass, "__self__"):
        return True
    return (
        "ipykernel.kernelapp" not in sys.modules
        and sys.stdin is not None
        and not sys.stdin.closed
        and sys.stdin.isatty()
    )


def _refused(question: str, remedy: str) -> PromptRefused:
    asked = question.rstrip(" :").rpartition("\n")[2]
    return PromptRefused(f"nobody can answer here: {asked}; {remedy}")
