"""A run in a notebook: widgets while its kernel lives, and before them a display of plain HTML that stays for ever."""

from __future__ import annotations

import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from opskit.rendering.escape import html
from opskit.views import facts, markup, place
from opskit.views.front_end import why_no_buttons
from opskit.views.style import BESIDE_WIDGETS, what_undoes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.progress import WorkProgress
    from opskit.showing import Outlook, Shown
    from opskit.views.panel import Panel

MOST_KEPT: Final = 20
"""So many views of what has ended keep their widgets."""

GENTLY_SECONDS: Final = 0.5
"""Between two pictures where no widgets are."""

_kept: Final[deque[Panel]] = deque()
_keeping: Final = threading.Lock()


class NotebookView:
    """Paints below the cell that runs, or where `place` says."""

    stays = True

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._began = monotonic()
        self._within = place.get()
        self._panel: Panel | None = None
        self._static: Any = None
        self._is_open = False
        self._guard = threading.Lock()
        self._why_not: str | None = None
        self._due = 0.0
        self._seconds = 0.0
        self._outlook: Outlook | None = None
        self._works_ended = -1

    def paint(self) -> bool:
        """Show how far it is."""
        if not self._is_open:
            self._open()
        works = self._looked()
        if self._panel is not None:
            return self._panel.paint(self._seconds, works, self._outlook)
        if (now := monotonic()) >= self._due:
            self._due = now + GENTLY_SECONDS
            self._show_facts(works)
        return True

    def close(self) -> None:
        """Show how it ended, in a display that needs no kernel; the widgets keep what can still be done."""
        works = self._looked()
        if self._shown.is_transaction:
            self._outlook = self._shown.outlook()
        if self._panel is not None:
            self._panel.end(self._seconds, works, self._outlook)
            _keep(self._panel)
        self._show_facts(works)

    def _open(self) -> None:
        """Make both displays, the static one first; it stays empty for as long as the widgets show the same."""
        self._is_open = True
        if self._within is None:
            from IPython.display import display

            self._why_not = why_no_buttons()
            self._static = display(self._bundle("", ""), raw=True, display_id=True)
        if self._why_not is not None:
            return
        from opskit.views.panel import Panel

        self._panel = Panel(self._shown, self._settled, is_within=self._within is not None)
        if self._within is not None:
            self._within.children = (*self._within.children, self._panel.box)
        else:
            model = {"version_major": 2, "version_minor": 0, "model_id": self._panel.box.model_id}
            lost = markup.framed(f'<div style="opacity:.75">{self._lost}</div>')
            view = {"application/vnd.jupyter.widget-view+json": model, "text/html": lost, "text/plain": ""}
            display(view, raw=True)

    def _looked(self) -> Sequence[WorkProgress]:
        """Take a look at what is shown. The journal is asked only when another part of a transaction has ended."""
        if not self._shown.progress.over:
            self._seconds = monotonic() - self._began
        works = self._shown.works()
        if self._shown.is_transaction:
            ended = sum(work.status != "running" for work in works)
            if ended != self._works_ended:
                self._works_ended, self._outlook = ended, self._shown.outlook()
        return works

    def _settled(self) -> None:
        """A rollback has ended after the run."""
        if self._shown.is_transaction:
            self._outlook = self._shown.outlook()
        self._show_facts(self._looked())

    def _show_facts(self, works: Sequence[WorkProgress]) -> None:
        if self._static is None:
            return
        with self._guard:  # the end, and a rollback that has ended just then
            told = facts.as_html(self._shown, self._seconds, works, self._outlook)
            if self._panel is not None and self._panel.rollback.told:
                told += markup.framed(self._panel.rollback.told)
            if self._why_not is not None:
                told += markup.framed(f'<div style="opacity:.75">{html(self._why_not)} {self._how}</div>')
            text = facts.as_text(self._shown, self._seconds, works, self._outlook)
            self._static.update(self._bundle(told, text), raw=True)

    def _bundle(self, told: str, text: str) -> dict[str, str]:
        """What the static display holds; where widgets follow it, also what is to be seen once they are lost."""
        if self._why_not is None:
            told += f'<div class="opskit-lost" style="display:none">{self._lost}</div>{BESIDE_WIDGETS}'
        name = "opskit-static" if text else "opskit-static opskit-empty"
        return {"text/html": f'<div class="{name}">{told}</div>', "text/plain": text}

    @property
    def _how(self) -> str:
        """What undoes it without buttons; nothing if that is done, or if it is undone with others."""
        is_done = facts.is_undone(self._outlook) or (self._panel is not None and self._panel.rollback.is_done)
        return "" if is_done or self._shown.rollback is None else what_undoes(self._shown.transaction)

    @property
    def _lost(self) -> str:
        return f"The buttons of this run went with its kernel. {self._how}"


def _keep(panel: Panel) -> None:
    """Let the newest views keep their widgets: ipywidgets forgets none by itself."""
    with _keeping:
        _kept.append(panel)
        old = _kept.popleft() if len(_kept) > MOST_KEPT else None
    if old is not None:
        old.forget()
