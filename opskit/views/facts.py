"""What is told of a run, of tasks or of a transaction, in HTML and in text: above the widgets, and in their stead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opskit.rendering.escape import one_line
from opskit.rendering.palette import LOOKS
from opskit.results import WORST_FIRST
from opskit.views import markup
from opskit.views.now import shown_chunks, told_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.progress import WorkProgress
    from opskit.showing import Outlook, Shown


def is_undone(outlook: Outlook | None) -> bool:
    """Whether nothing is left to undo, for good."""
    return outlook is not None and bool(outlook.ended)


def as_html(
    shown: Shown,
    seconds: float,
    works: Sequence[WorkProgress],
    outlook: Outlook | None,
    *,
    name: str = "opskit-progress",
) -> str:
    """Heading, bars and works.

    Args:
        shown: What it is told of.
        seconds: Since it began.
        works: Its tasks, or what was done in it.
        outlook: What a rollback would do, where that is known.
        name: The class of the outermost element.
    """
    progress = shown.progress
    if shown.is_transaction:
        head = markup.heading(None, progress.title, *_transaction(shown, outlook))
    else:
        told = (told_time(progress, seconds), *([shown.transaction] if progress.over else []))
        head = markup.heading(
            progress.status, progress.title, *told, is_command=progress.name is None and bool(progress.cells)
        )
    return markup.framed(head, markup.bars(progress), markup.works(works), name=name)


def as_text(shown: Shown, seconds: float, works: Sequence[WorkProgress], outlook: Outlook | None) -> str:
    """The same in some lines of text, for where no HTML is shown."""
    progress = shown.progress
    look = LOOKS[progress.status]
    said = _transaction(shown, outlook) if shown.is_transaction else (f"{look.symbol} {look.word}",)
    time = () if shown.is_transaction else (told_time(progress, seconds),)
    lines = ["  ".join((one_line(progress.title, markup.TITLE), *said, *time))]
    for number, chunk in shown_chunks(progress):
        counts = (
            f"{LOOKS[status].symbol} {chunk.ended[status]:,} {LOOKS[status].word}"
            for status in WORST_FIRST
            if chunk.ended[status]
        )
        lines.append("  ".join((f"chunk {number}/{len(progress.chunks)}", *counts)))
    for work in works[-markup.WORKS :]:
        look = LOOKS[work.status]
        lines.append(f"  {look.symbol} {look.word}  {one_line(work.title, markup.TITLE)}")
    return "\n".join(lines)


def _undoable(outlook: Outlook) -> str:
    """How much of what was sent a rollback undoes, in words; empty if nothing was sent."""
    undone = sum(alike.steps for alike in outlook.undone)
    whole = undone + sum(alike.steps for alike in outlook.kept)
    return f"{undone:,} of {markup.told_steps(whole)} can be undone" if whole else ""


def _transaction(shown: Shown, outlook: Outlook | None) -> tuple[str, ...]:
    if outlook is None:
        return (shown.transaction,)
    undoable = "" if is_undone(outlook) else _undoable(outlook)
    return tuple(filter(None, (shown.transaction, outlook.state, undoable)))
