"""Processes that share one user directory: its cooldowns, its file of failed requests, its keys.

Every call of each process ends as one of a single process does, while `llm keys set` and
`llm g4f enable` change the files. At the end the files are whole, and no lock is held.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import filelock
import llm.cli
from click.testing import CliRunner

from llm_g4f import AsyncClient
from llm_g4f.cli.config_editor import editing
from llm_g4f.routing.failure_log import MAX_SIZE, FailureLog
from tests.load.server import KEY, FaultyServer
from tests.load.streams import Load, Result, config, on_loop, user_folder


@dataclass
class Shared:
    """What the processes did, and `damages` of the files that they share. `changes` counts those of
    keys.json and g4f.yaml."""

    results: list[Result]
    damages: list[str]
    changes: int

    def complaints(self) -> list[str]:
        """The checks that fail; empty if all is well."""
        return self.damages + [
            f"process {number}: {complaint}"
            for number, result in enumerate(self.results)
            for complaint in (*result.wrong[:3], *([] if result.outcomes["ok"] else ["no answer"]))
        ]

    def __str__(self) -> str:
        outcomes = sum((result.outcomes for result in self.results), Counter[str]())
        rows = [
            ("processes", f"{len(self.results):,}"),
            ("calls", f"{outcomes.total():,}"),
            ("longest lag of a loop, s", f"{max(result.lag for result in self.results):.2f}"),
            *((f"  {name}", f"{count:,}") for name, count in outcomes.most_common()),
            ("ended as none may", f"{sum(len(result.wrong) for result in self.results):,}"),
            ("changes of keys.json and g4f.yaml", f"{self.changes:,}"),
        ]
        return "\n".join(f"{name:34}{value:>16}" for name, value in rows)


def work(load: Load) -> Result:
    """One process: it makes its client anew for each round, as commands do."""
    result = Result(load.seconds)
    end = time.monotonic() + load.seconds
    while (left := end - time.monotonic()) > 0:
        rounds = replace(load, seconds=min(1.0, left))
        on_loop("asyncio", AsyncClient(), rounds, result)
    return result


def change_files(futures: list[Future[Result]]) -> int:
    """Change keys.json and g4f.yaml until the processes have ended; how often."""
    count = 0
    while not all(future.done() for future in futures):
        done = CliRunner().invoke(llm.cli.cli, ["keys", "set", "other", "--value", f"sk-{count}"])
        assert done.exit_code == 0, done.output
        with editing() as providers:
            providers.setdefault("groq", {})["enabled"] = count % 2 == 0
        count += 1
    return count


def run(load: Load, processes: int = 8) -> Shared:
    """Load from several processes at once."""
    with FaultyServer(load.faults, load.pause) as server:
        yaml = config(server.url, load, "box", "spare", key="box")
        with user_folder(g4f=yaml, keys=json.dumps({"box": KEY})) as folder:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(processes, mp_context=context) as pool:
                futures = [pool.submit(work, load) for _ in range(processes)]
                changes = change_files(futures)
            results = [future.result() for future in futures]
            return Shared(results, list(_damages(folder)), changes)


def _damages(folder: Path) -> Iterator[str]:
    """What is wrong with the files that were shared."""
    yield from (f"{path.name} was set aside" for path in folder.glob("*.damaged"))
    yield from (f"{path.name} was left" for path in folder.glob(".*-*"))
    health = folder / "g4f-health.json"
    if not json.loads(health.read_text(encoding="utf-8")).get("salt"):
        yield f"{health.name} is empty"
    lock = filelock.FileLock(f"{health}.lock", timeout=0)
    try:
        lock.acquire()
        lock.release()
    except filelock.Timeout:
        yield f"{health.name} is still locked"
    failures = folder / "g4f-failures.jsonl"
    if failures.exists():
        data = failures.read_bytes()
        if len(data) > MAX_SIZE + 10_000:
            yield f"{failures.name} has {len(data):,} bytes"
        if len(list(FailureLog(failures).read())) != data.count(b"\n"):
            yield f"{failures.name} has damaged lines"
