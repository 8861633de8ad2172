"""The engine for several machines: the rows go through Ray Data, over a cluster.

    async for result in run(rows, model="gpt-4o", concurrency=200, address="auto"):
        ...

Rows go to the workers in blocks, only as many as the workers need, and results come back block by
block. Ray repeats a block if its worker dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
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

from ..errors import ClusterError
from ..routing.notices import announce
from ..safe_text import clean
from ..settings import DEFAULT_MODEL, Settings
from .engine import CONCURRENCY, NOTICES, Results, Rows
from .ray_session import IN_CLUSTER, RaySession, cluster_failure
from .results import Result
from .survivor import Survivor

if TYPE_CHECKING:
    from .ray_actors import AnsweredBlock, NumberedRow

_BLOCKS_AT_ONCE = 2
"""Blocks that a worker asks at once, at least. A block has the rows that were read while the last one was
sent, since each takes Ray Data some hundredths of a second. Larger ones would come back later: with
their slowest answer."""

_STOP_TIMEOUT = 3.0
"""Seconds that the cluster has to stop."""


def check(address: str | None) -> None:
    """Raise `ClusterError` if Ray is not installed, or cannot be used at `address`."""
    if any(find_spec(name) is None for name in ("ray", "pyarrow", "pandas")):
        raise ClusterError(
            "--engine ray needs Ray: llm install 'llm-g4f[ray]', or pip install 'llm-g4f[ray]' in the"
            " environment of llm."
        )
    if address is not None and address.startswith("ray://"):
        raise ClusterError(
            f"{clean(address, 100)} is the address of a Ray Client, which Ray Data does not support."
            " Run this on a machine of the cluster, with --ray-address auto."
        )


class _RayEngine:
    """One run over a cluster, as an `Engine`."""

    def __init__(
        self,
        rows: Rows,
        settings: Mapping[str, Any],
        concurrency: int,
        address: str | None,
        on_notice: Callable[[str], None],
    ) -> None:
        self._rows = rows
        self._settings = settings
        self._concurrency = concurrency
        self._address = address
        self._on_notice = on_notice
        self._notices: set[str] = set()
        self._block_size = 1
        self._waiting: list[NumberedRow] = []
        self._all_read = False
        self._rows_changed = asyncio.Event()
        self._in_progress = 0
        self._answers_changed = asyncio.Event()
        self._stopped = asyncio.Event()
        self._error: Exception | None = None
        self._answered: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._ray: RaySession | None = None

    def stop(self) -> None:
        """Read no more rows, and cancel the requests in progress."""
        self._stopped.set()

    def _put(self, block: bytes | Exception | None) -> None:
        self._loop.call_soon_threadsafe(self._answered.put_nowait, block)

    async def results(self) -> AsyncGenerator[Result, None]:
        """The results in order of completion, block by block."""
        self._loop = asyncio.get_running_loop()
        ended = threading.Event()
        survivor = await asyncio.to_thread(Survivor)
        opening = _in_thread(lambda: RaySession(self._address, survivor.folder), until=ended)
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._or_stopped(opening)
            if self._stopped.is_set():
                return
            self._ray = opening.result()
            _take_back_sigterm()
            workers = await _in_thread(self._begin)
            self._block_size = max(1, self._concurrency // workers // _BLOCKS_AT_ONCE)
            parts = (self._read_rows(), self._send_blocks(), self._watch_stop())
            tasks = [asyncio.create_task(part) for part in parts]
            for task in tasks:
                task.add_done_callback(self._report)
            async for results in self._answers():
                for result in results:
                    yield result
            if self._error is not None and not self._stopped.is_set():
                raise self._error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # A thread that hangs is left to the end of the process.
            await asyncio.wait({opening}, timeout=_STOP_TIMEOUT)
            if opening.done() and opening.exception() is None:
                await asyncio.wait({_in_thread(opening.result().close)}, timeout=2 * _STOP_TIMEOUT)
            ended.set()
            survivor.close()

    def _report(self, task: asyncio.Task[None]) -> None:
        """End the run with the error of a part of it."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._answered.put_nowait(cast("Exception", error))

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
        while (block := await self._answered.get()) is not None:
            if isinstance(block, Exception):
                if self._stopped.is_set():
                    return
                raise cluster_failure(block) from None
            if (unpacked := self._ray.unpack(block)) is not None:
                yield self._results_of(*unpacked)

    def _results_of(self, answered: AnsweredBlock, rows: int) -> list[Result]:
        if answered.error is not None:
            raise answered.error
        for notice in answered.notices:
            if notice not in self._notices and len(self._notices) < NOTICES:
                self._notices.add(notice)
                self._on_notice(notice)
        self._in_progress -= rows
        self._answers_changed.set()
        return answered.results

    async def _watch_stop(self) -> None:
        """End the run after `stop`, without the cluster if it takes too long."""
        assert self._ray is not None
        await self._stopped.wait()
        self._ray.stop()
        await asyncio.sleep(_STOP_TIMEOUT)
        self._answered.put_nowait(None)

    async def _read_rows(self) -> None:
        """Read rows, as many as the cluster may have at once."""
        try:
            async for row in _numbered(self._rows):
                self._in_progress += 1
                self._waiting.append(row)
                self._rows_changed.set()
                while self._in_progress >= IN_CLUSTER * self._concurrency:
                    self._answers_changed.clear()
                    await self._answers_changed.wait()
        except Exception as error:  # noqa: BLE001 (raised after the results)
            self._error = error
        self._all_read = True
        self._rows_changed.set()

    async def _send_blocks(self) -> None:
        """Send the rows read to the cluster, block by block."""
        assert self._ray is not None
        while self._waiting or not self._all_read:
            self._rows_changed.clear()
            if self._waiting:
                size = self._block_size
                block, self._waiting = self._waiting[:size], self._waiting[size:]
                await self._ray.put(block)
            else:
                await self._rows_changed.wait()
        await self._ray.end()


def _take_back_sigterm() -> None:
    """Put the program's own handler of SIGTERM in place of Ray's, which prints a stack trace, and ends
    the process by SIGABRT three seconds later."""
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(signal.SIGTERM, handler)


T = TypeVar("T")


def _in_thread(work: Callable[[], T], until: threading.Event | None = None) -> asyncio.Future[T]:
    """Run `work` in a daemon thread, since Ray may hang for minutes.

    The thread waits for `until` at its end: on Linux, the processes that it started end with it.
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
        except Exception as error:  # noqa: BLE001 (raised by the future)
            failure = error
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(settle, value, failure)
        if until is not None:
            until.wait()

    threading.Thread(target=run, daemon=True).start()
    return future


async def _numbered(rows: Rows) -> AsyncGenerator[NumberedRow, None]:
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
    on_notice: Callable[[str], None] = announce,
    **defaults: Any,
) -> Results:
    """Answer many prompts as `llm_g4f.batch.run` does, over a Ray cluster.

    `address` is that of a running cluster ("auto", "host:port"); without it, this machine is a cluster
    for the time of the run, unless Ray runs already. `concurrency` is for the whole cluster and
    divided among its workers, one for each CPU. Keys are never sent: the workers read g4f.yaml, `llm
    keys` and the environment of their own machine, and `key` is a name in `llm keys` there. Raises
    `ClusterError`, also during iteration.
    """
    if concurrency < 1:
        raise ValueError("concurrency must be 1 or more")
    check(address)
    provider = defaults.pop("provider", None)
    # Raises here, and not in every worker, for arguments that contradict each other.
    Settings(provider, key, None, None, None, None)
    settings = {"provider": provider, "key": key, "defaults": {"model": model, **defaults}}
    return Results(_RayEngine(rows, settings, concurrency, address, on_notice))
