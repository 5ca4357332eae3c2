"""Results show themselves: folded, failures first, bounded, and as harmless text (S1, S2, S4, F26)."""

from __future__ import annotations

import gc
import re
from datetime import UTC, datetime, timedelta
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.results import WORST_FIRST, HostResult, Results, Status
from opskit.results.html import fate, note
from tests.elements import Elements

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script></pre></td> $x$ \\(y\\) \x1b]0;t\x07\x9b \u202e &amp; \"'\n"
    "\x1b[31mred\nhttps://evil.example [a](b)"
)
FORBIDDEN = {"script", "a", "img", "svg", "style", "iframe", "link", "form", "input", "button", "object"}


def row(host: str, status: Status = "ok", **more: Any) -> HostResult:
    """A row of the command `uptime`."""
    return HostResult(host, more.pop("branch", None), more.pop("command", "uptime"), status, **more)


def html_of(*rows: HostResult) -> str:
    """What a notebook shows."""
    return Results(rows)._repr_mimebundle_()["text/html"]


def test_hosts_of_one_outcome_share_a_row_and_failures_come_first() -> None:
    """A display is folded: one row for each outcome, the worst first, hosts folded, skipped ones in one line."""
    rows = [
        *(row(f"web{n}", stdout="active\n", exit_code=0, started_at=BEGAN, seconds=n / 10) for n in range(1, 21)),
        row("db1", "failed", exit_code=3, error="exit code 3: no space"),
        *(row(f"x{n}", "skipped", command=None) for n in range(1, 13)),
    ]
    for shown in (Elements(html_of(*rows)).text, repr(Results(tuple(rows)))):
        assert re.search(r"33 hosts.*✘ 1 failed.*✔ 20 ok.*– 12 skipped", shown)  # noqa: RUF001 - a dash is meant
        assert 0 < shown.index("db1") < shown.index("web[1-20]") < shown.index("no branch matched on 12 hosts: x[1-12]")
        assert shown.count("active") == 1
        assert "0.1-2.0" in shown


def test_branches_stay_apart() -> None:
    """One outcome under two branches is two rows, each with its branch."""
    shown = repr(Results((row("web1", branch="in_('web')"), row("db1", branch="else"))))
    assert re.search(r"ok +web1 +in_\('web'\)\n.*ok +db1 +else", shown)


def test_text_and_html_come_together() -> None:
    """A notebook, an exported one and a terminal each find their form; printing gives the text."""
    results = Results((row("web1", stdout="hello\n"),))
    bundle = results._repr_mimebundle_(include=None, exclude=None)
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == repr(results) == str(results)


def test_no_rows_say_so() -> None:
    """An empty Results is shown as such."""
    assert repr(Results()) == "no rows"
    assert "no rows" in html_of()


def test_errors_that_differ_in_the_address_alone_fold() -> None:
    """Five hundred unreachable hosts are one row, not five hundred, and it says that the others' lines differ."""
    rows = [row(f"web{n}", "unreachable", error=f"10.0.0.{n} port 22: no answer") for n in range(1, 201)]
    assert html_of(*rows).count("<tr") == 2
    assert "10.0.0.1 port 22: no answer (others alike)" in repr(Results(tuple(rows)))


def test_errors_that_say_something_else_stay_apart() -> None:
    """Only numbers and names are looked past: another reason is another row."""
    rows = [row("a", "unreachable", error="a: no answer"), row("b", "unreachable", error="b: connection refused")]
    assert html_of(*rows).count("<tr") == 3


FIELDS = ("host", "branch", "command", "signal", "stdout", "stderr", "error")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_hostile_text_in_any_field_stays_text(field: str, status: Status) -> None:
    """S1, S2: whatever field it comes in, no tag, live link, formula or control character gets out."""
    values: dict[str, Any] = {"host": "web1", "branch": "b", "command": "c", field: HOSTILE}
    results = Results((HostResult(status=status, **values),))
    page = Elements(results._repr_mimebundle_()["text/html"])
    assert not page.tags & FORBIDDEN
    assert all(set(attributes) <= {"style", "class"} for _, attributes in page.found)
    for text in (page.text, repr(results)):
        assert all(it.isprintable() or it in "\n\t" for it in text)


def test_a_status_and_a_remark_take_any_text() -> None:
    """S1: the pieces that other displays are made of escape what they are given."""
    for markup in (fate("failed", HOSTILE), note(HOSTILE)):
        assert Elements(markup).tags <= {"b", "div", "span"}


def test_mathjax_is_told_to_look_away() -> None:
    """S1: the outermost element has the class that JupyterLab's MathJax heeds, and that of exported notebooks."""
    tag, attributes = Elements(html_of(row("web1"))).found[0]
    assert tag == "div"
    assert {"mathjax_ignore", "tex2jax_ignore"} <= set((attributes["class"] or "").split())


def test_hosts_cannot_forge_rows_in_text() -> None:
    """S18: every line of output stands behind the name of its stream, so none looks like a row."""
    shown = repr(Results((row("web1", stdout="x\n✔ ok  web2\n\x1b[1A✔ ok  web3\n"),))).split("\n")
    assert shown[2:] == ["  stdout │ x", "  stdout │ ✔ ok  web2", "  stdout │ ␛[1A✔ ok  web3"]


def test_long_output_is_cut_and_folded_away() -> None:
    """F26: of 10 MB on one line a bounded head and tail are shown, collapsed, and what was left out is counted."""
    rows = [
        row("web1", stdout="x" * 10_000_000),
        row("web2", "failed", stderr="line\n" * 1000 + "the reason\n", exit_code=1),
    ]
    began = thread_time()
    markup = html_of(*rows)
    assert thread_time() - began < 2
    assert len(markup) < 30_000
    assert "9,994,000 characters left out" in markup
    assert re.search(r"<details><summary[^>]*>.*1,001 lines.*the reason.*</summary><pre", markup)
    assert len(repr(Results(tuple(rows)))) < 5_000


def test_one_line_is_not_two() -> None:
    """A single long line is folded away as one."""
    assert ">1 line <" in html_of(row("web1", stdout="x" * 1_000))


def test_the_journals_rows_do_not_count_for_the_time() -> None:
    """What was taken from the journal ran days ago: a run's seconds are those of what ran now."""
    known = row("web1", attempt=0, started_at=BEGAN - timedelta(days=3), seconds=1.0)
    rows = (known, row("web2", started_at=BEGAN, seconds=2.0))
    for shown in (Elements(html_of(*rows)).text, repr(Results(rows))):
        assert re.search(r"2 hosts.*✔ 2 ok( in )?2\.0 s", shown)
    assert repr(Results((known,))).split("\n")[0] == "1 host: ✔ 1 ok"


def test_colours_of_output_show_in_html_alone() -> None:
    """S2: SGR colours become styles in HTML, and vanish in text."""
    result = row("web1", stdout="\x1b[31mred\x1b[0m\n")
    assert '<span style="color:#cd483c">red</span>' in html_of(result)
    assert "stdout │ red" in repr(Results((result,)))


def test_what_the_error_line_says_is_not_shown_twice() -> None:
    """A single line of stderr that the error line quotes is left out; more than that is shown."""
    rows = (row("web1", "failed", exit_code=1, error="exit code 1: no such file", stderr="no such file\n"),)
    assert repr(Results(rows)).count("no such file") == 1
    assert html_of(*rows).count("no such file") == 1


def test_cut_output_is_marked_in_both() -> None:
    """R19: a row whose output was longer than the limit says so."""
    for shown in (html_of(row("web1", truncated=True)), repr(Results((row("web1", truncated=True),)))):
        assert "truncated: there was more than settings.max_output" in shown


@pytest.mark.parametrize("different", [False, True])
def test_ten_thousand_rows_are_shown_at_once(different: bool) -> None:
    """10,000 rows cost less than 0.3 s (0.6 for a busy machine), and no more of a page than a hundred rows."""
    rows = [
        row(
            f"web{n}",
            stdout=f"out {n * different}\n" * 10,
            error=f"{'x' * (n % 900)}" if different else None,
            started_at=BEGAN + timedelta(0, n),
            seconds=1.0,
        )
        for n in range(10_000)
    ]
    gc.disable()  # what other tests have left in memory is not gone through here
    try:
        began = thread_time()
        markup = html_of(*rows)
        assert thread_time() - began < 0.6
    finally:
        gc.enable()
    assert markup.count("<tr") == (101 if different else 2)
    assert ("9,900 more outcomes, 9,900 hosts" in markup) is different
    assert len(repr(Results(tuple(rows))).split("\n")) < 250


@given(
    st.lists(
        st.builds(
            HostResult,
            st.text(),
            st.none() | st.text(),
            st.none() | st.text(),
            st.sampled_from(WORST_FIRST),
            st.none() | st.integers(0, 255),
            st.none() | st.text(),
            st.text(),
            st.text(),
            error=st.none() | st.text(),
        ),
        max_size=4,
    )
)
def test_every_display_survives_any_rows(rows: list[HostResult]) -> None:
    """S1, R20: any text gives balanced HTML of known tags, and printable text."""
    results = Results(tuple(rows))
    page = Elements(results._repr_mimebundle_()["text/html"])
    known = {
        "div",
        "span",
        "b",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "pre",
        "code",
        "details",
        "summary",
        "wbr",
    }
    assert page.tags <= known
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", repr(results))
    assert results.to_markdown().count("\n") == 2 + len(re.findall(r"(?m)^\| [^s-]", results.to_markdown()))
