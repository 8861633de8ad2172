"""The chunks of one answer, as an async or a plain iterator."""

from __future__ import annotations

from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Generator,
    Iterator,
)
from typing import Any

from .accumulator import Accumulator
from .asyncgen import ManagedAsyncGen
from .receipt import Receipt
from .request import ChatRequest
from .routing.fallback import stream as stream_route
from .routing.notices import announce, notice_of
from .routing.registry import Registry
from .types import ChatCompletion, ChatCompletionChunk, Chunks


class AsyncStream:
    """The chunks of one answer: an async iterator that knows who answers.

    `receipt` is there from the first chunk on and complete when the chunks have ended.
    """

    def __init__(self, batches: AsyncGenerator[Chunks, None]) -> None:
        self._batches = batches
        self._ready: deque[ChatCompletionChunk] = deque()
        self.receipt: Receipt | None = None

    async def _begin(self) -> AsyncStream:
        """Wait for the first chunk, so that a failure shows here and not in the loop."""
        self._take(await anext(self._batches))
        return self

    def _take(self, batch: Chunks) -> None:
        self._ready.extend(batch)
        self.receipt = batch[0].receipt

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        if not self._ready:
            self._take(await anext(self._batches))
        return self._ready.popleft()

    async def aclose(self) -> None:
        """End the answer here; the provider's connection is closed."""
        self._ready.clear()
        await self._batches.aclose()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Stream:
    """What `AsyncStream` is, without `await`."""

    def __init__(self, batches: Generator[Chunks, None, None]) -> None:
        self._batches = batches
        self._ready = deque(next(batches))
        self.receipt: Receipt | None = self._ready[0].receipt

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        return self

    def __next__(self) -> ChatCompletionChunk:
        if not self._ready:
            self._ready.extend(next(self._batches))
        return self._ready.popleft()

    def close(self) -> None:
        """End the answer here; the provider's connection is closed."""
        self._ready.clear()
        self._batches.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Pending:
    """What `create` returns: awaited it is the answer, iterated its chunks. Nothing is sent before."""

    def __init__(self, call: _Call) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, None, Any]:
        answer = self._call.begin() if self._call.request.stream else self._call.complete()
        return answer.__await__()

    def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        if not self._call.request.stream:
            raise TypeError("only a stream can be iterated: create(..., stream=True)")
        return AsyncStream(self._call.batches())


class _Call:
    """One request on its way: as chunks, as a begun stream, or whole."""

    def __init__(self, request: ChatRequest, registry: Registry) -> None:
        self.request = request
        self._registry = registry

    async def batches(self) -> AsyncGenerator[Chunks, None]:
        found = ManagedAsyncGen(stream_route(self.request, self._registry))
        announced = False
        try:
            async for batch in found:
                if not announced:
                    announced = True
                    receipt = batch[0].receipt
                    notice = notice_of(receipt) if receipt else None
                    if notice and self._registry.config.notice:
                        announce(notice)
                yield batch
        finally:
            await found.aclose()

    async def begin(self) -> AsyncStream:
        return await AsyncStream(self.batches())._begin()

    async def complete(self) -> ChatCompletion:
        whole = Accumulator()
        async for batch in self.batches():
            for chunk in batch:
                whole.add(chunk)
        return whole.completion()
