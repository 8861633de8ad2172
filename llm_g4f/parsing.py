"""`chat.completions.parse`: an answer as an object of a pydantic class."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec.structs import asdict

from .arguments import is_absent, is_parsable
from .errors import (
    APIError,
    ArgumentError,
    ContentFilterFinishReasonError,
    G4FError,
    InvalidResponseError,
    LengthFinishReasonError,
)
from .providers.strict_schema import closed_form, strict_form
from .safe_text import clean
from .types import JSON, ChatCompletion, ChatCompletionMessage, Choice, Function, ToolCall

if TYPE_CHECKING:
    from .stream import Call

T = TypeVar("T")


class ParsedFunction(Function):
    """The function of a tool call and what its arguments mean: `parsed_arguments` is an object of the
    tool's class, else JSON."""

    parsed_arguments: Any = None

    def _data(self) -> JSON:
        return {**super()._data(), "parsed_arguments": _dumped(self.parsed_arguments)}


class ParsedToolCall(ToolCall):
    """A tool call with a `ParsedFunction`."""

    function: ParsedFunction


class ParsedMessage(ChatCompletionMessage, Generic[T]):
    """A message and what its text means: `parsed` is None for a refusal or a tool call."""

    parsed: T | None = None
    tool_calls: list[ParsedToolCall] | None = None  # type: ignore[assignment]  # each is a ToolCall

    def _data(self) -> JSON:
        return {**super()._data(), "parsed": _dumped(self.parsed)}


def _dumped(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump else value


class ParsedChoice(Choice, Generic[T]):
    """A choice with a `ParsedMessage`."""

    message: ParsedMessage[T]


class ParsedChatCompletion(ChatCompletion, Generic[T]):
    """A completion with `ParsedChoice`s."""

    choices: list[ParsedChoice[T]]  # type: ignore[assignment]  # each is a Choice


class FunctionTool(dict[str, Any]):
    """The `function` of a tool, with the pydantic class of its arguments."""

    model: type


def function_tool(model: type, *, name: str | None = None, description: str | None = None) -> JSON:
    """A tool of which the arguments are a pydantic class: its name and its docstring are the tool's,
    unless others are given."""
    about = model.__doc__ if description is None else description
    function = FunctionTool(name=name or model.__name__, strict=True)
    function["parameters"] = _closed(_adapter(model, "pydantic_function_tool").json_schema())
    function.model = model
    if about is not None:
        function["description"] = about
    return {"type": "function", "function": function}


class Parsing(Generic[T]):
    """What a call of `parse` asks for, and how its answer is read. Raises `ArgumentError`."""

    def __init__(self, response_format: type[T] | Any, params: dict[str, Any]) -> None:
        self._kind: Any = None if is_absent(response_format) else response_format
        self._models: dict[str, Any] = {}
        if self._kind is not None:
            params["response_format"] = response_format_of(self._kind)
        if not is_absent(params.get("tools")):
            params["tools"] = list(params["tools"])
            self._models = {_strict_name(tool): _model_of(tool) for tool in params["tools"]}

    async def answer(self, call: Call) -> ChatCompletion:
        """The answer, before it is read. Raises what `parse` raises."""
        try:
            return await call.complete()
        except APIError as error:
            raise _parse_error(error) from error.__cause__

    def parsed(self, completion: ChatCompletion) -> ParsedChatCompletion[T]:
        """The answer with its messages read. Raises `LengthFinishReasonError`,
        `ContentFilterFinishReasonError`, and `InvalidResponseError` for what does not fit."""
        choices = [
            ParsedChoice(**{**asdict(choice), "message": self._message(completion, choice)})
            for choice in completion.choices
        ]
        return ParsedChatCompletion(**{**asdict(completion), "choices": choices})

    def _message(self, completion: ChatCompletion, choice: Choice) -> ParsedMessage[T]:
        if choice.finish_reason == "length":
            raise LengthFinishReasonError(completion=completion)
        if choice.finish_reason == "content_filter":
            raise ContentFilterFinishReasonError(completion=completion)
        message, kind, value = choice.message, self._kind, None
        calls = [self._tool_call(completion, call) for call in message.tool_calls or ()]
        if is_parsable(kind) and message.content and not message.refusal and not calls:
            with _misfits(completion, f"The answer of {{}} is no {kind.__name__}", message.content):
                value = _adapter(kind).validate_json(message.content)
        return ParsedMessage(**{**asdict(message), "tool_calls": calls or None}, parsed=value)

    def _tool_call(self, completion: ChatCompletion, call: ToolCall) -> ParsedToolCall:
        function, value = call.function, None
        if function.name in self._models:
            model, place = self._models[function.name], clean(function.name, 80)
            with _misfits(
                completion, f"The arguments of {place} from {{}} do not fit", function.arguments
            ):
                read = json.loads if model is None else _adapter(model).validate_json
                value = read(function.arguments)
        parsed = ParsedFunction(**asdict(function), parsed_arguments=value)
        return ParsedToolCall(**{**asdict(call), "function": parsed})


def _strict_name(tool: Any) -> str:
    """The name of a tool that `parse` can read calls of: only then do their arguments fit."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or function.get("strict") is not True:
        name = function.get("name") if isinstance(function, Mapping) else None
        raise ArgumentError(
            f"parse() takes only tools with a function that is strict, and {name or 'a tool'} is not:"
            ' set "strict": true, make it with pydantic_function_tool, or call create().'
        )
    return str(function.get("name"))


def _model_of(tool: Any) -> Any:
    """The class of a tool's arguments: of a tool that openai's or our `pydantic_function_tool` made."""
    return getattr(tool["function"], "model", None)


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


def _closed(schema: JSON) -> JSON:
    try:
        return dict(closed_form(schema))
    except RecursionError:
        # A class that needs itself has no closed form.
        return schema


def _adapter(kind: Any, argument: str = "response_format of parse()") -> Any:
    if not is_parsable(kind):
        raise ArgumentError(
            f"{argument} must be a pydantic class, a data class or an object in OpenAI's form, not"
            f" {kind!r}."
        )
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


@contextmanager
def _misfits(completion: ChatCompletion, words: str, text: str) -> Iterator[None]:
    """Raise `InvalidResponseError` for a text that does not fit its class or is no JSON."""
    try:
        yield
    except ValueError as error:
        raise InvalidResponseError(
            f"{words.format(completion.provider)}: {_misfit(error)}. Ask again, or ask another"
            " provider.",
            provider=completion.provider,
            model=completion.model,
            receipt=completion.receipt,
            reason="schema_mismatch",
            partial=text,
        ) from error


def _misfit(error: Any) -> str:
    """The first fault of a pydantic error, and where it is."""
    if not hasattr(error, "errors"):
        return clean(str(error), 200)
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return clean(f"{place}: {first['msg']}" if place else first["msg"], 200)


def _parse_error(error: APIError) -> G4FError:
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
