"""What the journal keeps of terms, secrets and hosts: what comes back, and what never gets there."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit import Host, masking, secrets
from opskit.errors import JournalError
from opskit.secrets import Secret, secret
from opskit.settings import Settings
from opskit.work.kept import (
    packed_secrets,
    packed_terms,
    packed_way,
    unpacked_secrets,
    unpacked_terms,
    unpacked_way,
)
from opskit.work.options import OF_BRANCH, checked
from opskit.work.terms import Terms, branch_terms

names = st.text("abc", min_size=1, max_size=3)
readable = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9)
options = st.fixed_dictionaries(
    {},
    optional={
        "timeout": st.none() | st.floats(0.001, 1e6),
        "connect_timeout": st.floats(0.001, 1e6),
        "user": names,
        "sudo": st.booleans() | names,
        "env": st.dictionaries(names, readable),
        "cwd": st.just("/srv/x y"),
        "stdin": st.binary(max_size=9) | readable | st.just(Path(__file__)),
        "answers": st.dictionaries(st.sampled_from(["a+", "(?i)b$"]), readable),
        "shell": st.sampled_from(["/bin/bash", True]),
        "on_disconnect": st.sampled_from(["end", "leave"]),
        "on_output": st.just(print),
    },
)
roles = st.frozensets(names)
hosts = st.builds(
    Host,
    st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True),
    st.none() | st.from_regex(r"[a-z0-9:.]{1,9}", fullmatch=True),
    st.none() | st.integers(1, 65535),
    st.none() | names,
    roles,
    st.fixed_dictionaries(
        {},
        optional={
            "known_hosts": readable | st.lists(readable),
            "identity_files": readable | st.lists(readable),
            "proxy_jump": st.none() | readable,
            "login": st.just("hunter2!"),
            "dc": st.just("ams"),
        },
    ),
)


def terms(**given_options: Any) -> Terms:
    """What a branch with these options is run on."""
    return branch_terms({}, checked(given_options, OF_BRANCH, "run"), Settings(), "run")


@given(given_options=options)
def test_terms_come_back_as_they_were(given_options: dict[str, Any]) -> None:
    """Whatever the options; only who listened is forgotten, who may be in another process."""
    masking._known = None
    made = terms(**given_options)
    assert unpacked_terms(packed_terms(made)) == replace(made, on_output=None)


def test_terms_without_a_shell_come_back() -> None:
    """`False` is no other word for left out."""
    assert unpacked_terms(packed_terms(terms(shell=False))).shell is False


@given(host=hosts)
def test_a_way_comes_back_as_it_was(host: Host) -> None:
    """Name, address, port, user, roles, and of the vars those that ssh needs."""
    masking._known = None
    found = unpacked_way(packed_way(host))
    kept = {name: host.vars[name] for name in ("known_hosts", "identity_files", "proxy_jump") if name in host.vars}
    assert (found.name, found.address, found.port, found.user, found.roles) == (
        host.name, host.address, host.port, host.user, host.roles,
    )  # fmt: skip
    assert dict(found.vars) == kept
    assert packed_way(found) == packed_way(host)


def test_a_way_has_no_password_and_nothing_else_of_the_vars() -> None:
    """S11: paths become text."""
    text = packed_way(
        Host(
            "a", roles={"web", "app"}, vars={"login": "hunter2!", "identity_files": (Path("/k"), "~/l"), "x": object()}
        )
    )
    assert json.loads(text) == {
        "name": "a", "address": "a", "port": None, "user": None, "roles": ["app", "web"],
        "vars": {"identity_files": ["/k", "~/l"]},
    }  # fmt: skip


# Secrets


def test_secrets_are_kept_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """S11: those of the environment and those that are asked for are looked up, or asked for, again."""
    monkeypatch.setenv("OPSKIT_TEST_TOKEN", "hunter2!")
    token, asked = secret(env="OPSKIT_TEST_TOKEN"), secret(prompt="Password of ops")
    kept = packed_secrets((token, asked))
    made = packed_terms(terms(env={"A": token}, answers={"x": asked}, stdin=token))
    assert "hunter2" not in kept + made
    assert [found.source for found in unpacked_secrets(kept)] == [token.source, asked.source]
    found = unpacked_terms(made)
    assert isinstance(found.stdin, Secret)
    assert found.stdin is dict(found.env)["A"]
    assert found.stdin.reveal() == "hunter2!"


def test_a_secret_that_was_given_as_a_value_is_asked_for() -> None:
    """No journal holds it: whoever rolls back is asked, and told what for; each has a question of its own."""
    given_secret = secret("hunter2!")
    made = packed_terms(
        terms(env={"A": given_secret, "B": given_secret}, answers={"sure?": given_secret}, stdin=given_secret)
    )
    kept = packed_secrets((given_secret, secret(prompt="P"), secret("swordfish")))
    assert "hunter2" not in made + kept
    assert json.loads(kept)[0] == {"secret": None, "kind": "given"}
    found = unpacked_terms(made)
    asked = [found.stdin, *(value for _, value in (*found.env, *found.answers))]
    said = "the secret that was given as a value to"
    assert [each.source for each in asked if isinstance(each, Secret)] == [
        ("prompt", f"{said} stdin"),
        ("prompt", f"{said} env A"),
        ("prompt", f"{said} env B"),
        ("prompt", f"{said} answers sure?"),
    ]
    assert [each.source for each in unpacked_secrets(kept)] == [
        ("prompt", f"{said} $OPSKIT_SECRET_1 of the undo"),
        ("prompt", "P"),
        ("prompt", f"{said} $OPSKIT_SECRET_3 of the undo"),
    ]


@pytest.mark.parametrize(
    "option", [{"env": {"A": "x hunter2! y"}}, {"stdin": "hunter2!\n"}, {"answers": {"x": "hunter2!"}}]
)
def test_a_secrets_text_is_left_out_too(option: dict[str, Any]) -> None:
    """S11: it may have got there by another way."""
    secret("hunter2!")
    made = packed_terms(terms(**option))
    assert "hunter2" not in made
    found = unpacked_terms(made)
    assert any(
        isinstance(value, Secret) for value in (found.stdin, *dict(found.env).values(), *dict(found.answers).values())
    )


def test_a_user_who_is_called_as_the_password_is_kept() -> None:
    """Else nobody could log in as `vagrant` to undo anything."""
    secret("vagrant")
    assert unpacked_terms(packed_terms(terms(user="vagrant", sudo="vagrant", cwd="/home/vagrant"))).user == "vagrant"
    assert unpacked_way(packed_way(Host("a", user="vagrant"))).user == "vagrant"


def test_one_question_of_many_texts_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that are unpacked together share what has a name; what was given as a value may be another in each."""
    asked: list[str] = []

    def answer(question: str, **_: Any) -> str:
        asked.append(question)
        return "hunter2!"

    monkeypatch.setattr(secrets, "ask", answer)
    kept = packed_secrets((secret(prompt="P"),))
    known: dict[tuple[str, str], Secret] = {}
    for found in (*unpacked_secrets(kept, known), *unpacked_secrets(kept, known)):
        found.reveal()
    found_terms = unpacked_terms(packed_terms(terms(env={"A": secret(prompt="P")})), known)
    assert dict(found_terms.env)["A"] is known["prompt", "P"]
    assert asked == ["P: "]
    given_text = packed_secrets((secret("swordfish"),))
    assert unpacked_secrets(given_text, known)[0] is not unpacked_secrets(given_text, known)[0]


# What is no such text

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
READERS: list[Any] = [unpacked_terms, unpacked_secrets, unpacked_way]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("text", ["", "{", "5", '{"nope": 1}', "[[]]", "[" * 100_000])
def test_what_is_no_text_of_the_journal_is_refused(read: Any, text: str) -> None:
    """B31: JournalError, which says what could not be read and what to do."""
    with pytest.raises(
        JournalError, match=r"the journal says .* can't read: .*; use the opskit that wrote it, or settle"
    ):
        read(text)


@given(name=st.sampled_from(sorted(json.loads(packed_terms(terms())))), value=json_values)
def test_whatever_stands_in_terms_only_a_journal_error_comes(name: str, value: Any) -> None:
    """Each value is checked as the option was that it came from."""
    masking._known = None
    content = json.loads(packed_terms(terms()))
    content[name] = value
    try:
        found = unpacked_terms(json.dumps(content))
    except JournalError:
        return
    assert isinstance(found, Terms)


def test_terms_that_lack_an_option_are_refused() -> None:
    """What the journal does not say is not left to a default: the undo would run otherwise than its command did."""
    content = json.loads(packed_terms(terms(answers={re.compile("x"): "y"})))
    del content["sudo"]
    with pytest.raises(JournalError, match="sudo"):
        unpacked_terms(json.dumps(content))
