"""One prompt through llm's sync or async model, and all that comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import llm
from llm.parts import StreamEvent

Ask = Callable[..., "Answer"]


class Answer:
    """The result of one prompt, from the sync or the async model."""

    text: str
    pieces: list[str]
    events: list[StreamEvent]
    usage: llm.Usage
    json: dict[str, Any]
    resolved: str | None
    calls: list[llm.ToolCall]
    parts: list[Any]

    @property
    def receipt(self) -> dict[str, Any]:
        receipt: dict[str, Any] = self.json["g4f"]
        return receipt


def ask_sync(prompt: Any = "hi", *, model: str = "gpt-4o", **kwargs: Any) -> Answer:
    answer = Answer()
    response = llm.get_model(model).prompt(prompt, **kwargs)
    answer.events = list(response.stream_events())
    answer.text = response.text()
    answer.usage = response.usage()
    answer.calls = list(response.tool_calls())
    answer.parts = [part for message in response.messages() for part in message.parts]
    return _described(answer, response)


def ask_async(prompt: Any = "hi", *, model: str = "gpt-4o", **kwargs: Any) -> Answer:
    async def asked() -> Answer:
        answer = Answer()
        response = llm.get_async_model(model).prompt(prompt, **kwargs)
        answer.events = [event async for event in response.astream_events()]
        answer.text = await response.text()
        answer.usage = await response.usage()
        answer.calls = list(await response.tool_calls())
        answer.parts = [part for message in await response.messages() for part in message.parts]
        return _described(answer, response)

    return asyncio.run(asked())


def _described(answer: Answer, response: Any) -> Answer:
    answer.pieces = [event.chunk for event in answer.events if event.type == "text"]
    answer.json = response.response_json
    answer.resolved = response.resolved_model
    return answer
