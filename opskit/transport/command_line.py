"""From a step to what is run: words for this machine, one line for a host's login shell, and what it is fed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from opskit.errors import PlanError, TemplateError
from opskit.secrets import Secret
from opskit.transport.wrapper import line, reading, sent, wrapped
from opskit.work.quoting import SECRET_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opskit.work.plan import Step

LONGEST_WORD: Final = 128 * 1024 - 1
"""Linux takes no longer word on a command line, and what is sent to a host is one word to its login shell."""

LONGEST_TYPED: Final = 4095
"""Linux takes no longer line, with its end, at a terminal that programs read line by line."""


def words(step: Step) -> list[str]:
    """The program and its arguments: environment, folder, shell, script.

    A command of several lines stops at its first failing line (`sh -e`); a single line is left as a shell reads it.
    Secrets are not among them: the script reads those first, on its first line, from standard input. That takes a
    shell which reads as POSIX's does.

    Raises:
        PlanError: A secret is longer than what can be typed at a terminal.
    """
    terms, command = step.terms, step.command
    if terms.shell is False:
        return ["/bin/sh", "-c", command]
    # A blank before a dash: shells would read their own options.
    script = f" {command}" if command.startswith(("-", "+")) else command
    if _has_secrets(step):
        script = _reading(step) + command
    found = [terms.shell, *(["-e"] if "\n" in command.strip("\n") else []), "-c", script]
    if terms.env and (plain := [f"{name}={value}" for name, value in terms.env if isinstance(value, str)]):
        found = ["env", *plain, *found]
    if terms.cwd is not None:
        found = ["/bin/sh", "-c", 'cd -- "$1" && shift && exec "$@"', "opskit", terms.cwd, *found]
    return found


def _has_secrets(step: Step) -> bool:
    return bool(step.secrets) or any(isinstance(value, Secret) for _, value in step.terms.env)


def _reading(step: Step) -> str:
    exported = [name for name, value in step.terms.env if isinstance(value, Secret)]
    if step.terms.pty and any(len(line) > LONGEST_TYPED for line in _ahead(step)):
        raise PlanError(f"a secret of more than {LONGEST_TYPED} bytes can't be typed at a terminal; run it without pty")
    return reading([f"{SECRET_VARIABLE}{number}" for number in range(1, len(step.secrets) + 1)], exported)


def remote_line(step: Step) -> str:
    """What is sent to a host: the words in the wrapper, which any login shell can read; or the bare command."""
    return step.command if step.terms.shell is False else line(local_words(step))


def local_words(step: Step) -> list[str]:
    """What is run on this machine: the words in the wrapper, or the bare command."""
    terms = step.terms
    if terms.shell is False:
        return words(step)
    return wrapped(
        words(step),
        reads_nothing=reads_nothing(step),
        sudo=terms.sudo,
        left=terms.on_disconnect == "leave",
        terminal=terms.pty,
    )


def reads_nothing(step: Step) -> bool:
    """Whether the line itself closes standard input, which saves sending its end after each command."""
    terms = step.terms
    return not terms.stdin and terms.shell is not False and not terms.pty and not _has_secrets(step)


def reads_a_file_alone(step: Step) -> bool:
    """Whether a file is all that goes over standard input."""
    return isinstance(step.terms.stdin, Path) and not _has_secrets(step)


def fed(step: Step) -> tuple[bytes, Path | None]:
    """What is sent over standard input: the values of secrets, and then what the command itself reads.

    Returns bytes, and the file that follows them.
    """
    terms, ahead = step.terms, b"".join(_ahead(step))
    if isinstance(terms.stdin, Path):
        return ahead, terms.stdin
    if isinstance(terms.stdin, Secret):
        return ahead + terms.stdin.reveal().encode("utf-8", "surrogateescape"), None
    return ahead + terms.stdin, None


def _ahead(step: Step) -> list[bytes]:
    """A line for each secret, in the order in which they are read."""
    values = [value for _, value in step.terms.env if isinstance(value, Secret)]
    return [sent(secret.reveal()) for secret in (*values, *step.secrets)]


def within_limit(step: Step, parts: Iterable[str]) -> None:
    """Raise TemplateError if a word of this step is longer than a host takes."""
    longest = max(len(part.encode("utf-8", "surrogateescape")) for part in parts)
    if longest > LONGEST_WORD:
        raise TemplateError(
            f"the command for {step.host.name} has {longest} bytes as it is sent, quoted and with its environment; "
            f"the limit is {LONGEST_WORD}: give the data by stdin, or put a script on the host and run that"
        )
