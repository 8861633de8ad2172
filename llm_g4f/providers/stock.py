"""httpx's own transport, and a client that a caller brings: with what `wire` does besides sending."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

__all__ = ["ProxyUnreachable", "Stock"]

_PORTS = {"http": 80, "https": 443}


class ProxyUnreachable(httpx.ConnectError):
    """The connection failed on the way to a proxy, not to the server."""


class Stock(httpx.AsyncBaseTransport):
    """`send`, with one free retry where a kept connection turns out to be closed: its server has not
    read the request. Raises `ProxyUnreachable`, and what `send` raises."""

    def __init__(
        self,
        send: Callable[[httpx.Request], Awaitable[httpx.Response]],
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._send = send
        self._close = close

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        target = (url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])
        kept, proxied = True, False

        async def trace(event: str, info: Any) -> None:
            nonlocal kept, proxied
            if event == "connection.connect_tcp.started":
                kept = False
                proxied = (info["host"], info["port"]) != target

        request.extensions["trace"] = trace
        try:
            try:
                response = await self._send(request)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if not kept:
                    raise
                response = await self._send(request)
        except httpx.ConnectError as error:
            if proxied:
                raise ProxyUnreachable(str(error)) from error
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Shielded(response.stream)
        return response

    async def aclose(self) -> None:
        if self._close is not None:
            await self._close()


class _Shielded(httpx.AsyncByteStream):
    """A stream whose closing takes turns of the loop, and is not cancelled in between."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)

    async def aclose(self) -> None:
        await asyncio.shield(self._stream.aclose())
