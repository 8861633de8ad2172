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

if TYPE_CHECKING:
    import httpx

__all__ = ["Network", "ProxyUnusable", "send"]

CONNECT_TIMEOUT = 5.0
"""Seconds to reach a provider. All other waiting is the router's to bound: it sees tokens, not bytes."""

_MAX_CONNECTIONS = 1_000


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


class ProxyUnusable(OSError):
    """The proxy's URL is none that httpx can use."""


class _Pool:
    def __init__(self) -> None:
        self.ways: dict[tuple[Network, str], httpx.AsyncBaseTransport] = {}
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


async def send(network: Network, origin: str, request: httpx.Request) -> httpx.Response:
    """The response to `request` with its head read, over the running loop's connections to `origin`.

    Nothing is added to the request: no redirect is followed, no cookie kept. There is no time
    limit but the one for connecting. Raises `httpx.TransportError` and `OSError`.
    """
    way = await _way(network, origin)
    request.extensions["timeout"] = {"connect": CONNECT_TIMEOUT}
    return await way.handle_async_request(request)


async def _way(network: Network, origin: str) -> httpx.AsyncBaseTransport:
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None:
        pool = _pools[loop] = _Pool()
        await pool.start()
    way = pool.ways.get((network, origin))
    if way is None:
        # In a thread: certificates take 20 ms to load.
        way = await asyncio.to_thread(_new_way, network, origin)
        # Another task may have been faster.
        way = pool.ways.setdefault((network, origin), way)
    return way


def _new_way(network: Network, origin: str) -> httpx.AsyncBaseTransport:
    import httpx

    url = httpx.URL(origin)
    proxy = _proxy(network, url)
    context = None
    if proxy is not None or url.scheme == "https":
        context = _tls(
            network.ca_file, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        )
    if proxy is None:
        try:
            from .wire import Wire
        except ImportError:
            # No httptools: httpx's own transport parses with h11.
            pass
        else:
            return Wire(url, context)
    from .stock import Stock

    try:
        transport = httpx.AsyncHTTPTransport(
            # Where no TLS is spoken, a context that trusts nobody does as well, and would still
            # be safe if TLS were spoken after all.
            verify=context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            limits=httpx.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=100),
            proxy=proxy,
        )
    except (ValueError, ImportError) as error:
        # ImportError: a SOCKS proxy, for which httpx wants another package.
        raise ProxyUnusable(str(error)) from None
    return Stock(transport.handle_async_request, transport.aclose)


def _proxy(network: Network, url: httpx.URL) -> str | None:
    """The proxy on the way to `url`, by the rules of urllib, which know the system's settings too."""
    from urllib.request import getproxies, proxy_bypass

    given = network.https_proxy if url.scheme == "https" else network.http_proxy
    if given is not None:
        return given
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.host) or proxy_bypass(url.netloc.decode("ascii")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
