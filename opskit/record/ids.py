"""Names of transactions: ULIDs, which sort by the time at which they were made."""

from __future__ import annotations

import secrets
import time
from typing import Final

_LETTERS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH: Final = 26


def new_id() -> str:
    """A new ULID: 48 bits of time in milliseconds, 80 of chance, in Crockford's base 32."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "".join(_LETTERS[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))
