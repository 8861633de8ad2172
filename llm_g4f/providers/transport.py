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
import weakref
from collections.abc import AsyncGenerator
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import httpx

__all__ = ["Network", "http_client"]

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
        import truststore

        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file:
        context.load_verify_locations(cafile=ca_file)
    return context


class ProxyUnusable(OSError):
    """The proxy's URL is none that httpx can use."""


class _Pool:
    def __init__(self) -> None:
        self.clients: dict[tuple[Network, bool], httpx.AsyncClient] = {}
        self._closer = self._close_at_end()

    async def _close_at_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for client in self.clients.values():
                await client.aclose()
            self.clients.clear()

    async def start(self) -> None:
        await anext(self._closer)


_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = weakref.WeakKeyDictionary()


async def http_client(network: Network, *, tls: bool) -> httpx.AsyncClient:
    """The running loop's client for `network`; `tls` False for http:// origins.

    Redirects are not followed, and there is no time limit but the one for connecting.
    """
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None:
        pool = _pools[loop] = _Pool()
        await pool.start()
    client = pool.clients.get((network, tls))
    if client is None:
        try:
            client = await asyncio.to_thread(_new_client, network, tls)
        except (ValueError, ImportError) as error:
            # ImportError: a SOCKS proxy, for which httpx wants another package.
            raise ProxyUnusable(str(error)) from None
        # Another task may have been faster.
        client = pool.clients.setdefault((network, tls), client)
    return client


def _new_client(network: Network, tls: bool) -> httpx.AsyncClient:
    import httpx

    proxy = network.https_proxy if tls else network.http_proxy
    if tls or proxy or _has_proxy():
        context = _tls(
            network.ca_file, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
        )
    else:
        # Loading certificates takes 20 ms. Where no TLS is spoken, a context that trusts
        # nobody does as well, and would still be safe if TLS were spoken after all.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx.AsyncClient(
        verify=context,
        proxy=proxy,
        timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
        limits=httpx.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=100),
        follow_redirects=False,
        # No cookie is kept: it would tie calls together that have different keys.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


def _has_proxy() -> bool:
    return any(name.lower() in ("http_proxy", "all_proxy") for name in os.environ)
