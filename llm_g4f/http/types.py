"""One HTTP request and its response, whoever carries them, and how that can fail.

    NetworkError            no response, or not the whole of one
    ├── ConnectTimeout      no connection in time
    ├── ProxyError          the proxy's own refusal
    ├── ProxyUnreachable    no connection on the way to a proxy
    ├── ProxyUnusable       the proxy's URL is none
    ├── ConnectionBroken    it ended before the response did
    ├── NotHTTP             what came is no HTTP
    ├── NotEncoded          the body is not compressed as its head says
    └── Unsendable          the request cannot be written as HTTP/1.1

httpx says all of this too, but importing it takes longer than an answer from nearby.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct

_PORTS = {"http": 80, "https": 443}

_PLAIN = re.compile(
    r"https?://[a-z0-9.:\[\]-]+(?:/(?!\.)[\w~!$&'()*+,;=:@-][\w.~!$&'()*+,;=:@-]*)*/?", re.ASCII
).fullmatch


class NetworkError(Exception):
    """The exchange failed; its cause may be the operating system's error, or TLS's."""


class ConnectTimeout(NetworkError):
    """There was no connection in time: name, TCP and TLS together."""


class ProxyError(NetworkError):
    """The proxy answered, and did not let the request through."""


class ProxyUnreachable(NetworkError):
    """The connection failed on the way to a proxy, not to the server."""


class ProxyUnusable(NetworkError):
    """The proxy's URL is none that can be used."""


class ConnectionBroken(NetworkError):
    """The connection ended before the response did."""


class NotHTTP(NetworkError):
    """What came is no HTTP/1.1, or no good one."""


class NotEncoded(NetworkError):
    """The body is not compressed as its head says."""


class Unsendable(NetworkError):
    """The request cannot be written as HTTP/1.1."""


class URL(Struct, frozen=True):
    """A URL in the pieces of a request, all of them ASCII. `authority` is the Host header: the host,
    and the port where it is not the scheme's own."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"


@lru_cache(maxsize=64)
def target(url: str) -> URL:
    """The pieces of an http:// or https:// URL. Raises `ValueError` where it is none."""
    if not _PLAIN(url):
        # Other characters, percent signs and dot segments have rules of their own.
        import httpx

        try:
            url = str(httpx.URL(url))
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ValueError(f"{error}") from None
    parts = urlsplit(url)
    usual = _PORTS.get(parts.scheme)
    host = parts.hostname
    if usual is None or not host:
        raise ValueError("not an HTTP URL")
    port = parts.port or usual
    authority = f"[{host}]" if ":" in host else host
    if port != usual:
        authority += f":{port}"
    path = parts.path or "/"
    return URL(
        parts.scheme, host, port, authority, f"{path}?{parts.query}" if parts.query else path
    )


class Request(Struct, frozen=True):
    """What is asked. The names in `headers` are lower case. The way adds Content-Length, and Host where
    it is not among them."""

    method: str
    target: URL
    headers: Mapping[str, str]
    body: bytes = b""


class Response(Protocol):
    """What came back: its head, and the body's bytes as an async iterator, as they were sent.

    Header names are lower case; of several with one name the values are joined by ", ". Iterating
    raises `NetworkError`. It has to be closed (`aclose`), which ends the exchange.
    """

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class Transport(Protocol):
    """What carries requests. `send` gives the response with its head read, and raises
    `NetworkError`; `connect` are the seconds in which there has to be a connection."""

    async def send(self, request: Request, connect: float | None = None) -> Response: ...

    async def aclose(self) -> None: ...
