"""All errors, as one tree. Names of OpenAI's client mean the same here.

G4FError                       provider, model, receipt, reason; a message a person can act on
├── ConfigError                g4f.yaml: file and line
├── NoProviderError            no provider can take this request: each one and why
├── LedgerError                the results file of a batch cannot be used
├── ClusterError               the Ray cluster of a batch is missing or has stopped
├── LengthFinishReasonError    parse() got an answer that was cut
├── ContentFilterFinishReasonError    parse() got an answer that was filtered
└── APIError                   partial: the text that had arrived
    ├── APIConnectionError     DNS, refused, reset, TLS, proxy
    │   └── APITimeoutError    connect, first token, idle, total; 408
    ├── APIStatusError         status_code, request_id, retry_after; also 402 and 3xx
    │   ├── BadRequestError            400, 413
    │   │   ├── ContextLengthError
    │   │   └── ArgumentError          also a TypeError
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

from typing import TYPE_CHECKING, Any, ClassVar

from .reason import SUMMARIES, Reason

if TYPE_CHECKING:
    from .http_head import ResponseHead
    from .receipt import Receipt
    from .types import ChatCompletion


__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "ArgumentError",
    "AuthenticationError",
    "BadRequestError",
    "ClusterError",
    "ConfigError",
    "ConflictError",
    "ContentFilterFinishReasonError",
    "ContextLengthError",
    "G4FError",
    "InternalServerError",
    "InvalidResponseError",
    "LedgerError",
    "LengthFinishReasonError",
    "NoProviderError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "Reason",
    "StreamError",
    "TruncatedStreamError",
    "UnprocessableEntityError",
]


class G4FError(Exception):
    """The root of everything this package raises.

    `str()` is the message, a line for each attempt where there was more than one, and the hint:
    what else could be done. `reason` is a code: one of `Reason` for an `APIError`.
    """

    reason: str = "error"

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        receipt: Receipt | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.model = model
        self.receipt = receipt
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.message]
        attempts = self.receipt.attempts if self.receipt else ()
        if len(attempts) > 1:
            lines.append("Tried:")
            lines += [f"  {attempt.line(self.message)}" for attempt in attempts]
        if self.hint:
            lines.append(self.hint)
        return "\n".join(lines)


class ConfigError(G4FError):
    """g4f.yaml cannot be used as it is; the message names the file and the line."""

    reason = "invalid_config"


class NoProviderError(G4FError):
    """No provider can take this request; the message says why for each, and what to do."""

    reason = "no_provider"


class LedgerError(G4FError):
    """The results file of a batch cannot be used; the message names it."""

    reason = "results_file"


class ClusterError(G4FError):
    """Ray cannot be used, or the cluster has failed; the message says what to do."""

    reason = "cluster"


class APIError(G4FError):
    """A provider was asked and did not answer.

    `partial` is the text that had arrived, `reason` that of the class unless given, `summary` a few
    words. `body`, the error's JSON object, its `type`, `code` and `param` are the provider's, or None.
    """

    default_reason: ClassVar[Reason] = "unknown"
    body: Any = None
    type: str | None = None
    code: str | None = None
    param: str | None = None

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        receipt: Receipt | None = None,
        hint: str = "",
        reason: Reason | None = None,
        partial: str = "",
        summary: str = "",
    ) -> None:
        super().__init__(message, provider=provider, model=model, receipt=receipt, hint=hint)
        self.reason: Reason = reason or self.default_reason
        self.summary = summary or SUMMARIES.get(self.reason, SUMMARIES["unknown"])
        self.partial = partial


class APIConnectionError(APIError):
    """The provider gave no HTTP answer: DNS, refused, reset, TLS, proxy.

    `final` stops the fallback: another provider would hide a cause on this machine. Providers
    of other packages may set it; here the reason says so (tls, proxy, this_machine).
    """

    default_reason: ClassVar[Reason] = "connection"
    final: bool = False


class APITimeoutError(APIConnectionError):
    """A time limit has passed: connect, first token, idle or total; or the provider answered 408."""

    default_reason: ClassVar[Reason] = "timeout"


class APIStatusError(APIError):
    """The provider answered with an HTTP status other than 200.

    `retry_after` is in seconds; `code` and `detail` are the provider's own words for the error, and
    `param` is the parameter it complains of. `response` has the `status_code` and `headers`.
    """

    default_reason: ClassVar[Reason] = "unexpected_status"

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        receipt: Receipt | None = None,
        hint: str = "",
        reason: Reason | None = None,
        partial: str = "",
        status_code: int | None = None,
        code: str | None = None,
        detail: str = "",
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(
            message,
            provider=provider,
            model=model,
            receipt=receipt,
            hint=hint,
            reason=reason or _REASON_BY_STATUS.get(status_code or 0),
            partial=partial,
        )
        self.status_code = status_code
        self.code = code
        self.detail = detail
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.response: ResponseHead | None = None

    def set_response(self, response: ResponseHead, body: Any) -> None:
        """Set what openai's errors have besides: the head of the response, and the error's JSON."""
        self.response, self.body = response, body
        kind = body.get("type") if isinstance(body, dict) else None
        self.type = kind if isinstance(kind, str) else None


class BadRequestError(APIStatusError):
    """The request itself is at fault (400, 413)."""

    default_reason: ClassVar[Reason] = "invalid_request"


class ArgumentError(BadRequestError, TypeError):
    """An argument of the wrong kind, or a misspelt one. Nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status_code=400)


class ContextLengthError(BadRequestError):
    """The prompt is longer than the model's context window (400, 413, 422)."""

    default_reason: ClassVar[Reason] = "context_too_long"


class AuthenticationError(APIStatusError):
    """The provider rejected the key (401; 400 at some)."""

    default_reason: ClassVar[Reason] = "invalid_key"


class PermissionDeniedError(APIStatusError):
    """The key is valid, but not for this request (403)."""

    default_reason: ClassVar[Reason] = "no_access"


class NotFoundError(APIStatusError):
    """Unknown model or path at this provider (404; 400 at some for a model)."""

    default_reason: ClassVar[Reason] = "wrong_address"


class ConflictError(APIStatusError):
    """The provider reports a conflict (409)."""

    default_reason: ClassVar[Reason] = "conflict"


class UnprocessableEntityError(APIStatusError):
    """The provider cannot process the request (422)."""

    default_reason: ClassVar[Reason] = "invalid_request"


class RateLimitError(APIStatusError):
    """Too many requests, or the quota is used up (429), or another limit that passes (402, 403, 413)."""

    default_reason: ClassVar[Reason] = "rate_limited"


class InternalServerError(APIStatusError):
    """The provider failed (5xx)."""

    default_reason: ClassVar[Reason] = "overloaded"


class InvalidResponseError(APIError):
    """HTTP 200 without a completion in it: HTML, not JSON, empty, not the exact model, not the schema.

    `completion` is the answer, if there is one that does not fit its schema."""

    default_reason: ClassVar[Reason] = "not_the_protocol"
    completion: ChatCompletion | None = None


class StreamError(APIError):
    """The stream had begun and then went wrong; `partial` holds the text so far."""

    default_reason: ClassVar[Reason] = "broken_stream"


class TruncatedStreamError(StreamError):
    """The stream ended before the answer did."""


class LengthFinishReasonError(G4FError):
    """`parse` got an answer that was cut at its token limit; `completion` is what came."""

    reason = "length"

    def __init__(self, *, completion: ChatCompletion) -> None:
        super().__init__(
            "The answer was cut at its token limit and cannot be parsed: raise max_tokens.",
            provider=completion.provider,
            model=completion.model,
            receipt=completion.receipt,
        )
        self.completion = completion

    def __reduce__(self) -> Any:
        return _with_completion, (type(self), self.completion), vars(self)


class ContentFilterFinishReasonError(G4FError):
    """`parse` got an answer that a content filter cut or withheld; `completion` is what came."""

    reason = "filtered"

    def __init__(self, *, completion: ChatCompletion | None = None) -> None:
        super().__init__("A content filter stopped the answer: change the prompt.")
        self.completion = completion
        if completion is not None:
            self.provider, self.model = completion.provider, completion.model
            self.receipt = completion.receipt

    def __reduce__(self) -> Any:
        return _with_completion, (type(self), self.completion), vars(self)


def _with_completion(kind: Any, completion: ChatCompletion | None) -> Any:
    return kind(completion=completion)


_REASON_BY_STATUS: dict[int, Reason] = {
    402: "out_of_credit",
    413: "too_large",
    **dict.fromkeys(range(300, 400), "redirect"),
}
