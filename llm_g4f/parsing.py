"""`chat.completions.parse`: an answer as an object of a pydantic class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from msgspec.structs import asdict

from .arguments import is_parsable
from .errors import (
    APIError,
    ArgumentError,
    ContentFilterFinishReasonError,
    G4FError,
    InvalidResponseError,
    LengthFinishReasonError,
)
from .providers.strict_schema import strict_form
from .safe_text import clean
from .types import JSON, ChatCompletion, ChatCompletionMessage, Choice

T = TypeVar("T")


class ParsedMessage(ChatCompletionMessage, Generic[T]):
    """A message and what its text means: `parsed` is None for a refusal or a tool call."""

    parsed: T | None = None

    def _data(self) -> JSON:
        dump = getattr(self.parsed, "model_dump", None)
        return {**super()._data(), "parsed": dump(mode="json") if dump else self.parsed}


class ParsedChoice(Choice, Generic[T]):
    """A choice with a `ParsedMessage`."""

    message: ParsedMessage[T]


class ParsedChatCompletion(ChatCompletion, Generic[T]):
    """A completion with `ParsedChoice`s."""

    choices: list[ParsedChoice[T]]  # type: ignore[assignment]  # each is a Choice


def response_format_of(kind: Any) -> JSON:
    """The `response_format` that asks for an object of `kind`. Raises `ArgumentError` unless it is a
    pydantic class, or a data class."""
    if isinstance(kind, Mapping):
        return dict(kind)
    schema = _adapter(kind).json_schema()
    name = "".join(char if char.isalnum() else "_" for char in kind.__name__)[:64]
    json_schema: JSON = {"name": name, "schema": schema}
    if (strict := strict_form(_closed(schema))) is not None:
        json_schema |= {"schema": strict, "strict": True}
    return {"type": "json_schema", "json_schema": json_schema}


def _adapter(kind: Any) -> Any:
    if not is_parsable(kind):
        raise ArgumentError(
            "response_format of parse() must be a pydantic class, a data class or an object in"
            f" OpenAI's form, not {kind!r}."
        )
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _closed(schema: Any) -> Any:
    """A schema that requires every field and no other, as openai's helper makes it: OpenAI's strict
    schemas have no optional fields."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed: JSON = {}
    for name, value in schema.items():
        if name in ("properties", "$defs") and isinstance(value, dict):
            closed[name] = {key: _closed(child) for key, child in value.items()}
        elif not (name == "default" and value is None):
            closed[name] = _closed(value) if name in ("items", "anyOf") else value
    if isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
        closed["required"] = list(closed["properties"])
    return closed


def parsed(completion: ChatCompletion, kind: type[T] | Any) -> ParsedChatCompletion[T]:
    """The completion with its messages parsed. Raises `LengthFinishReasonError`,
    `ContentFilterFinishReasonError`, and `InvalidResponseError` for a text that does not fit."""
    choices = [
        ParsedChoice(**{**_fields(choice), "message": _parsed_message(completion, choice, kind)})
        for choice in completion.choices
    ]
    return ParsedChatCompletion(**{**_fields(completion), "choices": choices})


def _fields(value: Any) -> dict[str, Any]:
    return asdict(value)


def _parsed_message(completion: ChatCompletion, choice: Choice, kind: Any) -> ParsedMessage[Any]:
    if choice.finish_reason == "length":
        raise LengthFinishReasonError(completion=completion)
    if choice.finish_reason == "content_filter":
        raise ContentFilterFinishReasonError(completion=completion)
    message = choice.message
    value = None
    if is_parsable(kind) and message.content and not message.refusal and not message.tool_calls:
        try:
            value = _adapter(kind).validate_json(message.content)
        except ValueError as error:
            raise InvalidResponseError(
                f"The answer of {completion.provider} is no {kind.__name__}: {_misfit(error)}. Ask"
                " again, or ask another provider.",
                provider=completion.provider,
                model=completion.model,
                receipt=completion.receipt,
                reason="schema_mismatch",
                partial=message.content,
            ) from error
    return ParsedMessage(**_fields(message), parsed=value)


def _misfit(error: Any) -> str:
    """The first fault of a pydantic error, and where it is."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return clean(f"{place}: {first['msg']}" if place else first["msg"], 200)


def parse_error(error: APIError) -> G4FError:
    """What `parse` raises for an answer that was cut or withheld: openai's name for it."""
    if not isinstance(error, InvalidResponseError):
        return error
    completion = error.completion
    if completion is not None:
        completion.provider, completion.receipt = error.provider, error.receipt  # type: ignore[assignment]
        if any(choice.finish_reason == "length" for choice in completion.choices):
            return LengthFinishReasonError(completion=completion)
    if error.reason != "filtered":
        return error
    filtered = ContentFilterFinishReasonError(completion=completion)
    filtered.provider, filtered.model, filtered.receipt = error.provider, error.model, error.receipt
    return filtered
