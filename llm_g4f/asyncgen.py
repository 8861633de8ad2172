"""Close nested async generators safely."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable
from typing import Generic, TypeVar

T = TypeVar("T")


def _ignore(_: object) -> None:
    """The finalizer of an inner generator: the outer one is collected with it, and closes it."""


class ManagedAsyncGen(Generic[T]):
    """An async generator that its outer generator closes, and not the event loop.

    At its end, asyncio closes all suspended generators at once. An outer one then fails with
    "already running" if its inner one is still closing. Wraps any async iterator; `aclose` does
    nothing for one that has no `aclose` or was not started.
    """

    def __init__(self, items: AsyncIterator[T], *, collected: bool = False) -> None:
        """`collected`: the outer generator may not close this one, so garbage collection does."""
        self._items = items
        self._collected = collected
        self._started = False

    def __aiter__(self) -> ManagedAsyncGen[T]:
        return self

    def __anext__(self) -> Awaitable[T]:
        if self._started:
            return self._items.__anext__()
        self._started = True
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, hooks.finalizer if self._collected else _ignore)
        try:
            return self._items.__anext__()
        finally:
            sys.set_asyncgen_hooks(*hooks)

    async def aclose(self) -> None:
        """Close the iterator, if it was started and can be closed."""
        close = getattr(self._items, "aclose", None)
        if self._started and close is not None:
            await close()
