"""OpenAI's shapes: completions, chunks, messages, tool calls, usage.

Everything a provider answers is a sequence of `ChatCompletionChunk`; a whole
`ChatCompletion` is those chunks, accumulated. Shapes and names are OpenAI's
(API reference, chat/completions); `reasoning`, `provider` and `receipt` are additions.
"""

from __future__ import annotations

from typing import Any, NoReturn

from msgspec import Struct, field

from .json_shape import JSON, Fields, JSONShape
from .receipt import Attempt, Receipt
from .request import ChatRequest, Secret

__all__ = [
    "JSON",
    "Attempt",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatCompletionMessage",
    "ChatRequest",
    "Choice",
    "ChoiceDelta",
    "ChunkChoice",
    "Chunks",
    "Function",
    "Receipt",
    "Secret",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
]


class Usage(JSONShape, Struct):
    """Tokens as the provider counted them; the details are OpenAI's objects (`Fields`) or None.
    `extra` are the other numbers that it gives (OpenRouter's cost)."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: Any = None
    completion_tokens_details: Any = None
    extra: JSON = field(default_factory=dict)

    def _data(self) -> JSON:
        counted = {
            name: value
            for name in self.__struct_fields__
            if name != "extra" and (value := getattr(self, name)) is not None
        }
        return counted | self.extra


class Function(JSONShape, Struct):
    """The function of a tool call; `arguments` is JSON text."""

    name: str
    arguments: str

    def _data(self) -> JSON:
        return {"name": self.name, "arguments": self.arguments}


class ToolCall(JSONShape, Struct):
    """A whole call of a tool, ready to be executed. `extra_content` is what its provider wants to see
    again with it (Gemini's thought signature)."""

    id: str
    function: Function
    type: str = "function"
    extra_content: JSON | None = None

    def _data(self) -> JSON:
        data: JSON = {"id": self.id, "type": self.type, "function": self.function._data()}
        if self.extra_content is not None:
            data["extra_content"] = self.extra_content
        return data


class ToolCallDelta(JSONShape, Struct):
    """A piece of a tool call. `index` says which call; `id` and the name come with its first piece."""

    index: int
    id: str | None
    function: Function
    type: str = "function"
    extra_content: JSON | None = None

    def _data(self) -> JSON:
        data: JSON = {
            "index": self.index,
            "id": self.id,
            "type": self.type,
            "function": self.function._data(),
        }
        if self.extra_content is not None:
            data["extra_content"] = self.extra_content
        return data


def has_media(extra: JSON | None) -> bool:
    """Whether a message's additional fields are an answer without text: speech or pictures."""
    return extra is not None and ("audio" in extra or "images" in extra)


_OF_EVENTS = frozenset(
    ("type", "delta", "snapshot", "chunk", "content", "parsed", "refusal", "arguments", "name")
)
"""What programs read of the events of openai's `chat.completions.stream`. Source: openai 3.57,
`lib/streaming/chat/_events.py`."""

_OPENAI_FIELDS = frozenset(("annotations", "audio", "function_call"))
"""OpenAI's other fields of a message: None where they are missing."""


def _extra_field(message: Any, name: str) -> Any:
    """An additional field of a message as its attribute, as in openai's client."""
    if name.startswith("__"):
        raise AttributeError(name)
    extra = message.extra or {}
    if name in extra or name in _OPENAI_FIELDS:
        return extra.get(name)
    raise AttributeError(f"{type(message).__name__} has no {name}")


# gc=False: a stream makes thousands of these, and they are never part of a cycle.


class ChoiceDelta(JSONShape, Struct, gc=False):
    """What a chunk adds to its choice; None adds nothing. `extra` are the fields that a provider adds
    to OpenAI's (`annotations`, `audio`, `reasoning_details`), each an attribute too."""

    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    refusal: str | None = None
    extra: JSON | None = None

    def has_content(self) -> bool:
        """Whether it brings the answer forward: by text, reasoning, a part of a tool call, a refusal or
        media."""
        if self.content or self.reasoning or self.refusal or has_media(self.extra):
            return True
        return any(call.function.name or call.function.arguments for call in self.tool_calls or ())

    def is_answer(self) -> bool:
        """Whether it is more than reasoning and blanks."""
        if self.content and not self.content.isspace():
            return True
        return bool(self.tool_calls or self.refusal) or has_media(self.extra)

    def __getattr__(self, name: str) -> Any:
        return _extra_field(self, name)

    def _data(self) -> JSON:
        data: JSON = {"role": self.role, "content": self.content, **(self.extra or {})}
        if self.reasoning is not None:
            data["reasoning"] = self.reasoning
        if self.tool_calls:
            data["tool_calls"] = [call._data() for call in self.tool_calls]
        if self.refusal is not None:
            data["refusal"] = self.refusal
        return data


class ChunkChoice(JSONShape, Struct, gc=False):
    """One choice of a chunk. `finish_reason` is set once, when the choice ends, and
    `native_finish_reason` is the provider's word for it where that is unknown."""

    index: int
    delta: ChoiceDelta
    finish_reason: str | None = None
    logprobs: Fields | None = None
    native_finish_reason: str | None = None

    def _data(self) -> JSON:
        data: JSON = {
            "index": self.index,
            "delta": self.delta._data(),
            "finish_reason": self.finish_reason,
            "logprobs": self.logprobs,
        }
        if self.native_finish_reason is not None:
            data["native_finish_reason"] = self.native_finish_reason
        return data


class _Answer(JSONShape, Struct, gc=False):
    id: str
    created: int
    model: str
    choices: list[Any]
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    provider: str | None = None
    receipt: Receipt = None  # type: ignore[assignment]  # set by the router, before a caller sees it

    @property
    def object(self) -> str:
        """OpenAI's name for this shape."""
        raise NotImplementedError

    def _data(self) -> JSON:
        """OpenAI's JSON, and `provider` and `receipt`."""
        data: JSON = {
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "choices": [choice._data() for choice in self.choices],
            "usage": self.usage._data() if self.usage else None,
        }
        if self.system_fingerprint is not None:
            data["system_fingerprint"] = self.system_fingerprint
        if self.service_tier is not None:
            data["service_tier"] = self.service_tier
        data["provider"] = self.provider
        data["receipt"] = self.receipt._data() if self.receipt else None
        return data

    @property
    def _request_id(self) -> str | None:
        """The provider's id of the request, as openai's client has it; None where it gave none."""
        return self.receipt.request_id if self.receipt else None


class ChatCompletionChunk(_Answer, gc=False):
    """A piece of an answer. `usage` comes with the last one, if the provider counts.
    `prompt_progress` is how many tokens of the prompt a server has read so far, if it says so, and
    `prompt_total` of how many."""

    choices: list[ChunkChoice]
    prompt_progress: int | None = None
    prompt_total: int | None = None

    @property
    def object(self) -> str:
        return "chat.completion.chunk"

    def __getattr__(self, name: str) -> NoReturn:
        hint = (
            ": stream() yields chunks here and not the events of openai's helper. The text is in"
            " chunk.choices[0].delta.content, and the whole answer comes from"
            " get_final_completion()."
        )
        raise AttributeError(f"A chunk has no {name}{hint if name in _OF_EVENTS else '.'}")


class ChatCompletionMessage(JSONShape, Struct):
    """What the model said. `extra` are the fields that a provider adds to OpenAI's (`annotations`,
    `audio`, `reasoning_details`), each an attribute too."""

    role: str = "assistant"
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None
    refusal: str | None = None
    extra: JSON | None = None

    def __getattr__(self, name: str) -> Any:
        return _extra_field(self, name)

    def _data(self) -> JSON:
        data: JSON = {"role": self.role, "content": self.content, "refusal": self.refusal}
        data |= self.extra or {}
        if self.reasoning is not None:
            data["reasoning"] = self.reasoning
        if self.tool_calls is not None:
            data["tool_calls"] = [call._data() for call in self.tool_calls]
        return data


class Choice(JSONShape, Struct):
    """One whole answer. `finish_reason`: stop, length, tool_calls, content_filter;
    `native_finish_reason` is the provider's word for it where that is unknown."""

    index: int
    message: ChatCompletionMessage
    finish_reason: str | None = None
    logprobs: Fields | None = None
    native_finish_reason: str | None = None

    def _data(self) -> JSON:
        data: JSON = {
            "index": self.index,
            "message": self.message._data(),
            "finish_reason": self.finish_reason,
            "logprobs": self.logprobs,
        }
        if self.native_finish_reason is not None:
            data["native_finish_reason"] = self.native_finish_reason
        return data


class ChatCompletion(_Answer):
    """A whole answer. `model` is what served; `provider` and `receipt` say who and how."""

    choices: list[Choice]

    @property
    def object(self) -> str:
        return "chat.completion"


Chunks = list[ChatCompletionChunk]
"""Chunks that came together, at least one: passing them on one by one costs more than decoding
them."""
