"""The codes of what can go wrong at a provider."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "connection",
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
