"""HTTP/1.1 to one origin, plain or TLS, right on asyncio's protocols.

llhttp (httptools) parses. What arrives between two turns of the reader reaches it as one
piece, and nothing runs per HTTP chunk: a stream costs a fraction of what it costs through
httpx, which stays for proxies.
"""

from __future__ import annotations

import asyncio
import errno
import re
import select
import ssl
from collections import deque
from collections.abc import AsyncIterator

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from .exchange import (
    ConnectionBroken,
    ConnectTimeout,
    NetworkError,
    NotHTTP,
    Request,
    Target,
    Unsendable,
)

__all__ = ["Wire"]

_BARE = 64 * 1024
"""Bytes of a head; also those that may pass without a byte of the body among them (interim
responses, chunk extensions, trailers), to which one read may come on top."""

_READ = 64 * 1024
"""Bytes of one read. All connections share the buffer: what is in it is parsed at once."""

_AHEAD = 64 * 1024
"""Bytes that wait for the reader before the server has to."""

_KEPT = 60.0
"""Seconds for which an unused connection is kept: many a NAT forgets it in silence after some minutes,
and a request on it would wait for an answer in vain."""

_KEPT_COUNT = 100

_IN_USE = 1_000

_ONE_WRITE = 64 * 1024
"""Bytes of a body up to which it is copied behind the head: two packets cost more than the copy."""

_NEXT_ADDRESS = 0.25
"""Seconds before the next address of a host is tried beside the first: RFC 8305, section 8."""

_FIRST = re.compile(r"(?:GET|POST) [!-~]+ HTTP/1\.1").fullmatch
"""The methods whose responses are framed by the usual rules, of those that anybody needs here."""

_FIELDS = re.compile(r"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~]*)*").fullmatch
"""RFC 9110, section 5: tokens as names, and no control characters in values."""

_FRAMING = frozenset(("content-length", "transfer-encoding"))


class Wire:
    """Connections to the origin of `target`, for the event loop it is first used in: a `Way`.

    At most 1,000 requests at once, further ones wait in their order; up to 100 connections are
    kept for a minute. A kept connection that turns out to be closed before a byte of the
    answer is replaced once: its server has not read the request. Names are resolved anew for each
    connection. For GET and POST.
    """

    def __init__(self, target: Target, tls: ssl.SSLContext | None = None) -> None:
        """`tls` for https://."""
        self._target = target
        self._tls = tls
        self._slots = asyncio.Semaphore(_IN_USE)
        self._idle: deque[tuple[float, _Connection]] = deque()
        self._open: set[_Connection] = set()
        self.buffer = memoryview(bytearray(_READ))

    async def send(self, request: Request, connect: float | None = None) -> _Answer:
        """The response with its head read. Raises `NetworkError`, with the error of the operating
        system or of TLS as its cause."""
        head = self._head(request)
        await self._slots.acquire()
        try:
            return await self._answer(head, request.body, connect)
        except BaseException:
            self._slots.release()
            raise

    async def aclose(self) -> None:
        """End all connections, without TLS's goodbye: nobody waits for it."""
        for connection in self._open:
            connection.abort()
        self._idle.clear()

    def _head(self, request: Request) -> bytes:
        target, headers = request.target, request.headers
        if target.origin != self._target.origin:
            raise Unsendable("This connection is for another origin.")
        first = f"{request.method} {target.path} HTTP/1.1"
        fields = "".join([f"\r\n{name}: {value}" for name, value in headers.items()])
        if (
            not (_FIRST(first) and _FIELDS(fields))
            # A value that holds a whole field would look like two.
            or fields.count("\r\n") != len(headers)
            or not _FRAMING.isdisjoint(headers)
        ):
            # Nothing of it is shown: it may be a key.
            raise Unsendable("The request's head cannot be sent as HTTP/1.1.")
        host = "" if "host" in headers else f"\r\nhost: {target.authority}"
        length = f"\r\ncontent-length: {len(request.body)}" if request.body else ""
        return f"{first}{host}{fields}{length}\r\n\r\n".encode("ascii")

    async def _answer(self, head: bytes, body: bytes, connect: float | None) -> _Answer:
        kept = self._take()
        if kept is not None:
            answer = kept.ask(head, body)
            try:
                return await answer.begin()
            except NetworkError:
                if answer.begun:
                    raise
        connection = await self._connect(connect)
        return await connection.ask(head, body).begin()

    async def _connect(self, seconds: float | None) -> _Connection:
        loop = asyncio.get_running_loop()
        # Cancelled, asyncio may lose a socket that has just been connected: it is left to end.
        making = loop.create_task(
            loop.create_connection(
                lambda: _Connection(self),
                self._target.host,
                self._target.port,
                ssl=self._tls,
                # Else it is left open for a minute where nobody waits for it any more.
                ssl_handshake_timeout=seconds if self._tls else None,
                happy_eyeballs_delay=_NEXT_ADDRESS,
            )
        )
        try:
            async with asyncio.timeout(seconds):
                _, connection = await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_abandon)
            raise
        except TimeoutError as error:
            making.add_done_callback(_abandon)
            raise ConnectTimeout("no connection in time") from error
        except OSError as error:
            refused = f"[Errno {errno.ECONNREFUSED}]"
            if error.errno is None and refused in str(error):
                # asyncio gives the failures of several addresses as one text.
                error = ConnectionRefusedError(str(error))
            raise NetworkError(str(error)) from error
        return connection

    def _take(self) -> _Connection | None:
        oldest = asyncio.get_running_loop().time() - _KEPT
        while self._idle:
            since, connection = self._idle.pop()
            if since > oldest and connection.is_quiet():
                return connection
            connection.abort()
        return None

    def release(self, connection: _Connection, *, usable: bool) -> None:
        """The answer on `connection` was closed; `usable`: read to its end, and more may follow."""
        self._slots.release()
        if not usable:
            connection.abort()
            return
        now = asyncio.get_running_loop().time()
        self._idle.append((now, connection))
        while len(self._idle) > _KEPT_COUNT or self._idle[0][0] <= now - _KEPT:
            self._idle.popleft()[1].abort()

    def opened(self, connection: _Connection) -> None:
        """`connection` is there, and has to be ended with this transport."""
        self._open.add(connection)

    def lost(self, connection: _Connection) -> None:
        """`connection` has ended."""
        self._open.discard(connection)


def _readable(descriptor: int) -> bool:
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _abandon(making: asyncio.Task[tuple[asyncio.Transport, _Connection]]) -> None:
    """End a connection that comes when nobody waits for it any more."""
    if not making.cancelled() and making.exception() is None:
        making.result()[1].abort()


class _Connection(asyncio.BufferedProtocol):
    """One connection; `_answer` is what it is receiving, None while it is kept."""

    _transport: asyncio.Transport
    _parser: HttpResponseParser

    def __init__(self, wire: Wire) -> None:
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
