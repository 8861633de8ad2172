"""Many prompts against providers with limits: `python -m tests.support.batch_limits [--prompts 10000] [--at-once 64]`.

The providers are token buckets in a process of their own, each answering 429 with Retry-After in
whole seconds when it is empty. All prompts have to be answered, in at most 1.15 times the time that
the limits themselves make necessary, and fewer than 2 % of the requests may be refused. Prints a
table; the exit code is 1 where something of that does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from llm_g4f import config
from llm_g4f.batch.provider_limits import BatchAdmission
from llm_g4f.config import yaml_reader
from llm_g4f.request import ChatRequest
from llm_g4f.routing.fallback import Fallback
from llm_g4f.routing.registry import Registry
from tests.support.server import completion, http

TIME = 1.15
"""The longest time allowed, as a multiple of the time that the limits require."""

REFUSED = 0.02
"""The share of the requests that may be refused."""


@dataclass
class Bucket:
    """A limit of `rate` requests a second, with room for `burst`; full at first. Times are in seconds."""

    rate: float
    burst: float
    at: float | None = None
    tokens: float = 0.0
    refused: int = 0

    def wait(self, now: float) -> float:
        """Take a token: 0; or the time until there is one."""
        passed = math.inf if self.at is None else now - self.at
        self.at, self.tokens = now, min(self.burst, self.tokens + self.rate * passed)
        if self.tokens < 1:
            self.refused += 1
            return (1 - self.tokens) / self.rate
        self.tokens -= 1
        return 0.0


@dataclass
class Scenario:
    """Providers in their order, each (requests a second, burst), and `pause` seconds for an answer."""

    name: str
    limits: tuple[tuple[float, float], ...]
    pause: float = 0.0

    def least(self, prompts: int) -> float:
        """The seconds without which it cannot be done."""
        rate = sum(rate for rate, _ in self.limits)
        return max(0.0, prompts - sum(burst for _, burst in self.limits)) / rate


SCENARIOS = (
    Scenario("500/s, burst 100", ((500, 100),)),
    Scenario("200/s, burst 20", ((200, 20),)),
    Scenario("200/s, burst 20, answers in 100 ms", ((200, 20),), 0.1),
    Scenario("200/s and 100/s shared", ((200, 20), (100, 50))),
    Scenario("50/s and 150/s shared", ((50, 25), (150, 50))),
)


def _whole(status: int, body: dict[str, Any], wait: float = 0.0) -> bytes:
    after = [("Retry-After", str(math.ceil(wait)))] if wait else []
    (data,) = http(status, body, after)
    assert isinstance(data, bytes)
    return data


REFUSAL = {"error": {"message": "slow down"}}

_ANSWER = _whole(200, completion("Hello"))


def serve(pipe: Connection, scenario: Scenario) -> None:
    """The servers' process: tells its ports, and when asked, how many it refused; then it ends."""

    async def main() -> None:
        ports = []
        buckets = []
        for limit in scenario.limits:
            bucket = Bucket(*limit)
            buckets.append(bucket)

            async def accept(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bucket: Bucket = bucket
            ) -> None:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    while True:
                        head = (await reader.readuntil(b"\r\n\r\n")).lower()
                        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
                        await reader.readexactly(length)
                        wait = bucket.wait(time.monotonic())
                        if not wait and scenario.pause:
                            await asyncio.sleep(scenario.pause)
                        writer.write(_whole(429, REFUSAL, wait) if wait else _ANSWER)
                        await writer.drain()
                writer.transport.abort()

            server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=2_000)
            ports.append(server.sockets[0].getsockname()[1])
        pipe.send(ports)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), ended.set)
        await ended.wait()
        pipe.send(sum(bucket.refused for bucket in buckets))

    logging.disable()
    asyncio.run(main())


@contextlib.contextmanager
def serving(scenario: Scenario, result: Result) -> Iterator[list[int]]:
    """The ports of the scenario's servers; at the end `result` is told how many they refused."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, scenario), daemon=True)
    process.start()
    there.close()
    try:
        yield here.recv()
        here.send(None)
        result.refused = here.recv()
    finally:
        here.close()
        process.join()


@dataclass
class Result:
    """The result of a run: `answered` by provider, `refused` requests, `wrong` what else happened."""

    scenario: Scenario
    prompts: int
    seconds: float = 0.0
    refused: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)

    @property
    def ratio(self) -> float:
        """The time it took, in times of the least that it can take."""
        return self.seconds / self.scenario.least(self.prompts)

    @property
    def share(self) -> float:
        """The share of the requests that were refused."""
        return self.refused / (self.refused + self.answered.total())

    def complaints(self) -> list[str]:
        """The checks that fail; empty if all is well."""
        found = [f"{count} x {what}" for what, count in self.wrong.items()]
        if self.answered.total() != self.prompts:
            found.append(f"{self.prompts - self.answered.total()} prompts are not answered")
        if self.share >= REFUSED:
            found.append(f"{self.share:.1%} of the requests were refused")
        if self.ratio > TIME:
            found.append(f"it took {self.ratio:.2f} times the least time")
        return found

    def __str__(self) -> str:
        by = ", ".join(f"{name} {count:,}" for name, count in sorted(self.answered.items()))
        return (
            f"{self.scenario.name:36}{self.seconds:8.1f} s {self.ratio:6.3f} x"
            f"{self.share:8.2%} refused   {by}"
        )


async def _ask(
    request: ChatRequest, source: Registry, limits: BatchAdmission, result: Result
) -> None:
    try:
        async for batch in Fallback(request, source, limits):
            receipt = batch[0].receipt
    except Exception as error:  # noqa: BLE001 (none may get out: that is the test)
        result.wrong[type(error).__name__] += 1
    else:
        result.answered[receipt.provider if receipt and receipt.provider else ""] += 1


def run(scenario: Scenario, prompts: int, at_once: int) -> Result:
    """Ask all prompts, `at_once` of them at a time."""
    result = Result(scenario, prompts)
    with serving(scenario, result) as ports:
        names = {f"p{port}": chr(ord("a") + place) for place, port in enumerate(ports)}
        lines = [f"  {name}: {{base_url: 'http://127.0.0.1:{name[1:]}/v1'}}" for name in names]
        (config.user_dir() / "g4f.yaml").write_text("\n".join(["providers:", *lines]))
        yaml_reader._loaded = None
        request = ChatRequest(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}], providers=tuple(names)
        )

        async def main() -> None:
            source, limits = Registry(config.load()), BatchAdmission(at_once)
            left = iter(range(prompts))

            async def work() -> None:
                for _ in left:
                    await _ask(request, source, limits, result)

            began = time.monotonic()
            await asyncio.gather(*(work() for _ in range(at_once)))
            result.seconds = time.monotonic() - began

        asyncio.run(main())
    result.answered = Counter({names[name]: count for name, count in result.answered.items()})
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=64)
    arguments = parser.parse_args()
    complaints = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LLM_USER_PATH"] = folder
        for scenario in SCENARIOS:
            result = run(scenario, arguments.prompts, arguments.at_once)
            print(result, flush=True)
            complaints += [f"{scenario.name}: {one}" for one in result.complaints()]
    print(*complaints, sep="\n", file=sys.stderr)
    sys.exit(bool(complaints))
