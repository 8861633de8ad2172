"""Loops that are missing, another's, closed or late."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest

from llm_g4f import AsyncClient, Client
from llm_g4f.errors import APITimeoutError
from llm_g4f.event_loops import is_done_within, within
from llm_g4f.http import pool, tcp
from llm_g4f.types import ChatCompletionChunk, Usage
from tests.support.loops import LOOPS
from tests.support.server import (
    HANG,
    SSE_HEAD,
    USAGE,
    Script,
    Server,
    chunk,
    event,
    framed,
    stream,
    whole,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("event_loops")


async def ask(url: str, **settings: Any) -> str | None:
    answer = await AsyncClient(base_url=url, **settings).chat.completions.create("hi")
    content: str | None = answer.choices[0].message.content
    return content


def text_of(chunk: ChatCompletionChunk) -> str:
    return "".join(choice.delta.content or "" for choice in chunk.choices)


# Closed loops.


# asyncio's word for a transport that its loop was closed without.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("streamed", [False, True])
def test_a_loop_that_is_only_closed_is_collected_with_its_connections(streamed: bool) -> None:
    async def use(url: str) -> None:
        assert await ask(url) == "Hello"
        if streamed:
            begun = AsyncClient(base_url=url).chat.completions.create("hi", stream=True)
            await anext(aiter(begun))

    loops = []
    endless: Script = [SSE_HEAD, framed(event(chunk("Hel"))), HANG]
    with Server(*[whole(), endless] * 5 if streamed else [whole()]) as server:
        for _ in range(5):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(use(server.url))
            loop.close()
            loops.append(weakref.ref(loop))
            del loop
        gc.collect()
        assert [loop() for loop in loops] == [None] * 5
        server.wait_closed(server.connections)


# Without asyncio.


def driven(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run it as trio does: without a loop of asyncio's."""
    coroutine.send(None)


def test_a_call_without_an_event_loop_says_what_to_do() -> None:
    client = AsyncClient(base_url="http://127.0.0.1:9/v1")
    for call in (
        client.chat.completions.create("hi"),
        client.chat.completions.create("hi", stream=True),
        client.models.list(),
    ):
        with pytest.raises(RuntimeError, match=r"trio\.to_thread\.run_sync"):
            driven(call)


# Another loop.


@pytest.mark.parametrize("where", ["after", "beside"])
def test_a_stream_read_on_another_loop_is_an_error_and_goes_on_on_its_own(where: str) -> None:
    script = stream("Hel", "lo")
    with Server([*script[:3], 0.2, *script[3:]]) as server:

        async def begin() -> Any:
            return await AsyncClient(base_url=server.url).chat.completions.create("hi", stream=True)

        async def read(begun: Any) -> str:
            return "".join([text_of(chunk) async for chunk in begun])

        own, other = asyncio.new_event_loop(), asyncio.new_event_loop()
        begun = own.run_until_complete(begin())
        text = ""
        if where == "beside":
            thread = threading.Thread(target=own.run_forever)
            thread.start()
        with pytest.raises(RuntimeError, match="belongs to another event loop"):  # noqa: PT012
            while True:
                text += text_of(other.run_until_complete(anext(begun)))
        if where == "beside":
            text += asyncio.run_coroutine_threadsafe(read(begun), own).result(10)
            own.call_soon_threadsafe(own.stop)
            thread.join()
        else:
            text += own.run_until_complete(read(begun))
        assert text == "Hello"
        for loop in own, other:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


def test_a_client_called_on_its_own_loop_says_what_to_do() -> None:
    from llm_g4f.sync import loop_thread

    with Server(whole()) as server:
        client = Client(base_url=server.url)

        async def work() -> Any:
            return client.chat.completions.create("hi")

        with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):
            loop_thread().run(work)

        async def threaded() -> Any:
            return (await asyncio.to_thread(client.chat.completions.create, "hi")).model

        assert loop_thread().run(threaded) == "gpt-4o-2024-11-20"


# Late timers.


def test_an_answer_that_came_while_the_loop_was_blocked_counts() -> None:
    """As after Ctrl-Z or a closed lid: the time is over, and the answer is in the socket."""
    with Server([0.2, *whole()]) as server:

        async def main() -> str | None:
            task = asyncio.create_task(ask(server.url, timeout=0.5))
            await asyncio.to_thread(server.wait_requests)
            time.sleep(1.0)  # noqa: ASYNC251 (the block itself)
            return await task

        assert asyncio.run(main()) == "Hello"


def test_a_stream_that_came_while_the_loop_was_blocked_counts() -> None:
    """In more than one read: 64 KiB are read at a time."""
    long = "x" * 30_000
    script = stream(*[long] * 6)
    with Server([*script[:3], 0.2, *script[3:]]) as server:

        async def main() -> int:
            size = 0
            client = AsyncClient(base_url=server.url, timeout=0.5)
            async for one in client.chat.completions.create("hi", stream=True):
                size += len(text_of(one))
                if size == len(long):
                    asyncio.get_running_loop().call_soon(time.sleep, 1.0)
            return size

        assert asyncio.run(main()) == 6 * len(long)


def test_usage_that_came_while_the_loop_was_blocked_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wait for what follows the last finish_reason is a short one."""
    monkeypatch.setattr("llm_g4f.decoding.chunks.AFTER_FINISH", 0.3)
    answer = [framed(event(part)) for part in (chunk("Hello"), chunk(finish="stop"))]
    usage = framed(event(chunk(usage=USAGE)))
    with Server([SSE_HEAD, *answer, 0.1, usage, HANG]) as server:

        def block() -> None:
            wait_until(lambda: server.hanging)
            time.sleep(0.4)

        async def main() -> Usage | None:
            client = AsyncClient(base_url=server.url)
            stream = await client.chat.completions.create("hi", stream=True)
            asyncio.get_running_loop().call_later(0.05, block)
            async for _ in stream:
                pass
            return stream.usage

        assert asyncio.run(main()) == Usage(7, 2, 9)


def test_a_time_out_while_the_loop_was_blocked_is_one_where_nothing_came() -> None:
    with Server([HANG]) as server:

        async def main() -> None:
            task = asyncio.create_task(ask(server.url, timeout=0.5))
            await asyncio.to_thread(server.wait_requests)
            time.sleep(1.0)  # noqa: ASYNC251 (the block itself)
            await task

        begun = time.monotonic()
        with pytest.raises(APITimeoutError):
            asyncio.run(main())
        assert time.monotonic() - begun < 3


def test_a_connection_that_was_made_while_the_loop_was_blocked_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = tcp.open_socket

    async def slow(host: str, port: int) -> Any:
        await asyncio.sleep(0.2)
        asyncio.get_running_loop().call_soon(time.sleep, 0.6)
        return await opened(host, port)

    monkeypatch.setattr(pool, "open_socket", slow)
    monkeypatch.setattr("llm_g4f.http.connect.CONNECT_TIMEOUT", 0.5)
    with Server(whole()) as server:
        assert asyncio.run(ask(server.url)) == "Hello"


def test_work_within_its_time_and_beyond() -> None:
    ended = []

    async def work(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        finally:
            ended.append(seconds)
        return "done"

    async def main() -> None:
        assert await within(5, work(0)) == "done"
        with pytest.raises(TimeoutError):
            await within(0.01, work(50))
        assert ended == [0, 50]
        task = asyncio.create_task(work(60))
        assert not await is_done_within(task, 0.01)
        assert not task.done()
        task.cancel()

    asyncio.run(main())


def test_every_kind_of_loop_is_tried(event_loops: str) -> None:
    async def kind() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert asyncio.run(kind()).startswith("uvloop" if event_loops == "uvloop" else "asyncio")
    assert "uvloop" in LOOPS
