"""Questions that come up on the engine's loop, and are asked in the thread that waits for the run."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from opskit.asking import ask, refused
from opskit.errors import PromptRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Questions:
    """What a person is asked while a run goes on: it comes up on the engine's loop, and is asked where is waited.

    Args:
        expected: Whether somebody is about to wait: what comes up before is kept for them.
    """

    def __init__(self, *, expected: bool = False) -> None:
        self._expected = expected
        self._asked: queue.SimpleQueue[tuple[str, str, Future[str]]] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._listeners = 0

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Somebody waits, and calls `answer` now and then. What is not answered in the end is refused."""
        with self._guard:
            self._expected = False
            self._listeners += 1
        try:
            yield
        finally:
            with self._guard:
                self._listeners -= 1
                if not self._listeners:
                    self._each(lambda question, remedy, answer: answer.set_exception(_unheard(question, remedy)))

    async def ask(self, question: str, remedy: str) -> str:
        """Wait on the engine's loop for an answer; raises PromptRefused where nobody waits for the run."""
        answer: Future[str] = Future()
        with self._guard:
            if not self._listeners and not self._expected:
                raise _unheard(question, remedy)
            self._asked.put((question, remedy, answer))
        return await asyncio.wrap_future(answer)

    @property
    def are_waiting(self) -> bool:
        """Whether something has come up that nobody was asked yet."""
        return not self._asked.empty()

    def answer(self) -> None:
        """Ask what has come up, in the calling thread."""
        self._each(_answer)

    def _each(self, settle: Callable[[str, str, Future[str]], object]) -> None:
        """Settle every question that still wants an answer; others may do so at the same time."""
        with contextlib.suppress(queue.Empty):
            while True:
                question, remedy, answer = self._asked.get_nowait()
                if answer.set_running_or_notify_cancel():
                    settle(question, remedy, answer)


def _answer(question: str, remedy: str, answer: Future[str]) -> None:
    try:
        answer.set_result(ask(question, hidden=True, remedy=remedy))
    except PromptRefused as error:
        answer.set_exception(error)
    except BaseException:
        answer.set_exception(refused("not answered", question, remedy))
        raise


def _unheard(question: str, remedy: str) -> PromptRefused:
    return refused("nobody waits for this run who could answer", question, remedy)
