"""The event-loop thread behind every synchronous call.

The caller's own thread may already run a loop (Jupyter), and connections belong to a loop: one that
lives on keeps them for the next call.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import queue
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from .decoding.connection_errors import FILE_LIMIT, TOO_MANY_FILES
from .errors import APIConnectionError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_MAX_QUEUED = 100
"""Items (lists of chunks) in the queue at which the producer waits for the consumer."""

_CLEANUP_TIMEOUT = 5.0
"""Seconds that cancelled work has to clean up."""

_ON_LOOP_THREAD = (
    "Client is called on the thread of its own event loop, where it would wait for itself for ever:"
    " use AsyncClient there, or call Client with asyncio.to_thread."
)
_FORKED = (
    "This stream belongs to the parent process, and a forked child cannot read it: make the request"
    " in the child."
)

_forks = 0
"""How many forks this process is away from the one that imported this module."""

# On Windows, Ctrl-C cannot interrupt a wait without a timeout.
_WAIT = 0.2 if os.name == "nt" else None


class ClosableIterator(Protocol[T_co]):
    """An async iterator with `aclose`: an async generator, for instance."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...

    def aclose(self) -> Awaitable[None]: ...


class _End:
    """Follows the last item in the queue. `error` is what the producer raised."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class LoopThread:
    """Runs coroutines and async generators on its own event loop, for synchronous callers."""

    def __init__(self) -> None:
        _check_gevent()
        self._loop = asyncio.new_event_loop()
        self._executor = ThreadPoolExecutor(thread_name_prefix="g4f")
        self._loop.set_default_executor(self._executor)
        self._exiting = False
        self._forks = _forks
        self._thread = threading.Thread(target=self._run, name="g4f-loop", daemon=True)
        self._thread.start()
        self._thread_id = self._thread.ident

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=_CLEANUP_TIMEOUT))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            # The loop's own shutdown starts a thread, which Python 3.12 and later refuse at exit.
            self._executor.shutdown()
            self._loop.close()

    def close(self) -> None:
        """Cancel all work and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def close_at_exit(self) -> None:
        """`close` when the interpreter exits. Threads that still wait are daemon threads: they keep
        waiting, and end with the interpreter."""
        self._exiting = True
        self.close()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work()`. If the wait is interrupted, cancels the work and lets it clean up."""

        async def once() -> AsyncGenerator[T, None]:
            yield await work()

        with contextlib.closing(self.stream(once)) as results:
            return next(results)

    def stream(self, source: Callable[[], ClosableIterator[T]]) -> Generator[T, None, None]:
        """The items of `source()`, as they come. Closing this generator closes the source.

        Raises `RuntimeError` where nothing would ever come: on the loop's own thread, and for a
        stream of the parent in a forked child.
        """
        if threading.get_ident() == self._thread_id:
            raise RuntimeError(_ON_LOOP_THREAD)
        items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        has_space = asyncio.Event()
        done = threading.Event()
        tasks: list[asyncio.Task[None]] = []

        def start() -> None:
            tasks.append(self._loop.create_task(self._dispatch(source, items, has_space)))
            tasks[0].add_done_callback(lambda _: done.set())

        self._loop.call_soon_threadsafe(start)
        try:
            while True:
                if self._forks != _forks:
                    raise RuntimeError(_FORKED)
                item = _take(items)
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                if items.qsize() == _MAX_QUEUED // 2:
                    self._loop.call_soon_threadsafe(has_space.set)
                yield item
        finally:
            if not done.is_set() and self._forks == _forks:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())  # noqa: PLW0108 (the task may not exist yet)
                    done.wait(_CLEANUP_TIMEOUT)

    async def _dispatch(
        self,
        source: Callable[[], ClosableIterator[Any]],
        items: queue.SimpleQueue[Any],
        has_space: asyncio.Event,
    ) -> None:
        """Put the items of `source()` into the queue, and `_End` after them."""
        error: BaseException | None = None
        async with contextlib.aclosing(source()) as stream:
            try:
                async for item in stream:
                    items.put(item)
                    if items.qsize() > _MAX_QUEUED:
                        has_space.clear()
                        await has_space.wait()
            except BaseException as caught:  # noqa: BLE001 (raised to the consumer)
                error = caught
        if not self._exiting:
            items.put(_End(error))


def _check_gevent() -> None:
    """Raise `RuntimeError` where gevent has replaced what wakes threads and not the threads: every
    call would wait for ever."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or monkey.is_module_patched("threading"):
        return
    if monkey.is_module_patched("queue") or monkey.is_module_patched("select"):
        raise RuntimeError(
            "gevent has replaced queue and select and not threading, and Client needs all of them or"
            " none: call monkey.patch_all() without thread=False."
        )


def _take(items: queue.SimpleQueue[Any]) -> Any:
    while True:
        try:
            return items.get(timeout=_WAIT)
        except queue.Empty:
            continue


_loop_thread: LoopThread | None = None
_abandoned: list[LoopThread] = []
_lock = threading.Lock()


def loop_thread() -> LoopThread:
    """The loop thread of this process, started on first use. Raises `APIConnectionError` where this
    machine has too many open files for it."""
    global _loop_thread
    with _lock:
        if _loop_thread is None:
            try:
                _loop_thread = LoopThread()
            except OSError as error:
                # An event loop takes three.
                if error.errno in FILE_LIMIT:
                    raise APIConnectionError(TOO_MANY_FILES, reason="this_machine") from None
                raise
            atexit.register(_loop_thread.close_at_exit)
        return _loop_thread


def _after_fork() -> None:
    # The thread does not exist in the child, and the loop is the parent's: keep it unclosed.
    global _loop_thread, _lock, _forks
    _forks += 1
    if _loop_thread is not None:
        atexit.unregister(_loop_thread.close_at_exit)
        _abandoned.append(_loop_thread)
    _loop_thread, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
