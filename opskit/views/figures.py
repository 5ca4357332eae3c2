"""What every view shows alike: the chunks that matter now, the last lines of output, the time that is left."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from opskit.rendering.escape import one_line
from opskit.rendering.excerpt import last_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opskit.progress import ChunkProgress, Progress
    from opskit.showing import Tail

SHOWN_CHUNKS: Final = 8
LONGEST_LINE: Final = 160


def shown_chunks(progress: Progress) -> list[tuple[int, ChunkProgress]]:
    """The last chunks that have begun, each with its number; while connections are being made, also the next one."""
    chunks = progress.chunks
    # Chunks begin in order, so this costs the same for ten thousand of them.
    begun = bisect_left(chunks, True, key=lambda chunk: chunk.left == chunk.total)
    if not progress.over and begun < len(chunks) and (begun == 0 or chunks[begun - 1].over):
        begun += 1
    first = max(0, begun - SHOWN_CHUNKS)
    return list(enumerate(chunks[first:begun], first + 1))


def last_lines(tails: Sequence[Tail], count: int) -> list[tuple[str, str]]:
    """The last lines, as (host, line), the newest one last; of several tails each gives a fair share."""
    share = max(1, count // max(1, len(tails)))
    found = [
        (tail.host, one_line(line, LONGEST_LINE))
        for tail in tails
        for line in last_states(tail.text).rstrip().split("\n")[-share:]
        if line.strip()
    ]
    return found[-count:]


def seconds_left(progress: Progress, elapsed: float) -> float | None:
    """About how long it will take yet, if what is left takes as long as what has ended; None where nothing tells."""
    if progress.over:
        return None
    if progress.cells:  # bounded, while there may be a chunk for each host
        total = sum(len(cell.hosts) for cell in progress.cells)
        ended = total - sum(cell.counts["running"] + cell.counts["not_started"] for cell in progress.cells)
    else:
        total = sum(chunk.total for chunk in progress.chunks)
        ended = sum(chunk.ended.total() for chunk in progress.chunks)
    return elapsed * (total - ended) / ended if 0 < ended < total else None


def time_in_words(progress: Progress, elapsed: float) -> str:
    """How long it has taken, and how long it will take yet."""
    left = seconds_left(progress, elapsed)
    return (
        f"{seconds_in_words(elapsed)}, about {seconds_in_words(left)} left"
        if left is not None
        else seconds_in_words(elapsed)
    )


def seconds_in_words(seconds: float) -> str:
    """Such as `12 s`, or `2 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
