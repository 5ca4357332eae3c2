"""Templates: what is an expression, what it may name, and what may be filled in where."""

from __future__ import annotations

import datetime as dt
import decimal
import sys
import time
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit import masking
from opskit.errors import TemplateError
from opskit.fleet.host import Host
from opskit.fleet.names import Names
from opskit.secrets import secret
from opskit.work.template import LONGEST_COMMAND, Template

BOTH = Host("both", address="10.0.0.5", roles={"web", "app"}, vars={"dc": "ams", "empty": None, "path": "/srv/a b"})


class Colour(str, Enum):  # noqa: UP042 - the older way, whose str() is its name, is still about
    """A text that has another as an object."""

    RED = "red"


def rendered(text: str, *, enabled: bool = True, place: str = "", **variables: Any) -> str:
    """The command for one host."""
    return Template.compile(text, Names(variables, {}, {}, None), enabled=enabled, place=place).render(BOTH).command


def refused(text: str, *, enabled: bool = True, place: str = "", **variables: Any) -> str:
    """What the TemplateError says."""
    with pytest.raises(TemplateError) as caught:
        rendered(text, enabled=enabled, place=place, **variables)
    return str(caught.value)


def test_expressions_are_filled_in_for_the_host() -> None:
    """A14, P15: names, filters and attributes of the host."""
    assert rendered("echo {{ server.name }} {{ server.roles|sort|join(',') }}") == "echo both app,web"
    assert rendered("ping {{server.address}} {{ server.vars['dc'] ~ 1 }}") == "ping 10.0.0.5 ams1"


def test_a_value_is_one_quoted_word() -> None:
    """A15: it prints as it is, whatever is in it."""
    assert rendered("echo {{ v }}", v="a b; id") == "echo 'a b; id'"
    assert rendered("echo {{ v }}", v="it's") == "echo 'it'\"'\"'s'"
    assert rendered("echo {{ v }}", v="") == "echo ''"
    assert rendered("ls {{ server.vars.path }}/c") == "ls '/srv/a b'/c"


def test_harmless_values_go_in_anywhere() -> None:
    """Names, numbers and paths fit into quotes and comments too."""
    text = "sh -c 'echo {{ v }}' \"{{ v }}\" `echo {{ v }}` $(( {{ v }} )) # {{ v }}"
    assert rendered(text, v="a_1@%+=:,./-") == text.replace("{{ v }}", "a_1@%+=:,./-")


def test_names_are_the_hosts_first() -> None:
    """A variable called `server` or `configuration` shadows neither; any other wins over Jinja's own."""
    assert rendered("{{ server.name }} {{ namespace }} {{ result }}", server=1, namespace=2, result=3) == "both 2 3"
    assert rendered("{{ range(3) | join(',') }}") == "0,1,2"
    assert rendered("{{ configuration.v }} {{ configuration['v'] }}", configuration=1, v=2) == "2 2"


def test_values_are_taken_once() -> None:
    """A later change of a variable changes no command."""
    variables = {"v": 1}
    template = Template.compile("echo {{ v }}", Names({}, variables, {}, None))
    variables["v"] = 2
    assert template.render(BOTH).command == "echo 1"


@pytest.mark.parametrize(
    "text",
    [
        "docker ps --format '{{.Names}}'",
        "docker ps --format '{{ .Names }} {{- .ID }} {{-  .Image}}'",
        "echo $CAPISTRANO:OTHER$ ${#x} {% if %} {# no #} { {x} }}",
        "awk '{print $1}'",
    ],
)
def test_what_is_no_expression_is_shell_text(text: str) -> None:
    """A16, N7: Go templates, `{%`, `{#` and `${#x}` are sent unchanged."""
    assert rendered(text) == text


def test_a_constant_command_is_one_object() -> None:
    """10,000 hosts share one text."""
    template = Template.compile("uptime", Names({}, {}, {}, None))
    assert template.render(BOTH).command is template.render(Host("other")).command


def test_templates_can_be_turned_off() -> None:
    """`template=False` sends the text as it is, but for its line ends."""
    assert rendered("echo {{ nosuch }} {{\r\n", enabled=False) == "echo {{ nosuch }} {{\n"


def test_line_ends_are_those_of_a_shell() -> None:
    """A17: the text's, before values are filled in; a value stays as it is."""
    assert rendered("a\r\nb\rc {{ v }}\r\n", v="x\r\ny") == "a\nb\nc 'x\r\ny'\n"


def test_an_expression_ends_where_it_is_complete() -> None:
    """`}}` in its strings and dicts does not end it."""
    assert rendered("{{ '}}' }} {{ {'a': {'b': 1}}['a']['b'] }}}}") == "'}}' 1}}"
    assert rendered("{{\n server.name\n}}") == "both"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("echo\n  {{ server.name", ("line 2, column 3", "no `}}` ends it")),
        ("echo {{ a b }} {{ server.name }}", ("line 1, column 6", "`{{ a b }}`", "chunk after expression")),
        ("{{ a( }} {{ server.name }}", ("`{{ a( }}`", "unexpected 'end of template'")),
        ("awk '{{ print $1 }}'", ("`{{ print $1 }}`", "unexpected char '$'")),
        ("{{ }}", ("is no expression",)),
        ("{{- server.name }}", ("`{{-` is unknown here",)),
        ("{{ server.name|uper }}", ("No filter named 'uper'; did you mean 'upper'",)),
        ("a\n{{ wnated }}", ("line 2, column 1", "'wnated' is not defined; did you mean 'wanted'")),
        ("{{ srever.name }}", ("'srever' is not defined; did you mean 'server'",)),
        ("{{ len(wanted) }}", ("'len' is not defined",)),
        ("{{ nosuch | default(1) }}", ("'nosuch' is not defined",)),
    ],
)
def test_a_wrong_expression_is_refused_when_it_is_written(text: str, parts: tuple[str, ...]) -> None:
    """B8, A15: before any host is asked for; with line, column, place, near names and the way out."""
    with pytest.raises(TemplateError) as caught:
        Template.compile(text, Names({"wanted": 1}, {}, {}, None), place="line 7 of the cell")
    for part in (*parts, "line 7 of the cell", "`template=False` sends the text as it is"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{{ server.vars.dcc }}", "Vars has no 'dcc'; did you mean 'dc'?"),
        ("{{ server.vars['dcc'] }}", "Vars has no 'dcc'; did you mean 'dc'?"),
        ("{{ server.vars.dcc | upper }}", "Vars has no 'dcc'; did you mean 'dc'?"),
        ("{{ server.nam }}", "Host has no 'nam'; did you mean 'name'?"),
        ("{{ configuration.nosuch }}", "Configuration has no 'nosuch'"),
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_fails_on_a_host_names_it(text: str, part: str) -> None:
    """B8: the expression, the host, near names."""
    message = refused(text, place="line 7 of the cell")
    for expected in (part, text, "for both", "line 1, column 1, line 7 of the cell"):
        assert expected in message


def test_a_missing_var_may_have_a_default() -> None:
    """Jinja's own filter; what is defined as None needs its second argument."""
    assert rendered("{{ server.vars.nosuch | default('x') }}") == "x"
    assert rendered("{{ server.vars.empty | default('x', true) }}") == "x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.5, "1.5"),
        (True, "True"),
        (decimal.Decimal("1.10"), "1.10"),
        (PurePosixPath("/srv/a"), "/srv/a"),
        (dt.date(2026, 7, 1), "2026-07-01"),
        (np.int64(3), "3"),
        (np.float32(0.5), "0.5"),
        (np.str_("a"), "a"),
        (Colour.RED, "red"),
        (pd.Timestamp(0), "'1970-01-01 00:00:00'"),
    ],
)
def test_scalars_have_a_text(value: object, text: str) -> None:
    """Numbers, dates and paths are written as Python writes them."""
    assert rendered("{{ v }}", v=value) == text


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (None, "join"),
        ([1, 2], "join"),
        ((), "join"),
        ({1}, "join"),
        ({"a": 1}, "join"),
        ((letter for letter in ""), "join"),
        (np.array([1]), "join"),
        (pd.Series([1]), "join"),
        (b"a", "decode"),
        (len, "was not called"),
        (int, "was not called"),
        (object(), "name one of its attributes"),
        (BOTH, "name one of its attributes"),
        (float("nan"), "missing"),
        (decimal.Decimal("nan"), "missing"),
        (pd.NaT, "missing"),
        (pd.NA, "NAType"),
    ],
)
def test_what_is_no_text_is_refused(value: object, part: str) -> None:
    """None, collections, bytes, functions, objects and NaN: each says what to do."""
    assert part in refused("echo {{ v }}", v=value)
    assert part in refused("echo {{ v | raw }}", v=value)


def test_a_list_is_joined() -> None:
    """The way that the error names."""
    assert rendered("ls {{ v | join(',') }} {{ v | join(' ') | raw }}", v=[1, 2]) == "ls 1,2 1 2"


def test_a_value_that_needs_quotes_is_refused_inside_them() -> None:
    """N7: the host, the expression, the place, why, and what to do; not the value, which may be a secret."""
    message = refused("echo \"it is\n '{{ v }}'\"", v="hunter 2")
    for part in ("`{{ v }}` (line 2, column 3)", "for both", "inside double quotes", "' '", "away", "| raw"):
        assert part in message
    assert "hunter" not in message


@pytest.mark.parametrize(
    "text",
    [
        "cat <<E\n{{ a }}\n{{ b }}\nE\n",
        "cat <<-E\n\t{{ a }}\n{{ b }}\nE\n",
        "cat <<'E'\nx\n{{ a }}\n{{ b }}\nE\n",
        "cat <<EE\nE{{ a }}\n{{ b }}\nEE\n",
        "cat <<E\n{{ b }} {{ c }}{{ a }}\n{{ a }}{{ c }}\n{{ b }}\nE\n",
        "cat <<A <<E\n{{ a }}\nA\n{{ a }}\n{{ b }}\nE\n",
        # after what the scan could not follow
        "x=(1 2)\ncat <<E\n{{ a }}\n{{ b }}\nE\n",
        "echo $(cat <<E\n{{ a }}\n{{ b }}\nE\n)",
        "echo $(cat <<E\nx\n{{ a }})\n{{ b }}",
        "cat <<E''\n{{ a }}\n{{ b }}\nE\n",
        "cat <<{{ d }}\n{{ a }}\n{{ b }}\nE\n",
        "cat <<EE\nE\\\n{{ a }}\n{{ b }}\nEE\n",
    ],
)
def test_a_plain_value_that_would_end_a_here_document_is_refused(text: str) -> None:
    """S8: else what stands in the lines after it, a value too, would be commands."""
    message = refused(text, a="E", b="hostname", c="", d="E")
    for part in ("`{{ a }}`", "for both", "the end of a here-document", "| raw"):
        assert part in message
    assert rendered(text, a="F", b="hostname", c="", d="E").count("hostname")


def test_a_line_of_a_here_document_may_hold_more_than_its_delimiter() -> None:
    """Nor is anything refused outside of it, or where the value is shell text."""
    assert rendered("cat <<E\nx={{ a }}\nE\n{{ a }}", a="E") == "cat <<E\nx=E\nE\nE"
    assert rendered("cat <<E\n{{ a | raw }}\nhostname", a="E") == "cat <<E\nE\nhostname"
    assert rendered("cat <<E\n{{ a | raw }}\n{{ b }}", a="E", b="x y") == "cat <<E\nE\n'x y'"


def test_raw_inserts_as_it_is() -> None:
    """A piece of shell; what is made of it afterwards is a value again."""
    assert rendered("ls {{ v | raw }} '{{ v | raw }}'", v="-l | wc") == "ls -l | wc '-l | wc'"
    assert rendered("echo {{ v | raw | upper }}", v="a b") == "echo 'A B'"
    assert rendered("echo {{ (v | raw) ~ 1 }}", v="a b") == "echo 'a b1'"


def test_raw_text_is_read_for_what_stands_after_it() -> None:
    """S8: a quote that a raw value opens is seen by the next value."""
    assert rendered("{{ a | raw }} {{ b }}", a="ls -l", b="x y") == "ls -l 'x y'"
    assert "inside single quotes" in refused("{{ a | raw }} {{ b }}'", a="echo '", b="x y")
    assert "inside a comment" in refused("{{ b }} {{ a | raw }} {{ b }}", a="#", b="x y")


def test_nothing_is_rendered_twice() -> None:
    """S9: what looks like a template in a value, a raw one too, is just text."""
    assert rendered("echo {{ v }} {{ v | raw }}", v="{{ 7*7 }}") == "echo '{{ 7*7 }}' {{ 7*7 }}"
    assert rendered("echo {{ '{{ 7*7 }}' }}") == "echo '{{ 7*7 }}'"


def test_a_nul_is_refused() -> None:
    """B9: in the text, in a value, in a raw one; with its position."""
    assert "the command (line 2) has a NUL at character 6" in refused("echo \0", place="line 2")
    assert "NUL at character 6" in refused("echo \0 {{ server.name }}")
    assert "NUL at character 6" in refused("echo \0", enabled=False)
    assert "for both has a NUL at character 8" in refused("echo {{ v }}", v="a\0b")
    assert "NUL at character 7" in refused("echo {{ v | raw }} {{ v }}", v="a\0b")


def test_a_command_has_a_limit() -> None:
    """B10: 128 KiB of UTF-8, in the text or once filled in."""
    assert len(rendered("{{ v }}", v="x" * LONGEST_COMMAND)) == 131072
    assert len(rendered("x" * LONGEST_COMMAND)) == 131072
    for message in (refused("{{ v }}", v="x" * 131073), refused("é" * 65536 + "x")):
        for part in ("131073 bytes", "limit of 131072", "use `put` or stdin"):
            assert part in message


def test_what_is_no_utf_8_is_refused() -> None:
    """A lone surrogate, from a file name perhaps, can't be sent."""
    assert "'\\udcff' at character 7" in refused("echo {{ v }}", v="\udcff")
    assert "at character 6" in refused("echo \ud800")


def test_an_exit_is_a_failure() -> None:
    """A function that ends the program does not end the notebook."""
    assert "SystemExit: 3" in refused("{{ f(3) }}", f=sys.exit)


def test_a_cause_is_shown_harmlessly() -> None:
    """S2: what an error quotes of a value commands no terminal."""

    def failing() -> str:
        raise ValueError("\x1b]0;x\x07")

    assert "ValueError: ␛]0;x␇" in refused("{{ f() }}", f=failing)


def test_an_interrupt_passes_through() -> None:
    """What is no Exception is no failure of the template."""

    def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rendered("{{ f() }}", f=interrupted)


def test_rendering_is_cheap() -> None:
    """One expression on 10,000 hosts takes less than 0.25 s of CPU."""
    template = Template.compile("echo {{ server.vars.dc }}", Names({}, {}, {}, None))
    hosts = [Host(f"web{number}", vars={"dc": "ams 1"}) for number in range(10_000)]

    def spent() -> float:
        start = time.process_time()
        for host in hosts:
            template.render(host)
        return time.process_time() - start

    assert min(spent() for _ in range(3)) < 0.25


@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_plain_text_holds_values_as_they_are(value: str) -> None:
    """No shell reads it: nothing is quoted, whatever stands around the value."""
    masking._known = None
    template = Template.compile("it's {{ v }} of \"{{ server.name }}", Names({"v": value}, {}, {}, None))
    assert template.plain(BOTH) == f"it's {value} of \"both"


def test_plain_text_without_expressions_is_itself() -> None:
    """Also where templates are off."""
    assert Template.compile("add user", Names({}, {}, {}, None)).plain(BOTH) == "add user"
    assert Template.compile("{{ x }}", Names({}, {}, {}, None), enabled=False).plain(BOTH) == "{{ x }}"


def test_a_secret_can_not_stand_in_plain_text() -> None:
    """It would be shown; nor can a text that was made of one, or a NUL."""
    for text, says in (
        ("a {{ s }}", "its value is a secret"),
        ("a {{ s | upper }}", "a secret can only stand for itself"),
        ("a {{ nul }}", "has a NUL at character 3"),
    ):
        template = Template.compile(text, Names({"s": secret("hunter2!"), "nul": "\0"}, {}, {}, None), place="its key")
        with pytest.raises(TemplateError, match=says) as caught:
            template.plain(BOTH)
        assert "both" in str(caught.value)
        assert "its key" in str(caught.value)
        assert "hunter2!" not in str(caught.value)
