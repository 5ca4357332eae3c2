"""From a step to the line that a shell is given: environment, folder, script."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from opskit.transport.wrapper import wrapped

if TYPE_CHECKING:
    from opskit.work.plan import Step


def command_line(step: Step) -> str:
    """What a POSIX shell is given for a step: one command with quoted words, that `exec` can take.

    A command of several lines stops at its first failing line (`sh -e`); a single line is left as a shell reads it.
    """
    terms = step.terms
    assert terms.shell is not False
    words = [terms.shell, *(["-e"] if "\n" in step.command.strip("\n") else []), "-c", step.command]
    if terms.env:
        words = ["env", *(f"{name}={value}" for name, value in terms.env), *words]
    if terms.cwd is not None:
        words = ["/bin/sh", "-c", 'cd -- "$0" && exec "$@"', terms.cwd, *words]
    return shlex.join(words) + (" </dev/null" if reads_nothing(step) else "")


def reads_nothing(step: Step) -> bool:
    """Whether the line itself closes standard input, which saves sending its end after each command."""
    return step.terms.stdin == b"" and step.terms.shell is not False


def local_line(step: Step) -> str:
    """What this machine's own /bin/sh is given for a step."""
    return step.command if step.terms.shell is False else f"exec {command_line(step)}"


def remote_line(step: Step) -> str:
    """What is sent to a host for a step: its line in the wrapper, which any login shell can read; or the bare command."""
    return step.command if step.terms.shell is False else wrapped(command_line(step))
