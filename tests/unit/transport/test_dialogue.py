"""The dialogue with a command, heard and told by a fake of the process: in whatever pieces the output comes."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opskit import masking
from opskit.engine.capture import Capture
from opskit.engine.ports import Lost, Refused
from opskit.fleet import Host, Inventory
from opskit.fleet.names import Names
from opskit.secrets import secret
from opskit.settings import Settings
from opskit.transport.dialogue import LONGEST_GREETING, Dialogue
from opskit.transport.passwords import Passwords
from opskit.transport.wrapper import MARK, PROMPT
from opskit.work.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from opskit.work.plan import Step

STARTED = f"{MARK}42\n".encode()
ASKS = f"{PROMPT}deploy:".encode()


@pytest.fixture(autouse=True, scope="module")
def _masks() -> Iterator[None]:
    """What is masked for these tests is not masked in any other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masking, "_known", None)
        yield


def step(**options: Any) -> Step:
    """The step of a command on one host."""
    draft = Draft({"template": False, **options}, Settings(), "test")
    draft.everywhere("true", Names.of(None, {}, Settings()), "test")
    return draft.plan(lambda: Inventory([Host("web1")])).steps[0]


class Talk(Dialogue):
    """A dialogue that notes what is sent, and what became of it."""

    def __init__(self, password: str = "the password", **options: Any) -> None:
        self.sent: list[bytes] = []
        self.failed: Exception | None = None
        self.capture = Capture(1024 * 1024)
        trials = Passwords().of_run(Settings(secrets=(("sudo", secret(password)),)))
        super().__init__(step(**options), self.capture, trials, marked=True)
        self.listens()

    def write(self, data: bytes) -> None:
        """Note it."""
        self.sent.append(data)

    def write_eof(self) -> None:
        """Note it."""
        self.sent.append(b"<eof>")

    def fail(self, error: Exception) -> None:
        """Note it."""
        self.failed = error

    async def hear(self, *pieces: bytes, stream: Any = "stderr") -> None:
        """Take output, each piece for itself."""
        for piece in pieces:
            self.heard(stream, piece)
            for _ in range(5):  # so many turns has the longest of our own ways
                await asyncio.sleep(0)

    @property
    def shown(self) -> tuple[str, str]:
        """The output."""
        self.capture.finish()
        return self.capture.stdout, self.capture.stderr


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run it, for some seconds at most."""
    asyncio.run(asyncio.wait_for(coroutine, 10))


def pieces(text: bytes, cuts: list[int]) -> list[bytes]:
    """The text, cut there."""
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in pairwise(places) if a != b]


@settings(max_examples=50)
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_prompt_and_mark_are_cut_out_wherever_the_pieces_end(cuts: list[int]) -> None:
    """The password is sent once, after the prompt; input after the mark; what is shown has neither."""

    async def talk() -> None:
        one = Talk(sudo=True, stdin="input")
        await one.hear(*pieces(b"a lecture\n" + ASKS, cuts))
        assert one.sent == [b"the password\n"]
        await one.hear(*pieces(b"noise\n" + STARTED + b"error\n", cuts))
        assert one.sent == [b"the password\n", b"input", b"<eof>"]
        assert one.shown == ("", "noise\nerror\n")
        assert (one.group, one.failed) == (42, None)

    run(talk())


@settings(max_examples=50)
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_a_second_prompt_is_a_refusal(cuts: list[int]) -> None:
    """The password is not sent again, nothing else is sent, and the process is let go of."""

    async def talk() -> None:
        one = Talk(sudo=True, stdin="input")
        await one.hear(*pieces(ASKS, cuts))
        await one.hear(*pieces(b"Sorry, try again.\n" + ASKS, cuts))
        assert one.sent == [b"the password\n"]
        assert isinstance(one.failed, Refused)
        assert str(one.failed).startswith("sudo on web1 refused the password of deploy; set ")
        assert str(one.failed).endswith("(nothing was run)")
        assert one.shown == ("", "Sorry, try again.\n")

    run(talk())


def test_without_a_prompt_no_password_is_sent() -> None:
    """Where sudo asks for nothing, input follows the mark at once."""

    async def talk() -> None:
        one = Talk(sudo=True, stdin="input")
        assert one.sent == []
        await one.hear(b"sudo: unable to resolve host\n", STARTED)
        assert one.sent == [b"input", b"<eof>"]
        assert one.shown == ("", "sudo: unable to resolve host\n")
        assert one.password is None

    run(talk())


def test_a_prompt_of_the_commands_own_is_not_answered() -> None:
    """After the mark our prompt is output as any other: nobody who learns it can have the password."""

    async def talk() -> None:
        one = Talk(sudo=True)
        await one.hear(STARTED, ASKS)
        assert one.sent == []
        assert one.shown == ("", ASKS.decode())

    run(talk())


def test_at_a_terminal_the_mark_comes_in_the_output() -> None:
    """There prompt and mark come on standard output, and the line end that sudo prints is cut out too."""

    async def talk() -> None:
        one = Talk(sudo=True, pty=True, stdin="typed")
        await one.hear(ASKS, b"\r\n" + STARTED.replace(b"\n", b"\r\n") + b"out", stream="stdout")
        assert one.sent == [b"the password\n", b"typed", b"\x04\x04"]
        assert one.shown == ("out", "")
        assert one.group == 42

    run(talk())


def test_without_sudo_input_does_not_wait() -> None:
    """The plain way has no round trip more."""

    async def talk() -> None:
        assert Talk(stdin="input").sent == [b"input", b"<eof>"]
        assert Talk().sent == []

    run(talk())


def test_who_says_too_much_before_sudo_is_left() -> None:
    """R19: what is kept while the mark is looked for is bounded, and what may have run is not said to be refused."""

    async def talk() -> None:
        one = Talk(sudo=True)
        await one.hear(b"x" * (LONGEST_GREETING + 1))
        assert isinstance(one.failed, Lost)

    run(talk())


def test_begin_does_not_count_the_wait_for_a_password() -> None:
    """A patience that is long over does not let the timeout of a command run while a person types."""

    async def talk() -> None:
        one = Talk(sudo=True)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        one._trials = Passwords().of_run(Settings(), lambda *_: answer)
        await one.hear(ASKS)
        begins = asyncio.ensure_future(one.begin(0.01))
        await asyncio.sleep(0.05)
        assert not begins.done()
        answer.set_result("typed")
        await one.hear(STARTED)
        await begins
        assert one.sent == [b"typed\n"]

    run(talk())


@pytest.mark.parametrize("when", ["before the prompt", "after it"])
def test_who_gave_up_gives_no_password(when: str) -> None:
    """A command that nobody waits for any more surely never began; no person is asked for it."""

    async def talk() -> None:
        one = Talk(sudo=True)
        asked: list[str] = []

        async def ask(question: str, remedy: str) -> str:
            asked.append(question)
            await asyncio.Event().wait()
            return ""

        one._trials = Passwords().of_run(Settings(), ask)
        if when == "after it":
            await one.hear(ASKS)
        one.give_up()
        await one.hear(ASKS)
        assert one.never_began
        assert one.begun.done()
        assert (one.sent, len(asked)) == ([], 1 if when == "after it" else 0)

    run(talk())


@pytest.mark.parametrize(("said", "tries"), [(b"sudo: 1 incorrect password attempt\n", 1), (b"may not run sudo\n", 2)])
def test_an_end_without_a_second_prompt(said: bytes, tries: int) -> None:
    """Where sudo says that the password was wrong, it is for all; any other end is its own, and the next one tries."""

    async def talk() -> None:
        ones = [Talk(sudo=True) for _ in range(2)]
        ones[1]._trials = ones[0]._trials
        for one in ones:
            await one.hear(ASKS)
            await one.hear(said)
            one.gone()
            await one.hear()
            await asyncio.sleep(0)
        assert len(ones[0].sent + ones[1].sent) == tries

    run(talk())


def test_a_host_that_hangs_with_a_password_holds_up_nobody() -> None:
    """R7: after the host's connect_timeout the next one tries; what the first says late still counts for it."""

    async def talk() -> None:
        ones = [Talk(sudo=True, connect_timeout=0.02) for _ in range(2)]
        ones[1]._trials = ones[0]._trials
        for one in ones:
            await one.hear(ASKS)
        assert [one.sent for one in ones] == [[b"the password\n"], []]
        second = ones[1]._answering
        assert second is not None
        await asyncio.wait([second], timeout=0.2)
        assert ones[1].sent == [b"the password\n"]
        await ones[0].hear(b"Sorry\n" + ASKS)
        assert isinstance(ones[0].failed, Refused)
        ones[1].gone()

    run(talk())


def test_a_file_is_sent_no_faster_than_it_is_read(tmp_path: Path) -> None:
    """While the other side does not keep up nothing is sent, and the end comes last."""

    async def talk() -> None:
        file = tmp_path / "input"
        file.write_bytes(b"x" * 1_000_000)
        one = Talk(stdin=file)
        one.pause_writing()
        assert one._feeding is not None
        await asyncio.wait([one._feeding], timeout=0.05)
        assert one.sent == []
        one.resume_writing()
        await one._feeding
        assert b"".join(one.sent) == b"x" * 1_000_000 + b"<eof>"

    run(talk())


def answering(answers: dict[str, Any]) -> tuple[Talk, Callable[[str], Coroutine[Any, Any, list[bytes]]]]:
    """A dialogue that gives answers, and what lets it hear something and gives what it typed then."""
    one = Talk(answers=answers)

    async def hear(text: str) -> list[bytes]:
        before = len(one.sent)
        await one.hear(text.encode(), stream="stdout")
        return one.sent[before:]

    return one, hear


def test_answers() -> None:
    """Each is given to its own prompt, also one in two pieces, and to two prompts in one piece; never twice to one."""

    async def talk() -> None:
        _, hear = answering({"Name: ": "Bob", re.compile("(?i)pass.*: $"): secret("hush-hush")})  # type: ignore[dict-item]
        assert await hear(STARTED.decode()) == []
        assert await hear("Na") == []
        assert await hear("me: ") == [b"Bob\n"]
        assert await hear("hello\n") == []
        assert await hear("Password: ") == [b"hush-hush\n"]
        assert await hear("Name: then Name: ") == [b"Bob\n", b"Bob\n"]
        assert await hear("x" * 100_000 + "Name: ") == [b"Bob\n"]

    run(talk())


def test_the_same_question_is_answered_twice_in_a_row() -> None:
    """Then no more, until something else was printed before it."""

    async def talk() -> None:
        _, hear = answering({"word: ": "x"})
        await hear(STARTED.decode())
        assert [len(await hear("Password: ")) for _ in range(4)] == [1, 1, 0, 0]
        assert len(await hear("Welcome.\nPassword: ")) == 1

    run(talk())


@pytest.mark.parametrize("pattern", ["", "a*", "$"])
def test_a_pattern_that_matches_nothing_at_all_does_not_type_for_ever(pattern: str) -> None:
    """It ends."""

    async def talk() -> None:
        _, hear = answering({pattern: "x"})
        await hear(STARTED.decode())
        assert len(await hear("aaa")) <= 3

    run(talk())
