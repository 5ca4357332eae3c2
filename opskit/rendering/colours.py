"""Colours and weights in a host's output: SGR escape sequences read into styles, and styles as CSS.

Only what is known here is ever written out, from numbers, never from the host's own text. Blinking, concealed and other
modes are dropped, so nothing can be hidden by them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

Triple = tuple[int, int, int]
Colour = int | Triple
"""An index into a terminal's 256 colours, or red, green and blue, each 0 to 255."""

_SGR: Final = re.compile(r"\x1b\[([0-9;:]{0,64})m")

_SIXTEEN: Final[tuple[Triple, ...]] = (
    (118, 118, 118), (205, 72, 60), (32, 144, 62), (160, 118, 0),
    (56, 124, 208), (172, 88, 172), (0, 136, 150), (128, 128, 128),
    (136, 136, 136), (226, 84, 72), (36, 156, 70), (176, 128, 0),
    (74, 138, 222), (190, 98, 190), (0, 148, 162), (140, 140, 140),
)  # fmt: skip
_STEPS: Final = (0, 95, 135, 175, 215, 255)
_DARKEST, _LIGHTEST = 0.14, 0.28
"""Luminances between which a text reads on white and on black."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a run of characters is to be shown."""

    foreground: Colour | None = None
    background: Colour | None = None
    bold: bool = False
    underline: bool = False


PLAIN: Final = Style()


def runs(text: str) -> Iterator[tuple[Style, str]]:
    """Split text at its SGR sequences, which are taken out, into runs of one style each."""
    style, start = PLAIN, 0
    for found in _SGR.finditer(text):
        if found.start() > start:
            yield style, text[start : found.start()]
        style, start = _after(style, found[1]), found.end()
    if start < len(text):
        yield style, text[start:]


def without_sequences(text: str) -> str:
    """Text with its SGR sequences taken out."""
    return _SGR.sub("", text)


@lru_cache(maxsize=1_000)
def css(style: Style) -> str:
    """Write a style as CSS declarations, with colours that read on light and dark backgrounds."""
    foreground, background = _readable(style.foreground, style.background)
    declarations = [
        f"color:{_hexadecimal(foreground)}" if foreground else "",
        f"background-color:{_hexadecimal(background)}" if background else "",
        "font-weight:bold" if style.bold else "",
        "text-decoration:underline" if style.underline else "",
    ]
    return ";".join(filter(None, declarations))


@lru_cache(maxsize=1_000)
def _after(style: Style, parameters: str) -> Style:
    groups = iter(parameters.split(";"))
    for group in groups:
        first, *rest = (int(number or 0) for number in group.split(":"))
        match first:
            case 0:
                style = PLAIN
            case 1 | 22:
                style = replace(style, bold=first == 1)
            case 4 | 24:
                style = replace(style, underline=first == 4 and rest != [0])  # noqa: PLR2004 - 4 is SGR's underline
            case 38:
                style = replace(style, foreground=_extended(rest, groups))
            case 48:
                style = replace(style, background=_extended(rest, groups))
            case _ if 30 <= first <= 39 or 90 <= first <= 97:  # noqa: PLR2004 - SGR's own numbers
                style = replace(style, foreground=_basic(first - 30))
            case _ if 40 <= first <= 49 or 100 <= first <= 107:  # noqa: PLR2004 - SGR's own numbers
                style = replace(style, background=_basic(first - 40))
    return style


def _basic(offset: int) -> Colour | None:
    """0 to 7 are the colours, 60 to 67 the bright ones, 9 (and 8, which nobody sends) none."""
    if offset >= 60:  # noqa: PLR2004 - the distance of the bright colours in SGR
        return offset - 60 + 8
    return offset if offset < 8 else None  # noqa: PLR2004 - eight colours


def _extended(rest: list[int], groups: Iterator[str]) -> Colour | None:
    """The colour of `38:5:n`, `38:2::r:g:b`, `38;5;n` or `38;2;r;g;b`; what is cut off or out of range is none."""
    following = iter(rest) if rest else (int(group) if group.isdecimal() else 0 for group in groups)
    kind = next(following, None)
    numbers = list(following)[-3:] if rest else list(islice(following, {5: 1, 2: 3}.get(kind or 0, 0)))
    match kind, numbers:
        case 5, [int(index)] if index < 256:  # noqa: PLR2004 - 256 colours
            return index
        case 2, [int(red), int(green), int(blue)] if max(numbers) < 256:  # noqa: PLR2004 - a byte each
            return red, green, blue
    return None


def _triple(colour: Colour | None) -> Triple | None:
    if not isinstance(colour, int):
        return colour
    if colour < 16:  # noqa: PLR2004 - the named colours
        return _SIXTEEN[colour]
    if colour < 232:  # noqa: PLR2004 - a cube of 6 x 6 x 6
        cell = colour - 16
        return _STEPS[cell // 36], _STEPS[cell // 6 % 6], _STEPS[cell % 6]
    grey = 8 + 10 * (colour - 232)
    return grey, grey, grey


def _readable(foreground: Colour | None, background: Colour | None) -> tuple[Triple | None, Triple | None]:
    """Keep text legible: without a background on every theme, with one on that."""
    text, ground = _triple(foreground), _triple(background)
    if ground is not None:
        light = _luminance(ground)
        if text is None or _contrast(_luminance(text), light) < 2:  # noqa: PLR2004 - below, nobody reads it
            text = (0, 0, 0) if _contrast(0, light) > _contrast(1, light) else (255, 255, 255)
    elif text is not None:
        text = _middle(text)
    return text, ground


def _middle(colour: Triple) -> Triple:
    """Move a colour towards black or white until it reads on both."""
    luminance = _luminance(colour)
    if luminance > _LIGHTEST:
        target, share = 0.0, 1 - _LIGHTEST / luminance
    elif luminance < _DARKEST:
        target, share = 1.0, (_DARKEST - luminance) / (1 - luminance)
    else:
        return colour
    red, green, blue = (_encoded(value + (target - value) * share) for value in map(_linear, colour))
    return red, green, blue


def _linear(value: int) -> float:
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4  # noqa: PLR2004 - sRGB's definition


def _encoded(value: float) -> int:
    share = value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055  # noqa: PLR2004 - sRGB's definition
    return round(255 * share)


def _luminance(colour: Triple) -> float:
    red, green, blue = map(_linear, colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def _hexadecimal(colour: Triple) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
