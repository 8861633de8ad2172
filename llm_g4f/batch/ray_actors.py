"""The actors that run inside a Ray cluster: a queue of blocks of rows, and the workers that ask them.

A block is the pickled bytes of some rows, and a worker's answer those of an `AnsweredBlock`. To Ray
Data, each is a table of one cell, since Ray Data splits and joins tables by their size.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow
import ray
from msgspec import Struct
from msgspec.structs import replace
from ray import cloudpickle
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from ..config.keys import find_key
from ..errors import G4FError, NoProviderError
from ..request import Secret
from ..settings import Settings
from ..types import JSON
from .engine import RowProcessor
from .provider_limits import BatchAdmission
from .results import Result

NumberedRow = tuple[Mapping[str, Any], int]
"""A row, and its number from 1."""

_COLUMN = "block"

_MAX_RESTARTS = 3
"""How often each worker may be restarted until a block is answered. Ray would restart them for ever."""


def pack(blocks: Iterable[bytes]) -> pyarrow.Table:
    """Blocks as a table."""
    return pyarrow.table({_COLUMN: pyarrow.array(blocks, pyarrow.large_binary())})


def unpack(table: pyarrow.Table) -> list[bytes]:
    """The blocks in a table."""
    blocks: list[bytes] = table.column(_COLUMN).to_pylist()
    return blocks


class AnsweredBlock(Struct, frozen=True):
    """The results of block `number`, one for each row that was not cancelled.

    `notices` are lines for the user, as for a single prompt. `error` is set if this worker cannot
    send any request.
    """

    number: int
    results: list[Result]
    notices: list[str]
    error: G4FError | None = None


class BlockQueue:
    """The actor that holds the blocks of one run from the driver's `put` until they are answered.

    Blocks have numbers, so that Ray can repeat a read and get the same block.
    """

    def __init__(self, concurrency: int, workers: int) -> None:
        self._concurrency = concurrency
        self._workers = workers
        self._ranks: dict[str, int] = {}
        self._restarts = 0
        self._blocks: dict[int, bytes] = {}
        self._count = self._wanted = 0
        self._ended = False
        self._changed = asyncio.Condition()
        self._stop = asyncio.Event()

    async def register(self, worker: str) -> int:
        """The number of rows that `worker` may ask at once: its share of the run's concurrency.

        A restarted worker has its old share. 0 means that workers are restarted in vain.
        """
        self._restarts += worker in self._ranks
        if self._restarts > _MAX_RESTARTS * self._workers:
            return 0
        rank = self._ranks.setdefault(worker, len(self._ranks))
        share, remainder = divmod(self._concurrency, self._workers)
        return share + (rank < remainder)

    async def put(self, block: bytes) -> None:
        """Add the next block. Returns when Ray wants another one."""
        async with self._changed:
            number = self._count
            self._blocks[number] = block
            self._count += 1
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._wanted > number or self._ended)

    async def end(self) -> None:
        """Add no more blocks."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def get(self, number: int) -> bytes | None:
        """Wait for block `number`; b"" if it has been answered, None after the last one."""
        async with self._changed:
            self._wanted = number
            self._changed.notify_all()
            await self._changed.wait_for(lambda: number < self._count or self._ended)
        return self._blocks.get(number, b"") if number < self._count else None

    async def forget(self, number: int) -> None:
        """Remove block `number`, which has been answered."""
        self._blocks.pop(number, None)
        self._restarts = 0

    async def stop(self) -> None:
        """Cancel the requests in progress, and add no more blocks."""
        self._stop.set()
        await self.end()

    async def stopped(self) -> None:
        """Wait for `stop`."""
        await self._stop.wait()


class BlockSource(Datasource):  # type: ignore[misc]
    """The blocks of a `BlockQueue` as a source of Ray Data, one by one as they come."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        """A single task: the queue has the order and the limit."""
        queue = self._queue

        def read() -> Iterator[pyarrow.Table]:
            number = 0
            while (block := ray.get(queue.get.remote(number))) is not None:
                yield pack([block])
                number += 1

        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(read, unknown)]


class RayWorker:
    """The actor that sends requests: one event loop, one set of connections, and its share of the
    run's concurrency. `key` is a name in `llm keys` on the worker's machine.
    """

    def __init__(self, queue: Any, defaults: JSON, provider: Any, key: str | None) -> None:
        self._queue = queue
        share = ray.get(queue.register.remote(ray.get_runtime_context().get_actor_id()))
        self._share = asyncio.Semaphore(share)
        self._notices: list[str] = []
        self._error: G4FError | None = None
        secret: Secret | None = None
        try:
            if share == 0:
                raise G4FError(
                    "The workers of the Ray cluster end again and again: see the cluster's logs."
                )
            secret = _stored_key(key) if key else None
        except G4FError as error:
            self._error = error
        settings = Settings(provider, secret, None, None, None, None)
        self._processor = RowProcessor(
            settings, defaults, BatchAdmission(max(1, share)), self._notices.append
        )
        self._tasks: set[asyncio.Task[Result]] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._stopped = False

    async def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """The answers to the blocks in a table, as a table."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch_stop())
        return pack([await self._answer(block) for block in unpack(table)])

    async def _watch_stop(self) -> None:
        # If the queue has died, the run has ended too.
        with contextlib.suppress(ray.exceptions.RayError):
            await self._queue.stopped.remote()
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    async def _answer(self, block: bytes) -> bytes:
        if not block:
            return block
        number, rows = cloudpickle.loads(block)
        results = [] if self._error else await self._results(rows)
        notices, self._notices[:] = list(self._notices), []
        answered = AnsweredBlock(number, results, notices, self._error)
        packed: bytes = cloudpickle.dumps(answered)
        return packed

    async def _results(self, rows: list[NumberedRow]) -> list[Result]:
        if self._stopped:
            return []
        tasks = [asyncio.create_task(self._ask(*row)) for row in rows]
        self._tasks.update(tasks)
        await asyncio.wait(tasks)
        self._tasks.difference_update(tasks)
        return [task.result() for task in tasks if not task.cancelled()]

    async def _ask(self, row: Mapping[str, Any], number: int) -> Result:
        async with self._share:
            result = await self._processor.ask(row, number)
        if result.request is None:
            return result
        # A key never leaves its machine.
        return replace(result, request=replace(result.request, key=None))


def _stored_key(name: str) -> Secret:
    key = find_key((name,), ())
    if key is None:
        raise NoProviderError(
            f'{socket.gethostname()} has no key {name} in "llm keys": run "llm keys set {name}" there.'
        )
    return key
