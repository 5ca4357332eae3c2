"""Secrets: never shown, compared or written down; asked for once."""

from __future__ import annotations

import contextlib
import copy
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

import opskit
from opskit import Host, Inventory, masking, secrets
from opskit.errors import ConditionError, OpskitError, SettingsError, TemplateError
from opskit.masking import MASK
from opskit.secrets import Secret, SecretMisused, secret
from opskit.settings import configure, current

if TYPE_CHECKING:
    from collections.abc import Callable

WEB = Inventory([Host("web1")])


@pytest.mark.parametrize(
    ("misuse", "says"),
    [
        (lambda found: found == "hunter2!", "can't be compared"),
        (lambda found: found != secret("hunter2!"), "can't be compared"),
        (pickle.dumps, "can't be pickled"),
        (copy.copy, "can't be pickled"),
        (copy.deepcopy, "can't be pickled"),
        (lambda found: f"-p{found}", r"can't be put into text; a command takes it as {{ name }}"),
        ("{:>10}".format, "can't be put into text"),
    ],
)
def test_a_secret_refuses_what_could_tell_of_it(misuse: Callable[[Secret], object], says: str) -> None:
    """Comparing, pickling, copying and formatting are errors of opskit's that do not show it."""
    with pytest.raises(SecretMisused, match=says) as caught:
        misuse(secret("hunter2!"))
    assert isinstance(caught.value, OpskitError)
    assert "hunter2!" not in str(caught.value)


def test_a_secret_shows_nothing() -> None:
    """As text it is a mask; what it is called may be seen."""
    given, asked = secret("hunter2!"), secret(prompt="Password of ops")
    assert (str(given), "%s" % given, repr(given)) == (MASK, MASK, "<a secret>")  # noqa: UP031 - one more way to show it
    assert repr(asked) == "<secret Password of ops>"
    assert not hasattr(given, "__dict__")
    with pytest.raises(TypeError):
        "x" + given  # type: ignore[operator]  # that is the point


def test_a_secret_may_be_a_key() -> None:
    """By identity, so that nothing is compared."""
    one, other = secret("hunter2!"), secret("hunter2!")
    assert {one: 1, other: 2}[one] == 1


def test_a_secret_of_the_environment_is_read_where_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the variable is later does not count; it is masked from then on."""
    monkeypatch.setenv("DB_PASSWORD", "hunter2!")
    found = secret(env="DB_PASSWORD")
    monkeypatch.delenv("DB_PASSWORD")
    assert found.reveal() == "hunter2!"
    assert repr(found) == "<secret DB_PASSWORD>"
    assert masking.mask("x hunter2!") == f"x {MASK}"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, 'secret() takes one of: a value, env="NAME", prompt="what to ask"'),
        ({"value": "hunter2!", "env": "X"}, "secret() takes one of"),
        ({"value": "abc"}, "this secret has fewer than 4 characters: it could not be masked in what is shown"),
        ({"value": "a    \n"}, "this secret has fewer than 4 characters"),
        ({"value": ""}, "this secret has fewer than 4 characters"),
        ({"value": b"hunter2!"}, "a secret must be text, not bytes"),
        ({"value": 12345}, "a secret must be text, not int"),
        ({"prompt": 5}, "a secret must be text, not int"),
        ({"env": 5}, "a secret must be text, not int"),
        ({"value": "hunter\0two"}, "this secret has a NUL in it"),
        ({"value": "hunter\udcff2"}, "this secret has bytes in it that are no UTF-8"),
        ({"env": "OPSKIT_TEST_NOWHERE"}, "secret(env='OPSKIT_TEST_NOWHERE'): the environment has no variable"),
        ({"env": "OPSKIT_TEST_SHORT"}, "the environment variable OPSKIT_TEST_SHORT has fewer than 4 characters"),
        ({"env": "OPSKIT_TEST_BYTES"}, "the environment variable OPSKIT_TEST_BYTES has bytes in it"),
    ],
)
def test_what_can_be_no_secret_is_refused(given: Any, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """S12: with the reason and without the value, and nothing is masked after."""
    monkeypatch.setenv("OPSKIT_TEST_SHORT", "x1y")
    monkeypatch.setenv("OPSKIT_TEST_BYTES", "hunter\udcff2")
    with pytest.raises(SettingsError) as caught:
        secret(**given)
    assert str(caught.value).startswith(says)
    assert "x1y" not in str(caught.value)
    assert not masking.active()


def test_a_person_is_asked_once_and_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the value is first needed, unseen; what was answered is masked, and is not asked for again."""
    asked: list[Any] = []

    def answer(question: str, **how: Any) -> str:
        asked.append((question, how["hidden"]))
        return "hunter2!"

    monkeypatch.setattr(secrets, "ask", answer)
    found = secret(prompt="Password of ops")
    assert (asked, masking.active()) == ([], False)
    assert [found.reveal(), found.reveal()] == ["hunter2!"] * 2
    assert asked == [("Password of ops: ", True)]
    assert masking.mask("hunter2!") == MASK


def test_several_threads_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes meanwhile waits for the first one's answer."""
    asked: list[str] = []
    together, inside = threading.Barrier(5), threading.Barrier(2)

    def answer(question: str, **_: Any) -> str:
        asked.append(question)
        with contextlib.suppress(threading.BrokenBarrierError):
            inside.wait(0.1)  # for a second one, who must not come
        return f"answer {len(asked)}"

    monkeypatch.setattr(secrets, "ask", answer)
    found = secret(prompt="Which")
    heard: list[str] = []

    def reveal() -> None:
        together.wait()
        heard.append(found.reveal())

    threads = [threading.Thread(target=reveal) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == ["answer 1"] * 5
    assert asked == ["Which: "]


def test_a_bad_answer_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too short is an error that names the question; the next need asks anew."""
    answers = iter(["abc", "hunter2!"])
    monkeypatch.setattr(secrets, "ask", lambda *_, **__: next(answers))
    found = secret(prompt="Which")
    with pytest.raises(SettingsError, match="the answer to 'Which' has fewer than 4 characters"):
        found.reveal()
    assert found.reveal() == "hunter2!"


def test_settings_do_not_show_secrets() -> None:
    """S11: neither as one by one, nor all, nor in the error about a bad one."""
    with configure(secrets={"sudo": "hunter2!", "login": secret("swordfish")}, env={"TOKEN": secret("opensesame")}):
        shown = f"{opskit.settings!r} {current()!r} {current().secrets}"
        assert dict(current().secrets)["sudo"].reveal() == "hunter2!"
    assert not any(value in shown for value in ("hunter2!", "swordfish", "opensesame"))
    assert "secrets = sudo login" in shown
    for bad in ({"sudo": "x1y"}, {"root": "hunter2!"}, {"sudo": 12345}, "hunter2!", ["hunter2!"]):
        with pytest.raises(SettingsError, match=r"configure\(\): secrets ") as caught:
            configure(secrets=bad)
        assert not any(value in str(caught.value) for value in ("x1y", "hunter2!", "12345"))


def test_a_plan_does_not_show_secrets() -> None:
    """S10, S11: a command names it by a variable; also where its text got into a command by another way."""
    password = secret("hunter2!")
    made = opskit.plan("login -p {{ password }} {{ plain }}", hosts=WEB, variables={"plain": password.reveal()})
    assert made.steps[0].command == "login -p \"$OPSKIT_SECRET_1\" 'hunter2!'"
    other = opskit.plan("true", hosts=WEB)
    for shown in (str(made), made._repr_html_(), made.df.to_csv(), made.diff(other).to_csv()):
        assert "OPSKIT_SECRET_1" in shown
        assert "hunter2!" not in shown
    assert [step.secrets for step in made.steps] == [(password,)]
    assert "a secret stands in its command" in made.warnings[0]


@pytest.mark.parametrize(
    "expression", ["s | upper", "s ~ 'x'", "'%s' % s", "[s] | join", "s | urlencode", "s | raw", "'x' ~ s | urlencode"]
)
def test_nothing_can_be_made_of_a_secret_in_a_template(expression: str) -> None:
    """It stands for itself alone: what a filter made of it would send its mask."""
    with pytest.raises(TemplateError, match=r"there is a secret in it, and a secret can only stand for itself"):
        opskit.plan(f"login {{{{ {expression} }}}}", hosts=WEB, variables={"s": secret("hunter2!")})


def test_a_condition_can_not_compare_a_secret() -> None:
    """It is an error with the condition, not a silent False."""
    hosts = Inventory([Host("web1", vars={"password": secret("hunter2!")})])
    with pytest.raises(ConditionError, match="can't be compared"), opskit.parallel(hosts=hosts) as session:
        session.when("server.vars.password == 'x'", "true")


def test_every_secret_of_a_plan_is_known_before_it_runs() -> None:
    """Those of commands, checks, environments, standard input and answers, each once."""
    found = {name: secret(prompt=name) for name in ("command", "check", "env", "stdin", "answer")}
    made = opskit.plan(
        "a {{ found.command }} {{ found.command }}",
        hosts=Inventory([Host("web1"), Host("web2")]),
        check="b {{ found.check }}",
        env={"A": found["env"]},
        stdin=found["stdin"],
        answers={"x": found["answer"]},
        variables={"found": found},
    )
    assert sorted(map(repr, made.secrets)) == sorted(map(repr, found.values()))
