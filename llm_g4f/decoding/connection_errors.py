"""Failures of the network as our errors."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterable, Iterator

from ..errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    InvalidResponseError,
    Reason,
    TruncatedStreamError,
)
from ..http.types import (
    CertificatesUnusable,
    ConnectionBroken,
    ConnectTimeout,
    NoHandshake,
    NotEncoded,
    NotHTTP,
    ProxyError,
    ProxySilent,
    ProxyUnreachable,
    ProxyUnusable,
    StaleConnection,
    UnknownCoding,
)
from ..safe_text import clean
from .error_context import ErrorContext

FILE_LIMIT = (errno.EMFILE, errno.ENFILE)
TOO_MANY_FILES = "too many open files on this machine. Raise the limit (ulimit -n 4096), or ask for less at once."


def connection_error(context: ErrorContext, error: Exception) -> APIConnectionError:
    """The error for a request that got no HTTP response."""
    reason, message = _diagnosis(context, error)
    kind = APITimeoutError if reason == "timeout" else APIConnectionError
    return kind(message, provider=context.provider, model=context.model, reason=reason)


def proxy_error(context: ErrorContext, words: str) -> APIConnectionError:
    """The error for a proxy that does not let the request through; `words` are its own."""
    return APIConnectionError(
        _proxy_sentence(context, words),
        provider=context.provider,
        model=context.model,
        reason="proxy",
    )


def body_error(context: ErrorContext, error: Exception) -> APIError:
    """The error for a body that cannot be read to its end."""
    if isinstance(error, UnknownCoding):
        coding = clean(context.without_key(str(error)), 80)
        return InvalidResponseError(
            f'{context.provider} compressed its answer as "{coding}", although identity was asked for'
            " (Content-Encoding). Ask another provider.",
            provider=context.provider,
            model=context.model,
        )
    if isinstance(error, NotHTTP):
        words = clean(context.without_key(str(error)), 200)
        cause = f"the answer broke off: what follows is not valid HTTP ({words})"
    elif isinstance(error, NotEncoded):
        cause = "the answer cannot be decompressed: its Content-Encoding is wrong"
    else:
        cause = "the connection broke off in the middle of the answer"
    return TruncatedStreamError(
        f"{context.provider}: {cause}. Ask again, or ask another provider.",
        provider=context.provider,
        model=context.model,
    )


def _diagnosis(context: ErrorContext, error: Exception) -> tuple[Reason, str]:
    where = f"{context.provider} ({context.origin})"
    words = clean(context.without_key(str(error))).rstrip(".") or type(error).__name__
    causes = list(_causes(error))
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if (trouble := _own_trouble(error, words, causes)) is not None:
        reason, what = trouble
        return reason, f"{where} was not asked: {what}"
    if isinstance(error, StaleConnection):
        what = "closed a connection kept from an earlier request, without an answer to this one"
        return "stale_connection", f"{where} {what}. Ask again."
    if isinstance(error, NoHandshake):
        advice = "If that port speaks http, base_url must begin with http://."
        return "timeout", f"{where} accepted the connection and did not answer in TLS. {advice}"
    if isinstance(error, ConnectTimeout):
        advice = "Check the network and the address."
        return "timeout", f"{where} did not accept a connection in time. {advice}"
    if isinstance(error, ProxyError):
        return "proxy", _proxy_sentence(context, words, error.source)
    if tls is not None:
        why = getattr(tls, "verify_message", "") or tls.reason or str(tls)
        why = clean(str(why)).rstrip(".")
        return "tls", f"{where}: no trustworthy TLS connection: {why}. {_tls_advice(tls)}"
    if isinstance(error, ProxyUnreachable):
        advice = f"Check {error.source}{_exceptions(error.source)}."
        what = "cannot be reached"
        if isinstance(error, ProxySilent):
            what = "accepted the connection and did not answer"
        return "proxy", f"The proxy on the way to {where} {what}. {advice}"
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        advice = "Check the network and the address."
        return "connection", f"{where}: the host name cannot be resolved. {advice}"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "connection", f"{where} refuses connections. Is the server running there?"
    if isinstance(error, (NotHTTP, ConnectionBroken)):
        return "connection", f"{where} {_not_http(context, error, words)}"
    return "connection", f"{where}: the connection failed: {words}. Try again."


def _own_trouble(
    error: Exception, words: str, causes: Iterable[BaseException]
) -> tuple[Reason, str] | None:
    """What kept the request on this machine; None if nothing did."""
    if any(isinstance(cause, OSError) and cause.errno in FILE_LIMIT for cause in causes):
        return "this_machine", TOO_MANY_FILES
    if isinstance(error, CertificatesUnusable):
        advice = "It must name certificates of authorities that are trusted."
        return "this_machine", f"{words}. {advice}"
    if isinstance(error, ProxyUnusable):
        return "proxy", f"{words}."
    return None


def _not_http(context: ErrorContext, error: NotHTTP | ConnectionBroken, words: str) -> str:
    if isinstance(error, NotHTTP) and error.is_http:
        advice = "Ask another provider, or tell the administrator of the server."
        return f"sent an invalid HTTP response ({words}). {advice}"
    if isinstance(error, ConnectionBroken):
        # Its wording depends on the bytes that were read before the end.
        words = "the server closed the connection without a response"
    # A server that does not speak HTTP, or ends before its response, may speak TLS.
    advice = "Is it the address of an API?"
    if context.origin.startswith("http:"):
        advice = "If it speaks TLS, base_url must begin with https://."
    return f"did not answer in HTTP: {words}. {advice}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and everything that caused it, members of groups included."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        cause = pending.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [cause.__cause__, cause.__context__]
        if isinstance(cause, BaseExceptionGroup):
            pending.extend(cause.exceptions)


def _proxy_sentence(context: ErrorContext, words: str, source: str = "HTTPS_PROXY") -> str:
    verb = "cannot" if re.search(r"\b50\d\b", words) else "refused to"
    advice = f"Check {source}{_exceptions(source)}, or ask the administrator of the proxy."
    if "407" in words:
        advice = (
            f"It requires a user name and password: put them into {source}"
            " (http://NAME:PASSWORD@HOST:PORT)."
        )
    return f"The proxy {verb} reach {context.provider} ({context.origin}): {words}. {advice}"


def _exceptions(source: str) -> str:
    """Where exceptions from a proxy stand, as the end of a list; only the environment has any."""
    return " and NO_PROXY" if source.lower().endswith("_proxy") else ""


def _tls_advice(error: ssl.SSLError) -> str:
    """What to do about an untrusted TLS connection; the numbers are OpenSSL's X509_V_ERR."""
    code = getattr(error, "verify_code", 0)
    if code in (62, 64):
        return "The certificate is for another host: check base_url."
    if code in (9, 10):
        return "Tell the administrator of the server, or check the clock of this machine."
    if not code:
        return "Does the server speak TLS? If not, base_url must begin with http://."
    return (
        "If your network has a certificate authority of its own, name it with SSL_CERT_FILE or"
        " ca_file."
    )
