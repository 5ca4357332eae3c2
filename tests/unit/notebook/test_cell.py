"""The text of a `%%parallel` cell: colons, option lines, scripts, and what is said of a line that can't be."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opskit.errors import PlanError
from opskit.notebook.cell import SETTERS, CellBranch, branches, one_script


def read(body: str) -> list[CellBranch]:
    """The branches of a cell that has some."""
    found = branches(body)
    assert found is not None
    return found


def only(body: str) -> CellBranch:
    """The branch of a cell that has one."""
    (branch,) = read(body)
    return branch


def refused(body: str) -> str:
    """What the PlanError says."""
    with pytest.raises(PlanError) as caught:
        branches(body)
    return str(caught.value)


def test_the_contracts_example() -> None:
    """Conditions, scripts, an option line, and `else`, each with its line; the magic's own is line 1."""
    body = """\
when in_('app'): script/restart-mongrel
  undo: script/start-mongrel
when in_('web'):
    systemctl reload apache2
    systemctl is-active apache2
else: echo nothing to do
"""
    assert branches(body) == [
        CellBranch("in_('app')", "script/restart-mongrel", {"undo": "script/start-mongrel"}, 2),
        CellBranch("in_('web')", "systemctl reload apache2\nsystemctl is-active apache2", {}, 4),
        CellBranch(None, "echo nothing to do", {}, 7),
    ]


@pytest.mark.parametrize(
    "body",
    [
        "uptime\nhostname\n",
        "  when x: indented is no branch\n",
        "whenever x: y\n",
        "when=5; echo $when\n",
        "when-changed x\n",
        "if true; then\n  echo a\nelse\n  echo b\nfi\n",
        "if true; then\n  echo a\nelse :\nfi\n",
        "elsewhere: x\n",
        "echo a; else: b",
        "# when x: y\n",
        "",
        "\n\n",
    ],
)
def test_a_body_without_branches_is_one_script(body: str) -> None:
    """Only `when` and `else:` at the very start of a line make branches; shell's own `else` is none."""
    assert branches(body) is None


@pytest.mark.parametrize(
    ("head", "condition", "command"),
    [
        ("when in_('app'): a", "in_('app')", "a"),
        ("when in_('app') :a", "in_('app')", "a"),
        ("when(in_('app')): a", "(in_('app'))", "a"),
        ("when'app' in server.roles: a", "'app' in server.roles", "a"),
        ("when\tx:\ta", "x", "a"),
        ("when x: a: b: c", "x", "a: b: c"),
        ("when x: curl http://localhost:80/", "x", "curl http://localhost:80/"),
        ("when server.name == 'a:b': c", "server.name == 'a:b'", "c"),
        ('when server.name == "it\'s: x": c', 'server.name == "it\'s: x"', "c"),
        ("when server.name[1:3] == 'eb': c", "server.name[1:3] == 'eb'", "c"),
        ("when {'a': 1}[x]: c", "{'a': 1}[x]", "c"),
        ("when (lambda s: s.port)(server): c", "(lambda s: s.port)(server)", "c"),
        ("when lambda s: s.port: c", "lambda s: s.port", "c"),
        ("when [s for s in x if (y := s)]: c", "[s for s in x if (y := s)]", "c"),
        ("when f'{x:>3}' == 'a': c", "f'{x:>3}' == 'a'", "c"),
        ("when x if y else z: c", "x if y else z", "c"),
        ("when not in_('app'): : > file", "not in_('app')", ": > file"),
        ("else: a: b", None, "a: b"),
        ("else:a", None, "a"),
    ],
)
def test_the_colon_is_the_first_whose_left_side_is_an_expression(
    head: str, condition: str | None, command: str
) -> None:
    """Not one in brackets or strings, and never one of the command."""
    branch = only(head)
    assert (branch.condition, branch.command) == (condition, command)


def test_a_condition_without_a_colon_is_refused() -> None:
    """B5, B33: with the line."""
    assert refused("when x: a\n\nwhen in_('app')\n    b\n") == (
        "line 4 of the cell: no colon ends the condition; write `when CONDITION: COMMAND`\n  when in_('app')"
    )
    assert refused("when").startswith("line 2 of the cell: no colon ends the condition")


def test_a_condition_that_is_no_expression_goes_on_to_be_refused_with_a_caret() -> None:
    """What compiles conditions says best what is wrong; here the text up to the first colon is taken."""
    assert only("when in_('app')): a: b").condition == "in_('app'))"
    assert only("when: a").condition == ""


def test_what_is_odd_about_a_condition_is_not_said_once_for_each_colon() -> None:
    """Python's own warnings are for who compiles it for good."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert only("when server.name is 'a:b' or x['y':]: c").condition == "server.name is 'a:b' or x['y':]"
    assert caught == []


@pytest.mark.parametrize("name", SETTERS)
def test_option_lines_stand_before_the_script_or_under_a_one_line_command(name: str) -> None:
    """In both places each option can be set; the value is the rest of its line."""
    assert only(f"when x:\n\n    {name}: a: b  \n\n    echo 1\n") == CellBranch("x", "echo 1", {name: "a: b"}, 2)
    assert only(f"when x: echo 1\n  {name}: a\n") == CellBranch("x", "echo 1", {name: "a"}, 2)
    assert only(f"when x: echo 1\n\t{name}:\n").options == {name: ""}


def test_after_the_first_other_line_all_is_script() -> None:
    """Also what looks like an option."""
    branch = only("when x:\n    timeout: 5\n    echo 1\n    timeout: 6\n    user: me\n")
    assert branch.options == {"timeout": "5"}
    assert branch.command == "echo 1\ntimeout: 6\nuser: me"


def test_options_under_a_one_line_command_may_be_followed_by_more_of_its_script() -> None:
    """The command is the script's first line."""
    assert only("when x: echo 1\n  timeout: 5\n    echo 2\n    echo 3\n") == CellBranch(
        "x", "echo 1\necho 2\necho 3", {"timeout": "5"}, 2
    )


def test_a_branch_says_how_it_is_undone() -> None:
    """Under a one-line command, or before a script's first line; a colon of the command is its own."""
    for head, script in (("when x: add bob", ""), ("when x:", "    add bob\n")):
        body = f"{head}\n    undo: del bob: now\n    undo_once: true\n    key: add-{{{{ who }}}}\n{script}"
        options = {"undo": "del bob: now", "undo_once": "true", "key": "add-{{ who }}"}
        assert only(body) == CellBranch("x", "add bob", options, 2)
    assert only("else: drop\n  irreversible: true\n").options == {"irreversible": "true"}
    assert "did you mean 'undo_once'" in refused("when x: a\n  undoonce: true\n")


@pytest.mark.parametrize("line", ["undo:x", "a undo: x", "undo : x", "Undo: x", "note: x", "try:", "-: x"])
def test_what_is_no_option_line_is_script(line: str) -> None:
    """An option is its name, a colon, and a blank or nothing."""
    assert only(f"when x:\n    {line}\n") == CellBranch("x", line, {}, 2)


@pytest.mark.parametrize(
    ("name", "says"),
    [("timout", "did you mean 'timeout'?"), ("users", "did you mean 'user'?"), ("chunk", "; known: cwd, env, ")],
)
def test_a_misspelt_option_is_not_sent_to_hosts(name: str, says: str) -> None:
    """B33: what resembles an option, or is one of the run, is a slip: it would be the first line of a script."""
    message = refused(f"when x: echo 1\n  {name}: 5\n")
    assert message.startswith(f"line 3 of the cell: no option of a branch is called {name!r}")
    assert says in message


def test_an_option_can_be_set_once() -> None:
    """With the second one's line."""
    assert refused("when x:\n  user: a\n  user: b\n  id\n").startswith(
        "line 4 of the cell: `user:` stands there a second"
    )


def test_a_script_keeps_its_lines() -> None:
    """Deeper indentation, blank lines in between and trailing blanks stay; blank lines around it go."""
    body = "when x:\n\n    for i in 1 2; do\n        echo $i  \n\n    done\n    \n\n\nelse: a\n"
    assert read(body)[0].command == "for i in 1 2; do\n    echo $i  \n\ndone"


def test_a_heredoc_is_script() -> None:
    """Its lines lose the script's indentation and nothing else; whatever they look like."""
    body = "when x:\n    cat > f <<'EOF'\n    when y: z\n      undo: w\n    # a\n    else: b\n    EOF\n    cat f\n"
    assert only(body).command == "cat > f <<'EOF'\nwhen y: z\n  undo: w\n# a\nelse: b\nEOF\ncat f"


def test_tabs_indent_too() -> None:
    """One tab, or any blanks that are the same on each line."""
    assert only("when x:\n\techo 1\n\t\techo 2\n").command == "echo 1\n\techo 2"


def test_a_different_indentation_is_refused() -> None:
    """B33: with the line, and how the two differ."""
    assert refused("when x:\n\techo 1\n    echo 2\n") == (
        "line 4 of the cell: it is indented differently from its script's first line (4 blanks there, 1 tab first); "
        "indent a script by the same blanks"
    )
    assert refused("when x:\n    echo 1\n  echo 2\n").startswith("line 4 of the cell: it is indented differently")


def test_comments_at_the_start_of_a_line_are_the_cells() -> None:
    """Anywhere, and never part of a script; indented ones are the script's."""
    body = "# first\nwhen x:\n# second\n    # kept\n    echo 1\n# third\n    echo 2\n# fourth\nelse: a\n# fifth"
    assert branches(body) == [CellBranch("x", "# kept\necho 1\necho 2", {}, 3), CellBranch(None, "a", {}, 10)]
    assert only("when x: a\n# why\n  timeout: 5\n").options == {"timeout": "5"}


@pytest.mark.parametrize("line", ["When x: a", "WHEN x: a", "Else: a", "ELSE: a", "otherwise: a", "Otherwise : a"])
def test_what_resembles_a_branch_is_not_sent_to_hosts(line: str) -> None:
    """B33: in a cell without branches it would be a line of the script that every host runs."""
    for before in ("", "uptime\n", "when y: b\n"):
        number = before.count("\n") + 2
        assert refused(f"{before}{line}\n") == (
            f"line {number} of the cell: `{line.split(maxsplit=1)[0].rstrip(':')}` begins no branch; "
            "write `when CONDITION:` or `else:`, at the beginning of the line"
        )


@pytest.mark.parametrize(
    "line", ["  when in_('web'): a", "\twhen not in_('web'): a", "if in_('web'): a", " elif in_(x): a"]
)
def test_a_branch_that_is_indented_or_called_otherwise_is_not_sent_to_hosts(line: str) -> None:
    """B33: nor below another branch, as a line of its script."""
    for before in ("", "uptime\n", "when y: b\n", "else:\n  b\n"):
        assert refused(f"{before}{line}\n").startswith(f"line {before.count(chr(10)) + 2} of the cell: `")


def test_each_line_of_a_command_knows_where_it_stands() -> None:
    """Whatever options, comments and blank lines are between; so does each option."""
    body = "# a\nwhen x: one\n  undo: u\n\n  cwd: /srv\n# b\n  two\n\n# c\n  three\n\nelse:\n  four"
    first, second = read(body)
    assert first.command == "one\ntwo\n\nthree"
    assert first.command_lines == [3, 8, 9, 11]
    assert first.option_lines == {"undo": 4, "cwd": 6}
    assert second.command_lines == [14]


def test_a_body_without_branches_knows_where_its_lines_stand() -> None:
    """The blank ones before it are no part of it."""
    found = one_script("\n\nuptime\n\nhostname\n")
    assert (found.command, found.line, list(found.command_lines)) == ("uptime\n\nhostname", 4, [4, 5, 6])


@pytest.mark.parametrize("body", ["uptime\nwhen x: a\n", "when x: a\nuptime\n", "when x:\n    a\nuptime\n    b\n"])
def test_a_line_that_belongs_to_no_branch_is_refused(body: str) -> None:
    """With its number and its text."""
    number = body.splitlines().index("uptime") + 2
    assert refused(body).startswith(
        f"line {number} of the cell: `uptime` belongs to no branch; a branch begins with `when"
    )


@pytest.mark.parametrize("body", ["when x:\n", "when x:\n\n   \n", "when x:\n  undo: a\n", "else:\n", "when x:\n# a\n"])
def test_a_branch_without_a_command_is_refused(body: str) -> None:
    """B11: with the branch's line."""
    assert refused("when y: b\n" + body).startswith("line 3 of the cell: the branch has no command")


def test_line_ends_of_other_systems_are_line_ends() -> None:
    """CRLF and CR end a line; nothing else does, whatever Python thinks of form feeds."""
    assert branches("when x:\r\n    a\r\n    b\r\nelse: c\r\n") == [
        CellBranch("x", "a\nb", {}, 2),
        CellBranch(None, "c", {}, 5),
    ]
    assert only("when x:\r    a\r    b").command == "a\nb"
    assert only("when x: echo 'a\x0cb\x1cc\x85d\u2028e'").command == "echo 'a\x0cb\x1cc\x85d\u2028e'"


PIECES = st.sampled_from(
    [
        *"when else: ([{'\"#:\\\t\n\r\x00\x0c\u2028x5=.,)]} -",
        "when ",
        "else:",
        "    ",
        "\n",
        "undo: ",
        "when x: y\n",
        "lambda ",
    ]
)


@given(body=st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text()))
@example("when " + "(" * 5000 + ":")
@example("when " + "-" * 20_000 + "1: x")
@example("when x\0: y")
@example("when '\ud800': y")
def test_no_body_raises_anything_else(body: str) -> None:
    """Whatever stands in a cell: branches, one script, or a PlanError that names a line of the cell."""
    try:
        found = branches(body)
    except PlanError as error:
        assert str(error).startswith("line ")  # noqa: PT017 - many bodies are fine
    else:
        assert found is None or all(branch.command.strip() for branch in found)


CONDITIONS = st.sampled_from(["in_('app')", "server.name == 'a:b'", "xs[1:2]", "{'a': x}['a']", "not (lambda: x)()"])
LINES = st.sampled_from(
    [
        "echo 1",
        "# a",
        "    deeper",
        "when x: y",
        "else: z",
        "undo: a",
        "timeout: 5",
        "cat <<EOF",
        "EOF",
        "'\"",
        "a\tb  ",
        "",
    ]
)
SCRIPTS = st.lists(LINES, max_size=6).map(lambda lines: "\n".join(["first", "second", *lines, "last"]))
OPTIONS = st.dictionaries(st.sampled_from(SETTERS), st.sampled_from(["1", "a: b", "A=b C='x y'"]), max_size=3)
BRANCHES = st.lists(st.tuples(CONDITIONS, SCRIPTS, OPTIONS), max_size=5)


@given(
    whens=BRANCHES, otherwise=SCRIPTS, indent=st.sampled_from(["  ", "    ", "\t"]), end=st.sampled_from(["\n", "\r\n"])
)
@pytest.mark.parametrize("first_below", [True, False])
def test_what_is_written_is_read_back(
    whens: list[tuple[str, str, dict[str, str]]], otherwise: str, indent: str, end: str, *, first_below: bool
) -> None:
    """Branches, scripts and options as they were, in order, however they are written."""
    lines: list[str] = []
    expected = []
    for condition, script, options in [*whens, (None, otherwise, {})]:
        expected.append(CellBranch(condition, script, options, len(lines) + 2))
        head = "else:" if condition is None else f"when {condition}:"
        first, *others = script.split("\n")
        lines.append(head if first_below else f"{head} {first}")
        lines += [f"{indent}{name}: {value}" for name, value in options.items()]
        lines += [indent + line for line in ([first, *others] if first_below else others)]
    assert branches(end.join([*lines, ""])) == expected
