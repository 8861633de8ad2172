"""HTTP/1.1 on asyncio's protocols: one connection, one response at a time.

llhttp (httptools) parses. What arrives between two turns of the reader reaches it in one
piece, and nothing runs per HTTP chunk.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import ssl
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, cast

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpResponseParser,
)

from .content_length import ConflictingLengths, one_length
from .types import ConnectionBroken, NetworkError, NotHTTP

if TYPE_CHECKING:
    from .pool import ConnectionPool

MAX_OVERHEAD = 64 * 1024
"""Bytes of a head; also those that may pass without a byte of the body (interim responses, chunk
extensions, trailers), to which one read may come on top."""

READ_AHEAD = 64 * 1024
"""Bytes that wait for the reader before the server has to."""

ONE_WRITE = 64 * 1024
"""Bytes of a body up to which it is copied behind the head: two packets cost more than the copy."""


def _readable(descriptor: int) -> Callable[[], bool]:
    """A function that tells whether `descriptor` has something to read."""
    if not hasattr(select, "poll"):  # Windows
        return lambda: bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return lambda: bool(poll.poll(0))


class Connection(asyncio.BufferedProtocol):
    """One connection of a pool; `_response` is what it is receiving, None while it is idle."""

    _transport: asyncio.Transport
    _parser: HttpResponseParser
    _readable: Callable[[], bool]

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self.loop = asyncio.get_running_loop()
        self._response: HTTP11Response | None = None
        self._overhead = 0
        self._ahead = 0
        self._paused = False
        self._head: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By its methods: uvloop's transports have none of asyncio's base classes.
        self._transport = cast("asyncio.Transport", transport)
        self._readable = _readable(transport.get_extra_info("socket").fileno())
        self._pool.opened(self)

    def is_idle(self) -> bool:
        """Whether the connection is open and nothing has come since the last response, not even bytes
        that the loop has yet to see: they would pass for the next response."""
        return not (self._transport.is_closing() or self._readable())

    def is_closed(self) -> bool:
        """Whether the connection has ended, or is about to."""
        return self._transport.is_closing()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def send(self, head: bytes, body: bytes) -> HTTP11Response:
        """Write a request; its response, of which nothing has been read."""
        response = self._response = HTTP11Response(self)
        self._parser = HttpResponseParser(response)
        self._overhead = self._ahead = 0
        self._head.clear()
        if len(body) <= ONE_WRITE:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        return response

    def status(self) -> int:
        """The status of the head that was just read."""
        return self._parser.get_status_code()

    def keeps_alive(self) -> bool:
        """Whether another response may follow the one whose head was just read."""
        return self._parser.should_keep_alive()

    def expect_chunks(self) -> None:
        """The body is chunked. Many servers pad the sizes of chunks with blanks, as h11 allows."""
        self._parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)

    def read_on(self) -> None:
        """Let the server go on after it had to wait for the reader."""
        self._ahead = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def release(self, *, reusable: bool) -> None:
        """The response is closed; `reusable`: it was read to its end, and another may follow."""
        self._response = None
        # The parser holds on to its response.
        del self._parser
        # A server that answers early may never read the rest of the request.
        sent = not self._transport.get_write_buffer_size()
        self._pool.release(self, reusable=reusable and sent and not self._transport.is_closing())

    def get_buffer(self, _: int) -> memoryview:
        return self._pool.buffer

    def buffer_updated(self, size: int) -> None:
        response = self._response
        if response is None or response.complete:
            # Unexpected bytes: they must not become part of the next response.
            self.abort()
            return
        response.begun = True
        try:
            self._parser.feed_data(self._pool.buffer[:size])
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._mend_head(response, size, error):
                return
        if response.pieces:
            self._overhead = 0
            self._ahead += size
            if self._ahead > READ_AHEAD and not response.complete:
                self._paused = True
                self._transport.pause_reading()
        elif not response.complete:
            if not response.status:
                self._head.append(bytes(self._pool.buffer[:size]))
            self._overhead += size
            if self._overhead > MAX_OVERHEAD:
                self._refuse(response, "more framing than content", is_http=True)
        response.wake()

    def _mend_head(self, response: HTTP11Response, size: int, error: Exception) -> bool:
        """Whether the parser refused a head only for a Content-Length that it repeats: it then gets
        the head again, with one of them, as soon as all of it is there. Else the response fails."""
        data = b"".join([*self._head, self._pool.buffer[:size]])
        try:
            mended = None if response.status else one_length(data)
            if mended:
                response.restart()
                self._parser = HttpResponseParser(response)
                self._parser.feed_data(mended)
        except (HttpParserError, HttpParserUpgrade, ConflictingLengths) as another:
            error, mended = another, None
        if mended is None:
            is_http = bool(response.status) or data.startswith(b"HTTP/")
            ours = isinstance(error, HttpParserCallbackError)
            self._refuse(response, error.__context__ if ours else error, is_http=is_http)
            return False
        return True

    def _refuse(self, response: HTTP11Response, what: object, *, is_http: bool) -> None:
        self.abort()
        response.fail(NotHTTP(f"malformed: {what}", is_http=is_http))

    def eof_received(self) -> None:
        if self._response is not None and self._ended_cleanly():
            self._response.end()
        # Closing would first wait for the other side to read everything, which it may never do.
        self.abort()

    def _ended_cleanly(self) -> bool:
        """Whether the other side meant to end here: over TLS anyone on the way could end the
        connection, but not say so in TLS. asyncio does not tell; a read that ends does."""
        tls = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        try:
            return not tls.read(1)
        except ssl.SSLError:
            return False

    def connection_lost(self, error: Exception | None) -> None:
        self._pool.lost(self)
        if self._response is None:
            return
        where = "in the middle of its response" if self._response.begun else "without a response"
        failure = ConnectionBroken(f"the server closed the connection {where}")
        failure.__cause__ = error
        self._response.fail(failure)


class HTTP11Response:
    """One `Response`: the callbacks of the parser, and what the reader reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self._loop = connection.loop
        self.status = 0
        self.is_encoded = False
        self.request_id: str | None = None
        self._fields: list[bytes] = []
        self._headers: dict[str, str] | None = None
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self.begun = False
        self.complete = False
        self._keeps_alive = False
        self._until_end = False
        self._error: NetworkError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers, decoded on first use: most responses need few of theirs."""
        if self._headers is None:
            headers: dict[str, str] = {}
            self._headers = headers
            for name, value in zip(self._fields[::2], self._fields[1::2], strict=True):
                key, text = name.decode("latin-1").lower(), value.decode("latin-1")
                headers[key] = f"{headers[key]}, {text}" if key in headers else text
        return self._headers

    def restart(self) -> None:
        """The head comes again."""
        self._fields.clear()

    def on_message_begin(self) -> None:
        if self.complete:
            raise HttpParserError("unexpected data after the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come here too.
        if not self.status:
            self._fields += (name, value)

    def on_headers_complete(self) -> None:
        connection = self._connection
        assert connection is not None
        status = connection.status()
        if 100 <= status < 200 and status != 101:
            self._fields.clear()
            return
        if status < 200:
            raise HttpParserError("an unexpected status")
        # ": " and CRLF besides.
        if len(b"".join(self._fields)) + 2 * len(self._fields) > MAX_OVERHEAD:
            raise HttpParserError("a head of more than 64 KiB")
        # Only these four are needed of most responses: the others are decoded on demand.
        names = b"\n".join(self._fields[::2]).lower().split(b"\n")
        chunked = b"transfer-encoding" in names
        if chunked:
            coding = self._fields[2 * names.index(b"transfer-encoding") + 1]
            if coding.lower() != b"chunked" or names.count(b"transfer-encoding") > 1:
                raise HttpParserError("an unsupported transfer encoding")
            connection.expect_chunks()
        self._until_end = not chunked and b"content-length" not in names
        self.is_encoded = b"content-encoding" in names
        if b"x-request-id" in names:
            self.request_id = self._fields[2 * names.index(b"x-request-id") + 1].decode("latin-1")
        self.status = status
        self._keeps_alive = connection.keeps_alive()

    def on_message_complete(self) -> None:
        # Interim responses are complete with their heads.
        self.complete = self.status != 0

    def end(self) -> None:
        """Nothing more comes, and the other side said so."""
        self.complete = self.complete or self._until_end
        self.wake()

    def fail(self, error: NetworkError) -> None:
        """The response ends here, unless it is complete."""
        if not self.complete and self._error is None:
            self._error = error
        self.wake()

    def wake(self) -> None:
        """Wake the reader."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def read_head(self) -> HTTP11Response:
        """Wait for the head."""
        try:
            while not self.status:
                if self._error is not None:
                    raise self._error
                self._waiter = self._loop.create_future()
                await self._waiter
        except BaseException:
            assert self._connection is not None
            self._connection.abort()
            raise
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        pieces = self.pieces
        while not pieces:
            if self.complete or self._connection is None:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            await self._waiter
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._connection is not None:
            self._connection.read_on()
        return data

    async def aclose(self) -> None:
        """End the exchange. After a response that was read to its end, the connection is kept."""
        self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.read_on()
            connection.release(reusable=self.complete and self._keeps_alive)

    def abandon(self) -> None:
        """End the exchange, from any thread, without waiting."""
        if self._connection is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._close)
