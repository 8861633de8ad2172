"""One scenario, played alike with llm's sync and async models, streamed and whole.

A scenario is a coroutine function that takes a `Session`; what its answers were is in `session.answers`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import llm
import sqlite_utils
from llm.cli import logs_json_for_response_ids
from llm.migrations import migrate

from tests.support.server import USAGE, Script, chunk, completion, events, http

JSON = dict[str, Any]


CLOSING = b"Connection: close\r\n"
"""Llm's own async model leaves its client open: a kept connection would outlive its loop."""


@dataclass(frozen=True)
class Reply:
    """One answer of a server, to be sent as a stream or whole. `extra` stands beside the choices,
    `deltas` are more fields of the message, each sent before the text."""

    pieces: tuple[str, ...]
    calls: tuple[JSON, ...] = ()
    finish: str = "stop"
    usage: JSON | None = field(default_factory=lambda: USAGE)
    extra: JSON = field(default_factory=dict)
    deltas: JSON = field(default_factory=dict)

    def script(self, *, streamed: bool) -> Script:
        return self._streamed() if streamed else self._whole()

    def _streamed(self) -> Script:
        chunks = [
            chunk("", role="assistant"),
            *(chunk(**{name: value}) for name, value in self.deltas.items()),
            *(chunk(piece) for piece in self.pieces),
            *(chunk(tool_calls=[piece]) for call in self.calls for piece in _pieces(call)),
            chunk(finish=self.finish),
        ]
        if self.usage is not None:
            chunks.append(chunk(usage=self.usage))
        head, *rest = events(*(one | self.extra for one in chunks), "[DONE]")
        assert isinstance(head, bytes)
        return [head.removesuffix(b"\r\n") + CLOSING + b"\r\n", *rest]

    def _whole(self) -> Script:
        fields = dict(self.deltas)
        if self.calls:
            fields["tool_calls"] = [
                {name: value for name, value in call.items() if name != "index"}
                for call in self.calls
            ]
        data = completion("".join(self.pieces) if self.pieces else None, **fields) | self.extra
        data["choices"][0]["finish_reason"] = self.finish
        data["usage"] = self.usage
        return http(200, data, [("Connection", "close")])


def _pieces(call: JSON) -> list[JSON]:
    """A call as OpenAI streams it: the name first, then the arguments bit by bit."""
    arguments = call["function"]["arguments"]
    middle = len(arguments) // 2
    more = [bit for bit in (arguments[:middle], arguments[middle:]) if bit]
    return [
        call | {"function": call["function"] | {"arguments": ""}},
        *({"index": call["index"], "function": {"arguments": bit}} for bit in more),
    ]


def text_reply(*pieces: str, **how: Any) -> Reply:
    return Reply(pieces, **how)


def tool_reply(*calls: JSON, pieces: tuple[str, ...] = (), **how: Any) -> Reply:
    """A reply that calls tools."""
    return Reply(pieces, calls, "tool_calls", **how)


async def now(value: Any) -> Any:
    """`value`, awaited where it has to be."""
    return await value if inspect.isawaitable(value) else value


@cache
def empty_log() -> bytes:
    """An empty logs.db: llm's migrations take a tenth of a second."""
    with closing(sqlite_utils.Database(memory=True)) as database:
        migrate(database)
        return bytes(database.conn.serialize())


class Session:
    """A model as a scenario sees it: nothing tells the scenario whether it is sync or async. `log` is
    a logs.db in memory."""

    def __init__(self, model: Any, *, streamed: bool) -> None:
        self.model = model
        self.streamed = streamed
        self.answers: list[JSON] = []
        connection = sqlite3.connect(":memory:")
        connection.deserialize(empty_log())
        self.log = sqlite_utils.Database(connection)

    def close(self) -> None:
        self.log.close()

    async def prompt(self, *args: Any, on: Any = None, **kwargs: Any) -> Any:
        """Prompt the model, or the conversation `on`; the response, complete."""
        return await self.take((on or self.model).prompt(*args, stream=self.streamed, **kwargs))

    async def reply(self, response: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.take(await now(response.reply(*args, stream=self.streamed, **kwargs)))

    async def chain(self, *args: Any, on: Any = None, **kwargs: Any) -> str:
        """The text of a chain, every answer of which is taken, also where it raises."""
        chain = (on or self.model).chain(*args, stream=self.streamed, **kwargs)
        try:
            return str(await now(chain.text()))
        finally:
            for response in chain._responses:
                await self.take(response)

    async def take(self, response: Any) -> Any:
        """Note all that a response tells, and log it."""
        if isinstance(response, llm.AsyncResponse):
            happened = [event async for event in response.astream_events()]
        else:
            happened = list(response.stream_events())
        usage = await now(response.usage())
        saved = response.to_dict()
        restored = type(response).from_dict(json.loads(json.dumps(saved)), model=self.model)
        response.log_to_db(self.log)
        (logged,) = json.loads(logs_json_for_response_ids(self.log, [response.id]))
        answer = {
            "text": await now(response.text()),
            "events": [vars(event) for event in happened],
            "calls": [vars(call) for call in await now(response.tool_calls())],
            "usage": vars(usage),
            "json": await now(response.json()),
            "saved": saved,
            "restored": [message.to_dict() for message in await now(restored.messages())],
            "resolved": response.resolved_model,
            "log": logged,
        }
        self.answers.append(json.loads(json.dumps(answer)))
        return response


Scenario = Callable[[Session], Coroutine[Any, Any, Any]]


def play(scenario: Scenario, model: Any, *, streamed: bool = True) -> tuple[Any, list[JSON]]:
    """Play a scenario; what it returned, and what the answers told."""
    with closing(Session(model, streamed=streamed)) as session:
        return _play(scenario, session), session.answers


def _play(scenario: Scenario, session: Session) -> Any:
    """Check that no event loop runs with a sync model."""
    if isinstance(session.model, (llm.AsyncModel, llm.AsyncKeyModel)):
        return asyncio.run(scenario(session))
    coroutine = scenario(session)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a sync model let the scenario wait")
