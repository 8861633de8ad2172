"""Hundreds of streams at once in one process.

Every call ends in a whole answer, in a typed error or where it is cancelled, and when all have
ended, memory, file descriptors, threads and tasks are what they were after the warm-up.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llm_g4f import AsyncClient
from llm_g4f.errors import AuthenticationError, G4FError, NoProviderError
from tests.load.server import ANSWER, KEY, FaultyServer
from tests.support.loops import LOOPS

ROOM = 0.10
"""The growth of memory allowed between the warm-up and the end."""


@dataclass(frozen=True)
class Load:
    """`streams` calls at once for `seconds`, of which a `cancelled` part is given up at some time.
    `pause` are the seconds between the pieces of a good answer, `stall` those of silence after which
    the client gives up, and a `faults` part of the answers is spoilt."""

    streams: int = 500
    seconds: float = 60.0
    faults: float = 0.2
    cancelled: float = 0.1
    # A long pause, so that hundreds are open at once and the processor is not what is measured.
    pause: float = 0.5
    stall: float = 5.0


@dataclass
class Held:
    """The resources that this process holds."""

    memory: int = 0
    descriptors: int = 0
    threads: int = 0
    tasks: int = 0

    @staticmethod
    def now(tasks: int = 0) -> Held:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Held(
            pages * os.sysconf("SC_PAGE_SIZE"),
            len(os.listdir("/proc/self/fd")),
            threading.active_count(),
            tasks,
        )


@dataclass
class Result:
    """The result of a run. `wrong` are the calls that ended as none may, `lag` is the longest time in
    seconds for which the loop was late, and `cpu` the processor's time."""

    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    most: int = 0
    cpu: float = 0.0
    lag: float = 0.0
    before: Held = field(default_factory=Held)
    after: Held = field(default_factory=Held)

    def complaints(self) -> list[str]:
        """The checks that fail; empty if all is well."""
        found = list(self.wrong[:5])
        if not self.outcomes["ok"]:
            found.append("no call was answered")
        if self.after.memory > self.before.memory * (1 + ROOM):
            found.append(f"memory grew by {self.after.memory / self.before.memory - 1:.0%}")
        for name in ("descriptors", "threads", "tasks"):
            before, after = getattr(self.before, name), getattr(self.after, name)
            if after > before:
                found.append(f"{name}: {before} before, {after} after")
        return found

    def __str__(self) -> str:
        calls = self.outcomes.total()
        rows = [
            ("calls", f"{calls:,}"),
            ("calls a second", f"{calls / self.seconds:,.0f}"),
            ("processor's time for a call, ms", f"{self.cpu / max(calls, 1) * 1e3:.1f}"),
            ("most at once", f"{self.most:,}"),
            ("longest lag of the loop, s", f"{self.lag:.2f}"),
            *((f"  {name}", f"{count:,}") for name, count in self.outcomes.most_common()),
            ("faults sent", f"{self.faults.total():,}"),
            *((f"  {name}", f"{count:,}") for name, count in self.faults.most_common()),
            ("ended as none may", f"{len(self.wrong):,}"),
            ("memory, MB", f"{self.before.memory / 1e6:.1f} -> {self.after.memory / 1e6:.1f}"),
            *(
                (name, f"{getattr(self.before, name)} -> {getattr(self.after, name)}")
                for name in ("descriptors", "threads", "tasks")
            ),
        ]
        return "\n".join(f"{name:32}{value:>18}" for name, value in rows)


async def ask(client: AsyncClient, result: Result) -> None:
    """One call, and what became of it."""
    text = ""
    try:
        async for piece in client.chat.completions.create("hi", stream=True):
            text += "".join(choice.delta.content or "" for choice in piece.choices)
    except (NoProviderError, AuthenticationError) as error:
        result.wrong.append(repr(error))
    except G4FError as error:
        result.outcomes[type(error).__name__] += 1
        if not ANSWER.startswith(partial := getattr(error, "partial", "")):
            result.wrong.append(f"partial text that was not sent: {partial!r:.80}")
    except Exception as error:  # noqa: BLE001 (none may get out: that is the test)
        result.wrong.append(repr(error))
    else:
        result.outcomes["ok"] += 1
        if text != ANSWER:
            result.wrong.append(f"a false answer: {text!r:.80}")


async def _ask_and_cancel(client: AsyncClient, result: Result, seconds: float) -> None:
    """One call that is cancelled after some seconds, unless it has ended."""
    task = asyncio.create_task(ask(client, result))
    await asyncio.wait((task,), timeout=seconds)
    task.cancel()
    await asyncio.wait((task,))
    result.outcomes["cancelled"] += task.cancelled()


async def _watch_lag(result: Result) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + 0.02
        await asyncio.sleep(0.02)
        result.lag = max(result.lag, loop.time() - due)


async def keep_asking(client: AsyncClient, load: Load, result: Result) -> int:
    """Ask again and again; the number of tasks that are left then."""
    chance = random.Random(815)
    open_now = 0
    end = time.monotonic() + load.seconds
    lag = asyncio.create_task(_watch_lag(result))

    async def one() -> None:
        nonlocal open_now
        while time.monotonic() < end:
            open_now += 1
            result.most = max(result.most, open_now)
            if chance.random() < load.cancelled:
                await _ask_and_cancel(client, result, chance.uniform(0, 10 * load.pause))
            else:
                await ask(client, result)
            open_now -= 1

    await asyncio.gather(*(one() for _ in range(load.streams)))
    lag.cancel()
    # Connections that were given up end in the next turns of the loop.
    await asyncio.sleep(0.1)
    return len(asyncio.all_tasks()) - 1


def on_loop(kind: str, client: AsyncClient, load: Load, result: Result) -> int:
    """`keep_asking` on a loop of its own, with which its connections end."""
    with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
        return runner.run(keep_asking(client, load, result))


@contextmanager
def user_folder(**files: str) -> Iterator[Path]:
    """A user directory with these files, by their names without suffix."""
    before = os.environ.get("LLM_USER_PATH")
    suffixes = {"g4f": ".yaml", "keys": ".json"}
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name + suffixes[name]).write_text(content, encoding="utf-8")
        os.environ["LLM_USER_PATH"] = folder
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["LLM_USER_PATH"]
            else:
                os.environ["LLM_USER_PATH"] = before


def config(url: str, load: Load, *names: str, **fields: Any) -> str:
    """g4f.yaml with the server as one provider or more."""
    extra = "".join(f", {name}: {value}" for name, value in fields.items())
    entries = (
        f"  {name}: {{base_url: '{url}', timeout: {load.stall}, models: {{gpt-4o: gpt-4o}}{extra}}}\n"
        for name in names
    )
    return f"notice: false\nproviders:\n{''.join(entries)}"


def run(load: Load, loop: str = "asyncio") -> Result:
    """The warm-up, then the load."""
    result, warm_up = Result(load.seconds), Result(load.seconds)
    with FaultyServer(load.faults, load.pause) as server:
        with user_folder(g4f=config(server.url, load, "box")):
            client = AsyncClient("box", api_key=KEY)
            short = replace(load, seconds=max(1.0, load.seconds / 2))
            on_loop(loop, client, short, warm_up)
            result.before = Held.now()
            began = time.process_time()
            tasks = on_loop(loop, client, load, result)
            result.cpu = time.process_time() - began
            result.after = Held.now(tasks)
    result.wrong += warm_up.wrong
    result.faults = server.faults
    return result
