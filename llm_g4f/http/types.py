"""One HTTP request and its response, whatever carries them, and how that can fail.

    NetworkError            no response, or an incomplete one
    ├── ConnectTimeout      no connection in time
    │   └── NoHandshake     a connection, and no TLS on it in time
    ├── ProxyFailure
    │   ├── ProxyError          the proxy refused
    │   ├── ProxyUnreachable    no connection on the way to a proxy
    │   └── ProxyUnusable       invalid or unsupported proxy URL
    ├── CertificatesUnusable    no authorities in the file or folder that is named
    ├── ConnectionBroken    the connection ended before the response did
    │   └── StaleConnection     a kept one, without a byte of the response
    ├── NotHTTP             invalid HTTP
    ├── NotEncoded          the body does not match its Content-Encoding
    │   └── UnknownCoding       a coding that is not decompressed
    └── Unsendable          the request cannot be written as HTTP/1.1

httpx has these too, but importing it takes longer than an answer from nearby.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct

_DEFAULT_PORTS = {"http": 80, "https": 443}

_PLAIN = re.compile(
    r"https?://[a-z0-9.:\[\]-]+(?:/(?!\.)[\w~!$&'()*+,;=:@-][\w.~!$&'()*+,;=:@-]*)*/?", re.ASCII
).fullmatch


class NetworkError(Exception):
    """The exchange failed; its cause may be an error of the operating system or of TLS."""


class ConnectTimeout(NetworkError):
    """No connection in time: name, TCP and TLS together."""


class NoHandshake(ConnectTimeout):
    """The server accepted the connection, and did not answer in TLS in time."""


class ProxyFailure(NetworkError):
    """A proxy is in the way. `source` is what names it: a variable, or `proxies=`."""

    def __init__(self, words: str, source: str = "HTTPS_PROXY") -> None:
        super().__init__(words)
        self.source = source


class ProxyError(ProxyFailure):
    """The proxy answered, and did not let the request through."""


class ProxyUnreachable(ProxyFailure):
    """The connection failed on the way to a proxy, not to the server."""


class ProxySilent(ProxyUnreachable):
    """The proxy accepted the connection, and did not open one to the server in time."""


class ProxyUnusable(ProxyFailure):
    """Invalid or unsupported proxy URL."""


class CertificatesUnusable(NetworkError):
    """A file or folder of certificate authorities is missing or has none."""


class ConnectionBroken(NetworkError):
    """The connection ended before the response did."""


class StaleConnection(ConnectionBroken):
    """A connection that was kept from an earlier request ended without a byte of the response: its
    server may have closed it before it read the request, or may have read it."""


class NotHTTP(NetworkError):
    """Invalid or unsupported HTTP/1.1. `is_http`: it begins as HTTP does, so its server speaks that."""

    def __init__(self, message: str, *, is_http: bool = False) -> None:
        super().__init__(message)
        self.is_http = is_http


class NotEncoded(NetworkError):
    """The body does not match its Content-Encoding."""


class UnknownCoding(NotEncoded):
    """The body has a Content-Encoding that is not decompressed; the message is its name."""


class Unsendable(NetworkError):
    """The request cannot be written as HTTP/1.1."""


class URL(Struct, frozen=True):
    """The parts of a URL that a request needs, all ASCII. `authority` is the Host header: the host,
    and the port unless it is the scheme's default. `origin` is scheme://authority."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str
    origin: str


@lru_cache(maxsize=64)
def parse_url(url: str) -> URL:
    """The parts of an http:// or https:// URL. Raises `ValueError` for anything else."""
    if not _PLAIN(url):
        # Other characters, percent signs and dot segments have rules of their own.
        import httpx

        try:
            url = str(httpx.URL(url))
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ValueError(f"{error}") from None
    parts = urlsplit(url)
    default_port = _DEFAULT_PORTS.get(parts.scheme)
    host = parts.hostname
    if default_port is None or not host:
        raise ValueError("not an HTTP URL")
    port = parts.port or default_port
    authority = f"[{host}]" if ":" in host else host
    if port != default_port:
        authority += f":{port}"
    path = parts.path or "/"
    if parts.query:
        path += f"?{parts.query}"
    return URL(parts.scheme, host, port, authority, path, f"{parts.scheme}://{authority}")


class Request(Struct, frozen=True):
    """One HTTP request. Header names are lower case. The transport adds Content-Length, and Host
    where it is missing. `connect_timeout` is in seconds; None: the usual one."""

    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes = b""
    connect_timeout: float | None = None


class Response(Protocol):
    """The head of a response, and its body as an async iterator of bytes, as they were sent.

    Header names are lower case; values of one name are joined by ", ". `is_encoded`: the body has
    a Content-Encoding. `request_id` is its x-request-id. `complete`: all of the body has arrived, so
    that iterating waits for nothing; False also where that is unknown. Iterating raises
    `NetworkError`. `aclose` ends the exchange, and is required. `abandon` is for a finalizer: it may
    be called from any thread, does not wait, and may be called after the loop is closed.
    """

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def is_encoded(self) -> bool: ...

    @property
    def request_id(self) -> str | None: ...

    @property
    def complete(self) -> bool: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None: ...

    def abandon(self) -> None: ...


class Transport(Protocol):
    """Carries requests. `send` returns the response with its head read, and raises `NetworkError`:
    `StaleConnection` where a kept connection ended after the request was written.
    `connect_timeout` is in seconds, for name, TCP and TLS together."""

    async def send(self, request: Request, connect_timeout: float | None = None) -> Response: ...

    async def aclose(self) -> None: ...
