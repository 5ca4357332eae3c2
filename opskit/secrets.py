"""Secrets: values that reach hosts over the connection alone, and are masked wherever opskit shows something."""

from __future__ import annotations

import os
import threading
from typing import NoReturn

from opskit.asking import ask
from opskit.errors import OpskitError, SettingsError
from opskit.masking import MASK, SHORTEST, conceal


class SecretMisused(OpskitError, TypeError):  # noqa: N818 - says what was done, as the other errors do
    """A secret was compared, pickled, or made a part of some text."""


class Secret:
    """A value that is never shown. In a command write `{{ name }}`; `env`, `stdin` and `answers` take it as it is.

    Attributes:
        source: Where its value comes from, `("env", NAME)` or `("prompt", QUESTION)`; None for one that was given.
    """

    __slots__ = ("_guard", "_value", "source")

    def __init__(self, value: str | None, source: tuple[str, str] | None = None) -> None:
        self._guard = threading.Lock()
        self._value = None if value is None else _checked(value, "this secret")
        self.source = source

    def reveal(self) -> str:
        """The value; a person is asked for it, once, if it is to be prompted for.

        Raises:
            PromptRefused: Nobody can answer.
            SettingsError: The environment has no such variable, or what was found or answered can't be a secret.
        """
        with self._guard:
            if self._value is None:
                assert self.source is not None
                kind, name = self.source
                self._value = _from_environment(name) if kind == "env" else _answered(name)
            return self._value

    def __repr__(self) -> str:
        return "<a secret>" if self.source is None else f"<secret {self.source[1]}>"

    def __str__(self) -> str:
        return MASK

    def __format__(self, specification: str) -> str:
        raise SecretMisused(f"{self!r} can't be put into text; a command takes it as {{{{ name }}}}")

    def __eq__(self, other: object) -> bool:
        raise SecretMisused(f"{self!r} can't be compared")

    __hash__ = object.__hash__

    def __reduce__(self) -> NoReturn:
        raise SecretMisused(f"{self!r} can't be pickled, which would write its value down")


def secret(value: str | None = None, *, env: str | None = None, prompt: str | None = None) -> Secret:
    """Make a secret of a value, of an environment variable, or of what a person answers when it is first needed.

    Raises:
        SettingsError: Not just one of the three was given, the variable is not set, or the value has fewer than 4
            characters: masking it would tear up all text.
    """
    if sum(given is not None for given in (value, env, prompt)) != 1:
        raise SettingsError('secret() takes one of: a value, env="NAME", prompt="what to ask"')
    for given in (value, env, prompt):
        if given is not None and not isinstance(given, str):
            raise SettingsError(f"a secret must be text, not {type(given).__name__}")
    if env is None:
        return Secret(value, None if prompt is None else ("prompt", prompt))
    made = Secret(None, ("env", env))
    made.reveal()
    return made


def _from_environment(name: str) -> str:
    if (found := os.environ.get(name)) is None:
        raise SettingsError(f"secret(env={name!r}): the environment has no variable of this name; set it")
    return _checked(found, f"the environment variable {name}")


def _answered(question: str) -> str:
    remedy = 'use secret(env="NAME") where nobody is there to answer'
    return _checked(ask(f"{question}: ", hidden=True, remedy=remedy), f"the answer to {question!r}")


def _checked(value: str, what: str) -> str:
    if len(value.strip()) < SHORTEST:
        raise SettingsError(f"{what} has fewer than {SHORTEST} characters: it could not be masked in what is shown")
    if "\0" in value:
        raise SettingsError(f"{what} has a NUL in it, which no shell can take")
    try:
        conceal(value)
    except UnicodeEncodeError:
        raise SettingsError(
            f"{what} has bytes in it that are no UTF-8: it could not be masked in what is shown"
        ) from None
    return value
