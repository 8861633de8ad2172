"""Connections to one origin, kept for the next request."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import deque
from functools import lru_cache

from ..event_loops import is_done_within
from .http11 import Connection, HTTP11Response
from .tcp import open_socket, open_unix
from .types import (
    URL,
    ConnectionBroken,
    ConnectTimeout,
    NetworkError,
    NoHandshake,
    Request,
    StaleConnection,
    Unsendable,
)

READ_SIZE = 64 * 1024
"""Bytes of one read. All connections share the buffer: its bytes are parsed at once."""

KEEP_ALIVE = 60.0
"""Seconds for which an idle connection is kept: many NATs forget it silently after some minutes,
and a request on it would wait for an answer in vain."""

MAX_IDLE = 100

MAX_IN_USE = 1_000

_FIRST_LINE = re.compile(r"(?:GET|POST) [!-~]+ HTTP/1\.1").fullmatch
"""GET and POST: their responses are framed by the usual rules."""

_FIELDS = re.compile(r"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t -~]*)*").fullmatch
"""RFC 9110, section 5: tokens as names, and no control characters in values."""

_FRAMING = frozenset(("content-length", "transfer-encoding"))


@lru_cache(maxsize=64)
def _encode_head(method: str, url: URL, headers: tuple[tuple[str, str], ...]) -> bytes:
    """The head of a request but for its Content-Length and last blank line. Raises `Unsendable`."""
    first = f"{method} {url.path} HTTP/1.1"
    fields = "".join([f"\r\n{name}: {value}" for name, value in headers])
    names = {name for name, _ in headers}
    if (
        not (_FIRST_LINE(first) and _FIELDS(fields))
        # A value that holds a whole field would look like two.
        or fields.count("\r\n") != len(headers)
        or not _FRAMING.isdisjoint(names)
    ):
        # Never shown: it may hold a key.
        raise Unsendable("The request's head cannot be sent as HTTP/1.1.")
    host = "" if "host" in names else f"\r\nhost: {url.authority}"
    return f"{first}{host}{fields}".encode("ascii")


class ConnectionPool:
    """A `Transport` to one origin over HTTP/1.1, for the event loop it is first used in.

    At most 1,000 requests at once, further ones wait in their order; up to 100 idle connections
    are kept for a minute. A kept connection that is found closed before it is used is replaced.
    Names are resolved anew for each connection. For GET and POST.
    """

    def __init__(
        self, url: URL, tls: ssl.SSLContext | None = None, unix_socket: str | None = None
    ) -> None:
        """`tls` is required for https://. `unix_socket`: the path to connect to in place of the host."""
        self._url = url
        self._unix_socket = unix_socket
        self._tls = tls
        self._room = asyncio.Semaphore(MAX_IN_USE)
        self._idle: deque[tuple[float, Connection]] = deque()
        self._open: set[Connection] = set()
        self.buffer = memoryview(bytearray(READ_SIZE))

    async def send(self, request: Request, connect_timeout: float | None = None) -> HTTP11Response:
        """The response with its head read. Raises `NetworkError`, with the error of the operating
        system or of TLS as its cause."""
        url, body = request.url, request.body
        if url.origin != self._url.origin:
            raise Unsendable("This connection is for another origin.")
        head = _encode_head(request.method, url, tuple(request.headers.items()))
        head += b"\r\ncontent-length: %d\r\n\r\n" % len(body) if body else b"\r\n\r\n"
        await self._room.acquire()
        try:
            return await self._exchange(head, body, connect_timeout)
        except BaseException:
            self._room.release()
            raise

    async def aclose(self) -> None:
        """End all connections, without TLS's close_notify: there is no reader left."""
        for connection in self._open:
            connection.abort()
        self._idle.clear()

    async def _exchange(
        self, head: bytes, body: bytes, connect_timeout: float | None
    ) -> HTTP11Response:
        kept = self._take_idle()
        if kept is not None:
            response = kept.send(head, body)
            try:
                return await response.read_head()
            except ConnectionBroken as error:
                if response.begun:
                    raise
                # Its server may have forgotten the others too: the next request takes a new one.
                self._drop_idle()
                raise StaleConnection(str(error)) from error.__cause__
        connection = await self._connect(connect_timeout)
        if connection.is_closed():
            # uvloop raises an error for writing to it, and asyncio writes to nowhere.
            raise ConnectionBroken("the server closed the connection without a response")
        return await connection.send(head, body).read_head()

    async def _connect(self, seconds: float | None) -> Connection:
        opened: list[socket.socket] = []
        # Cancelled, asyncio may lose a socket that has just been connected: it is left to end.
        connecting = asyncio.get_running_loop().create_task(self._open_connection(opened, seconds))
        try:
            is_done = await is_done_within(connecting, seconds)
        except asyncio.CancelledError:
            connecting.add_done_callback(_abort_when_done)
            raise
        if not is_done:
            connecting.add_done_callback(_abort_when_done)
            raise (NoHandshake if opened else ConnectTimeout)("no connection in time")
        try:
            return connecting.result()
        except OSError as error:
            raise NetworkError(str(error)) from error

    async def _open_connection(
        self, opened: list[socket.socket], seconds: float | None
    ) -> Connection:
        """A connection; `opened` gets its socket before TLS begins."""
        url, path = self._url, self._unix_socket
        opened.append(await (open_socket(url.host, url.port) if path is None else open_unix(path)))
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(self),
            sock=opened[0],
            ssl=self._tls,
            server_hostname=url.host if self._tls else None,
            # By default an abandoned handshake stays open for a minute.
            ssl_handshake_timeout=seconds + 1 if self._tls and seconds else None,
        )
        return connection

    def _take_idle(self) -> Connection | None:
        if not self._idle:
            return None
        oldest = asyncio.get_running_loop().time() - KEEP_ALIVE
        while self._idle:
            since, connection = self._idle.pop()
            if since > oldest and connection.is_idle():
                return connection
            connection.abort()
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop()[1].abort()

    def release(self, connection: Connection, *, reusable: bool) -> None:
        """The response on `connection` is closed; `reusable`: it was read to its end, and another
        may follow."""
        self._room.release()
        if not reusable:
            connection.abort()
            return
        now = connection.loop.time()
        self._idle.append((now, connection))
        while len(self._idle) > MAX_IDLE or self._idle[0][0] <= now - KEEP_ALIVE:
            self._idle.popleft()[1].abort()

    def opened(self, connection: Connection) -> None:
        """`connection` is open, and has to end with this pool."""
        self._open.add(connection)

    def lost(self, connection: Connection) -> None:
        """`connection` has ended."""
        self._open.discard(connection)


def _abort_when_done(connecting: asyncio.Task[Connection]) -> None:
    """End a connection that comes when its request has given up."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().abort()
