"""llm's prompts into chat requests."""

from __future__ import annotations

import json
from collections.abc import Iterable

import llm
from llm.parts import (
    AttachmentPart,
    Message,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

from ..config.keys import named_key
from ..config.settings import provider_names
from ..errors import BadRequestError
from ..request import ChatRequest, schema_format
from ..safe_text import clean
from ..types import JSON
from .options import Options

METADATA = "g4f"
"""Our place in llm's provider_metadata and response_json."""


def to_request(
    model: str, prompt: llm.Prompt, before: JSON, stream: bool, key: str | None
) -> ChatRequest:
    """The chat request of a prompt. `before` is what its conversation remembers: llm drops
    options from one turn to the next, and a pin to a provider must not be lost so.
    Raises `G4FError`."""
    options = prompt.options
    assert isinstance(options, Options)
    provider = options.provider if options.provider is not None else before.get("pin")
    exact = options.exact if options.exact is not None else before.get("only_exact", False)
    params = options.parameters()
    if prompt.schema:
        params["response_format"] = schema_format(prompt.schema)
    if prompt.tools:
        params["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description or None,
                    "parameters": tool.input_schema,
                },
            }
            for tool in prompt.tools
        ]
    return ChatRequest(
        model=model,
        messages=_wire_messages(prompt.messages, options.image_detail),
        params=params,
        stream=stream,
        providers=provider_names(provider),
        exact=bool(exact),
        timeout=options.timeout,
        key=named_key(key) if key else None,
    )


def previous_metadata(prompt: llm.Prompt) -> JSON:
    """What the last answer of the conversation noted about itself; {} for the first turn."""
    for message in reversed(prompt.messages):
        for part in reversed(message.parts):
            noted = (getattr(part, "provider_metadata", None) or {}).get(METADATA)
            if isinstance(noted, dict) and "provider" in noted:
                return noted
    return {}


def _wire_messages(messages: Iterable[Message], image_detail: str | None) -> list[JSON]:
    wire: list[JSON] = []
    system: str | None = None
    for message in messages:
        if message.role == "tool":
            results = [part for part in message.parts if isinstance(part, ToolResultPart)]
            wire += [
                {"role": "tool", "tool_call_id": part.tool_call_id, "content": part.output}
                for part in results
            ]
            # The role "tool" has text alone: what else a tool brought comes from the user.
            if brought := [
                _attached(attachment, image_detail)
                for part in results
                for attachment in part.attachments
            ]:
                wire.append({"role": "user", "content": brought})
            continue
        text = "".join(part.text for part in message.parts if isinstance(part, TextPart))
        if message.role == "system":
            # llm repeats the system prompt with every turn of a conversation.
            if text == system:
                continue
            system = text
        entry = _wire_message(message, text, image_detail)
        if entry is not None:
            wire.append(entry)
    return wire


def _wire_message(message: Message, text: str, image_detail: str | None) -> JSON | None:
    attached = [
        _attached(part.attachment, image_detail)
        for part in message.parts
        if isinstance(part, AttachmentPart) and part.attachment
    ]
    calls = [
        _wire_call(part)
        for part in message.parts
        if isinstance(part, ToolCallPart) and not part.server_executed
    ]
    entry: JSON = {"role": message.role, "content": text or None}
    if attached:
        entry["content"] = [*([{"type": "text", "text": text}] if text else []), *attached]
    if calls:
        entry["tool_calls"] = calls
    if entry["content"] is None and not calls:
        # An assistant's turn without words (its reasoning is not sent back) stays, so that the
        # turns alternate; any other message without words says nothing.
        if message.role != "assistant":
            return None
        entry["content"] = ""
    return entry


def _wire_call(part: ToolCallPart) -> JSON:
    call: JSON = {
        "id": part.tool_call_id,
        "type": "function",
        "function": {"name": part.name, "arguments": json.dumps(part.arguments)},
    }
    noted = (part.provider_metadata or {}).get(METADATA) or {}
    if extra := noted.get("extra_content"):
        call["extra_content"] = extra
    return call


def _attached(attachment: llm.Attachment, image_detail: str | None) -> JSON:
    try:
        return _content_part(attachment, image_detail)
    except Exception as error:  # noqa: BLE001 (llm reads files, and fetches URLs with its own client)
        raise BadRequestError(
            f"The attachment {attachment.path or attachment.url or ''} cannot be sent:"
            f" {clean(str(error)) or type(error).__name__}.",
            status_code=400,
        ) from None


_AUDIO = {"audio/wav": "wav", "audio/mpeg": "mp3"}


def _content_part(attachment: llm.Attachment, image_detail: str | None) -> JSON:
    kind = attachment.resolve_type() or ""
    if kind.startswith("image/"):
        url = attachment.url or f"data:{kind};base64,{attachment.base64_content()}"
        image = {"url": url} | ({"detail": image_detail} if image_detail else {})
        return {"type": "image_url", "image_url": image}
    if kind == "application/pdf":
        data = f"data:{kind};base64,{attachment.base64_content()}"
        return {"type": "file", "file": {"filename": f"{attachment.id()}.pdf", "file_data": data}}
    if kind not in _AUDIO:
        raise ValueError(f"{kind or 'its type'} is neither an image, PDF, WAV nor MP3")
    audio = {"data": attachment.base64_content(), "format": _AUDIO[kind]}
    return {"type": "input_audio", "input_audio": audio}
