"""Passwords: where they come from, who tries them first, and what the others do meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from opskit import masking
from opskit.errors import PromptRefused
from opskit.fleet import Host
from opskit.masking import mask
from opskit.secrets import secret
from opskit.settings import Settings
from opskit.transport.passwords import NoPassword, Passwords

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from opskit.transport.passwords import Trials

HOSTS = [Host(f"web{number}") for number in range(50)]


@pytest.fixture(autouse=True, scope="module")
def _masks() -> Iterator[None]:
    """What is masked for these tests is not masked in any other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_known", None)
        yield


class Fleet:
    """Hosts that let in whoever gives the right password, and what they were given."""

    def __init__(self, right: str = "right") -> None:
        self.right = right
        self.given: list[tuple[str, str]] = []
        self.at_once = self.most_at_once = 0

    async def enter(self, trials: Trials, host: Host) -> str:
        """What becomes of one host: `in`, or an error."""
        try:
            async with trials.trying("sudo", host) as attempt:
                self.given.append((host.name, attempt.text))
                self.at_once += 1
                self.most_at_once = max(self.at_once, self.most_at_once)
                for _ in range(100):
                    await asyncio.sleep(0)
                self.at_once -= 1
                if attempt.text != self.right:
                    raise attempt.refused(f"{host.name} said no")
                attempt.accepted()
                return "in"
        except NoPassword as error:
            return str(error)

    async def all_enter(self, trials: Trials, hosts: Sequence[Host] = HOSTS) -> list[str]:
        """What becomes of hosts that ask at the same time."""
        return await asyncio.gather(*(self.enter(trials, host) for host in hosts))


class Person:
    """Answers questions in this order, or refuses."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def ask(self, question: str, remedy: str) -> str:
        """An `Ask`."""
        self.asked.append(question)
        await asyncio.sleep(0)
        if not self.answers:
            raise PromptRefused(f"nobody can answer; {remedy}")
        return self.answers.pop(0)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it, for some seconds at most."""
    return asyncio.run(asyncio.wait_for(coroutine, 10))


def test_a_wrong_one_is_tried_once() -> None:
    """Of fifty hosts one is sent a wrong password; all others fail with it, and say where it was tried."""
    fleet = Fleet()
    ends = run(fleet.all_enter(Passwords().of_run(Settings(secrets=(("sudo", secret("wrong")),)))))
    assert fleet.given == [("web0", "wrong")]
    assert ends[0].startswith("web0 said no; set opskit.configure(secrets={")
    assert ends[7].startswith("web0 said no, so it was not tried on web7; set opskit.configure(secrets={")


def test_a_right_one_is_tried_alone_first_and_then_by_all_at_once() -> None:
    """When the first host has accepted, nobody waits for anybody."""
    fleet = Fleet()
    assert run(fleet.all_enter(Passwords().of_run(Settings(secrets=(("sudo", secret("right")),))))) == ["in"] * 50
    assert fleet.most_at_once > 10


def test_a_host_that_refuses_what_others_accepted_is_alone() -> None:
    """R7: its refusal is no other host's."""
    fleet, trials = Fleet(), Passwords().of_run(Settings(secrets=(("sudo", secret("right")),)))

    async def enter() -> list[str]:
        ends = [await fleet.enter(trials, HOSTS[0])]
        fleet.right = "another"
        ends.append(await fleet.enter(trials, HOSTS[1]))
        fleet.right = "right"
        return [*ends, await fleet.enter(trials, HOSTS[2])]

    first, second, third = run(enter())
    assert (first, third) == ("in", "in")
    assert second.startswith("web1 said no; ")


def test_passwords_are_told_apart() -> None:
    """A wrong one of one host says nothing of another host's own."""
    own = [Host("a", vars={"sudo": secret("right")}), Host("b", vars={"sudo": "wrong"}), Host("c", vars={"sudo": 1234})]
    fleet = Fleet()
    trials = Passwords().of_run(Settings(secrets=(("sudo", secret("also wrong")),)))
    ends = run(fleet.all_enter(trials, [*own, Host("d")]))
    assert [end.partition(";")[0] for end in ends] == ["in", "b said no", "c said no", "d said no"]
    assert fleet.given == [("a", "right"), ("b", "wrong"), ("c", "1234"), ("d", "also wrong")]


def test_one_is_asked_once_and_kept_for_the_process() -> None:
    """The fleet asks once, and later runs don't ask at all."""
    fleet, person, passwords = Fleet(), Person("right"), Passwords()
    for _ in range(2):
        assert run(fleet.all_enter(passwords.of_run(Settings(), person.ask))) == ["in"] * 50
    assert person.asked == ["sudo password (web0 and others ask for it): "]


def test_a_wrong_answer_is_forgotten() -> None:
    """The next run asks again."""
    fleet, person, passwords = Fleet(), Person("wrong", "right"), Passwords()
    assert "in" not in run(fleet.all_enter(passwords.of_run(Settings(), person.ask)))
    assert run(fleet.all_enter(passwords.of_run(Settings(), person.ask))) == ["in"] * 50
    assert len(person.asked) == 2


def test_where_nobody_answers_nobody_is_asked_twice() -> None:
    """One question for the fleet; each host names what to set."""
    fleet, person = Fleet(), Person()
    ends = run(fleet.all_enter(Passwords().of_run(Settings(), person.ask)))
    assert len(person.asked) == 1
    assert fleet.given == []
    assert all('opskit.configure(secrets={"sudo": opskit.secret(env="SUDO_PASSWORD")})' in end for end in ends)


def test_without_anybody_to_ask_the_error_says_what_to_set() -> None:
    """By default there is nobody."""
    assert "or the host's var sudo" in run(Fleet().enter(Passwords().of_run(Settings()), HOSTS[0]))


def test_a_secret_that_is_prompted_for_is_asked_by_its_own_words() -> None:
    """It is asked where the person is, once, and never on the engine's loop."""
    fleet, person, passwords = Fleet(), Person("right"), Passwords()
    settings = Settings(secrets=(("sudo", secret(prompt="The ops password")),))
    for _ in range(2):
        assert run(fleet.all_enter(passwords.of_run(settings, person.ask))) == ["in"] * 50
    assert person.asked == ["The ops password: "]


def cancelled_first(trials: Trials, fleet: Fleet, while_it: Callable[[asyncio.Event], None]) -> list[str]:
    """What becomes of two hosts that wait for a first one, which is cancelled in the middle."""

    async def enter() -> list[str]:
        begun = asyncio.Event()
        while_it(begun)

        async def hang() -> None:
            async with trials.trying("sudo", HOSTS[0]):
                begun.set()
                await asyncio.Event().wait()

        first = asyncio.ensure_future(hang())
        await begun.wait()
        others = asyncio.ensure_future(fleet.all_enter(trials, HOSTS[1:3]))
        await asyncio.sleep(0)
        first.cancel()
        return await others

    found: list[str] = run(enter())
    return found


def test_without_a_verdict_the_next_one_tries() -> None:
    """Where the first host is cancelled while it tries, the others are not left waiting."""
    fleet, trials = Fleet(), Passwords().of_run(Settings(secrets=(("sudo", secret("wrong")),)))
    ends = cancelled_first(trials, fleet, lambda _: None)
    assert [name for name, _ in fleet.given] == ["web1"]
    assert "web1 said no, so it was not tried on web2" in ends[1]


def test_who_is_cancelled_while_a_person_thinks_leaves_the_question_to_others() -> None:
    """The next host asks."""
    fleet = Fleet()
    thinking: list[asyncio.Event] = []

    async def ask(question: str, remedy: str) -> str:
        if "web0" in question:
            thinking[0].set()
            await asyncio.Event().wait()
        return "right"

    assert cancelled_first(Passwords().of_run(Settings(), ask), fleet, thinking.append) == ["in", "in"]


@pytest.mark.parametrize("bad", ["two\nlines", True, 1.5, ["x"]])
def test_what_is_no_password_is_not_sent(bad: Any) -> None:
    """A second line would reach the command, and what is no text is a mistake: the error names the host."""
    fleet = Fleet()
    end = run(fleet.enter(Passwords().of_run(Settings()), Host("web1", vars={"sudo": bad})))
    assert end.startswith("what is set as sudo password for web1 is not one line of text; set ")
    assert fleet.given == []


def test_a_line_end_is_no_part_of_it() -> None:
    """Files and variables often have one."""
    fleet = Fleet()
    assert run(fleet.enter(Passwords().of_run(Settings()), Host("web1", vars={"sudo": "right\n"}))) == "in"


def test_passwords_are_masked() -> None:
    """What was answered, or stands in a var, is shown nowhere from then on."""
    fleet = Fleet()
    run(fleet.enter(Passwords().of_run(Settings(), Person("typed-by-hand").ask), Host("web1")))
    run(fleet.enter(Passwords().of_run(Settings()), Host("web1", vars={"sudo": "stands-in-a-var"})))
    assert mask("typed-by-hand stands-in-a-var") == "******** ********"


async def enter(trials: Trials, fleet: Fleet, host: Host, whose: str, *, of_this_alone: bool = False) -> str:
    """What becomes of a login to one host."""
    try:
        async with trials.trying("login", host, whose, of_this_alone=of_this_alone) as attempt:
            fleet.given.append((host.name, attempt.text))
            if attempt.text != fleet.right:
                raise attempt.refused(f"{host.name} refused the password of {whose}")
            attempt.accepted()
            return "in"
    except NoPassword as error:
        return str(error)


def test_each_user_and_each_bastion_has_a_password_of_its_own() -> None:
    """What is right for one says nothing of another; each question names who asks."""
    fleet, person = Fleet(), Person("right", "right", "wrong")
    trials = Passwords().of_run(Settings(), person.ask)

    async def all_enter() -> list[str]:
        return [
            await enter(trials, fleet, Host("web1"), "deploy"),
            await enter(trials, fleet, Host("web2"), "deploy"),
            await enter(trials, fleet, Host("gate"), "deploy", of_this_alone=True),
            await enter(trials, fleet, Host("web1"), "root"),
            await enter(trials, fleet, Host("web2"), "root"),
        ]

    ends = run(all_enter())
    assert ends[:3] == ["in"] * 3
    assert ends[4].startswith("web1 refused the password of root, so it was not tried on web2; ")
    assert person.asked == [
        "password of deploy (web1 and others ask for it): ",
        "password of deploy (the bastion gate asks for it): ",
        "password of root (web1 and others ask for it): ",
    ]


def test_who_refused_it_is_not_given_it_again() -> None:
    """R7: also where others have accepted it, however often the host is tried; the reason stays the same."""
    fleet, trials = Fleet(), Passwords().of_run(Settings(secrets=(("login", secret("right")),)))
    assert not trials.proven("login", Host("web1"), "deploy")
    assert run(enter(trials, fleet, Host("web1"), "deploy")) == "in"
    assert trials.proven("login", Host("web2"), "deploy")
    fleet.right = "another"
    ends = [run(enter(trials, fleet, Host("web2"), "deploy")) for _ in range(3)]
    assert len(set(ends)) == 1
    assert ends[0].startswith("web2 refused the password of deploy; set ")
    assert len(fleet.given) == 2


def test_a_question_commands_no_terminal() -> None:
    """A user's name may come from a host: it is shown on one line, as it is, and not all of it if it is long."""
    person = Person("right")
    run(enter(Passwords().of_run(Settings(), person.ask), Fleet(), Host("web1"), "\x1b]0;me\x07\nyou" + "x" * 500))
    (question,) = person.asked
    assert not {"\x1b", "\x07", "\n"} & set(question)
    assert len(question) < 250
