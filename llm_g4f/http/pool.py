"""Connections to one origin, kept for the next request."""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from collections import deque

from .http11 import _Answer, _Connection
from .types import (
    URL,
    ConnectTimeout,
    NetworkError,
    Request,
    Unsendable,
)

_READ = 64 * 1024
"""Bytes of one read. All connections share the buffer: what is in it is parsed at once."""

_KEPT = 60.0
"""Seconds for which an unused connection is kept: many a NAT forgets it in silence after some minutes,
and a request on it would wait for an answer in vain."""

_KEPT_COUNT = 100

_IN_USE = 1_000

_NEXT_ADDRESS = 0.25
"""Seconds before the next address of a host is tried beside the first: RFC 8305, section 8."""

_FIRST = re.compile(r"(?:GET|POST) [!-~]+ HTTP/1\.1").fullmatch
"""The methods whose responses are framed by the usual rules, of those that anybody needs here."""

_FIELDS = re.compile(r"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~]*)*").fullmatch
"""RFC 9110, section 5: tokens as names, and no control characters in values."""

_FRAMING = frozenset(("content-length", "transfer-encoding"))


class ConnectionPool:
    """Connections to the origin of `target`, for the event loop it is first used in: a `Transport`.

    At most 1,000 requests at once, further ones wait in their order; up to 100 connections are
    kept for a minute. A kept connection that turns out to be closed before a byte of the
    answer is replaced once: its server has not read the request. Names are resolved anew for each
    connection. For GET and POST.
    """

    def __init__(self, target: URL, tls: ssl.SSLContext | None = None) -> None:
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


def _abandon(making: asyncio.Task[tuple[asyncio.Transport, _Connection]]) -> None:
    """End a connection that comes when nobody waits for it any more."""
    if not making.cancelled() and making.exception() is None:
        making.result()[1].abort()
