"""The Retry failed button: runs what did not end well once more, in a view within the view."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ipywidgets import HTML, VBox  # type: ignore[import-untyped]  # it has no types

from opskit.errors import Cancelled, CommandError
from opskit.results.html import as_html
from opskit.results.result import RETRIED
from opskit.views import markup, standing_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from opskit.results import Results
    from opskit.views.stage import Stage


class Retry:
    """The button, and what it began.

    Args:
        retry: What runs rows again.
        stage: Where it speaks.
        settled: Called when there are new rows.

    Attributes:
        button: What begins it.
        below: Where the retried runs are shown.
        results: The newest rows of all; None before the end.
        verdicts: A line for each retry, as HTML.
    """

    def __init__(self, retry: Callable[[Results], Results], stage: Stage, settled: Callable[[], object]) -> None:
        self._retry = retry
        self._stage = stage
        self._settled = settled
        self.button = stage.action("Retry failed", "Run what did not end well once more", self._press)
        self.below = VBox()
        self.results: Results | None = None
        self.verdicts = ""
        self._last: Results | None = None

    def end(self, results: Results) -> None:
        """Take the rows of a run that has ended."""
        self.results = self._last = results

    @property
    def is_possible(self) -> bool:
        """Whether something went wrong that can be run again."""
        rows = self._last
        return rows is not None and rows.again is not None and bool(rows.where(*RETRIED))

    def _press(self) -> None:
        assert self._last is not None
        standing_in.set(self.below)
        self._stage.say("Retrying …")
        said = ""
        try:
            rows = self._retry(self._last)
        except (CommandError, Cancelled) as error:
            rows, said = error.results, str(error).partition("\n")[0]
        self._stage.say(said, bad=bool(said))
        if rows.again is not None:  # else nothing was run: somebody said no
            self._take(rows)

    def _take(self, rows: Results) -> None:
        """Let them stand for those that were retried."""
        assert self.results is not None
        newest = {(row.host, row.branch): row for row in rows}
        taken = (newest.get((row.host, row.branch), row) if row.status in RETRIED else row for row in self.results)
        with self._stage.guard:
            self.results, self._last = replace(self.results, rows=tuple(taken)), rows
            self.verdicts += markup.retried(rows)
            self.below.children = (*self.below.children, HTML(as_html(rows)))
        self._settled()
