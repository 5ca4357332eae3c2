"""What is said between us and a command: the wrapper's mark, sudo's password, standard input, answers to prompts.

The processes of both transports are dialogues, and differ in how they hear and send.
"""

from __future__ import annotations

import asyncio
import codecs
from abc import ABC, abstractmethod
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from opskit.engine.ports import Lost, Refused
from opskit.secrets import Secret
from opskit.transport.command_line import fed, reads_nothing
from opskit.transport.passwords import NoPassword
from opskit.transport.wrapper import MARK, PROMPT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opskit.engine.capture import Capture, Stream
    from opskit.engine.ports import Ending
    from opskit.transport.passwords import Attempt, Trials
    from opskit.work.plan import Step
    from opskit.work.values import Answers

LONGEST_GREETING: Final = 64 * 1024
"""How much a login shell may write before the wrapper's mark is not looked for any more."""

PIECE: Final = 256 * 1024

END_OF_INPUT: Final = b"\x04"
"""Ctrl-D. It ends a terminal's input at the beginning of a line; elsewhere it only sends the line off."""

WINDOW: Final = 4096
"""How many characters before the newest output are still looked through for a prompt."""

TERM: Final = "dumb"
"""The kind of terminal that commands get: programs neither colour nor move about on it, and systemd's page nothing."""

COLUMNS: Final = 250
LINES: Final = 50

_MARK: Final = MARK.encode()
_PROMPT: Final = PROMPT.encode()
_WRONG: Final = b"incorrect password"
"""What sudo says, in English, where it lets nobody try twice."""


class Dialogue(ABC):
    """A process that one talks with: what both transports' processes are. They say how something is sent.

    With sudo or a terminal nothing is sent before the wrapper's mark: what a command reads must reach neither sudo nor
    a login shell. A password is sent only where sudo asks for it, and sudo asks a second time if it is wrong.

    What is typed at a terminal is what a keyboard could type: control characters act as they do there, and of a line
    of more than 4095 bytes the rest is lost.

    Args:
        step: What is run.
        capture: Takes the output, without prompts of sudo and marks of ours.
        trials: The passwords.
        marked: Whether the wrapper is around the command.

    Attributes:
        begun: Done when the command began to run, or when that can't be known any more.
        group: Its process group, if the wrapper told it.
        password: The line that sudo was given, None if it did not ask.
        never_began: Whether it surely did not run: sudo waited for a password, and got none.
    """

    group: int | None = None
    password: bytes | None = None
    never_began = False
    _before = b""
    _listens = False
    _given_up = False
    _answerer: _Answerer | None = None
    _writable: asyncio.Event | None = None
    _feeding: asyncio.Task[None] | None = None
    _answering: asyncio.Task[None] | None = None
    _verdict: asyncio.Future[bool | None] | None = None

    def __init__(self, step: Step, capture: Capture, trials: Trials, *, marked: bool) -> None:
        terms = step.terms
        self._step = step
        self._capture = capture
        self._trials = trials
        self._marked_stream: Stream = "stdout" if terms.pty else "stderr"
        if terms.answers:
            self._answerer = _Answerer(terms.answers)
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not marked:
            self.begun.set_result(None)

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send to its standard input, or type at its terminal; nothing happens if it has ended."""

    @abstractmethod
    def write_eof(self) -> None:
        """Close its standard input."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Let go of it: this is what became of it."""

    def listens(self) -> None:
        """The other side takes what is sent."""
        self._listens = True
        if self.begun.done() or not self._keeps_back:
            self._feed()

    def heard(self, stream: Stream, data: bytes) -> None:
        """Take a piece of output."""
        if self.begun.done():
            self._output(stream, data)
        elif stream == self._marked_stream or _MARK in data:
            self._marked_stream = stream  # a host's own scripts may have joined the two
            self._look_for_mark(data)
        else:
            self._output(stream, data)

    async def begin(self, patience: float) -> None:
        """Wait until the command began, for `patience` seconds; those in which a password is awaited don't count."""
        try:
            while not (await asyncio.wait([self.begun], timeout=patience))[0] and self._awaits_password:
                pass
        except asyncio.CancelledError:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Nobody waits for the command any more: if it needs a password to begin, it never will."""
        self._given_up = True
        if self._awaits_password:
            self._leave_unanswered()

    def refused(self, ending: Ending) -> Refused | None:
        """Why what ended so was not the command: the wrapper never spoke. To be asked before `gone`."""
        sudo_complained = self._step.terms.sudo is not None and ending.exit_code != 0 and bool(self._before.strip())
        if self.begun.done() or ending.signal is not None or sudo_complained:
            return None
        name = self._step.host.name
        return Refused(
            f"{name} ran something else instead of the command (ForceCommand, or a login shell that refuses)"
        )

    def gone(self) -> None:
        """Nothing more is heard or sent."""
        if not self.begun.done():
            if self._verdict is not None and not self._verdict.done():
                self._verdict.set_result(False if _WRONG in self._before else None)
            self._stop_looking(self._before)
        if self._feeding is not None:
            self._feeding.cancel()
        if self._answering is not None and self.password is None:
            self._answering.cancel()

    def pause_writing(self) -> None:
        """Called by asyncio and asyncssh when the other side does not keep up."""
        if self._writable is not None:
            self._writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncio and asyncssh when it reads again."""
        if self._writable is not None:
            self._writable.set()

    @property
    def _keeps_back(self) -> bool:
        return self._step.terms.sudo is not None or self._step.terms.pty

    @property
    def _awaits_password(self) -> bool:
        return (
            self._answering is not None
            and self.password is None
            and not self._answering.done()
            and not self.begun.done()
        )

    def _output(self, stream: Stream, data: bytes) -> None:
        if data:
            self._capture.received(stream, data)
            if self._answerer is not None and self.begun.done():
                for answer in self._answerer.answers_to(data):
                    self.write(answer)

    def _look_for_mark(self, data: bytes) -> None:
        """Cut the wrapper's mark, and sudo's prompts, out of what may have been written around them."""
        self._before += data
        before, mark, after = self._before.partition(_MARK)
        number, end, rest = after.partition(b"\n")
        if mark and end:
            self.group = int(number) if number.strip().isdigit() else None
            self._began(before, rest)
        elif self._step.terms.sudo is not None:
            self._look_for_prompt()
        elif len(self._before) > LONGEST_GREETING:
            self._stop_looking(self._before)

    def _began(self, before: bytes, rest: bytes) -> None:
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_result(True)
        if self.password is not None:
            before = before.lstrip(b"\r\n")  # at a terminal, sudo ends the line of its prompt
        self._stop_looking(before + rest)
        if self._listens and self._keeps_back:
            self._feed()

    def _stop_looking(self, output: bytes) -> None:
        self._before = b""
        if not self.begun.done():
            self.begun.set_result(None)
        self._output(self._marked_stream, output)

    # sudo

    def _look_for_prompt(self) -> None:
        before, prompt, after = self._before.partition(_PROMPT)
        whose, colon, rest = after.partition(b":")
        if prompt and colon:
            # What came before the first prompt is sudo's lecture, the line end after it comes when it has read.
            self._before = (before if self._verdict is not None else b"") + rest
            self._asked(whose.decode("utf-8", "replace"))
        elif len(self._before) > LONGEST_GREETING:
            name = self._step.host.name
            self.fail(Lost(f"{name} said too much before sudo let the command begin; it may have run"))

    def _asked(self, whose: str) -> None:
        if self._given_up and self._verdict is None:
            self._leave_unanswered()
        elif self._verdict is None:
            self._verdict = asyncio.get_running_loop().create_future()
            self._answering = asyncio.ensure_future(self._give_password(whose, self._verdict))
        elif not self._verdict.done():
            self._verdict.set_result(False)

    def _leave_unanswered(self) -> None:
        self.never_began = True
        if self._answering is not None:
            self._answering.cancel()
        self._stop_looking(self._before)

    async def _give_password(self, whose: str, verdict: asyncio.Future[bool | None]) -> None:
        host = self._step.host
        why = f"sudo on {host.name} refused the password of {whose}"
        try:
            async with self._trials.trying("sudo", host, whose) as attempt:
                self.password = attempt.text.encode("utf-8", "surrogateescape") + b"\n"
                self.write(self.password)
                # A host that hangs here holds up the others for so long and no longer.
                await asyncio.wait([verdict], timeout=self._step.terms.connect_timeout)
                if verdict.done():
                    _judge(attempt, verdict.result(), why)
            _judge(attempt, await verdict, why)
        except NoPassword as error:
            self._stop_looking(self._before)
            self.fail(Refused(f"{error} (nothing was run)"))
        except Exception as error:  # noqa: BLE001 - nobody else would hear of it, and sudo would wait for ever
            self.fail(error)

    # What it reads

    def _feed(self) -> None:
        if reads_nothing(self._step):
            return
        data, file = fed(self._step)
        if data:
            self.write(data)
        if file is None:
            self._end_input(data)
        else:
            self._writable = asyncio.Event()
            self._writable.set()
            self._feeding = asyncio.ensure_future(self._send(file, self._writable))

    async def _send(self, path: Path, writable: asyncio.Event) -> None:
        """Send a file piece by piece, no faster than the host reads."""
        last = piece = b""
        try:
            with path.open("rb") as file:  # a moment; in a thread a cancel would lose the open file
                while piece := await asyncio.to_thread(file.read, PIECE):
                    await writable.wait()
                    self.write(piece)
                    last = piece
        except OSError as error:
            why = f"{path} could not be read ({error.strerror}); the command got a part of it, and may still run"
            self.fail(Lost(why))
        else:
            self._end_input(last)

    def _end_input(self, last: bytes) -> None:
        """Close standard input. A terminal can't be closed: its end is typed, unless there are answers to come."""
        if not self._step.terms.pty:
            self.write_eof()
        elif self._answerer is None:
            self.write(END_OF_INPUT if last.endswith(b"\n") or not last else END_OF_INPUT * 2)


def _judge(attempt: Attempt, accepted: bool | None, why: str) -> None:
    """Tell what became of a password, if that is known; raises NoPassword where it was refused."""
    if accepted:
        attempt.accepted()
    elif accepted is False:
        raise attempt.refused(why)


class _Answerer:
    """Knows what to type where a command asks.

    Each pattern is looked for in what the command printed since the last answer. An answer is given to the very same
    text twice in a row and no more: who then still asks would ask for ever.
    """

    __slots__ = ("_answers", "_decoder", "_last", "_repeated", "_text")

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._last = ""
        self._repeated = 0

    def answers_to(self, data: bytes) -> Iterator[bytes]:
        """Take a piece of output; gives what is to be typed."""
        self._text += self._decoder.decode(data)
        asks = True
        while asks and (found := self._first()) is not None:
            end, answer = found
            asks, asked, self._text = end > 0, self._text[:end], self._text[end:]
            self._repeated = self._repeated + 1 if asked == self._last else 1
            self._last = asked
            if self._repeated <= 2:  # noqa: PLR2004 - as said above
                text = answer.reveal() if isinstance(answer, Secret) else answer
                yield text.encode("utf-8", "surrogateescape") + b"\n"
        self._text = self._text[-WINDOW:]

    def _first(self) -> tuple[int, str | Secret] | None:
        """Where the first match ends, and what answers it."""
        matches = ((pattern.search(self._text), answer) for pattern, answer in self._answers)
        found = [(match.end(), answer) for match, answer in matches if match is not None]
        return min(found, key=itemgetter(0)) if found else None
