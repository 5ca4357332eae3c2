"""What of an output is shown: its lines' last states, head and tail, and how much lies between; not yet escaped."""

from __future__ import annotations


def excerpt(text: str, *, lines: int, characters: int) -> str:
    """Head and tail of an output, a third and two thirds, within so many lines and characters.

    A note of its own line says what was left out. The end of an output tells more than its start, so it gets more.
    """
    return head_and_tail(last_states(text).rstrip("\n"), lines=lines, characters=characters)


def head_and_tail(text: str, *, lines: int, characters: int) -> str:
    """As `excerpt`, of a text that no terminal has read: whatever stands in it stays."""
    if len(text) <= characters and text.count("\n") < lines:
        return text
    head = "\n".join(text[: characters // 3].split("\n")[: lines // 3])
    tail = "\n".join(text[-(characters * 2 // 3) :].split("\n")[-(lines * 2 // 3) :])
    note = f"\n… {len(text) - len(head) - len(tail):,} characters left out …\n"
    between = text[len(head) : len(text) - len(tail)]
    if len(between) <= len(note) and between.count("\n") <= note.count("\n"):
        return text
    return f"{head}{note}{tail}"


def last_states(text: str) -> str:
    """Each line as a terminal would show it in the end: what follows its last carriage return."""
    text = text.replace("\r\n", "\n")  # at once: line by line it takes 30 times as long
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def last_line(text: str) -> str:
    """The last line that says something; empty if none does."""
    return last_states(text[-10_000:]).rstrip().rpartition("\n")[2]
