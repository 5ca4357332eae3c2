"""The timeline: one line a host, where its commands began and how long they took, as HTML, SVG and text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.errors import OpskitError
from opskit.rendering.palette import LOOKS
from opskit.results import WORST_FIRST, HostResult, Results, Status
from opskit.results.lanes import laid_out
from opskit.results.timeline import as_svg
from tests.elements import Elements

if TYPE_CHECKING:
    from pathlib import Path

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = "$<script>alert(1)</script></title></svg> $x$ \\(y\\) \x1b]0;t\x07\x9b \u202e &amp; \"'\n\ud800 " + "é" * 500
SVG = "{http://www.w3.org/2000/svg}"


def row(
    host: str, start: float | None = 0, seconds: float | None = 1, status: Status = "ok", **more: Any
) -> HostResult:
    """A row of a command that began so many seconds after the first one; None: it never did."""
    began = None if start is None else BEGAN + timedelta(seconds=start)
    return HostResult(host, more.pop("branch", None), "uptime", status, started_at=began, seconds=seconds, **more)


def shown(*rows: HostResult) -> Elements:
    """What a notebook shows."""
    return Elements(Results(rows).plot()._repr_mimebundle_()["text/html"])


def saved(folder: Path, *rows: HostResult) -> ET.Element:
    """The SVG file, read as XML."""
    path = folder / "timeline.svg"
    Results(rows).plot().save(path)
    return ET.fromstring(path.read_text("utf-8"))


def texts(svg: ET.Element) -> str:
    """All text of an SVG."""
    return " ".join("".join(found.itertext()) for found in svg.iter(f"{SVG}text"))


def test_a_bar_stands_where_its_command_ran(tmp_path: Path) -> None:
    """A bar begins where its command began, is as long as it took, and has the colour of its status."""
    rows = (row("a", 0, 10), row("b", 5, 2.5, "failed", branch="else"))
    bars = [bar.attrib for bar in saved(tmp_path, *rows).iter(f"{SVG}rect")]
    assert [(bar["x"], bar["width"], bar["fill"]) for bar in bars] == [
        ("0.00%", "100.00%", LOOKS["ok"].colour),
        ("50.00%", "25.00%", LOOKS["failed"].colour),
    ]
    styles = shown(*rows).values("style")
    assert sum("left:50.00%" in style and "width:25.00%" in style for style in styles) == 1
    assert repr(Results(rows).plot()).split("\n")[1:] == [
        f"✔ a │{'█' * 50}│",
        f"✘ b │{' ' * 25}{'█' * 12}✘{' ' * 12}│",
        "     0 s       2 s       4 s       6 s       8 s       10 s",
    ]


def test_a_bar_says_what_it_is(tmp_path: Path) -> None:
    """Under the pointer are host, branch, status and seconds, in a notebook and in a file."""
    found = row("web1", 0, 0.25, "timeout", branch="in_('web')")
    expected = "web1 · in_('web') · ◷ timeout · 0.25 s · from 0.00 s"
    assert expected in shown(found).values("title")
    assert expected in [title.text for title in saved(tmp_path, found).iter(f"{SVG}title")]


def test_no_status_is_told_by_its_colour_alone(tmp_path: Path) -> None:
    """Each line has the symbol of its worst status, each bar that is not ok has its own where there is room."""
    rows = (row("a", 0, 1), row("a", 2, 1, "failed"), row("b", 0, 10))
    for text in (texts(saved(tmp_path, *rows)), shown(*rows).text):
        assert re.search(r"✘ 1 failed.*✘ a.*✔ b", text)
        assert text.count("✘") == 3
    crowded = (row("a", 0, 1, "failed"), row("a", 1.01, 9))
    assert texts(saved(tmp_path, *crowded)).count("✘") == 2


def test_bars_that_overlap_stand_under_each_other(tmp_path: Path) -> None:
    """Branches of a host run at the same time: no bar hides another, and one that follows another does not move."""
    bars = list(saved(tmp_path, row("a", 0, 4), row("a", 1, 4), row("a", 4, 1), row("b", 0, 1)).iter(f"{SVG}rect"))
    first, second, third, other = (int(bar.attrib["y"]) for bar in bars)
    assert first == third < second < second + int(bars[1].attrib["height"]) <= other


def test_as_text_the_worst_of_what_overlaps_is_seen() -> None:
    """Text has one line for a host: a failure is not hidden by what went well at the same time."""
    shown_as = str(Results((row("a", 2, 6, "failed"), row("a", 0, 10))).plot()).split("\n")[1]
    assert shown_as == f"✘ a │{'█' * 39}✘{'█' * 10}│"


def test_what_took_no_time_is_still_seen(tmp_path: Path) -> None:
    """A bar has a least width, and a run of no length an axis."""
    bars = list(saved(tmp_path, row("a", 0, 0), row("b", 0, 100)).iter(f"{SVG}rect"))
    assert [bar.attrib["width"] for bar in bars] == ["0.40%", "100.00%"]
    assert "0.0010 s" in repr(Results((row("a", 0, 0),)).plot())


def test_what_still_runs_reaches_to_the_end(tmp_path: Path) -> None:
    """In a snapshot a running row without an end lasts until the last moment that is known, another one as it says."""
    rows = (row("a", 0, 8), row("b", 2, None, "running"), row("c", 2, 4, "running"), row("d", 2, None, "unknown"))
    bars = [bar.attrib for bar in saved(tmp_path, *rows).iter(f"{SVG}rect")]
    assert [bar["width"] for bar in bars] == ["100.00%", "75.00%", "50.00%", "0.40%"]


def test_many_hosts_are_folded_and_that_is_said() -> None:
    """Above 60 lines the slowest of each status keep theirs, all others share one a status, with gaps kept."""
    rows = [row(f"web{n}", n % 2 * 50, 1 + n / 1000) for n in range(500)]
    rows += [row(f"db{n}", 20, n / 10, "failed") for n in range(100)]
    timeline = Results(tuple(rows)).plot()
    lines = str(timeline).split("\n")
    assert len(lines) < 60
    assert "Of 600 lines the slowest of each status are shown." in lines[-1]
    assert [line.split("│")[0].split() for line in (lines[1], lines[20], lines[21], lines[22], lines[42])] == [
        ["✘", "db99"],
        ["✘", "db80"],
        ["✘", "80", "more"],
        ["✔", "web499"],
        ["✔", "480", "more"],
    ]
    titles = [title for title in shown(*rows).values("title") if "web[" in title]
    assert [title.partition(" · web[")[0] for title in titles] == ["240 hosts · ✔ ok · 1.0-1.5 s"] * 2


def test_sixty_hosts_keep_their_lines_and_their_order() -> None:
    """Up to 60 lines nothing is folded, and they stand in the order of the plan."""
    lines = str(Results(tuple(row(f"h{n}", 60 - n, n) for n in range(60))).plot()).split("\n")
    assert [line.split()[1] for line in lines[1:-1]] == [f"h{n}" for n in range(60)]


def test_a_line_of_very_many_commands_is_folded_by_status(tmp_path: Path) -> None:
    """Ten thousand rows of one host are a few bars, one track for each status, and take less than a second."""
    rows = [row("a", n, 0.5, "failed" if n % 100 == 0 else "ok") for n in range(10_000)]
    began = process_time()
    bars = list(saved(tmp_path, *rows).iter(f"{SVG}rect"))
    assert process_time() - began < 1
    assert len(bars) < 300
    assert len({bar.attrib["y"] for bar in bars}) == 2


def test_what_has_no_time_is_said_in_words() -> None:
    """Rows that never began, and those of the journal, are no bars: a sentence counts them."""
    never = [row("a", None, None, "unreachable"), row("b", None, None, "skipped"), row("c", None, None, "skipped")]
    some = str(Results((row("d"), *never, row("e", -90_000, attempt=0))).plot())
    assert "Not shown, without a time: ⌀ 1 unreachable, – 2 skipped." in some  # noqa: RUF001 - a dash is meant
    assert "Not shown, done before and taken from the journal: 1 host." in some
    assert some.split("\n")[2].split() == ["0.0", "s", "0.2", "s", "0.4", "s", "0.6", "s", "0.8", "s", "1.0", "s"]
    nothing = Results(tuple(never)).plot()
    for text in (str(nothing), shown(*never).text):
        assert "Nothing was started." in text
        assert "│" not in text
    assert str(Results().plot()) == "no rows\nNothing was started."


def test_tasks_have_lines_of_their_own() -> None:
    """A task's row has no host: its line has the task's name."""
    assert "✔ deploy │█" in str(Results((row("", branch="deploy"),)).plot())


@pytest.mark.parametrize("field", ["host", "branch"])
def test_hostile_text_stays_text(field: str, tmp_path: Path) -> None:
    """S1, S2: a name opens no element and commands no terminal; a dollar in it is shown as it is."""
    names = {"host": "web1", "branch": "b", field: HOSTILE}
    found = row(names["host"], branch=names["branch"])
    page = shown(found)
    assert page.tags == {"div", "b", "span"}
    assert all(set(attributes) <= {"style", "class", "title"} for _, attributes in page.found)
    svg = saved(tmp_path, found)
    assert {it.tag.removeprefix(SVG) for it in svg.iter()} <= {"svg", "style", "text", "tspan", "title", "line", "rect"}
    for text in (*page.values("title"), page.text, *svg.itertext(), repr(Results((found,)).plot())):
        assert all(it.isprintable() or it == "\n" for it in text)
    titles = [title.text or "" for title in svg.iter(f"{SVG}title")]
    for title in (max(page.values("title"), key=len), max(titles, key=len)):
        assert "$<script>alert(1)</script></title></svg> $x$ \\(y\\) ␛]0;t␇⟨U+009B⟩ ⟨U+202E⟩ &amp; \"' ⏎" in title


def test_the_html_is_what_an_untrusted_notebook_keeps() -> None:
    """JupyterLab's sanitizer takes out SVG, styles of their own and links: there are none."""
    bundle = Results((row("a"), row("b", status="failed"))).plot()._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) == {"text/html", "text/plain"}
    assert not re.search(r"<(svg|style|img|a|script)\b|url\(|calc\(|var\(", bundle["text/html"])
    assert "tex2jax_ignore" in bundle["text/html"]


def test_a_file_has_all_that_it_needs(tmp_path: Path) -> None:
    """A saved SVG refers to nothing, has the counts and notes in it, and a size."""
    svg = saved(tmp_path, row("a"), row("b", None, None, "unreachable"))
    assert (svg.attrib["width"], int(svg.attrib["height"]) > 40) == ("960", True)
    assert "2 hosts: ⌀ 1 unreachable, ✔ 1 ok in 1.0 s Not shown, without a time: ⌀ 1 unreachable." in texts(svg)
    assert not re.search(r"href|url\(|@import", (tmp_path / "timeline.svg").read_text("utf-8"))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("timeline.png", r"Timeline.save: '.*timeline.png' does not end in .svg"),
        ("none/timeline.svg", r"Timeline.save: there is no folder .*none; make it"),
    ],
)
def test_a_file_that_cannot_be_written_is_named(name: str, complaint: str, tmp_path: Path) -> None:
    """Another format and a folder that does not exist are errors that say so."""
    with pytest.raises(OpskitError, match=complaint):
        Results((row("a"),)).plot().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@given(
    st.lists(
        st.builds(
            row,
            st.sampled_from(["", "a", "b"]) | st.text(max_size=3),
            st.none() | st.floats(0, 1e7),
            st.none() | st.floats(0, 1e7),
            st.sampled_from(WORST_FIRST),
            attempt=st.sampled_from([None, 0, 1]),
        ),
        max_size=90,
    )
)
def test_any_rows_can_be_drawn(rows: list[HostResult]) -> None:
    """Whatever rows there are, all forms can be drawn, and every bar lies within the axis."""
    bundle = Results(tuple(rows)).plot()._repr_mimebundle_()
    assert all(len(line.split("│")[-2]) == 50 for line in bundle["text/plain"].split("\n") if "│" in line)
    bars = re.findall(r"left:([\d.]+)%;height:\d+px;width:([\d.]+)%", bundle["text/html"])
    assert all(float(left) + float(width) < 100.5 for left, width in bars)
    assert bool(bars) == any(found.started_at is not None and found.attempt != 0 for found in rows)
    ET.fromstring(as_svg(laid_out(rows), ()))
