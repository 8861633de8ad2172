"""Providers of other packages: what is made of their chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from llm_g4f.errors import StreamError
from llm_g4f.providers.base import OpenStream, ServedModel, open_stream
from llm_g4f.request import ChatRequest
from llm_g4f.types import ChatCompletionChunk, ChoiceDelta, ChunkChoice, Chunks

SERVED = ServedModel("m", exact=True)
REQUEST = ChatRequest(model="m", messages=[{"role": "user", "content": "hi"}])


def chunk(text: str, finish: str | None = None) -> ChatCompletionChunk:
    return ChatCompletionChunk("1", 1, "m", [ChunkChoice(0, ChoiceDelta(None, text), finish)])


class OneByOne:
    name = "a"

    def __init__(self, *reads: list[ChatCompletionChunk]) -> None:
        self._reads = iter(reads)

    async def stream(
        self, request: ChatRequest, serving: ServedModel
    ) -> AsyncIterator[ChatCompletionChunk]:
        for read in self._reads:
            for each in read:
                yield each


class Several(OneByOne):
    """A provider that reads several chunks at once."""

    warnings = ("It is slow",)

    async def open(self, request: ChatRequest, served: ServedModel) -> OpenStream:
        return OpenStream(self)

    async def __anext__(self) -> Chunks:
        for read in self._reads:
            return read
        raise StopAsyncIteration

    async def aclose(self) -> None:
        pass


def opened(provider: Any) -> OpenStream:
    return asyncio.run(open_stream(provider, REQUEST, SERVED))


async def texts(stream: OpenStream) -> list[str | None]:
    found: list[str | None] = []
    while True:
        try:
            chunks = await stream.chunks.__anext__()
        except StopAsyncIteration:
            return found
        found += [each.choices[0].delta.content for each in chunks]


@pytest.mark.parametrize("kind", [OneByOne, Several])
def test_the_chunks_of_every_provider_are_accumulated(kind: type[OneByOne]) -> None:
    stream = opened(kind([chunk("Hel"), chunk("lo")], [chunk("!", "stop")]))
    assert asyncio.run(texts(stream)) == ["Hel", "lo", "!"]
    assert stream.completion is not None
    assert stream.completion.completion().choices[0].message.content == "Hello!"
    assert getattr(stream.chunks, "warnings", None) == getattr(kind, "warnings", ())


@pytest.mark.parametrize("kind", [OneByOne, Several])
def test_an_answer_ends_before_its_error_finish(kind: type[OneByOne]) -> None:
    stream = opened(kind([chunk("Hel"), chunk("lo")], [chunk("!"), chunk("", "error"), chunk("?")]))

    async def run() -> str:
        with pytest.raises(StreamError, match="a broke off its answer"):
            await texts(stream)
        assert getattr(stream.chunks, "failure", None) is not None
        assert stream.completion is not None
        return stream.completion.text

    assert asyncio.run(run()) == "Hello!"
