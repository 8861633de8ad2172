"""One HTTP response into chunks, whatever form it has.

What was asked for and the Content-Type are hints at best: a whole completion comes where a
stream was asked for, and streams come as text/plain. The first byte tells: `{` or `[` is a
whole completion, `<` an HTML page, anything else a stream of events.

A stream has ended when `[DONE]` came, or a finish_reason and the end of the connection. The end
of the connection alone is not the end of the answer, and of a tool call only a finish_reason
says that it is complete.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..errors import APIError, InvalidResponseError, TruncatedStreamError
from ..http.types import NetworkError, Response
from ..types import ChatCompletionChunk, Chunks
from .chunks import ChunkReader
from .connection_errors import truncated_error
from .error_context import ErrorContext
from .error_messages import error_in_body
from .sse import MAX_EVENT, Decoder, Event, EventTooLong
from .text import parse_json

AFTER_FINISH = 2.0
"""Seconds for usage and [DONE] to follow a finish_reason: some servers leave the connection open."""

DRAIN = 0.2
"""Seconds to read the rest of a response, so that its connection can be used again."""

ERROR_BODY = 64 * 1024
"""Bytes of an error body that are read: its message is far shorter."""

_BLANK = b" \t\r\n\xef\xbb\xbf"
"""Bytes before the first that tells the form of a response."""


async def read_body(context: ErrorContext, response: Response, head: bytes = b"") -> bytes:
    """The whole body, behind `head`. Raises `InvalidResponseError` for one that is too long, and
    `TruncatedStreamError`."""
    data = bytearray(head)
    try:
        async for piece in response:
            data += piece
            if len(data) > MAX_EVENT:
                raise too_long(context)
    except (NetworkError, OSError) as error:
        raise truncated_error(context, error) from None
    return bytes(data)


async def read_error_body(response: Response) -> bytes:
    """The beginning of an error body; of a broken one what arrived."""
    data = bytearray()
    try:
        async for piece in response:
            data += piece
            if len(data) > ERROR_BODY:
                break
    except (NetworkError, OSError):
        pass
    return bytes(data)


def too_long(context: ErrorContext) -> InvalidResponseError:
    """The error for an answer, or an event of it, above `MAX_EVENT`."""
    return InvalidResponseError(
        f"{context.provider}: the answer is too large: more than {MAX_EVENT // 2**20} MiB in one piece."
        " Ask another provider.",
        provider=context.provider,
        model=context.model,
    )


class CompletionStream:
    """The chunks of one response with status 200: an async iterator of `Chunks`, all that one read
    of the network brings at a time.

    `choices` is the number of choices asked for. Raises `APIError`, after the chunks that came
    before it. `aclose` ends the exchange; an abandoned stream ends it when it is collected.
    """

    def __init__(self, context: ErrorContext, response: Response, choices: int = 1) -> None:
        self._context = context
        self._response = response
        self._reader = ChunkReader(
            context.provider, context.model, choices, without_key=context.without_key
        )
        self._events: Decoder | None = None
        self._failure: APIError | None = None
        self._begun = False
        self._finished = False
        self._calling = False
        self._done = False
        self._ended = False
        self._closed = False
        self._deadline: float | None = None

    def __aiter__(self) -> CompletionStream:
        return self

    async def __anext__(self) -> Chunks:
        if self._events is None and not self._ended:
            chunks = await self._first()
            if chunks:
                return chunks
        while self._failure is None and not self._ended:
            if self._done:
                await self._drain()
                break
            if self._finished:
                data = await self._read_rest()
            else:
                try:
                    data = await self._response.__anext__()
                except StopAsyncIteration:
                    data = b""
                except (NetworkError, OSError) as error:
                    raise truncated_error(self._context, error) from None
            chunks = self._decode(data) if data else self._end()
            if chunks:
                return chunks
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the exchange. What was read to its end leaves its connection for the next request."""
        if not self._closed:
            self._closed = self._ended = True
            await self._response.aclose()

    def __del__(self) -> None:
        if not self._closed:
            self._response.abandon()

    async def _first(self) -> Chunks:
        """The chunks of the first bytes, which tell the form."""
        head = await self._head()
        first = head.lstrip(_BLANK)[:1]
        if first in (b"{", b"["):
            self._ended = True
            return [self._whole(await read_body(self._context, self._response, head))]
        if first == b"<" or not first:
            self._ended = True
            form = "an HTML page" if first else "an empty body"
            raise self._invalid(form, "in place of a completion")
        self._events = Decoder()
        return self._decode(head)

    async def _head(self) -> bytes:
        """The bytes up to the first that is not blank, and those that came with it."""
        head = bytearray()
        try:
            async for piece in self._response:
                head += piece
                if piece.strip(_BLANK):
                    break
                if len(head) > MAX_EVENT:
                    raise too_long(self._context)
        except (NetworkError, OSError) as error:
            raise truncated_error(self._context, error) from None
        return bytes(head)

    def _whole(self, data: bytes) -> ChatCompletionChunk:
        chunk = self._reader.decode(data) or self._parse(data.removeprefix(b"\xef\xbb\xbf"))
        # A whole body is its own proof that the answer ended.
        if not _has_finished(chunk):
            for choice in chunk.choices:
                choice.finish_reason = "stop"
        return chunk

    def _parse(self, data: bytes) -> ChatCompletionChunk:
        """The chunk in JSON of any form. Raises `APIError`."""
        try:
            parsed = parse_json(data)
        except ValueError:
            raise self._invalid("something", "that is not JSON") from None
        if (error := _error_in(parsed)) is not None:
            raise error_in_body(self._context, error)
        return self._reader.read(parsed)

    def _decode(self, data: bytes) -> Chunks:
        """The chunks of the events that end in `data`; a failure behind them is kept."""
        assert self._events is not None
        chunks: Chunks = []
        decode = self._reader.decode
        try:
            for event in self._events.feed(data):
                chunk = decode(event.data) if event.name == "message" else None
                if chunk is None:
                    if event.data.startswith(b"[DONE]"):
                        self._done = True
                        break
                    chunk = self._event(event)
                for choice in chunk.choices:
                    if choice.finish_reason:
                        self._finished = True
                chunks.append(chunk)
        except EventTooLong:
            self._failure = too_long(self._context)
        except APIError as error:
            self._failure = error
        self._begun = self._begun or bool(chunks)
        return chunks

    def _event(self, event: Event) -> ChatCompletionChunk:
        """The chunk of an event that is more than text. Raises `APIError`."""
        self._begun = True
        if event.name == "error":
            try:
                parsed = parse_json(event.data)
            except ValueError:
                parsed = event.data.decode("utf-8", "replace")
            raise error_in_body(self._context, parsed)
        chunk = self._parse(event.data)
        for choice in chunk.choices:
            if choice.delta.tool_calls:
                self._calling = True
        return chunk

    async def _read_rest(self) -> bytes:
        """What follows a finish_reason; b"" at the end, which need not come."""
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.time() + AFTER_FINISH
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._response.__anext__()
        except (StopAsyncIteration, TimeoutError, NetworkError, OSError):
            return b""

    async def _drain(self) -> None:
        """Read the rest behind [DONE], if that is quick, and end."""
        self._ended = True
        size = 0
        try:
            async with asyncio.timeout(DRAIN):
                async for piece in self._response:
                    size += len(piece)
                    if size > ERROR_BODY:
                        break
        except (TimeoutError, NetworkError, OSError):
            pass
        self._check_calls()

    def _end(self) -> Chunks:
        """The connection has ended: the chunk in an event that was left open, or the final check."""
        self._ended = True
        last = self._open_event()
        if last is not None:
            self._finished = self._finished or _has_finished(last)
        if self._done:
            self._check_calls()
        elif not self._begun:
            self._failure = self._invalid("something", "that is neither JSON nor an event stream")
        elif not self._finished:
            self._failure = self._truncated()
        return [last] if last is not None else []

    def _open_event(self) -> ChatCompletionChunk | None:
        """The chunk in an event without its last blank line, which some servers forget."""
        assert self._events is not None
        try:
            event = self._events.end()
        except EventTooLong:
            self._failure = too_long(self._context)
            return None
        if event is None:
            return None
        if event.data.strip() == b"[DONE]":
            self._done = True
            return None
        try:
            return self._event(event)
        except InvalidResponseError:
            # Half an event: the connection ended inside it.
            return None

    def _check_calls(self) -> None:
        """[DONE] alone ends a text, but not a tool call."""
        if self._calling and not self._finished:
            self._failure = self._truncated()

    def _invalid(self, form: str, rest: str) -> InvalidResponseError:
        return InvalidResponseError(
            f"{self._context.provider} ({self._context.origin}) sent {form} {rest}."
            " Is base_url the address of an OpenAI-compatible API?",
            provider=self._context.provider,
            model=self._context.model,
        )

    def _truncated(self) -> TruncatedStreamError:
        return TruncatedStreamError(
            f"{self._context.provider}: the answer ended before it was finished. Ask again, or ask"
            " another provider.",
            provider=self._context.provider,
            model=self._context.model,
        )


def _has_finished(chunk: ChatCompletionChunk) -> bool:
    return any(choice.finish_reason for choice in chunk.choices)


def _error_in(parsed: Any) -> Any:
    """The error object in JSON that came in place of a chunk or beside one; None if there is none."""
    if isinstance(parsed, list):
        parsed = parsed[0] if parsed else None
    if isinstance(parsed, dict) and (parsed.get("error") or parsed.get("object") == "error"):
        return parsed
    return None
