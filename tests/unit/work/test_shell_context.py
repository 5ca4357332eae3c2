"""Quoted values stay one argument in real shells, or are refused; nothing of a value is ever run (S8)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from opskit.work.quoting import quoted
from opskit.work.shell_context import HOLE, contexts

if TYPE_CHECKING:
    from collections.abc import Sequence

SHELLS = [
    shell.split()
    for shell in ("sh", "dash", "bash", "bash --posix", "busybox sh")
    # where sh is one of the others, once is enough
    if shutil.which(shell.split()[0])
    and (shell != "sh" or Path(shutil.which("sh") or "").resolve().name not in "dash bash")
]


def marked(text: str) -> str:
    """The text with a HOLE for each `@`."""
    return text.replace("@", HOLE)


def places(text: str) -> list[str]:
    """Where each `@` of the text stands; empty for a word of its own."""
    return [context.place for context in contexts(marked(text))]


def filled(text: str, values: Sequence[str]) -> str | None:
    """The command with a value for each `@`, or None if one is refused."""
    pieces = marked(text).split(HOLE)
    command = pieces[0]
    for value, context, piece in zip(values, contexts(marked(text)), pieces[1:], strict=True):
        word = quoted(value, context)
        if word is None:
            return None
        command += word + piece
    return command


def run(shell: list[str], command: str, folder: Path) -> None:
    """Run a command in a folder, its output thrown away."""
    subprocess.run(  # what comes of it is read from files: the command may well be nonsense
        [*shell, "-c", command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=20,
        check=False,
    )


PLAIN = [
    "echo @",
    "@",
    "cd @ && ls @",
    "a='it'\\''s' @",
    'echo "it\'s" @',
    "echo it\\'s @",
    "echo \\\\@",
    "x=@",
    "PATH=$PATH:@ cmd",
    "echo a@b",
    'echo "$(cat @)"',
    "echo $(cat @) @",
    'echo "$(echo "$(cat @)")" @',
    "( cd @; ls )",
    "f() { ls @; }",
    "case $x in a) ls @;; esac",
    'echo "$(f() { :; }; (ls) @)" @',
    "$(ls) " * 30 + "@",
    "cat <<EOF @\nit's\nEOF\nls @",
    "cat <<'A' <<-B; ls @\n$( ` ${\nA\n\tit's \\$(\n\tB\nls @",
    "cat <<\\EOF\n`\nEOF\nls @",
    "cat <<<it @",
    "echo $((1 + (2) << 3)) @",
    "echo $((16#ff + ${x} + $# - $y)) @",
    "((x = 1)); ls @",
    "for ((i = 0; i > 3; i++)); do ls @; done",
    "echo ${x} ${#x} ${x:-a b} ${x##*/} ${x%.*} $# $$ $? @",
    'echo "${x:-a b}" @',
    "# it's\nls @",
    "ls # it's\nls @",
    "echo a#it @ $#it @ 'a'#it @ $(b)#it @",
    "diff <(ls @) <(ls @) @",
    "echo $'a\\n' @ $\"a\" @",
    "[ -n @ ] && [[ -n x ]] && ls @",
    "a[0]=@",
    "ls [ab]* @",
    "ls \\\n @",
    "ls &&\\\n ls @",
    "`ls 'a'` @",
    'echo "`ls \\`x\\``" @',
    "echo $[1 + 2] @",
    'echo "a\\"" @ \'a\\\' @',
    "echo $$'a' @ \"$$\" @",
]


@pytest.mark.parametrize("text", PLAIN)
def test_a_word_of_its_own_takes_any_value(text: str) -> None:
    """A command in which nothing stands in the way refuses nothing."""
    assert set(places(text)) == {""}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("echo '@'", "inside single quotes"),
        ("echo 'a\n@'", "inside single quotes"),
        ('echo "@"', "inside double quotes"),
        ('echo "$(ls)@"', "inside double quotes"),
        ('echo "$(ls "@")"', "inside double quotes"),
        ('echo $"@"', "inside double quotes"),
        ('echo "$$(@)"', "inside double quotes"),
        ("echo $'@'", "inside single quotes"),
        ("echo `ls @`", "inside backticks"),
        ('echo "`ls @`"', "inside backticks"),
        ("echo `ls \\`ls @\\``", "inside backticks"),
        ("echo `ls '@'`", "inside backticks"),
        ("echo $((@))", "inside $(( ))"),
        ("echo $((1 + (@)))", "inside $(( ))"),
        ("((@))", "inside (( ))"),
        ("echo $[@]", "inside $[ ]"),
        ("echo ${@}", "inside ${ }"),
        ("echo ${x:-@}", "inside ${ }"),
        ("echo ${x#${y}@}", "inside ${ }"),
        ("# @", "inside a comment"),
        ("ls;#@", "inside a comment"),
        ("(#@\n)", "inside a comment"),
        ("cat <<EOF\n@ a\nEOF", "inside a here-document"),
        ("cat <<'EOF'\n@ a\nEOF", "inside a here-document"),
        ("cat <<-A <<B\n\tA\n@ a\nB", "inside a here-document"),
        ("echo \\@", "right after a backslash"),
        ("echo \\\\\\@", "right after a backslash"),
        ('echo "\\@"', "right after a backslash"),
        ("echo $@", "right after a `$`"),
        ('echo "$@"', "right after a `$`"),
        # bash evaluates what it takes for a number, commands in it too
        ("[[ @ -eq 1 ]]", "inside [[ ]]"),
        ("x[@]=1", "inside the [ ] of an array"),
        ("x[1 + @]=1", "an open `[`"),
    ],
)
def test_where_quotes_could_not_hold_is_named(text: str, place: str) -> None:
    """S8, N7: quotes inside quotes, code inside code, and what bash evaluates by itself."""
    text = text.replace("$@", f"${HOLE}") if place.startswith("right after a `$`") else text
    assert place in places(text)[-1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo $(case x in x) ls;; esac) @", "case"),
        ("echo $(c@ x) @", "case"),
        ("echo $(echo case) @", "case"),
        ("echo $'a\\'' @", "$' '"),
        ("echo $'a\\\\' @", "$' '"),
        ("echo ${x:-'} @", "inside ${ }"),
        ('echo "${x:-\'}" @', "inside ${ }"),
        ("echo ${x:-\\}} @", "inside ${ }"),
        ("echo ${x:-$(ls)} @", "inside ${ }"),
        ("echo ${ ls; } @", "a command inside ${ }"),
        ("echo $((1); ls) @", "no `))` ends"),
        ("((ls); ls @)", "no `))` ends"),
        ("echo $(('1')) @", "inside $(( ))"),
        ("((1 << 2)) @", "<<"),
        ("((1 # 2)) @", "inside (( ))"),
        ("echo $[a'] @", "inside $[ ]"),
        ("echo !(a|') @", "a `(` inside a word"),
        ("a=(b 'c' @)", "a `(` inside a word"),
        ("echo $(ls # it's\n) @", "a comment inside a substitution"),
        ("echo `ls # it's\n` @", "a comment inside backticks"),
        ("echo $(cat <<EOF\n)\nEOF\n) @", "a here-document inside a substitution"),
        ("cat <<$x\n$x\nls @", "no plain word"),
        ("cat <<@\nEOF\nls @", "no plain word"),
        ("cat <<E@\nEOF\nls @", "no plain word"),
        ("cat <<E'O'F\nEOF\nls @", "no plain word"),
        ("cat <<''\n\nls @", "no plain word"),
        ("cat <<EOF\n@\nit's\nEOF\nls @", "could make its last"),
        ("cat <<EOF\nE@F\nit's\nEOF\nls @", "could make its last"),
        ("cat <<-EOF\n\t@@\nit's\nEOF\nls @", "could make its last"),
        ("cat <<EOF\n\\\nEOF\nls @", "an expansion"),
        ("cat <<EOF\n$(\nEOF\n)\nEOF\nls @", "an expansion"),
        ("cat <<EOF\n`\nEOF\n`\nEOF\nls @", "an expansion"),
        ("cat <<EOF\n${x:-\nEOF\n}\nEOF\nls @", "an expansion"),
        ("cat <<EOF $(ls\n@)\nEOF\n", "a line break inside a substitution"),
        ("cat <<EOF \\\n @\nEOF\n", "a line break between"),
        ("cat <<EOF 'a\nb' @\nEOF\n", "a line break between"),
        ("echo $\\\n(ls '@')", "a backslash carries over"),
        ('echo "$\\\n(ls @)"', "a backslash carries over"),
        ("echo $(ca\\\nse x in x) ls;; esac) @", "a backslash carries over"),
        ("echo \\\n# it's\n @", "a backslash carries over"),
        ("cat <\\\n<EOF @", "a backslash carries over"),
        ("$(" * 30 + "@", "deeply nested"),
    ],
)
def test_what_can_not_be_followed_refuses_all_that_comes_after(text: str, reason: str) -> None:
    """S8: what shells read in different ways ends the scan; unsure means refuse."""
    assert reason in places(text)[-1]
    assert places(text)[-1].startswith("after ")


def test_the_line_where_the_scan_ended_is_named() -> None:
    """So that a person finds what to change."""
    assert "in line 2," in places("ls @\necho !(a)\nls @")[1]


def test_harmless_words_go_bare_where_they_are_themselves() -> None:
    """As the contract says; but a number before a `>`, a word in { } or after a $name would be another."""
    bare = [context.bare for context in contexts(marked("ls @ a@ @>x {a,@} $x@ ${x}@ @1>x @ >x"))]
    assert bare == [True, True, False, False, False, True, False, True]


def test_an_empty_value_is_nothing_inside_quotes_only_where_it_joins_nothing() -> None:
    """`"$` and `(x)` around an empty value would become a command."""
    assert filled("'@' \"@\" @", ["", "", ""]) == "'' \"\" ''"
    for text in ('"$@(x)"', "'a' \\@x", "$'\\@'", "$((@1))", "${x@}", "cat <<EOF\n$@(x)\nEOF", "cat <<EOF\n\\@\nEOF"):
        assert filled(text, [""]) is None
    assert filled("cat <<EOF\nx=@\nEOF # @", ["", ""]) == "cat <<EOF\nx=\nEOF # "


def test_words_of_the_shells_own_are_quoted() -> None:
    """`case` from a variable is an argument, not the shell's grammar."""
    assert filled("@ x", ["case"]) == "'case' x"
    assert filled("echo $(@@)", ["ca", "se"]) == "echo $(ca'se')"


SHOW = r"printf '%s\0' @ >>shown"
FRAGMENTS = [
    SHOW,
    "{ " + SHOW + "; }",
    "echo \"it's\" 'a\"b' it\\'s; " + SHOW,
    "# it's\n" + SHOW + " # it's",
    'x="$(' + SHOW + ')"',
    "echo $(echo $(" + SHOW + "))",
    "cat <<EOF; " + SHOW + "\nit's $x \"\nEOF\n",
    "cat <<'A' <<-B\n$( ` '\nA\n\tit's\n\tB\n" + SHOW,
    "case x in (x) " + SHOW + ";; esac",
    "( (" + SHOW + ") )",
    "f() { " + SHOW + "; }; f",
    "for i in @; do printf '%s\\0' \"$i\" >>shown; done",
    "x=@; printf '%s\\0' \"$x\" >>shown",
    'x=@ && export x; sh -c \'printf "%s\\0" "$x"\' >>shown',
    "echo $((1 + 2)) ${x:-y z} ${#x} $# `echo 'a'`; " + SHOW,
    "printf '%s\\0' \\\n @ >>shown",
    "if true; then\n\t" + SHOW + "\nfi",
    "printf '%s\\0' ''@\"\" >>shown",
    "set -- @; printf '%s\\0' \"$*\" >>shown",
    "printf '%s\\0' @>>shown",
    "echo $'a\\n' $\"b\" a#b; " + SHOW,
]
NASTY = st.text(
    st.sampled_from("'\"\\$`!#;&|<>(){}[]*?~-=%^@,.: \t\n\rEOFa1é€\x01\x7f\x85\u2028\U0001f600"), max_size=12
)
VALUES = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
    | NASTY
    | st.sampled_from(
        [
            "$(:>canary)",
            "`:>canary`",
            "';:>canary;'",
            '";:>canary;"',
            "\n:>canary\n",
            "'\nEOF\n:>canary\n",
            "-rf",
            "x[$(:>canary)]",
        ]
    )
)


@given(st.sampled_from(FRAGMENTS), VALUES)
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(SHOW, "")
@example("printf '%s\\0' @>>shown", "2")
def test_a_value_arrives_as_exactly_one_argument(tmp_path: Path, fragment: str, value: str) -> None:
    """S8: whatever stands around it, whatever it is made of, in every shell."""
    command = filled(fragment, [value])
    assert command is not None
    for shell in SHELLS:
        run(shell, command, tmp_path)
        shown = tmp_path / "shown"
        assert shown.read_bytes() == value.encode() + b"\0", (shell, command)
        shown.unlink()
        assert [found.name for found in tmp_path.iterdir()] == []


PIECES = [
    *"'\"\\`(){}[]#<>;&|$!=~*%,a1 \t\n",
    *(
        "$(",
        "${x:-",
        "$((",
        "))",
        "((",
        "$[",
        "[[ ",
        " ]]",
        " #",
        "\\\n",
        " \\\n ",
        "$'",
        '$"',
        "\\'",
        "${x}",
        "${#x}",
        "$#",
    ),
    *(
        "<<EOF\n",
        "<<'EOF'\n",
        "<<-EOF\n",
        "<<E",
        "\nEOF\n",
        "\n\tEOF\n",
        "<<<",
        "<(",
        "case x in x)",
        ";; esac",
        "a=(",
        "a[",
    ),
    *("echo ", "if ", "f() {", "for x in ", "'a'", '"a"', "$(echo a)", "`echo a`", "cat <<EOF ", "@", "@", "@"),
]
ATTACKS = [
    *(
        "$(:>canary)",
        "`:>canary`",
        "';:>canary;'",
        '";:>canary;"',
        "\n:>canary\n",
        "'\n:>canary\n'",
        "\nEOF\n:>canary\n",
    ),
    *("x[$(:>canary)]", "' $(:>canary) '", ") :>canary; (", ";;esac\n:>canary\n", "} ; :>canary;", "x))\n:>canary\n"),
    *("", "EOF", "E", "case", "2", "if", "in", "esac", "a,b", "-", "x="),
]


@given(st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_of_a_value_is_ever_run(tmp_path: Path, data: st.DataObject) -> None:
    """S8: even in nonsense a value is refused or harmless, and what a harmless value does to the rest is foreseen."""
    text = "".join(data.draw(st.lists(st.sampled_from(PIECES), min_size=2, max_size=12))) + "@"
    command = filled(text, [data.draw(st.sampled_from(ATTACKS)) for _ in range(text.count("@"))])
    if command is not None:
        for shell in SHELLS:
            run(shell, command, tmp_path)
            assert not (tmp_path / "canary").exists(), (shell, command)
