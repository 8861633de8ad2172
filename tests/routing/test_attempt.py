"""One request to one candidate: what counts as content for its time limits, and what is held back."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_g4f.client import AsyncClient, Client
from llm_g4f.errors import APITimeoutError, InvalidResponseError
from llm_g4f.routing import attempt
from llm_g4f.types import ChatCompletion
from tests.support.answers import outcomes, streamed, text_of
from tests.support.prompts import Ask
from tests.support.server import (
    END,
    SSE_HEAD,
    USAGE,
    Endless,
    Script,
    Server,
    call,
    chunk,
    event,
    events,
    framed,
    stream,
)

Limited = Callable[..., Path]

LIMIT = 0.3
"""Seconds without content that the servers here may take."""

SCHEMA = {"type": "object", "required": ["name"]}
FORM = {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA}}


@pytest.fixture
def limited(write_config: Callable[[str], Path]) -> Limited:
    """Write a g4f.yaml whose providers may take `LIMIT` seconds: name=server."""

    def write(**servers: Server) -> Path:
        lines = [
            f"  {name}: {{base_url: '{server.url}', timeout: {LIMIT}}}"
            for name, server in servers.items()
        ]
        return write_config("\n".join(["providers:", *lines]))

    return write


def sent(*items: Any) -> Script:
    return [framed(event(item)) for item in items]


def slowly(*items: Any) -> Script:
    """A response with `LIMIT` over two between its events, and a few more of them than that allows."""
    steps = [step for item in items for step in (framed(event(item)), LIMIT / 2)]
    return [SSE_HEAD, *steps, *sent(chunk('{"name": 1}'), chunk(finish="stop"), "[DONE]"), END]


def progress(processed: int) -> dict[str, Any]:
    """A chunk of llama.cpp's server with return_progress."""
    counts = {"total": 9_000, "cache": 0, "processed": processed, "time_ms": 5}
    return chunk(role="assistant") | {"prompt_progress": counts}


def create(provider: str = "a", **params: Any) -> ChatCompletion:
    answer: ChatCompletion = Client(provider).chat.completions.create("hi", **params)
    return answer


HEARTBEATS: dict[str, Any] = {
    "role": chunk(role="assistant"),
    "empty text": chunk(""),
    "no choices": chunk() | {"choices": []},
    "usage": chunk(usage=USAGE),
    "empty arguments": chunk(tool_calls=[{"index": 0, "function": {"arguments": ""}}]),
    "the same progress": progress(512),
    "empty refusal": chunk(refusal=""),
}


@pytest.mark.parametrize("form", [None, FORM], ids=["text", "schema"])
@pytest.mark.parametrize("beat", HEARTBEATS.values(), ids=HEARTBEATS)
def test_chunks_without_content_are_silence(beat: Any, form: Any, limited: Limited) -> None:
    params = {"response_format": form} if form else {}
    first = sent(call_begun()) if "arguments" in str(beat) else []
    beating: Script = [SSE_HEAD, *first, Endless(framed(event(beat)), LIMIT / 10)]
    with Server(beating) as a, Server(stream('{"name": 1}')) as b:
        limited(a=a, b=b)
        if not first or form:
            assert streamed("a,b", **params) == ('{"name": 1}', None)
            a.wait_closed()
        else:
            with pytest.raises(APITimeoutError, match=f"a fell silent for {LIMIT} s"):
                create("a,b", **params)


def call_begun() -> dict[str, Any]:
    return chunk(tool_calls=[call("f", "", "call_a")])


@pytest.mark.parametrize("beat", [chunk(""), chunk() | {"choices": []}], ids=["empty", "none"])
def test_chunks_without_content_are_silence_after_the_first_word(
    beat: Any, limited: Limited
) -> None:
    beating: Script = [SSE_HEAD, *sent(chunk("Hel")), Endless(framed(event(beat)), LIMIT / 10)]
    with Server(beating) as a, Server(stream("Hello")) as b:
        limited(a=a, b=b)
        text, error = streamed("a,b")
        a.wait_closed()
    assert isinstance(error, APITimeoutError)
    assert error.message.startswith(f"a fell silent for {LIMIT} s.")
    assert (text, error.partial) == ("Hel", "Hel")
    assert not b.requests


def test_silence_through_llm(ask: Ask, limited: Limited) -> None:
    beating: Script = [SSE_HEAD, Endless(framed(event(chunk(""))), LIMIT / 10)]
    with Server(beating) as a, Server(stream("Hello")) as b:
        limited(a=a, b=b)
        answer = ask("hi", provider="a,b")
    assert answer.text == "Hello"
    assert [one["outcome"] for one in answer.receipt["attempts"]] == ["APITimeoutError", "ok"]


CONTENT: dict[str, list[Any]] = {
    "text": [chunk(text) for text in ("Here", " you", " are:\n", "```json\n")],
    "reasoning": [chunk(reasoning="a")] * 4,
    "arguments": [
        chunk(tool_calls=[call("f", "", "call_a")]),
        *[chunk(tool_calls=[{"index": 0, "function": {"arguments": " "}}])] * 4,
    ],
    "refusal": [chunk(refusal="a")] * 4,
    "progress": [progress(count) for count in (0, 512, 1024, 1536, 2048)],
}


@pytest.mark.parametrize("form", [None, FORM], ids=["text", "schema"])
@pytest.mark.parametrize("chunks", CONTENT.values(), ids=CONTENT)
def test_slow_content_is_not_silence(chunks: list[Any], form: Any, limited: Limited) -> None:
    with Server(slowly(*chunks)) as a:
        limited(a=a)
        answer = create(**({"response_format": form} if form else {}))
    assert (text_of(answer) or "").endswith('{"name": 1}')


def test_progress_that_goes_back_is_silence(limited: Limited) -> None:
    with Server(slowly(*[progress(count) for count in (2048, 0, 512, 1024)])) as a:
        limited(a=a)
        with pytest.raises(APITimeoutError, match="a sent no first token"):
            create()


def test_the_head_of_a_response_is_no_content(limited: Limited) -> None:
    late = LIMIT * 0.7
    with Server([late, SSE_HEAD, late, *stream("Hello")[1:]]) as a, Server(stream("Hi")) as b:
        limited(a=a, b=b)
        assert text_of(create("a,b")) == "Hi"


def test_a_slow_reader_of_chunks_without_content_is_not_silence(limited: Limited) -> None:
    beats = sent(chunk("Hel"), chunk(""), chunk(usage=USAGE), chunk("lo"), chunk(finish="stop"))
    paced = [step for beat in beats for step in (beat, 0.02)]

    async def run() -> str:
        text = ""
        async for one in AsyncClient("a").chat.completions.stream("hi"):
            await asyncio.sleep(LIMIT * 1.2)
            text += "".join(choice.delta.content or "" for choice in one.choices)
        return text

    with Server([SSE_HEAD, *paced, END]) as a:
        limited(a=a)
        assert asyncio.run(run()) == "Hello"


FLOOD: dict[str, tuple[Any, str, int]] = {
    "chunks": (chunk("", role="assistant"), "MAX_CHUNKS_BEFORE_CONTENT", 1_000),
    "no choices": (chunk() | {"choices": []}, "MAX_CHUNKS_BEFORE_CONTENT", 1_000),
    "bytes": (
        {
            **chunk(),
            "choices": [{"index": 0, "delta": {}, "logprobs": {"content": ["x" * 10_000] * 20}}],
        },
        "MAX_SIZE_BEFORE_CONTENT",
        1_000_000,
    ),
}


@pytest.mark.parametrize(("one", "name", "bound"), FLOOD.values(), ids=FLOOD)
def test_what_is_held_back_before_the_first_word_has_a_bound(
    one: Any,
    name: str,
    bound: int,
    endpoints: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempt, name, bound)
    with Server([SSE_HEAD, Endless(framed(event(one)))]) as a, Server(stream("Hello")) as b:
        endpoints(a=a, b=b)
        text, error = streamed("a")
        assert isinstance(error, InvalidResponseError)
        assert "a sent a flood of chunks without content" in error.message
        assert text == ""
        assert outcomes(create("a,b")) == [("a", "InvalidResponseError"), ("b", "ok")]
        a.wait_closed(2)


def test_the_usual_chunks_before_the_first_word_are_far_from_the_bounds(
    endpoints: Callable[..., Path],
) -> None:
    beats = [chunk("", role="assistant"), *[chunk("")] * 20_000]
    with Server(events(*beats, chunk("Hello"), chunk(finish="stop"), "[DONE]")) as a:
        endpoints(a=a)
        assert text_of(create()) == "Hello"


@pytest.mark.parametrize("form", [None, FORM], ids=["text", "schema"])
def test_the_text_of_an_answer_is_kept_once(form: Any, write_config: Callable[[str], Path]) -> None:
    params = {"response_format": form} if form else {}

    async def run(url: str) -> list[int]:
        write_config(f"providers: {{a: {{base_url: '{url}'}}}}")
        answer: Any = AsyncClient("a").chat.completions.create("hi", stream=True, **params)
        deltas = [one.choices[0].delta async for one in answer]
        texts = [delta.content for delta in deltas if delta.content]
        keepers = [gc.get_referrers(text) for text in texts]
        return [sum(one is not texts and type(one) is list for one in each) for each in keepers]

    with Server(stream('{"name": "Ada ', 'Augusta"', "}")) as server:
        assert asyncio.run(run(server.url)) == ([1, 1, 1] if form is None else [1])
