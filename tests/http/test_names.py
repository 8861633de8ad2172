"""The lookup of host names: how long it is waited for, and how often it is made."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_g4f import AsyncClient
from llm_g4f.errors import APIConnectionError, APITimeoutError
from llm_g4f.http import connect, names
from tests.support.commands import INTERRUPTIBLE
from tests.support.server import Server, whole
from tests.support.waiting import wait_until

TEN_SECONDS = 10.0


class Resolver:
    """A resolver that knows one name, of loopback, and answers when `goes_on` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lookups = 0
        self.goes_on = threading.Event()
        self._resolve = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._found)

    def _found(self, host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in ("slow.test", b"slow.test") or kwargs.get("flags"):
            return self._resolve(host, *args, **kwargs)
        self.lookups += 1
        self.goes_on.wait(3 * TEN_SECONDS)
        return self._resolve("127.0.0.1", *args, **kwargs)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver(monkeypatch)
    yield made
    made.goes_on.set()


async def ask(url: str, **settings: Any) -> str | None:
    client = AsyncClient(base_url=url, max_retries=0, **settings)
    answer: Any = await client.chat.completions.create("hi")
    content: str | None = answer.choices[0].message.content
    return content


@pytest.mark.usefixtures("resolver", "transport", "event_loops")
@pytest.mark.parametrize("behind", ["nothing", "a proxy"])
def test_neither_a_request_nor_its_event_loop_waits_for_a_slow_resolver(
    behind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT", 0.3)
    url, settings = "http://slow.test/v1", {}
    kind: type[APIConnectionError] = APITimeoutError
    if behind == "a proxy":
        url, kind = "http://127.0.0.1:9/v1", APIConnectionError
        settings = {"proxies": "http://slow.test:9"}
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        asyncio.run(ask(url, **settings))
    assert time.monotonic() - began < TEN_SECONDS
    expected = "did not accept a connection in time" if behind == "nothing" else "cannot be reached"
    assert expected in caught.value.message


@pytest.mark.usefixtures("event_loops")
def test_connections_that_are_made_at_the_same_time_share_one_lookup(resolver: Resolver) -> None:
    async def run(url: str) -> list[str | None]:
        asking = [asyncio.create_task(ask(url)) for _ in range(20)]
        await asyncio.to_thread(wait_until, lambda: resolver.lookups)
        resolver.goes_on.set()
        return await asyncio.gather(*asking)

    with Server([0.1, *whole()]) as server:
        assert asyncio.run(run(f"http://slow.test:{server.port}/v1")) == ["Hello"] * 20
        assert (resolver.lookups, server.connections) == (1, 20)


def test_a_lookup_that_hangs_is_not_joined_for_ever(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT", 0.1)
    monkeypatch.setattr(names, "SHARED_FOR", 0.15)

    async def run() -> None:
        for _ in range(4):
            with pytest.raises(APITimeoutError):
                await ask("http://slow.test/v1")
        assert resolver.lookups in (2, 3)

    asyncio.run(run())


HANGS = """
import socket, sys, time
resolve = socket.getaddrinfo

def hanging(host, *args, **kwargs):
    if host in ("slow.test", b"slow.test") and not kwargs.get("flags"):
        print("looked up", file=sys.stderr, flush=True)
        time.sleep(120)
    return resolve(host, *args, **kwargs)

socket.getaddrinfo = hanging
"""

PROGRAM = """
import asyncio
from llm_g4f import AsyncClient
from llm_g4f.http import connect
connect.CONNECT_TIMEOUT = 0.5
client = AsyncClient(base_url="http://127.0.0.1:9/v1", proxies="http://slow.test:9", max_retries=0)
asyncio.run(client.chat.completions.create("hi"))
"""

COMMAND = f"sys.argv[1:] = ['-m', 'gpt-4o', '-o', 'provider', 'slow', 'hi']\n{INTERRUPTIBLE}"


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C reaches all processes of a console there")
def test_no_program_waits_for_a_slow_resolver_at_its_exit(
    write_config: Callable[[str], Path],
) -> None:
    write_config("providers: {slow: {base_url: 'https://slow.test/v1', models: {gpt-4o: x}}}\n")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HANGS + code],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for code in (PROGRAM, COMMAND)
    ]
    program, command = processes
    try:
        assert command.stderr is not None
        assert command.stderr.readline() == "looked up\n"
        command.send_signal(signal.SIGINT)
        assert command.communicate(timeout=60)[1] == "\nAborted!\n"
        error = program.communicate(timeout=60)[1]
    finally:
        for process in processes:
            process.kill()
    assert error.startswith("looked up\n")
    assert "cannot be reached" in error
