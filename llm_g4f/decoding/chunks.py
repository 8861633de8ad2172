"""The JSON of OpenAI-compatible servers into chunks, tolerant of what they are known to do.

A chunk of a stream and a whole completion go through the same reader: a whole one is a
single chunk whose `message` is the delta. Deviations seen in the wild and handled here:
null or missing choices, deltas and contents, indexes that count chunks, ids and models that come
late. `choices` reads a choice, `usage` the counts, `finish` the words for how an answer ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import DecodeError

from ..accumulator import NO_ID, Accumulator
from ..errors import InvalidResponseError, StreamError
from ..safe_text import clean
from ..types import JSON, ChatCompletionChunk, ChoiceDelta, ChunkChoice
from .choices import ChoiceReader, UnusableAnswer, is_chunk
from .finish import BrokenAnswer
from .text import whole
from .text_chunk import TIERS, PlainChoice, decode_text_chunk, usage_in
from .usage import find_usage, integer, usage_of

AFTER_FINISH = 2.0
"""Seconds for usage and [DONE] to follow a finish_reason: some servers leave the connection open."""

AFTER_CONTENT = 10.0
"""The same where the finish_reason came with content, since some servers write it on every chunk, or
where choices that were asked for never came."""


class ChunkReader:
    """Chunks of one answer: remembers what later chunks leave out (ids, model, tool calls).

    `completion` accumulates them. `patience`: seconds to wait for what follows the last
    finish_reason; None while a choice goes on. `renewed` says that it was set anew. `warnings` are
    sentences for the person, about how the answer was read.
    """

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
        self._has_model = False
        self._fingerprint: str | None = None
        self._fingerprint_given: str | None = None
        self.completion = Accumulator()
        self._first = ChoiceReader(0, self.completion, self._cleaned)
        self._readers = {0: self._first}
        self._unfinished = dict(self._readers)
        self._from_one = False
        self._counted = False
        self._read_any = False
        self.warnings: tuple[str, ...] = ()
        self.patience: float | None = None
        self.renewed = False

    def decode(self, data: bytes, *, is_whole: bool = False) -> ChatCompletionChunk | None:
        """The chunk in `data` if it is a `TextChunk`; None for every other form, which `read`
        understands. `is_whole` for a completion that is no stream."""
        try:
            given = decode_text_chunk(data)
        except (DecodeError, UnicodeDecodeError):
            return None
        choices = []
        for choice in given.choices:
            if (read := self._read_text(choice)) is None:
                return None
            choices.append(read)
        if not self._id:
            self._begin(given.id, given.created)
        if not self._has_model or given.system_fingerprint != self._fingerprint_given:
            self._note_labels(given.model, given.system_fingerprint)
        if given.usage is not None:
            self._counted = True
        if is_whole:
            _finish(choices)
        chunk = ChatCompletionChunk(
            self._id or (NO_ID if choices else ""),
            self._created,
            self._model,
            choices,
            None if given.usage is None else usage_in(given),
            self._fingerprint,
            given.service_tier,
            self._provider,
        )
        self.completion.add(chunk)
        return chunk

    def _read_text(self, choice: PlainChoice) -> ChunkChoice | None:
        """The choice of a `TextChunk`; None where what came before makes it another form's."""
        first = self._first
        message = choice.delta or choice.message
        content = message.content if message is not None else None
        if first.pending or (choice.message is not None and (choice.delta or first.has_text)):
            return None
        if content:
            if not first.plain:
                # The first words may be the beginning of <think>.
                if content.lstrip()[:1] in ("", "<"):
                    return None
                first.plain = True
            if choice.message is not None:
                first.messages = "first"
            first.has_text = True
        reason = choice.finish_reason
        if reason is not None or first.finished:
            self._note_finish(0, reason, content or False)
        role = message.role if message is not None else None
        return ChunkChoice(0, ChoiceDelta(role, content), reason)

    def read(self, data: Any, *, is_whole: bool = False) -> ChatCompletionChunk:
        """One chunk from one parsed JSON value; `is_whole` for a completion that is no stream.

        Raises `InvalidResponseError` where it is none, and `StreamError` for a broken answer.
        """
        if not is_chunk(data):
            raise self._invalid(
                "{provider}: the answer is JSON, but not a completion. Is base_url the address of an"
                " OpenAI-compatible API?"
            )
        self._read_any = True
        if not self._id:
            self._begin(data.get("id"), data.get("created"))
        self._note_labels(data.get("model"), data.get("system_fingerprint"))
        choices, usage, tier = data.get("choices"), find_usage(data), data.get("service_tier")
        choices = self._read_choices(choices if isinstance(choices, list) else [], is_whole)
        counted = usage_of(self._named(usage)) if usage else None
        self._counted = self._counted or counted is not None
        if is_whole:
            _finish(choices)
        chunk = ChatCompletionChunk(
            self._id or (NO_ID if choices else ""),
            self._created,
            self._model,
            choices,
            counted,
            self._fingerprint,
            tier if isinstance(tier, str) and tier in TIERS else None,
            self._provider,
        )
        if isinstance(progress := data.get("prompt_progress"), dict):
            # llama.cpp with return_progress: {total, cache, processed, time_ms}; tools/server/README.md.
            chunk.prompt_progress = integer(progress.get("processed"))
            chunk.prompt_total = integer(progress.get("total"))
        self.completion.add(chunk)
        return chunk

    def rest(self) -> ChatCompletionChunk | None:
        """What was held back, at the end of an answer without a finish_reason; None if nothing was."""
        if not self._read_any:
            return None
        try:
            choices = [
                choice for reader in self._readers.values() if (choice := reader.end()) is not None
            ]
        except UnusableAnswer as error:
            raise self._unusable(error) from None
        if not choices:
            return None
        chunk = ChatCompletionChunk(
            self._id or NO_ID, self._created, self._model, choices, provider=self._provider
        )
        self.completion.add(chunk)
        return chunk

    def has_calls(self) -> bool:
        return any(reader.has_calls() for reader in self._readers.values())

    def has_open_calls(self) -> bool:
        """Whether a tool call is incomplete, and no finish_reason says that nothing follows."""
        return self._read_any and any(reader.has_open_calls() for reader in self._readers.values())

    def has_usage(self) -> bool:
        """Whether the usage has come, which servers send last."""
        return self._counted

    def _read_choices(self, given: list[Any], is_whole: bool) -> list[ChunkChoice]:
        choices = []
        given = [choice for choice in given if isinstance(choice, dict)]
        places = self._places_of(given, is_whole)
        for index, choice in zip(places, given, strict=False):
            if not 0 <= index < self._choices:
                continue
            reader = self._readers.get(index)
            if reader is None:
                reader = ChoiceReader(index, self.completion, self._cleaned)
                self._readers[index] = reader
                self._unfinished[index] = reader
            try:
                read = reader.read(choice, is_whole=is_whole)
            except BrokenAnswer as error:
                word = clean(str(error), 80)
                raise StreamError(
                    f"{self._provider} broke off its answer (finish_reason: {word}). Ask again, or"
                    " ask another provider.",
                    provider=self._provider,
                    model=self._model,
                ) from None
            except UnusableAnswer as error:
                raise self._unusable(error) from None
            if read.native_finish_reason is not None:
                self._warn_of_finish(read.native_finish_reason)
            if read.finish_reason is not None or reader.finished:
                self._note_finish(index, read.finish_reason, read.delta.has_content())
            choices.append(read)
        return choices

    def _warn_of_finish(self, word: str) -> None:
        said = f'unknown finish_reason "{clean(" ".join(word.split()), 80)}"'
        warning = f"{self._provider} ended its answer with the {said}, read as stop."
        if warning not in self.warnings and len(self.warnings) < 4:
            self.warnings += (warning,)

    def _places_of(self, choices: list[JSON], is_whole: bool) -> Iterable[int]:
        if self._choices == 1:  # Some servers count the chunks, or begin at 1.
            return (0,)
        places = range(len(choices))
        numbers = [index for choice in choices if isinstance(index := choice.get("index"), int)]
        if len(numbers) < len(places) or (is_whole and set(numbers) != set(places)):
            return places
        if self._choices in numbers and 0 not in numbers and not self._first.has_begun():
            self._from_one = True
        # Where they begin at 1, the last one is the first.
        return [index % self._choices for index in numbers] if self._from_one else numbers

    def _note_finish(self, index: int, reason: str | None, content: str | bool) -> None:
        """A choice has a finish_reason, now or before: whether the answer is over."""
        if reason is None and not content:
            return
        reader = self._readers[index]
        again = reader.finished and not content
        reader.finished = reason is not None
        over, complete = reader.finished, True
        if self._choices > 1:
            if over:
                self._unfinished.pop(index, None)
            else:
                self._unfinished[index] = reader
            over = not any(reader.has_begun() for reader in self._unfinished.values())
            complete = len(self._readers) - len(self._unfinished) == self._choices
        if not over:
            self.patience = None
        elif not again:
            self.patience = AFTER_CONTENT if content or not complete else AFTER_FINISH
            self.renewed = True

    def _begin(self, id: Any, created: Any) -> None:
        self._id = self._label(id) or ""
        self._created = integer(created) or self._created or int(time.time())

    def _note_labels(self, model: Any, fingerprint: Any) -> None:
        if not self._has_model and (given := self._label(model)):
            self._model, self._has_model = given, True
        # Chunk after chunk says the same.
        if fingerprint != self._fingerprint_given:
            self._fingerprint_given = fingerprint
            self._fingerprint = self._label(fingerprint)

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

    def _cleaned(self, value: Any) -> Any:
        """A value with the key removed from its texts and names."""
        if isinstance(value, str):
            return whole(self._without_key(value))
        if isinstance(value, list):
            return [self._cleaned(item) for item in value]
        if isinstance(value, dict):
            return {self._cleaned(name): self._cleaned(item) for name, item in value.items()}
        return value

    def _unusable(self, error: UnusableAnswer) -> InvalidResponseError:
        return self._invalid(f"{{provider}} sent {error}. Ask again, or ask another provider.")

    def _invalid(self, words: str) -> InvalidResponseError:
        return InvalidResponseError(
            words.format(provider=self._provider), provider=self._provider, model=self._model
        )


def _finish(choices: list[ChunkChoice]) -> None:
    """A whole body is its own proof that the answer ended."""
    for choice in choices:
        choice.finish_reason = choice.finish_reason or "stop"
