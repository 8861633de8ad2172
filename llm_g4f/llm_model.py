"""Any other llm model as a provider: `llm:MODEL_ID` in a route or in `-o provider`.

It is asked with the same messages, tools, schema and those options that it has. Not carried
over to the next turn is what it signs its reasoning with, since a chat request has no place for it.
"""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import llm
from llm.parts import AttachmentPart, Message, Part, TextPart, ToolCallPart, ToolResultPart
from pydantic import ValidationError

from .errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConfigError,
    NoProviderError,
    clean,
)
from .models import G4F, AsyncG4F
from .providers.base import Kind, Provider, Scope, Serving, Unable
from .providers.chain import Inner
from .providers.chunks import text_of, whole
from .providers.endpoint import is_same_model, needs
from .providers.failures import Place
from .providers.worker import Worker
from .types import (
    JSON,
    ChatCompletionChunk,
    ChatRequest,
    ChoiceDelta,
    ChunkChoice,
    Function,
    Secret,
    ToolCallDelta,
    Usage,
)

__all__ = ["llm_messages", "member", "this_turn", "to_schema", "to_tool"]

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

    async def serves(self, request: ChatRequest) -> Serving | Unable:
        model, asked = self._model, needs(request)
        for type in _attached_types(request.messages):
            if not any(fnmatchcase(known, type) for known in model.attachment_types):
                return Unable(f"{model.model_id} takes no {type}")
        if "tools" in asked and not model.supports_tools:
            return Unable(f"{model.model_id} calls no tools")
        if request.params.get("n") not in (None, 1):
            return Unable("a model of llm's gives one answer at a time (n=1)")
        if not model.supports_conversation and any(
            message.get("role") in ("assistant", "tool") for message in request.messages
        ):
            return Unable(f"{model.model_id} has no conversations")
        try:
            self._key(request)
        except llm.NeedsKeyException as error:
            return Unable(clean(str(error)))
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
        form = request.params.get("response_format")
        if isinstance(form, dict) and form.get("type") == "json_object":
            if "json_object" in known:
                options["json_object"] = True
            else:
                omitted.append("response_format")
        return options, tuple(omitted)

    async def stream(
        self, request: ChatRequest, serving: Serving
    ) -> AsyncGenerator[ChatCompletionChunk, None]:
        place = Place(self.name, serving.model, "llm", key=self._key(request))
        try:
            response = self._prompt(request)
            events = Inner(_events(response))
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
        form = request.params.get("response_format")
        schema = None
        if isinstance(form, dict) and form.get("type") == "json_schema":
            schema = to_schema(form)
            if schema is None:
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


def _failure(place: Place, error: Exception) -> APIError:
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
    return Worker(work, daemon=True).items()


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


def to_tool(tool: JSON) -> llm.Tool:
    function = tool["function"]
    return llm.Tool(
        name=function["name"],
        description=function.get("description"),
        input_schema=function.get("parameters") or {},
    )


def to_schema(form: JSON) -> JSON | None:
    """The schema in a response_format, if it has one that llm takes."""
    given = form.get("json_schema")
    schema = given.get("schema") if isinstance(given, dict) else None
    return schema if isinstance(schema, dict) else None


def llm_messages(messages: Iterable[JSON]) -> list[Message]:
    made: list[Message] = []
    names: dict[str, str] = {}
    for message in messages:
        role = message.get("role", "user")
        if role == "tool":
            id = message.get("tool_call_id")
            result = ToolResultPart(
                name=names.get(id or "", ""),
                output=text_of(message.get("content")) or "",
                tool_call_id=id,
            )
            # The results of one round are one message of llm's.
            if made and made[-1].role == "tool":
                made[-1].parts.append(result)
            else:
                made.append(Message(role="tool", parts=[result]))
            continue
        parts = list(_parts(message.get("content")))
        for call in message.get("tool_calls") or ():
            names[call["id"]] = call["function"]["name"]
            parts.append(_call_part(call))
        made.append(Message(role="system" if role == "developer" else role, parts=parts))
    return made


def this_turn(messages: list[Message]) -> JSON:
    """The last message, taken out of `messages`, as the arguments of a prompt: there are plugins that
    read nothing else. The system prompt too, which stays in the messages."""
    system = [_text(message) for message in messages if message.role == "system"]
    turn: JSON = {"system": "\n\n".join(system) or None}
    last = messages[-1]
    if last.role == "user":
        messages.pop()
        turn["prompt"] = _text(last)
        turn["attachments"] = [
            part.attachment for part in last.parts if isinstance(part, AttachmentPart)
        ]
    elif last.role == "tool":
        messages.pop()
        turn["tool_results"] = [
            llm.ToolResult(name=part.name, output=part.output, tool_call_id=part.tool_call_id)
            for part in last.parts
            if isinstance(part, ToolResultPart)
        ]
    return turn


def _text(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


def _call_part(call: JSON) -> ToolCallPart:
    return ToolCallPart(
        name=call["function"]["name"],
        arguments=json.loads(call["function"]["arguments"] or "{}"),
        tool_call_id=call["id"],
        provider_metadata=(call.get("extra_content") or {}).get("llm"),
    )


def _parts(content: Any) -> Iterable[Part]:
    if isinstance(content, str):
        yield TextPart(text=content)
        return
    for part in content or ():
        kind = part.get("type")
        if kind == "text":
            yield TextPart(text=part["text"])
        elif kind == "image_url":
            yield AttachmentPart(attachment=_attachment(part["image_url"]["url"]))
        elif kind == "file":
            yield AttachmentPart(attachment=_attachment(part["file"]["file_data"]))
        elif kind == "input_audio":
            audio = part["input_audio"]
            type = "audio/wav" if audio["format"] == "wav" else "audio/mpeg"
            content = base64.b64decode(audio["data"])
            yield AttachmentPart(attachment=llm.Attachment(type=type, content=content))


def _attached_types(messages: Iterable[JSON]) -> Iterable[str]:
    """The types of what is attached; an image that lies elsewhere may be of any."""
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            for kind, field, elsewhere in _ATTACHED:
                found = part.get(kind) if isinstance(part, dict) else None
                if not isinstance(found, dict):
                    continue
                value = str(found.get(field))
                if kind == "input_audio":
                    yield "audio/wav" if value == "wav" else "audio/mpeg"
                else:
                    yield (
                        _type(value)
                        if value.startswith("data:")
                        else _type_elsewhere(value) or elsewhere
                    )


_ATTACHED = (
    ("image_url", "url", "image/*"),
    ("file", "file_data", "application/pdf"),
    ("input_audio", "format", ""),
)


def _type(url: str) -> str:
    return url.removeprefix("data:").partition(",")[0].partition(";")[0]


def _type_elsewhere(url: str) -> str | None:
    """The type that a URL's ending tells."""
    return mimetypes.guess_type(urlsplit(url).path)[0]


def _attachment(url: str) -> llm.Attachment:
    if not url.startswith("data:"):
        # Without a type llm would ask the server for it, here and now.
        return llm.Attachment(url=url, type=_type_elsewhere(url) or "image/png")
    return llm.Attachment(type=_type(url), content=base64.b64decode(url.partition(",")[2]))
