"""What every view shows alike: nothing before a moment has passed, then the chunks that matter now."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opskit.progress import ChunkProgress, Progress

MOMENT_SECONDS: Final = 0.7
"""What ends sooner needs no progress."""

SHOWN_CHUNKS: Final = 8


def shown_chunks(progress: Progress) -> list[tuple[int, ChunkProgress]]:
    """The last chunks that have begun, each with its number; while connections are being made, also the next one."""
    chunks = progress.chunks
    # Chunks begin in order, so this costs the same for ten thousand of them.
    begun = bisect_left(chunks, True, key=lambda chunk: chunk.left == chunk.total)
    if not progress.over and begun < len(chunks) and (begun == 0 or chunks[begun - 1].over):
        begun += 1
    first = max(0, begun - SHOWN_CHUNKS)
    return list(enumerate(chunks[first:begun], first + 1))
