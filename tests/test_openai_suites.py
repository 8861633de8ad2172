"""The suites of openai's own client about streams, as users of ours see them.

Source: openai 3.57, tests/test_streaming.py, tests/test_response.py and tests/lib/chat. What they say
of `parse` is in test_parsing.py, and of `to_dict` and `model_dump` in test_types.py.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, closing
from typing import Any

import pytest

from llm_g4f.openai import APIError, AsyncOpenAI, OpenAI
from llm_g4f.types import ChatCompletion, ChatCompletionChunk
from tests.support.server import (
    END,
    HANG,
    SSE_HEAD,
    USAGE,
    Script,
    Server,
    chunk,
    event,
    events,
    framed,
    http,
    stream,
)

HI = [{"role": "user", "content": "hi"}]


def sent(*pieces: bytes) -> Script:
    """A streamed answer in these pieces of bytes, with its end."""
    finish = event(chunk(finish="stop")) + event("[DONE]")
    return [SSE_HEAD, *(framed(piece) for piece in pieces), framed(finish), END]


def line_of(text: str) -> bytes:
    return json.dumps(chunk(text), ensure_ascii=False).encode()


@pytest.fixture(params=["sync", "async"])
def read(request: pytest.FixtureRequest) -> Any:
    """Reads a stream with either client: its chunks, and the whole of them."""

    def read(script: Script, **options: Any) -> tuple[list[ChatCompletionChunk], ChatCompletion]:
        with Server(script) as server:
            if request.param == "sync":
                made = OpenAI(base_url=server.url).chat.completions.create(
                    HI, stream=True, **options
                )
                return list(made), made.get_final_completion()

            async def main() -> tuple[list[ChatCompletionChunk], ChatCompletion]:
                client = AsyncOpenAI(base_url=server.url)
                made = await client.chat.completions.create(HI, stream=True, **options)
                return [one async for one in made], await made.get_final_completion()

            return asyncio.run(main())

    return read


# The bytes of a stream.

ONE = line_of("Hello")
PRETTY = json.dumps(chunk("Hello"), indent=1).encode()


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        pytest.param([b"event: completion\n", b"data: " + ONE + b"\n", b"\n"], "Hello", id="basic"),
        pytest.param([b"data: " + ONE + b"\n", b"\n"], "Hello", id="data without event"),
        pytest.param(
            [b"event: ping\n", b"\n", b"event: completion\n", b"\n", b"data: " + ONE + b"\n\n"],
            "Hello",
            id="events without data",
        ),
        pytest.param(
            [b"event: a\ndata: " + line_of("Hel"), b"\n\nevent: b\ndata: " + line_of("lo") + b"\n\n"],
            "Hello",
            id="several events with data",
        ),
        pytest.param(
            [b"".join(b"data: " + part + b"\ndata:\ndata: \n" for part in PRETTY.split(b"\n")), b"\n\n"],
            "Hello",
            id="several data lines with empty ones",
        ),
        pytest.param(
            [b"data: " + line_of("my long\n\ncontent"), b"\n\n"],
            "my long\n\ncontent",
            id="an escaped blank line",
        ),
        pytest.param(
            [b"data: " + line_of(" culpa"), b"\n\ndata: " + line_of(" \u2028\x85\x0c") + b"\n\n"],
            " culpa \u2028\x85\x0c",
            id="line ends of Unicode",
        ),
        pytest.param(
            [b"data: ", *(bytes([byte]) for byte in line_of("известни 😀")), b"\n\n"],
            "известни 😀",
            id="a character in several pieces",
        ),
    ],
)  # fmt: skip
def test_a_stream_is_read_however_its_bytes_come(read: Any, pieces: list[bytes], text: str) -> None:
    chunks, whole = read(sent(*pieces))
    assert "".join(one.choices[0].delta.content or "" for one in chunks) == text
    assert whole.choices[0].message.content == text


def test_nothing_behind_done_is_read_and_the_connection_is_used_again() -> None:
    answer = sent(event(chunk("Hello")))
    behind: Script = [*answer[:-1], framed(event(chunk("more"))), END]
    with Server(behind) as server:
        client = OpenAI(base_url=server.url)
        for _ in range(3):
            made = client.chat.completions.create(HI, stream=True)
            assert "".join(one.choices[0].delta.content or "" for one in made) == "Hello"
        assert (len(server.requests), server.connections) == (3, 1)


@pytest.mark.parametrize("raised", [False, True], ids=["break", "exception"])
@pytest.mark.parametrize("way", ["aclosing", "async with", "closing", "with"])
def test_leaving_a_stream_closes_its_connection(way: str, raised: bool) -> None:
    def look(one: ChatCompletionChunk) -> None:
        assert one.choices[0].delta.content == "Hello"
        if raised:
            raise KeyError("mine")

    def leave(client: OpenAI) -> None:
        made = client.chat.completions.create(HI, stream=True)
        with closing(made) if way == "closing" else made:
            look(next(made))
        made.close()
        assert list(made) == []

    async def leave_async(client: AsyncOpenAI) -> None:
        made = await client.chat.completions.create(HI, stream=True)
        async with aclosing(made) if way == "aclosing" else made:
            async for one in made:
                look(one)
                break
        await made.aclose()
        await made.close()

    with Server([SSE_HEAD, framed(event(chunk("Hello"))), HANG]) as server:
        try:
            if way in ("closing", "with"):
                leave(OpenAI(base_url=server.url))
            else:
                asyncio.run(leave_async(AsyncOpenAI(base_url=server.url)))
        except KeyError:
            assert raised
        server.wait_closed()


# What a stream brings.

FOO: dict[str, Any] = {
    "token": "Foo",
    "logprob": -0.0025,
    "bytes": [70, 111, 111],
    "top_logprobs": [],
}
BANG: dict[str, Any] = {"token": "!", "logprob": -0.2663, "bytes": [33], "top_logprobs": []}


@pytest.mark.parametrize(("name", "field"), [("content", "content"), ("refusal", "refusal")])
def test_logprobs_come_with_their_chunks_and_are_joined(read: Any, name: str, field: str) -> None:
    parts = []
    for token in (FOO, BANG):
        part = chunk(**{field: token["token"]})
        part["choices"][0]["logprobs"] = {"content": None, "refusal": None, name: [token]}
        parts.append(part)
    chunks, whole = read(events(*parts, chunk(finish="stop"), "[DONE]"), logprobs=True)
    tokens = [getattr(one.choices[0].logprobs, name)[0].token for one in chunks[:2]]
    assert tokens == ["Foo", "!"]
    assert whole.choices[0].logprobs[name] == [FOO, BANG]
    assert getattr(whole.choices[0].message, field) == "Foo!"


def test_several_choices_are_put_together(read: Any) -> None:
    def part(index: int, **delta: Any) -> dict[str, Any]:
        made = chunk(**delta)
        made["choices"][0] |= {"index": index, "finish_reason": None if delta else "stop"}
        return made

    texts = ["65", "61", "59"]
    script = events(
        *(part(place, role="assistant", content="") for place in range(3)),
        *(part(place, content=text) for place, text in enumerate(texts)),
        *(part(place) for place in range(3)),
        chunk(usage=USAGE),
        "[DONE]",
    )
    chunks, whole = read(script, n=3)
    assert [choice.message.content for choice in whole.choices] == texts
    assert [choice.finish_reason for choice in whole.choices] == ["stop"] * 3
    assert all(one.choices for one in chunks)


@pytest.mark.parametrize("text", [None, '{"value": "exam'], ids=["at once", "after text"])
def test_a_filtered_stream_ends_with_its_reason_or_an_error(read: Any, text: str | None) -> None:
    parts = [] if text is None else [chunk(text)]
    script = events(*parts, chunk(role="assistant", finish="content_filter"), "[DONE]")
    if text is None:
        with pytest.raises(APIError, match="content filter") as caught:
            read(script)
        assert caught.value.reason == "filtered"
    else:
        whole = read(script)[1]
        assert whole.choices[0].finish_reason == "content_filter"
        assert whole.choices[0].message.content == text


OTHER = {"index": 0, "id": "call_other", "type": "function",
         "function": {"name": "other", "arguments": "{}"}}  # fmt: skip


@pytest.mark.parametrize(
    "before", ["nothing", "a role", "an empty list", "another tool", "another tool beside it"]
)
def test_pieces_of_a_tool_call_in_one_chunk_are_put_together(read: Any, before: str) -> None:
    place = 1 if "another" in before else 0
    first = [
        {
            "index": place,
            "id": "call_files",
            "type": "function",
            "function": {"name": "list_files"},
        },
        {"index": place, "function": {"arguments": '{"path"'}},
    ]
    rest = [{"index": place, "function": {"arguments": piece}} for piece in (": ", '"."}')]
    start = {
        "a role": [chunk(role="assistant")],
        "an empty list": [chunk(role="assistant", tool_calls=[])],
        "another tool": [chunk(tool_calls=[OTHER])],
    }.get(before, [])
    if before == "another tool beside it":
        first.insert(0, OTHER)
    script = events(
        *start, chunk(tool_calls=first), chunk(tool_calls=rest), chunk(finish="tool_calls"), "[DONE]"
    )  # fmt: skip
    _, whole = read(script)
    calls = whole.choices[0].message.tool_calls
    assert calls is not None
    assert [call.id for call in calls] == ["call_other", "call_files"][1 - place :]
    assert calls[-1].function.to_dict() == {"name": "list_files", "arguments": '{"path": "."}'}


def test_padding_against_eavesdroppers_is_not_in_the_answer(read: Any) -> None:
    """OpenAI's `obfuscation`, which makes all chunks equally long."""
    chunks, whole = read(events(*({**one, "obfuscation": "x7K"} for one in (chunk("Hello"), chunk(finish="stop"))), "[DONE]"))  # fmt: skip
    assert chunks[0].choices[0].delta.content == whole.choices[0].message.content == "Hello"
    assert "obfuscation" not in whole.to_json()


# with_streaming_response


def test_a_streaming_response_is_read_in_with() -> None:
    head = [("X-Request-Id", "req_1")]
    answer = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    with Server(http(200, answer, head)) as server:
        client = OpenAI(base_url=server.url)
        with client.chat.completions.with_streaming_response.create(
            model="gpt-4o", messages=HI
        ) as response:
            assert (response.status_code, response.request_id) == (200, "req_1")
            assert response.headers["content-type"] == "application/json"
            assert response.parse().choices[0].message.content == "Hello"
            [line] = response.iter_lines()
            assert json.loads(line) == response.json()
            with pytest.raises(AttributeError, match=r"no iter_bytes here: its answer is in parse"):
                _ = response.iter_bytes

    async def main(url: str) -> None:
        create = AsyncOpenAI(base_url=url).chat.completions.with_streaming_response.create
        async with create(model="gpt-4o", messages=HI) as response:
            assert response.headers["X-Request-ID"] == "req_1"
            completion = await response.parse()
            assert completion.choices[0].message.content == "Hello"
            [line] = [line async for line in response.iter_lines()]
            assert json.loads(line) == await response.json()

    with Server(http(200, answer, head)) as server:
        asyncio.run(main(server.url))


def test_the_lines_of_a_streamed_response_are_the_events_of_openai() -> None:
    def text_of(lines: list[str]) -> str:
        assert lines[-2:] == ["data: [DONE]", ""]
        parts = [json.loads(line.removeprefix("data: ")) for line in lines[:-2] if line]
        assert {part["object"] for part in parts} == {"chat.completion.chunk"}
        return "".join(part["choices"][0]["delta"]["content"] or "" for part in parts)

    async def main(url: str) -> str:
        create = AsyncOpenAI(base_url=url).chat.completions.with_streaming_response.create
        async with create(model="gpt-4o", messages=HI, stream=True) as response:
            return text_of([line async for line in response.iter_lines()])

    with Server(stream("Hel", "lo")) as server:
        client = OpenAI(base_url=server.url)
        with client.chat.completions.with_streaming_response.create(HI, stream=True) as response:
            assert text_of(list(response.iter_lines())) == "Hello"
        assert asyncio.run(main(server.url)) == "Hello"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_streaming_response_that_is_left_closes_its_connection(asynchronous: bool) -> None:
    async def main(url: str) -> None:
        create = AsyncOpenAI(base_url=url).chat.completions.with_streaming_response.create
        async with create(HI, stream=True) as response:
            async for one in await response.parse():
                assert one.choices[0].delta.content == "Hello"
                break

    with Server([SSE_HEAD, framed(event(chunk("Hello"))), HANG]) as server:
        if asynchronous:
            asyncio.run(main(server.url))
        else:
            create = OpenAI(base_url=server.url).chat.completions.with_streaming_response.create
            with create(HI, stream=True) as response:
                assert next(response.parse()).choices[0].delta.content == "Hello"
        server.wait_closed()
