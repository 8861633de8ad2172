"""What a provider wrote about a failure, recognised as a `Reason`.

The only place that reads a provider's status, codes and words for a decision. A new kind of
failure is an entry in one of these tables.
"""

from __future__ import annotations

import re

from ..errors import Reason

_BY_CODE: dict[str, Reason] = {
    # OpenAI's guide to error codes; a 429 of this code does not pass by waiting.
    "insufficient_quota": "out_of_credit",
    # OpenAI's codes for a parameter that a model does not take.
    "unsupported_parameter": "parameter_unsupported",
    "unknown_parameter": "parameter_unsupported",
    "unsupported_value": "parameter_unsupported",
}

# OpenAI, vLLM, llama.cpp (exceed_context_size), Anthropic's and Bedrock's "prompt is too long".
_CONTEXT = re.compile(
    r"(?i)context_length_exceeded|exceed_context_size|(maximum|available|exceeds the).{0,20} context"
    r"|context (length|window|size)|prompt is too long"
)

_FILTERED = re.compile(r"(?i)moderation")
"""OpenRouter's 403 for an input that its moderation flagged."""

_MODEL = re.compile(r"(?i)model")
"""A 404 without this word is about the address, not about the model."""


def reason_of(status: int, code: str | None, words: str) -> Reason | None:
    """The reason for HTTP `status` with the provider's `code` and `words`; None: the status's own."""
    said = f"{code} {words}"
    if status in (400, 413) and _CONTEXT.search(said):
        return "context_too_long"
    if status == 403 and _FILTERED.search(said):
        return "filtered"
    if status == 404 and _MODEL.search(said):
        return "model_gone"
    by_code = _BY_CODE.get(code or "")
    # Other statuses with a code for a parameter are about something else.
    return None if by_code == "parameter_unsupported" and status != 400 else by_code
