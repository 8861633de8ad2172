"""httpx, for what `wire` does not do: proxies, a client that a caller brings, compressed bodies, and
everything where httptools is missing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from .types import (
    ConnectionBroken,
    ConnectTimeout,
    NetworkError,
    NotEncoded,
    NotHTTP,
    ProxyError,
    ProxyUnreachable,
    ProxyUnusable,
    Request,
    Response,
    Transport,
    Unsendable,
)

_LIMITS = httpx.Limits(max_connections=1_000, max_keepalive_connections=100)

_KINDS: tuple[tuple[type[Exception], type[NetworkError]], ...] = (
    (httpx.TimeoutException, ConnectTimeout),
    (httpx.ProxyError, ProxyError),
    (httpx.ReadError, ConnectionBroken),
    (httpx.WriteError, ConnectionBroken),
    (httpx.LocalProtocolError, Unsendable),
    (httpx.DecodingError, NotEncoded),
)

Send = Callable[[httpx.Request], Any]


def over_transport(context: ssl.SSLContext | None, proxy: str | None) -> Transport:
    """Httpx's own transport, with a pool of its own. Raises `ProxyUnusable`."""
    try:
        transport = httpx.AsyncHTTPTransport(
            # Where no TLS is spoken, a context that trusts nobody does as well, and would still
            # be safe if TLS were spoken after all.
            verify=context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            limits=_LIMITS,
            proxy=proxy,
        )
    except (ValueError, ImportError) as error:
        # ImportError: a SOCKS proxy, for which httpx wants another package.
        raise ProxyUnusable(str(error)) from None
    return _HttpxTransport(httpx.Request, transport.handle_async_request, transport.aclose)


def over_client(client: httpx.AsyncClient) -> Transport:
    """A caller's client, with what its owner has set but for redirects: none is followed."""

    async def send(request: httpx.Request) -> httpx.Response:
        return await client.send(request, stream=True, follow_redirects=False)

    return _HttpxTransport(client.build_request, send)


class _HttpxTransport:
    """`send`, with one free retry where a kept connection turns out to be closed: its server has not
    read the request."""

    def __init__(
        self,
        build: Callable[..., httpx.Request],
        send: Send,
        close: Callable[[], Any] | None = None,
    ) -> None:
        self._build = build
        self._send = send
        self._close = close

    async def send(self, request: Request, connect: float | None = None) -> Response:
        """The response with its head read. Raises `NetworkError`."""
        target = request.target
        kept, proxied = True, False

        async def trace(event: str, info: Any) -> None:
            nonlocal kept, proxied
            if event == "connection.connect_tcp.started":
                kept = False
                proxied = (info["host"], info["port"]) != (target.host, target.port)

        with _as_ours():
            made = self._build(
                request.method,
                f"{target.origin}{target.path}",
                headers=dict(request.headers),
                content=request.body or None,
            )
            made.extensions["trace"] = trace
            if connect is not None:
                made.extensions["timeout"] = {"connect": connect}
            try:
                try:
                    response = await self._send(made)
                except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                    if not kept:
                        raise
                    response = await self._send(made)
            except httpx.ConnectError as error:
                if proxied:
                    raise ProxyUnreachable(str(error)) from error
                raise
        return _Response(response)

    async def aclose(self) -> None:
        if self._close is not None:
            await self._close()


class _Response:
    """httpx's response as a `Response`, whose closing takes turns of the loop and is not cancelled in
    between."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = response.headers
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._pieces = aiter(response.stream)

    def __aiter__(self) -> _Response:
        return self

    async def __anext__(self) -> bytes:
        with _as_ours():
            return await anext(self._pieces)

    async def aclose(self) -> None:
        await asyncio.shield(self._response.aclose())


@contextmanager
def _as_ours() -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
        raise _kind(error)(str(error)) from error


def _kind(error: Exception) -> type[NetworkError]:
    if isinstance(error, httpx.RemoteProtocolError):
        # h11 has one class for an end too soon and for what is malformed.
        ended = "closed connection" in str(error) or "disconnected" in str(error)
        return ConnectionBroken if ended else NotHTTP
    return next((ours for theirs, ours in _KINDS if isinstance(error, theirs)), NetworkError)


async def unpacked(
    headers: Mapping[str, str], pieces: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    """A compressed body, by what its Content-Encoding says. Raises `NetworkError` where it is not so."""
    packed = httpx.Response(200, headers=headers, content=_slices(pieces))
    with _as_ours():
        async for data in packed.aiter_bytes():
            yield data


async def _slices(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """`pieces` in 4 KiB, which unpack to some MiB at most before anybody counts them."""
    async for data in pieces:
        for start in range(0, len(data), 4096):
            yield data[start : start + 4096]
