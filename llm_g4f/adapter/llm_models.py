"""Any other llm model as a provider: `llm:MODEL_ID` in a route or in `-o provider`.

It is asked with the same messages, tools, schema and those options that it has. Signatures of
its reasoning are not carried over to the next turn: a chat request has no place for them.
"""

from __future__ import annotations

import binascii
import json
import time
from collections.abc import AsyncGenerator, Callable
from fnmatch import fnmatchcase
from typing import Any

import llm
from llm.parts import ToolCallPart
from pydantic import ValidationError

from ..asyncgen import ManagedAsyncGen
from ..decoding.error_context import ErrorContext
from ..decoding.text import whole
from ..errors import APIError, AuthenticationError, BadRequestError, ConfigError, NoProviderError
from ..providers.base import Ineligible, Kind, Provider, Scope, Serving
from ..providers.endpoint import is_same_model
from ..request import ChatRequest, Secret
from ..safe_text import clean
from ..types import (
    JSON,
    ChatCompletionChunk,
    ChoiceDelta,
    ChunkChoice,
    Function,
    ToolCallDelta,
    Usage,
)
from ..worker_thread import WorkerThread
from .messages import _attached_types, llm_messages, this_turn, to_tool
from .models import G4F, AsyncG4F

_APART = frozenset({"tools", "response_format", "stream_options", "n"})
"""Parameters that are no options of llm's."""


def member(name: str) -> Provider:
    """The provider `llm:id`, the model with that id or alias. Raises `ConfigError`, `NoProviderError`."""
    model = _found(name)
    if isinstance(model, (G4F, AsyncG4F)):
        raise ConfigError(
            f"{name} is a model of this very plugin, which would ask itself: name another model of llm's."
        )
    return _Provider(name, model)


def _found(name: str) -> Any:
    """The asynchronous model if there is one, else the synchronous one."""
    id = name.partition(":")[2]
    # Without a name llm finds its default model.
    for find in (llm.get_async_model, llm.get_model) if id else ():
        try:
            return find(id)
        except llm.UnknownModelError:
            continue
    raise NoProviderError(
        f'There is no model {id!r} in llm ({name}): "llm models" lists what is installed.'
    )


class _Provider:
    kind: Kind = "keyed"
    scope: Scope = "model"

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self._model = model

    async def models(self) -> list[str]:
        return [self._model.model_id]

    async def serves(self, request: ChatRequest) -> Serving | Ineligible:
        model, asked = self._model, request.needs
        for type in _attached_types(request.messages):
            if not any(fnmatchcase(known, type) for known in model.attachment_types):
                return Ineligible(f"{model.model_id} takes no {type}")
        if "tools" in asked and not model.supports_tools:
            return Ineligible(f"{model.model_id} calls no tools")
        if request.params.get("n") not in (None, 1):
            return Ineligible("a model of llm's gives one answer at a time (n=1)")
        if not model.supports_conversation and any(
            message.get("role") in ("assistant", "tool") for message in request.messages
        ):
            return Ineligible(f"{model.model_id} has no conversations")
        try:
            self._key(request)
        except llm.NeedsKeyException as error:
            return Ineligible(clean(str(error)))
        _, omitted = self._options(request)
        return Serving(
            model.model_id,
            exact=is_same_model(model.model_id, request.model),
            omitted=omitted,
            schema_in_prompt="schema" in asked and not model.supports_schema,
        )

    def _key(self, request: ChatRequest) -> Secret | None:
        key = self._model.get_key(request.key.reveal() if request.key else None)
        return Secret(key) if key else None

    def _options(self, request: ChatRequest) -> tuple[JSON, tuple[str, ...]]:
        """Those of the request's parameters that the model has as options, and the others' names."""
        known = self._model.Options.model_fields
        options: JSON = {}
        omitted = []
        for name, value in request.params.items():
            option = "max_tokens" if name == "max_completion_tokens" else name
            if option in known:
                options[option] = value
            elif name not in _APART:
                omitted.append(name)
        if request.wants_json_object:
            if "json_object" in known:
                options["json_object"] = True
            else:
                omitted.append("response_format")
        return options, tuple(omitted)

    async def stream(
        self, request: ChatRequest, serving: Serving
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        place = ErrorContext(self.name, serving.model, "llm", key=self._key(request))
        try:
            response = self._prompt(request)
            events = ManagedAsyncGen(_events(response))
            try:
                async for event in events:
                    if (delta := _delta(event)) is not None:
                        yield _chunk(serving, delta)
            finally:
                await events.aclose()
            calls = await _calls(response)
            ending = ChunkChoice(
                0, ChoiceDelta(tool_calls=calls or None), "tool_calls" if calls else "stop"
            )
            yield _chunk(serving, ending, usage=_usage(response))
        except APIError:
            raise
        except Exception as error:  # noqa: BLE001 (it is another plugin's, and may be anything)
            raise _failure(place, error) from None

    def _prompt(self, request: ChatRequest) -> Any:
        """Llm's response, not begun. Raises `BadRequestError`."""
        key = self._key(request)
        schema = request.schema
        if "schema" in request.needs and not isinstance(schema, dict):
            raise self._refusal("response_format has no schema")
        options, _ = self._options(request)
        try:
            history = llm_messages(request.messages)
            return self._model.prompt(
                **this_turn(history),
                messages=history,
                tools=[to_tool(tool) for tool in request.params.get("tools") or ()],
                schema=schema,
                stream=request.stream,
                options=options,
                **({"key": key.reveal()} if key else {}),
            )
        except ValidationError as error:
            wrong = error.errors()[0]
            named = ".".join(map(str, wrong["loc"]))
            raise self._refusal(f"{named}: {wrong['msg']}" if named else wrong["msg"]) from None
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise self._refusal(str(error) or type(error).__name__) from None

    def _refusal(self, said: str) -> BadRequestError:
        return BadRequestError(
            f"{self.name} cannot take the request: {clean(said)}.",
            provider=self.name,
            model=self._model.model_id,
            status_code=400,
        )


def _failure(place: ErrorContext, error: Exception) -> APIError:
    said = clean(place.without_key(str(error))) or type(error).__name__
    kind: Callable[..., APIError] = APIError
    if isinstance(error, llm.NeedsKeyException):
        kind = AuthenticationError
    return kind(f"{place.provider} failed: {said}", provider=place.provider, model=place.model)


def _events(response: Any) -> AsyncGenerator[Any, None]:
    if isinstance(response, llm.AsyncResponse):
        events: AsyncGenerator[Any, None] = response.astream_events()
        return events

    def work(put: Callable[[Any], bool]) -> None:
        for event in response.stream_events():
            if put(event):
                return

    # The interpreter does not wait for it: nobody can interrupt what it waits for.
    return WorkerThread(work, daemon=True).items()


def _delta(event: Any) -> ChunkChoice | None:
    """What an event adds; tool calls come whole, at the end."""
    if not event.chunk or event.server_executed:
        return None
    if event.type == "text":
        return ChunkChoice(0, ChoiceDelta(content=whole(event.chunk)))
    if event.type == "reasoning":
        return ChunkChoice(0, ChoiceDelta(reasoning=whole(event.chunk)))
    return None


def _chunk(
    serving: Serving, choice: ChunkChoice, usage: Usage | None = None
) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        "chatcmpl-none", int(time.time()), serving.model, [choice], usage=usage
    )


def _usage(response: Any) -> Usage | None:
    sent, answered = response.input_tokens, response.output_tokens
    if sent is None or answered is None:
        return None
    return Usage(sent, answered, sent + answered)


async def _calls(response: Any) -> list[ToolCallDelta]:
    calls, messages = response.tool_calls(), response.messages()
    if isinstance(response, llm.AsyncResponse):
        calls, messages = await calls, await messages
    noted = [
        part
        for message in messages
        for part in message.parts
        if isinstance(part, ToolCallPart) and part.provider_metadata
    ]
    return [
        ToolCallDelta(
            index,
            call.tool_call_id or f"call_{index}",
            Function(call.name, json.dumps(call.arguments)),
            extra_content={"llm": data} if (data := _noted(noted, call)) else None,
        )
        for index, call in enumerate(calls)
    ]


def _noted(parts: list[ToolCallPart], call: llm.ToolCall) -> JSON | None:
    """What stands with a call in the events, which may have no id where llm gave the call one."""
    for part in parts:
        same = (part.name, part.arguments) == (call.name, call.arguments)
        if part.tool_call_id == call.tool_call_id or (part.tool_call_id is None and same):
            parts.remove(part)
            return part.provider_metadata
    return None
