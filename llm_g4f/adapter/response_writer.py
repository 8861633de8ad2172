"""Chunks into llm's stream events, and the answer into llm's response."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import llm
from llm.parts import (
    StreamEvent,
)
from llm.utils import simplify_usage_dict

from ..accumulator import Accumulator
from ..errors import InvalidResponseError, clean
from ..receipt import Receipt
from ..request import ChatRequest
from ..routing.notices import announce, ending_of, notice_of
from ..routing.registry import Registry
from ..types import JSON, ChatCompletionChunk, ToolCall
from .messages import METADATA


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


class ResponseWriter:
    """One answer on its way into llm: `events` for each chunk, then `finish`."""

    def __init__(
        self,
        request: ChatRequest,
        response: llm.Response | llm.AsyncResponse,
        before: JSON,
        registry: Registry,
    ) -> None:
        self._request = request
        self._response = response
        self._before = before
        self._registry = registry
        self._notice = registry.config.notice
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
        from ..routing.prices import price

        answer = self._whole.completion()
        if answer.receipt is not None and answer.usage is not None:
            self._price = price(answer.receipt, answer.usage, answer.service_tier, self._registry)

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
