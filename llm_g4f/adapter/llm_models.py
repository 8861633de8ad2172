"""Other plugins' llm models as providers: `llm:MODEL_ID` in a route or in `-o provider`.

Such a model gets the same messages, tools and schema, and the options that it has. The signatures
of its reasoning are lost between turns: a chat request has no field for them.
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
from ..providers.base import Ineligible, Kind, Provider, Scope, ServedModel
from ..providers.model_ids import is_same_model
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
from .messages import (
    attachment_types,
    llm_messages,
    llm_tool,
    past_responses,
    prompt_arguments,
)
from .models import G4F, AsyncG4F

_NOT_OPTIONS = frozenset({"tools", "response_format", "stream_options", "n"})
"""Parameters that reach an llm model otherwise than as options, or that it does not need."""


def member(name: str) -> Provider:
    """The provider `name`, "llm:" and a model's id or alias. Raises `ConfigError` for one of our own
    models, and `NoProviderError` for an unknown one."""
    model = _find_model(name)
    if isinstance(model, (G4F, AsyncG4F)):
        raise ConfigError(
            f"{name} is a model of this plugin, which would call itself: name another plugin's model."
        )
    return _LlmModelProvider(name, model)


def _find_model(name: str) -> Any:
    """The async model if there is one, else the sync one."""
    id = name.partition(":")[2]
    # For an empty id, llm would return its default model.
    for find in (llm.get_async_model, llm.get_model) if id else ():
        try:
            return find(id)
        except llm.UnknownModelError:
            continue
    raise NoProviderError(f'Unknown model {id!r} ({name}): "llm models" lists the installed ones.')


class _LlmModelProvider:
    kind: Kind = "keyed"
    scope: Scope = "model"

    def __init__(self, name: str, model: Any) -> None:
        self.name = name
        self._model = model

    async def models(self) -> list[str]:
        return [self._model.model_id]

    async def serves(self, request: ChatRequest) -> ServedModel | Ineligible:
        model, needs = self._model, request.needs
        for type in attachment_types(request.messages):
            if not any(fnmatchcase(accepted, type) for accepted in model.attachment_types):
                return Ineligible(f"{model.model_id} does not accept {type}")
        if "tools" in needs and not model.supports_tools:
            return Ineligible(f"{model.model_id} does not support tools")
        if request.params.get("n") not in (None, 1):
            return Ineligible("llm models give one answer per request (n=1)")
        if not model.supports_conversation and any(
            message.get("role") in ("assistant", "tool") for message in request.messages
        ):
            return Ineligible(f"{model.model_id} does not support conversations")
        try:
            self._key(request)
        except llm.NeedsKeyException as error:
            return Ineligible(clean(str(error)))
        _, omitted = self._options(request)
        exact = is_same_model(model.model_id, request.model)
        return ServedModel(
            model.model_id,
            exact=exact,
            verify=exact,
            omitted=omitted,
            schema_in_prompt="schema" in needs and not model.supports_schema,
            # Its plugin's word, as supports_schema in g4f.yaml is the user's.
            enforces_schema=bool(model.supports_schema),
        )

    def _key(self, request: ChatRequest) -> Secret | None:
        key = self._model.get_key(request.key.reveal() if request.key else None)
        return Secret(key) if key else None

    def _options(self, request: ChatRequest) -> tuple[JSON, tuple[str, ...]]:
        """The request's parameters as options of the model, and the names of those it does not have."""
        fields = self._model.Options.model_fields
        options: JSON = {}
        omitted = []
        for name, value in request.params.items():
            option = "max_tokens" if name == "max_completion_tokens" else name
            if option in fields:
                options[option] = value
            elif name not in _NOT_OPTIONS:
                omitted.append(name)
        if request.wants_json_object:
            if "json_object" in fields:
                options["json_object"] = True
            else:
                omitted.append("response_format")
        return options, tuple(omitted)

    async def stream(
        self, request: ChatRequest, serving: ServedModel
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        context = ErrorContext(self.name, serving.model, "llm", key=self._key(request))
        try:
            response = self._prompt(request)
            events = ManagedAsyncGen(_events(response))
            try:
                async for event in events:
                    if (delta := _delta(event)) is not None:
                        yield _chunk(_answering(response, serving), delta)
            finally:
                await events.aclose()
            calls = await _tool_calls(response)
            ending = ChunkChoice(
                0, ChoiceDelta(tool_calls=calls or None), "tool_calls" if calls else "stop"
            )
            yield _chunk(_answering(response, serving), ending, usage=_usage(response))
        except APIError:
            raise
        except Exception as error:  # noqa: BLE001 (another plugin may raise anything)
            raise _model_error(context, error) from None

    def _prompt(self, request: ChatRequest) -> Any:
        """Llm's response, not started. Raises `BadRequestError`."""
        key = self._key(request)
        schema = request.schema
        if "schema" in request.needs and not isinstance(schema, dict):
            raise self._bad_request("response_format has no schema")
        options, _ = self._options(request)
        try:
            history = llm_messages(request.messages)
            arguments = prompt_arguments(history)
            prompt = self._model.prompt
            if past := past_responses(self._model, history, arguments["system"]):
                conversation = self._model.conversation()
                conversation.responses.extend(past)
                prompt = conversation.prompt
            return prompt(
                **arguments,
                messages=history,
                tools=[llm_tool(tool) for tool in request.params.get("tools") or ()],
                schema=schema,
                stream=request.stream,
                options=options,
                **({"key": key.reveal()} if key else {}),
            )
        except ValidationError as error:
            details = error.errors()[0]
            option = ".".join(map(str, details["loc"]))
            reason = f"{option}: {details['msg']}" if option else details["msg"]
            raise self._bad_request(reason) from None
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise self._bad_request(str(error) or type(error).__name__) from None

    def _bad_request(self, reason: str) -> BadRequestError:
        return BadRequestError(
            f"{self.name} cannot take the request: {clean(reason)}.",
            provider=self.name,
            model=self._model.model_id,
            status_code=400,
        )


def _model_error(context: ErrorContext, error: Exception) -> APIError:
    reason = clean(context.without_key(str(error))) or type(error).__name__
    kind: Callable[..., APIError] = APIError
    if isinstance(error, llm.NeedsKeyException):
        kind = AuthenticationError
    return kind(
        f"{context.provider} failed: {reason}", provider=context.provider, model=context.model
    )


def _events(response: Any) -> AsyncGenerator[Any, None]:
    if isinstance(response, llm.AsyncResponse):
        events: AsyncGenerator[Any, None] = response.astream_events()
        return events

    def work(put: Callable[[Any], bool]) -> None:
        for event in response.stream_events():
            if put(event):
                return

    # A daemon: the interpreter must not wait for a model that cannot be interrupted.
    return WorkerThread(work, daemon=True).items()


def _delta(event: Any) -> ChunkChoice | None:
    """The chunk's content of an event; tool calls follow complete at the end."""
    if not event.chunk or event.server_executed:
        return None
    if event.type == "text":
        return ChunkChoice(0, ChoiceDelta(content=whole(event.chunk)))
    if event.type == "reasoning":
        return ChunkChoice(0, ChoiceDelta(reasoning=whole(event.chunk)))
    return None


def _answering(response: Any, serving: ServedModel) -> str:
    """The model that the response names: llm has a field for it, and the plugins for OpenAI's API
    leave it in what they log, at the end of the answer."""
    logged = response.response_json
    named = response.resolved_model or (logged.get("model") if isinstance(logged, dict) else None)
    return named if isinstance(named, str) and named else serving.model


def _chunk(model: str, choice: ChunkChoice, usage: Usage | None = None) -> ChatCompletionChunk:
    return ChatCompletionChunk("chatcmpl-none", int(time.time()), model, [choice], usage=usage)


def _usage(response: Any) -> Usage | None:
    prompt_tokens, completion_tokens = response.input_tokens, response.output_tokens
    if prompt_tokens is None or completion_tokens is None:
        return None
    return Usage(prompt_tokens, completion_tokens, prompt_tokens + completion_tokens)


async def _tool_calls(response: Any) -> list[ToolCallDelta]:
    calls, messages = response.tool_calls(), response.messages()
    if isinstance(response, llm.AsyncResponse):
        calls, messages = await calls, await messages
    parts = [
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
            extra_content={"llm": data} if (data := _take_metadata(parts, call)) else None,
        )
        for index, call in enumerate(calls)
    ]


def _take_metadata(parts: list[ToolCallPart], call: llm.ToolCall) -> JSON | None:
    """Remove the part of a call and return its provider_metadata. A part may lack the id that llm gave
    the call."""
    for part in parts:
        is_equal = (part.name, part.arguments) == (call.name, call.arguments)
        if part.tool_call_id == call.tool_call_id or (part.tool_call_id is None and is_equal):
            parts.remove(part)
            return part.provider_metadata
    return None
