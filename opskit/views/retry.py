"""The Retry failed button: runs what did not end well once more, in a view within the view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ipywidgets import HTML, VBox  # type: ignore[import-untyped]  # it has no types

from opskit.errors import Cancelled, CommandError
from opskit.results.html import as_html
from opskit.results.result import RETRIED
from opskit.views import place

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.results import Results
    from opskit.views.stage import Stage


class Retry:
    """The button, and what it began.

    Args:
        stage: Where it speaks.
        changed: Called when the button appears or goes.

    Attributes:
        button: It is there where there is something to retry.
        below: Where the retried runs are shown.
        results: The rows of the last run; None before its end.
    """

    def __init__(self, stage: Stage, changed: Callable[[], object]) -> None:
        self._stage = stage
        self._changed = changed
        self.button = stage.button("Retry failed", "Run what did not end well once more", self._press)
        self.below = VBox()
        self.results: Results | None = None

    @property
    def is_possible(self) -> bool:
        """Whether something went wrong that can be run again."""
        rows = self.results
        return rows is not None and rows.again is not None and bool(rows.where(*RETRIED))

    def _press(self) -> None:
        self.button.disabled = True
        self._stage.say("Retrying …")
        self._stage.work(self._retry)

    def _retry(self) -> None:
        assert self.results is not None
        place.set(self.below)
        try:
            rows = self.results.retry_failed()
            self._stage.say("")
        except (CommandError, Cancelled) as error:
            rows = error.results
            self._stage.say(str(error).partition("\n")[0], bad=True)
        finally:
            self.button.disabled = False
        with self._stage.guard:
            self.results = rows
            self.below.children = (*self.below.children, HTML(as_html(rows)))
        self._changed()
