"""What belongs to an event loop, and timers that fire late.

A timer fires late when the process was stopped (Ctrl-Z, a closed lid) or its loop was blocked.
What has arrived meanwhile counts first, so that a late timer gives it a little more time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

LATE = 0.1
"""Seconds behind its time from which a timer is late."""

EXTENSION = 0.25
"""Seconds for what has already arrived when a timer is late: many turns of the loop."""


class NoLoopError(RuntimeError):
    """A call without a running event loop."""

    def __init__(self) -> None:
        super().__init__(
            "AsyncClient needs a running asyncio event loop, and there is none here. Run the program"
            " with asyncio.run(…); under trio, call Client with trio.to_thread.run_sync; under gevent"
            " and elsewhere, use Client."
        )


class OtherLoopError(RuntimeError):
    """A stream is read on another event loop than that of its request."""

    def __init__(self) -> None:
        super().__init__(
            "This stream belongs to another event loop, and only there does it go on. Read it on the"
            " loop that made the request, or use Client, whose streams any thread may read."
        )


def running_loop() -> asyncio.AbstractEventLoop:
    """The running event loop. Raises `NoLoopError`."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise NoLoopError from None


def loop_local(name: str, make: Callable[[], T]) -> T:
    """The running loop's own object called `name`, made on first use.

    It is kept by the loop: in a dictionary of ours, weak or not, it would keep its loop alive.
    Raises `NoLoopError`.
    """
    loop = running_loop()
    made: T | None = getattr(loop, name, None)
    if made is None:
        made = make()
        setattr(loop, name, made)
    return made


async def is_done_within(task: asyncio.Task[Any], seconds: float | None) -> bool:
    """Whether `task` is done within `seconds`. It goes on if it is not, or if this is cancelled."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    done, _ = await asyncio.wait((task,), timeout=seconds)
    if not done and seconds is not None and loop.time() - begun - seconds > LATE:
        done, _ = await asyncio.wait((task,), timeout=EXTENSION)
    return bool(done)


async def within(seconds: float | None, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. Raises `TimeoutError`; the work is cancelled then."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        if await is_done_within(task, seconds):
            return task.result()
    finally:
        task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        return task.result()
    raise TimeoutError
