"""Write batch answers to llm's logs, as `llm -m gpt-4o` would have logged them."""

from __future__ import annotations

import binascii
import datetime as dt
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import llm
from llm.cli import logs_db_path
from llm.migrations import migrate
from llm.parts import StreamEvent
from sqlite_utils import Database

from .. import config
from ..accumulator import as_chunk
from ..request import ROUTING_OPTIONS, ChatRequest
from ..routing.registry import Registry
from ..types import JSON, ChatCompletion
from .messages import llm_messages, llm_tool, prompt_arguments
from .models import G4F
from .options import Options
from .response_writer import ResponseWriter


def open_log(path: Path | None) -> Database:
    """Llm's logs, brought up to date; without a path empty ones in memory. Raises `sqlite3.Error`,
    `OSError`, and UnicodeDecodeError for a damaged schema."""
    connection = sqlite3.connect(":memory:" if path is None else path)
    try:
        database = Database(connection)
        migrate(database)
    except BaseException:
        connection.close()
        raise
    return database


class LogWriter:
    """llm's logs.db, open for writing. Raises `sqlite3.Error`, `OSError`, and UnicodeDecodeError for a
    damaged schema."""

    def __init__(self) -> None:
        path = logs_db_path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._database = open_log(path)
        # The run has shown the notices already.
        self._registry = Registry(config.load()._replace(notice=False))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def write(self, request: ChatRequest, completion: ChatCompletion) -> None:
        """Log an answer that has just been completed."""
        model = ReplayModel(request, completion, self._registry)
        response = llm.Response(
            _prompt(model, request), model, stream=False, conversation=model.conversation()
        )
        response.text()
        seconds = (completion.receipt.seconds if completion.receipt else None) or 0.0
        # The times of the request, and not those of this replay.
        response._end = time.monotonic()
        response._start = response._end - seconds
        response._start_utcnow = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)
        response.log_to_db(self._database)


class ReplayModel(G4F):
    """A model that replays one completed answer, so that llm logs it."""

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
        writer = ResponseWriter(self._request, response, {}, self._registry)
        yield from writer.events(as_chunk(self._completion))
        writer.find_price(self._completion)
        yield from writer.finish(self._completion)


def _prompt(model: G4F, request: ChatRequest) -> llm.Prompt:
    try:
        history = llm_messages(request.messages)
        arguments = prompt_arguments(list(history))
        tools = [llm_tool(tool) for tool in request.params.get("tools") or ()]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, binascii.Error):
        # The provider accepted it, but llm has no form for it: logged as JSON.
        history, tools = None, []
        arguments = {"prompt": json.dumps(request.messages, ensure_ascii=False)}
    return llm.Prompt(
        model=model,
        messages=history,
        tools=tools,
        schema=request.schema if isinstance(request.schema, dict) else None,
        options=_options(request),
        **{"prompt": None, **arguments},
    )


def _options(request: ChatRequest) -> Options:
    options: JSON = {
        name: value for name, value in request.params.items() if name in Options.model_fields
    }
    if request.wants_json_object:
        options["json_object"] = True
    if request.providers:
        options["provider"] = ",".join(request.providers)
    for name in ROUTING_OPTIONS.keys() & Options.model_fields.keys() - {"provider"}:
        if value := getattr(request, name):
            options[name] = value
    # The provider has accepted them: no validation.
    return Options.model_construct(**options)
