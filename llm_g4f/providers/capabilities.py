"""The capabilities of known models, wherever they are served."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from .model_ids import listed


class Capabilities(Struct, frozen=True):
    """The capabilities of a model. `context` and `output` are limits in tokens, None if unknown;
    `prompt` is that of a prompt where it is less than `context`. `reasons`: the model accepts
    reasoning_effort."""

    images: bool = False
    files: bool = False
    audio: bool = False
    tools: bool = True
    schema: bool = True
    context: int | None = None
    output: int | None = None
    prompt: int | None = None
    reasons: bool = False


_GPT_4O = Capabilities(images=True, files=True, context=128_000, output=16_384)
_GPT_41 = Capabilities(images=True, files=True, context=1_047_576, output=32_768)
# OpenAI's page of the model, 2026-11-22; genai-prices 0.2.3 has the same window for GPT-5.6.
_GPT_6 = Capabilities(
    images=True, files=True, context=1_050_000, output=128_000, prompt=922_000, reasons=True
)
_OSS = Capabilities(context=131_072, reasons=True)
_GEMINI = Capabilities(images=True, audio=True, context=1_000_000, reasons=True)

CAPABILITIES: Mapping[str, Capabilities] = {
    "gpt-4o": _GPT_4O,
    "gpt-4o-mini": _GPT_4O,
    "gpt-4.1": _GPT_41,
    "gpt-4.1-mini": _GPT_41,
    "gpt-4.1-nano": _GPT_41,
    "gpt-4": Capabilities(schema=False, context=8_192, output=8_192),
    "gpt-4-turbo": Capabilities(images=True, schema=False, context=128_000, output=4_096),
    "gpt-3.5-turbo": Capabilities(schema=False, context=16_385, output=4_096),
    **dict.fromkeys(("gpt-6-luna", "gpt-5.6-sol", "gpt-5.6-terra", "gpt-5.6-luna"), _GPT_6),
    "gpt-oss-120b": _OSS,
    "gpt-oss-20b": _OSS,
    "gpt-oss:20b": _OSS,
    "gemini-3.8-flash": _GEMINI,
    "gemini-3.5-flash": _GEMINI,
    "gemini-3.5-flash-lite": _GEMINI,
    "qwen3.8-27b": Capabilities(images=True, context=131_072),
    "qwen-3.8-27b": Capabilities(images=True, context=131_072),
    "mistral-small-latest": Capabilities(context=262_144),
    "mistral-medium-latest": Capabilities(images=True, context=262_144),
    "Qwen2.5-VL-72B-Instruct": Capabilities(images=True, tools=False, context=32_768),
    "llama-4-scout-17b-16e-instruct": Capabilities(images=True, context=131_072),
}
"""By the model's id without its vendor prefix."""


def capabilities_of(model: str) -> Capabilities | None:
    """The capabilities of `model`, an id with or without vendor prefix; None if they are unknown."""
    return CAPABILITIES.get(model) or listed(CAPABILITIES, model)
