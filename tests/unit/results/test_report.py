"""A report is one harmless HTML file of bounded size, which has everything in it (S1, S2, S4, F26)."""

from __future__ import annotations

import re
import stat
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.errors import OpskitError, PlanError
from opskit.results import HostResult, Results, Status
from opskit.results.report import as_report, cut_to_size
from tests.elements import Elements

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BEGAN = datetime(2026, 1, 2, 23, 59, 58, 500_000, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script></pre></details></title></style></svg> $x$ \\(y\\) \x1b]0;t\x07\x9b \u202e &amp; \"'\n"
    "\x1b[31mred\nhttps://evil.example <img src=x> \ud800"
)
TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "span", "b", "bdi", "figure"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td", "pre", "code", "details"}
TAGS |= {"summary", "wbr"}
TIMELINE = '<figure><div style="position:relative'
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def row(host: str, status: Status = "ok", **more: Any) -> HostResult:
    """A row of the command `uptime`, which took a second."""
    times: dict[str, Any] = {} if status == "skipped" else {"started_at": BEGAN, "seconds": 1.0}
    return HostResult(host, more.pop("branch", None), more.pop("command", "uptime"), status, **(times | more))


def report(*rows: HostResult, title: str | None = None, commands: Results | None = None) -> str:
    """The document."""
    return as_report(Results(rows, commands=commands), title)


def test_a_colleague_reads_what_happened(tmp_path: Path) -> None:
    """One UTF-8 file: title, when in UTC, transactions, counts, timeline, folded table, then each host, worst first."""
    path = tmp_path / "incident.html"
    later = (BEGAN + timedelta(seconds=2.5)).astimezone()
    rows = (
        row("web1", stdout="active\n", exit_code=0, transaction="01TX1", started_at=later, seconds=1),
        row("web2", stdout="active\n", exit_code=0, transaction="01TX2"),
        row(
            "db1",
            "failed",
            branch="in_('db')",
            stderr="no\nspace ü\n",
            exit_code=3,
            error="exit code 3: space",
            chunk=2,
        ),
        row("x1", "skipped", command=None),
    )
    assert Results(rows).report(path, title="Deploy v42") is None  # type: ignore[func-returns-value]  # the contract's
    markup = path.read_text("utf-8")
    page = Elements(markup)
    assert page.texts["title"][0] == page.texts["h1"][0] == "Deploy v42"
    assert "2026-01-02 23:59:58 to 2026-01-03 00:00:02 UTC, 3.5 s" in page.text
    assert "Transactions 01TX1, 01TX2" in page.text
    assert re.search(r"✘ 1 failed.*✔ 2 ok.*– 1 skipped", " ".join(page.texts["b"]))  # noqa: RUF001 - a dash is meant
    order = ["<h1>", "1 failed", TIMELINE, "<table", "web[1-2]", "<h2>In full", ">db1<", ">web1<", ">web2<", ">x1<"]
    places = [markup.index(part, markup.index("<h2>In full") if part.startswith(">") else 0) for part in order]
    assert places == sorted(places)
    assert markup.count("<pre>uptime</pre>") == 3
    assert "<pre>no\nspace ü</pre>" in markup
    assert "failed</b> · branch in_(&#x27;db&#x27;) · exit 3 · 1.00 s · from 23:59:58.500 UTC · chunk 2<" in markup


def test_nothing_runs_and_nothing_is_fetched() -> None:
    """S1: the policy forbids all but inline styles, and there is no script, link, address or handler to begin with."""
    markup = report(row("web1", stdout="https://x.example\n"), row("db1", "failed", exit_code=1))
    page = Elements(markup)
    assert page.values("http-equiv") == ["Content-Security-Policy"]
    assert POLICY in page.values("content")
    assert markup.index("charset") < markup.index(POLICY) < markup.index("<title>") < markup.index("<style>")
    assert page.tags <= TAGS
    assert not re.search(r"url\(|@import|expression", markup)
    for _, attributes in page.found:
        assert not [name for name in attributes if name.startswith("on")]
        assert not {"href", "src", "srcset", "action", "xlink:href", "background"} & set(attributes)


@pytest.mark.parametrize("field", ["host", "branch", "command", "signal", "stdout", "stderr", "error", "transaction"])
@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_hostile_text_in_any_field_stays_text(field: str, status: Status) -> None:
    """S1, S2: whatever field it comes in, it opens and closes no element, and every control character is a mark."""
    values: dict[str, Any] = {"host": "web1", "branch": "b", field: HOSTILE}
    page = Elements(report(row(status=status, **values)))
    assert page.tags <= TAGS
    assert all(it.isprintable() or it in "\n\t" for it in page.text)
    assert "<script>alert(1)</script></pre></details></title></style></svg>" in page.text


def test_a_hostile_title_stays_text() -> None:
    """S1: a title is one line of text, on top and in the browser's tab."""
    page = Elements(report(row("web1"), title=HOSTILE))
    assert page.tags <= TAGS
    assert page.texts["title"][0] == page.texts["h1"][0]
    assert page.texts["h1"][0].startswith(
        "<script>alert(1)</script></pre></details></title></style></svg> $x$ \\(y\\) ␛"
    )


@pytest.mark.parametrize("title", [3, "", " \n", "a\0b"])
def test_a_title_is_text(title: Any, tmp_path: Path) -> None:
    """What is no text, and what would leave a report without a heading, is named before anything is written."""
    with pytest.raises(PlanError, match=r"^Results.report: title=.* must be text, not empty, without NUL$"):
        Results((row("web1"),)).report(tmp_path / "x.html", title=title)
    assert list(tmp_path.iterdir()) == []


def test_the_journals_rows_are_of_another_time() -> None:
    """What was taken from the journal ran on another day: it does not count for when this was, and how long."""
    known = row("web2", attempt=0, started_at=BEGAN - timedelta(days=3))
    text = Elements(report(row("web1"), known)).text
    assert "2026-01-02 23:59:58 to 23:59:59 UTC, 1.0 s" in text
    assert "taken from the journal" in text
    assert "UTC, " not in Elements(report(known)).text


def test_without_a_title_it_says_of_what_it_is() -> None:
    """The title that nobody gave is what the rows are."""
    assert Elements(report(row("web1"), row("web2"))).texts["h1"] == ["Results of 2 hosts"]


def test_tasks_come_with_their_commands() -> None:
    """Under the tasks stand a timeline, a table and the rows of all commands that they ran."""
    commands = Results((row("web1", stdout="from a task\n"), row("db1", "failed", exit_code=1, transaction="01TX")))
    markup = report(row("", branch="deploy", command=None, stdout="printed\n"), commands=commands)
    assert markup.index("1 task") < markup.index("<h2>Commands of the tasks") < markup.index("2 hosts")
    assert (markup.count(TIMELINE), markup.count("<table")) == (2, 2)
    details = markup.partition("<h2>In full")[2]
    assert details.index(">db1<") < details.index("task <b><bdi>deploy<") < details.index(">web1<")
    assert "<pre>printed</pre>" in details
    assert "<pre>from a task</pre>" in details
    assert "Transaction 01TX" in markup


def test_outputs_stand_whole_as_long_as_they_fit() -> None:
    """An output that the table cuts has all its lines at its host; two million characters are no reason to cut."""
    lines = "".join(f"line {number}\n" for number in range(200_000))
    markup = report(row("web1", stdout=lines), row("web2", stdout="short\n"))
    assert f"<pre>{lines.rstrip()}</pre>" in markup
    assert "characters left out" in markup.partition("<h2>In full")[0]
    assert "characters left out" not in markup.partition("<h2>In full")[2]


def heavy(text: Callable[[int], str], hosts: int) -> tuple[HostResult, ...]:
    """Rows of outputs that differ."""
    return tuple(
        row(f"h{n}", "failed" if n % 9 == 0 else "ok", stdout=f"{n}{text(n)}", error="x") for n in range(hosts)
    )


@pytest.mark.parametrize("text", ["x" * 10_000_000, "$\\" * 50_000], ids=["10 MB on one line", "all to be escaped"])
def test_it_stays_below_twenty_megabytes(text: str) -> None:
    """F26: whatever the hosts printed, the file can be mailed: outputs are cut alike, and say so; so is the table."""
    rows = heavy(lambda n: text, 4 if len(text) > 1_000_000 else 400)
    head, _, details = report(*rows).partition("<h2>In full")
    assert len(head.encode()) < 3_500_000
    assert 14_000_000 < len(head.encode()) + len(details.encode()) < 20_000_000
    lengths = [len(block) for block in details.split("<pre>") if "characters left out" in block]
    assert len(lengths) == len(rows)
    assert min(lengths) > 0.6 * max(lengths)


def test_of_very_many_rows_the_worst_are_kept() -> None:
    """F26: ten thousand rows are in the file, the worst hosts' first, and it says how many are not."""
    details = report(*heavy(lambda n: "", 12_000)).partition("<h2>In full")[2]
    assert details.count('<div class="row">') == 10_000
    assert details.count("✘ failed</b> <b>") == 1_334
    assert details.index(">h0<") < details.index(">h9<") < details.index(">h1<")
    assert "… 2,000 more rows would make this file too large" in details


def test_two_thousand_hosts_take_less_than_a_second() -> None:
    """A fleet's report, of a kilobyte of output each, is made at once; every host is in it."""
    rows = [
        row(f"web{n}", stdout=f"line {n}\n" * 100, started_at=BEGAN + timedelta(seconds=n / 100)) for n in range(2000)
    ]
    began = process_time()
    markup = report(*rows)
    assert process_time() - began < 1
    assert markup.count("<details><summary><b") == 2000
    assert "1,900 more outcomes, 1,900 hosts: “In full” below has them all" in markup


def test_long_lines_are_broken_anywhere() -> None:
    """A million characters without a blank wrap: the styles of what holds foreign text say so."""
    style = Elements(report(row("web1"))).texts["style"][0]
    for holder in ("body", r"\.row pre", "td:last-child"):
        assert re.search(rf"^{holder} \{{[^}}]*overflow-wrap: anywhere", style, re.MULTILINE)


def test_what_never_began_is_reported_as_well() -> None:
    """Without a time there is no timeline and no date, but words; without rows there is no more than that."""
    markup = report(HostResult("web1", None, "uptime", "not_started"), row("x1", "skipped", command=None))
    page = Elements(markup)
    assert TIMELINE not in markup
    assert "Nothing was started." in page.text
    assert "UTC" not in page.text
    assert "no rows" in Elements(report()).text


@given(st.lists(st.text("x<$\\\n\r\x1b[31m0;é\u202e", max_size=900), max_size=30), st.integers(0, 9_000))
def test_texts_fit_into_what_they_are_given(texts: list[str], size: int) -> None:
    """They stay within the bytes, but for the little that each has at least; none is cut that needs but its share."""
    markups = cut_to_size(texts, size)
    assert sum(len(markup.encode()) for markup in markups) <= size + 200 * len(texts)
    whole = cut_to_size(texts, 1_000_000)
    cut = [number for number, markup in enumerate(markups) if markup != whole[number]]
    share = size // max(1, len(texts))
    assert all(len(whole[number].encode()) > share for number in cut)


@pytest.mark.parametrize(
    ("text", "copies", "size"),
    [
        ("\x1b[31mx\x1b[0my" * 150_000, 4, 18_000_000),
        ("\x1b[1;4;31;41mx\x1b[4m$" * 5_000, 6, 5_400_000),
        ("some line\r\n" * 100_000, 80, 1_000_000),
    ],
    ids=["very many colours", "markup far longer than the text", "line ends of two characters"],
)
def test_long_outputs_are_cut_at_once(text: str, copies: int, size: int) -> None:
    """F26: megabytes, whatever is in them, take less than a second, not one for each of them."""
    began = process_time()
    markups = cut_to_size([text] * copies, size)
    assert process_time() - began < 1
    assert all(len(markup) > 0.9 * min(size / copies, 300_000) for markup in markups)


def test_the_shortest_outputs_keep_their_colours() -> None:
    """Colours that are too many to be read at once are left out where most are, and never shown as marks."""
    many, few = "\x1b[31mx\x1b[0my" * 150_000, "\x1b[31mred\x1b[0m$\n"
    assert cut_to_size([many, few], 18_000_000) == [
        "xy" * 150_000,
        '<span style="color:#cd483c">red</span><span>$</span>',
    ]


def unwritable(folder: Path) -> Path:
    """A folder in the place of the file: root may write anywhere else."""
    (folder / "taken").mkdir()
    return folder / "taken"


@pytest.mark.parametrize("method", ["report", "to_excel", "to_markdown", "to_parquet"])
def test_a_file_that_cannot_be_written_is_named_with_a_cure(method: str, tmp_path: Path) -> None:
    """No folder, no file, no path: each is an error that says which and what to do, and no file is left behind."""
    write = getattr(Results((row("web1"),)), method)
    with pytest.raises(
        OpskitError, match=rf"^Results.{method}: there is no folder .*/none; make it, or name another one$"
    ):
        write(tmp_path / "none" / "file")
    taken = unwritable(tmp_path)
    with pytest.raises(
        OpskitError, match=rf"^Results.{method}: .*/taken can't be written: Is a directory; name another"
    ):
        write(str(taken))
    with pytest.raises(OpskitError, match=rf"^Results.{method}: path='a\\x00b' must be a path$"):
        write("a\x00b")
    assert list(tmp_path.iterdir()) == [taken]


@pytest.mark.parametrize("method", ["report", "to_excel", "to_markdown", "to_parquet"])
def test_a_home_folder_is_filled_in(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the user's home, as in every path that opskit takes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    getattr(Results((row("web1"),)), method)("~/file")
    assert stat.S_ISREG((tmp_path / "file").stat().st_mode)
