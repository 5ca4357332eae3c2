"""A default with two homes: the process, and the context of a block or a task."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from opskit.defaults import Default

if TYPE_CHECKING:
    from collections.abc import Callable


def in_a_new_thread(function: Callable[[], str]) -> str:
    """What the function gives in a thread that was given no context."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function).result()


def test_a_statement_holds_for_the_process() -> None:
    """Every thread sees it, also those that were there before."""
    scoped = Default("scoped", "default")
    assert in_a_new_thread(scoped.get) == "default"
    scoped.set("a")
    assert scoped.get() == "a"
    assert in_a_new_thread(scoped.get) == "a"


def test_a_block_holds_for_its_context_alone() -> None:
    """Other threads see the process's value meanwhile, and everybody does afterwards."""
    scoped = Default("scoped", "default")
    with scoped.set("a") as value:
        assert value == scoped.get() == "a"
        assert in_a_new_thread(scoped.get) == "default"
    assert scoped.get() == "default"


def test_blocks_nest() -> None:
    """Each is undone to what stood before it, also by an exception."""
    scoped = Default("scoped", "default")
    with scoped.set("a"):
        with pytest.raises(KeyError), scoped.set("b"):  # noqa: PT012 - the block is what is tested
            assert scoped.get() == "b"
            raise KeyError
        assert scoped.get() == "a"
    assert scoped.get() == "default"


def test_a_statement_in_a_block_holds_for_the_rest_of_it() -> None:
    """It ends with the block, and the process never sees it."""
    scoped = Default("scoped", "default")
    with scoped.set("a"):
        scoped.set("b")
        assert scoped.get() == "b"
        assert in_a_new_thread(scoped.get) == "default"
    assert scoped.get() == "default"


def test_none_is_a_value_as_any_other() -> None:
    """A default can be taken away, in the process and in a block, and set again there."""
    scoped: Default[str | None] = Default("scoped", "default")
    with scoped.set("a"):
        scoped.set(None)
        assert scoped.get() is None
        scoped.set("b")
        assert scoped.get() == "b"
    assert scoped.get() == "default"
    scoped.set(None)
    assert scoped.get() is None


def test_a_copied_context_sees_the_block() -> None:
    """So do threads that were given a copy."""
    scoped = Default("scoped", "default")
    with scoped.set("a"):
        context = contextvars.copy_context()
    assert in_a_new_thread(lambda: context.run(scoped.get)) == "a"


def test_tasks_do_not_see_each_others_blocks() -> None:
    """Each task has its own value, at the same time."""
    scoped = Default("scoped", "default")

    async def task(value: str) -> str:
        with scoped.set(value):
            await asyncio.sleep(0)
            return scoped.get()

    async def both() -> tuple[str, str]:
        return await asyncio.gather(task("a"), task("b"))

    assert list(asyncio.run(both())) == ["a", "b"]
    assert scoped.get() == "default"


def test_a_change_says_what_was_set() -> None:
    """A notebook shows it where such a call is a cell's last line."""
    assert repr(Default("scoped", 1).set(5)) == "<set to 5>"
