"""The JSON of OpenAI-compatible servers into chunks, tolerant of what they are known to do.

A chunk of a stream and a whole completion go through the same reader: a whole one is a
single chunk whose `message` is the delta. Deviations seen in the wild and handled here:
null or missing choices, deltas and contents; content as a list of parts; `reasoning`,
`reasoning_content` or <think> in the text; usage on any chunk; lone surrogates.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder

from ..errors import InvalidResponseError
from ..safe_text import clean
from ..types import JSON, ChatCompletionChunk, ChoiceDelta, ChunkChoice, Usage
from .text import _thinking_of, text_of, whole
from .think_tags import ThinkTags
from .tool_calls import ToolCallAssembler


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value < 1 << 53 else None


def _usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    prompt = _integer(value.get("prompt_tokens"))
    completion = _integer(value.get("completion_tokens"))
    if prompt is None or completion is None:
        return None
    total = _integer(value.get("total_tokens"))
    extra = _numbers(value)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        extra.pop(name, None)
    details = {name: _numbers(given) for name, given in _plain(value) if isinstance(given, dict)}
    of_prompt = details.pop("prompt_tokens_details", None)
    of_completion = details.pop("completion_tokens_details", None)
    extra.update((name, given) for name, given in details.items() if given)
    return Usage(
        prompt,
        completion,
        prompt + completion if total is None else total,
        of_prompt,
        of_completion,
        extra,
    )


def _plain(value: JSON) -> list[tuple[str, Any]]:
    """The first of an object's items that have names as a field has."""
    items = [item for item in value.items() if len(item[0]) <= 64 and item[0].isidentifier()]
    return items[:50]


def _numbers(value: JSON) -> JSON:
    """The numbers in an object, by name: of what a server may say besides, they are harmless."""
    return {
        name: given
        for name, given in _plain(value)
        if isinstance(given, (int, float)) and -math.inf < given < math.inf
    }


_ROLES = frozenset(("developer", "system", "user", "assistant", "tool"))
_Tier = Literal["auto", "default", "fast", "flex", "scale", "priority"]
_TIERS = frozenset(get_args(_Tier))
_ENDINGS = {
    **{name: name for name in ("stop", "length", "tool_calls", "content_filter", "function_call")},
    "error": "error",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "safety": "content_filter",
}
"""OpenAI's words for how an answer ended, from others' in lower case; any other word is "stop"."""


_Count = Annotated[int, Meta(ge=0, lt=1 << 53)]
_TokenName = Annotated[str, Meta(max_length=64, pattern="^[a-z_]+_tokens$")]


class _PlainMessage(Struct, forbid_unknown_fields=True, gc=False):
    content: str | None = None
    role: Literal["assistant"] | None = None
    refusal: None = None
    annotations: Annotated[list[None], Meta(max_length=0)] | None = None
    reasoning: None = None
    reasoning_content: None = None
    tool_calls: None = None
    function_call: None = None


class _PlainChoice(Struct, forbid_unknown_fields=True, gc=False):
    delta: _PlainMessage | None = None
    message: _PlainMessage | None = None
    index: Literal[0] = 0
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"] | None = None
    logprobs: None = None
    native_finish_reason: str | None = None


class _PlainUsage(Struct, forbid_unknown_fields=True, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: dict[_TokenName, _Count] | None = None
    completion_tokens_details: dict[_TokenName, _Count] | None = None


class TextChunk(Struct, forbid_unknown_fields=True, gc=False):
    """The form that nearly all chunks and completions have: text, how it ended and usage, in
    OpenAI's very fields or OpenRouter's. Decoded in one step; every other form is for `read`."""

    choices: Annotated[list[_PlainChoice], Meta(max_length=1)]
    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    usage: _PlainUsage | None = None
    system_fingerprint: str | None = None
    service_tier: _Tier | None = None
    obfuscation: str | None = None
    provider: str | None = None


_decode_text_chunk = Decoder(TextChunk).decode


class ChunkReader:
    """Chunks of one answer: remembers what later chunks leave out (ids, model, tool calls)."""

    def __init__(
        self,
        provider: str,
        model: str,
        choices: int = 1,
        *,
        without_key: Callable[[str], str] = str,
    ) -> None:
        self._provider = provider
        self._model = model
        self._choices = choices
        self._without_key = without_key
        self._id = ""
        self._created = 0
        self._model_given = ""
        self._fingerprint: str | None = None
        self._fingerprint_given: str | None = None
        self._calls: dict[int, ToolCallAssembler] = {}
        self._thinking: dict[int, ThinkTags] = {}
        self._plain: set[int] = set()

    def decode(self, data: bytes) -> ChatCompletionChunk | None:
        """The chunk in `data` if it is a `TextChunk`; None for every other form, which `read`
        understands."""
        try:
            given = _decode_text_chunk(data)
        except (DecodeError, UnicodeDecodeError):
            return None
        choices = []
        for choice in given.choices:
            message = choice.delta or choice.message
            content = message.content if message is not None else None
            if 0 not in self._plain and (content or self._thinking):
                # The first words may be the beginning of <think>.
                if self._thinking or content is None or content.lstrip()[:1] in ("", "<"):
                    return None
                self._plain.add(0)
            role = message.role if message is not None else None
            choices.append(ChunkChoice(0, ChoiceDelta(role, content), choice.finish_reason))
        if not self._id:
            self._begin(given.id, given.created)
        self._note_labels(given.model, given.system_fingerprint)
        usage = given.usage
        return ChatCompletionChunk(
            self._id,
            self._created,
            self._model,
            choices,
            None
            if usage is None
            else Usage(
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.total_tokens,
                usage.prompt_tokens_details,
                usage.completion_tokens_details,
            ),
            self._fingerprint,
            given.service_tier,
            self._provider,
        )

    def _note_labels(self, model: Any, fingerprint: Any) -> None:
        # Chunk after chunk says the same.
        if model != self._model_given:
            self._model_given = model
            self._model = self._label(model) or self._model
        if fingerprint != self._fingerprint_given:
            self._fingerprint_given = fingerprint
            self._fingerprint = self._label(fingerprint)

    def read(self, data: Any) -> ChatCompletionChunk:
        """One chunk from one parsed JSON value. Raises `InvalidResponseError` where it is none."""
        if not isinstance(data, dict) or not ("choices" in data or "usage" in data):
            raise InvalidResponseError(
                f"{self._provider}: the answer is JSON, but not a completion. Is base_url the address of an"
                " OpenAI-compatible API?",
                provider=self._provider,
                model=self._model,
            )
        if not self._id:
            self._begin(data.get("id"), data.get("created"))
        self._note_labels(data.get("model"), data.get("system_fingerprint"))
        choices = data.get("choices")
        usage = data.get("usage")
        tier = data.get("service_tier")
        chunk = ChatCompletionChunk(
            self._id,
            self._created,
            self._model,
            [
                read
                for choice in (choices if isinstance(choices, list) else ())
                if (read := self._choice(choice)) is not None
            ],
            _usage(self._named(usage)) if usage else None,
            self._fingerprint,
            tier if isinstance(tier, str) and tier in _TIERS else None,
            self._provider,
        )
        if isinstance(progress := data.get("prompt_progress"), dict):
            # llama.cpp with return_progress: {total, cache, processed, time_ms}; tools/server/README.md.
            chunk.prompt_progress = _integer(progress.get("processed"))
        return chunk

    def _begin(self, id: Any, created: Any) -> None:
        self._id = self._label(id) or "chatcmpl-none"
        self._created = _integer(created) or int(time.time())

    def _label(self, value: Any) -> str | None:
        """A name that a server gave, safe to log and show: short, and without the key."""
        if not isinstance(value, str) or not value:
            return None
        return clean(self._without_key(value), 200)

    def _named(self, value: Any) -> Any:
        """An object without the names that a server may have made of the key."""
        if not isinstance(value, dict):
            return value
        return {
            name: self._named(given) if isinstance(given, dict) else given
            for name, given in value.items()
            if self._without_key(name) == name
        }

    def _choice(self, choice: Any) -> ChunkChoice | None:
        if not isinstance(choice, dict):
            return None
        index = choice.get("index")
        if not isinstance(index, int):
            index = 0
        if not 0 <= index < self._choices:
            return None
        delta = choice.get("delta") or choice.get("message")
        reason = choice.get("finish_reason")
        logprobs = choice.get("logprobs")
        read = self._delta(delta, index) if isinstance(delta, dict) else ChoiceDelta()
        if index not in self._plain:
            self._part(read, index, ended=bool(reason) or "message" in choice)
        return ChunkChoice(
            index,
            read,
            _ENDINGS.get(reason.lower(), "stop") if isinstance(reason, str) and reason else None,
            logprobs if isinstance(logprobs, dict) else None,
        )

    def _part(self, delta: ChoiceDelta, index: int, *, ended: bool) -> None:
        """Move reasoning that stands in the content to its own field."""
        thinking = self._thinking.setdefault(index, ThinkTags())
        if delta.reasoning:
            # A provider that sends it apart leaves nothing of it in the content.
            thinking.plain = True
            delta.content = thinking.end()[1] + (delta.content or "") or delta.content
        elif delta.content:
            delta.reasoning, delta.content = thinking.feed(delta.content)
        if ended and not thinking.plain:
            reasoning, content = thinking.end()
            delta.reasoning = (delta.reasoning or "") + reasoning
            delta.content = (delta.content or "") + content if content else delta.content
        delta.reasoning = delta.reasoning or None
        if thinking.plain:
            self._plain.add(index)

    def _delta(self, delta: JSON, index: int) -> ChoiceDelta:
        content = delta.get("content")
        text = content if isinstance(content, str) else text_of(content)
        read = ChoiceDelta(content=whole(text) if text else text)
        if len(delta) == 1 and isinstance(content, str):
            return read
        role = delta.get("role")
        if isinstance(role, str) and role in _ROLES:
            read.role = role
        reasoning = (
            delta.get("reasoning") or delta.get("reasoning_content") or _thinking_of(content)
        )
        if isinstance(reasoning, str):
            read.reasoning = whole(reasoning)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            read.refusal = whole(refusal)
        calls = delta.get("tool_calls")
        if isinstance(calls, list) and calls:
            read.tool_calls = self._calls.setdefault(index, ToolCallAssembler()).read(calls) or None
        return read
