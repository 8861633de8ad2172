"""Certificates for servers on loopback, by an authority of the tests' own."""

from __future__ import annotations

import datetime as dt
import ssl
from functools import lru_cache

import trustme


@lru_cache
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, *names: str, begin: int = -1, end: int = 1) -> ssl.SSLContext:
    """A context for a server with a certificate for `names`, valid from and to these days from now."""
    days = [dt.datetime.now(dt.UTC) + dt.timedelta(days=day) for day in (begin, end)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = authority.issue_cert(*names or ("127.0.0.1",), not_before=days[0], not_after=days[1])
    issued.configure_cert(context)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A context for a client that trusts `authority`."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
