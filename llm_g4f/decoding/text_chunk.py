"""The form that nearly all chunks and completions have, decoded in one step."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct
from msgspec.json import Decoder

from ..json_shape import Fields
from ..types import Usage

_Tier = Literal["auto", "default", "fast", "flex", "scale", "priority"]
TIERS = frozenset(get_args(_Tier))
_Count = Annotated[int, Meta(ge=0, lt=1 << 53)]
_TokenName = Annotated[str, Meta(max_length=64, pattern="^[a-z_]+_tokens$")]


class PlainMessage(Struct, forbid_unknown_fields=True, gc=False):
    content: str | None = None
    role: Literal["assistant"] | None = None
    refusal: None = None
    annotations: Annotated[list[None], Meta(max_length=0)] | None = None
    reasoning: None = None
    reasoning_content: None = None
    tool_calls: None = None
    function_call: None = None


class PlainChoice(Struct, forbid_unknown_fields=True, gc=False):
    delta: PlainMessage | None = None
    message: PlainMessage | None = None
    index: Literal[0] = 0
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"] | None = None
    logprobs: None = None
    native_finish_reason: str | None = None


class PlainUsage(Struct, forbid_unknown_fields=True, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: dict[_TokenName, _Count] | None = None
    completion_tokens_details: dict[_TokenName, _Count] | None = None


class TextChunk(Struct, forbid_unknown_fields=True, gc=False):
    """The form that nearly all chunks and completions have: text, how it ended and usage, in
    OpenAI's very fields or OpenRouter's. Every other form is for `ChunkReader.read`."""

    choices: Annotated[list[PlainChoice], Meta(max_length=1)]
    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    usage: PlainUsage | None = None
    system_fingerprint: str | None = None
    service_tier: _Tier | None = None
    obfuscation: str | None = None
    provider: str | None = None


decode_text_chunk = Decoder(TextChunk).decode


def usage_in(chunk: TextChunk) -> Usage | None:
    """The usage of a chunk."""
    usage = chunk.usage
    if usage is None:
        return None
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        usage.prompt_tokens_details and Fields(usage.prompt_tokens_details),
        usage.completion_tokens_details and Fields(usage.completion_tokens_details),
    )
