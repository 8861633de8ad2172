"""llm's prompts into chat requests, and chunks into llm's stream events."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import llm
from llm.parts import (
    AttachmentPart,
    Message,
    StreamEvent,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from llm.utils import simplify_usage_dict

from .config import named_key, provider_names
from .errors import BadRequestError, InvalidResponseError, clean
from .options import Options
from .routing.notice import announce, ending_of, notice_of
from .routing.registry import Source
from .types import JSON, Accumulator, ChatCompletionChunk, ChatRequest, Receipt, ToolCall

__all__ = ["Turn", "remembered", "schema_format", "to_request"]

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


def schema_format(schema: Any) -> JSON:
    """The `response_format` that holds an answer to a schema."""
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}


def remembered(prompt: llm.Prompt) -> JSON:
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


def _arguments(call: ToolCall) -> JSON:
    try:
        arguments = json.loads(call.function.arguments)
    except (ValueError, RecursionError):
        arguments = call
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise InvalidResponseError(
            f"The model called {clean(call.function.name, 80)} with arguments that are no JSON"
            " object; the tool was not run. Ask again."
        )
    return arguments


class Turn:
    """One answer on its way into llm: `events` for each chunk, then `finish`."""

    def __init__(
        self,
        request: ChatRequest,
        response: llm.Response | llm.AsyncResponse,
        before: JSON,
        source: Source,
    ) -> None:
        self._request = request
        self._response = response
        self._before = before
        self._source = source
        self._notice = source.config.notice
        self._whole = Accumulator()
        self._call_ids: dict[int, str] = {}
        self._noted = False
        self._price: float | None = None

    def events(self, chunk: ChatCompletionChunk) -> Iterator[StreamEvent]:
        """Llm's events for a chunk. The first one carries what the conversation remembers, and
        before it comes the notice, unless the conversation has heard it already."""
        self._whole.add(chunk)
        for choice in chunk.choices:
            if choice.index:
                continue
            delta = choice.delta
            if delta.reasoning:
                yield self._event("reasoning", delta.reasoning, chunk.receipt)
            if delta.content:
                yield self._event("text", delta.content, chunk.receipt)
            if delta.refusal:
                yield self._event("text", delta.refusal, chunk.receipt)
            for call in delta.tool_calls or ():
                if call.id is not None:
                    self._call_ids[call.index] = call.id
                id = self._call_ids.get(call.index)
                if call.id is not None or call.function.name:
                    event = self._event("tool_call_name", call.function.name, chunk.receipt)
                    event.tool_call_id = id
                    if call.extra_content is not None:
                        noted = (event.provider_metadata or {}).get(METADATA, {})
                        event.provider_metadata = {
                            METADATA: noted | {"extra_content": call.extra_content}
                        }
                    yield event
                if call.function.arguments:
                    event = self._event("tool_call_args", call.function.arguments, chunk.receipt)
                    event.tool_call_id = id
                    yield event

    def _event(self, kind: str, text: str, receipt: Receipt | None) -> StreamEvent:
        if self._noted or receipt is None:
            return StreamEvent(type=kind, chunk=text)
        return StreamEvent(type=kind, chunk=text, provider_metadata={METADATA: self._note(receipt)})

    def _note(self, receipt: Receipt) -> JSON:
        """What the conversation is to remember of this answer; announces who gives it."""
        self._noted = True
        noted: JSON = {"provider": receipt.provider, "model": receipt.model}
        if (notice := notice_of(receipt)) is not None:
            noted["notice"] = notice
            if self._notice and notice != self._before.get("notice"):
                announce(notice)
        if self._request.providers:
            noted["pin"] = ",".join(self._request.providers)
        if self._request.exact:
            noted["only_exact"] = True
        return noted

    def find_price(self) -> None:
        """Find out what the answer cost, before `finish`. May load a table, which takes a while."""
        from .routing.prices import price

        answer = self._whole.completion()
        if answer.receipt is not None and answer.usage is not None:
            self._price = price(answer.receipt, answer.usage, answer.service_tier, self._source)

    def finish(self) -> Iterator[StreamEvent]:
        """Give llm what it logs: tool calls, usage, the resolved model, the receipt."""
        completion = self._whole.completion()
        choice = completion.choices[0] if completion.choices else None
        receipt = completion.receipt
        response = self._response
        if receipt is not None:
            if not self._noted:
                # Cut before its first word.
                self._note(receipt)
            response.set_resolved_model(f"{receipt.provider}/{receipt.model}")
        for call in (choice.message.tool_calls if choice else None) or ():
            response.add_tool_call(
                llm.ToolCall(
                    tool_call_id=call.id,
                    name=call.function.name,
                    arguments=_arguments(call),
                )
            )
        if self._notice and choice and (ending := ending_of(choice.finish_reason)):
            # The answer's last line is not ended yet where both share a terminal.
            announce(("\n" if sys.stderr.isatty() else "") + ending)
        usage = completion.usage
        if usage is not None:
            counts = ("prompt_tokens", "completion_tokens", "total_tokens")
            details = {name: value for name, value in usage.to_dict().items() if name not in counts}
            if self._price is not None:
                details["price_usd"] = self._price
            response.set_usage(
                input=usage.prompt_tokens,
                output=usage.completion_tokens,
                details=simplify_usage_dict(details),
            )
            reasoned = (usage.completion_tokens_details or {}).get("reasoning_tokens")
            if reasoned and not (choice and choice.message.reasoning):
                yield StreamEvent(type="reasoning", chunk="", redacted=True)
        response.response_json = {
            "id": completion.id,
            "object": completion.object,
            "created": completion.created,
            "model": completion.model,
            "role": "assistant",
            "content": choice.message.content if choice else None,
            "refusal": choice.message.refusal if choice else None,
            "finish_reason": choice.finish_reason if choice else None,
            "usage": usage.to_dict() if usage else None,
            METADATA: receipt.to_dict() if receipt else None,
        }
        for name in ("system_fingerprint", "service_tier"):
            if (value := getattr(completion, name)) is not None:
                response.response_json[name] = value
