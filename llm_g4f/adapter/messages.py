"""Convert messages, tools and attachments between llm's form and OpenAI's."""

from __future__ import annotations

import base64
import json
import mimetypes
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import llm
from llm.parts import AttachmentPart, Message, Part, TextPart, ToolCallPart, ToolResultPart

from ..decoding.text import text_of
from ..errors import BadRequestError
from ..safe_text import clean
from ..types import JSON

METADATA = "g4f"
"""This plugin's key in llm's provider_metadata and response_json."""

_AUDIO_FORMATS = {"audio/wav": "wav", "audio/mpeg": "mp3"}


def openai_messages(messages: Iterable[Message], image_detail: str | None) -> list[JSON]:
    """Llm's messages in OpenAI's form. Raises `BadRequestError` for an attachment that cannot be
    sent, and for text that was not UTF-8."""
    converted: list[JSON] = []
    system: str | None = None
    for message in messages:
        if message.role == "tool":
            converted += _openai_tool_results(message, image_detail)
            continue
        text = _text(message)
        if message.role != "assistant":
            _check_utf8(text, "system prompt" if message.role == "system" else "prompt")
        if message.role == "system":
            # llm repeats the system prompt with every turn of a conversation.
            if text == system:
                continue
            system = text
        openai_message = _openai_message(message, text, image_detail)
        if openai_message is not None:
            converted.append(openai_message)
    return converted


_UNDECODED = re.compile("(?<![\ud800-\udbff])[\udc80-\udcff]")
"""A byte of stdin or of an argument that is not UTF-8, as Python reads it (surrogateescape, PEP 383)."""


def _check_utf8(text: str, label: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        if (byte := _UNDECODED.search(text)) is not None:
            raise BadRequestError(
                f"The {label} is not UTF-8 text (character {byte.start() + 1:,}), so nothing was"
                " sent: convert it first, for instance with iconv.",
                status_code=400,
            ) from None


def _openai_tool_results(message: Message, image_detail: str | None) -> list[JSON]:
    results = [part for part in message.parts if isinstance(part, ToolResultPart)]
    converted: list[JSON] = [
        {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.output}
        for part in results
    ]
    # A tool message has only text: the attachments of its results go into a user message.
    if attached := [
        _content_part(attachment, image_detail)
        for part in results
        for attachment in part.attachments
    ]:
        converted.append({"role": "user", "content": attached})
    return converted


def _openai_message(message: Message, text: str, image_detail: str | None) -> JSON | None:
    attached = [
        _content_part(part.attachment, image_detail)
        for part in message.parts
        if isinstance(part, AttachmentPart) and part.attachment
    ]
    calls = [
        _openai_call(part)
        for part in message.parts
        if isinstance(part, ToolCallPart) and not part.server_executed
    ]
    converted: JSON = {"role": message.role, "content": text or None}
    if attached:
        converted["content"] = [*([{"type": "text", "text": text}] if text else []), *attached]
    if calls:
        converted["tool_calls"] = calls
    if converted["content"] is None and not calls:
        # An empty assistant message (reasoning is not sent back) keeps the turns alternating. Any
        # other empty message is left out.
        if message.role != "assistant":
            return None
        converted["content"] = ""
    return converted


def _openai_call(part: ToolCallPart) -> JSON:
    call: JSON = {
        "id": part.tool_call_id,
        "type": "function",
        "function": {"name": part.name, "arguments": json.dumps(part.arguments)},
    }
    metadata = (part.provider_metadata or {}).get(METADATA) or {}
    if extra := metadata.get("extra_content"):
        call["extra_content"] = extra
    return call


def _content_part(attachment: llm.Attachment, image_detail: str | None) -> JSON:
    try:
        return _read_attachment(attachment, image_detail)
    except Exception as error:  # noqa: BLE001 (llm reads files, and fetches URLs with its own client)
        raise BadRequestError(
            f"The attachment {attachment.path or attachment.url or ''} cannot be sent:"
            f" {clean(str(error)) or type(error).__name__}.",
            status_code=400,
        ) from None


def _read_attachment(attachment: llm.Attachment, image_detail: str | None) -> JSON:
    type = attachment.resolve_type() or ""
    if type.startswith("image/"):
        url = attachment.url or f"data:{type};base64,{attachment.base64_content()}"
        image = {"url": url} | ({"detail": image_detail} if image_detail else {})
        return {"type": "image_url", "image_url": image}
    if type == "application/pdf":
        data = f"data:{type};base64,{attachment.base64_content()}"
        return {"type": "file", "file": {"filename": f"{attachment.id()}.pdf", "file_data": data}}
    if type not in _AUDIO_FORMATS:
        raise ValueError(f"{type or 'its type'} is not an image, PDF, WAV or MP3")
    audio = {"data": attachment.base64_content(), "format": _AUDIO_FORMATS[type]}
    return {"type": "input_audio", "input_audio": audio}


def llm_tool(tool: JSON) -> llm.Tool:
    """One of OpenAI's `tools` in llm's form."""
    function = tool["function"]
    return llm.Tool(
        name=function["name"],
        description=function.get("description"),
        input_schema=function.get("parameters") or {},
    )


def llm_messages(messages: Iterable[JSON]) -> list[Message]:
    """OpenAI's messages in llm's form. Raises a builtin error for malformed ones."""
    converted: list[Message] = []
    tool_names: dict[str, str] = {}
    for message in messages:
        role = message.get("role", "user")
        if role == "tool":
            id = message.get("tool_call_id")
            result = ToolResultPart(
                name=tool_names.get(id or "", ""),
                output=text_of(message.get("content")) or "",
                tool_call_id=id,
            )
            # llm has one message for all results of a turn.
            if converted and converted[-1].role == "tool":
                converted[-1].parts.append(result)
            else:
                converted.append(Message(role="tool", parts=[result]))
            continue
        parts = list(_llm_parts(message.get("content")))
        for call in message.get("tool_calls") or ():
            tool_names[call["id"]] = call["function"]["name"]
            parts.append(_llm_call(call))
        converted.append(Message(role="system" if role == "developer" else role, parts=parts))
    return converted


def prompt_arguments(messages: list[Message]) -> JSON:
    """Remove the last turn from `messages`, and return it as arguments of `llm.Model.prompt`, with
    the system prompt, which stays in `messages`. Some plugins read these arguments only."""
    system = [_text(message) for message in messages if message.role == "system"]
    arguments: JSON = {"system": "\n\n".join(system) or None}
    if messages[-1].role in _INPUTS:
        arguments |= _turn_arguments([messages.pop()])
    return arguments


_INPUTS = ("user", "tool")
"""The roles of what a model answers."""


def _turn_arguments(messages: list[Message]) -> JSON:
    """The messages of one turn, of the user and of tools, as arguments of `llm.Model.prompt`."""
    arguments: JSON = {}
    if texts := [_text(message) for message in messages if message.role == "user"]:
        parts = [part for message in messages for part in message.parts]
        attached = [part.attachment for part in parts if isinstance(part, AttachmentPart)]
        arguments |= {"prompt": "\n\n".join(texts), "attachments": attached}
    if results := [message for message in messages if message.role == "tool"]:
        arguments["tool_results"] = [
            llm.ToolResult(name=part.name, output=part.output, tool_call_id=part.tool_call_id)
            for message in results
            for part in message.parts
            if isinstance(part, ToolResultPart)
        ]
    return arguments


def past_responses(model: Any, history: list[Message], system: str | None) -> list[Any]:
    """The finished responses of `model` that the turns in `history` would have left in a conversation.
    Some plugins read the conversation only from there."""
    is_async = isinstance(model, (llm.AsyncModel, llm.AsyncKeyModel))
    chain = [message for message in history if message.role == "system"]
    responses = []
    for inputs, parts in _turns(history):
        answer = Message(role="assistant", parts=parts)
        response: Any = (llm.AsyncResponse if is_async else llm.Response).from_dict(
            {"model": model.model_id, "prompt": {"messages": []}, "messages": [answer.to_dict()]},
            model=model,
        )
        chain += inputs
        arguments = {"prompt": "", **_turn_arguments(inputs)}
        response.prompt = llm.Prompt(model=model, system=system, messages=chain, **arguments)
        response.attachments = response.prompt.attachments
        chain.append(answer)
        responses.append(response)
    return responses


def _turns(history: list[Message]) -> list[tuple[list[Message], list[Part]]]:
    """What the model was told in each turn, and its answer."""
    turns: list[tuple[list[Message], list[Part]]] = []
    previous = ""
    for message in history:
        if message.role == "system":
            continue
        if message.role in _INPUTS and previous in _INPUTS:
            turns[-1][0].append(message)
        elif message.role in _INPUTS:
            turns.append(([message], []))
        elif turns:
            turns[-1][1].extend(message.parts)
        else:
            turns.append(([], list(message.parts)))
        previous = message.role
    return turns


def attachment_types(messages: Iterable[JSON]) -> Iterable[str]:
    """The MIME types of the attachments in OpenAI's messages. "image/*" for an image at a URL that
    does not tell its type."""
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            for kind, field, default in _ATTACHMENT_FIELDS:
                attached = part.get(kind) if isinstance(part, dict) else None
                if not isinstance(attached, dict):
                    continue
                value = str(attached.get(field))
                if kind == "input_audio":
                    yield "audio/wav" if value == "wav" else "audio/mpeg"
                elif value.startswith("data:"):
                    yield _data_url_type(value)
                else:
                    yield _guess_type(value) or default


_ATTACHMENT_FIELDS = (
    ("image_url", "url", "image/*"),
    ("file", "file_data", "application/pdf"),
    ("input_audio", "format", ""),
)


def _text(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


def _llm_call(call: JSON) -> ToolCallPart:
    return ToolCallPart(
        name=call["function"]["name"],
        arguments=json.loads(call["function"]["arguments"] or "{}"),
        tool_call_id=call["id"],
        provider_metadata=(call.get("extra_content") or {}).get("llm"),
    )


def _llm_parts(content: Any) -> Iterable[Part]:
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
            data = base64.b64decode(audio["data"])
            yield AttachmentPart(attachment=llm.Attachment(type=type, content=data))


def _data_url_type(url: str) -> str:
    return url.removeprefix("data:").partition(",")[0].partition(";")[0]


def _guess_type(url: str) -> str | None:
    return mimetypes.guess_type(urlsplit(url).path)[0]


def _attachment(url: str) -> llm.Attachment:
    if not url.startswith("data:"):
        # Without a type, llm would ask the server for it.
        return llm.Attachment(url=url, type=_guess_type(url) or "image/png")
    return llm.Attachment(type=_data_url_type(url), content=base64.b64decode(url.partition(",")[2]))
