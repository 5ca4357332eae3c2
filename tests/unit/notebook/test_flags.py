"""A magic's line: flags, quotes, the notebook's variables, and where a command begins."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit.errors import PlanError
from opskit.notebook.flags import Flags, read, usage
from opskit.secrets import secret
from opskit.work.options import OPTIONS, flag_of

TOLD = [name for name in OPTIONS if name != "wait"]  # which is `--bg`

SLOW = ["web1", "web2"]
VARIABLES: dict[str, object] = {"slow": SLOW, "release": "v 42", "port": 8080, "größe": "xl", "_hidden": 1}


def line(text: str) -> Flags:
    """The flags of `%parallel`, which ends with a command."""
    return read(text, VARIABLES, "%parallel", takes_rest=True)


def options(text: str) -> dict[str, Any]:
    """The options of the first line of a cell."""
    return dict(read(text, VARIABLES, "%%parallel", takes_rest=False).options)


def refused(text: str, *, takes_rest: bool = True) -> str:
    """What the PlanError says."""
    with pytest.raises(PlanError) as caught:
        read(text, VARIABLES, "%parallel", takes_rest=takes_rest)
    return str(caught.value)


def test_the_contracts_example() -> None:
    """Long flags with values, and the variable that takes the results."""
    found = read("--roles app,web --chunk 25% --timeout 30 -o restarts", {}, "%%parallel", takes_rest=False)
    assert found == Flags({"roles": "app,web", "chunk": "25%", "timeout": "30"}, out="restarts")


def test_short_flags_are_the_contracts() -> None:
    """-r roles, -w hosts, -o out, -q quiet, -n dry run."""
    found = line("-r web -w web1 -o x -q -n uptime")
    assert found == Flags({"roles": "web", "hosts": "web1", "dry_run": True}, out="x", quiet=True, rest="uptime")


@pytest.mark.parametrize("name", TOLD)
def test_every_option_that_text_can_say_has_its_flag(name: str) -> None:
    """With a value, or as a switch; `usage` has a line for it."""
    flag = flag_of(name)
    switch = OPTIONS[name].switch
    assert options(flag if switch else f"{flag} 5") == {name: True if switch else "5"}
    assert any(f" {flag} " in text for text in usage().splitlines())


def test_an_empty_line_is_no_flags() -> None:
    """Nor are blanks."""
    assert line("") == line("  \t ") == Flags()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("--env A=b", "A=b"),
        ("--env=A=b", "A=b"),
        ("--env 'A=b C=\"x y\"'", 'A=b C="x y"'),
        ("--env \"A=b C='x y'\"", "A=b C='x y'"),
        ('--env="A=\\"b\\" C=\\\\"', 'A="b" C=\\'),
        ("--env A='x y'z", "A=x yz"),
        ("--env ''", ""),
        ("--env=", ""),
        ("--env 'A=\\n'", "A=\\n"),
        ("--env  A=ä ", "A=ä"),
    ],
)
def test_quotes_hold_a_value_together(text: str, value: str) -> None:
    """As in a shell: single quotes keep everything, double ones know the backslash; `--x=y` is `--x y`."""
    assert options(text) == {"env": value}


def test_a_variable_alone_is_the_object_itself() -> None:
    """Rows, results, frames: nothing goes through text."""
    for text in ("-w $slow", "-w {slow}", "--hosts=$slow", "-w '$slow'"):
        assert options(text)["hosts"] is SLOW


def test_a_variable_within_text_is_filled_in() -> None:
    """Anywhere in a value, blanks and all."""
    assert options("--name deploy-{release}-on-$port!") == {"name": "deploy-v 42-on-8080!"}
    assert options("--name $größe$port") == {"name": "xl8080"}


@pytest.mark.parametrize("text", ["{a,b}", "{}", "{0}", "{x y}", "$", "$1", "$$", "{a.b}", "a$", "{slow", "{ slow }"])
def test_only_identifiers_are_variables(text: str) -> None:
    """Everything else is text as it stands there."""
    assert options(f"--cwd '{text}'") == {"cwd": text}


def test_an_unknown_variable_is_answered_with_the_near_one() -> None:
    """It names the flag; a notebook's hidden names are not offered."""
    assert refused("-w $slwo uptime") == "%parallel: --hosts: no variable is called 'slwo'; did you mean 'slow'?"
    assert refused("-w {hidden} uptime") == (
        "%parallel: --hosts: no variable is called 'hidden'; known: größe, port, release, slow"
    )
    with pytest.raises(PlanError, match=r"known: slow$"):
        read("-w $zzz a", {"slow": 1, "In": 2, "exit": 3, "get_ipython": 4}, "%parallel", takes_rest=True)


@pytest.mark.parametrize(
    "command",
    [
        "uptime",
        "echo 'it''s' \"$HOME\" | wc -c",
        "echo it's",
        'echo "open',
        "ls -l --roles $slow {slow} > 'a  b'",
        "a  b\tc",
        "echo --out x -o y",
        "'quoted program' -n",
        "{slow}",
    ],
)
def test_options_end_at_the_first_other_word(command: str) -> None:
    """What follows is the command, untouched: quotes, dollars, pipes, flags of its own."""
    assert line(f"  -r web   {command} ") == Flags({"roles": "web"}, rest=command)


def test_two_dashes_end_the_options_too() -> None:
    """For a command that begins with a dash."""
    assert line("-r web -- -odd --command") == Flags({"roles": "web"}, rest="-odd --command")


def test_an_unknown_flag_is_answered_with_the_near_one() -> None:
    """B33: and with the usage, and where all are shown."""
    assert refused("--rolse web uptime") == (
        "%parallel: no flag is called '--rolse'; did you mean '--roles' or '--parse' or '--user'?\n"
        "usage: %parallel [-r ROLES] [-w HOSTS] [-o NAME] [-q] [-n] [--FLAG VALUE ...] COMMAND; "
        "%parallel? shows every flag"
    )
    assert "no flag is called '-x'; one-letter flags: -h, -n, -o, -q, -r, -w\n" in refused("-x web")
    assert "no flag is called '-rweb'; a one-letter flag stands by itself: -r web\n" in refused("-rweb uptime")
    assert "no flag is called '-qn'; a one-letter flag stands by itself: -q -n\n" in refused("-qn uptime")
    assert "no flag is called '-'" in refused("- web")


@pytest.mark.parametrize("dash", ["\N{EN DASH}", "\N{EM DASH}"])
def test_a_dash_that_a_word_processor_made_is_no_command(dash: str) -> None:
    """B33: or it would run on every host."""
    assert "did you mean '--roles'?" in refused(f"{dash}roles web uptime")
    assert "did you mean '--roles'?" in refused(f"-q {dash}roles web", takes_rest=False)


def test_a_value_after_a_flag_that_takes_one_only_joined() -> None:
    """B33: the line of a cell says how to write it."""
    assert "a value of --sudo stands after a =, --sudo=postgres;" in refused("--sudo postgres", takes_rest=False)


@pytest.mark.parametrize("text", ["-w", "--chunk", "-r web -o", "-w  "])
def test_a_missing_value_is_refused(text: str) -> None:
    """With the flag's long name."""
    assert "needs a value" in refused(text)
    assert refused("-w") == "%parallel: --hosts needs a value"


@pytest.mark.parametrize("text", ["-r 'web uptime", '--env "A=b', "-r web 'uptime", '-w web" x', "--name 'a\\' b'"])
def test_an_unclosed_quote_is_refused(text: str) -> None:
    """B33: from where it stands."""
    assert refused(text).startswith("%parallel: a quote is not closed: ")


def test_a_word_on_the_line_of_a_cell_is_refused() -> None:
    """B33: the commands of a cell stand below; where usage is shown is said."""
    assert refused("-r web uptime", takes_rest=False) == (
        "%parallel: 'uptime' is no flag; commands stand below this line, and %parallel? shows all flags"
    )


@pytest.mark.parametrize("text", ["-w web1 -w web2", "--hosts web1 -w web2", "-n --dry-run", "-o a --out b", "-q -q"])
def test_a_flag_given_twice_is_refused(text: str) -> None:
    """Neither of two values is silently dropped."""
    assert "stands there twice" in refused(f"{text} uptime")


@pytest.mark.parametrize("text", ["--dry-run=false", "-n=", "--once=no", "--quiet=yes", "-q=1"])
def test_a_switch_takes_no_value(text: str) -> None:
    """What was meant for no would else be taken for yes."""
    assert "takes no value" in refused(f"{text} uptime")


def test_the_name_for_results_may_be_made_of_variables() -> None:
    """As any value, so that a loop can keep the results of each round."""
    assert line("-o {größe}_$port uptime").out == "xl_8080"
    assert refused("-o $slow uptime") == "%parallel: --out takes a variable's name, not a list"


@pytest.mark.parametrize("name", ["a b", "1a", "a.b", "-", "class", "", "None"])
def test_results_go_into_a_variable(name: str) -> None:
    """What could not be asked for afterwards is refused."""
    assert refused(f"-o '{name}' uptime") == f"%parallel: --out takes a variable's name, not {name!r}"


@pytest.mark.parametrize("name", ["get_ipython", "exit", "In", "_", "__", "_i", "_oh", "__name__"])
def test_results_never_take_the_place_of_what_the_notebook_needs(name: str) -> None:
    """Names that are there from the start are refused; those that only resemble them are anybody's."""
    assert refused(f"-o {name} uptime") == (
        f"%parallel: --out can't be {name}, which is the notebook's own; take another name"
    )
    assert line(f"-o {name}_rows uptime").out == f"{name}_rows"


@pytest.mark.parametrize("text", ["--help", "-h", "-r web --help 'what", "-q -h uptime"])
def test_help_may_be_asked_for_as_in_a_shell(text: str) -> None:
    """Whatever stands after it."""
    assert line(text) == read(text, {}, "%%parallel", takes_rest=False) == Flags(help=True)


class Unreadable:
    """As what stands for something that is not there: it raises whatever it is asked."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError("out of context")


class Wordless:
    """What has no text."""

    def __str__(self) -> str:
        raise RuntimeError("out of words")


def test_a_variable_that_raises_is_named() -> None:
    """Alone, where it would be the value, and in text."""
    variables = {"odd": Unreadable(), "mute": Wordless()}
    for text, says in (
        ("-w $odd x", "--hosts: $odd can't be used: RuntimeError: out of context"),
        ("--chunk x{odd} x", "--chunk: {odd} can't be used: RuntimeError: out of context"),
        ("--chunk x$mute x", "--chunk: $mute can't be used: RuntimeError: out of words"),
    ):
        with pytest.raises(PlanError) as caught:
            read(text, variables, "%parallel", takes_rest=True)
        assert str(caught.value) == f"%parallel: {says}"


@given(text=st.text(st.sampled_from("-wro n=$ {}'\"\\slow\t,x")))
def test_no_line_raises_anything_else(text: str) -> None:
    """Whatever is typed: flags, or a PlanError that names the magic."""
    try:
        found = line(text)
    except PlanError as error:
        assert str(error).startswith("%parallel: ")  # noqa: PT017 - many lines are fine
    else:
        assert text.rstrip().endswith(found.rest)


@given(value=st.text(st.characters(exclude_characters="'${}", exclude_categories=["Cs"])))
def test_any_value_can_be_quoted(value: str) -> None:
    """In single quotes everything but a quote and variables stands for itself."""
    assert options(f"--name '{value}'") == {"name": value}


def test_sudo_may_name_its_user() -> None:
    """After a `=` alone: what follows a switch is a command already."""
    assert dict(line("--sudo=postgres psql").options) == {"sudo": "postgres"}
    found = line("--sudo postgres")
    assert (dict(found.options), found.rest) == ({"sudo": True}, "postgres")
    assert "--sudo stands there twice" in refused("--sudo --sudo=postgres x")


def test_a_run_in_the_background_is_not_waited_for() -> None:
    """`--bg` is `wait=False`; like other switches it takes no value."""
    assert dict(line("--bg -o later uptime").options) == {"wait": False}
    assert "--bg takes no value; to say no, leave it out" in refused("--bg=no -o later uptime")
    assert "no flag is called '--wait'" in refused("--wait no uptime")
    assert not any("--wait" in text for text in usage().splitlines())


@pytest.mark.parametrize("option", ["env", "answers", "variables"])
def test_a_value_among_others_may_be_a_secret(option: str) -> None:
    """`A=$token B=$port` hands each over as it is: the mask of a secret is never sent in its place."""
    token = secret("hunter2!")
    found = read(
        f"--{option} 'A=$token B={{port}} C=x-$port'", {**VARIABLES, "token": token}, "%parallel", takes_rest=True
    )
    assert found.options[option].keys() == {"A", "B", "C"}
    assert found.options[option]["A"] is token
    assert (found.options[option]["B"], found.options[option]["C"]) == (8080, "x-8080")


@pytest.mark.parametrize("text", ["--env A=x$token", "--name $token-1"])
def test_a_secret_is_no_part_of_text(text: str) -> None:
    """It is refused, without its value."""
    with pytest.raises(PlanError, match="is a secret, which can't be a part of text") as caught:
        read(text, {"token": secret("hunter2!")}, "%parallel", takes_rest=True)
    assert "hunter2" not in str(caught.value)


def test_an_undo_is_a_template_as_its_command_is() -> None:
    """`{{name}}` is left to it; `{name}` and `$name` are the notebook's variables as in every value."""
    text = "--undo 'ln -s {{release}} {{ server.name }} {release} $port' --undo-once --key add-{{release}} uptime"
    found = line(text)
    assert found == Flags(
        {"undo": "ln -s {{release}} {{ server.name }} v 42 8080", "undo_once": True, "key": "add-{{release}}"},
        rest="uptime",
    )
    assert line("--irreversible drop").options == {"irreversible": True}
    assert "--undo needs a value" in refused("--undo")
    assert "--irreversible takes no value" in refused("--irreversible=no drop")
