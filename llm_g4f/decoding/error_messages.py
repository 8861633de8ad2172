"""A provider's HTTP errors as our errors, with a message for the person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import (
    APIError,
    clean,
    is_context_error,
    status_error,
)
from .connection_errors import _refused_by_proxy
from .error_bodies import Detail, detail_of
from .error_context import ErrorContext
from .retry_after import retry_after
from .text import parse_json


def http_error(
    place: ErrorContext,
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


def stream_failure(place: ErrorContext, data: Any) -> APIError:
    """The error for an error object that came under HTTP 200."""
    try:
        detail = detail_of(data)
    except RecursionError:
        detail = Detail()
    return _status_failure(place, detail.status or 500, detail, {})


def _status_failure(
    place: ErrorContext, status: int, detail: Detail, headers: Mapping[str, str], sent: int = 0
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
    place: ErrorContext,
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
        return f"{who} refused the key (HTTP 401){quoted}. {place.key_hint}".rstrip()
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
