"""httpx, for what `pool` does not do: proxies, a client that a caller brings (httpx2's too),
compressed bodies, and everything where httptools is missing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from ..asyncgen import ManagedAsyncGen
from .proxies import Proxy
from .types import (
    ConnectionBroken,
    ConnectTimeout,
    NetworkError,
    NoHandshake,
    NotHTTP,
    ProxyError,
    ProxySilent,
    ProxyUnreachable,
    ProxyUnusable,
    Request,
    Response,
    Transport,
    Unsendable,
)

_LIMITS = httpx.Limits(max_connections=1_000, max_keepalive_connections=100)

_ERRORS: tuple[tuple[str, type[NetworkError]], ...] = (
    ("TimeoutException", ConnectTimeout),
    ("ProxyError", ProxyError),
    ("ReadError", ConnectionBroken),
    ("WriteError", ConnectionBroken),
    ("LocalProtocolError", Unsendable),
)
"""By name, since httpx2 has them too."""


_NO_HTTP = ("illegal status line", "illegal request line")
"""How h11's messages about a first line begin that is none of HTTP's (its _readers.py)."""


def _raised_by(*names: str) -> tuple[type[Exception], ...]:
    """The exceptions of these names in httpx, and in httpx2 where it is in use."""
    libraries = [httpx, *([sys.modules["httpx2"]] if "httpx2" in sys.modules else [])]
    return tuple(getattr(library, name) for library in libraries for name in names)


_PROXY_WORKS = frozenset(("connect_tcp.complete", "setup_socks5_connection.started"))
_PROXY_DONE = frozenset(("start_tls.started", "setup_socks5_connection.complete"))
"""Phases of httpcore's trace between which a proxy opens a connection to the server."""

Send = Callable[[Any], Any]


def over_transport(
    context: ssl.SSLContext | None, proxy: Proxy | None, unix_socket: str | None = None
) -> Transport:
    """Httpx's own transport, with a pool of its own. Raises `ProxyUnusable`."""
    transport = make_transport(context, proxy, unix_socket)
    source = proxy.source if proxy else None
    return _HttpxTransport(
        httpx.Request, transport.handle_async_request, transport.aclose, proxy=source
    )


def make_transport(
    context: ssl.SSLContext | None, proxy: Proxy | None, unix_socket: str | None = None
) -> httpx.AsyncHTTPTransport:
    """The same as httpx has it. Raises `ProxyUnusable`."""
    try:
        return httpx.AsyncHTTPTransport(
            # Without TLS, a context that trusts no authority does as well, and would still be
            # safe if TLS were spoken after all.
            verify=context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            limits=_LIMITS,
            proxy=None if proxy is None else proxy.url,
            uds=unix_socket,
        )
    except ImportError:
        assert proxy is not None
        needs = "is a SOCKS proxy, which needs socksio: pip install 'httpx[socks]'"
        raise ProxyUnusable(f"{proxy.source} {needs}", proxy.source) from None
    except (ValueError, httpx.InvalidURL):
        # The error of httpx may show the password, or a part of it.
        assert proxy is not None
        form = "is an invalid proxy URL: write http://HOST:PORT or socks5://HOST:PORT"
        raise ProxyUnusable(f"{proxy.source} {form}", proxy.source) from None


def over_client(client: Any) -> Transport:
    """A caller's client, of httpx or httpx2, with its owner's settings but for redirects: none is
    followed."""

    async def send(request: Any) -> Any:
        return await client.send(request, stream=True, follow_redirects=False)

    return _HttpxTransport(client.build_request, send)


class _HttpxTransport:
    """`send`, with one free retry where a kept connection turns out to be closed: its server has not
    read the request."""

    def __init__(
        self,
        build: Callable[..., Any],
        send: Send,
        close: Callable[[], Any] | None = None,
        proxy: str | None = None,
    ) -> None:
        self._build = build
        self._send = send
        self._close = close
        self._proxy = proxy

    async def send(self, request: Request, connect_timeout: float | None = None) -> Response:
        """The response with its head read. Raises `NetworkError`."""
        url = request.url
        kept, phase, proxy = True, "", self._proxy
        limit = asyncio.timeout(None)

        async def trace(event: str, info: Any) -> None:
            nonlocal kept, phase, proxy
            # "connection." or "socks.", the operation, how far it is.
            phase = event.partition(".")[2]
            if phase == "connect_tcp.started":
                kept = False
                if proxy is None and (info["host"], info["port"]) != (url.host, url.port):
                    proxy = "http_client"
            # Httpcore waits for a proxy without a limit.
            elif proxy is not None and connect_timeout is not None:
                if phase in _PROXY_WORKS and (url.scheme == "https" or "socks" in phase):
                    limit.reschedule(asyncio.get_running_loop().time() + connect_timeout)
                elif phase in _PROXY_DONE:
                    limit.reschedule(None)

        with our_errors():
            made = self._build(
                request.method,
                f"{url.origin}{url.path}",
                headers=dict(request.headers),
                content=request.body or None,
            )
            made.extensions["trace"] = trace
            if connect_timeout is not None:
                made.extensions["timeout"] = {"connect": connect_timeout}
            try:
                try:
                    async with limit:
                        response = await self._send(made)
                except _raised_by("RemoteProtocolError", "ReadError", "WriteError"):
                    if not kept or not request.may_resend:
                        raise
                    response = await self._send(made)
            except Exception as error:
                if (ours := _connecting_error(error, phase, proxy)) is None:
                    raise
                raise ours from error
        if response.status_code == 407 and proxy is not None:
            await response.aclose()
            raise ProxyError("HTTP 407", proxy)
        return _HttpxResponse(response)

    async def aclose(self) -> None:
        if self._close is not None:
            await self._close()


def _connecting_error(error: Exception, phase: str, proxy: str | None) -> NetworkError | None:
    """The error for a connection that failed in a phase of httpcore's trace, where httpx's own does
    not tell enough; `proxy` is what names the proxy on the way."""
    if phase.startswith("start_tls.") and isinstance(error, _raised_by("ConnectTimeout")):
        return NoHandshake(str(error))
    if proxy is None:
        return None
    if isinstance(error, TimeoutError):
        return ProxySilent(str(error), proxy)
    # An address that the system cannot use, such as port 99999, is no error of httpx.
    if phase == "connect_tcp.failed" or isinstance(
        error, _raised_by("ConnectError", "ConnectTimeout")
    ):
        return ProxyUnreachable(str(error), proxy)
    if isinstance(error, _raised_by("ProxyError")):
        return ProxyError(str(error), proxy)
    # What socksio raises for an answer that is not SOCKS, httpx lets through.
    if type(error).__module__.startswith("socksio"):
        return ProxyError("its answer is not SOCKS", proxy)
    return None


class _HttpxResponse:
    """A response of httpx or httpx2 as a `Response`. Closing takes turns of the loop and is not
    cancelled in between."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._loop = asyncio.get_running_loop()
        self.status = response.status_code
        self.headers = response.headers
        self.is_encoded = "content-encoding" in response.headers
        self.request_id: str | None = response.headers.get("x-request-id")
        self._pieces = ManagedAsyncGen(aiter(response.stream))
        self._closed = False

    def __aiter__(self) -> _HttpxResponse:
        return self

    async def __anext__(self) -> bytes:
        with our_errors():
            return await anext(self._pieces)

    async def aclose(self) -> None:
        self._closed = True
        await asyncio.shield(self._response.aclose())

    def abandon(self) -> None:
        if not self._closed:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.aclose()))


@contextlib.contextmanager
def our_errors() -> Iterator[None]:
    """Turn errors of httpx and httpx2 into `NetworkError`."""
    try:
        yield
    except _raised_by("HTTPError", "StreamError", "InvalidURL") as error:
        raise network_error(error) from error


def network_error(error: BaseException) -> NetworkError:
    """An error of httpx or httpx2 as one of ours."""
    words, names = str(error), {kind.__name__ for kind in type(error).__mro__}
    if "RemoteProtocolError" in names:
        # h11 has one class for an early end, for what is malformed and for what is no HTTP at all.
        if "closed connection" in words or "disconnected" in words:
            return ConnectionBroken(words)
        return NotHTTP(words, is_http=not words.startswith(_NO_HTTP))
    return next((ours for theirs, ours in _ERRORS if theirs in names), NetworkError)(words)
