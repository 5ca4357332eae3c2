"""The owner's side of a rollback that another process asks for: a thread looks whether one does, another one does it.

Above `begun`, whose transactions these are; `undoing/asking.py` is the other side.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from opskit import bridge
from opskit.asking import is_elsewhere
from opskit.begun import Asked
from opskit.errors import OpskitError
from opskit.record.facts import Note
from opskit.rendering.escape import said_by
from opskit.undoing.rollback import interrupted, told

if TYPE_CHECKING:
    from contextvars import Context

    from opskit.begun import RootTransaction, Steer
    from opskit.record.store import Store

LOOK_SECONDS: Final = 2.0
"""Between two looks whether somebody asks, and before the first: what is over by then costs nothing."""

logger = logging.getLogger("opskit")


class _Listener:
    """Looks, while transactions of this process are open, whether somebody asks for their rollback."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._looking = threading.Lock()
        self._roots: WeakSet[RootTransaction] = WeakSet()
        self._at_it: set[Asked] = set()
        self._more = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def add(self, root: RootTransaction) -> None:
        """Look after this one, too."""
        with self._guard:
            self._roots.add(root)
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="opskit-asked", daemon=True)
                self._thread.start()
        self._more.set()

    def close(self) -> None:
        """Take nothing more up, and wait for the ends of what was; an interrupt leaves that to who asked for it."""
        going_on: list[Asked] = []
        try:
            with self._looking:
                self._is_closed = True
            going_on += (asked for asked in self._at_it if not asked.ended.done())
            for asked in going_on:
                logger.warning(
                    "opskit: transaction %s is still being rolled back, %s; Python ends when that is done; Ctrl-C"
                    " leaves the rest to whoever asked", asked.transaction, asked.by,
                )  # fmt: skip
                bridge.block(asked.ended, interrupted=bridge.wait_no_more)
        except KeyboardInterrupt:
            for asked in going_on:
                if not asked.ended.done():
                    logger.warning("opskit: %s", interrupted(asked.transaction))

    def _listen(self) -> None:
        while True:
            self._more.wait()
            self._more.clear()
            while self._open():
                time.sleep(LOOK_SECONDS)
                with self._looking:
                    if self._is_closed:
                        return
                    self._look()

    def _open(self) -> list[RootTransaction]:
        """Those that are not over; nothing is kept of one that nobody else has any more."""
        with self._guard:
            roots = [root for root in self._roots if not root.over]
            self._roots = WeakSet(roots)
        return roots

    def _look(self) -> None:
        of: defaultdict[Store, dict[str, RootTransaction]] = defaultdict(dict)
        for root in self._open():
            if root.written:
                of[root.store][root.id] = root
        for store, roots in of.items():
            try:
                for transaction in store.asked(roots):
                    self._take_up(roots[transaction])
            except OpskitError:
                pass  # the journal is away: who asks can't either, and is heard when it is back
            except Exception as error:  # noqa: BLE001 - nobody would be answered any more
                logger.warning("opskit: whether somebody asks for a rollback is not known: %s", said_by(error))

    def _take_up(self, root: RootTransaction) -> None:
        """Do what is asked; what is asked once more while it is being done is done, too."""
        steer = None if root.steer is None else root.steer()
        is_at_it = root.asked is not None and not root.asked.ended.done()
        if steer is None or (request := root.store.take_request(root.id)) is None or is_at_it:
            return
        assert root.context is not None
        root.asked = asked = Asked(root.id, str(request))
        self._at_it = {asked, *(one for one in self._at_it if not one.ended.done())}
        arguments = root, steer, asked, root.context.copy()
        try:
            threading.Thread(target=_carry_out, args=arguments, name="opskit-asked-undo", daemon=True).start()
        except RuntimeError as error:  # there can be no more threads
            _refuse(root, asked, said_by(error))


_listener = _Listener()


def _begin_anew() -> None:
    global _listener  # noqa: PLW0603 - a fork has neither the thread nor the transactions of who began it
    _listener = _Listener()


os.register_at_fork(after_in_child=_begin_anew)


def _end() -> None:
    _listener.close()


# By the time of `atexit` threads are given no more work, without which nothing can be undone.
getattr(threading, "_register_atexit", atexit.register)(_end)  # what concurrent.futures itself ends by; not public


def answer_for(root: RootTransaction) -> None:
    """From now on roll a transaction back, as whoever steers it does, where another process asks for that."""
    _listener.add(root)


def _carry_out(root: RootTransaction, steer: Steer, asked: Asked, context: Context) -> None:
    """Roll back, with what held where the transaction was begun; nobody here is asked anything: who asked was."""
    logger.warning("opskit: transaction %s is being rolled back, %s", asked.transaction, asked.by)
    context.run(is_elsewhere.set, True)
    try:
        outcome = told(context.run(steer, asked.why), asked.transaction)
    except BaseException as error:  # noqa: BLE001 - whatever it is: it is told, and who waits must not wait for ever
        _refuse(root, asked, said_by(error))
    else:
        asked.ended.set_result(outcome)


def _refuse(root: RootTransaction, asked: Asked, outcome: str) -> None:
    """Tell here why it failed; and who asked, where the transaction has not moved, and never will."""
    logger.warning("opskit: transaction %s: %s", asked.transaction, outcome)
    asked.ended.set_result(outcome)
    if root.over:
        return
    said, who, at = f"its rollback, {asked.by}, failed: {outcome}", root.store.who, datetime.now(UTC)
    with suppress(OpskitError):  # the journal is away: it is asked once more
        root.store.write([Note(root.id, None, undo=False, who=who, at=at, text=said, old_status=None, new_status=None)])
