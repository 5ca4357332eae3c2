"""Every status can be told apart, by everybody, on every theme."""

from __future__ import annotations

import re

from opskit.rendering.palette import LOOKS
from opskit.results import WORST_FIRST


def test_every_status_has_a_look_of_its_own() -> None:
    """No status is missing, and each has its own symbol and word, so colour is never alone."""
    assert tuple(LOOKS) == WORST_FIRST
    assert len({look.symbol for look in LOOKS.values()}) == len({look.word for look in LOOKS.values()}) == len(LOOKS)
    assert all(len(look.symbol) == 1 for look in LOOKS.values())


def test_every_colour_reads_on_light_and_dark() -> None:
    """Each colour has a contrast of 3 or more on white and on #111111."""
    for look in LOOKS.values():
        assert re.fullmatch("#[0-9a-f]{6}", look.colour)
        red, green, blue = (((value / 255 + 0.055) / 1.055) ** 2.4 for value in bytes.fromhex(look.colour[1:]))
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        assert 1.05 / (luminance + 0.05) >= 3, look
        assert (luminance + 0.05) / (0.0056 + 0.05) >= 3, look
