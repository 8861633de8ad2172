"""One request of a client: its complete answer, or an async or plain iterator of its chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from typing import Any, Generic, Never, TypeVar

from .receipt import Receipt
from .request import ChatRequest
from .routing.fallback import Fallback
from .routing.notices import announce, announce_warnings, notice_of
from .routing.registry import Registry
from .types import ChatCompletion, ChatCompletionChunk, Chunks

T_co = TypeVar("T_co", covariant=True)


class Call:
    """One request on its way, and the notice about who answers: an async iterator of `Chunks`."""

    def __init__(self, request: ChatRequest, registry: Registry) -> None:
        self.request = request
        self._notice = registry.config.notice
        self._fallback = Fallback(request, registry)
        self._begun = False

    async def open(self) -> tuple[Fallback, Chunks]:
        """The answer with its first content, and everything up to that."""
        self._begun = True
        chunks = await self._fallback.open()
        if self._notice and (notice := notice_of(self._fallback.receipt)) is not None:
            announce(notice)
        return self._fallback, chunks

    async def complete(self) -> ChatCompletion:
        """The whole answer."""
        fallback, _ = await self.open()
        while await fallback.next():
            pass
        if fallback.receipt.warnings:
            self.warn()
        return fallback.completion()

    def warn(self) -> None:
        """Announce the warnings about an answer that has ended, once."""
        if self._notice:
            self._notice = False
            announce_warnings(self._fallback.receipt)

    async def begin(self) -> AsyncStream:
        """The stream, once its first chunk is there: so a failure shows here and not in the loop."""
        stream = AsyncStream(self)
        await stream.begin()
        return stream

    def __aiter__(self) -> Call:
        return self

    async def __anext__(self) -> Chunks:
        if not self._begun:
            return (await self.open())[1]
        chunks = await self._fallback.next()
        if not chunks:
            self.warn()
            raise StopAsyncIteration
        return chunks

    async def aclose(self) -> None:
        """End the answer here; the provider's connection is closed."""
        await self._fallback.aclose()


class PendingCompletion(Coroutine[Any, Any, T_co], Generic[T_co]):
    """The return value of `create`: await it for the answer.

    A coroutine, so that `asyncio.create_task`, `gather`, `wait_for` and `TaskGroup` take it.
    Nothing is sent before that.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._coroutine: Coroutine[Any, Any, Any] | None = None

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._coroutine is None:
            call = self._call
            self._coroutine = call.begin() if call.request.stream else call.complete()
        return self._coroutine

    def __await__(self) -> Generator[Any, None, T_co]:
        return self._begun().__await__()

    def send(self, value: Any) -> Any:
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:
        return self._begun().throw(*error)

    def close(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()

    def __aiter__(self) -> Never:
        raise TypeError("Only a stream can be iterated: use create(..., stream=True).")


class PendingStream(PendingCompletion["AsyncStream"]):
    """The return value of `create(stream=True)`: await it for the stream, or iterate over it."""

    def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:  # type: ignore[override]
        return AsyncStream(self._call)


class AsyncStream:
    """The chunks of one answer: an async iterator that knows who answers.

    `receipt` is there from the first chunk on and complete when the chunks have ended.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._fallback: Fallback | None = None
        self._ready: Iterator[ChatCompletionChunk] | tuple[()] = ()

    @property
    def receipt(self) -> Receipt | None:
        """The receipt: who answers, and every attempt; None before the first chunk."""
        return self._fallback.receipt if self._fallback is not None else None

    async def begin(self) -> None:
        """Wait for the first chunk."""
        self._fallback, chunks = await self._call.open()
        self._ready = iter(chunks)

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        for chunk in self._ready:
            return chunk
        if self._fallback is None:
            await self.begin()
            return await self.__anext__()
        chunks = await self._fallback.next()
        if not chunks:
            self._call.warn()
            raise StopAsyncIteration
        first, *others = chunks
        if others:
            self._ready = iter(others)
        return first

    async def aclose(self) -> None:
        """End the answer here; the provider's connection is closed."""
        self._ready = ()
        await self._call.aclose()

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Stream:
    """`AsyncStream` without `await`."""

    def __init__(self, source: Generator[Chunks, None, None]) -> None:
        self._source = source
        first = next(source)
        self._ready: Iterator[ChatCompletionChunk] | tuple[()] = iter(first)
        self.receipt: Receipt | None = first[0].receipt

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        return self

    def __next__(self) -> ChatCompletionChunk:
        for chunk in self._ready:
            return chunk
        self._ready = iter(next(self._source))
        return next(self._ready)

    def close(self) -> None:
        """End the answer here; the provider's connection is closed."""
        self._ready = ()
        self._source.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
