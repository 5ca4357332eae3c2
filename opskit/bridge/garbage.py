"""Python's garbage collector, held back while a run makes many objects."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class Collector:
    """Python's garbage collector, held back while a run makes many objects that it would walk through for nothing.

    That is an eighth of the processor time of a run on 200 hosts. What holds it back is counted; it is given back when
    the last has ended, or after `LONGEST`, for a long run's caller goes on meanwhile.
    """

    LONGEST = 20.0
    THRESHOLDS = (50_000, 50, 50)

    def __init__(self) -> None:
        self._holders = 0
        self._before: tuple[int, int, int] | None = None

    async def around(self, work: Coroutine[Any, Any, T]) -> T:
        """Hold it back while this is awaited, on the engine's loop."""
        self._holders += 1
        if self._before is None and gc.isenabled() and gc.get_freeze_count() == 0:
            self._before = gc.get_threshold()
            gc.freeze()
            gc.set_threshold(*self.THRESHOLDS)
        late = asyncio.get_running_loop().call_later(self.LONGEST, self._give_back)
        try:
            return await work
        finally:
            late.cancel()
            self._holders -= 1
            if self._holders == 0:
                self._give_back()

    def _give_back(self) -> None:
        if self._before is not None:
            if gc.get_threshold() == self.THRESHOLDS:
                gc.set_threshold(*self._before)
            gc.unfreeze()
            self._before = None


collector = Collector()
