"""What is secret and must not be shown: one list for the process, and the ways to take it out of text and of streams.

The lowest room of the house: errors mask themselves with it.
"""

from __future__ import annotations

import base64
import html
import json
import logging
import re
import shlex
import threading
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, groupby
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MASK: Final = "********"

SHORTEST: Final = 4
"""Characters of a secret: to mask less would tear up every text."""

_LINE: Final = 8
"""Characters of a secret's line that is masked by itself: a key may be printed with other line ends."""

_PART_OF_BASE64: Final = 6


@dataclass(frozen=True)  # without slots: what follows from the forms is made once, when it is needed
class _Known:
    """Every form of every secret. It is replaced, never changed: others read it while somebody adds a secret."""

    forms: frozenset[bytes]

    @cached_property
    def longest(self) -> int:
        return max(map(len, self.forms))

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        """Any of them, the longest that stands there; those with one first byte together, which is found faster."""
        by_first = groupby(sorted(self.forms, key=lambda form: (form[:1], -len(form))), key=lambda form: form[:1])
        return re.compile(
            b"|".join(
                re.escape(first) + b"(?:" + b"|".join(re.escape(form[1:]) for form in forms) + b")"
                for first, forms in by_first
            )
        )


_known: _Known | None = None
_guard = threading.Lock()


def conceal(value: str) -> None:
    """Mask this text from now on, in each form in which programs show such text."""
    global _known  # noqa: PLW0603 - one list a process is the point
    found = {form.encode() for form in _shown_as(value)}
    with _guard:
        forms = frozenset() if _known is None else _known.forms
        if not found <= forms:
            _known = _Known(forms | found)


def _shown_as(value: str) -> Iterator[str]:
    lines = value.splitlines()
    # Blanks around it are lost on many ways, and a terminal ends lines by a carriage return too.
    for text in {value, "\r\n".join(lines), *_worth_masking([value], SHORTEST), *_worth_masking(lines, _LINE)}:
        yield from (text, quote(text, safe=""), quote(text), quote_plus(text), shlex.quote(text))
        yield from (html.escape(text), html.escape(text, quote=False))
        yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])
        yield from _in_base64(text.encode())


def _worth_masking(texts: Iterable[str], least: int) -> Iterator[str]:
    """Without the blanks around them, if so much is left."""
    return (bare for text in texts if len(bare := text.strip()) >= least)


def _in_base64(value: bytes) -> Iterator[str]:
    """As it stands in Base64, alone or amid other bytes; there the characters at its ends depend on its neighbours."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            text = encode(bytes(before) + value).decode()
            inner = text[(before * 8 + 5) // 6 : (before + len(value)) * 8 // 6]
            if len(inner) >= _PART_OF_BASE64:
                yield inner


def active() -> bool:
    """Whether there is anything to mask."""
    return _known is not None


def mask(text: str) -> str:
    """The text without secrets."""
    if (known := _known) is None:
        return text
    data = text.encode("utf-8", "surrogatepass")
    return known.pattern.sub(MASK.encode(), data).decode("utf-8", "surrogatepass")


class MaskedStream:
    """Takes secrets out of bytes that come in pieces, wherever these are cut. Keeps back what may become a secret."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def add(self, piece: bytes) -> bytes:
        """What can be shown now."""
        if (known := _known) is None:
            return piece
        data = self._held + piece
        at, hold = 0, _incomplete(data, 0, known)
        shown: list[bytes] = []
        for found in known.pattern.finditer(data):
            if hold <= found.start():
                break  # something longer may begin there
            shown += (data[at : found.start()], MASK.encode())
            at = found.end()
            hold = _incomplete(data, at, known)
        self._held = data[max(at, hold) :]
        return b"".join([*shown, data[at : max(at, hold)]])

    def finish(self) -> bytes:
        """What was kept back, at the end of the stream: a secret of which no more came, if it is not too short."""
        data, self._held = self._held, b""
        if (known := _known) is None:
            return data
        end = max((found.end() for found in known.pattern.finditer(data)), default=0)
        rest = MASK.encode() if len(data) - end >= SHORTEST else data[end:]
        return known.pattern.sub(MASK.encode(), data[:end]) + rest


def _incomplete(data: bytes, start: int, known: _Known) -> int:
    """Where the longest end of the data begins that is the beginning of a secret, and not yet all of it."""
    first = max(start, len(data) - known.longest + 1)
    tail = data[first:]
    return first + min(chain.from_iterable(_beginnings(tail, form) for form in known.forms), default=len(tail))


def _beginnings(tail: bytes, form: bytes) -> Iterable[int]:
    """Where `tail` ends in a beginning of `form`: the first such place."""
    at = tail.find(form[:1], max(0, len(tail) - len(form) + 1))
    while at >= 0:
        if form.startswith(tail[at:]):
            return (at,)
        at = tail.find(form[:1], at + 1)
    return ()


class _Masked(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _known is not None:
            record.msg, record.args = mask(record.getMessage()), None
            if record.exc_info:
                # A formatter takes the text for what it would make of the exception.
                record.exc_text = mask(logging.Formatter().formatException(record.exc_info))
                record.exc_info = None
        return True


logging.getLogger("opskit").addFilter(_Masked())
