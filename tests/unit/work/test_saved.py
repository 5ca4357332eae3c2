"""Plans in files: what comes back, who may read it, and files that are no plans."""

from __future__ import annotations

import json
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import opskit
from opskit import Host, Inventory, masking, secrets
from opskit.elsewhere import ALONE
from opskit.errors import InventoryError, PlanChanged, PlanError, SettingsError
from opskit.fleet.names import Names
from opskit.secrets import Secret, secret
from opskit.settings import Settings
from opskit.testing import ScriptedTransport
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from opskit.work.plan import Plan, Step

FLEET = Inventory(
    [Host("a", "10.0.0.1", 22, "ops", roles={"web"}), Host("b", roles={"web", "db"}), Host("c", vars={"dc": "ams"})]
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a plan may be written."""
    return tmp_path / "deploy.plan"


def made(inventory: Inventory = FLEET, branch_options: dict[str, Any] | None = None, **options: Any) -> Plan:
    """A plan of two branches."""
    settings = Settings()
    names = Names.of(None, options.get("variables", {}), settings)
    draft = Draft(options, settings, "parallel")
    draft.compile_check(names, "")
    draft.when("in_('web')", "restart {{ server.name }}", names, "", options=branch_options or {})
    draft.when("in_('db')", "pg_isready\n'x y'", names, "", options={})
    return draft.plan(lambda: inventory)


def seen(plan: Plan) -> Any:
    """All that decides what a plan does; patterns and hosts by what a file keeps of them."""

    def of_step(step: Step) -> Any:
        host = step.host
        terms = [getattr(step.terms, found.name) for found in fields(step.terms)]
        return (host.name, host.address, host.port, host.user, step.branch, step.command, step.chunk, terms)

    run = [
        getattr(plan.terms, found.name) for found in fields(plan.terms) if found.name not in ("variables", "template")
    ]
    return (plan.hosts.names, list(map(of_step, plan.steps)), list(map(of_step, plan.checks)), run, plan.warnings)


names = st.text("abc", min_size=1, max_size=3)
options = st.fixed_dictionaries(
    {},
    optional={
        "chunk": st.integers(1, 5) | st.sampled_from(["25%", "12.5%", [1, "33.3%", "100%"]]),
        "fanout": st.integers(1, 99),
        "pause": st.floats(0, 1e6),
        "check": st.sampled_from(["true", "curl {{ server.name }}"]),
        "retries": st.integers(0, 9),
        "on_error": st.sampled_from(["stop", "continue"]),
        "max_failures": st.integers(0, 9) | st.just("10%"),
        "on_no_hosts": st.sampled_from(["error", "skip"]),
        "name": names,
        "confirm": st.booleans(),
        "wait": st.booleans(),
        "parse": st.sampled_from(["json", "csv", re.compile(r"(?P<x>\d+)", re.MULTILINE)]),
        "timeout": st.none() | st.floats(0.001, 1e6),
        "connect_timeout": st.floats(0.001, 1e6),
        "user": names,
        "sudo": st.booleans() | names,
        "env": st.dictionaries(names, st.text(st.characters(exclude_characters="\0", codec="utf-8"))),
        "cwd": st.just("/srv/x y"),
        "stdin": st.binary(max_size=9) | st.text(max_size=9),
        "on_disconnect": st.sampled_from(["end", "leave"]),
        "variables": st.just({"x": object()}),
    },
)
of_branch = st.fixed_dictionaries(
    {},
    optional={
        "shell": st.sampled_from(["/bin/bash", True]),
        "answers": st.dictionaries(st.sampled_from(["a+", "b$"]), names),
        "user": names,
    },
)


@given(given_options=options, branch_options=of_branch)
def test_a_plan_comes_back_as_it_was(
    given_options: dict[str, Any], branch_options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever its options: the same steps on the same hosts and terms, checks and warnings."""
    plan = made(FLEET, branch_options, **given_options)
    path = tmp_path_factory.getbasetemp() / "round.plan"
    plan.save(path)
    assert seen(opskit.load_plan(path)) == seen(plan)


def test_a_loaded_plan_says_the_same(place: Path) -> None:
    """Printed, as a frame, and compared; it can be saved again."""
    plan = made(chunk=1)
    plan.save(place)
    loaded = opskit.load_plan(str(place))
    assert str(loaded) == f"{plan}\n{ALONE}"
    assert loaded.df.equals(plan.df)
    assert loaded.diff(plan).empty
    first = place.read_bytes()
    loaded.save(place)
    assert place.read_bytes() == first


def test_a_branch_without_a_shell_comes_back(place: Path) -> None:
    """`shell=False` is no other word for left out."""
    made(FLEET, {"shell": False}).save(place)
    assert opskit.load_plan(place).steps[0].terms.shell is False


@pytest.mark.parametrize("there", [None, 0o644, 0o666, "link"])
def test_only_its_owner_can_read_a_plan(there: Any, place: Path) -> None:
    """S13: whatever the umask is and the file that stood there; what a planted link names stays as it is."""
    victim = place.parent / "victim"
    victim.write_text("mine")
    if there == "link":
        place.symlink_to(victim)
    elif there is not None:
        place.write_text("x" * 100_000)
        place.chmod(there)
    before = os.umask(0)
    try:
        made().save(place)
    finally:
        os.umask(before)
    assert not place.is_symlink()
    assert place.stat().st_mode & 0o777 == 0o600
    assert opskit.load_plan(place).hosts.names == ("a", "b", "c")
    assert victim.read_text() == "mine"
    assert sorted(path.name for path in place.parent.iterdir()) == ["deploy.plan", "victim"]


def test_a_plan_that_can_not_be_written_leaves_what_was_there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs no earlier plan, and leaves no other file."""
    made().save(place)
    before = place.read_bytes()

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(PlanError, match=r"the plan can't be written to .*deploy\.plan: No space left on device"):
        made(chunk=1).save(place)
    assert [path.name for path in place.parent.iterdir()] == ["deploy.plan"]
    assert place.read_bytes() == before


@pytest.mark.parametrize("path", ["{}", "{}/nowhere/x", "~nobody-of-this-name/x", "", "a\0b", 5, os.devnull])
def test_a_place_where_nothing_can_be_written_is_refused(path: Any, tmp_path: Path) -> None:
    """A folder, no folder, no path, a device: an error that names it, for reading too."""
    given_path = path.format(tmp_path) if isinstance(path, str) else path
    for act in (made().save, opskit.load_plan):
        with pytest.raises(PlanError):
            act(given_path)
    assert not Path(os.devnull).is_file()


# Secrets


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> Secret:
    """A secret of the environment."""
    monkeypatch.setenv("OPSKIT_TEST_TOKEN", "hunter2!")
    return secret(env="OPSKIT_TEST_TOKEN")


def with_secrets(one: Secret, other: Secret) -> Plan:
    """A plan with these everywhere."""
    return made(env={"A": one}, stdin=other, answers={"x": one, "y": other}, check="c {{ s }}", variables={"s": one})


def test_secrets_are_kept_by_name_alone(token: Secret, place: Path) -> None:
    """S11: the file holds no value; a loaded plan looks it up where it is run."""
    asked = secret(prompt="Password of ops")
    with_secrets(token, asked).save(place)
    content = place.read_bytes()
    assert b"hunter2" not in content
    assert b"OPSKIT_TEST_TOKEN" in content
    loaded = opskit.load_plan(place)
    assert sorted(map(repr, loaded.secrets)) == ["<secret OPSKIT_TEST_TOKEN>", "<secret Password of ops>"]
    assert {found.reveal() for found in loaded.secrets if found.source == token.source} == {"hunter2!"}


def test_one_question_of_a_saved_plan_is_asked_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many steps need its answer."""
    made(variables={}, env={"A": secret(prompt="P"), "B": secret(prompt="P")}).save(place)
    asked: list[str] = []

    def answer(question: str, **_: Any) -> str:
        asked.append(question)
        return "hunter2!"

    monkeypatch.setattr(secrets, "ask", answer)
    for found in opskit.load_plan(place).secrets:
        found.reveal()
    assert asked == ["P: "]


def test_a_plan_can_be_looked_at_without_its_secrets(
    token: Secret, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only running it needs them; what lacks is named then, and nothing is sent."""
    with_secrets(token, token).save(place)
    monkeypatch.delenv("OPSKIT_TEST_TOKEN")
    loaded = opskit.load_plan(place)
    assert "restart" in str(loaded)
    with (
        opskit.use(FLEET),
        pytest.raises(SettingsError, match="secret\\(env='OPSKIT_TEST_TOKEN'\\): the environment has no variable"),
    ):
        loaded.apply()


def test_a_secret_that_was_given_as_a_value_is_not_saved(place: Path) -> None:
    """The error says which option has it and what to write instead."""
    with pytest.raises(PlanError, match=r"env has a secret that was given as a value.*secret\(env=\"NAME\"\)"):
        made(env={"A": secret("hunter2!")}).save(place)
    with pytest.raises(PlanError, match="command has a secret"):
        opskit.plan("x {{ s }}", hosts=FLEET, variables={"s": secret("hunter2!")}).save(place)
    assert not place.exists()


def test_a_secrets_text_in_a_command_is_not_saved(token: Secret, place: Path) -> None:
    """S11: it may have got there by another way."""
    assert token.reveal()
    with pytest.raises(PlanError, match="a secret stands in it as plain text"):
        opskit.plan("login hunter2!", hosts=FLEET).save(place)
    assert not place.exists()


@pytest.mark.parametrize("option", ["on_output", "check", "parse"])
def test_a_function_is_not_saved(option: str, place: Path) -> None:
    """No file can hold one."""
    function: Any = {"on_output": print, "check": bool, "parse": lambda text: [text]}[option]
    with pytest.raises(PlanError, match=f"the plan can't be saved: {option} is a .*, which no file can hold"):
        made(**{option: function}).save(place)
    assert not place.exists()


# Hosts that have changed


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"address": "10.0.0.9"}, "a has another address than when the plan was made: 10.0.0.9, not 10.0.0.1"),
        ({"port": 2222}, "a has another port than when the plan was made: 2222, not 22"),
        ({"user": "root"}, "a has another user than when the plan was made: root, not ops"),
        (None, "the plan was made for a, but the inventory has no host 'a'"),
    ],
)
def test_a_plan_whose_hosts_have_changed_is_not_run(
    change: dict[str, Any] | None, says: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another address, port or user, or a host that is gone: nothing is sent."""
    transport = ScriptedTransport()
    monkeypatch.setattr("opskit.shared.transport", lambda *_: transport)
    made(user="deploy").save(place)
    first: dict[str, Any] = {"name": "a", "address": "10.0.0.1", "port": 22, "user": "ops", "roles": {"web"}}
    hosts = [*FLEET][1:] if change is None else [Host(**(first | change)), *[*FLEET][1:]]
    with opskit.use(Inventory(hosts)), pytest.raises(PlanChanged) as caught:
        opskit.load_plan(place).apply()
    assert str(caught.value).startswith(says)
    assert str(caught.value).count("nothing was sent") == 1
    assert transport.dialled == []


def test_a_plan_is_run_as_it_was_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These steps and no others, by the branch's own user, whatever else the inventory has now."""
    transport = ScriptedTransport()
    monkeypatch.setattr("opskit.shared.transport", lambda *_: transport)
    plan = made(user="deploy", chunk=1)
    plan.save(place)
    now = Inventory([Host("z", roles={"web"}), *reversed([*FLEET])])
    with opskit.use(now):
        results = opskit.load_plan(place).apply()
    assert transport.sent == [("a", "restart a"), ("b", "restart b"), ("b", "pg_isready\n'x y'")]
    assert [row.status for row in results] == ["ok", "ok", "ok", "skipped"]


def test_a_plan_of_no_inventory_says_so(place: Path) -> None:
    """Where no inventory is in use, its hosts can't be compared."""
    made().save(place)
    with pytest.raises((InventoryError, PlanError)):
        opskit.load_plan(place).apply()


# Files that are no plans


def test_a_plan_of_another_format_is_refused(place: Path) -> None:
    """Which one it has, and which one this opskit reads: it may say less than must be known."""
    made().save(place)
    place.write_text(place.read_text().replace('"opskit_plan": 2', '"opskit_plan": 1'))
    with pytest.raises(PlanError, match=r"is no plan that this opskit can read \(format 1, expected 2\)"):
        opskit.load_plan(place)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"5",
        b'{"opskit_plan": 2}',
        b'{"opskit_plan": 1}',
        b'{"opskit_plan": 2, "hosts": 5}',
        b"[" * 100_000,
        b'{"opskit_plan": ' + b"9" * 10_000 + b"}",
    ],
)
def test_a_file_that_is_no_plan_is_refused(content: bytes, place: Path) -> None:
    """With its path, and no error of another kind."""
    place.write_bytes(content)
    with pytest.raises(PlanError, match=re.escape(str(place))):
        opskit.load_plan(place)


BAD: dict[str, list[Any]] = {
    "hosts": [{"name": "-oProxyCommand=x"}, {"name": "a", "nope": 1}, {"name": "a", "port": "x"}, 5],
    "terms": [{"nope": 1}, {"timeout": "soon"}, {"user": "$(id)"}, {"sudo": "-x y"}, {"env": [["A=B", "x"]]}, 7, None],
    "steps": [
        {"host": "nope"},
        {"command": 5},
        {"command": ""},
        {"command": "a\0b"},
        {"chunk": 0},
        {"chunk": 9},
        {"chunk": "x"},
        {"terms": 99},
        {"terms": -1},
        {"branch": 7},
        {"secrets": [{"secret": "X", "kind": "file"}]},
        {"secrets": 5},
    ],
    "checks": [5, {"host": "a"}],
    "run": [{"fanout": "many"}, {"fanout": 0}, {"retries": -1}, {"check": {"bytes": "%%"}}, {"nope": 1}, {"wait": 7}],
    "warnings": [5],
}


@pytest.mark.parametrize(("part", "bad"), [(part, bad) for part, found in BAD.items() for bad in found])
def test_a_plan_that_was_tampered_with_is_refused(part: str, bad: Any, place: Path) -> None:
    """Each value is checked as the option was that it came from: PlanError, and nothing else, however bad it is."""
    made(chunk=1).save(place)
    content = json.loads(place.read_text())
    if part == "run":
        content["run"].update(bad)
    elif isinstance(bad, dict) and part != "checks":
        content[part][0].update(bad)
    else:
        content[part] = [bad]
    place.write_text(json.dumps(content))
    with pytest.raises(PlanError, match=r"is no whole plan"):
        opskit.load_plan(place)


@pytest.mark.parametrize(("part", "name"), [("terms", "sudo"), ("terms", "timeout"), ("run", "chunk"), ("run", "wait")])
def test_a_plan_that_lacks_an_option_is_refused(part: str, name: str, place: Path) -> None:
    """What a file does not say is not left to a default: it may be what the plan was checked for."""
    made().save(place)
    content = json.loads(place.read_text())
    del (content["run"] if part == "run" else content["terms"][0])[name]
    place.write_text(json.dumps(content))
    with pytest.raises(PlanError, match=r"is no whole plan"):
        opskit.load_plan(place)


def test_steps_out_of_order_are_refused(place: Path) -> None:
    """A host's rows would be lost."""
    made().save(place)
    content = json.loads(place.read_text())
    content["steps"].reverse()
    place.write_text(json.dumps(content))
    with pytest.raises(PlanError, match="not in the order of their chunks and hosts"):
        opskit.load_plan(place)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(data=st.data())
def test_whatever_stands_in_a_file_only_a_plan_error_comes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any value anywhere in the file, or a piece of it missing: a plan that can be shown, or PlanError."""
    masking._known = None
    path = tmp_path_factory.getbasetemp() / "hostile.plan"
    made(chunk=1, check="true", answers={"x": "y"}, stdin=b"x", parse=re.compile("(?P<x>x)")).save(path)
    content = json.loads(path.read_text())
    at: Any = content
    while True:
        keys = sorted(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(at[key], (dict, list)) or not at[key] or data.draw(st.booleans()):
            break
        at = at[key]
    if isinstance(at, dict) and data.draw(st.booleans()):
        del at[key]
    else:
        at[key] = data.draw(json_values)
    path.write_text(json.dumps(content))
    try:
        plan = opskit.load_plan(path)
    except PlanError:
        return
    assert len(plan.df) == len(plan.steps)
    assert str(plan)


def test_a_file_that_is_gone_is_refused(place: Path) -> None:
    """With the working folder, in case another one was meant."""
    with pytest.raises(PlanError, match=r"can't be read: No such file or directory \(working folder "):
        opskit.load_plan(place)


def test_a_command_that_names_a_secret_without_one_is_refused(token: Secret, place: Path) -> None:
    """Whoever took it out of the file would have had the command run with nothing in its place."""
    opskit.plan("x {{ s }}", hosts=FLEET, variables={"s": token}).save(place)
    content = json.loads(place.read_text())
    for step in content["steps"]:
        step["secrets"] = []
    place.write_text(json.dumps(content))
    with pytest.raises(PlanError, match="a command names a secret that the plan does not"):
        opskit.load_plan(place)


def test_a_file_that_commands_read_is_kept_by_its_whole_path(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is applied wherever its reader is, and sends the file that it was made with."""
    (tmp_path / "data").write_text("x")
    monkeypatch.chdir(tmp_path)
    opskit.plan("cat", hosts=FLEET, stdin=Path("data")).save(place)
    monkeypatch.chdir("/")
    assert opskit.load_plan(place).steps[0].terms.stdin == tmp_path / "data"
