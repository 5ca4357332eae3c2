"""Secrets taken out of texts and of streams, in whatever form and however they are cut."""

from __future__ import annotations

import base64
import json
import logging
import shlex
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opskit import masking
from opskit.errors import PlanError
from opskit.masking import MASK, MaskedStream, conceal, mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NASTY = "pa's\"w/ö\\rd &+=%$"
KEY = "-----BEGIN KEY-----\n" + "\n".join(f"abcdefgh{number}ABCDEFGH" for number in range(5)) + "\nend==\n"


def streamed(pieces: Iterable[bytes]) -> bytes:
    """What comes out of a stream."""
    stream = MaskedStream()
    return b"".join([*map(stream.add, pieces), stream.finish()])


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in pieces."""
    return [data[start:end] for start, end in pairwise([0, *sorted(places), len(data)])]


@pytest.mark.parametrize(
    "shown",
    [
        str,
        lambda text: quote(text, safe=""),
        quote,
        quote_plus,
        shlex.quote,
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        repr,
        lambda text: f"'{text.strip()}'",
    ],
)
@pytest.mark.parametrize("secret", ["hunter2!", NASTY, "  blanks around  ", "hunter2!\n", "äöüß€"])
def test_a_secret_is_masked_as_programs_show_it(secret: str, shown: Callable[[str], str]) -> None:
    """S11: as it is, in URLs, JSON, quoted for shells and Python; what stands around it stays."""
    conceal(secret)
    text = f"before {shown(secret)} after"
    told = mask(text)
    assert MASK in told
    assert told.startswith("before ")
    assert told.endswith(" after")
    assert secret.strip() not in told
    assert streamed([text.encode()]) == told.encode()


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@given(before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_base64_is_masked_at_every_alignment(encode: Callable[[bytes], bytes], before: bytes, after: bytes) -> None:
    """S11: alone and amid other bytes; only the characters that its neighbours share in may stay."""
    masking._known = None
    secret = "hunter2>>?~"  # has `+` and `/` in it, encoded
    conceal(secret)
    whole = encode(before + secret.encode() + after).decode()
    told = mask(whole)
    assert told.count(MASK) == 1
    left = told.replace(MASK, "")
    assert len(left) <= len(encode(before)) + len(encode(after)) + 4
    assert told.startswith(encode(before).decode()[: len(before) * 8 // 6])


@given(
    secrets=st.lists(
        st.text("abA/é' \n", min_size=4, max_size=9).filter(lambda text: len(text.strip()) > 3), max_size=3
    ),
    data=st.data(),
)
def test_a_stream_masks_whatever_its_pieces_are(secrets: list[str], data: st.DataObject) -> None:
    """S12: cut anywhere, bytes of any kind amid: what comes out is what the whole text would give, no secret in it."""
    masking._known = None
    for secret in secrets:
        conceal(secret)
    parts = st.binary(max_size=4) | st.sampled_from([b"", b"ab", b"a", *(secret.encode() for secret in secrets)])
    content = b"".join(data.draw(st.lists(parts, max_size=12)))
    pieces = cut(content, data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    told = streamed(pieces)
    assert told == streamed([content])
    assert all(secret.encode() not in told for secret in secrets)
    assert told == masked_at_once(content)


def masked_at_once(content: bytes) -> bytes:
    """The whole at once, each longest secret from the left."""
    forms = () if masking._known is None else sorted(masking._known.forms, key=len, reverse=True)
    told, at = b"", 0
    while at < len(content):
        found = next((form for form in forms if content.startswith(form, at)), None)
        told += content[at : at + 1] if found is None else MASK.encode()
        at += 1 if found is None else len(found)
    return told


@pytest.mark.parametrize("secret", ["hunter2!", NASTY, KEY])
def test_a_secret_cut_at_each_byte_is_masked(secret: str) -> None:
    """S12: in two pieces wherever these meet, and byte by byte."""
    conceal(secret)
    data = b"before\xff" + secret.encode() + b"\x00after"
    expected = b"before\xff" + MASK.encode() + b"\x00after"
    assert all(streamed(cut(data, [place])) == expected for place in range(len(data) + 1))
    assert streamed(bytes([byte]) for byte in data) == expected


def test_what_is_no_secret_comes_at_once() -> None:
    """Only what may become a secret is kept back, and it comes when it did not."""
    conceal("hunter2!")
    stream = MaskedStream()
    assert stream.add(b"a line\n") == b"a line\n"
    assert stream.add(b"a hunt") == b"a "
    assert stream.add(b"ing dog") == b"hunting dog"
    assert stream.add(b"hun") == b""
    assert stream.finish() == b"hun"
    assert stream.finish() == b""


def test_a_secret_of_which_no_more_came_is_masked() -> None:
    """S12: a command that is ended while it prints one gives away no more than three characters of it."""
    conceal("hunter2!")
    stream = MaskedStream()
    assert stream.add(b"hunter2!, hunter2") == b"********, "
    assert stream.finish() == b"********"


def test_the_longer_of_two_secrets_is_masked() -> None:
    """One that begins as another one is not shown from where that one ends."""
    conceal("hunter2!")
    conceal("hunter2!-and-more")
    assert mask("x hunter2!-and-more y") == f"x {MASK} y"
    assert streamed([b"x hunter2!", b"-and", b"-more y"]) == f"x {MASK} y".encode()


def test_the_lines_of_a_key_are_masked_each() -> None:
    """Printed with other line ends, indented, or a line of it: only a key's shortest lines come through."""
    conceal(KEY)
    assert mask(KEY.strip()) == MASK
    assert mask(KEY.replace("\n", "\r\n")) == MASK + "\r\n"
    indented = mask(KEY.replace("\n", "\n    "))
    assert "abcdefgh" not in indented
    assert "BEGIN" not in indented
    assert mask("x abcdefgh3ABCDEFGH y") == f"x {MASK} y"


def test_nothing_is_done_where_there_is_no_secret() -> None:
    """Neither to texts nor to bytes; a secret that comes later is masked in a stream that was there before."""
    stream = MaskedStream()
    assert not masking.active()
    assert mask("hunter2!") == "hunter2!"
    assert stream.add(b"hunter2!") == b"hunter2!"
    conceal("hunter2!")
    assert masking.active()
    assert stream.add(b"hunter2!.") == MASK.encode() + b"."


def test_text_that_is_no_utf_8_is_masked_too() -> None:
    """What Python could not decode stays as it is around a secret."""
    conceal("hunter2!")
    assert mask("\udcff hunter2! \ud800") == f"\udcff {MASK} \ud800"


def test_secrets_may_be_added_while_others_mask() -> None:
    """A run in one thread masks while another thread makes secrets; none of them is lost."""
    failures: list[BaseException] = []
    over = threading.Event()

    def work() -> None:
        stream = MaskedStream()
        try:
            while not over.is_set():
                stream.add(b"some output of a host, secret-1-x and so on\n")
                mask("secret-2-x")
        except BaseException as error:  # noqa: BLE001 - that there is none is the point
            failures.append(error)

    def make(start: int) -> None:
        for number in range(start, start + 60):
            conceal(f"secret-{number}-x")

    worker = threading.Thread(target=work)
    makers = [threading.Thread(target=make, args=(start,)) for start in (0, 100, 200)]
    for thread in (worker, *makers):
        thread.start()
    for thread in makers:
        thread.join()
    over.set()
    worker.join()
    assert failures == []
    everything = " ".join(f"secret-{start + number}-x" for start in (0, 100, 200) for number in range(60))
    assert set(mask(everything).split()) == {MASK}


def test_many_secrets_cost_little() -> None:
    """One for each of 300 hosts, and a MiB of output; generous for busy machines."""
    began = time.process_time()
    for number in range(300):
        conceal(f"password-of-host-{number}")
    streamed([b"a line of output as hosts print it\n" * 30_000])
    assert time.process_time() - began < 2


def test_errors_and_their_notes_are_masked() -> None:
    """S11: what an error says, what is added to it, and the line of the user's own that it shows."""
    conceal("hunter2!")
    error = PlanError("the value hunter2! is bad")
    error.add_note("it was hunter2! before too")
    assert str(error) == f"the value {MASK} is bad"
    assert error.__notes__ == [f"it was {MASK} before too"]
    with pytest.raises(PlanError) as caught:
        raise PlanError("no")  # as in opskit.secret("hunter2!")
    assert caught.value._render_traceback_()[-1].endswith(f'# as in opskit.secret("{MASK}")')


def test_the_log_is_masked_with_its_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    """S11: messages, their arguments, and what an exception said."""
    conceal("hunter2!")
    logger = logging.getLogger("opskit")
    with pytest.raises(ValueError, match="hunter2! is wrong") as caught:
        raise ValueError("hunter2! is wrong")
    logger.warning("%s and %s", "hunter2!", "ab", exc_info=caught.value)
    assert "hunter2!" not in caplog.text
    assert f"{MASK} and ab" in caplog.text
    assert f"ValueError: {MASK} is wrong" in caplog.text
    assert "hunter2!" not in logging.Formatter().format(caplog.records[0])
