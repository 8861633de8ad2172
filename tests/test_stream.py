"""The streams of both clients: which chunks they hand on, and what they know at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from llm_g4f import AsyncClient, Client
from llm_g4f.types import ChatCompletionChunk
from tests.support.server import Script, Server, chunk, events, stream

STREAMED = stream("Hel", "lo")
AZURE = events(
    {**chunk(), "choices": [], "prompt_filter_results": []},
    chunk("Hello"),
    chunk(finish="stop"),
    "[DONE]",
)


def chunks_of(script: Script, ways: str, **options: Any) -> list[ChatCompletionChunk]:
    with Server(script) as server:
        if ways == "sync":
            return list(Client(base_url=server.url).chat.completions.stream("hi", **options))

        async def main() -> list[ChatCompletionChunk]:
            made = AsyncClient(base_url=server.url).chat.completions.create(
                "hi", stream=True, **options
            )
            return [chunk async for chunk in made]

        return asyncio.run(main())


@pytest.mark.parametrize("ways", ["sync", "async"])
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}])
@pytest.mark.parametrize("script", [STREAMED, AZURE], ids=["usage", "azure"])
def test_every_chunk_has_a_choice(script: Script, ways: str, options: dict[str, Any]) -> None:
    chunks = chunks_of(script, ways, **options)
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == "Hello"
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("ways", ["sync", "async"])
@pytest.mark.parametrize("where", ["params", "extra_body"])
def test_usage_is_the_last_chunk_where_it_was_asked_for(ways: str, where: str) -> None:
    asked: dict[str, Any] = {"stream_options": {"include_usage": True}}
    options = asked if where == "params" else {"extra_body": asked}
    last = chunks_of(STREAMED, ways, **options)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.total_tokens == 9


@pytest.mark.parametrize("ways", ["sync", "async"])
def test_the_last_chunk_with_a_choice_has_the_usage(ways: str) -> None:
    """Wherever the reads of the network end."""
    parted: Script = [step for part in STREAMED for step in (part, 0.02)]
    for script in (STREAMED, parted):
        *others, last = chunks_of(script, ways)
        assert last.choices[0].finish_reason == "stop"
        assert last.usage is not None
        assert (last.usage.total_tokens, {one.usage for one in others}) == (9, {None})


def test_a_stream_that_has_ended_has_usage_receipt_and_completion() -> None:
    with Server(STREAMED) as server:
        made = Client(base_url=server.url).chat.completions.create("hi", stream=True)
        assert sum(1 for _ in made) == 4
        assert made.usage is not None
        assert made.receipt is not None
        assert (made.usage.total_tokens, made.receipt.provider) == (9, "custom")
        assert made.get_final_completion().choices[0].message.content == "Hello"

        async def main() -> None:
            pending = AsyncClient(base_url=server.url).chat.completions.create("hi", stream=True)
            begun = await pending
            assert (await anext(begun)).choices
            whole = await begun.get_final_completion()
            assert whole.choices[0].message.content == "Hello"
            assert begun.usage == whole.usage is not None
            assert [one async for one in begun] == []

        asyncio.run(main())


def test_a_stream_is_used_in_async_with_before_and_after_await() -> None:
    async def main(url: str) -> None:
        create = AsyncClient(base_url=url).chat.completions.create
        async with create("hi", stream=True) as begun:
            assert (await anext(begun)).choices
        async with await create("hi", stream=True) as begun:
            assert (await anext(begun)).choices
        await begun.close()
        assert [one async for one in begun] == []

    with Server(STREAMED) as server:
        asyncio.run(main(server.url))


def test_what_create_returns_is_a_coroutine() -> None:
    with Server(STREAMED) as server:
        create = AsyncClient(base_url=server.url).chat.completions.create
        for pending in (create("hi"), create("hi", stream=True)):
            assert isinstance(pending, Coroutine)
            pending.close()
    assert server.requests == []


def test_a_program_for_events_is_told_that_chunks_come() -> None:
    [first, *_] = chunks_of(STREAMED, "sync")
    for name in ("type", "delta", "snapshot"):
        with pytest.raises(AttributeError, match=r"chunks here .* chunk\.choices\[0\]\.delta"):
            getattr(first, name)
    with pytest.raises(AttributeError, match=r"has no nonsense\."):
        _ = first.nonsense
