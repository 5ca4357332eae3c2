"""What is told of a run, of tasks or of a transaction, in HTML and in text: above the widgets, and in their stead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opskit.rendering.escape import terminal
from opskit.rendering.palette import LOOKS
from opskit.results.result import worst_first
from opskit.showing import MOST_WORKS
from opskit.views import markup
from opskit.views.figures import shown_chunks, time_in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.progress import WorkProgress
    from opskit.showing import Outlook, Shown


def may_be_undone(shown: Shown, outlook: Outlook | None) -> bool:
    """Whether a rollback has something to undo, or may have before the end.

    Args:
        shown: What it would undo.
        outlook: What it would do, where that is known; after the end it is as of then.
    """
    if outlook is not None and (outlook.ended or (shown.progress.over and not outlook.undone)):
        return False
    return shown.progress.undoable != 0


def what_undoes(shown: Shown, outlook: Outlook | None) -> str:
    """How it is undone without buttons, in words; empty if nothing can be. A part is undone with the whole."""
    if not may_be_undone(shown, outlook):
        return ""
    whole, _, part = shown.transaction.partition(".")
    undoes = "undoes all of the transaction that it is a part of" if part else "undoes it"
    return f"`opskit rollback {whole}` in a terminal, or `%opskit rollback {whole}` in any notebook, {undoes}."


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
        told = (time_in_words(progress, seconds), *([shown.transaction] if progress.over else []))
        head = markup.heading(
            progress.status, progress.title, *told, is_command=progress.name is None and bool(progress.cells)
        )
    total = sum(chunk.total for chunk in progress.chunks) if works else 0
    remark = markup.remark("unknown", said) if (said := shown.remark()) else ""
    return markup.framed(head, markup.bars(progress), markup.works(works, total), remark, name=name)


def as_text(shown: Shown, seconds: float, works: Sequence[WorkProgress], outlook: Outlook | None) -> str:
    """The same in some lines of text, for where no HTML is shown."""
    progress = shown.progress
    look = LOOKS[progress.status]
    said = _transaction(shown, outlook) if shown.is_transaction else (f"{look.symbol} {look.word}",)
    time = () if shown.is_transaction else (time_in_words(progress, seconds), shown.transaction)
    lines = ["  ".join((markup.titled(progress.title), *said, *time))]
    for number, chunk in shown_chunks(progress):
        counts = (
            f"{LOOKS[status].symbol} {count:,} {LOOKS[status].word}" for status, count in worst_first(chunk.ended)
        )
        lines.append("  ".join((f"chunk {number}/{len(progress.chunks)}", *counts)))
    for work in works[-MOST_WORKS:]:
        look = LOOKS[work.status]
        lines.append(f"  {look.symbol} {look.word}  {markup.titled(work.title)}")
    if remark := shown.remark():
        lines.append(terminal(remark))
    return "\n".join(lines)


def _undoable(outlook: Outlook) -> str:
    """How much of what was sent a rollback undoes, in words; empty if nothing was sent."""
    undone = sum(alike.steps for alike in outlook.undone)
    whole = undone + sum(alike.steps for alike in outlook.kept)
    return f"{undone:,} of {markup.steps_in_words(whole)} can be undone" if whole else ""


def _transaction(shown: Shown, outlook: Outlook | None) -> tuple[str, ...]:
    if outlook is None:
        return (shown.transaction,)
    undoable = "" if outlook.ended else _undoable(outlook)
    return tuple(filter(None, (shown.transaction, outlook.state, undoable)))
