"""Async generators inside one another."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable
from typing import Generic, TypeVar

T = TypeVar("T")


def _leave(_: object) -> None:
    """What is done for an inner generator that is collected as garbage: nothing, for its outer one is
    collected with it, and closes it."""


class ManagedAsyncGen(Generic[T]):
    """An async generator that the event loop does not close, since the one around it does.

    At its end asyncio closes all suspended generators at once: an inner one that is still
    closing then makes its outer one fail with "already running". Any async iterator will do;
    `aclose` does nothing for one that cannot be closed, or has not begun.
    """

    def __init__(self, items: AsyncIterator[T], *, collected: bool = False) -> None:
        """`collected`: the one around it may not close it, so it is closed as garbage."""
        self._items = items
        self._collected = collected
        self._begun = False

    def __aiter__(self) -> ManagedAsyncGen[T]:
        return self

    def __anext__(self) -> Awaitable[T]:
        if self._begun:
            return self._items.__anext__()
        self._begun = True
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, hooks.finalizer if self._collected else _leave)
        try:
            return self._items.__anext__()
        finally:
            sys.set_asyncgen_hooks(*hooks)

    async def aclose(self) -> None:
        close = getattr(self._items, "aclose", None)
        if self._begun and close is not None:
            await close()
