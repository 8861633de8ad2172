"""Heads and bodies of responses through the whole client.

The two bytes in front say how a response is asked for and sent. A request ends in an answer with
words in it, or in an error of ours without the key; it never waits for ever, and leaves no task.
Where the beginning of a response is an answer already, it says that it is over, and all of the
response goes on with the same words. Where our own HTTP and httpx's both find an answer, it is the same one.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from enum import IntFlag
from functools import cache
from typing import Any

import httpcore
import httpx
from msgspec import Struct

from llm_g4f import AsyncClient
from llm_g4f.errors import G4FError
from llm_g4f.types import ChatCompletion
from tests.fuzz.checks import KEY, as_json, assert_line, assert_ours, forget, write_user_file
from tests.fuzz.loopback import CONFIG, Server
from tests.support import clock
from tests.support.server import call, calls, chunk, completion, event, http, stream, whole

RUNS = 1_500


class How(IntFlag):
    """The bits of the first byte. CUT: its beginning as a response, too; HTTPX: over httpx, too; SILENT:
    the server keeps the connection open. The second byte is where to cut, and the size of pieces."""

    STREAMED = 1
    LISTING = 2
    SILENT = 4
    CUT = 8
    HTTPX = 16
    JSON = 32
    TWO_CHOICES = 64
    TOOLS = 128


def _seeds() -> Iterator[bytes]:
    gone = {"error": {"message": f"The model does not exist ({KEY})", "code": "model_not_found"}}
    packed = [("Content-Encoding", "gzip")]
    unframed = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    scripts = [
        stream("Hel", "lo"),
        [unframed, *map(event, (chunk("Hel"), chunk("lo"), chunk(finish="stop"), "[DONE]"))],
        calls(call("f", '{"a": 1}', "call_1"), call("g", "{}", "call_2", 1)),
        whole(),
        whole(None, reasoning="so", tool_calls=[call("f", "{}", "call_1")]),
        http(200, gzip.compress(as_json(completion("Hello")).encode()), packed),
        http(200, b"data: {}\n\n: x\n\n" + event("[DONE]"), kind="text/event-stream"),
        http(200, {"data": [{"id": "gpt-4o"}, {"id": "other"}]}),
        http(429, {"error": {"message": "slow down"}}, [("Retry-After", "2")]),
        http(404, gone, [("x-request-id", "req_1")]),
        http(400, {"detail": [{"msg": "unknown parameter", "loc": ["body", "temperature"]}]}),
        http(502, "<html><h1>Bad gateway</h1></html>", kind="text/html"),
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\n", *http(200, completion("Hi"))],
    ]
    for number, script in enumerate(scripts):
        data = b"".join(step for step in script if isinstance(step, bytes))
        for how in (How.HTTPX, How.LISTING if number % 3 else How.STREAMED | How.SILENT):
            yield bytes([how, number]) + data
        for place in (120, 200) if number < 5 else ():
            yield bytes([How.STREAMED | How.CUT, place]) + data


SEEDS = list(_seeds())

WORDS = [
    *(
        "HTTP/1.1 ",
        "\r\n\r\n",
        "Content-Length: ",
        "Transfer-Encoding: chunked",
        "Connection: close",
    ),
    *(
        "Content-Encoding: deflate",
        "Retry-After: ",
        "text/event-stream",
        "data: ",
        "event: error\n",
    ),
    *(
        '"error":',
        '"message":',
        '"code":',
        '"delta":',
        '"content":',
        '"reasoning":',
        '"tool_calls":',
    ),
    *('"finish_reason":', '"arguments":', '"usage":', '"length"', "[DONE]", "<think>", "</think>"),
    *("context_length_exceeded", "insufficient_quota", "invalid_api_key", KEY),
]


_ENDS_AN_ANSWER = re.compile(
    rb'\[DONE\]|finish_reason"[ \t\r\n]*:[ \t\r\n]*"|content-encoding', re.IGNORECASE
)
"""Without these, an answer whose beginning is one is broken off. In a packed one they do not show."""


class Answer(Struct):
    """An answer: its text, and why it ended."""

    text: str
    finish: str | None


async def _ask(client: AsyncClient, how: How) -> Answer | None:
    """The answer of a client; None for a list of models. Raises `G4FError`."""
    if How.LISTING in how:
        for name in await client.models.list():
            assert_line(name)
        return None
    params: dict[str, Any] = {
        **({"response_format": {"type": "json_object"}} if How.JSON in how else {}),
        **({"n": 2} if How.TWO_CHOICES in how else {}),
        **(
            {"tools": [{"type": "function", "function": {"name": "f"}}]} if How.TOOLS in how else {}
        ),
    }
    create = client.chat.completions.create
    if How.STREAMED not in how:
        return _checked(await create("Give me JSON.", temperature=0.5, **params))
    async with create("Give me JSON.", stream=True, temperature=0.5, **params) as answer:
        async for read in answer:
            read.model_dump_json().encode()
        return _checked(await answer.get_final_completion())


def _checked(answer: ChatCompletion) -> Answer:
    """An answer with words in it, which can be written down. Raises AssertionError."""
    answer.model_dump_json().encode()
    assert answer.receipt is not None
    as_json(answer.receipt.to_dict())
    assert_line(answer.receipt.model or "")
    assert [attempt.outcome for attempt in answer.receipt.attempts][-1] == "ok"
    assert answer.choices
    finishes = {choice.finish_reason for choice in answer.choices}
    messages = [choice.message for choice in answer.choices]
    said = [each.content or each.refusal or each.tool_calls or each.extra for each in messages]
    assert any(said) or "length" in finishes, answer
    first = answer.choices[0]
    return Answer(first.message.content or "", first.finish_reason)


async def _outcome(data: bytes, how: How, size: int) -> Answer | None:
    """The answer to a request that meets `data`; None where there is none. Raises AssertionError."""
    server = Server(data, size, silent=How.SILENT in how)
    async with server:
        return await _tried(AsyncClient("box", api_key=KEY), how)


@cache
def _httpx_transport() -> httpx.AsyncHTTPTransport:
    """Making one takes longer than an answer."""
    return httpx.AsyncHTTPTransport(verify=False)


async def _outcome_of_httpx(data: bytes, how: How) -> Answer | None:
    transport = _httpx_transport()
    backend = httpcore.AsyncMockBackend([data])
    transport._pool = httpcore.AsyncConnectionPool(network_backend=backend)
    async with httpx.AsyncClient(transport=transport, trust_env=False) as http_client:
        return await _tried(AsyncClient("box", api_key=KEY, http_client=http_client), how)


async def _tried(client: AsyncClient, how: How) -> Answer | None:
    forget("g4f-health.json", "g4f-failures.jsonl")
    try:
        return await _ask(client, how)
    except G4FError as error:
        assert_ours(error)
        # Else one of this process has no more of something, such as files.
        assert error.reason != "this_machine"  # noqa: PT017 (any other error is one of the outcomes)
        return None


def run(data: bytes) -> None:
    if len(data) < 2:
        return
    how, place, data = How(data[0]), data[1], data[2:]
    write_user_file("g4f.yaml", CONFIG)
    size = len(data) // (place % 8 + 1) + 1
    answer = clock.run(_outcome(data, how, size))
    if answer is None or not answer.text:
        return
    if How.CUT in how:
        beginning = data[: len(data) * place // 256]
        begun = clock.run(_outcome(beginning, how, size))
        if begun is not None and begun.text != answer.text:
            assert answer.text.startswith(begun.text), (begun, answer)
            assert _ENDS_AN_ANSWER.search(beginning), begun
    if How.HTTPX in how and How.SILENT not in how:
        other = clock.run(_outcome_of_httpx(data, how))
        assert other is None or other == answer, (other, answer)
