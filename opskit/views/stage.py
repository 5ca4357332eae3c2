"""Where the buttons of a run speak, ask and work: in a line, in a question, in threads of their own."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final

from ipywidgets import HTML, Button, HBox, VBox  # type: ignore[import-untyped]  # it has no types

from opskit.asking import asks_here
from opskit.errors import OpskitError
from opskit.rendering.escape import html, one_line, said_by
from opskit.views import markup
from opskit.views.front_end import hear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
        self._asking = threading.Lock()
        self._answer: Future[bool] = Future()
        self._context = copy_context()
        self._context.run(asks_here.set, self._confirmed)

    def button(self, words: str, tooltip: str, pressed: Callable[[], object], look: str = "") -> Any:
        """A button; what it does must be done soon, or in `work`."""
        button = hear(Button(description=words, tooltip=tooltip, button_style=look))

        def heard(_: object) -> None:
            with self.guard:
                self.was_heard = True
                self._told(pressed)

        button.on_click(heard)
        return button

    def say(self, text: str, *, bad: bool = False) -> None:
        """Show one line in place of the last one; empty: none."""
        line = one_line(text, _LONGEST)
        self.show(markup.remark("failed", line) if bad else html(line))

    def show(self, markup: str) -> None:
        """As `say`, of HTML."""
        with self.guard:
            self.note.value = f"<div>{markup}</div>" if markup else ""

    def work(self, action: Callable[[], object]) -> threading.Thread:
        """Do what may take long in a thread of its own, in the context of the cell."""
        context = self._context.copy()
        thread = threading.Thread(target=context.run, args=(self._told, action), name="opskit-button", daemon=True)
        thread.start()
        return thread

    def ask(self, question: str, yes: str) -> bool:
        """Ask something, and wait in a thread of `work` for the answer.

        Args:
            question: As HTML.
            yes: What its button says.
        """
        answer: Future[bool] = Future()
        with self._asking:
            with self.guard:
                self._answer = answer
                answers = HBox([self.button(yes, "", self._agree, "danger"), self.button("No", "", self.refuse)])
                answers.add_class("opskit-buttons")
                self.note.value = ""
                self.dialog.children = (HTML(question), answers)
            agreed = answer.result()
            with self.guard:
                asked, self.dialog.children = self.dialog.children, ()
                close_all(asked)
        return agreed

    def refuse(self) -> None:
        """Answer the question that is being asked, if one is, with a no."""
        if not self._answer.done():
            self._answer.set_result(False)

    def _agree(self) -> None:
        if not self._answer.done():
            self._answer.set_result(True)

    def _confirmed(self, question: str) -> bool:
        """Ask what comes up on the way: whether protected hosts may be touched, or what later work stands on."""
        return self.ask("".join(f"<div>{html(one_line(line, _LONGEST))}</div>" for line in question.split("\n")), "Yes")

    def _told(self, action: Callable[[], object]) -> None:
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
