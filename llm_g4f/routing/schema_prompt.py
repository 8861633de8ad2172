"""Schemas for models without them: the schema goes into the prompt, and the answer is checked.

The answer is held back until it is known to fit, so that one which does not can still give way
to the next provider.
"""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec.structs import replace

from ..accumulator import Accumulator
from ..errors import BadRequestError, InvalidResponseError
from ..providers.base import ChunkStream, OpenStream, Provider, ServedModel, open_stream
from ..request import ChatRequest
from ..safe_text import clean
from ..types import JSON, ChatCompletionMessage, Choice, Chunks


async def open_with_schema(
    provider: Provider, request: ChatRequest, served: ServedModel
) -> OpenStream:
    """The provider's answer to the request with its schema in the prompt. Raises `APIError`, and
    `BadRequestError` for an invalid schema."""
    schema = request.schema
    validator = _validator(schema)
    asked = replace(
        request,
        messages=_with_schema(request.messages, schema),
        params={name: value for name, value in request.params.items() if name != "response_format"},
    )
    opened = await open_stream(provider, asked, served)
    checked = _CheckedStream(opened.chunks, validator, provider.name, served)
    return OpenStream(checked, opened.omitted, opened.response, opened.request_id)


class _CheckedStream:
    """A `ChunkStream` that holds an answer back until it is known to fit a schema."""

    def __init__(
        self, chunks: ChunkStream, validator: Any, provider: str, served: ServedModel
    ) -> None:
        self._chunks = chunks
        self._validator = validator
        self._provider = provider
        self._served = served
        self._completion = Accumulator()
        self._held: Chunks = []
        self._ended = False

    async def __anext__(self) -> Chunks:
        if self._ended:
            raise StopAsyncIteration
        try:
            chunks = await self._chunks.__anext__()
        except StopAsyncIteration:
            self._ended = True
            if not self._held:
                raise
            return self._checked()
        for chunk in chunks:
            self._completion.add(chunk)
        self._held += chunks
        # Without content it commits to nothing, and shows that the provider is not silent.
        return [replace(chunks[0], choices=[], usage=None)]

    async def aclose(self) -> None:
        await self._chunks.aclose()

    def _checked(self) -> Chunks:
        choices = self._completion.completion().choices
        if not choices or not _is_text(choices[0].message):
            return self._held
        text = _fit(choices[0], self._validator, self._served, self._provider)
        return _with_text(self._held, text)


def _is_text(message: ChatCompletionMessage) -> bool:
    return not message.tool_calls and not message.refusal


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


def _fit(choice: Choice, validator: Any, served: ServedModel, provider: str) -> str:
    """The JSON in the answer's text, which fits. Raises `InvalidResponseError`."""
    text = choice.message.content or ""
    fenced = re.search(r"```(?:json)?\s*\n(.*?)\n\s*```", text, re.DOTALL)
    found = (fenced[1] if fenced else text).strip()
    why = _misfit(found, validator)
    if why is None:
        return found
    if choice.finish_reason == "length":
        why = "it was cut at its token limit (max_tokens, or the model's own)"
    raise InvalidResponseError(
        f"{provider} ({served.model}) has no schemas of its own, and its answer does not fit"
        f" yours: {why}. Ask again, or ask another provider. It began: {clean(text, 120)}",
        provider=provider,
        model=served.model,
        reason="schema_mismatch",
        partial=text,
    )


def _misfit(text: str, validator: Any) -> str | None:
    """Why `text` does not fit; None if it does. Raises `BadRequestError` for the schema's own faults."""
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        value = json.loads(text, parse_constant=_not_json)
    except (ValueError, RecursionError):
        return "it is not JSON"
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


def _not_json(name: str) -> None:
    # NaN and Infinity are Python's own addition.
    raise ValueError(name)


def _with_text(held: Chunks, text: str) -> Chunks:
    """The chunks with `text` as all their content, in the place of the first that had any."""
    made = []
    for chunk in held:
        choices = []
        for choice in chunk.choices:
            if choice.index == 0 and choice.delta.content:
                choice = replace(choice, delta=replace(choice.delta, content=text))
                text = ""
            choices.append(choice)
        made.append(replace(chunk, choices=choices))
    return made
