"""One request of a client: its complete answer, or an async or plain iterator of its chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from typing import Any, Generic, Never, TypeVar

from .http_head import Headers, ResponseHead
from .pending import Pending
from .receipt import Receipt
from .request import ChatRequest
from .routing.answer import answer_to
from .routing.fallback import Fallback
from .routing.notices import announce_once, announce_warnings, notice_of
from .routing.registry import Registry
from .types import ChatCompletion, ChatCompletionChunk, Chunks, Usage

T_co = TypeVar("T_co", covariant=True)


class Call:
    """One request on its way, and the notice about who answers: an async iterator of `Chunks`."""

    def __init__(self, request: ChatRequest, registry: Registry) -> None:
        self.request = request
        self._notice = registry.config.notice
        self._fallback = answer_to(request, registry)
        self.shows_usage = request.stream and _asks_for_usage(request)
        self._begun = False

    async def open(self) -> tuple[Fallback, Chunks]:
        """The answer with its first content, and everything up to that."""
        self._begun = True
        chunks = await self._fallback.open()
        if self._notice and (notice := notice_of(self._fallback.receipt)) is not None:
            announce_once(self._fallback.receipt, notice)
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

    def completion(self) -> ChatCompletion:
        """The answer as far as it has come."""
        return self._fallback.completion()

    def headers(self) -> Headers:
        """The headers of the response, once it is there."""
        return Headers(self._fallback.headers)

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


def _asks_for_usage(request: ChatRequest) -> bool:
    options = request.extra_body.get("stream_options") or request.params.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


class PendingCompletion(Pending[T_co], Generic[T_co]):
    """The return value of `create`: await it for the answer. Nothing is sent before that."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._coroutine is None:
            call = self._call
            self._coroutine = call.begin() if call.request.stream else call.complete()
        return self._coroutine

    def __aiter__(self) -> Never:
        raise TypeError(_NOT_A_STREAM)


_NOT_A_STREAM = "Only a stream can be iterated: use create(..., stream=True)."


class PendingStream(PendingCompletion["AsyncStream"]):
    """What `create(stream=True)` returns: await it for the stream, iterate it directly, or use it in
    `async with`."""

    _entered: AsyncStream | None = None

    def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:  # type: ignore[override]
        return AsyncStream(self._call)

    async def __aenter__(self) -> AsyncStream:
        self._entered = await self
        return self._entered

    async def __aexit__(self, *_: object) -> None:
        if self._entered is not None:
            await self._entered.aclose()


class _Shown:
    """The chunks that the caller of a stream sees: only those with choices, as at OpenAI, unless
    `everything` was asked for. A chunk that ends a choice waits for the usage behind it."""

    def __init__(self, everything: bool) -> None:
        self._everything = everything
        self._last: ChatCompletionChunk | None = None

    def of(self, chunks: Chunks) -> Chunks:
        if self._everything:
            return chunks
        shown: Chunks = []
        for chunk in chunks:
            last = self._last
            if not chunk.choices:
                if last is not None and chunk.usage is not None:
                    last.usage = chunk.usage
                continue
            if last is not None:
                shown += (last,)
                self._last = None
            choice = chunk.choices[0]
            if choice.finish_reason and not choice.delta.content:
                self._last = chunk
            else:
                shown += (chunk,)
        return shown

    def rest(self) -> Chunks:
        """The last chunk, now that no usage follows."""
        last, self._last = self._last, None
        return [] if last is None else [last]


class AsyncStream:
    """The chunks of one answer: an async iterator that knows who answers.

    `receipt` is there from the first chunk on and complete when the chunks have ended; `usage` is
    then the provider's, and the last chunk has it too. A chunk without choices, which brings it,
    is only handed on where `stream_options` asks for it, as at OpenAI.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._shown = _Shown(call.shows_usage)
        self._fallback: Fallback | None = None
        self._ready: Iterator[ChatCompletionChunk] | tuple[()] = ()

    @property
    def receipt(self) -> Receipt | None:
        """The receipt: who answers, and every attempt; None before the first chunk."""
        return self._fallback.receipt if self._fallback is not None else None

    @property
    def usage(self) -> Usage | None:
        """The tokens, once the chunks have ended; None where the provider does not count."""
        return self._call.completion().usage if self._fallback is not None else None

    @property
    def response(self) -> ResponseHead:
        """The head of the response."""
        return ResponseHead(200, self._call.headers())

    async def begin(self) -> None:
        """Wait for the first chunk."""
        self._fallback, chunks = await self._call.open()
        self._ready = iter(self._shown.of(chunks))

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        while True:
            for chunk in self._ready:
                return chunk
            if self._fallback is None:
                await self.begin()
                continue
            chunks = await self._fallback.next()
            shown = self._shown.of(chunks) if chunks else self._shown.rest()
            if shown:
                first, *others = shown
                self._ready = iter(others) if others else ()
                return first
            if not chunks:
                self._call.warn()
                raise StopAsyncIteration

    async def get_final_completion(self) -> ChatCompletion:
        """The whole answer: waits for what is still to come."""
        async for _ in self:
            pass
        return self._call.completion()

    async def aclose(self) -> None:
        """End the answer here; the provider's connection is closed."""
        self._ready = ()
        self._shown.rest()
        await self._call.aclose()

    close = aclose

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Stream:
    """`AsyncStream` without `await`."""

    def __init__(self, call: Call, source: Generator[Chunks, None, None]) -> None:
        self._call = call
        self._shown = _Shown(call.shows_usage)
        self._source = source
        first = next(source)
        self._ready: Iterator[ChatCompletionChunk] | tuple[()] = iter(self._shown.of(first))
        self.receipt: Receipt | None = first[0].receipt

    @property
    def usage(self) -> Usage | None:
        """The tokens, once the chunks have ended; None where the provider does not count."""
        return self._call.completion().usage

    @property
    def response(self) -> ResponseHead:
        """The head of the response."""
        return ResponseHead(200, self._call.headers())

    def __iter__(self) -> Iterator[ChatCompletionChunk]:
        return self

    def __next__(self) -> ChatCompletionChunk:
        while True:
            for chunk in self._ready:
                return chunk
            chunks = next(self._source, None)
            shown = self._shown.of(chunks) if chunks else self._shown.rest()
            if not shown and not chunks:
                raise StopIteration
            self._ready = iter(shown)

    def get_final_completion(self) -> ChatCompletion:
        """The whole answer: waits for what is still to come."""
        for _ in self:
            pass
        return self._call.completion()

    def close(self) -> None:
        """End the answer here; the provider's connection is closed."""
        self._ready = ()
        self._shown.rest()
        self._source.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
