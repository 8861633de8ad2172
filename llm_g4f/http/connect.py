"""HTTP connections: one pool per event loop, closed when its loop ends.

The pool lives as long as the loop, so that connections are reused between calls and a
client that is never closed still leaves nothing open behind it: `asyncio.run` closes
asynchronous generators that are still suspended (`loop.shutdown_asyncgens`), and one of
those is what closes the pool.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import weakref
from collections.abc import AsyncGenerator
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from .types import URL, Request, Response, Transport

if TYPE_CHECKING:
    from .pool import ConnectionPool

CONNECT_TIMEOUT = 5.0
"""Seconds to reach a provider. All other waiting is the router's to bound: it sees tokens, not bytes."""


class Network(Struct, frozen=True):
    """How to reach an origin: `ca_file` besides the system's certificates; a proxy for http://
    and one for https:// origins, instead of what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say."""

    ca_file: str | None = None
    http_proxy: str | None = None
    https_proxy: str | None = None


@lru_cache(maxsize=8)
def _tls(ca_file: str | None, cert_file: str | None, cert_dir: str | None) -> ssl.SSLContext:
    if cert_file or cert_dir:
        context = ssl.create_default_context(cafile=cert_file, capath=cert_dir)
    else:
        context = _system_tls()
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _system_tls() -> ssl.SSLContext:
    """A context that trusts whom the system trusts."""
    if sys.platform == "linux":
        context = ssl.create_default_context()
        if context.cert_store_stats()["x509_ca"]:
            # What truststore would do too, but anew for every connection: 20 ms each.
            return context
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _Pool:
    def __init__(self) -> None:
        self.ways: dict[tuple[Network, str], Transport] = {}
        self._closer = self._close_at_end()

    async def _close_at_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for way in self.ways.values():
                await way.aclose()
            self.ways.clear()

    async def start(self) -> None:
        await anext(self._closer)


_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = weakref.WeakKeyDictionary()


async def send(network: Network, request: Request) -> Response:
    """The response to `request` with its head read, over the running loop's connections to its origin.

    No redirect is followed, no cookie kept. There is no time limit but the one for connecting.
    Raises `NetworkError`, and `OSError` for a `ca_file` that cannot be used.
    """
    way = await _way(network, request.target)
    return await way.send(request, CONNECT_TIMEOUT)


async def _way(network: Network, target: URL) -> Transport:
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None:
        pool = _pools[loop] = _Pool()
        await pool.start()
    origin = target.origin
    way = pool.ways.get((network, origin))
    if way is None:
        proxy = _proxy(network, target)
        own = _own() if proxy is None else None
        if own is not None and target.scheme == "http":
            way = own(target)
        else:
            # In a thread: certificates take 20 ms to load, and so does httpx.
            way = await asyncio.to_thread(_new_way, network, target, proxy, own)
        # Another task may have been faster.
        way = pool.ways.setdefault((network, origin), way)
    return way


def _own() -> type[ConnectionPool] | None:
    """Our own way; None where httptools is missing."""
    try:
        from .pool import ConnectionPool
    except ImportError:
        return None
    return ConnectionPool


def _new_way(
    network: Network, target: URL, proxy: str | None, own: type[ConnectionPool] | None
) -> Transport:
    context = None
    if proxy is not None or target.scheme == "https":
        context = _tls(
            network.ca_file, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        )
    if own is not None:
        return own(target, context)
    from .httpx_transport import over_transport

    return over_transport(context, proxy)


def _proxy(network: Network, target: URL) -> str | None:
    """The proxy on the way to `target`, by the rules of urllib, which know the system's settings too."""
    from urllib.request import getproxies, proxy_bypass

    given = network.https_proxy if target.scheme == "https" else network.http_proxy
    if given is not None:
        return given
    proxies = getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(target.host) or proxy_bypass(target.authority):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
