"""Passwords that a host asks for: where they come from, and that a wrong one is tried once for the fleet.

The object `Passwords` lives as long as the process, beside the connections; each run has `Trials` of its own. What is
asked for may be of any length; with fewer than four characters it works too, but can't be masked in what is shown.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Literal

from opskit.asking import refused
from opskit.errors import PromptRefused, SettingsError
from opskit.masking import SHORTEST, conceal
from opskit.rendering.escape import one_line, terminal
from opskit.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from opskit.engine.ports import Ask
    from opskit.fleet import Host
    from opskit.settings import Settings

Kind = Literal["sudo", "login", "passphrase"]

LONGEST_QUESTION = 200
"""Characters: a part of it may come from a host."""


class NoPassword(Exception):  # noqa: N818 - told between the transports and this, never to a user
    """There is no password to give, or none that is right; says why, and what to set."""


async def nobody_answers(question: str, remedy: str) -> str:
    """An `Ask` for where nobody can be asked."""
    raise refused("nobody can answer here", question, remedy)


class Passwords:
    """The passwords that people were asked for and that no host refused, for the life of the process."""

    def __init__(self) -> None:
        self._known: dict[Hashable, str] = {}

    def of_run(self, settings: Settings, ask: Ask = nobody_answers) -> Trials:
        """What one run tries."""
        return Trials(self._known, settings, ask)


class Trials:
    """The passwords of one run, each tried on one host first. Made by `Passwords.of_run`."""

    def __init__(self, known: dict[Hashable, str], settings: Settings, ask: Ask) -> None:
        self._known = known
        self._configured = dict(settings.secrets)
        self._ask = ask
        self._trials: dict[Hashable, _Trial] = {}

    def set_for(self, kind: Kind, host: Host) -> bool:
        """Whether a password was set: the host's own var, or the settings'."""
        return self._source(kind, host) is not None

    def proven(self, kind: Kind, host: Host, whose: str, *, of_this_alone: bool = False) -> bool:
        """Whether the password that `trying` gives was accepted somewhere in this run."""
        trial = self._trials.get(self._key(kind, host, whose, of_this_alone=of_this_alone))
        return trial is not None and trial.proven

    @asynccontextmanager
    async def trying(
        self, kind: Kind, host: Host, whose: str = "", *, of_this_alone: bool = False
    ) -> AsyncIterator[Attempt]:
        """Give the password for a host: its own var, the settings', or what a person answers.

        Who is the first to try a password does so alone: the others wait until it was accepted or refused. Where the
        block ends without a verdict, the next one tries.

        Args:
            kind: What the password is for: the name of the host's var and of the entry in `settings.secrets`.
            host: Who asks for it.
            whose: The user whose password it is, or the key's path; by default the host's user.
            of_this_alone: Whether what is right here says nothing of other hosts, as with a bastion.

        Raises:
            NoPassword: It was refused elsewhere, nobody could be asked, or what was set is no password.
        """
        key = self._key(kind, host, whose, of_this_alone=of_this_alone)
        trial = self._trials.setdefault(key, _Trial(_what(kind, whose or host.user), of_this_alone=of_this_alone))
        async with AsyncExitStack() as others_wait:
            if not trial.proven:
                await others_wait.enter_async_context(trial.alone)
            if trial.proven:
                await others_wait.aclose()
            if host.name in trial.refusals:
                raise NoPassword(f"{trial.refusals[host.name]}; {_remedy(kind)}")
            if trial.failure is not None:
                raise NoPassword(f"{trial.failure}, so it was not tried on {host.name}; {_remedy(kind)}")
            if trial.text is None:
                trial.text = await self._text(kind, host, key, trial)
            yield Attempt(trial.text, kind, host, key, trial, self._known)

    def _source(self, kind: Kind, host: Host) -> object:
        return host.vars.get(kind, self._configured.get(kind))

    def _key(self, kind: Kind, host: Host, whose: str, *, of_this_alone: bool) -> Hashable:
        """What is tried together: one password of one user, on all hosts or on this one."""
        source = self._source(kind, host)
        # Secrets are told apart by identity; what a var holds need not be hashable.
        told_apart = source if isinstance(source, Secret) else repr(source)
        return kind, whose or host.user, (host.name, host.port) if of_this_alone else None, told_apart

    async def _text(self, kind: Kind, host: Host, key: Hashable, trial: _Trial) -> str:
        source = self._source(kind, host)
        try:
            text, question = _given(source), None
        except SettingsError as error:
            raise NoPassword(f"{error}; {_remedy(kind)}") from error
        if isinstance(source, Secret) and source.source is not None and source.source[0] == "prompt":
            question = f"{source.source[1]}: "
        elif source is None:
            asker = f"the bastion {host.name} asks" if trial.of_this_alone else f"{host.name} and others ask"
            whole = trial.what if kind == "passphrase" else f"{trial.what} ({asker} for it)"
            question = f"{one_line(terminal(whole), LONGEST_QUESTION)}: "
        if question is not None:
            text = self._known.get(key)
            if text is None:
                try:
                    text = await self._ask(question, _remedy(kind))
                except PromptRefused as error:
                    trial.failure = f"{host.name} asks for the {trial.what}, and nobody gave one"
                    raise NoPassword(str(error)) from error
            self._known[key] = text
        if text is None or not _is_a_line(text):
            raise NoPassword(f"what is set as {trial.what} for {host.name} is not one line of text; {_remedy(kind)}")
        if len(text) >= SHORTEST:
            conceal(text)
        return text


class Attempt:
    """One host's try.

    Attributes:
        text: The password.
    """

    __slots__ = ("_host", "_key", "_kind", "_known", "_trial", "text")

    def __init__(
        self, text: str, kind: Kind, host: Host, key: Hashable, trial: _Trial, known: dict[Hashable, str]
    ) -> None:
        self.text = text
        self._kind = kind
        self._host = host
        self._key = key
        self._trial = trial
        self._known = known

    def accepted(self) -> None:
        """The password is right: all others go on."""
        self._trial.proven = True

    def refused(self, why: str) -> NoPassword:
        """The password is wrong here; this host is not given it again, and no other unless it was right elsewhere.

        Gives the error to raise; `why` begins it, such as `sudo on web1 refused the password of deploy`.
        """
        self._trial.refusals[self._host.name] = why
        if not self._trial.proven:
            self._trial.failure = why
            self._known.pop(self._key, None)  # the next run asks again
        return NoPassword(f"{why}; {_remedy(self._kind)}")


class _Trial:
    """What became of one password in one run, and how it is asked for."""

    __slots__ = ("alone", "failure", "of_this_alone", "proven", "refusals", "text", "what")

    def __init__(self, what: str, *, of_this_alone: bool) -> None:
        self.what = what
        self.of_this_alone = of_this_alone
        self.refusals: dict[str, str] = {}
        self.alone = asyncio.Lock()
        self.proven = False
        self.failure: str | None = None
        self.text: str | None = None


def _given(source: object) -> str | None:
    """The text of what was set, without the line end that files and variables often have."""
    if isinstance(source, Secret):
        prompted = source.source is not None and source.source[0] == "prompt"
        return None if prompted else source.reveal().rstrip("\r\n")
    if isinstance(source, int) and not isinstance(source, bool):  # YAML reads 1234 as a number
        return str(source)
    return source.rstrip("\r\n") if isinstance(source, str) else None


def _is_a_line(text: str) -> bool:
    """Whether it can be typed: a second line would reach the command. Bytes that are no UTF-8 could not be masked."""
    return not {"\n", "\r", "\0"} & set(text) and text == text.encode("utf-8", "ignore").decode()


def _what(kind: Kind, whose: str | None) -> str:
    word = {"sudo": "sudo password", "login": "password", "passphrase": "passphrase"}[kind]
    return f"{word} of {whose}" if whose else word


def _remedy(kind: Kind) -> str:
    variable, other = f"{kind.upper()}_PASSWORD", ""
    if kind == "passphrase":
        variable, other = "KEY_PASSPHRASE", ", or add the key to the agent with ssh-add"
    return (
        f'set opskit.configure(secrets={{"{kind}": opskit.secret(env="{variable}")}}), or the host\'s var {kind}{other}'
    )
