"""httpx, for what `pool` does not do: proxies, a client that a caller brings (httpx2's too),
compressed bodies, and everything where httptools is missing."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import Callable
from typing import Any

import httpx

from ..asyncgen import ManagedAsyncGen
from ..event_loops import within
from .names import addresses_of
from .proxies import Proxy
from .types import (
    URL,
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
    StaleConnection,
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


_ENDED = ("closed connection", "disconnected", "ConnectionTerminated")
"""Words of h11, httpcore and h2 for a connection that the server has ended."""

_NO_HTTP = ("illegal status line", "illegal request line")
"""How h11's messages about a first line begin that is none of HTTP's (its _readers.py)."""


def _raised_by(*names: str) -> tuple[type[Exception], ...]:
    """The exceptions of these names in httpx, and in httpx2 where it is in use."""
    libraries = [httpx, *([sys.modules["httpx2"]] if "httpx2" in sys.modules else [])]
    return tuple(getattr(library, name) for library in libraries for name in names)


_CONNECTS = frozenset(("connect_tcp.started", "connect_unix_socket.started"))
_PROXY_WORKS = frozenset(("connect_tcp.complete", "setup_socks5_connection.started"))
_PROXY_DONE = frozenset(("start_tls.started", "setup_socks5_connection.complete"))
"""Phases of httpcore's trace: those in which a connection begins, and those between which a proxy opens
one to the server."""

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
    """A `Transport`. `close` ends our own; a caller's client is the caller's to close."""

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
        trace = _Trace(url, connect_timeout, self._proxy, is_own=self._close is not None)
        try:
            made = self._build(
                request.method,
                f"{url.origin}{url.path}",
                headers=dict(request.headers),
                content=request.body or None,
            )
            made.extensions["trace"] = trace
            if connect_timeout is not None:
                made.extensions["timeout"] = {"connect": connect_timeout}
            async with trace.limit:
                response = await self._send(made)
        except Exception as error:
            if (ours := _connecting_error(error, trace) or network_error(error)) is None:
                raise
            if isinstance(ours, ConnectionBroken) and trace.is_kept:
                # Perhaps with the beginning of a head: httpcore does not tell.
                ours = StaleConnection(str(ours))
            raise ours from error
        if response.status_code == 407 and trace.proxy is not None:
            await response.aclose()
            raise ProxyError("HTTP 407", trace.proxy)
        return _HttpxResponse(response)

    async def aclose(self) -> None:
        if self._close is not None:
            await self._close()


class _Trace:
    """What httpcore's trace tells of one request.

    `phase` is how far its connection is, `proxy` what names the proxy on the way. `limit` ends the
    wait for a proxy. `is_own`: the client is none of the caller's.
    """

    def __init__(
        self, url: URL, connect_timeout: float | None, proxy: str | None, *, is_own: bool
    ) -> None:
        self._url = url
        self._connect_timeout = connect_timeout
        self._is_own = is_own
        self._connects = False
        self.phase = ""
        self.proxy = proxy
        self.limit = asyncio.timeout(None)

    @property
    def is_kept(self) -> bool:
        """Whether the connection is one of an earlier request. Not every transport has a trace."""
        return bool(self.phase) and not self._connects

    async def __call__(self, event: str, info: Any) -> None:
        # "connection." or "socks.", the operation, how far it is.
        self.phase = phase = event.partition(".")[2]
        if phase in _CONNECTS:
            self._connects = True
        if phase == "connect_tcp.started":
            host, port = info["host"], info["port"]
            if self.proxy is None and (host, port) != (self._url.host, self._url.port):
                self.proxy = "http_client"
            if self._is_own:
                await self._look_up(host, port)
        elif self.proxy is not None and self._connect_timeout is not None:
            self._limit_proxy(self._connect_timeout)

    async def _look_up(self, host: str, port: int) -> None:
        """Look up a name before httpcore does, whose thread would be waited for at exit if the resolver
        hangs. Raises `ConnectTimeout`."""
        try:
            await within(self._connect_timeout, addresses_of(host, port))
        except TimeoutError:
            raise ConnectTimeout("no connection in time") from None
        except (OSError, UnicodeError):
            # Httpcore finds the same, and says it.
            pass

    def _limit_proxy(self, seconds: float) -> None:
        """Limit the wait for a proxy: httpcore has no limit for it."""
        phase = self.phase
        if phase in _PROXY_WORKS and (self._url.scheme == "https" or "socks" in phase):
            self.limit.reschedule(asyncio.get_running_loop().time() + seconds)
        elif phase in _PROXY_DONE:
            self.limit.reschedule(None)


def _connecting_error(error: Exception, trace: _Trace) -> NetworkError | None:
    """The error for a connection that failed in a phase of httpcore's trace, where httpx's own does
    not tell enough."""
    phase, proxy = trace.phase, trace.proxy
    if phase.startswith("start_tls.") and isinstance(error, _raised_by("ConnectTimeout")):
        return NoHandshake(str(error))
    if proxy is None:
        return None
    if isinstance(error, TimeoutError):
        return ProxySilent(str(error), proxy)
    # An address that the system cannot use, such as port 99999, is no error of httpx.
    if phase == "connect_tcp.failed" or isinstance(
        error, (ConnectTimeout, *_raised_by("ConnectError", "ConnectTimeout"))
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

    complete = False

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
        try:
            return await anext(self._pieces)
        except Exception as error:
            if (ours := network_error(error)) is None:
                raise
            raise ours from error

    async def aclose(self) -> None:
        self._closed = True
        await asyncio.shield(self._response.aclose())

    def abandon(self) -> None:
        if not self._closed:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self.aclose()))


def network_error(error: BaseException) -> NetworkError | None:
    """An error of httpx as ours; None for one of another origin."""
    if not isinstance(error, _raised_by("HTTPError", "StreamError", "InvalidURL")):
        return None
    words, names = str(error), {kind.__name__ for kind in type(error).__mro__}
    if "RemoteProtocolError" in names:
        # One class for an early end, for what is malformed and for what is no HTTP at all.
        if any(how in words for how in _ENDED):
            return ConnectionBroken(words)
        return NotHTTP(words, is_http=not words.startswith(_NO_HTTP))
    return next((ours for theirs, ours in _ERRORS if theirs in names), NetworkError)(words)
