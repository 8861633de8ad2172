"""How an answer ended: other providers' words for OpenAI's five."""

from __future__ import annotations

from typing import Any

STOP_WORDS = frozenset(
    {
        # Anthropic's Messages API, passed on by gateways.
        *("end_turn", "stop_sequence"),
        # TGI and Together; Hugging Face's and Kluster's spelling.
        *("eos", "eos_token"),
        # OpenAI's Responses API, passed on by gateways.
        "completed",
    }
)
LENGTH_WORDS = frozenset(
    {
        # Anthropic; Mistral; Gemini and the Responses API.
        *("max_tokens", "model_length", "max_output_tokens"),
    }
)
FILTER_WORDS = frozenset(
    {
        # Gemini's FinishReason.
        *("safety", "recitation", "blocklist", "prohibited_content", "spii", "image_safety"),
        # Zhipu (GLM); Anthropic; Cohere.
        *("sensitive", "refusal", "error_toxic"),
    }
)
BROKEN_WORDS = frozenset(
    {
        # OpenRouter; DeepSeek; Zhipu (GLM); vLLM and SGLang.
        *("error", "insufficient_system_resource", "network_error", "abort"),
    }
)
_OPENAI = ("stop", "length", "tool_calls", "content_filter", "function_call")

_FINISH = {
    **{word: word for word in _OPENAI},
    **dict.fromkeys(STOP_WORDS, "stop"),
    **dict.fromkeys(LENGTH_WORDS, "length"),
    **dict.fromkeys(FILTER_WORDS, "content_filter"),
    # Anthropic.
    "tool_use": "tool_calls",
}

_NOT_FINISHED = frozenset({"", "null", "none"})
"""Texts in place of null. Source: koboldcpp writes "null" (PowerShell/AIShell#350)."""


class BrokenAnswer(ValueError):
    """A finish_reason says that the answer broke off; its text is that word."""


def finish_of(word: Any) -> tuple[str | None, str | None]:
    """The finish_reason for a provider's `word`, and the word itself where it is unknown.

    (None, None) while the choice goes on. An unknown word is "stop". Raises `BrokenAnswer`.

    >>> finish_of("MAX_TOKENS")
    ('length', None)
    >>> finish_of("because")
    ('stop', 'because')
    """
    if not isinstance(word, str):
        return None, None
    known = word.strip().lower()
    if known in _NOT_FINISHED:
        return None, None
    if known in BROKEN_WORDS:
        raise BrokenAnswer(word)
    finish = _FINISH.get(known)
    return ("stop", word) if finish is None else (finish, None)
