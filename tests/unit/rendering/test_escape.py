"""Foreign text comes out of every way out as text (S1, S2, S3, S4, R20)."""

from __future__ import annotations

import re
import unicodedata
from html import unescape

import mistune
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from opskit.rendering.escape import (
    html,
    html_with_colours,
    markdown,
    one_line,
    spreadsheet,
    terminal,
    without_colours,
)
from tests.elements import Elements

HOSTILE = st.text(
    st.one_of(
        st.sampled_from(
            "<>&\"'$\\`|[]()=+-@#*_~!:;0123456789m\x1b\x9b\x07\x00\x08\r\n\t\x7f\x85\u202e\u2066\u200b\u2028\ud800"
        ),
        st.characters(),
    )
)
SGR = st.builds("\x1b[{}m".format, st.text("0123456789;:", max_size=12))
COLOURED = st.lists(st.one_of(HOSTILE, SGR)).map("".join)

_BREAK = re.compile(r"<span>([$\\])</span>")
_SPAN = re.compile(
    r'<span style="(?:(?:color|background-color):#[0-9a-f]{6};?|font-weight:bold;?|text-decoration:underline;?)+">'
)


def is_hidden(character: str) -> bool:
    """Whether it commands, breaks lines, or can't be encoded."""
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


@given(HOSTILE)
def test_html_holds_no_markup_of_the_text(text: str) -> None:
    """S1: nothing of the input is left that could open a tag, an attribute or an entity, and it reads as the marks."""
    bare = _BREAK.sub(r"\1", html(text))
    assert not set(bare) & set("<>\"'")
    assert re.search(r"&(?!(?:amp|lt|gt|quot|#x27);)", bare) is None
    assert unescape(bare) == terminal(text)


@given(HOSTILE)
def test_html_leaves_mathjax_no_delimiter(text: str) -> None:
    """S1: no text node of the HTML holds a dollar or a backslash next to anything else."""
    nodes = re.split(r"<[^>]*>", html(text))
    assert all(node in ("$", "\\") for node in nodes if "$" in node or "\\" in node)


@given(COLOURED)
@example("\x1b[1;31;48;5;99mx\x1b[38;2;1;2;3;4mz")
def test_coloured_html_closes_what_it_opens_and_computes_its_styles(text: str) -> None:
    """S2: only spans with fixed declarations come out, each closed, and the text is that without colours."""
    markup = html_with_colours(text)
    for tag in re.findall(r"<[^>]*>", markup):
        assert tag in ("<span>", "</span>") or _SPAN.fullmatch(tag)
    assert Elements(markup).text == without_colours(text)


@given(HOSTILE)
def test_terminal_text_commands_nothing(text: str) -> None:
    """S2: no control character but newline and tab, no surrogate and no line separator is left."""
    assert not any(map(is_hidden, terminal(text)))
    assert terminal(terminal(text)) == terminal(text)


@given(HOSTILE)
def test_one_line_is_one_bounded_line(text: str) -> None:
    """S18: a name or a reason fills one line, of the length asked for, so it can't forge a second row."""
    line = one_line(text, 20)
    assert len(line) <= 20
    assert "\n" not in line
    assert not any(map(is_hidden, line))


@given(COLOURED)
@example("a\\|b")
@example("a\\\\||b``|`")
@example("https://evil.example www.evil.example me@evil.example ![x](http://y) <b> $x$ \\(y\\)")
def test_markdown_reads_back_as_text_in_one_cell(text: str) -> None:
    """S4: two independent readers see a row of three cells, code and line breaks alone, and the text itself."""
    source = f"| a | b | c |\n|---|---|---|\n| x | {markdown(text)} | y |\n\nend\n"
    mistuned = mistune.create_markdown(plugins=["table", "url", "strikethrough"], escape=False)(source)
    for rendered in (str(mistuned), MarkdownIt("commonmark").enable("table").render(source)):
        assert rendered.count("<table>") == 1
        cells = re.findall(r"<td[^>]*>(.*?)</td>", rendered, re.DOTALL)
        assert len(cells) == 3
        assert cells[2] == "y"
        parsed = Elements(re.sub(r"<br ?/?>", "\n", cells[1]))
        assert parsed.tags <= {"code"}
        assert [line.split() for line in parsed.text.split("\n")] == [
            line.split() for line in without_colours(text).split("\n")
        ]


@given(HOSTILE)
@example("=1+1")
@example(" \n=cmd|' /C calc'!A0")
@example("\t=1")
@example("\r=1")
def test_spreadsheet_text_is_no_formula(text: str) -> None:
    """S4: no cell starts, blanks aside, with a sign that a spreadsheet takes for a formula's."""
    cell = spreadsheet(text)
    assert not cell.startswith(("\t", "\r", "\n"))
    assert not cell.strip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))  # noqa: RUF001 - the wide ones
    assert not any(map(is_hidden, cell))


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("\u2066\u2069\u200b\ufeff", "⟨U+2066⟩⟨U+2069⟩⟨U+200B⟩⟨U+FEFF⟩"),
        ("\x9b31m\x85", "⟨U+009B⟩31m⟨U+0085⟩"),
        ("\x7f\x00", "␡␀"),
        ("\udcff", "\ufffd"),
        ("tab\tline\nhéllo ✔ 日本", "tab\tline\nhéllo ✔ 日本"),
    ],
)
def test_what_cannot_be_seen_becomes_a_mark(text: str, mark: str) -> None:
    """S2, S3: control, direction and zero-width characters show as marks; all that can be seen stays."""
    assert terminal(text) == mark


def test_every_unseen_character_of_unicode_becomes_a_mark() -> None:
    """S3: all format characters but those that draw something themselves are marked."""
    drawn = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd\U00013430-\U0001343f]")
    everything = map(chr, range(0x110000))
    unseen = [it for it in everything if is_hidden(it) or (unicodedata.category(it) == "Cf" and not drawn.match(it))]
    assert [hex(ord(it)) for it in unseen if it in terminal(it)] == []


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("\x1b[31mred\x1b[0m", '<span style="color:#cd483c">red</span>'),
        ("\x1b[1;4mx", '<span style="font-weight:bold;text-decoration:underline">x</span>'),
        ("\x1b[1mx\x1b[22my", '<span style="font-weight:bold">x</span>y'),
        ("\x1b[31mx\x1b[39my", '<span style="color:#cd483c">x</span>y'),
        ("\x1b[8mx\x1b[5my", "xy"),
        ("\x1b[38;5;300mx\x1b[38;2;1mx\x1b[38mx\x1b[38;9mx", "xxxx"),
        ("\x1b[38:2::255:0:0mx", html_with_colours("\x1b[38;2;255;0;0mx")),
        ("\x1b[38;5;196mx", html_with_colours("\x1b[38;2;255;0;0mx")),
        ("\x1b[91mx", '<span style="color:#e25448">x</span>'),
        ("\x1b[2Jx", "␛[2Jx"),
        ("\x1b]8;;https://evil.example\x1b\\link", "␛]8;;https://evil.example␛<span>\\</span>link"),
    ],
)
def test_colours_are_kept_and_all_else_is_marked(text: str, markup: str) -> None:
    """S2: 16 and 256 colours, true colours, bold and underline become styles; other sequences become marks."""
    assert html_with_colours(text) == markup


@pytest.mark.parametrize(
    "code", ["38;2;255;255;255", "38;2;0;0;0", "30", "97", "38;5;226", "38;5;16", "47", "40", "44;34"]
)
def test_no_colour_hides_its_text(code: str) -> None:
    """White on a light theme, black on a dark one, blue on blue: each comes out with a contrast that can be read."""
    found = dict(re.findall(r"(background-color|color):#([0-9a-f]{6})", html_with_colours(f"\x1b[{code}mx")))
    text = luminance(found["color"])
    for ground in [found["background-color"]] if "background-color" in found else ["ffffff", "111111"]:
        contrast = (max(text, luminance(ground)) + 0.05) / (min(text, luminance(ground)) + 0.05)
        assert contrast >= (2 if "background-color" in found else 3)


def luminance(colour: str) -> float:
    """How light a colour is, from 0 to 1, as the web's contrast rules define it."""
    linear = [
        ((value / 255 + 0.055) / 1.055) ** 2.4 if value > 10 else value / 3294.6 for value in bytes.fromhex(colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" one\n  two\t\x1b[31mthree\x1b[0m\n", "one ⏎ two three"),
        ("x" * 30, "x" * 19 + "…"),
        ("x" * 20, "x" * 20),
        ("\x1b[1m\x1b[0m" * 100 + "x", "…"),
    ],
)
def test_one_line_says_that_lines_were_joined_or_cut(text: str, line: str) -> None:
    """S18: a newline is seen as one, and what was left out as an ellipsis."""
    assert one_line(text, 20) == line


def test_an_unfinished_sequence_is_text() -> None:
    """S2: half a sequence, as a cut output ends, is a mark and text."""
    assert without_colours("a\x1b[31") == "a␛[31"
    assert without_colours("\x1b[31mred") == "red"
