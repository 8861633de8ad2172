"""Requests, completions, chunks and receipts: what travels between the modules.

Everything a provider answers is a sequence of `ChatCompletionChunk`; a whole
`ChatCompletion` is those chunks, accumulated. The shapes and names are OpenAI's
(its public API reference, chat/completions); `reasoning`, `provider` and
`receipt` are additions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

__all__ = [
    "Accumulator",
    "Attempt",
    "ChatCompletion",
    "ChatCompletionChunk",
    "ChatCompletionMessage",
    "ChatRequest",
    "Choice",
    "ChoiceDelta",
    "ChunkChoice",
    "Function",
    "Receipt",
    "Secret",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
]

JSON = dict[str, Any]


class Secret:
    """A key that no repr, log or traceback shows. `reveal()` is for the Authorization header alone."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __reduce__(self) -> Any:
        raise TypeError("a Secret cannot be pickled")


class ChatRequest(Struct, frozen=True, kw_only=True):
    """One question, before anybody is chosen to answer it.

    `messages` and `params` are in OpenAI's form and belong to the request alone.
    `providers` empty means the usual route. `timeout` is in seconds, for everything.
    """

    model: str
    messages: list[JSON]
    params: JSON = field(default_factory=dict)
    stream: bool = False
    providers: tuple[str, ...] = ()
    exact: bool = False
    timeout: float | None = None
    key: Secret | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, Any] = field(default_factory=dict)


class Attempt(Struct, frozen=True):
    """One request to one provider. `outcome` is "ok" or the error's class name; times are seconds."""

    provider: str
    model: str
    outcome: str
    status: int | None = None
    message: str | None = None
    seconds: float = 0.0
    retry_after: float | None = None

    def to_dict(self) -> JSON:
        return {name: getattr(self, name) for name in self.__struct_fields__}

    def __str__(self) -> str:
        outcome = self.outcome + (f" ({self.message})" if self.message else "")
        return f"{self.provider} {self.model}: {outcome}, {self.seconds:.1f} s"


class Receipt(Struct):
    """Who answered, and how it came to that.

    `exact` is False for a substitute and for a successor. `ttft` is the time to the first
    token and `seconds` the whole time, in seconds; `seconds` is None until the answer has
    ended. `successor`: a substitute that the model's own maker put in its place. `omitted` names the parameters that the provider does not take and was not sent.
    """

    requested_model: str
    provider: str | None = None
    model: str | None = None
    exact: bool = False
    attempts: tuple[Attempt, ...] = ()
    omitted: tuple[str, ...] = ()
    ttft: float | None = None
    seconds: float | None = None
    successor: bool = False

    def to_dict(self) -> JSON:
        return {
            "requested_model": self.requested_model,
            "provider": self.provider,
            "model": self.model,
            "exact": self.exact,
            "attempts": [attempt.to_dict() for attempt in self.attempts],
            "omitted": list(self.omitted),
            "successor": self.successor,
            "ttft": self.ttft,
            "seconds": self.seconds,
        }


class Usage(Struct):
    """Tokens as the provider counted them; the details are OpenAI's objects or None. `extra` are the
    other numbers that it gives (OpenRouter's cost)."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: JSON | None = None
    completion_tokens_details: JSON | None = None
    extra: JSON = field(default_factory=dict)

    def to_dict(self) -> JSON:
        counted = {
            name: value
            for name in self.__struct_fields__
            if name != "extra" and (value := getattr(self, name)) is not None
        }
        return counted | self.extra


class Function(Struct):
    """The function of a tool call; `arguments` is JSON text."""

    name: str
    arguments: str

    def to_dict(self) -> JSON:
        return {"name": self.name, "arguments": self.arguments}


class ToolCall(Struct):
    """A whole call of a tool, ready to be executed. `extra_content` is what its provider wants to see
    again with it (Gemini's thought signature)."""

    id: str
    function: Function
    type: str = "function"
    extra_content: JSON | None = None

    def to_dict(self) -> JSON:
        data: JSON = {"id": self.id, "type": self.type, "function": self.function.to_dict()}
        if self.extra_content is not None:
            data["extra_content"] = self.extra_content
        return data


class ToolCallDelta(Struct):
    """A piece of a tool call. `index` says which call; `id` and the name come with its first piece."""

    index: int
    id: str | None
    function: Function
    type: str = "function"
    extra_content: JSON | None = None

    def to_dict(self) -> JSON:
        data: JSON = {
            "index": self.index,
            "id": self.id,
            "type": self.type,
            "function": self.function.to_dict(),
        }
        if self.extra_content is not None:
            data["extra_content"] = self.extra_content
        return data


# gc=False: a stream makes thousands of these, and none can be part of a cycle.


class ChoiceDelta(Struct, gc=False):
    """What a chunk adds to its choice; None adds nothing."""

    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    refusal: str | None = None

    def to_dict(self) -> JSON:
        data: JSON = {"role": self.role, "content": self.content}
        if self.reasoning is not None:
            data["reasoning"] = self.reasoning
        if self.tool_calls:
            data["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        if self.refusal is not None:
            data["refusal"] = self.refusal
        return data


class ChunkChoice(Struct, gc=False):
    """One choice of a chunk. `finish_reason` is set once, when the choice ends."""

    index: int
    delta: ChoiceDelta
    finish_reason: str | None = None
    logprobs: JSON | None = None

    def to_dict(self) -> JSON:
        return {
            "index": self.index,
            "delta": self.delta.to_dict(),
            "finish_reason": self.finish_reason,
            "logprobs": self.logprobs,
        }


class _Answer(Struct, gc=False):
    id: str
    created: int
    model: str
    choices: list[Any]
    usage: Usage | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    provider: str | None = None
    receipt: Receipt | None = None

    @property
    def object(self) -> str:
        """OpenAI's name for this shape."""
        raise NotImplementedError

    def to_dict(self) -> JSON:
        """OpenAI's JSON, and `provider` and `receipt`."""
        data: JSON = {
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "choices": [choice.to_dict() for choice in self.choices],
            "usage": self.usage.to_dict() if self.usage else None,
        }
        if self.system_fingerprint is not None:
            data["system_fingerprint"] = self.system_fingerprint
        if self.service_tier is not None:
            data["service_tier"] = self.service_tier
        data["provider"] = self.provider
        data["receipt"] = self.receipt.to_dict() if self.receipt else None
        return data

    model_dump = to_dict

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """`to_dict()` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)


class ChatCompletionChunk(_Answer, gc=False):
    """A piece of an answer. `usage` comes with the last one, if the provider counts."""

    choices: list[ChunkChoice]

    @property
    def object(self) -> str:
        return "chat.completion.chunk"


class ChatCompletionMessage(Struct):
    """What the model said."""

    role: str = "assistant"
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None
    refusal: str | None = None

    def to_dict(self) -> JSON:
        data: JSON = {"role": self.role, "content": self.content, "refusal": self.refusal}
        if self.reasoning is not None:
            data["reasoning"] = self.reasoning
        if self.tool_calls is not None:
            data["tool_calls"] = [call.to_dict() for call in self.tool_calls]
        return data


class Choice(Struct):
    """One whole answer. `finish_reason`: stop, length, tool_calls, content_filter."""

    index: int
    message: ChatCompletionMessage
    finish_reason: str | None = None
    logprobs: JSON | None = None

    def to_dict(self) -> JSON:
        return {
            "index": self.index,
            "message": self.message.to_dict(),
            "finish_reason": self.finish_reason,
            "logprobs": self.logprobs,
        }


class ChatCompletion(_Answer):
    """A whole answer. `model` is what served; `provider` and `receipt` say who and how."""

    choices: list[Choice]

    @property
    def object(self) -> str:
        return "chat.completion"


class _Growing:
    """One choice while its chunks arrive. Lists, so that long answers stay linear."""

    __slots__ = ("calls", "content", "extra", "finish_reason", "logprobs", "reasoning", "refusal")

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, tuple[str, list[str], list[str]]] = {}
        self.extra: dict[int, JSON] = {}
        self.finish_reason: str | None = None
        self.logprobs: JSON | None = None

    def add(self, choice: ChunkChoice) -> None:
        delta = choice.delta
        if delta.content:
            self.content.append(delta.content)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        if delta.refusal:
            self.refusal.append(delta.refusal)
        for call in delta.tool_calls or ():
            if call.index not in self.calls:
                self.calls[call.index] = (call.id or f"call_{call.index}", [], [])
            _, name, arguments = self.calls[call.index]
            name.append(call.function.name)
            arguments.append(call.function.arguments)
            if call.extra_content is not None:
                self.extra[call.index] = call.extra_content
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        if choice.logprobs:
            self._add_logprobs(choice.logprobs)

    def _add_logprobs(self, logprobs: JSON) -> None:
        merged = self.logprobs or {}
        for name, value in logprobs.items():
            if isinstance(value, list):
                if not isinstance(merged.get(name), list):
                    merged[name] = []
                merged[name].extend(value)
            else:
                merged.setdefault(name, value)
        self.logprobs = merged

    def tool_calls(self) -> list[ToolCall]:
        return [
            # OpenAI-compatible servers send "" for a call without arguments.
            ToolCall(
                id,
                Function("".join(name), "".join(arguments).strip() or "{}"),
                extra_content=self.extra.get(index),
            )
            for index, (id, name, arguments) in self.calls.items()
        ]

    def choice(self, index: int) -> Choice:
        calls = self.tool_calls()
        return Choice(
            index,
            ChatCompletionMessage(
                content="".join(self.content) if self.content or not calls else None,
                reasoning="".join(self.reasoning) or None,
                tool_calls=calls or None,
                refusal="".join(self.refusal) or None,
            ),
            self.finish_reason,
            self.logprobs,
        )


class Accumulator:
    """Chunks in, a whole completion out: the one place where an answer is put together."""

    def __init__(self) -> None:
        self._choices: dict[int, _Growing] = {}
        self._first: ChatCompletionChunk | None = None
        self._last: ChatCompletionChunk | None = None
        self._usage: Usage | None = None

    def add(self, chunk: ChatCompletionChunk) -> None:
        if self._first is None:
            self._first = chunk
        self._last = chunk
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices:
            growing = self._choices.get(choice.index)
            if growing is None:
                growing = self._choices[choice.index] = _Growing()
            growing.add(choice)

    @property
    def text(self) -> str:
        """The first choice's text so far."""
        growing = self._choices.get(0)
        return "".join(growing.content) if growing else ""

    def completion(self) -> ChatCompletion:
        """The answer as far as it has come; IndexError before the first chunk."""
        if self._first is None or self._last is None:
            raise IndexError("no chunk yet")
        return ChatCompletion(
            id=self._first.id,
            created=self._first.created,
            model=self._first.model,
            choices=[self._choices[index].choice(index) for index in sorted(self._choices)],
            usage=self._usage,
            system_fingerprint=self._last.system_fingerprint,
            service_tier=self._last.service_tier,
            provider=self._first.provider,
            receipt=self._last.receipt,
        )
