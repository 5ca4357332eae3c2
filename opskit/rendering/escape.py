r"""Foreign text made harmless, for each way out: HTML, terminal, Markdown, spreadsheet. The one place that does it.

What a host prints, and every name, command or reason, is hostile until it went through here. Characters that command a
terminal, turn the reading direction or can't be seen become marks: ESC is `␛`, U+202E is `⟨U+202E⟩`. A newline and a
tab stay, except where one line is asked for. Everything here takes time in proportion to the text; who displays cuts
first (`opskit.rendering.excerpt`).
"""

from __future__ import annotations

import re
from html import escape
from typing import Final

from opskit.masking import mask
from opskit.rendering.colours import css, runs, without_sequences

_LONGEST_ERROR: Final = 500

_HIDDEN: Final = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but newline and tab, DEL, C1
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # unseen, or
    "\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # turning text
    "\ud800-\udfff\ufffe\uffff"  # what can't be encoded, or stand in XML
    "]"
)


class _Marks(dict[str, str]):
    """The mark of each hidden character, made when first met."""

    def __missing__(self, character: str) -> str:
        code = ord(character)
        if code < 0x20:  # noqa: PLR2004 - Unicode draws a picture of each C0 control
            mark = chr(0x2400 + code)
        elif 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004 - the surrogates
            mark = "\ufffd"
        else:
            mark = "␡" if character == "\x7f" else f"⟨U+{code:04X}⟩"
        self[character] = mark
        return mark


_MARKS: Final = _Marks()
_NOT_PLAIN: Final = re.compile("[^A-Za-z0-9 ]")
_FORMULA: Final = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")  # noqa: RUF001 - some spreadsheets read the wide ones alike


def terminal(text: str) -> str:
    """Text for a terminal, a log or an error message: no control character but newline and tab."""
    return _HIDDEN.sub(lambda found: _MARKS[found[0]], text)


def html(text: str) -> str:
    """Text for HTML, between tags; MathJax finds no formula in it."""
    return _without_formulas(attribute(text))


def attribute(text: str) -> str:
    """Text for a quoted attribute, for `<title>` and for SVG: where no element may stand, and MathJax does not look."""
    return escape(terminal(text))


def css_string(text: str) -> str:
    """Text as a quoted string of CSS, within `<style>` too: nothing in it ends the string, the rule or the element."""
    return '"' + _NOT_PLAIN.sub(lambda found: f"\\{ord(found[0]):06x} ", terminal(text)) + '"'


def html_with_colours(text: str) -> str:
    """As `html`, with SGR colours, bold and underline as `<span style=...>`, each of them closed."""
    return "".join(
        f'<span style="{css(style)}">{html(piece)}</span>' if css(style) else html(piece) for style, piece in runs(text)
    )


def without_colours(text: str) -> str:
    """As `terminal`, with SGR sequences left out instead of marked."""
    return terminal(without_sequences(text))


def one_line(text: str, limit: int) -> str:
    """At most `limit` characters on one line, as `without_colours`; newlines become `⏎`.

    Still to be escaped where it goes anywhere but a terminal.
    """
    whole = text.strip()
    start = whole[: 8 * limit]
    line = " ".join(without_colours(start).replace("\n", " ⏎ ").split())
    return line if len(line) <= limit and start == whole else line[: limit - 1] + "…"


def said_by(error: BaseException) -> str:
    """An error of anybody's code in one line, without secrets: its type, and what it says."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - the user's own class
        said = "it can't say what"
    return one_line(mask(": ".join(filter(None, (type(error).__name__, said)))), _LONGEST_ERROR)


def markdown(text: str) -> str:
    """Text for a cell of a Markdown table: code, in which no link, tag, formula or emphasis is live.

    Lines are joined by `<br>`.
    """
    return "<br>".join(_code(line) for line in without_colours(text).split("\n"))


def spreadsheet(text: str) -> str:
    """Text for a cell of Excel or CSV: an apostrophe goes before what would be read as a formula."""
    shown = terminal(text.replace("\r\n", "\n"))
    return "'" + shown if _FORMULA.match(text) else shown


def _without_formulas(markup: str) -> str:
    r"""Put each `$` and `\` into an element of its own: MathJax pairs no delimiters across elements."""
    return markup.replace("\\", "<span>\\</span>").replace("$", "<span>$</span>")


def _code(line: str) -> str:
    """One line as code spans, its pipes between them: readers disagree on how a pipe is escaped inside of one."""
    return "&#124;".join(map(_code_span, line.split("|")))


def _code_span(piece: str) -> str:
    if not piece.strip():
        return ""
    longest = max(map(len, re.findall("`+", piece)), default=0)
    fence = "`" * (longest + 1)
    edge = " " if piece[0] in " `" or piece[-1] in " `" else ""
    return f"{fence}{edge}{piece}{edge}{fence}"
