"""From a step to the one line that a shell is given: environment, folder, script."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opskit.work.plan import Step


def command_line(step: Step) -> str:
    """What is sent for a step. Any login shell can read it: a plain command with quoted words.

    A command of several lines stops at its first failing line (`sh -e`); a single line is left as a shell reads it.
    """
    terms = step.terms
    if terms.shell is False:
        return step.command
    words = [terms.shell, *(["-e"] if "\n" in step.command.strip("\n") else []), "-c", step.command]
    if terms.env:
        words = ["env", *(f"{name}={value}" for name, value in terms.env), *words]
    if terms.cwd is not None:
        words = ["/bin/sh", "-c", 'cd -- "$0" && exec "$@"', terms.cwd, *words]
    return "exec " + shlex.join(words) + (" </dev/null" if reads_nothing(step) else "")


def reads_nothing(step: Step) -> bool:
    """Whether the line itself closes standard input, which saves sending its end after each command."""
    return step.terms.stdin == b"" and step.terms.shell is not False
