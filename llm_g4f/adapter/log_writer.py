"""Answers into llm's logs that llm has not asked for: as `llm -m gpt-4o` would have logged them."""

from __future__ import annotations

import binascii
import datetime as dt
import json
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import llm
from llm.cli import logs_db_path
from llm.migrations import migrate
from llm.parts import StreamEvent
from sqlite_utils import Database

from .. import config
from ..request import ChatRequest
from ..routing.registry import Registry
from ..types import (
    JSON,
    ChatCompletion,
    ChatCompletionChunk,
    ChoiceDelta,
    ChunkChoice,
    ToolCallDelta,
)
from .messages import llm_messages, this_turn, to_schema, to_tool
from .models import G4F
from .options import Options
from .response_writer import ResponseWriter


class LogWriter:
    """llm's logs.db, open for answers. Raises `sqlite3.Error` and `OSError`."""

    def __init__(self) -> None:
        path = logs_db_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = Database(path)
        try:
            migrate(self._database)
        except sqlite3.Error:
            self.close()
            raise
        # Who answers has been said already.
        self._registry = Registry(config.load()._replace(notice=False))

    def close(self) -> None:
        self._database.close()

    def write(self, request: ChatRequest, completion: ChatCompletion) -> None:
        """Log an answer that has just ended."""
        model = ReplayModel(request, completion, self._registry)
        response = llm.Response(
            _prompt(model, request), model, stream=False, conversation=model.conversation()
        )
        response.text()
        seconds = (completion.receipt.seconds if completion.receipt else None) or 0.0
        # When it was asked, and not when it is told.
        response._end = time.monotonic()
        response._start = response._end - seconds
        response._start_utcnow = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
        response.log_to_db(self._database)


class ReplayModel(G4F):
    """The model that has given one answer, and gives it again."""

    def __init__(
        self, request: ChatRequest, completion: ChatCompletion, registry: Registry
    ) -> None:
        super().__init__(request.model, request.model)
        self._request = request
        self._completion = completion
        self._registry = registry

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.Response,
        conversation: llm.Conversation | None = None,
        key: str | None = None,
    ) -> Iterator[StreamEvent]:
        turn = ResponseWriter(self._request, response, {}, self._registry)
        yield from turn.events(_chunk(self._completion))
        turn.find_price()
        yield from turn.finish()


def _prompt(model: G4F, request: ChatRequest) -> llm.Prompt:
    form = request.params.get("response_format")
    kind = form.get("type") if isinstance(form, dict) else None
    try:
        history = llm_messages(request.messages)
        turn = this_turn(list(history))
        tools = [to_tool(tool) for tool in request.params.get("tools") or ()]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, binascii.Error):
        # The provider understood it; what llm has no form for is logged as it is.
        history, tools = None, []
        turn = {"prompt": json.dumps(request.messages, ensure_ascii=False)}
    return llm.Prompt(
        model=model,
        messages=history,
        tools=tools,
        schema=to_schema(form or {}) if kind == "json_schema" else None,
        options=_options(request, json_object=kind == "json_object"),
        **{"prompt": None, **turn},
    )


def _options(request: ChatRequest, *, json_object: bool) -> Options:
    said: JSON = {
        name: value for name, value in request.params.items() if name in Options.model_fields
    }
    if json_object:
        said["json_object"] = True
    if request.providers:
        said["provider"] = ",".join(request.providers)
    if request.exact:
        said["exact"] = True
    if request.timeout is not None:
        said["timeout"] = request.timeout
    # They have been accepted: nothing is left to check.
    return Options.model_construct(**said)


def _chunk(completion: ChatCompletion) -> ChatCompletionChunk:
    """The completion in one piece."""
    fields: dict[str, Any] = {
        name: getattr(completion, name) for name in ("id", "created", "model", "usage", "provider")
    }
    for name in ("system_fingerprint", "service_tier", "receipt"):
        fields[name] = getattr(completion, name)
    choices = []
    for choice in completion.choices:
        message = choice.message
        calls = [
            ToolCallDelta(index, call.id, call.function, extra_content=call.extra_content)
            for index, call in enumerate(message.tool_calls or ())
        ]
        delta = ChoiceDelta(
            message.role, message.content, message.reasoning, calls or None, message.refusal
        )
        choices.append(ChunkChoice(choice.index, delta, choice.finish_reason, choice.logprobs))
    return ChatCompletionChunk(choices=choices, **fields)
