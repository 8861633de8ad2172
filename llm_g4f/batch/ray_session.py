"""The connection of one batch run to Ray."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import socket
import threading
from collections.abc import (
    Callable,
    Iterator,
    Mapping,
)
from typing import TYPE_CHECKING, Any

from ..errors import ClusterError
from ..safe_text import clean

if TYPE_CHECKING:
    from .ray_actors import AnsweredBlock, NumberedRow


IN_CLUSTER = 4
"""Rows in the cluster, as a multiple of the concurrency. A block travels for some tenths of a second, and
comes back with its slowest answer: the others keep the workers busy meanwhile."""

_MAX_BLOCKS = 128
"""The most blocks at one worker: Ray starts a thread for each."""

_ISOLATED = {"PYTHONSAFEPATH": "1"}
"""The environment in which workers start: without the current folder among the places of modules."""


class RaySession:
    """The connection of one run to Ray, from its construction to `close`. `folder` is private: a
    cluster that is started here has its files in it.

    Every method blocks but `put`, `end` and `stop`. Raises `ClusterError` if Ray cannot be used.
    """

    def __init__(self, address: str | None, folder: str) -> None:
        # Ray sends usage statistics, and starts a cluster unasked where this one has died, unless these
        # are set before its import.
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ENABLE_AUTO_CONNECT="0")
        self._resources = contextlib.ExitStack()
        if address is None:
            self._resources.enter_context(_own_environment())
        import ray

        self._queue: Any = None
        self._rows: dict[int, int] = {}
        self._blocks = 0
        if ray.is_initialized():
            self._resources.close()
        else:
            self._connect(address, folder)

    def _connect(self, address: str | None, folder: str) -> None:
        import ray
        import ray.data
        from ray.job_config import JobConfig

        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        # Only for a client's job do workers import no modules from the driver's current folder.
        job = JobConfig(_client_job=True)
        options: dict[str, Any] = {
            "address": address,
            "runtime_env": {"env_vars": _ISOLATED},
        }
        if address is None:
            options = {
                "address": "local",
                "include_dashboard": False,
                # Ray makes its directory readable by all users.
                "_temp_dir": f"{folder}/ray",
            }
        try:
            if address is not None:
                _check_port(address)
            self._resources.callback(ray.shutdown)
            with _silenced_stderr():
                ray.init(
                    **options,
                    job_config=job,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL + 1,
                )
        except Exception as error:  # noqa: BLE001 (Ray raises all kinds)
            self._resources.close()
            raise _connection_error(address, error) from None

    def begin(
        self, concurrency: int, settings: Mapping[str, Any], put: Callable[[Any], None]
    ) -> int:
        """Start the workers, and return their number. `put` is called, in a thread, with each answered
        block, and at the end with None or with the error."""
        import ray
        from ray.data import ActorPoolStrategy
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from .ray_actors import BlockQueue, BlockSource, RayWorker

        workers = max(1, min(concurrency, int(ray.cluster_resources().get("CPU", 1))))
        # On this node, so that it lives as long as this process.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        queue = ray.remote(BlockQueue).options(num_cpus=0, scheduling_strategy=here)
        self._queue = queue.remote(concurrency, workers)
        blocks = min(math.ceil(IN_CLUSTER * concurrency / workers), _MAX_BLOCKS)
        source = BlockSource(self._queue)
        dataset = ray.data.read_datasource(source, override_num_blocks=1, num_cpus=0).map_batches(
            RayWorker,
            fn_constructor_kwargs={"queue": self._queue, **settings},
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(
                size=workers,
                max_tasks_in_flight_per_actor=blocks,
                max_concurrent_calls_per_actor=blocks,
            ),
            num_cpus=1,
        )
        context = dataset.context
        context.enable_progress_bars = False
        # A pipe may be silent for hours, and so may a provider whose quota is exhausted.
        context.execution_no_progress_timeout_s = -1
        # So Ray Data neither splits nor joins blocks.
        context.target_max_block_size = 1
        threading.Thread(target=_read_answers, args=(dataset, put), daemon=True).start()
        return workers

    async def put(self, rows: list[NumberedRow]) -> None:
        """Send a block of rows. Returns when the cluster wants another one."""
        from ray import cloudpickle

        number, self._blocks = self._blocks, self._blocks + 1
        self._rows[number] = len(rows)
        await self._queue.put.remote(cloudpickle.dumps((number, rows)))

    async def end(self) -> None:
        """Send no more blocks."""
        await self._queue.end.remote()

    def unpack(self, block: bytes) -> tuple[AnsweredBlock, int] | None:
        """An answered block, and the number of rows sent in it. None if it came before."""
        from ray import cloudpickle

        answered: AnsweredBlock | None = cloudpickle.loads(block) if block else None
        if answered is None or answered.number not in self._rows:
            return None
        self._queue.forget.remote(answered.number)
        return answered, self._rows.pop(answered.number)

    def stop(self) -> None:
        """Cancel the requests in progress."""
        self._queue.stop.remote()

    def close(self) -> None:
        """Disconnect, and end the cluster if it was started here."""
        self._resources.close()


def _connection_error(address: str | None, error: Exception) -> ClusterError:
    reason = clean(str(error))
    if address is None:
        return ClusterError(f"Ray cannot be used on this machine: {reason}")
    shown = clean(address, 100)
    if "InvalidAuthToken" in str(error.__cause__):
        return ClusterError(
            f"The Ray cluster at {shown} needs a token: set RAY_AUTH_MODE=token, and"
            " RAY_AUTH_TOKEN_PATH to the file with the token that it was started with."
        )
    return ClusterError(
        f"There is no Ray cluster at {shown}: {reason}\nIs it running"
        ' ("ray status"), and is this one of its machines?'
    )


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """The environment of a cluster that is started here, and of its workers."""
    added = {
        **_ISOLATED,
        # Ray's default, but on Linux: it listens on loopback only. Read when Ray is imported.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # Seconds. A head that has died here never comes back, and Ray waits a minute for it.
        "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    }
    if not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # A token of its own, since its users can run programs on it. Ray's own token is never
        # changed, and in a file that other users can often read.
        added |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _check_port(address: str) -> None:
    """Raise OSError if the port is closed. Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    """Keep Ray's native code from writing to stderr: all of it now, and by its log level later."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def _read_answers(dataset: Any, put: Callable[[Any], None]) -> None:
    from .ray_actors import unpack

    with contextlib.suppress(RuntimeError):  # the event loop is closed
        try:
            for table in dataset.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for block in unpack(table):
                    put(block)
        except Exception as error:  # noqa: BLE001 (raised to the run)
            put(error)
        else:
            put(None)


def cluster_failure(error: Exception) -> ClusterError:
    """The error for a cluster that failed during the run."""
    return ClusterError(
        f"The Ray cluster has failed: {clean(str(error))}\nEvery machine of it needs this version of"
        " llm-g4f[ray]. The results so far are kept. Run the same command to resume."
    )
