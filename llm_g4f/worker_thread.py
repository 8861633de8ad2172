"""Blocking work as an asynchronous generator: a thread that produces, a queue in the asking loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_END = object()


class Worker(Generic[T]):
    """Runs `work(put)` in a thread of its own. `put(item)` hands an item over, and is True once
    nobody wants more: the work is to end then.

    `daemon` False: the interpreter waits for the thread, which sees the main thread end and stops.
    Said in both cases, since a thread inherits it from the one that makes it.
    """

    def __init__(self, work: Callable[[Callable[[T], bool]], None], *, daemon: bool) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._stopped = threading.Event()
        self._main = threading.main_thread()
        self._thread = threading.Thread(target=self._run, name="g4f-worker", daemon=daemon)

    async def items(self) -> AsyncGenerator[T, None]:
        """What the work puts, as it comes. Raises what it raised."""
        self._thread.start()
        try:
            while (item := await self._queue.get()) is not _END:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self._stopped.set()

    def _run(self) -> None:
        try:
            self._work(self._put)
        except BaseException as error:  # noqa: BLE001 (a thread has nobody else to tell)
            # One that would end the program ends this work only, and is not to be mistaken for its end.
            self._put(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        self._put(_END)

    def _put(self, item: Any) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:
            # The loop is closed: nobody is listening any more.
            self._stopped.set()
        return self._stopped.is_set() or not self._main.is_alive()
