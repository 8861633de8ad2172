"""Failures of the network as our errors."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

from ..errors import (
    APIConnectionError,
    APITimeoutError,
    TruncatedStreamError,
    clean,
)
from ..http.types import (
    ConnectionBroken,
    ConnectTimeout,
    NotEncoded,
    NotHTTP,
    ProxyError,
    ProxyUnreachable,
    ProxyUnusable,
)
from .error_context import ErrorContext


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it came from, groups included."""
    todo: list[BaseException | None] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            todo.extend(one.exceptions)


def _refused_by_proxy(place: ErrorContext, words: str) -> APIConnectionError:
    verb = "cannot" if re.search(r"\b50\d\b", words) else "refused to"
    error = APIConnectionError(
        f"The proxy {verb} reach {place.provider} ({place.origin}): {words}."
        + (
            " It wants a user name and password: put them into HTTPS_PROXY"
            " (http://NAME:PASSWORD@HOST:PORT)."
            if "407" in words
            else " Check HTTPS_PROXY and NO_PROXY, or ask whoever runs it."
        ),
        provider=place.provider,
        model=place.model,
    )
    error.final = True
    return error


def connection_error(place: ErrorContext, error: Exception) -> APIConnectionError:
    """The error for a request that never got an HTTP answer."""

    def made(
        kind: type[APIConnectionError], message: str, *, final: bool = False
    ) -> APIConnectionError:
        made = kind(message, provider=place.provider, model=place.model)
        made.final = final
        return made

    causes = list(_causes(error))
    where = f"{place.provider} ({place.origin})"
    words = clean(place.without_key(str(error))).rstrip(".") or type(error).__name__
    if isinstance(error, ConnectTimeout):
        return made(
            APITimeoutError,
            f"{where} did not accept a connection in time. Check the network and the address.",
        )
    if isinstance(error, ProxyUnusable):
        return made(
            APIConnectionError,
            f"{where}: the proxy cannot be used: {words}. Check HTTPS_PROXY or proxies.",
            final=True,
        )
    if isinstance(error, ProxyError):
        return _refused_by_proxy(place, words)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            why = getattr(cause, "verify_message", "") or cause.reason or str(cause)
            return made(
                APIConnectionError,
                f"{where}: no trustworthy TLS connection: {clean(str(why)).rstrip('.')}."
                f" {_tls_advice(cause)}",
                final=True,
            )
    if isinstance(error, ProxyUnreachable):
        return made(
            APIConnectionError,
            f"The proxy on the way to {where} cannot be reached. Check HTTPS_PROXY and NO_PROXY.",
            final=True,
        )
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return made(
                APIConnectionError,
                f"{where}: the host name cannot be resolved. Check the network and the address.",
            )
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return made(
            APIConnectionError, f"{where} refuses connections. Is the server running there?"
        )
    if isinstance(error, OSError) and error.filename:
        return made(APIConnectionError, f"{where}: {error.filename}: {error.strerror}.", final=True)
    if isinstance(error, (NotHTTP, ConnectionBroken)):
        if isinstance(error, ConnectionBroken):
            # How it is worded depends on what was read before the end.
            words = "the server closed the connection without a response"
        # What does not speak HTTP, or ends before it has answered, may speak TLS.
        secure = " If it speaks TLS, base_url begins with https://."
        return made(
            APIConnectionError,
            f"{where} did not answer in HTTP: {words}."
            + (secure if place.origin.startswith("http:") else " Is it the address of an API?"),
        )
    return made(APIConnectionError, f"{where}: the connection failed: {words}. Try again.")


def broken_off(place: ErrorContext, error: Exception) -> TruncatedStreamError:
    """The error for an answer whose head came, and whose body did not come whole."""
    if isinstance(error, NotHTTP):
        what = "the answer broke off: what came next is no HTTP"
    elif isinstance(error, NotEncoded):
        what = "the answer cannot be unpacked: it is not compressed as its head says"
    else:
        what = "the connection broke off in the middle of the answer"
    return TruncatedStreamError(
        f"{place.provider}: {what}.", provider=place.provider, model=place.model
    )


def _tls_advice(error: ssl.SSLError) -> str:
    """What to do about a TLS connection that cannot be trusted; the numbers are OpenSSL's X509_V_ERR."""
    code = getattr(error, "verify_code", 0)
    if code in (62, 64):
        return "The certificate is for another host: check base_url."
    if code in (9, 10):
        return "Tell whoever runs it, or check this machine's clock."
    if not code:
        return "Does it speak TLS there? If not, base_url begins with http://."
    return (
        "If your network has a certificate authority of its own, name it with SSL_CERT_FILE or"
        " ca_file."
    )
