"""Chunks into llm's stream events, and the answer into llm's response."""

from __future__ import annotations

import json
from collections.abc import Iterator

import llm
from llm.parts import StreamEvent
from llm.utils import simplify_usage_dict

from ..errors import InvalidResponseError
from ..receipt import Receipt
from ..request import ChatRequest
from ..routing.notices import announce, check_has_words, ending_of, notice_of
from ..routing.registry import Registry
from ..safe_text import clean
from ..types import JSON, ChatCompletion, ChatCompletionChunk, ToolCall, ToolCallDelta, Usage
from .messages import METADATA

MAX_ANNOTATIONS = 64 * 1024
"""Characters of annotations (citations, as JSON) that are logged; more are left out."""


def _arguments(call: ToolCall) -> JSON:
    """The arguments of a call. Raises `InvalidResponseError` unless they are a JSON object."""
    try:
        arguments = json.loads(call.function.arguments)
    except (ValueError, RecursionError):
        arguments = ""
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        raise InvalidResponseError(
            f"The model called {clean(call.function.name, 80)} with invalid arguments (not a JSON"
            " object); the tool was not run. Ask again."
        )
    return arguments


class ResponseWriter:
    """One answer on its way into llm: `events` for each chunk, then `finish`.

    `previous` is the metadata of the last answer in the conversation.
    """

    def __init__(
        self,
        request: ChatRequest,
        response: llm.Response | llm.AsyncResponse,
        previous: JSON,
        registry: Registry,
    ) -> None:
        self._request = request
        self._response = response
        self._previous = previous
        self._registry = registry
        self._notice = registry.config.notice
        self._call_ids: dict[int, str] = {}
        self._noted = False
        self._price: float | None = None
        self._last = ""
        self._hides_reasoning = response.prompt.hide_reasoning

    @property
    def is_line_open(self) -> bool:
        """Whether the text that llm shows as it comes has not ended its last line."""
        return self._request.stream and bool(self._last) and not self._last.endswith("\n")

    def events(self, chunk: ChatCompletionChunk) -> Iterator[StreamEvent]:
        """Llm's events for a chunk. The first one carries the metadata of the conversation, and
        before it comes the notice, unless the conversation has had the same one already."""
        for choice in chunk.choices:
            if choice.index:
                continue
            delta = choice.delta
            if delta.reasoning:
                self._last = "" if self._hides_reasoning else delta.reasoning
                yield self._event("reasoning", delta.reasoning, chunk.receipt)
            if delta.content:
                self._last = delta.content
                yield self._event("text", delta.content, chunk.receipt)
            if delta.refusal:
                self._last = delta.refusal
                yield self._event("text", delta.refusal, chunk.receipt)
            for call in delta.tool_calls or ():
                yield from self._tool_call_events(call, chunk.receipt)

    def _tool_call_events(
        self, call: ToolCallDelta, receipt: Receipt | None
    ) -> Iterator[StreamEvent]:
        if call.id is not None:
            self._call_ids[call.index] = call.id
        id = self._call_ids.get(call.index)
        if call.id is not None or call.function.name:
            event = self._event("tool_call_name", call.function.name, receipt)
            event.tool_call_id = id
            if call.extra_content is not None:
                metadata = (event.provider_metadata or {}).get(METADATA, {})
                metadata |= {"extra_content": call.extra_content}
                event.provider_metadata = {METADATA: metadata}
            yield event
        if call.function.arguments:
            event = self._event("tool_call_args", call.function.arguments, receipt)
            event.tool_call_id = id
            yield event

    def _event(self, kind: str, text: str, receipt: Receipt | None) -> StreamEvent:
        if self._noted or receipt is None:
            return StreamEvent(type=kind, chunk=text)
        return StreamEvent(type=kind, chunk=text, provider_metadata={METADATA: self._note(receipt)})

    def _note(self, receipt: Receipt) -> JSON:
        """The metadata of this answer for the conversation; announces who gives it."""
        self._noted = True
        metadata: JSON = {"provider": receipt.provider, "model": receipt.model}
        if (notice := notice_of(receipt)) is not None:
            metadata["notice"] = notice
            if self._notice and notice != self._previous.get("notice"):
                announce(notice)
        if self._request.providers:
            metadata["pin"] = ",".join(self._request.providers)
        if self._request.exact:
            metadata["only_exact"] = True
        if self._request.params.get("tools") and (schema := self._request.schema):
            metadata["schema"] = schema
        return metadata

    def find_price(self, completion: ChatCompletion) -> None:
        """Find the price of the answer, before `finish`. May load a table for a quarter of a second."""
        from ..routing.prices import price

        if completion.receipt is not None:
            self._price = price(
                completion.receipt, completion.usage, completion.service_tier, self._registry
            )

    def finish(self, completion: ChatCompletion) -> Iterator[StreamEvent]:
        """Give llm what it logs: tool calls, usage, the resolved model, the receipt."""
        check_has_words(completion)
        choice = completion.choices[0] if completion.choices else None
        receipt, response = completion.receipt, self._response
        if receipt is not None:
            if not self._noted:
                # Cut before its first word.
                self._note(receipt)
            response.set_resolved_model(f"{receipt.provider}/{receipt.model}")
        for call in (choice.message.tool_calls if choice else None) or ():
            response.add_tool_call(
                llm.ToolCall(
                    tool_call_id=call.id, name=call.function.name, arguments=_arguments(call)
                )
            )
        if self._notice:
            self._announce_end(choice.finish_reason if choice else None, receipt)
        if completion.usage is not None:
            self._set_usage(completion.usage)
            details = completion.usage.completion_tokens_details or {}
            if details.get("reasoning_tokens") and not (choice and choice.message.reasoning):
                yield StreamEvent(type="reasoning", chunk="", redacted=True)
        elif receipt is not None and receipt.cached is not None:
            response.set_usage(details={"price_usd": self._price})
        response.response_json = _response_json(completion)

    def _announce_end(self, finish_reason: str | None, receipt: Receipt | None) -> None:
        ending = ending_of(finish_reason)
        lines = [ending] if ending else []
        lines += receipt.warnings if receipt is not None else []
        for line in lines:
            announce(line, in_answer=line is lines[0] and self.is_line_open)

    def _set_usage(self, usage: Usage) -> None:
        counts = ("prompt_tokens", "completion_tokens", "total_tokens")
        details = {name: value for name, value in usage.to_dict().items() if name not in counts}
        if self._price is not None:
            details["price_usd"] = self._price
        self._response.set_usage(
            input=usage.prompt_tokens,
            output=usage.completion_tokens,
            details=simplify_usage_dict(details),
        )


def _response_json(completion: ChatCompletion) -> JSON:
    choice = completion.choices[0] if completion.choices else None
    usage, receipt = completion.usage, completion.receipt
    data: JSON = {
        "id": completion.id,
        "object": completion.object,
        "created": completion.created,
        # As the receipt, the notice and the resolved model have it.
        "model": (receipt and receipt.model) or completion.model,
        "role": "assistant",
        "content": choice.message.content if choice else None,
        "refusal": choice.message.refusal if choice else None,
        "finish_reason": choice.finish_reason if choice else None,
        "usage": usage.to_dict() if usage else None,
        METADATA: receipt.to_dict() if receipt else None,
    }
    if choice is not None:
        if choice.native_finish_reason is not None:
            native = choice.native_finish_reason
            data["choices"] = [{"index": 0, "native_finish_reason": native}]
        annotations = choice.message.annotations
        if annotations and len(json.dumps(annotations)) <= MAX_ANNOTATIONS:
            data["annotations"] = annotations
    for name in ("system_fingerprint", "service_tier"):
        if (value := getattr(completion, name)) is not None:
            data[name] = value
    return data
