"""A run in a notebook: widgets while its kernel lives, and before them a display of plain HTML that stays for ever."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from opskit.errors import OpskitError
from opskit.views import account, markup, standing_in
from opskit.views.front_end import why_no_buttons
from opskit.views.style import BESIDE_WIDGETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.progress import WorkProgress
    from opskit.showing import Outlook, Shown
    from opskit.views.panel import Panel

MOST_KEPT: Final = 20
"""So many views of what has ended keep their widgets."""

GENTLY_SECONDS, SELDOM_SECONDS = 0.5, 5.0
"""Between two pictures of the static display: where no widgets are, and where they show the same."""

TOO_OLD: Final = f"This view is too old for buttons: the newest {MOST_KEPT} keep theirs."
LOST: Final = f"The buttons of this run are gone: with its kernel, or because {MOST_KEPT} newer views have theirs."
NOT_HERE: Final = "No buttons here: interrupt the kernel to cancel."

_kept: Final[deque[NotebookView]] = deque()
_keeping: Final = threading.Lock()
_opening: Final = threading.Lock()
"""Held while both displays of a view are made: of two views in one cell neither comes between those of the other."""


class NotebookView:
    """Paints below the cell that runs, or in the widget that `standing_in` names."""

    stays = True

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._began = monotonic() - shown.seconds_before
        self._within = standing_in.get()
        self._panel: Panel | None = None
        self._static: Any = None
        self._is_open = False
        self._guard = threading.Lock()
        self._why_not: str | None = None
        self._said = ""
        self._told: object = None
        self._due = 0.0
        self._seconds = 0.0
        self._outlook: Outlook | None = None
        self._works_ended = -1

    def paint(self) -> bool:
        """Show how far it is."""
        works = self._looked()
        if not self._is_open:
            self._open(works)
        if self._panel is None:
            self._show_account(works, GENTLY_SECONDS)
            return True
        self._show_account(works, SELDOM_SECONDS)
        return self._panel.paint(self._seconds, works, self._outlook)

    def close(self) -> None:
        """Show how it ended, in a display that needs no kernel; the widgets keep what can still be done."""
        works = self._looked(anew=True)
        if self._panel is not None:
            self._panel.end(self._seconds, works, self._outlook)
            _keep(self)
        self._show_account(works)

    def forget(self) -> None:
        """Close the widgets, and say so; what they can do goes with them."""
        panel, self._panel, self._why_not = self._panel, None, TOO_OLD
        if panel is not None:
            panel.forget()
            self._show_account(self._looked())

    def _open(self, works: Sequence[WorkProgress]) -> None:
        """Make both displays, the static one first."""
        self._is_open = True
        if self._within is None:
            self._why_not = why_no_buttons()
        if self._why_not is None:
            from opskit.views.panel import Panel

            self._panel = Panel(self._shown, self._settled, is_within=self._within is not None)
            self._panel.paint(self._seconds, works, self._outlook)
        if self._within is not None and self._panel is not None:
            self._within.children = (*self._within.children, self._panel.box)
            return
        from IPython.display import display

        with _opening:
            self._static = display(self._bundle(works), raw=True, display_id=True)
            if self._panel is not None:
                model = {"version_major": 2, "version_minor": 0, "model_id": self._panel.box.model_id}
                how = account.what_undoes(self._shown, self._outlook)
                said = (how if self._shown.cancel is None else f"{NOT_HERE} {how}").strip()
                view = {"application/vnd.jupyter.widget-view+json": model, "text/html": _aside(said)}
                display(view | {"text/plain": said}, raw=True)

    def _looked(self, *, anew: bool = False) -> Sequence[WorkProgress]:
        """Take a look at what is shown. The journal is asked at the end, and when more of a transaction has ended."""
        shown = self._shown
        shown.look()
        if not shown.progress.over:
            self._seconds = monotonic() - self._began
        works = shown.works()
        ended = sum(work.status != "running" for work in works)
        if ended != self._works_ended:
            self._works_ended, self._due = ended, 0.0
            anew = anew or shown.is_transaction
        if anew and shown.progress.undoable != 0:
            with suppress(OpskitError):  # what was known before is better than no view
                self._outlook = shown.outlook()
        return works

    def _settled(self) -> None:
        """A rollback or a retry has ended."""
        works, panel = self._looked(anew=True), self._panel
        if panel is not None:
            panel.know(self._outlook)
            self._said = panel.said
        self._show_account(works)

    def _show_account(self, works: Sequence[WorkProgress], seconds: float = 0.0) -> None:
        """Show it in the static display, so many seconds after the last time at the earliest."""
        if self._static is None:
            return
        with self._guard:  # the end, and a rollback that has ended just then
            ticks = int(self._seconds) if self._panel is None else None
            told = (self._shown.progress.changes, [work.status for work in works], self._outlook, ticks)
            if seconds and (told == self._told or monotonic() < self._due):
                return
            self._told, self._due = told, monotonic() + seconds
            self._static.update(self._bundle(works), raw=True)

    def _bundle(self, works: Sequence[WorkProgress]) -> dict[str, str]:
        """What the static display holds; where widgets follow it, also what is to be seen once they are lost."""
        given = (self._shown, self._seconds, works, self._outlook)
        told = account.as_html(*given) + (markup.framed(self._said) if self._said else "")
        how = account.what_undoes(self._shown, self._outlook)
        is_live = self._panel is not None and not self._panel.is_over
        if is_live:
            told += markup.framed(markup.quiet(f"as of {datetime.now().astimezone():%H:%M:%S}; it had not ended"))
        if self._why_not is not None:
            told += _aside(f"{self._why_not} {how}")
        elif self._panel is not None:
            told += f'<div class="opskit-lost" style="display:none">{_aside(f"{LOST} {how}")}</div>'
        name = "opskit-static opskit-live" if is_live else "opskit-static"
        styles = BESIDE_WIDGETS if self._panel is not None or self._why_not is TOO_OLD else ""
        return {"text/html": f'<div class="{name}">{told}{styles}</div>', "text/plain": account.as_text(*given)}


def _aside(text: str) -> str:
    """A sentence about the view."""
    return markup.framed(f'<div style="opacity:.75">{markup.coded(text.strip())}</div>')


def _keep(view: NotebookView) -> None:
    """Let the newest views keep their widgets: ipywidgets forgets none by itself."""
    with _keeping:
        _kept.append(view)
        old = _kept.popleft() if len(_kept) > MOST_KEPT else None
    if old is not None:
        old.forget()
