"""Who calls: the frame whose variables a command may name, and where it stands."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from opskit.errors import place_in

if TYPE_CHECKING:
    from types import FrameType


def caller() -> FrameType:
    """The frame of who called the function that asks."""
    asking = inspect.currentframe()
    assert asking is not None
    assert asking.f_back is not None
    assert asking.f_back.f_back is not None
    return asking.f_back.f_back


def place(frame: FrameType) -> str:
    """Where a caller stands, for errors."""
    return place_in(frame.f_code, frame.f_lineno)
