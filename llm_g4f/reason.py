"""The codes of what can go wrong at a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Reason = Literal[
    "connection",
    "stale_connection",
    "timeout",
    "tls",
    "proxy",
    "this_machine",
    "rate_limited",
    "out_of_credit",
    "overloaded",
    "conflict",
    "invalid_key",
    "no_access",
    "model_gone",
    "wrong_address",
    "redirect",
    "context_too_long",
    "too_large",
    "parameter_unsupported",
    "parameter_renamed",
    "schema_unsupported",
    "filtered",
    "invalid_request",
    "not_the_protocol",
    "empty",
    "wrong_model",
    "schema_mismatch",
    "broken_stream",
    "unexpected_status",
    "unknown",
]
"""Why a provider did not answer, recognised once (`decoding.reasons`) and judged once
(`routing.policy`)."""

SUMMARIES: Mapping[Reason, str] = {
    "connection": "no connection",
    "stale_connection": "a kept connection was closed",
    "timeout": "no answer in time",
    "tls": "no trustworthy TLS connection",
    "proxy": "a fault of the proxy",
    "this_machine": "a fault of this machine",
    "rate_limited": "rate limit",
    "out_of_credit": "no credit left",
    "overloaded": "a fault of the server",
    "conflict": "a conflict",
    "invalid_key": "no valid key",
    "no_access": "no access",
    "model_gone": "no such model",
    "wrong_address": "not found",
    "redirect": "a redirect",
    "context_too_long": "the prompt is too long",
    "too_large": "the request is too large",
    "parameter_unsupported": "an unsupported parameter",
    "parameter_renamed": "an unsupported parameter",
    "schema_unsupported": "schemas are unsupported",
    "filtered": "the content filter",
    "invalid_request": "the request was rejected",
    "not_the_protocol": "no completion in the answer",
    "empty": "an empty answer",
    "wrong_model": "another model answered",
    "schema_mismatch": "the answer does not match the schema",
    "broken_stream": "the answer broke off",
    "unexpected_status": "an unexpected status",
    "unknown": "no answer",
}
"""Each reason in few words, for lists and notices."""

_REASON_OF_CLASS: Mapping[str, Reason] = {
    "APIConnectionError": "connection",
    "APITimeoutError": "timeout",
    "APIStatusError": "unexpected_status",
    "ArgumentError": "invalid_request",
    "AuthenticationError": "invalid_key",
    "BadRequestError": "invalid_request",
    "ConflictError": "conflict",
    "ContextLengthError": "context_too_long",
    "InternalServerError": "overloaded",
    "InvalidResponseError": "not_the_protocol",
    "NotFoundError": "model_gone",
    "PermissionDeniedError": "no_access",
    "RateLimitError": "rate_limited",
    "StreamError": "broken_stream",
    "TruncatedStreamError": "broken_stream",
    "UnprocessableEntityError": "invalid_request",
}


def summary_of_class(name: str) -> str:
    """The few words for an error of which only the class is known, as in older logs."""
    return SUMMARIES[_REASON_OF_CLASS.get(name, "unknown")]
