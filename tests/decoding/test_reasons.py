"""The words of providers about a failure, recognised as a reason."""

from __future__ import annotations

import pytest

from llm_g4f.decoding.reasons import reason_of


@pytest.mark.parametrize(
    ("status", "code", "words", "reason"),
    [
        (429, "insufficient_quota", "You exceeded your current quota", "out_of_credit"),
        (429, "rate_limit_exceeded", "Slow down.", None),
        (402, None, "Pay.", None),
        (400, "unsupported_parameter", "No.", "parameter_unsupported"),
        (400, "unknown_parameter", "No.", "parameter_unsupported"),
        (400, "unsupported_value", "No.", "parameter_unsupported"),
        (500, "unsupported_value", "No.", None),
        (403, None, "openai/gpt-4o requires moderation on OpenRouter.", "filtered"),
        (403, None, "Not in your country.", None),
        (404, "model_not_found", "", "model_gone"),
        (404, None, "The model `gpt-4o` does not exist.", "model_gone"),
        (404, None, "Not Found", None),
        (400, None, "model", None),
    ],
)
def test_the_reason_of_a_status_a_code_and_words(
    status: int, code: str | None, words: str, reason: str | None
) -> None:
    assert reason_of(status, code, words) == reason
