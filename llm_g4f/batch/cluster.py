"""The engine of many machines: the rows as Ray Data, over a cluster.

    async for result in run(rows, model="gpt-4o", concurrency=200, address="auto"):
        ...

Rows go to the workers in blocks (see `desk`), and no more of them than the workers need; results come back
block by block. Ray asks a block again when its worker dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import secrets
import socket
import tempfile
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterator,
    Mapping,
)
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..client import DEFAULT_MODEL, Settings
from ..errors import ClusterError, clean
from ..routing.notice import announce
from .local import CONCURRENCY, NOTICES, Results, Rows
from .results import Result

if TYPE_CHECKING:
    from .desk import Answered, Numbered

__all__ = ["check", "run"]

_AHEAD = 4
"""How many times the rows that are asked at once may be in the cluster: a block is on its way for some tenths of a
second, and comes back when its slowest row has its answer. Meanwhile nobody shall be idle."""

_PARTS = 2
"""A block has the rows that have come up while the last one was on its way, for each costs Ray Data some hundredths
of a second. But at most this part of what a worker asks at once: none of its answers is written before
its slowest one."""

_CALLS = 128
"""Blocks at a worker at most: Ray has a thread for each."""

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


class _Ray:
    """Ray as one run uses it, connected when it is made; `close` leaves it. All of it blocks but `give`, `end` and `stop`."""

    def __init__(self, address: str | None) -> None:
        # Ray reports how it is used to its makers unless this is said before its import.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self._held = contextlib.ExitStack()
        if address is None:
            _set_token(self._held)
        import ray
        import ray.data

        self._desk: Any = None
        self._rows: dict[int, int] = {}
        self._given = 0
        if ray.is_initialized():
            self._held.close()
            return
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        options: dict[str, Any] = {"address": address}
        if address is None:
            # Sockets have short names, so not where macOS has its temporary files.
            place = "/tmp" if os.name == "posix" else None  # noqa: S108
            folder = tempfile.TemporaryDirectory(
                prefix="g4f-ray-", dir=place, ignore_cleanup_errors=True
            )
            options = {
                "address": "local",
                "include_dashboard": False,
                # Ray opens its folder to everybody: this one is inside of one that is ours, and
                # what is logged and spilled there goes with the run.
                "_temp_dir": f"{self._held.enter_context(folder)}/ray",
            }
        try:
            if address is not None:
                _knock(address)
            self._held.callback(ray.shutdown)
            with _hushed():
                ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL + 1)
        except Exception as error:  # noqa: BLE001 (Ray raises all kinds)
            self._held.close()
            words = f"Ray cannot be used on this machine: {clean(str(error))}"
            if address is not None:
                words = (
                    f"There is no Ray cluster at {clean(address, 100)}: {clean(str(error))}\nIs it"
                    ' running ("ray status"), and is this one of its machines?'
                )
                if "InvalidAuthToken" in str(error.__cause__):
                    words = (
                        f"The Ray cluster at {clean(address, 100)} wants a token: set RAY_AUTH_MODE=token,"
                        " and RAY_AUTH_TOKEN_PATH to the file with the one that it was started with."
                    )
            raise ClusterError(words) from None

    def begin(
        self, concurrency: int, settings: Mapping[str, Any], put: Callable[[Any], None]
    ) -> int:
        """Begin, with so many workers. `put` gets each block of answers, then None, or what went wrong."""
        import ray
        from ray.data import ActorPoolStrategy
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from .desk import Blocks, Desk, Worker

        workers = max(1, min(concurrency, int(ray.cluster_resources().get("CPU", 1))))
        # It shall not outlive us, nor die before.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here)
        self._desk = desk.remote(concurrency, workers)
        calls = min(math.ceil(_AHEAD * concurrency / workers), _CALLS)
        dataset = ray.data.read_datasource(Blocks(self._desk), override_num_blocks=1, num_cpus=0)
        dataset = dataset.map_batches(
            Worker,
            fn_constructor_kwargs={"desk": self._desk, **settings},
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(
                size=workers,
                max_tasks_in_flight_per_actor=calls,
                max_concurrent_calls_per_actor=calls,
            ),
            num_cpus=1,
        )
        context = dataset.context
        context.enable_progress_bars = False
        # A pipe may be silent for hours, and so may a provider whose quota is used up.
        context.execution_no_progress_timeout_s = -1
        # So a block stays one.
        context.target_max_block_size = 1
        threading.Thread(target=_pump, args=(dataset, put), daemon=True).start()
        return workers

    async def give(self, rows: list[Numbered]) -> None:
        from ray import cloudpickle

        number, self._given = self._given, self._given + 1
        self._rows[number] = len(rows)
        await self._desk.give.remote(cloudpickle.dumps((number, rows)))

    async def end(self) -> None:
        await self._desk.end.remote()

    def answered(self, block: bytes) -> tuple[Answered, int] | None:
        """A block of answers, and how many rows it was for. None for one that has been there."""
        from ray import cloudpickle

        answered: Answered | None = cloudpickle.loads(block) if block else None
        if answered is None or answered.number not in self._rows:
            return None
        self._desk.forget.remote(answered.number)
        return answered, self._rows.pop(answered.number)

    def stop(self) -> None:
        self._desk.stop.remote()

    def close(self) -> None:
        self._held.close()


def _set_token(held: contextlib.ExitStack) -> None:
    """Let nobody but us use the cluster of this run: who may use one may run programs on it.

    Ray by itself keeps one token for ever, in a file that other users can often read.
    """
    if not any(name.startswith("RAY_AUTH_") for name in os.environ):
        ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        held.callback(lambda: [os.environ.pop(name, None) for name in ours])
        os.environ.update(ours)


def _knock(address: str) -> None:
    """Raise OSError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep Ray's native code from stderr: all it says there later, and that it was told so."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _pump(dataset: Any, put: Callable[[Any], None]) -> None:
    from .desk import unpack

    with contextlib.suppress(RuntimeError):  # nobody listens any more
        try:
            for table in dataset.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for block in unpack(table):
                    put(block)
        except Exception as error:  # noqa: BLE001 (the run's thread says what it means)
            put(error)
        else:
            put(None)


def _failed(error: Exception) -> ClusterError:
    return ClusterError(
        f"The Ray cluster has failed: {clean(str(error))}\nEvery machine of it needs llm-g4f[ray] in"
        " this version. The same command again goes on where it was."
    )


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
