"""HTTP/1.1 on asyncio's protocols: one connection, one response at a time.

llhttp (httptools) parses. What arrives between two turns of the reader reaches it as one
piece, and nothing runs per HTTP chunk.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from .types import (
    ConnectionBroken,
    NetworkError,
    NotHTTP,
)

if TYPE_CHECKING:
    from .pool import ConnectionPool

_BARE = 64 * 1024
"""Bytes of a head; also those that may pass without a byte of the body among them (interim
responses, chunk extensions, trailers), to which one read may come on top."""

_AHEAD = 64 * 1024
"""Bytes that wait for the reader before the server has to."""

_ONE_WRITE = 64 * 1024
"""Bytes of a body up to which it is copied behind the head: two packets cost more than the copy."""


def _readable(descriptor: int) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class _Connection(asyncio.BufferedProtocol):
    """One connection; `_answer` is what it is receiving, None while it is kept."""

    _transport: asyncio.Transport
    _parser: HttpResponseParser

    def __init__(self, wire: ConnectionPool) -> None:
        self._wire = wire
        self._answer: _Answer | None = None
        self._bare = 0
        self._ahead = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._wire.opened(self)

    def is_open(self) -> bool:
        return not self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Whether nothing has come since the last answer, not even what the loop has yet to see: it
        would pass for the next answer."""
        return self.is_open() and not _readable(self._transport.get_extra_info("socket").fileno())

    def abort(self) -> None:
        self._transport.abort()

    def ask(self, head: bytes, body: bytes) -> _Answer:
        answer = self._answer = _Answer(self)
        self._parser = HttpResponseParser(answer)
        self._bare = self._ahead = 0
        for data in (head + body,) if len(body) <= _ONE_WRITE else (head, body):
            self._transport.write(data)
        return answer

    def status(self) -> int:
        return self._parser.get_status_code()

    def may_follow(self) -> bool:
        """Whether another response may follow the one whose head was just read."""
        return self._parser.should_keep_alive()

    def read_on(self) -> None:
        self._ahead = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def close(self, *, usable: bool) -> None:
        self._answer = None
        # The parser holds on to the answer that it was made for.
        del self._parser
        # A server that answers early may never read the rest of the request.
        sent = not self._transport.get_write_buffer_size()
        self._wire.release(self, usable=usable and sent and self.is_open())

    def get_buffer(self, _: int) -> memoryview:
        return self._wire.buffer

    def buffer_updated(self, size: int) -> None:
        answer = self._answer
        if answer is None or answer.complete:
            # Nobody asked for it: whatever it is, it must not become part of the next answer.
            self.abort()
            return
        answer.begun = True
        pieces = len(answer.pieces)
        try:
            self._parser.feed_data(self._wire.buffer[:size])
        except (HttpParserError, HttpParserUpgrade) as error:
            self.abort()
            answer.fail(NotHTTP(f"malformed: {error.__context__ or error}"))
            return
        if len(answer.pieces) > pieces:
            self._bare = 0
            self._ahead += size
            if self._ahead > _AHEAD and not answer.complete:
                self._paused = True
                self._transport.pause_reading()
        elif not answer.complete:
            self._bare += size
            if self._bare > _BARE:
                self.abort()
                answer.fail(NotHTTP("malformed: more framing than content"))
        answer.wake()

    def eof_received(self) -> None:
        if self._answer is not None and self._said_goodbye():
            self._answer.end()
        # Closing would first wait for what the other side may never read.
        self.abort()

    def _said_goodbye(self) -> bool:
        """Whether the other side meant to end here: over TLS anybody on the way could end the
        connection, but not say so in TLS. asyncio does not tell; a read that ends does."""
        tls = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        try:
            return not tls.read(1)
        except ssl.SSLError:
            return False

    def connection_lost(self, error: Exception | None) -> None:
        self._wire.lost(self)
        if self._answer is None:
            return
        what = "in the middle of its response" if self._answer.begun else "without a response"
        failure = ConnectionBroken(f"the server closed the connection {what}")
        failure.__cause__ = error
        self._answer.fail(failure)


class _Answer:
    """One `Response`: what the parser calls, and what the reader reads."""

    def __init__(self, connection: _Connection) -> None:
        self._connection: _Connection | None = connection
        self.status = 0
        self.headers: dict[str, str] = {}
        self._head_size = 0
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self.begun = False
        self.complete = False
        self._may_follow = False
        self._until_end = False
        self._error: NetworkError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def on_message_begin(self) -> None:
        if self.complete:
            raise HttpParserError("something follows the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come here too.
        if self.status:
            return
        self._head_size += len(name) + len(value) + 4
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        connection = self._connection
        assert connection is not None
        status = connection.status()
        if 100 <= status < 200 and status != 101:
            self.headers.clear()
            self._head_size = 0
            return
        if status < 200:
            raise HttpParserError("a status that was not asked for")
        if self._head_size > _BARE:
            raise HttpParserError("a head of more than 64 KiB")
        coding = self.headers.get("transfer-encoding")
        if coding is None:
            self._until_end = "content-length" not in self.headers
        elif coding.lower() != "chunked":
            raise HttpParserError("a transfer encoding that was not asked for")
        self.status = status
        self._may_follow = connection.may_follow()

    def on_message_complete(self) -> None:
        # Interim responses are complete with their heads.
        self.complete = self.status != 0

    def end(self) -> None:
        """Nothing more comes, and the other side said so."""
        self.complete = self.complete or self._until_end
        self.wake()

    def fail(self, error: NetworkError) -> None:
        if not self.complete and self._error is None:
            self._error = error
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def begin(self) -> _Answer:
        """Wait for the head."""
        try:
            while not self.status:
                await self._more()
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
            await self._more()
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._connection is not None:
            self._connection.read_on()
        return data

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.read_on()
            connection.close(usable=self.complete and self._may_follow)
