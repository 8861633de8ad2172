"""What runs inside a Ray cluster: the desk where blocks of rows wait, and the workers that ask them.

A block is the pickled bytes of some rows; a worker makes of it the pickled bytes of an `Answered`. To Ray
Data each is a table of one cell, for it splits and joins tables by their size.
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

Numbered = tuple[Mapping[str, Any], int]
"""A row and its number."""

_COLUMN = "block"

_RESTARTS = 3
"""How often every worker may die before one block has been answered: Ray would restart them for ever."""


def pack(blocks: Iterable[bytes]) -> pyarrow.Table:
    """Blocks as a table."""
    return pyarrow.table({_COLUMN: pyarrow.array(blocks, pyarrow.large_binary())})


def unpack(table: pyarrow.Table) -> list[bytes]:
    """The blocks in a table."""
    found: list[bytes] = table.column(_COLUMN).to_pylist()
    return found


class Answered(Struct, frozen=True):
    """What became of block `number`: a result for each row, but for those that were given up.

    `notices` say who answers; `refusal` is why this worker cannot ask anybody.
    """

    number: int
    results: list[Result]
    notices: list[str]
    refusal: G4FError | None = None


class BlockQueue:
    """An actor of one run: the driver gives it blocks, and it has them until they are answered.

    Blocks go by their numbers, so that Ray can repeat what read them and get the same again.
    """

    def __init__(self, concurrency: int, workers: int) -> None:
        self._concurrency = concurrency
        self._workers = workers
        self._places: dict[str, int] = {}
        self._restarts = 0
        self._blocks: dict[int, bytes] = {}
        self._given = self._wanted = 0
        self._ended = False
        self._news = asyncio.Condition()
        self._stop = asyncio.Event()

    async def register(self, worker: str) -> int:
        """How many rows `worker` asks at once: all of them together as many as the run may.

        One that was restarted has its old share; 0 where they are restarted and nothing comes of it.
        """
        self._restarts += worker in self._places
        if self._restarts > _RESTARTS * self._workers:
            return 0
        place = self._places.setdefault(worker, len(self._places))
        share, more = divmod(self._concurrency, self._workers)
        return share + (place < more)

    async def give(self, block: bytes) -> None:
        """Take the next block; returns when Ray wants one more behind it."""
        async with self._news:
            number = self._given
            self._blocks[number] = block
            self._given += 1
            self._news.notify_all()
            await self._news.wait_for(lambda: self._wanted > number or self._ended)

    async def end(self) -> None:
        """No block will come any more."""
        async with self._news:
            self._ended = True
            self._news.notify_all()

    async def take(self, number: int) -> bytes | None:
        """Block `number`, when it is there; b"" if it has been answered, None behind the last one."""
        async with self._news:
            self._wanted = number
            self._news.notify_all()
            await self._news.wait_for(lambda: number < self._given or self._ended)
        return self._blocks.get(number, b"") if number < self._given else None

    async def forget(self, number: int) -> None:
        """Block `number` has been answered."""
        self._blocks.pop(number, None)
        self._restarts = 0

    async def stop(self) -> None:
        """Give up what is under way."""
        self._stop.set()
        await self.end()

    async def stopped(self) -> None:
        """Wait until the run is to be given up."""
        await self._stop.wait()


class Blocks(Datasource):  # type: ignore[misc]
    """The blocks of a desk as what Ray Data reads, one after the other as they come."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
        """One: order and bound are the desk's."""
        desk = self._desk

        def read() -> Iterator[pyarrow.Table]:
            number = 0
            while (block := ray.get(desk.take.remote(number))) is not None:
                yield pack([block])
                number += 1

        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(read, unknown)]


class Worker:
    """An actor that asks: one event loop, one set of connections, its share of the rows at once.

    `key` is a name in `llm keys` on the machine where the worker runs.
    """

    def __init__(self, desk: Any, defaults: JSON, provider: Any, key: str | None) -> None:
        self._desk = desk
        share = ray.get(desk.register.remote(ray.get_runtime_context().get_actor_id()))
        self._room = asyncio.Semaphore(share)
        self._notices: list[str] = []
        self._refusal: G4FError | None = None
        found: Secret | None = None
        try:
            if share == 0:
                raise G4FError(
                    "The workers of the Ray cluster die again and again; its logs say why."
                )
            found = _stored(key) if key else None
        except G4FError as error:
            self._refusal = error
        settings = Settings(provider, found, None, None, None, None)
        self._asker = RowProcessor(
            settings, defaults, BatchAdmission(max(1, share)), self._notices.append
        )
        self._asking: set[asyncio.Task[Result]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._stopped = False

    async def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """The answers to a table of blocks."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_stop())
        return pack([await self._answered(block) for block in unpack(table)])

    async def _watch_stop(self) -> None:
        # A desk that is no more has stopped as well.
        with contextlib.suppress(ray.exceptions.RayError):
            await self._desk.stopped.remote()
        self._stopped = True
        for task in self._asking:
            task.cancel()

    async def _answered(self, block: bytes) -> bytes:
        if not block:
            return block
        number, rows = cloudpickle.loads(block)
        results = [] if self._refusal else await self._results(rows)
        notices, self._notices[:] = list(self._notices), []
        answered = Answered(number, results, notices, self._refusal)
        packed: bytes = cloudpickle.dumps(answered)
        return packed

    async def _results(self, rows: list[Numbered]) -> list[Result]:
        if self._stopped:
            return []
        tasks = [asyncio.create_task(self._ask(*row)) for row in rows]
        self._asking.update(tasks)
        await asyncio.wait(tasks)
        self._asking.difference_update(tasks)
        return [task.result() for task in tasks if not task.cancelled()]

    async def _ask(self, row: Mapping[str, Any], number: int) -> Result:
        async with self._room:
            result = await self._asker.ask(row, number)
        if result.request is None:
            return result
        # A key stays where it is.
        return replace(result, request=replace(result.request, key=None))


def _stored(key: str) -> Secret:
    found = find_key((key,), ())
    if found is None:
        raise NoProviderError(
            f'{socket.gethostname()} has no key {key} in its "llm keys": set it there.'
        )
    return found
