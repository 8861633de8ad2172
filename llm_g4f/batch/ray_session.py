"""Ray as one run uses it: connected, fed, closed."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import socket
import tempfile
import threading
from collections.abc import (
    Callable,
    Iterator,
    Mapping,
)
from typing import TYPE_CHECKING, Any

from ..errors import ClusterError, clean

if TYPE_CHECKING:
    from .ray_actors import Answered, Numbered


_AHEAD = 4
"""How many times the rows that are asked at once may be in the cluster: a block is on its way for some tenths of a
second, and comes back when its slowest row has its answer. Meanwhile nobody shall be idle."""

_CALLS = 128
"""Blocks at a worker at most: Ray has a thread for each."""


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

        from .ray_actors import BlockQueue, Blocks, Worker

        workers = max(1, min(concurrency, int(ray.cluster_resources().get("CPU", 1))))
        # It shall not outlive us, nor die before.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        desk = ray.remote(BlockQueue).options(num_cpus=0, scheduling_strategy=here)
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
    from .ray_actors import unpack

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
