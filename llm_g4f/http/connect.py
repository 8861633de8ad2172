"""HTTP connections: one set of transports for each event loop, closed when its loop ends.

The set lives as long as the loop, so that connections are reused between calls and a client
that is never closed leaves nothing open: `asyncio.run` closes asynchronous generators that are
still suspended (`loop.shutdown_asyncgens`), and one of those closes the transports.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
import sys
from collections.abc import AsyncGenerator, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from ..event_loops import loop_local
from .proxies import Proxy, environment_proxy
from .types import URL, CertificatesUnusable, Request, Response, StaleConnection, Transport

if TYPE_CHECKING:
    import httpx

    from .pool import ConnectionPool

CONNECT_TIMEOUT = 5.0
"""Seconds to connect to a provider. The router bounds all other waiting: it sees tokens, not bytes."""


class Network(Struct, frozen=True):
    """How to reach an origin. `ca_file` is trusted besides the system's certificates. `http_proxy`
    and `https_proxy` are URLs of proxies, in place of HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
    `unix_socket` is the path of a socket to connect to in place of the host, over no proxy."""

    ca_file: str | None = None
    http_proxy: str | None = None
    https_proxy: str | None = None
    unix_socket: str | None = None


_HASHED = re.compile(r"[0-9a-f]{8}\.\d+").fullmatch
"""The name that OpenSSL looks a certificate up by in a folder (its manual, "openssl-rehash")."""


@lru_cache(maxsize=8)
def _tls_context(
    ca_file: str | None, cert_file: str | None, cert_dir: str | None
) -> ssl.SSLContext:
    """Raises `CertificatesUnusable`."""
    if cert_dir:
        _check_folder(cert_dir)
    if cert_file or cert_dir:
        with _naming("SSL_CERT_FILE", cert_file):
            context = ssl.create_default_context(cafile=cert_file, capath=cert_dir)
    else:
        context = _system_tls_context()
    if ca_file:
        with _naming("ca_file", ca_file):
            context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextlib.contextmanager
def _naming(source: str, path: str | None) -> Iterator[None]:
    """Errors of OpenSSL name neither the file nor who named it."""
    try:
        yield
    except ssl.SSLError:
        raise CertificatesUnusable(f"{source}: {path} has no certificate in PEM form") from None
    except OSError as error:
        raise CertificatesUnusable(f"{source}: {path}: {error.strerror}") from error


def _check_folder(folders: str) -> None:
    """OpenSSL passes over a folder that is missing, or has no certificate by the names it looks for."""
    for folder in folders.split(os.pathsep):
        with contextlib.suppress(OSError):
            if any(_HASHED(file.name) for file in Path(folder).iterdir()):
                return
    raise CertificatesUnusable(
        f'SSL_CERT_DIR: {folders} has no certificate ("openssl rehash" names them as OpenSSL does)'
    )


def _system_tls_context() -> ssl.SSLContext:
    """A context that trusts the certificate authorities of the system."""
    if sys.platform == "linux":
        context = ssl.create_default_context()
        if context.cert_store_stats()["x509_ca"]:
            # truststore does the same, but anew for every connection: 20 ms each.
            return context
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _LoopTransports:
    """The transports of one event loop, by network and origin."""

    def __init__(self) -> None:
        self.by_origin: dict[tuple[Network, str], Transport] = {}
        self._closer = self._close_at_end()
        self.is_started = False

    async def _close_at_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for transport in self.by_origin.values():
                await transport.aclose()
            self.by_origin.clear()

    async def start(self) -> None:
        self.is_started = True
        await anext(self._closer)


async def send(network: Network, request: Request, transport: Transport | None = None) -> Response:
    """The response to `request` with its head read, over the running loop's connections to its
    origin, or over a caller's `transport`; its body is decompressed.

    No redirect is followed, no cookie kept. The only time limit is that for connecting, which a
    caller's transport sets itself. A GET is sent again where a kept connection ended without an answer.
    Raises `NetworkError`.
    """
    seconds = request.connect_timeout
    if transport is None:
        transport = await _transport(network, request.url)
        seconds = seconds or CONNECT_TIMEOUT
    try:
        response = await transport.send(request, seconds)
    except StaleConnection:
        # A GET does the same when it comes twice: RFC 9110, section 9.2.2.
        if request.method != "GET":
            raise
        response = await transport.send(request, seconds)
    if response.is_encoded:
        from .content_coding import DecodedResponse

        return DecodedResponse(response)
    return response


async def _transport(network: Network, url: URL) -> Transport:
    transports = loop_local("_llm_g4f_transports", _LoopTransports)
    if not transports.is_started:
        await transports.start()
    place = network, url.origin
    transport = transports.by_origin.get(place)
    if transport is None:
        transport = await _make_transport(network, url)
        # Another task may have been faster.
        transport = transports.by_origin.setdefault(place, transport)
    return transport


async def _make_transport(network: Network, url: URL) -> Transport:
    proxy = _proxy(network, url)
    pool = _pool_class() if proxy is None else None
    if pool is not None and url.scheme == "http":
        return pool(url, unix_socket=network.unix_socket)
    # In a thread: certificates take 20 ms to load, and so does httpx.
    return await asyncio.to_thread(_load_transport, network, url, proxy, pool)


def _pool_class() -> type[ConnectionPool] | None:
    """Our own HTTP/1.1; None where httptools is missing."""
    try:
        from .pool import ConnectionPool
    except ImportError:
        return None
    return ConnectionPool


def _load_transport(
    network: Network, url: URL, proxy: Proxy | None, pool: type[ConnectionPool] | None
) -> Transport:
    context = _tls_context_for(network, url, proxy)
    if pool is not None:
        return pool(url, context)
    from .httpx_transport import over_transport

    return over_transport(context, proxy, network.unix_socket)


def _tls_context_for(network: Network, url: URL, proxy: Proxy | None) -> ssl.SSLContext | None:
    if proxy is None and url.scheme != "https":
        return None
    return _tls_context(
        network.ca_file, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    )


def httpx_client(network: Network, url: URL) -> httpx.AsyncClient:
    """A client of httpx on the way that `send` takes to `url`'s origin, for a library that needs one.
    It follows no redirect. Raises `NetworkError`."""
    import httpx

    from .httpx_transport import make_transport

    proxy = _proxy(network, url)
    transport = make_transport(_tls_context_for(network, url, proxy), proxy, network.unix_socket)
    return httpx.AsyncClient(transport=transport, follow_redirects=False, trust_env=False)


def _proxy(network: Network, url: URL) -> Proxy | None:
    if network.unix_socket is not None:
        return None
    given = network.https_proxy if url.scheme == "https" else network.http_proxy
    return environment_proxy(url) if given is None else Proxy(given, "proxies=")
