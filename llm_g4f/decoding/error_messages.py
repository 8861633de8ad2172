"""A provider's HTTP errors as our errors, with a message for the person."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..errors import (
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    ContextLengthError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    Reason,
    UnprocessableEntityError,
)
from ..http.types import Response
from ..http_head import Headers, ResponseHead
from ..safe_text import clean
from .connection_errors import proxy_error
from .error_bodies import Detail, detail_of
from .error_context import ErrorContext
from .reasons import asks_for_https, parameter_of, reason_of
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
    headers = _without_key(context, headers)
    if status == 407:
        return proxy_error(context, "HTTP 407")
    try:
        detail = _detail(parse_json(body))
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace")
        is_page = "<" in text[:256] and not asks_for_https(text)
        detail = Detail("" if is_page else text)
    if status in (404, 405) and context.base_url and not _is_of_an_api(body):
        detail = replace(detail, codes=detail.codes | {"no_api"})
    error = _error(context, status, detail, headers, sent)
    error.set_response(ResponseHead(status, Headers(headers)), _public_body(context, body))
    return error


def invalid_response(context: ErrorContext, form: str, rest: str) -> InvalidResponseError:
    """The error for HTTP 200 without a completion in it."""
    return InvalidResponseError(
        f"{context.provider} ({context.origin}) sent {form} {rest}."
        " Is base_url the address of an OpenAI-compatible API?",
        provider=context.provider,
        model=context.model,
    )


def page_error(context: ErrorContext) -> InvalidResponseError:
    """The error for a web page under HTTP 200."""
    return InvalidResponseError(
        f"{no_api_at(context)} {context.provider} sent an HTML page in place of a completion.",
        provider=context.provider,
        model=context.model,
        summary="an HTML page",
    )


def no_api_at(context: ErrorContext) -> str:
    """The sentence about an address at which something else answers than an API."""
    url = context.base_url or context.origin
    advice = "base_url usually ends in /v1"
    if "/chat/completions" in url:
        advice += ", and never in /chat/completions"
    elif url.endswith("/v1"):
        advice = "check the host and the port in base_url"
    return f"Nothing at {url} speaks the API; {advice}."


def _without_key(context: ErrorContext, headers: Mapping[str, str]) -> dict[str, str]:
    return {name: context.without_key(value) for name, value in headers.items()}


def _is_of_an_api(body: bytes) -> bool:
    """Whether an error has OpenAI's form, or that of vLLM's older versions: a web framework does not
    know the address, while an API says what it does not have."""
    try:
        data = parse_json(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and (
        isinstance(data.get("error"), dict) or data.get("object") == "error"
    )


def _public_body(context: ErrorContext, body: bytes) -> Any:
    try:
        data = parse_json(body)
    except (ValueError, RecursionError):
        data = body.decode("utf-8", "replace") or None
    return _public(context, data)


def _public(context: ErrorContext, data: Any) -> Any:
    """What openai's client has as an error's `body`: the object under "error", else all of it, else
    the text; without the key."""
    return _redacted(context, data.get("error", data) if isinstance(data, dict) else data)


def _redacted(context: ErrorContext, data: Any, depth: int = 0) -> Any:
    """JSON without the key, also where it is text inside text; nothing that is nested deeper than
    any error is."""
    if depth > _DEEPEST:
        return None
    if isinstance(data, dict):
        return {
            context.without_key(name): _redacted(context, item, depth + 1)
            for name, item in data.items()
        }
    if isinstance(data, list):
        return [_redacted(context, item, depth + 1) for item in data]
    if not isinstance(data, str):
        return data
    if context.key is not None and "\\u" in data:
        # Escapes of JSON in a text hide a key from a search.
        data = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), data)
    return context.without_key(data)


_DEEPEST = 20
"""Levels of an error's `body`."""


def error_in_body(context: ErrorContext, data: Any, response: Response | None = None) -> APIError:
    """The error for one that came in a `response` under HTTP 200: a body, an event, or the error of a
    choice.

    Without a status its words tell whether the request is at fault, else the provider is.
    """
    try:
        detail = _detail(data)
    except (ValueError, RecursionError):
        detail = Detail()
    status = detail.meant_status or (400 if _reason(400, detail, detail.text) else 500)
    error = _error(context, status, detail, {})
    head = None
    if response is not None:
        head = ResponseHead(response.status, Headers(_without_key(context, response.headers)))
    error.set_response(head, _public(context, data))
    return error


def _reason(status: int, detail: Detail, words: str) -> Reason | None:
    parameter = parameter_of(detail.param, words)
    return reason_of(status, detail.code, words, parameter, detail.codes)


def _detail(data: Any) -> Detail:
    """What an error says; all of it, if its words stand in none of the known places."""
    detail = detail_of(data)
    unknown = not detail.text and isinstance(data, (dict, list)) and data
    return replace(detail, text=json.dumps(data, ensure_ascii=False)) if unknown else detail


_ABOUT_A_PARAMETER = frozenset({"parameter_unsupported", "parameter_renamed", "schema_unsupported"})


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
    shown = clean(words)
    reason = _reason(status, detail, words)
    rejected = reason in _ABOUT_A_PARAMETER
    param = parameter_of(detail.param, words) if rejected else detail.param
    param = context.without_key(param or "")
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
    context, status = failure.context, failure.status
    if 300 <= status < 400:
        return _redirect(failure)
    by_status = _SENTENCES.get(status, _FAILED if status >= 500 else _REJECTED)
    template = _SENTENCES_OF_REASONS.get(failure.reason or "unknown", by_status)
    if template is _BAD_KEY and context.no_key_hint:
        template = _NO_KEY
    if template is _NO_MODEL and not context.model:
        template = _NO_API
    wait = failure.retry_after
    hint = context.key_hint
    return template.format(
        provider=context.provider,
        model=context.model,
        origin=context.origin,
        hint=f"{hint[:1].upper()}{hint[1:]}." if hint else "",
        no_key_hint=context.no_key_hint,
        no_api=no_api_at(context),
        http=f"(HTTP {status}){failure.quoted}",
        size=f" of {failure.sent:,} bytes" if failure.sent else "",
        when=f"in {math.ceil(wait)} s" if wait else "later",
    ).rstrip()


_REJECTED = "{provider} rejected the request {http}. Change it, or ask another provider."
_FAILED = "{provider} failed {http}. Try again later."
_BAD_KEY = "{provider} rejected the key {http}. {hint}"
_NO_KEY = "{provider} wants a key: {no_key_hint} {http}."
_NO_API = "{no_api} {provider} answered {http}."
_LIMITED = "{provider} limits requests now {http}. Try again {when}."
_NO_MODEL = (
    '{provider} has no {model} at {origin} {http}. "llm g4f models {provider}" lists its models.'
)
_NO_CREDIT = "{provider} requires payment {http}. Add credit there, or ask another provider."
_SENTENCES = {
    401: _BAD_KEY,
    402: _NO_CREDIT,
    403: (
        "{provider} does not allow this request {http}. Your key may not cover this model, or not"
        " your region: ask there, or ask another provider."
    ),
    404: _NO_MODEL,
    408: "{provider} timed out {http}. Try again.",
    413: "The request{size} is too large for {provider} {http}. Send less.",
    429: _LIMITED,
}
_SENTENCES_OF_REASONS: dict[Reason, str] = {
    "tls": "{provider} speaks TLS at {origin}: base_url must begin with https://.",
    "invalid_key": _BAD_KEY,
    "model_gone": _NO_MODEL,
    "wrong_address": _NO_API,
    "rate_limited": _LIMITED,
    "out_of_credit": (
        "Your quota at {provider} is used up {http}. Add credit there, or ask another provider."
    ),
    "context_too_long": (
        "The prompt is longer than the context of {model} at {provider} {http}. Shorten it, or"
        " name a provider with a larger window."
    ),
}


def _redirect(failure: _Failure) -> str:
    provider, status = failure.context.provider, failure.status
    if not failure.location:
        return f"{provider} sent a redirect without an address (HTTP {status}). Check base_url."
    return (
        f"{provider} redirects to {failure.location} (HTTP {status}). Redirects are not followed:"
        " your prompt could go to another address. Set base_url to the address of the API."
    )


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

_BY_REASON: dict[Reason, type[APIStatusError]] = {
    "context_too_long": ContextLengthError,
    "invalid_key": AuthenticationError,
    "model_gone": NotFoundError,
    "wrong_address": NotFoundError,
    "rate_limited": RateLimitError,
}
"""The classes of what is said with another status than usual."""


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
        timed_out = APITimeoutError(message, provider=provider, model=model)
        timed_out.code, timed_out.param = code, param
        return timed_out
    kind = _BY_STATUS.get(status, InternalServerError if status >= 500 else APIStatusError)
    return _BY_REASON.get(reason or "unknown", kind)(
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
