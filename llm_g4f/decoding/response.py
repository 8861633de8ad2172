"""The body of one answer, whatever form it has: its bytes, and the chunks in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from ..asyncgen import ManagedAsyncGen
from ..errors import APIError, InvalidResponseError, TruncatedStreamError
from ..http.types import NetworkError, Response
from ..types import ChatCompletionChunk, Chunks
from .chunks import ChunkReader
from .connection_errors import broken_off
from .error_context import ErrorContext
from .error_messages import stream_failure
from .sse import MAX_EVENT, Decoder, Event, EventTooLong, whole_events
from .text import parse_json

_AFTER_FINISH = 2.0
"""Seconds for usage and [DONE] to follow a finish_reason: some servers leave the connection open."""

_BLANK = b" \t\r\n\xef\xbb\xbf"
"""Bytes before the first that tells what form an answer has."""

_DRAIN = 0.2
"""Seconds to read the end of a response, so that its connection can be used again."""

_MANY = 4 * 1024
"""Bytes at once from which on it is worth while to look at how events are alike."""

_ALONE = 4
"""Events: the first text is seldom behind them."""

_BEGINNING = 64 * 1024
"""Bytes of an error body that are read: what a person needs of it is shorter by far."""


class Body:
    """The bytes of a response, unpacked."""

    def __init__(self, response: Response, place: ErrorContext) -> None:
        self._place = place
        self._pieces: AsyncIterator[bytes] = aiter(response)
        if "content-encoding" in response.headers:
            from ..http.httpx_transport import unpacked

            self._pieces = ManagedAsyncGen(unpacked(response.headers, self._pieces))

    async def read(self) -> bytes | None:
        """What has come since, at least one byte; None at the end. Raises `TruncatedStreamError`."""
        try:
            return await self._pieces.__anext__()
        except StopAsyncIteration:
            return None
        except (NetworkError, OSError) as error:
            raise broken_off(self._place, error) from None

    async def whole(self, head: bytes = b"") -> bytes:
        """All of it, behind `head`. Raises `InvalidResponseError` where it is more than anybody sends,
        and `TruncatedStreamError`."""
        data = bytearray(head)
        while (more := await self.read()) is not None:
            data += more
            if len(data) > MAX_EVENT:
                raise self.too_long()
        return bytes(data)

    async def beginning(self) -> bytes:
        """What a person needs of an error: of a broken one what there is."""
        data = bytearray()
        try:
            while len(data) <= _BEGINNING and (more := await self.read()) is not None:
                data += more
        except TruncatedStreamError:
            pass
        return bytes(data)

    async def drain(self) -> None:
        """Read the rest, if that is quick."""
        size = 0
        try:
            async with asyncio.timeout(_DRAIN):
                while size <= _BEGINNING and (more := await self.read()) is not None:
                    size += len(more)
        except (TimeoutError, TruncatedStreamError):
            pass

    def too_long(self) -> InvalidResponseError:
        return InvalidResponseError(
            f"{self._place.provider}: the answer has a piece of more than {MAX_EVENT // 2**20} MiB.",
            provider=self._place.provider,
            model=self._place.model,
        )


class Answer:
    """The chunks of a response with status 200.

    What was asked for and what the Content-Type says are hints at best: a whole
    completion comes where a stream was asked for, and streams come as text/plain. The
    first byte tells. `choices` are as many as were asked for.
    """

    def __init__(self, place: ErrorContext, body: Body, choices: int) -> None:
        self._place = place
        self._body = body
        self._reader = ChunkReader(
            place.provider, place.model, choices, without_key=place.without_key
        )
        self._finished = False
        self._begun = False
        self._calling = False
        self._done = False
        self._held = b""
        self._between = False
        self._alone = _ALONE

    async def batches(self) -> AsyncGenerator[Chunks, None]:
        """As many chunks at a time as one read of the network brings. Raises `APIError`."""
        data: bytes | None = await self._head()
        assert data is not None
        first = data.lstrip(_BLANK)[:1]
        if first in (b"{", b"["):
            yield [self._completion(await self._body.whole(data))]
            return
        if first == b"<" or not first:
            raise self._invalid(
                "an HTML page" if first else "an empty body", "instead of a completion"
            )
        decoder = Decoder()
        until: float | None = None
        while data is not None:
            batch, failure = self._read(decoder, data)
            if batch:
                yield batch
            if failure is not None:
                raise failure
            if self._done:
                await self._body.drain()
                self._check_calls()
                return
            if self._finished and until is None:
                until = asyncio.get_running_loop().time() + _AFTER_FINISH
            data = await (self._body.read() if until is None else self._read_until(until))
        last = self._last(decoder)
        if last is not None:
            yield [last]
        self._check_end()

    async def _head(self) -> bytes:
        """The bytes up to the first that is not blank, and those that came with it."""
        head = bytearray()
        while (data := await self._body.read()) is not None:
            head += data
            if data.strip(_BLANK):
                break
            if len(head) > MAX_EVENT:
                raise self._body.too_long()
        return bytes(head)

    def _invalid(self, what: str, rest: str) -> InvalidResponseError:
        return InvalidResponseError(
            f"{self._place.provider} ({self._place.origin}) sent {what} {rest}."
            " Is base_url the address of an OpenAI-compatible API?",
            provider=self._place.provider,
            model=self._place.model,
        )

    def _completion(self, data: bytes) -> ChatCompletionChunk:
        chunk = self._chunk(data.removeprefix(b"\xef\xbb\xbf"))
        if not any(choice.finish_reason for choice in chunk.choices):
            for choice in chunk.choices:
                # A whole body is its own proof that the answer ended.
                choice.finish_reason = "stop"
        return chunk

    def _chunk(self, data: bytes) -> ChatCompletionChunk:
        try:
            parsed = parse_json(data)
        except ValueError:
            raise self._invalid("something", "that is not JSON") from None
        self._check(parsed)
        return self._reader.read(parsed)

    def _check(self, parsed: Any) -> None:
        if isinstance(parsed, list):
            parsed = parsed[0] if parsed else None
        if isinstance(parsed, dict) and (parsed.get("error") or parsed.get("object") == "error"):
            raise stream_failure(self._place, parsed)

    def _read(self, decoder: Decoder, data: bytes) -> tuple[Chunks, APIError | None]:
        """The chunks in `data`, and the error behind them: what came before it still counts."""
        batch: Chunks = []
        data = self._held + data
        end = whole_events(data)
        data, self._held = data[:end], data[end:]
        try:
            while data and not self._done:
                part = data
                if len(data) > _MANY:
                    if self._between:
                        pieces, data = self._reader.pieces(data)
                        batch += pieces
                    part = self._part(data)
                self._decode(decoder, part, batch)
                data = data[len(part) :]
        except EventTooLong:
            return batch, self._body.too_long()
        except APIError as error:
            return batch, error
        self._begun = self._begun or bool(batch)
        return batch, None

    def _part(self, data: bytes) -> bytes:
        """How much of `data` to decode next: the first events one by one, for what they tell of the
        others."""
        if self._alone and (end := data.find(b"\n\n") + 2) > 1:
            self._alone -= 1
            return data[:end]
        return data

    def _decode(self, decoder: Decoder, data: bytes, batch: Chunks) -> None:
        """Add the chunks of the events in `data`. Raises `APIError` and `EventTooLong`."""
        if not data:
            return
        self._between = data.endswith(b"\n\n")
        piece = self._reader.piece
        for event in decoder.feed(data):
            chunk = piece(event.data) if event.name == "message" else None
            if chunk is None:
                if event.data.startswith(b"[DONE]"):
                    self._done = True
                    break
                chunk = self._event(event)
            batch.append(chunk)

    def _event(self, event: Event) -> ChatCompletionChunk:
        """The chunk of an event that is more than a piece of text. Raises `APIError`."""
        self._begun = True
        if event.name == "error":
            try:
                parsed = parse_json(event.data)
            except ValueError:
                parsed = event.data.decode("utf-8", "replace")
            raise stream_failure(self._place, parsed)
        chunk = self._chunk(event.data)
        for choice in chunk.choices:
            if choice.finish_reason:
                self._finished = True
            if choice.delta.tool_calls:
                self._calling = True
        return chunk

    async def _read_until(self, until: float) -> bytes | None:
        try:
            async with asyncio.timeout_at(until):
                return await self._body.read()
        except (TimeoutError, TruncatedStreamError):
            return None

    def _last(self, decoder: Decoder) -> ChatCompletionChunk | None:
        """The chunk in what stands open at the end: a server may forget the last blank line."""
        try:
            decoder.feed(self._held)
            last = decoder.end()
        except EventTooLong:
            raise self._body.too_long() from None
        if last is None:
            return None
        if last.data.strip() == b"[DONE]":
            self._done = True
            return None
        try:
            return self._event(last)
        except InvalidResponseError:
            # Half an event: the connection ended inside it.
            return None

    def _check_end(self) -> None:
        """The end of the connection alone is not the end of the answer."""
        if self._done:
            self._check_calls()
            return
        if not self._begun:
            raise self._invalid("something", "that is neither JSON nor an event stream")
        if not self._finished:
            raise self._truncated()

    def _check_calls(self) -> None:
        """[DONE] alone ends a text. Of a tool call only a finish_reason says that it is whole."""
        if self._calling and not self._finished:
            raise self._truncated()

    def _truncated(self) -> TruncatedStreamError:
        return TruncatedStreamError(
            f"{self._place.provider}: the answer ended before it was finished.",
            provider=self._place.provider,
            model=self._place.model,
        )
