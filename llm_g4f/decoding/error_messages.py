"""A provider's HTTP errors as our errors, with a message for the person."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from ..errors import (
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContextLengthError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    Reason,
    UnprocessableEntityError,
)
from ..safe_text import clean
from .connection_errors import proxy_error
from .error_bodies import Detail, detail_of
from .error_context import ErrorContext
from .reasons import reason_of
from .retry_after import retry_after
from .text import parse_json


def http_error(
    context: ErrorContext,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    sent: int = 0,
) -> APIError:
    """The error for an HTTP status other than 2xx; `sent` is the size of the request in bytes."""
    headers = {name: context.without_key(value) for name, value in headers.items()}
    if status == 407:
        return proxy_error(context, "HTTP 407")
    try:
        detail = detail_of(parse_json(body))
    except (ValueError, RecursionError):
        detail = Detail("" if b"<" in body[:256] else body.decode("utf-8", "replace"))
    return _error(context, status, detail, headers, sent)


def error_in_body(context: ErrorContext, data: Any) -> APIError:
    """The error for an error object that came under HTTP 200."""
    try:
        detail = detail_of(data)
    except RecursionError:
        detail = Detail()
    return _error(context, detail.status or 500, detail, {})


class _Failure(Struct, frozen=True):
    """What the sentence of an error is made of. `quoted` are the provider's words, or ""."""

    context: ErrorContext
    status: int
    reason: Reason | None
    quoted: str
    retry_after: float | None
    location: str
    sent: int


def _error(
    context: ErrorContext, status: int, detail: Detail, headers: Mapping[str, str], sent: int = 0
) -> APIError:
    wait = retry_after(headers) if detail.delay is None else detail.delay
    # Redact before truncating: half a key is still part of a key.
    words, code = context.without_key(detail.text), context.without_key(detail.code or "")
    param = context.without_key(detail.param or "")
    shown = clean(words)
    reason = reason_of(status, code, words)
    request_id = headers.get("x-request-id")
    location = clean(headers.get("location", ""), 120)
    quoted = f': "{shown}"' if shown else ""
    failure = _Failure(context, status, reason, quoted, wait, location, sent)
    return status_error(
        status,
        _sentence(failure),
        provider=context.provider,
        model=context.model,
        detail=words,
        code=clean(code, 80) if code else None,
        param=clean(param, 80) if param else None,
        request_id=clean(request_id, 80) if request_id else None,
        retry_after=wait,
        reason=reason,
    )


def _sentence(failure: _Failure) -> str:
    """What happened, where, and what to do."""
    provider, status, quoted = failure.context.provider, failure.status, failure.quoted
    http = f"(HTTP {status}){quoted}"
    if 300 <= status < 400:
        return _redirect(failure)
    if status == 401:
        return f"{provider} rejected the key {http}. {failure.context.key_hint}".rstrip()
    if status == 404:
        return (
            f"{provider} has no {failure.context.model} at {failure.context.origin} {http}."
            f' "llm g4f models {provider}" lists its models.'
        )
    if status == 413:
        return (
            f"The request of {failure.sent:,} bytes is too large for {provider} {http}. Send less."
        )
    if status == 429:
        return _rate_limit(failure)
    if status >= 500:
        return f"{provider} failed {http}. Try again later."
    if failure.reason == "context_too_long":
        return (
            f"The prompt is longer than the context of {failure.context.model} at {provider} {http}."
            " Shorten it, or name a provider with a larger window."
        )
    template = _SENTENCES.get(status, "{provider} rejected the request {http}.")
    return template.format(provider=provider, http=http)


_SENTENCES = {
    402: "{provider} requires payment {http}. Add credit there, or ask another provider.",
    403: (
        "{provider} does not allow this request {http}. Your key may not cover this model, or not"
        " your region: ask there, or ask another provider."
    ),
    408: "{provider} timed out {http}. Try again.",
}


def _redirect(failure: _Failure) -> str:
    provider, status = failure.context.provider, failure.status
    if not failure.location:
        return f"{provider} sent a redirect without an address (HTTP {status}). Check base_url."
    return (
        f"{provider} redirects to {failure.location} (HTTP {status}). Redirects are not followed:"
        " your prompt could go to another address. Set base_url to the address of the API."
    )


def _rate_limit(failure: _Failure) -> str:
    provider, quoted = failure.context.provider, failure.quoted
    if failure.reason == "out_of_credit":
        return (
            f"Your quota at {provider} is used up (HTTP 429){quoted}. Add credit there, or ask"
            " another provider."
        )
    wait = failure.retry_after
    advice = f"Try again in {math.ceil(wait)} s." if wait else "Try again later."
    return f"{provider} limits requests now (HTTP 429){quoted}. {advice}"


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: BadRequestError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def status_error(
    status: int,
    message: str,
    *,
    provider: str,
    model: str,
    detail: str = "",
    code: str | None = None,
    param: str | None = None,
    request_id: str | None = None,
    retry_after: float | None = None,
    reason: Reason | None = None,
) -> APIError:
    """The error for HTTP `status`; `message` is for the person, `detail` and `code` are the provider's words."""
    if status == 408:
        return APITimeoutError(message, provider=provider, model=model)
    kind = _BY_STATUS.get(status, InternalServerError if status >= 500 else APIStatusError)
    if reason == "context_too_long":
        kind = ContextLengthError
    return kind(
        message,
        provider=provider,
        model=model,
        status_code=status,
        code=code,
        detail=clean(detail),
        param=param,
        request_id=request_id,
        retry_after=retry_after,
        reason=reason,
    )
