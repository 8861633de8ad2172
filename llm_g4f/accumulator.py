"""Chunks into a whole completion, and back: the only place that does this."""

from __future__ import annotations

from typing import Any

from .json_shape import Fields
from .types import (
    JSON,
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionMessage,
    Choice,
    ChoiceDelta,
    ChunkChoice,
    Function,
    ToolCall,
    ToolCallDelta,
    Usage,
)

NO_ID = "chatcmpl-none"
"""The id of an answer without one."""

_NO_IDS = frozenset(("", NO_ID))

_PIECES = frozenset(("data", "transcript"))


class ChoiceBuilder:
    """Joins the chunks of one choice. Keeps lists, so that long answers take linear time."""

    __slots__ = (
        *("calls", "call_extra", "content", "extra", "finish_reason", "logprobs"),
        *("native_finish_reason", "reasoning", "refusal", "_measured", "_size"),
    )

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, tuple[str, list[str], list[str]]] = {}
        self.call_extra: dict[int, JSON] = {}
        self.extra: JSON = {}
        self.finish_reason: str | None = None
        self.native_finish_reason: str | None = None
        self.logprobs: Fields | None = None
        self._size = self._measured = 0

    def text_within(self, length: int) -> str | None:
        """The content so far; None if it is longer than `length`, so that it is joined no more often
        than a server sends as much again."""
        self._size += sum(map(len, self.content[self._measured :]))
        self._measured = len(self.content)
        if self._size > length:
            return None
        self.content = ["".join(self.content)]
        self._measured = 1
        return self.content[0]

    def add(self, choice: ChunkChoice) -> None:
        """Add the part of this choice in a chunk."""
        delta = choice.delta
        if delta.content:
            self.content.append(delta.content)
        if delta.reasoning:
            self.reasoning.append(delta.reasoning)
        if delta.refusal:
            self.refusal.append(delta.refusal)
        if delta.tool_calls:
            self._add_tool_calls(delta.tool_calls)
        if delta.extra:
            self._add_extra(delta.extra)
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
            self.native_finish_reason = choice.native_finish_reason
        if choice.logprobs:
            self._add_logprobs(choice.logprobs)

    def _add_tool_calls(self, calls: list[ToolCallDelta]) -> None:
        for call in calls:
            if call.index not in self.calls:
                self.calls[call.index] = (call.id or f"call_{call.index}", [], [])
            _, name, arguments = self.calls[call.index]
            name.append(call.function.name)
            arguments.append(call.function.arguments)
            if call.extra_content is not None:
                self.call_extra[call.index] = call.extra_content

    def _add_extra(self, extra: JSON) -> None:
        for name, value in extra.items():
            known = self.extra.get(name)
            if isinstance(value, list):
                # A list of its own, which grows: the chunk's stays as it came.
                self.extra[name] = known if isinstance(known, list) else []
                self.extra[name].extend(value)
            elif name == "audio" and isinstance(value, dict):
                self._add_audio(value)
            else:
                self.extra[name] = value

    def _add_audio(self, audio: JSON) -> None:
        """Speech comes in pieces of `data` (base64) and `transcript`."""
        so_far = self.extra.setdefault("audio", {})
        for name, value in audio.items():
            if name in _PIECES and isinstance(value, str):
                so_far.setdefault(name, []).append(value)
            else:
                so_far[name] = value

    def _whole_extra(self) -> JSON | None:
        extra: dict[str, Any] = dict(self.extra)
        if isinstance(audio := extra.get("audio"), dict):
            extra["audio"] = {
                name: "".join(value) if name in _PIECES and isinstance(value, list) else value
                for name, value in audio.items()
            }
        return extra or None

    def _add_logprobs(self, logprobs: JSON) -> None:
        merged = Fields() if self.logprobs is None else self.logprobs
        for name, value in logprobs.items():
            if isinstance(value, list):
                if not isinstance(merged.get(name), list):
                    merged[name] = []
                merged[name].extend(value)
            else:
                merged.setdefault(name, value)
        self.logprobs = merged

    def tool_calls(self) -> list[ToolCall]:
        """The calls so far, complete or not, in the order of their first pieces."""
        return [
            # OpenAI-compatible servers send "" for a call without arguments.
            ToolCall(
                id,
                Function("".join(name), "".join(arguments).strip() or "{}"),
                extra_content=self.call_extra.get(index),
            )
            for index, (id, name, arguments) in self.calls.items()
        ]

    def choice(self, index: int) -> Choice:
        """The choice so far, as number `index` of its completion."""
        calls = self.tool_calls()
        return Choice(
            index,
            ChatCompletionMessage(
                content="".join(self.content) if self.content or not calls else None,
                reasoning="".join(self.reasoning) or None,
                tool_calls=calls or None,
                refusal="".join(self.refusal) or None,
                extra=self._whole_extra() if self.extra else None,
            ),
            self.finish_reason,
            self.logprobs,
            self.native_finish_reason,
        )


class Accumulator:
    """Joins chunks to a completion."""

    def __init__(self) -> None:
        self._choices: dict[int, ChoiceBuilder] = {}
        self._first: ChatCompletionChunk | None = None
        self._last: ChatCompletionChunk | None = None
        self._usage: Usage | None = None

    def add(self, chunk: ChatCompletionChunk) -> None:
        """Add the next chunk."""
        if self._first is None or self._first.id in _NO_IDS:
            # Azure's first chunk has neither id nor model.
            self._first = chunk
        self._last = chunk
        if chunk.usage is not None:
            self._usage = chunk.usage
        for choice in chunk.choices:
            try:
                builder = self._choices[choice.index]
            except KeyError:
                builder = self._choices[choice.index] = ChoiceBuilder()
            builder.add(choice)

    @property
    def has_begun(self) -> bool:
        """Whether a chunk has come."""
        return self._first is not None

    @property
    def text(self) -> str:
        """The first choice's text so far."""
        builder = self._choices.get(0)
        return "".join(builder.content) if builder else ""

    def text_within(self, length: int, index: int) -> str | None:
        """A choice's text so far; None if it is longer than `length`."""
        builder = self._choices.get(index)
        return "" if builder is None else builder.text_within(length)

    @property
    def model(self) -> str:
        """The model that the last chunk names; "" before the first one."""
        return self._last.model if self._last is not None else ""

    @property
    def usage(self) -> Usage | None:
        """What the provider has counted so far."""
        return self._usage

    def completion(self) -> ChatCompletion:
        """The answer as far as it has come; IndexError before the first chunk."""
        if self._first is None or self._last is None:
            raise IndexError("no chunk yet")
        return ChatCompletion(
            id=self._first.id or NO_ID,
            created=self._first.created,
            model=self._last.model,
            choices=[self._choices[index].choice(index) for index in sorted(self._choices)],
            usage=self._usage,
            system_fingerprint=self._last.system_fingerprint,
            service_tier=self._last.service_tier,
            provider=self._first.provider,
            receipt=self._last.receipt,
        )


def as_chunk(completion: ChatCompletion) -> ChatCompletionChunk:
    """The completion as one chunk."""
    fields = {name: getattr(completion, name) for name in completion.__struct_fields__}
    choices = []
    for choice in fields.pop("choices"):
        message = choice.message
        calls = [
            ToolCallDelta(index, call.id, call.function, extra_content=call.extra_content)
            for index, call in enumerate(message.tool_calls or ())
        ]
        parts = message.role, message.content, message.reasoning, calls or None, message.refusal
        delta = ChoiceDelta(*parts, message.extra)
        ending = choice.finish_reason, choice.logprobs, choice.native_finish_reason
        choices.append(ChunkChoice(choice.index, delta, *ending))
    return ChatCompletionChunk(choices=choices, **fields)
