"""Run blocking work in a thread, and read what it produces as an async generator."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_END = object()


class WorkerThread(Generic[T]):
    """Runs `work(put)` in a thread of its own. `put(item)` passes an item on; it returns True when the
    work must end: nothing reads the items any more, or the main thread has ended.

    With `daemon` False, the interpreter waits for the thread at exit. There is no default: a thread
    would inherit it from the one that starts it.
    """

    def __init__(self, work: Callable[[Callable[[T], bool]], None], *, daemon: bool) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._stopped = threading.Event()
        self._main = threading.main_thread()
        self._thread = threading.Thread(target=self._run, name="g4f-worker", daemon=daemon)

    async def items(self) -> AsyncGenerator[T, None]:
        """The items, as they come. Raises what the work raises."""
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
        except BaseException as error:  # noqa: BLE001 (raised by items())
            # SystemExit and its like end this work only; items() raises them as an Exception.
            self._put(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        self._put(_END)

    def _put(self, item: Any) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:
            # The loop is closed.
            self._stopped.set()
        return self._stopped.is_set() or not self._main.is_alive()
