"""One HTTP response into chunks, whatever form it has.

What was asked for and the Content-Type are hints at best: a whole completion comes where a
stream was asked for, and streams come as text/plain. The first byte tells: `{` or `[` is a
whole completion, `<` an HTML page, anything else a stream of events.

A stream has ended when `[DONE]` came, or the finish_reason of every choice and the end of the
connection. The end of the connection alone is not the end of the answer. A tool call without a
finish_reason is complete if its arguments are, and `[DONE]` or usage came behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from ..errors import APIError, InvalidResponseError, TruncatedStreamError
from ..event_loops import within
from ..http.types import NetworkError, Response
from ..safe_text import clean
from ..types import ChatCompletionChunk, Chunks
from .choices import choice_error, is_chunk
from .chunks import ChunkReader
from .connection_errors import body_error
from .error_bodies import error_in
from .error_context import ErrorContext
from .error_messages import error_in_body, invalid_response, page_error
from .sse import MAX_EVENT, Decoder, Event, EventTooLong
from .text import parse_json

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
        raise body_error(context, error) from None
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

    `choices` is the number of choices asked for. `completion` accumulates the chunks. Raises
    `APIError`, after the chunks that came before it; `failure` has it already. `aclose` ends the
    exchange; an abandoned stream ends it when it is collected.
    """

    def __init__(self, context: ErrorContext, response: Response, choices: int = 1) -> None:
        self._context = context
        self._response = response
        self._reader = ChunkReader(
            context.provider, context.model, choices, without_key=context.without_key
        )
        self.completion = self._reader.completion
        self._events: Decoder | None = None
        self.failure: APIError | None = None
        self._begun = False
        self._passed_over: Any = None
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
        while self.failure is None and not self._ended:
            if self._done:
                await self._drain()
                break
            if self._reader.patience is not None:
                data = await self._read_rest(self._reader.patience)
            else:
                try:
                    data = await self._response.__anext__()
                except StopAsyncIteration:
                    data = b""
                except (NetworkError, OSError) as error:
                    raise body_error(self._context, error) from None
            chunks = self._decode(data) if data else self._end()
            if chunks:
                return chunks
        if self.failure is not None:
            raise self.failure
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
            if first:
                raise page_error(self._context)
            raise invalid_response(self._context, "an empty body", "in place of a completion")
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
            raise body_error(self._context, error) from None
        return bytes(head)

    def _whole(self, data: bytes) -> ChatCompletionChunk:
        chunk = self._reader.decode(data, is_whole=True)
        return chunk or self._parse_whole(data.removeprefix(b"\xef\xbb\xbf"))

    def _parse_whole(self, data: bytes) -> ChatCompletionChunk:
        """The completion in JSON of any form. Raises `APIError`."""
        try:
            parsed = parse_json(data)
        except ValueError:
            # Some servers end a whole body as they end a stream.
            body, data_field, last = data.rpartition(b"data:")
            if not data_field or not _is_done(last):
                raise invalid_response(self._context, "something", "that is not JSON") from None
            return self._parse_whole(body)
        self._check_error(parsed)
        return self._reader.read(parsed, is_whole=True)

    def _decode(self, data: bytes) -> Chunks:
        """The chunks of the events that end in `data`; a failure behind them is kept."""
        assert self._events is not None
        chunks: Chunks = []
        decode = self._reader.decode
        try:
            for event in self._events.feed(data):
                chunk = decode(event.data) if event.name == "message" else None
                if chunk is not None:
                    chunks.append(chunk)
                    continue
                chunks += self._read(event)
                if self._done:
                    break
        except EventTooLong:
            self.failure = too_long(self._context)
        except APIError as error:
            self.failure = error
        self._begun = self._begun or bool(chunks)
        if self._reader.renewed:
            self._reader.renewed = False
            self._deadline = None
        return chunks

    def _read(self, event: Event) -> Chunks:
        """The chunks of an event that is more than text; none of a heartbeat. Raises `APIError`."""
        if _is_done(event.data):
            self._done = True
            return self._rest()
        try:
            parsed = parse_json(event.data, halves=True)
        except ValueError:
            return self._read_text(event)
        if event.name == "error":
            raise error_in_body(self._context, parsed, self._response)
        self._check_error(parsed)
        if event.name == "ping" or not is_chunk(parsed):
            self._passed_over = parsed
            return []
        return [self._reader.read(parsed)]

    def _read_text(self, event: Event) -> Chunks:
        """The chunks of an event that is not JSON: an error, a heartbeat, or data lines without the
        blank line between them (GLM, Kimi). Raises `APIError`."""
        if event.name == "error":
            said = event.data.decode("utf-8", "replace")
            raise error_in_body(self._context, said, self._response)
        if event.name != "message" or not event.data.strip():
            return []
        lines = event.data.split(b"\n")
        if len(lines) == 1:
            said = clean(self._context.without_key(event.data.decode("utf-8", "replace")), 120)
            words = "" if said.startswith(("{", "[[")) else f': "{said}"'
            raise invalid_response(self._context, "something", f"that is not JSON{words}")
        chunks: Chunks = []
        for line in lines:
            chunks += self._read(Event("message", line))
        return chunks

    def _check_error(self, parsed: Any) -> None:
        """Raise the error in JSON that came in place of a chunk or in one."""
        error = error_in(parsed)
        if error is None and is_chunk(parsed):
            error = choice_error(parsed)
        if error is not None:
            raise error_in_body(self._context, error, self._response)

    def _rest(self) -> Chunks:
        """What was held back, at the end of the answer. Raises `APIError`."""
        return [] if (chunk := self._reader.rest()) is None else [chunk]

    async def _read_rest(self, patience: float) -> bytes:
        """What follows the last finish_reason within `patience` seconds; b"" if nothing does."""
        now = asyncio.get_running_loop().time()
        if self._deadline is None:
            self._deadline = now + patience
        try:
            return await within(self._deadline - now, self._response.__anext__())
        except (StopAsyncIteration, TimeoutError, NetworkError, OSError):
            return b""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the person, without their full stop, about how the answer was read."""
        return self._reader.warnings

    async def _drain(self) -> None:
        """Read the rest behind [DONE], if that is quick, and end."""
        self._ended = True
        # Most servers send the end of the response along with [DONE].
        if not self._response.complete:
            size = 0
            with contextlib.suppress(TimeoutError, NetworkError, OSError):
                async with asyncio.timeout(DRAIN):
                    async for piece in self._response:
                        size += len(piece)
                        if size > ERROR_BODY:
                            break
        if self._reader.has_open_calls():
            self.failure = self._truncated()

    def _end(self) -> Chunks:
        """The connection has ended: the chunks in an event that was left open, and the final check."""
        self._ended = True
        chunks: Chunks = []
        try:
            chunks += self._open_events()
            if not self._done:
                chunks += self._rest()
        except APIError as error:
            self.failure = error
        if self.failure is None:
            self._check_end(begun=self._begun or bool(chunks))
        return chunks

    def _check_end(self, *, begun: bool) -> None:
        """Note a failure unless the answer was finished when the connection ended."""
        reader = self._reader
        if not begun:
            if self._passed_over is not None:
                # Raises: it is JSON, but not a completion.
                reader.read(self._passed_over)
            self.failure = invalid_response(
                self._context, "something", "that is neither JSON nor an event stream"
            )
        elif reader.has_open_calls() or not (
            self._done or reader.patience is not None or (reader.has_calls() and reader.has_usage())
        ):
            self.failure = self._truncated()

    def _open_events(self) -> Chunks:
        """The chunks in an event without its last blank line, which some servers forget."""
        assert self._events is not None
        chunks: Chunks = []
        try:
            for event in self._events.end():
                chunks += self._read(event)
        except InvalidResponseError:
            # Half an event: the connection ended inside it.
            self._begun = True
        except EventTooLong:
            self.failure = too_long(self._context)
        return chunks

    def _truncated(self) -> TruncatedStreamError:
        return TruncatedStreamError(
            f"{self._context.provider}: the answer ended before it was finished. Ask again, or ask"
            " another provider.",
            provider=self._context.provider,
            model=self._context.model,
        )


def _is_done(data: bytes) -> bool:
    """Whether an event is [DONE], also in blanks, in quotes or in lower case."""
    return data.startswith(b"[DONE]") or (
        len(data) <= 16 and data.translate(None, b" \t\r\n\"'").upper() == b"[DONE]"
    )
