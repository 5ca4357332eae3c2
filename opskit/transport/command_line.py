"""From a step to what is run: words for this machine, one line for a host's login shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opskit.errors import TemplateError
from opskit.transport.wrapper import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opskit.work.plan import Step

LONGEST_WORD: Final = 128 * 1024 - 1
"""Linux takes no longer word on a command line, and what is sent to a host is one word to its login shell."""


def words(step: Step) -> list[str]:
    """The program and its arguments: environment, folder, shell, script.

    A command of several lines stops at its first failing line (`sh -e`); a single line is left as a shell reads it.
    """
    terms, command = step.terms, step.command
    if terms.shell is False:
        return ["/bin/sh", "-c", command]
    # A blank before a dash: shells would read their own options.
    script = f" {command}" if command.startswith(("-", "+")) else command
    found = [terms.shell, *(["-e"] if "\n" in command.strip("\n") else []), "-c", script]
    if terms.env:
        found = ["env", *(f"{name}={value}" for name, value in terms.env), *found]
    if terms.cwd is not None:
        found = ["/bin/sh", "-c", 'cd -- "$1" && shift && exec "$@"', "opskit", terms.cwd, *found]
    return found


def remote_line(step: Step) -> str:
    """What is sent to a host: the words in the wrapper, which any login shell can read; or the bare command."""
    if step.terms.shell is False:
        return step.command
    return wrapped(words(step), reads_nothing=reads_nothing(step))


def reads_nothing(step: Step) -> bool:
    """Whether the line itself closes standard input, which saves sending its end after each command."""
    return step.terms.stdin == b"" and step.terms.shell is not False


def within_limit(step: Step, parts: Iterable[str]) -> None:
    """Raise TemplateError if a word of this step is longer than a host takes."""
    longest = max(len(part.encode("utf-8", "surrogateescape")) for part in parts)
    if longest > LONGEST_WORD:
        raise TemplateError(
            f"the command for {step.host.name} has {longest} bytes as it is sent, quoted and with its environment; "
            f"the limit is {LONGEST_WORD}: give the data by stdin, or put a script on the host and run that"
        )
