"""Where the buttons of a run speak, ask and work: in a line, in a question, in threads of their own."""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ipywidgets import HTML, Button, HBox, VBox  # type: ignore[import-untyped]  # it has no types

from opskit.asking import asks_here
from opskit.errors import OpskitError
from opskit.rendering.escape import html, one_line, said_by
from opskit.views import markup
from opskit.views.front_end import hear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

LOOK_SECONDS: Final = 0.2
"""Between two looks whether a question is still the right one."""

_PAST: Final = "opskit-past"
_LONGEST: Final = 500


class Stage:
    """What the buttons of one view share. Whoever makes it gives its context to what they do.

    Attributes:
        guard: Held by whoever changes widgets: clicks come in threads of the kernel's, and a painter paints meanwhile.
        note: The line for what is said.
        dialog: The question that is being asked; empty if none is.
        was_heard: Whether a click has come.
    """

    def __init__(self) -> None:
        self.guard = threading.RLock()
        self.note, self.dialog = HTML(), VBox()
        self.dialog.add_class("opskit-dialog")
        self.was_heard = False
        self._actions: list[Any] = []
        self._asking = threading.Lock()
        self._answer: Future[bool | None] = Future()
        self._is_closed = False
        self._context = copy_context()
        self._context.run(asks_here.set, self._confirmed)

    def button(self, words: str, tooltip: str, pressed: Callable[[], object], look: str = "") -> Any:
        """A button; what it does must be done soon, or in `begin`."""
        button = hear(Button(description=words, tooltip=tooltip, button_style=look))

        def heard(_: object) -> None:
            with self.guard:
                self.was_heard = True
                # A second click, or one that was on its way: the page learns late that a button is none any more.
                if not button.disabled and _PAST not in button._dom_classes:  # noqa: SLF001 - there is no public way
                    self._guarded(pressed)

        button.on_click(heard)
        return button

    def action(self, words: str, tooltip: str, work: Callable[[], object]) -> Any:
        """A button of what may take long: until it has ended, none of these can be pressed."""

        def press() -> None:
            self._enable(is_free=False)
            self.begin(lambda: self._guarded(work)).add_done_callback(lambda _: self._enable(is_free=True))

        button = self.button(words, tooltip, press)
        self._actions.append(button)
        return button

    def offer(self, button: Any, *, is_possible: bool) -> None:
        """Show a button, or not; it stays where it is, so that the keyboard's focus has a place meanwhile."""
        with self.guard:
            (button.remove_class if is_possible else button.add_class)(_PAST)

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show one line in place of the last one; empty: none."""
        line = one_line(text, _LONGEST)
        self.show(markup.remark("failed", line) if bad else html(line))

    def show(self, content: str) -> None:
        """As `say`, of HTML."""
        with self.guard:
            self.note.value = f'<div role="status">{content}</div>' if content else ""

    def begin(self, action: Callable[[], T]) -> Future[T]:
        """Do what may take long in a thread of its own, in the context of the cell."""
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(action())
            except BaseException as error:  # noqa: BLE001 - it is for who asks for the answer
                answer.set_exception(error)

        threading.Thread(target=self._context.copy().run, args=(work,), name="opskit-button", daemon=True).start()
        return answer

    def work(self, action: Callable[[], object]) -> None:
        """As `begin`, and say what goes wrong."""
        self.begin(lambda: self._guarded(action))

    def ask(self, question: str, yes: str, is_stale: Callable[[], bool] = lambda: False) -> bool | None:
        """Ask something, and wait in a thread of `begin` for the answer.

        Args:
            question: As HTML.
            yes: What its button says.
            is_stale: Whether it is not the right question any more: it is withdrawn then, and the answer is None.
        """
        answer: Future[bool | None] = Future()
        with self._asking:
            with self.guard:
                if self._is_closed:
                    return False
                self._answer = answer
                agree = self.button(yes, "", lambda: self.answer(agreed=True), "danger")
                answers = HBox([agree, self.button("No", "", lambda: self.answer(agreed=False))])
                answers.add_class("opskit-buttons")
                self.note.value = ""
                self.dialog.children = (
                    HTML(f'<div role="alertdialog" aria-label="Question">{question}</div>'),
                    answers,
                )
            while not wait([answer], LOOK_SECONDS).done:
                if is_stale():
                    self.answer(agreed=None)
            with self.guard:
                asked, self.dialog.children = self.dialog.children, ()
                close_all(asked)
        return answer.result()

    def answer(self, *, agreed: bool | None) -> None:
        """Answer the question that is being asked, if one is."""
        with self.guard:
            if not self._answer.done():
                self._answer.set_result(agreed)

    def close(self) -> None:
        """Ask nothing any more."""
        with self.guard:
            self._is_closed = True
            self.answer(agreed=False)

    def _enable(self, *, is_free: bool) -> None:
        with self.guard:
            for button in self._actions:
                button.disabled = not is_free

    def _confirmed(self, question: str) -> bool:
        """Ask what comes up on the way, such as whether protected hosts may be touched."""
        lines = "".join(f"<div>{html(one_line(line, _LONGEST))}</div>" for line in question.split("\n"))
        return bool(self.ask(lines, "Yes"))

    def _guarded(self, action: Callable[[], object]) -> None:
        """Do something, and say what went wrong."""
        try:
            action()
        except OpskitError as error:
            self.say(str(error), bad=True)
        except BaseException as error:  # noqa: BLE001 - whatever a user's undo function, or a widget, can do
            self.say(said_by(error), bad=True)


def close_all(widgets: Iterable[Any]) -> None:
    """Close widgets, what is in them and what they look like: ipywidgets keeps every one until then."""
    for widget in widgets:
        close_all(getattr(widget, "children", ()))
        close_all(filter(None, (widget.layout, getattr(widget, "style", None))) if hasattr(widget, "layout") else ())
        widget.close()
