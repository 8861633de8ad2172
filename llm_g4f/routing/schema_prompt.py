"""Schemas for models that know none: the schema goes into the prompt, and the answer is checked.

The answer is held back until it is known to fit, so that one which does not can still give way
to the next provider.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from typing import Any

from msgspec.structs import replace

from ..accumulator import Accumulator
from ..asyncgen import ManagedAsyncGen
from ..errors import BadRequestError, InvalidResponseError, clean
from ..providers.base import Provider, Serving, batches
from ..request import ChatRequest
from ..types import JSON, ChatCompletionMessage, Choice, Chunks


async def fitting(
    provider: Provider, request: ChatRequest, serving: Serving
) -> AsyncGenerator[Chunks, None]:
    """The provider's answer, told the schema in the prompt and held back until it is known to fit.
    Raises `APIError`."""
    form = request.params["response_format"].get("json_schema")
    schema = form.get("schema") if isinstance(form, dict) else None
    validator = _validator(schema)
    asked = replace(
        request,
        messages=_told(request.messages, schema),
        params={name: value for name, value in request.params.items() if name != "response_format"},
    )
    whole = Accumulator()
    held: Chunks = []
    found = ManagedAsyncGen(batches(provider, asked, serving))
    try:
        async for batch in found:
            for chunk in batch:
                whole.add(chunk)
            held += batch
            # Without words it commits nobody, and says that the provider is not silent.
            yield [replace(batch[0], choices=[], usage=None)]
    finally:
        await found.aclose()
    choices = whole.completion().choices if held else []
    if choices and _is_text(choices[0].message):
        held = _with_text(held, _fit(choices[0], validator, serving, provider.name))
    if held:
        yield held


def _is_text(message: ChatCompletionMessage) -> bool:
    return not message.tool_calls and not message.refusal


def _told(messages: list[JSON], schema: Any) -> list[JSON]:
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
    """Raises `BadRequestError` for what is no schema."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    try:
        json.dumps(schema, allow_nan=False)
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
    except (SchemaError, AttributeError, TypeError, ValueError, RecursionError) as error:
        said = clean(str(getattr(error, "message", error)))
        raise BadRequestError(f"The schema is no JSON Schema: {said}.", status_code=400) from None
    # An empty registry: what a $ref points to is in the schema, and is never fetched.
    return kind(schema, registry=Registry())


def _fit(choice: Choice, validator: Any, serving: Serving, provider: str) -> str:
    """The JSON in the answer's text, which fits. Raises `InvalidResponseError`."""
    text = choice.message.content or ""
    fenced = re.search(r"```(?:json)?\s*\n(.*?)\n\s*```", text, re.DOTALL)
    found = (fenced[1] if fenced else text).strip()
    why = _misfit(found, validator)
    if why is None:
        return found
    if choice.finish_reason == "length":
        why = "it was cut at its token limit (max_tokens, or the model's own)"
    misfit = InvalidResponseError(
        f"{provider} ({serving.model}) has no schemas of its own, and its answer does not fit"
        f" yours: {why}. Ask again, or another provider. It began: {clean(text, 120)}",
        provider=provider,
        model=serving.model,
    )
    misfit.partial = text
    raise misfit


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
