"""OpenAI's messages, tools and schemas into llm's."""

from __future__ import annotations

import base64
import json
import mimetypes
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import llm
from llm.parts import AttachmentPart, Message, Part, TextPart, ToolCallPart, ToolResultPart

from ..decoding.text import text_of
from ..types import JSON


def to_tool(tool: JSON) -> llm.Tool:
    function = tool["function"]
    return llm.Tool(
        name=function["name"],
        description=function.get("description"),
        input_schema=function.get("parameters") or {},
    )


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
