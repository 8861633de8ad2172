"""The engine of many machines: the rows as Ray Data, over a cluster.

    async for result in run(rows, model="gpt-4o", concurrency=200, address="auto"):
        ...

Rows go to the workers in blocks, no more of them than the workers need; results come back
block by block. Ray repeats a block when its worker dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Mapping,
)
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import ClusterError, clean
from ..routing.notices import announce
from ..settings import DEFAULT_MODEL, Settings
from .engine import CONCURRENCY, NOTICES, Results, Rows
from .results import Result

if TYPE_CHECKING:
    from .ray_actors import Answered, Numbered

from .ray_session import _AHEAD, _failed, _Ray

_PARTS = 2
"""A block has the rows that have come up while the last one was on its way, for each costs Ray Data some hundredths
of a second. But at most this part of what a worker asks at once: none of its answers is written before
its slowest one."""

_PATIENCE = 3.0
"""Seconds that the cluster has to give up what is under way."""


def check(address: str | None) -> None:
    """Raise `ClusterError` where Ray is not installed, or `address` is one that it cannot be used at."""
    if any(find_spec(name) is None for name in ("ray", "pyarrow", "pandas")):
        raise ClusterError(
            "--engine ray needs Ray: llm install 'llm-g4f[ray]', or pip install 'llm-g4f[ray]' beside llm."
        )
    if address is not None and address.startswith("ray://"):
        raise ClusterError(
            f"{clean(address, 100)} is the address of a Ray Client, which Ray Data does not run through."
            " Run this on a machine of the cluster: there --ray-address auto finds it."
        )


class _Cluster:
    """One run over a cluster, as a crew of `Results`."""

    def __init__(
        self,
        rows: Rows,
        settings: Mapping[str, Any],
        concurrency: int,
        address: str | None,
        tell: Callable[[str], None],
    ) -> None:
        self._rows = rows
        self._settings = settings
        self._concurrency = concurrency
        self._address = address
        self._tell = tell
        self._told: set[str] = set()
        self._most = 1
        self._waiting: list[Numbered] = []
        self._taken_all = False
        self._news = asyncio.Event()
        self._under_way = 0
        self._room = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure: Exception | None = None
        self._arrived: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._ray: _Ray | None = None

    def stop(self) -> None:
        """Take no more rows, and give up the requests under way."""
        self._stopped.set()

    def _put(self, block: bytes | Exception | None) -> None:
        self._loop.call_soon_threadsafe(self._arrived.put_nowait, block)

    async def results(self) -> AsyncGenerator[Result, None]:
        """The results in order of completion, block by block."""
        self._loop = asyncio.get_running_loop()
        left = threading.Event()
        opening = _in_thread(lambda: _Ray(self._address), until=left)
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._or_stopped(opening)
            if self._stopped.is_set():
                return
            self._ray = opening.result()
            workers = await _in_thread(self._begin)
            self._most = max(1, self._concurrency // workers // _PARTS)
            parts = (self._take(), self._give(), self._watch())
            tasks = [asyncio.create_task(part) for part in parts]
            async for answered in self._answers():
                for result in answered:
                    yield result
            if self._failure is not None and not self._stopped.is_set():
                raise self._failure
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # What hangs there is left to the end of the process.
            await asyncio.wait({opening}, timeout=_PATIENCE)
            if opening.done() and opening.exception() is None:
                await asyncio.wait({_in_thread(opening.result().close)}, timeout=2 * _PATIENCE)
            left.set()

    def _begin(self) -> int:
        assert self._ray is not None
        return self._ray.begin(self._concurrency, self._settings, self._put)

    async def _or_stopped(self, task: asyncio.Future[Any]) -> None:
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()

    async def _answers(self) -> AsyncIterator[list[Result]]:
        assert self._ray is not None
        while (block := await self._arrived.get()) is not None:
            if isinstance(block, Exception):
                if self._stopped.is_set():
                    return
                raise _failed(block) from None
            if (answered := self._ray.answered(block)) is not None:
                yield self._taken(*answered)

    def _taken(self, answered: Answered, count: int) -> list[Result]:
        if answered.refusal is not None:
            raise answered.refusal
        for notice in answered.notices:
            if notice not in self._told and len(self._told) < NOTICES:
                self._told.add(notice)
                self._tell(notice)
        self._under_way -= count
        self._room.set()
        return answered.results

    async def _watch(self) -> None:
        """End the run when it is to stop: gently, and then without the cluster."""
        assert self._ray is not None
        await self._stopped.wait()
        self._ray.stop()
        await asyncio.sleep(_PATIENCE)
        self._arrived.put_nowait(None)

    async def _take(self) -> None:
        """Take rows as there is room for them."""
        try:
            async for row in _each(self._rows):
                self._under_way += 1
                self._waiting.append(row)
                self._news.set()
                while self._under_way >= _AHEAD * self._concurrency:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001 (whatever the rows raise comes behind the results)
            self._failure = error
        self._taken_all = True
        self._news.set()

    async def _give(self) -> None:
        """Give the desk what waits, block by block."""
        assert self._ray is not None
        while self._waiting or not self._taken_all:
            self._news.clear()
            if self._waiting:
                block, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._ray.give(block)
            else:
                await self._news.wait()
        await self._ray.end()


T = TypeVar("T")


def _in_thread(work: Callable[[], T], until: threading.Event | None = None) -> asyncio.Future[T]:
    """`work` in a thread that no end of the process waits for: Ray may hang for minutes.

    The thread stays `until` then: on Linux what it has started ends with it.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
            future.exception()
        else:
            future.set_result(cast("T", value))

    def run() -> None:
        value: T | None = None
        failure: Exception | None = None
        try:
            value = work()
        except Exception as error:  # noqa: BLE001 (it is raised where the future is awaited)
            failure = error
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(settle, value, failure)
        if until is not None:
            until.wait()

    threading.Thread(target=run, daemon=True).start()
    return future


async def _each(rows: Rows) -> AsyncGenerator[Numbered, None]:
    number = 0
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            number += 1
            yield row, number
        return
    for row in rows:
        number += 1
        yield row, number


def run(
    rows: Rows,
    *,
    model: str = DEFAULT_MODEL,
    concurrency: int = CONCURRENCY,
    address: str | None = None,
    key: str | None = None,
    tell: Callable[[str], None] = announce,
    **defaults: Any,
) -> Results:
    """Ask for many completions as `local.run` does, over a Ray cluster.

    `address` is that of a running cluster ("auto", "host:port"); without it this machine is one for the
    time of the run, unless Ray runs already. `concurrency` is for the whole cluster: each worker, of
    which there is one for each CPU, has its share. No key travels: workers read g4f.yaml, `llm keys` and the environment where
    they run, and `key` is a name in `llm keys` there. Raises `ClusterError`, while it is iterated over too.
    """
    if concurrency < 1:
        raise ValueError("concurrency has to be 1 or more")
    check(address)
    provider = defaults.pop("provider", None)
    # What contradicts itself is said here, and not by every worker.
    Settings(provider, key, None, None, None, None)
    settings = {"provider": provider, "key": key, "defaults": {"model": model, **defaults}}
    return Results(_Cluster(rows, settings, concurrency, address, tell))
