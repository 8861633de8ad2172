"""What each chunk adds to one choice, in all the forms in which servers write it.

The text may stand in `delta`, in `message` or in `text`; a `message` beside a delta repeats the
answer so far. Reasoning has four names, or stands in the text between <think> tags.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ..accumulator import Accumulator
from ..json_shape import fields
from ..types import JSON, ChoiceDelta, ChunkChoice
from .finish import finish_of
from .text import details_of, joined, text_of, thinking_of, whole
from .think_tags import ThinkTags
from .tool_calls import ToolCallAssembler

_ROLES = frozenset(("developer", "system", "user", "assistant", "tool"))
_REASONING = ("reasoning", "reasoning_content")
_THOUGHTS = (*_REASONING, "reasoning_details")
_CONTENT = ("content", *_THOUGHTS, "tool_calls", "function_call", "refusal")
_READ = frozenset((*_CONTENT, "role"))


class UnusableAnswer(ValueError):
    """An answer that no caller can use; its text ends a sentence "NAME sent …"."""


class ChoiceReader:
    """One choice of an answer, chunk by chunk; `answer` accumulates the chunks.

    `has_text`: some has come. `plain`: no <think> tag can come any more. `pending`: something
    waits for the next chunk. `finished`: it has a finish_reason, and nothing came after it.
    `messages`: its content comes as messages, the "first" of them, or "parts" as in deltas.
    """

    __slots__ = (
        *("_answer", "_calls", "_clean", "_halves", "_index", "_reasoned", "_thinking"),
        *("finished", "has_text", "messages", "pending", "plain"),
    )

    def __init__(self, index: int, answer: Accumulator, clean: Callable[[Any], Any]) -> None:
        self._index = index
        self._answer = answer
        self._clean = clean
        self._calls: ToolCallAssembler | None = None
        self._thinking: ThinkTags | None = None
        self._halves: dict[str, str] = {}
        self.messages: Literal["", "first", "parts"] = ""
        self._reasoned = False
        self.has_text = False
        self.plain = False
        self.pending = False
        self.finished = False

    def read(self, choice: JSON, *, is_whole: bool) -> ChunkChoice:
        """What one chunk adds. Raises `BrokenAnswer` and `UnusableAnswer`."""
        reason, unknown = finish_of(choice.get("finish_reason"))
        if unknown is not None:
            unknown = str(self._clean(unknown))[:80]
        part = self._part(choice, is_whole)
        delta = self._delta(part, is_whole)
        if not self.plain:
            self._split_thinking(delta)
        # Some servers finish every chunk: behind content, what is held back waits for the next one.
        if is_whole or (reason is not None and not _has_content(part)):
            self._end(delta)
        self._note(delta)
        logprobs = choice.get("logprobs")
        return ChunkChoice(
            self._index,
            delta,
            reason,
            fields(logprobs) if isinstance(logprobs, dict) else None,
            unknown,
        )

    def end(self) -> ChunkChoice | None:
        """What was held back, at the end of an answer without a finish_reason; None if nothing was."""
        if not self.pending:
            return None
        delta = ChoiceDelta()
        self._end(delta)
        self._note(delta)
        reason = "tool_calls" if self._calls is not None and not self.finished else None
        return ChunkChoice(self._index, delta, reason) if reason or delta.has_content() else None

    def has_begun(self) -> bool:
        return self.finished or self.pending or self._reasoned or self.has_text

    def has_calls(self) -> bool:
        return self._calls is not None

    def has_open_calls(self) -> bool:
        """Whether there are tool calls without a finish_reason, one of them incomplete."""
        calls = self._calls
        return calls is not None and not self.finished and not calls.is_complete()

    def _part(self, choice: JSON, is_whole: bool) -> JSON:
        """The delta or message with what is new in this chunk."""
        delta, message = choice.get("delta"), choice.get("message")
        if not isinstance(message, dict):
            part = delta if isinstance(delta, dict) else {}
            text = choice.get("text")
            return part | {"content": text} if text and not part.get("content") else part
        if not isinstance(delta, dict):
            delta = {}
        if is_whole:
            return message if _has_content(message) or not _has_content(delta) else delta
        if _has_content(delta):
            return delta
        if not _has_content(message) or self.messages == "parts":
            return message
        if not (self.has_text or self._reasoned or self._calls is not None):
            self.messages = "first"
            return message
        return self._beyond(message, "delta" in choice or bool(choice.get("finish_reason")))

    def _beyond(self, message: JSON, may_repeat: bool) -> JSON:
        """What a message behind other content adds.

        It repeats the answer so far, unless the content came as messages too, which are deltas under
        another name: `may_repeat` says whether such a one can still be a repetition.
        """
        content = text_of(message.get("content")) or ""
        so_far = self._answer.text_within(len(content), self._index)
        repeats = so_far is not None and content.startswith(so_far)
        if self.messages == "first" and not (may_repeat and so_far and repeats):
            self.messages = "parts"
            return message
        known = {"refusal", *(_THOUGHTS if self._reasoned else ())}
        if self._calls is not None:
            known.add("tool_calls")
        new = {name: value for name, value in message.items() if name not in known}
        return new | {"content": content.removeprefix(so_far or "") if repeats else ""}

    def _delta(self, part: JSON, is_whole: bool) -> ChoiceDelta:
        content = part.get("content")
        text = content if isinstance(content, str) else text_of(content)
        delta = ChoiceDelta(content=self._joined("content", text) if text else text)
        if len(part) == 1 and isinstance(content, str):
            return delta
        role = part.get("role")
        if isinstance(role, str) and role in _ROLES:
            delta.role = role
        reasoning = [part.get(name) for name in _REASONING]
        reasoning += (thinking_of(content), details_of(part.get("reasoning_details")))
        for text in reasoning:
            if isinstance(text, str) and text:
                delta.reasoning = self._joined("reasoning", text)
                break
        refusal = part.get("refusal")
        if isinstance(refusal, str) and refusal:
            delta.refusal = self._joined("refusal", refusal)
        self._read_calls(part, delta, is_whole)
        extra = {
            name: value
            for name, value in part.items()
            if (name not in _READ or name == "reasoning_details")
            and value not in (None, "", [], {})
        }
        if extra:
            delta.extra = self._clean(extra)
        return delta

    def _read_calls(self, part: JSON, delta: ChoiceDelta, is_whole: bool) -> None:
        calls = part.get("tool_calls")
        if isinstance(calls, list) and calls:
            if self._calls is None:
                self._calls = ToolCallAssembler()
            try:
                delta.tool_calls = self._calls.read(calls, is_whole=is_whole) or None
            except ValueError as error:
                raise UnusableAnswer(str(error)) from None
        elif part.get("function_call"):
            raise UnusableAnswer("a function_call, which is the old form of tool calls")

    def _joined(self, field: str, text: str) -> str:
        half = self._halves.pop(field, "")
        text, half = joined(half, text)
        if half:
            self._halves[field] = half
        return text

    def _split_thinking(self, delta: ChoiceDelta) -> None:
        """Move reasoning that stands in the content to its own field."""
        if self._thinking is None:
            self._thinking = ThinkTags()
        thinking = self._thinking
        if delta.reasoning:
            # A provider that sends it apart leaves nothing of it in the content.
            thinking.plain = True
            delta.content = thinking.end()[1] + (delta.content or "") or delta.content
        elif delta.content:
            delta.reasoning, delta.content = thinking.feed(delta.content)
        delta.reasoning = delta.reasoning or None
        self.plain = thinking.plain

    def _end(self, delta: ChoiceDelta) -> None:
        """Add what was held back for a next chunk."""
        for field, half in self._halves.items():
            setattr(delta, field, (getattr(delta, field) or "") + whole(half))
        self._halves.clear()
        if self._thinking is not None and not self.plain:
            reasoning, content = self._thinking.end()
            delta.reasoning = (delta.reasoning or "") + reasoning or None
            delta.content = (delta.content or "") + content if content else delta.content
        if self._calls is not None:
            try:
                delta.tool_calls = (delta.tool_calls or []) + self._calls.end() or None
            except ValueError as error:
                raise UnusableAnswer(str(error)) from None

    def _note(self, delta: ChoiceDelta) -> None:
        self.has_text = self.has_text or bool(delta.content)
        self._reasoned = self._reasoned or bool(delta.reasoning)
        thinking = self._thinking is not None and not self.plain
        self.pending = thinking or bool(self._halves) or self._calls is not None


def _has_content(part: JSON) -> bool:
    return any(part.get(name) for name in _CONTENT)


def is_chunk(data: Any) -> bool:
    """Whether parsed JSON has anything of a completion."""
    return isinstance(data, dict) and ("choices" in data or "usage" in data)


def choice_error(data: JSON) -> Any:
    """The error object of a choice (OpenRouter); None if there is none."""
    choices = data.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and (error := choice.get("error")):
            return error
    return None
