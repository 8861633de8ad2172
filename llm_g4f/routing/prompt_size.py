"""Servers that cut a long prompt without a word: their count of its tokens tells.

Ollama keeps half of its context window where a prompt is longer, from the end, and answers with 200
(its issues 3839 and 17427). LM Studio and text-generation-webui have settings that do the same.
"""

from __future__ import annotations

from ..decoding.text import text_of
from ..request import ChatRequest
from ..types import JSON, Usage

MIN_WORDS = 1_000
"""Words of a prompt from which on its tokens are compared: no server has so small a window."""

TOKENS_PER_WORD = 0.75
"""Tokens for each word of a prompt; fewer are far below what was sent.

Words, not characters: tokenizers split a text at its blanks first, so that every word is a token at
least (English has 1.3), while a run of blanks, dashes or equal letters can be one token, however long.
A quarter is for tokenizers that join frequent words. A text without blanks between its words, such
as Chinese, counts as few words: there a cut can be missed, but none is made up.
"""


def cut_warning(provider: str, request: ChatRequest, usage: Usage) -> str | None:
    """What a person should know if the provider cannot have read the whole prompt, by its usage."""
    cached = (usage.prompt_tokens_details or {}).get("cached_tokens") or 0
    tokens = usage.prompt_tokens + cached
    words = sum(map(_words, request.messages))
    # 0 is no count: proxies send it.
    if words < MIN_WORDS or not 0 < tokens < words * TOKENS_PER_WORD:
        return None
    return (
        f"{provider} counted {tokens:,} tokens in a prompt of {words:,} words: it has read only a"
        " part. Raise its context window (Ollama: OLLAMA_CONTEXT_LENGTH), or name a provider with a"
        " larger one."
    )


def _words(message: JSON) -> int:
    content = message.get("content")
    text = content if isinstance(content, str) else text_of(content) or ""
    if message.get("role") == "assistant":
        # Chat templates leave out what a model thought in earlier turns.
        text = text.rpartition("</think>")[2]
    return len(text.split())
