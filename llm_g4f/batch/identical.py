"""Identical rows of a batch: one is asked, and the others find its answer where it was kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Identical:
    """Lets requests wait for an identical one in progress."""

    def __init__(self) -> None:
        self._in_progress: dict[bytes, asyncio.Event] = {}

    @asynccontextmanager
    async def turn(self, key: bytes | None) -> AsyncIterator[None]:
        """The turn of a request with this key; one without a key waits for nothing."""
        if key is None:
            yield
        elif (first := self._in_progress.get(key)) is not None:
            # If its answer was not kept, all the others are asked at once.
            await first.wait()
            yield
        else:
            ended = self._in_progress[key] = asyncio.Event()
            try:
                yield
            finally:
                del self._in_progress[key]
                ended.set()
