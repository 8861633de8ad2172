"""What a server or the network says when it fails, as our errors.

Providers word their errors in many shapes: an object or a string under `error`, `message`
alone (vLLM), a list of objects (Gemini), `{title, detail}` (RFC 7807, NVIDIA), `detail`
as a list (FastAPI), a `message` that is an object (Mistral), a numeric `code` (OpenRouter).
"""

from __future__ import annotations

import json
import math
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from ..errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    TruncatedStreamError,
    clean,
    is_context_error,
    status_error,
)
from ..types import Secret
from .chunks import parse_json
from .exchange import (
    ConnectionBroken,
    ConnectTimeout,
    NotEncoded,
    NotHTTP,
    ProxyError,
    ProxyUnreachable,
    ProxyUnusable,
)

__all__ = [
    "Place",
    "broken_off",
    "connection_error",
    "detail_of",
    "http_error",
    "retry_after",
    "stream_failure",
]


class Place(Struct, frozen=True):
    """Where a failure happened, for its message. `advice` is what to do about a refused key; `key`
    is what no message may show."""

    provider: str
    model: str
    origin: str
    advice: str = ""
    key: Secret | None = None

    def without_key(self, text: str) -> str:
        """`text` as a server may have sent it, without the key that it echoes."""
        if self.key is None:
            return text
        key = self.key.reveal()
        # As it is, and as JSON, Python and URLs write it.
        for form in {key, json.dumps(key)[1:-1], repr(key)[1:-1], quote(key, safe=""), quote(key)}:
            text = text.replace(form, "…")
        return text


class Detail(Struct, frozen=True):
    """What an error body says: the text, its code, the parameter it is about, its HTTP status if it
    names one, and the seconds after which to come back."""

    text: str = ""
    code: str | None = None
    param: str | None = None
    status: int | None = None
    delay: float | None = None


def detail_of(data: Any) -> Detail:
    """The words in the parsed JSON of an error."""
    if isinstance(data, list):
        return detail_of(data[0]) if data else Detail()
    if isinstance(data, str):
        return Detail(data)
    if not isinstance(data, dict):
        return Detail()
    error = data.get("error", data)
    if isinstance(error, str):
        error = {"message": error, "code": data.get("code")}
    if not isinstance(error, dict):
        return Detail()
    code = error.get("code") or error.get("type") or error.get("status")
    return Detail(
        _words(error.get("message") or error.get("detail") or error.get("title")),
        str(code) if isinstance(code, (str, int)) and not isinstance(code, bool) else None,
        param if isinstance(param := error.get("param"), str) and param.isidentifier() else None,
        _status(error.get("code")) or _status(error.get("status")),
        _gemini_delay(error.get("details")),
    )


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(filter(None, map(_words, value[:3])))
    if isinstance(value, dict):
        return _words(value.get("message") or value.get("msg") or value.get("detail"))
    return ""


def _status(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"[1-5][0-9][0-9]", value):
        value = int(value)
    return value if isinstance(value, int) and 300 <= value <= 599 else None


def _gemini_delay(details: Any) -> float | None:
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(delay := detail.get("retryDelay"), str):
            return _seconds(delay.removesuffix("s"))
    return None


def _seconds(text: str) -> float | None:
    """A duration a server may ask for: 0 to a year, ASCII digits, nothing clever."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return None
    value = float(text)
    return value if value <= 366 * 86400 else None


_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _reset(text: str) -> float | None:
    """The duration forms of x-ratelimit-reset-*: "17", "7.66s", "2m59.56s", "120ms"."""
    plain = _seconds(text)
    if plain is not None:
        return plain
    if not re.fullmatch(r"([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h|d))+", text):
        return None
    parts = re.findall(r"([0-9.]+)(ms|s|m|h|d)", text)
    value = sum(float(number) * _UNIT[unit] for number, unit in parts)
    return value if value <= 366 * 86400 else None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds until the server wants to be asked again, from its headers; None if it does not say.

    `retry-after-ms`, `Retry-After` as seconds or as an HTTP date, `x-ratelimit-reset-*` of
    the limits that are used up. NaN, infinity, negatives, non-ASCII digits and absurd values
    count as not said. `now` is the Unix time.
    """
    if (value := headers.get("retry-after-ms")) is not None:
        seconds = _seconds(value.strip())
        if seconds is not None:
            return seconds / 1000
    if (value := headers.get("retry-after")) is not None:
        seconds = _seconds(value.strip())
        if seconds is not None:
            return seconds
        if value.isascii():
            try:
                at = parsedate_to_datetime(value).timestamp()
            except (ValueError, TypeError, OverflowError):
                at = math.nan
            until = at - (time.time() if now is None else now)
            if until <= 366 * 86400:
                return max(0.0, until)
    waits = [
        wait
        for kind in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{kind}", "").strip() == "0"
        and (wait := _reset(headers.get(f"x-ratelimit-reset-{kind}", "").strip())) is not None
    ]
    return max(waits, default=None)


def http_error(
    place: Place,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    sent: int = 0,
) -> APIError:
    """The error for an HTTP answer with a status other than 2xx; `sent` is the request's size in bytes."""
    headers = {name: place.without_key(value) for name, value in headers.items()}
    if status == 407:
        return _refused_by_proxy(place, "HTTP 407")
    try:
        detail = detail_of(parse_json(body))
    except (ValueError, RecursionError):
        detail = Detail("" if b"<" in body[:256] else body.decode("utf-8", "replace"))
    return _status_failure(place, status, detail, headers, sent)


def stream_failure(place: Place, data: Any) -> APIError:
    """The error for an error object that came under HTTP 200."""
    try:
        detail = detail_of(data)
    except RecursionError:
        detail = Detail()
    return _status_failure(place, detail.status or 500, detail, {})


def _status_failure(
    place: Place, status: int, detail: Detail, headers: Mapping[str, str], sent: int = 0
) -> APIError:
    wait = retry_after(headers) if detail.delay is None else detail.delay
    # Before it is cut: half a key is a key's half.
    text, code = place.without_key(detail.text), place.without_key(detail.code or "")
    param = place.without_key(detail.param or "")
    said = clean(text)
    request_id = headers.get("x-request-id")
    return status_error(
        status,
        _sentence(place, status, said, wait, headers, sent, code),
        provider=place.provider,
        model=place.model,
        detail=text,
        code=clean(code, 80) if code else None,
        param=clean(param, 80) if param else None,
        request_id=clean(request_id, 80) if request_id else None,
        retry_after=wait,
    )


def _sentence(
    place: Place,
    status: int,
    said: str,
    wait: float | None,
    headers: Mapping[str, str],
    sent: int,
    code: str,
) -> str:
    who = place.provider
    quoted = f': "{said}"' if said else ""
    if 300 <= status < 400:
        target = clean(headers.get("location", ""), 120)
        if not target:
            return f"{who} sent no answer (HTTP {status}). Is base_url where its API is?"
        return (
            f"{who} redirects to {target} (HTTP {status}), which is not followed: it could take"
            " your prompt to another address. Set base_url to where the API is."
        )
    if status == 401:
        return f"{who} refused the key (HTTP 401){quoted}. {place.advice}".rstrip()
    if status == 402:
        return f"{who} wants payment (HTTP 402){quoted}. Add credit there, or ask another provider."
    if status == 403:
        return (
            f"{who} does not allow this request (HTTP 403){quoted}. Your key may not be for this"
            " model, or not for where you are: ask there, or another provider."
        )
    if status == 404:
        return (
            f"{who} has no {place.model} at {place.origin} (HTTP 404){quoted}."
            f' "llm g4f models {who}" lists what it has.'
        )
    if status == 408:
        return f"{who} timed out (HTTP 408){quoted}. Try again."
    if status == 413:
        return f"{who} finds the request of {sent:,} bytes too large (HTTP 413){quoted}. Send less."
    if status == 429:
        if code == "insufficient_quota":
            return (
                f"Your quota at {who} is used up (HTTP 429){quoted}. Add credit there, or ask another"
                " provider."
            )
        when = f" Try again in {math.ceil(wait)} s." if wait else " Try again later."
        return f"{who} takes no more requests for now (HTTP 429){quoted}.{when}"
    if status >= 500:
        return f"{who} failed (HTTP {status}){quoted}. Try again later."
    if is_context_error(code, said):
        return (
            f"The prompt is longer than the context of {place.model} at {who} (HTTP {status}){quoted}."
            " Shorten it, or name a provider with a larger window."
        )
    return f"{who} rejected the request (HTTP {status}){quoted}."


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


def _refused_by_proxy(place: Place, words: str) -> APIConnectionError:
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


def connection_error(place: Place, error: Exception) -> APIConnectionError:
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


def broken_off(place: Place, error: Exception) -> TruncatedStreamError:
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
