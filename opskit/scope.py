"""A default with two homes: the process, and the context of a `with` block or a task. For `use` and `configure`."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")

_UNSET: Final = object()


class Scoped(Generic[T]):
    """One value that a call sets for the process, or, used as `with`, for the block alone.

    Threads and tasks that were given a copy of the context see the block's value; all others the process's.
    """

    def __init__(self, name: str, default: T) -> None:
        self._process = default
        self._context: ContextVar[T] = ContextVar(name)

    def get(self) -> T:
        """The innermost block's value, else the process's."""
        return self._context.get(self._process)

    def set(self, value: T) -> Change[T]:
        """Set the value where the caller stands: in a block for its context, else for the process."""
        return Change(self, value)

    def _assign(self, value: T) -> Token[T] | None:
        if self._context.get(_UNSET) is not _UNSET:
            return self._context.set(value)
        self._process = value
        return None


class Change(Generic[T]):
    """What `Scoped.set` did; as a context manager it holds for the block alone."""

    def __init__(self, scoped: Scoped[T], value: T) -> None:
        self._scoped = scoped
        self._value = value
        self._before = scoped.get()
        self._token: Token[T] | None = None
        scoped._assign(value)  # noqa: SLF001 - two halves of one idea

    def __repr__(self) -> str:
        return f"<set to {self._value!r}>"

    def __enter__(self) -> T:
        scoped = self._scoped
        scoped._assign(self._before)  # noqa: SLF001 - two halves of one idea
        self._token = scoped._context.set(self._value)  # noqa: SLF001 - two halves of one idea
        return self._value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._token is not None
        self._scoped._context.reset(self._token)  # noqa: SLF001 - two halves of one idea
