"""What can go wrong, as one tree. Names that OpenAI's client has mean the same here.

G4FError                       provider, model, receipt; a message a person can act on
├── ConfigError                g4f.yaml: file and line
├── NoProviderError            nobody can take this request: each provider and why
├── LedgerError                a batch's file of results: which, and what is wrong with it
├── ClusterError               a batch's Ray cluster: it is not there, or has stopped
└── APIError                   partial: the text that had arrived
    ├── APIConnectionError     DNS, refused, reset, TLS, proxy
    │   └── APITimeoutError    connect, first token, idle, total; 408
    ├── APIStatusError         status_code, request_id, retry_after; also 402 and 3xx
    │   ├── BadRequestError            400, 413
    │   │   └── ContextLengthError
    │   ├── AuthenticationError        401
    │   ├── PermissionDeniedError      403
    │   ├── NotFoundError              404
    │   ├── ConflictError              409
    │   ├── UnprocessableEntityError   422
    │   ├── RateLimitError             429
    │   └── InternalServerError        5xx
    ├── InvalidResponseError   HTML, not JSON, empty, not the exact model
    └── StreamError            an error inside a stream that had begun
        └── TruncatedStreamError
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .receipt import Receipt

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "ClusterError",
    "ConfigError",
    "ConflictError",
    "ContextLengthError",
    "G4FError",
    "InternalServerError",
    "InvalidResponseError",
    "LedgerError",
    "NoProviderError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "StreamError",
    "TruncatedStreamError",
    "UnprocessableEntityError",
    "status_error",
]

# C0 (but tab and newline), DEL and C1: a terminal may act on them. Bidirectional
# controls reorder what a person reads. Lone surrogates cannot be written at all.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str, limit: int = 300) -> str:
    """`text` made safe to print: at most `limit` characters, control characters escaped."""
    text = text.strip()[: limit + 1]
    if not (text.isascii() and text.isprintable()):
        text = _CONTROL.sub(_escaped, text)
    if len(text) > limit:
        text = text[: limit - 1].rstrip() + "…"
    return text


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"


class G4FError(Exception):
    """The root of everything this package raises.

    `str()` is the message, a line for each attempt where there was more than one, and the hint:
    what else could be done.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        receipt: Receipt | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.model = model
        self.receipt = receipt
        self.hint = ""

    def __str__(self) -> str:
        lines = [self.message]
        attempts = self.receipt.attempts if self.receipt else ()
        if len(attempts) > 1:
            lines.append("Tried:")
            # What stands above is not said again.
            lines += [f"  {attempt}".replace(f" ({self.message})", "") for attempt in attempts]
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)


class ConfigError(G4FError):
    """g4f.yaml cannot be used as it is; the message names the file and the line."""


class NoProviderError(G4FError):
    """Nobody can take this request; the message says why, and what to do."""


class LedgerError(G4FError):
    """A batch's file of results cannot be used; the message names it."""


class ClusterError(G4FError):
    """Ray cannot be used, or the cluster has failed; the message says what to do."""


class APIError(G4FError):
    """A provider was asked and did not answer. `partial` is the text that had arrived."""

    partial: str = ""


class APIConnectionError(APIError):
    """No HTTP answer: DNS, refused, reset, TLS, proxy.

    `final` is set where asking elsewhere is no remedy (TLS, proxy): the cause is
    between this machine and the network, and another provider would hide it.
    """

    final: bool = False


class APITimeoutError(APIConnectionError):
    """Too slow: connect, first token, idle or total; or the provider said 408."""


class APIStatusError(APIError):
    """The provider answered with an HTTP status other than 200.

    `retry_after` is in seconds; `code` and `detail` are the provider's own words for the error, and
    `param` is the parameter it complains of.
    """

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        receipt: Receipt | None = None,
        status_code: int | None = None,
        code: str | None = None,
        detail: str = "",
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, provider=provider, model=model, receipt=receipt)
        self.status_code = status_code
        self.code = code
        self.detail = detail
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after


class BadRequestError(APIStatusError):
    """The request itself is at fault (400, 413); nobody else is asked."""


class ContextLengthError(BadRequestError):
    """The prompt is longer than the model's context window."""


class AuthenticationError(APIStatusError):
    """The key was refused (401)."""


class PermissionDeniedError(APIStatusError):
    """The key is good, but not for this (403)."""


class NotFoundError(APIStatusError):
    """No such model or path at this provider (404)."""


class ConflictError(APIStatusError):
    """409."""


class UnprocessableEntityError(APIStatusError):
    """422."""


class RateLimitError(APIStatusError):
    """Too many requests, or the quota is used up (429)."""


class InternalServerError(APIStatusError):
    """The provider failed (5xx)."""


class InvalidResponseError(APIError):
    """HTTP 200 without a completion in it: HTML, not JSON, empty, not the exact model."""


class StreamError(APIError):
    """The stream had begun and then went wrong; `partial` holds the text so far."""


class TruncatedStreamError(StreamError):
    """The stream ended before the answer did."""


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

# Compiled when they are needed: the module is imported at every start of llm.
_CONTEXT = (
    r"(?i)context_length_exceeded|exceed_context_size|(maximum|available|exceeds the).{0,20} context"
    r"|context (length|window|size)|prompt is too long"
)


def is_context_error(code: str | None, detail: str) -> bool:
    """Whether a provider's words say that the prompt is too long for the model."""
    return re.search(_CONTEXT, f"{code} {detail}") is not None


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
) -> APIError:
    """The error for HTTP `status`; `message` is for the person, `detail` and `code` are the provider's words."""
    if status == 408:
        return APITimeoutError(message, provider=provider, model=model)
    kind = _BY_STATUS.get(status, InternalServerError if status >= 500 else APIStatusError)
    if kind is BadRequestError and is_context_error(code, detail):
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
    )
