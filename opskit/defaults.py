"""A default with two homes: the process, and the context of a `with` block or a task. For `use` and `configure`."""

from __future__ import annotations

import weakref
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")

_UNSET: Final = object()

_known: Final[weakref.WeakSet[Default[Any]]] = weakref.WeakSet()


class Default(Generic[T]):
    """One value that a call sets for the process, or, used as `with`, for the block alone.

    Threads and tasks that were given a copy of the context see the block's value; all others the process's.
    """

    def __init__(self, name: str, default: T) -> None:
        self._context: ContextVar[T] = ContextVar(name)
        self._default = default
        # The last is what holds; earlier ones come back when a later one turns out to be a block's.
        self._changes: list[tuple[weakref.ref[Change[T]], T]] = []
        _known.add(self)

    def get(self) -> T:
        """The innermost block's value, else the process's."""
        return self._context.get(self._changes[-1][1] if self._changes else self._default)

    def set(self, value: T) -> Change[T]:
        """Set the value where the caller stands: in a block for its context, else for the process."""
        change = Change(self, value)
        if self._context.get(_UNSET) is not _UNSET:
            change.token = self._context.set(value)
        else:
            # A change that nobody holds any more is a statement's, and can't become a block's.
            held = [entry for entry in self._changes[:-1] if entry[0]() is not None]
            self._changes = [*held, *self._changes[-1:], (weakref.ref(change), value)]
        return change

    def here(self, value: T) -> None:
        """Set the value for the caller's own context, for good: that of a thread or a task, say."""
        self._context.set(value)

    def enter(self, change: Change[T], value: T) -> Token[T]:
        """Turn a change of the process, or of the block around, into one of this block alone."""
        if change.token is not None:
            self._context.reset(change.token)
        self._changes = [entry for entry in self._changes if entry[0]() is not change]
        return self._context.set(value)

    def leave(self, token: Token[T]) -> None:
        """Go back to what held before the block."""
        self._context.reset(token)


class Change(Generic[T]):
    """What `Default.set` did; as a context manager it holds for the block alone.

    Attributes:
        token: What takes it back, where it was made in a context.
    """

    def __init__(self, scoped: Default[T], value: T) -> None:
        self._scoped = scoped
        self._value = value
        self.token: Token[T] | None = None

    def __repr__(self) -> str:
        return f"<set to {self._value!r}>"

    def __enter__(self) -> T:
        self.token = self._scoped.enter(self, self._value)
        return self._value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self.token is not None
        self._scoped.leave(self.token)


def keep_all() -> None:
    """Make every default, as it is now, one of this very context: a task inherits them, and sets its own alone."""
    for scoped in list(_known):
        scoped.here(scoped.get())
