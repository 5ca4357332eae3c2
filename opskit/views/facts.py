"""What is told of a run, of tasks or of a transaction, in HTML and in text: above the widgets, and in their stead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opskit.rendering.escape import one_line
from opskit.rendering.palette import LOOKS
from opskit.results import WORST_FIRST
from opskit.views import markup
from opskit.views.now import shown_chunks, told_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.showing import Outlook, PartProgress, Shown

_STATES: Final = {
    "running": "open",
    "succeeded": "ended",
    "rolling_back": "is being rolled back",
    "rolled_back": "rolled back",
    "rollback_partial": "rolled back in part",
}


def is_transaction(shown: Shown) -> bool:
    """Whether it is a transaction over many cells: nothing of its own runs in it, and it lasts until it is ended."""
    return shown.cancel is None


def is_undone(outlook: Outlook | None) -> bool:
    """Whether nothing is left to undo, for good."""
    return outlook is not None and outlook.state in ("rolled_back", "closed")


def as_html(
    shown: Shown,
    seconds: float,
    parts: Sequence[PartProgress],
    outlook: Outlook | None,
    *,
    name: str = "opskit-progress",
) -> str:
    """Heading, bars and parts.

    Args:
        shown: What it is told of.
        seconds: Since it began.
        parts: Its tasks, or what was done in it.
        outlook: What a rollback would do, where that is known.
        name: The class of the outermost element.
    """
    progress = shown.progress
    if is_transaction(shown):
        head = markup.heading(None, _title(shown), *_transaction(shown, outlook))
    else:
        told = (told_time(progress, seconds), *([shown.transaction] if progress.over else []))
        head = markup.heading(
            progress.status, _title(shown), *told, is_command=progress.name is None and shown.parts is None
        )
    return markup.framed(head, markup.bars(progress), markup.parts(parts), name=name)


def as_text(shown: Shown, seconds: float, parts: Sequence[PartProgress], outlook: Outlook | None) -> str:
    """The same in some lines of text, for where no HTML is shown."""
    progress = shown.progress
    look = LOOKS[progress.status]
    said = _transaction(shown, outlook) if is_transaction(shown) else (f"{look.symbol} {look.word}",)
    time = () if is_transaction(shown) else (told_time(progress, seconds),)
    lines = ["  ".join((_title(shown), *said, *time))]
    for number, chunk in shown_chunks(progress):
        counts = (
            f"{LOOKS[status].symbol} {chunk.ended[status]:,} {LOOKS[status].word}"
            for status in WORST_FIRST
            if chunk.ended[status]
        )
        lines.append("  ".join((f"chunk {number}/{len(progress.chunks)}", *counts)))
    for part in parts[-markup.PARTS :]:
        look = LOOKS[part.status]
        lines.append(f"  {look.symbol} {look.word}  {one_line(part.title, markup.TITLE)}")
    return "\n".join(lines)


def _undoable(outlook: Outlook) -> str:
    """How much of what was sent a rollback undoes, in words; empty if nothing was sent."""
    undone, whole = markup.number(outlook.undone), markup.number(outlook.undone) + markup.number(outlook.kept)
    return f"{undone:,} of {markup.told_steps(whole)} can be undone" if whole else ""


def _title(shown: Shown) -> str:
    progress = shown.progress
    title = f"transaction {progress.name or ''}" if is_transaction(shown) else progress.title
    return one_line(title, markup.TITLE)


def _transaction(shown: Shown, outlook: Outlook | None) -> tuple[str, ...]:
    if outlook is None:
        return (shown.transaction,)
    state = _STATES.get(outlook.state, outlook.state.replace("_", " "))
    undoable = "" if is_undone(outlook) else _undoable(outlook)
    return tuple(filter(None, (shown.transaction, state, undoable)))
