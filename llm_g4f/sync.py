"""The one loop thread that synchronous calls go through.

A thread of its own, since the caller's may already run a loop (Jupyter), and since
connections that belong to a loop which lives on are there for the next call.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_AHEAD = 100
"""Items (batches of chunks) that may wait for the consumer before the producer does."""

_GOODBYE = 5.0
"""Seconds that an abandoned piece of work has to clean up."""

# A wait without a limit cannot be interrupted by Ctrl-C on Windows.
_SLICE = 0.2 if os.name == "nt" else None


class ClosableIterator(Protocol[T_co]):
    """An async iterator with `aclose`: an async generator, for instance."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    def aclose(self) -> Awaitable[None]: ...


class _End:
    """Behind the last item: how the producer ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class LoopThread:
    """Runs coroutines and async generators on its own loop, for callers who have none."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._executor = ThreadPoolExecutor(thread_name_prefix="g4f")
        self._loop.set_default_executor(self._executor)
        self._process = os.getpid()
        self._exiting = False
        self._thread = threading.Thread(target=self._run, name="g4f-portal", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=_GOODBYE))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            # Not the loop's own way, which starts a thread: from Python 3.12 on none starts at exit.
            self._executor.shutdown()
            self._loop.close()

    def close(self) -> None:
        """End all work and the thread. Called when the interpreter exits."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def close_at_exit(self) -> None:
        """`close`, and who still waits goes on waiting: daemon threads, which end with the interpreter."""
        self._exiting = True
        self.close()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work()`. If the wait is interrupted, the work is cancelled and cleans up."""

        async def once() -> AsyncGenerator[T, None]:
            yield await work()

        with contextlib.closing(self.stream(once)) as results:
            return next(results)

    def stream(self, source: Callable[[], ClosableIterator[T]]) -> Generator[T, None, None]:
        """The items of `source()`, as they come. Closing the generator closes the source."""
        items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        room = asyncio.Event()
        done = threading.Event()
        tasks: list[asyncio.Task[None]] = []

        async def dispatch() -> None:
            error: BaseException | None = None
            async with contextlib.aclosing(source()) as stream:
                try:
                    async for item in stream:
                        items.put(item)
                        if items.qsize() > _AHEAD:
                            room.clear()
                            await room.wait()
                except BaseException as caught:  # noqa: BLE001 (it is raised where the items are taken)
                    error = caught
            if not self._exiting:
                items.put(_End(error))

        def start() -> None:
            tasks.append(self._loop.create_task(dispatch()))
            tasks[0].add_done_callback(lambda _: done.set())

        self._loop.call_soon_threadsafe(start)
        try:
            while True:
                item = _take(items)
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                if items.qsize() == _AHEAD // 2:
                    self._loop.call_soon_threadsafe(room.set)
                yield item
        finally:
            if not done.is_set() and self._process == os.getpid():
                with contextlib.suppress(RuntimeError):  # the loop is closed: all has ended
                    self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())  # noqa: PLW0108 (no task yet)
                    done.wait(_GOODBYE)


def _take(items: queue.SimpleQueue[Any]) -> Any:
    while True:
        try:
            return items.get(timeout=_SLICE)
        except queue.Empty:
            continue


_loop_thread: LoopThread | None = None
_abandoned: list[LoopThread] = []
_lock = threading.Lock()


def loop_thread() -> LoopThread:
    """The process's portal, started on first use."""
    global _loop_thread
    with _lock:
        if _loop_thread is None:
            _loop_thread = LoopThread()
            atexit.register(_loop_thread.close_at_exit)
        return _loop_thread


def _after_fork() -> None:
    # The loop's thread is not in the child; the loop itself is the parent's to close.
    global _loop_thread, _lock
    if _loop_thread is not None:
        atexit.unregister(_loop_thread.close_at_exit)
        _abandoned.append(_loop_thread)
    _loop_thread, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
