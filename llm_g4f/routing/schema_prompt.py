"""Answers under a schema: held back until they are whole, and checked.

One that does not fit can still give way to the next provider. Only a provider that enforces schemas
answers unchecked, as it comes. For one that has none, the schema goes into the prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from ..accumulator import Accumulator
from ..errors import BadRequestError, InvalidResponseError, Reason
from ..providers.base import OpenStream, Provider, ServedModel, open_stream
from ..request import ChatRequest
from ..safe_text import clean
from ..types import JSON, Choice, Chunks
from .held import MAX_SIZE_OF_ANSWER, size_of

OnChunks = Callable[[Chunks], None]


async def open_with_schema(
    provider: Provider, request: ChatRequest, served: ServedModel, on_chunks: OnChunks
) -> OpenStream:
    """The provider's answer to a request with a response_format; checked if that has a schema, and
    the provider does not enforce it. `on_chunks` gets the chunks that are held back, as they come.

    Raises `APIError`, and `BadRequestError` for an invalid schema that goes into the prompt.
    """
    schema = request.schema
    if served.schema_in_prompt:
        validator = _validator(schema)
        params = dict(request.params)
        del params["response_format"]
        messages = _with_schema(request.messages, schema)
        request = replace(request, messages=messages, params=params)
    elif served.enforces_schema or not isinstance(schema, dict):
        return await open_stream(provider, request, served)
    else:
        try:
            validator = _validator(schema)
        except BadRequestError:
            # The provider's to judge: its regular expressions, for one, may be others than Python's.
            return await open_stream(provider, request, served)
    opened = await open_stream(provider, request, served)
    checked = _CheckedStream(opened, validator, provider.name, served, on_chunks)
    return replace(opened, chunks=checked, completion=checked.completion)


class _CheckedStream:
    """A `ChunkStream` that holds an answer back until it is known to fit a schema. `completion` is
    what is handed on then."""

    def __init__(
        self,
        opened: OpenStream,
        validator: Any,
        provider: str,
        served: ServedModel,
        on_chunks: OnChunks,
    ) -> None:
        self._chunks = opened.chunks
        assert opened.completion is not None
        self._answer = opened.completion
        self._validator = validator
        self._provider = provider
        self._served = served
        self._on_chunks = on_chunks
        self.completion = Accumulator()
        self._held: Chunks = []
        self._size = 0
        self._ended = False

    async def __anext__(self) -> Chunks:
        while not self._ended:
            try:
                self._hold(await self._chunks.__anext__())
            except StopAsyncIteration:
                self._ended = True
        held, self._held = self._held, []
        if not held:
            raise StopAsyncIteration
        return self._checked(held)

    @property
    def warnings(self) -> tuple[str, ...]:
        return getattr(self._chunks, "warnings", ())

    async def aclose(self) -> None:
        await self._chunks.aclose()

    def _hold(self, chunks: Chunks) -> None:
        self._on_chunks(chunks)
        self._held += chunks
        self._size += size_of(chunks)
        if self._size > MAX_SIZE_OF_ANSWER:
            raise self._error("sent an answer that is too long to be checked against your schema")

    def _checked(self, held: Chunks) -> Chunks:
        """All chunks, with nothing but the JSON in the text of each choice."""
        choices = self._answer.completion().choices
        checked = _with_texts(
            held, {choice.index: self._fitting(choice) for choice in choices if _is_text(choice)}
        )
        for chunk in checked:
            self.completion.add(chunk)
        return checked

    def _fitting(self, choice: Choice) -> str:
        """The JSON in the text of a choice, which fits. Raises `InvalidResponseError`."""
        text, why = choice.message.content or "", ""
        for found, value in _json_values(text):
            misfit = _misfit(value, self._validator)
            if misfit is None:
                return found
            why = why or misfit
        reason: Reason = "schema_mismatch"
        if choice.finish_reason == "length":
            why = "it was cut at its token limit (max_tokens, or the model's own)"
        elif choice.finish_reason == "content_filter":
            # Because of the prompt, which no other provider gets then.
            reason, why = "filtered", "the provider's content filter cut it"
        has = "has no schemas of its own"
        if not self._served.schema_in_prompt:
            has = "is not known to enforce schemas"
        why = why or "it is not JSON"
        error = self._error(f"{has}, and its answer does not fit yours: {why}", text, reason)
        error.completion = self._answer.completion()
        raise error

    def _error(
        self, what: str, text: str = "", reason: Reason = "schema_mismatch"
    ) -> InvalidResponseError:
        advice = "Ask again, or ask another provider."
        if reason == "filtered":
            advice = "Change the prompt, or name another provider."
        began = f" It began: {clean(text, 120)}" if text else ""
        model = self._served.model
        return InvalidResponseError(
            f"{self._provider} ({model}) {what}. {advice}{began}",
            provider=self._provider,
            model=model,
            reason=reason,
            partial=text,
        )


def _is_text(choice: Choice) -> bool:
    """Whether a choice is a text to check: no tool call, no refusal, and not filtered before its
    first word."""
    message = choice.message
    if message.tool_calls or message.refusal:
        return False
    return bool(message.content) or choice.finish_reason != "content_filter"


def _with_schema(messages: list[JSON], schema: Any) -> list[JSON]:
    """The messages, with the schema in the system prompt: one of them, at the beginning."""
    words = (
        "Answer with JSON that fits this JSON Schema, and with nothing else: no explanation, no"
        f" code fence.\n{json.dumps(schema, ensure_ascii=False)}"
    )
    first = messages[0]
    if first.get("role") in ("system", "developer") and isinstance(first.get("content"), str):
        return [first | {"content": f"{first['content']}\n\n{words}"}, *messages[1:]]
    return [{"role": "system", "content": words}, *messages]


def _validator(schema: Any) -> Any:
    """A validator for `schema`. Raises `BadRequestError` for an invalid one."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    try:
        json.dumps(schema, allow_nan=False)
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
    except (SchemaError, AttributeError, TypeError, ValueError, RecursionError) as error:
        said = clean(str(getattr(error, "message", error)))
        raise BadRequestError(f"Invalid JSON Schema: {said}.", status_code=400) from None
    # An empty registry: what a $ref points to is in the schema, and is never fetched.
    return kind(schema, registry=Registry())


def _not_json(name: str) -> None:
    # NaN and Infinity are Python's own addition.
    raise ValueError(name)


_decode = json.JSONDecoder(parse_constant=_not_json).raw_decode

_FENCE = re.compile(
    r"(?:`{3,}|~{3,})(?:[ \t]*json\w*(?=\W)|[ \t]*[a-z][^\n`~]*(?=\n))?\s*", re.IGNORECASE
)
"""The beginning of a code block in Markdown with its language, up to its content."""

_FENCE_OR_END = re.compile(r"\s*(?:`{3,}|~{3,}|\Z)")


def _json_values(text: str) -> Iterator[tuple[str, Any]]:
    """The JSON values that may be the answer, each as it is written and as it is read: the whole text
    or, where that is not JSON, the content of each code block."""
    written = text.strip()
    value, end = _json_at(written, 0)
    if end and end == len(written):
        yield written, value
        return
    fence = _FENCE.search(text)
    while fence is not None:
        start = fence.end()
        value, end = _json_at(text, start)
        if end and _FENCE_OR_END.match(text, end):
            yield text[start:end], value
        fence = _FENCE.search(text, end or start)


def _json_at(text: str, start: int) -> tuple[Any, int]:
    """The JSON value at a place in a text, and where it ends; (None, 0) where there is none."""
    try:
        return _decode(text, start)
    except (ValueError, RecursionError):
        return None, 0


def _misfit(value: Any, validator: Any) -> str | None:
    """Why `value` does not fit; None if it does. Raises `BadRequestError` for the schema's own faults."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        wrong = best_match(validator.iter_errors(value))
    except Unresolvable as error:
        raise BadRequestError(
            f"The schema refers to what is not in it: {clean(str(error), 120)}.", status_code=400
        ) from None
    except RecursionError:
        raise BadRequestError(
            "The schema refers to itself without an end.", status_code=400
        ) from None
    except OverflowError:
        return "it has a number beyond all bounds"
    return None if wrong is None else f"{wrong.json_path}: {clean(wrong.message, 200)}"


def _with_texts(held: Chunks, texts: dict[int, str]) -> Chunks:
    """The chunks with the text in `texts` as all the content of a choice, by its index, in the place
    of the first content that it had."""
    made = []
    for chunk in held:
        choices = []
        for choice in chunk.choices:
            if choice.delta.content and choice.index in texts:
                delta = replace(choice.delta, content=texts[choice.index])
                choice = replace(choice, delta=delta)
                texts[choice.index] = ""
            choices.append(choice)
        made.append(replace(chunk, choices=choices))
    return made
