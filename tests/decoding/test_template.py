"""Events of one form, read by their texts alone: the same chunks as the long way round."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_g4f.decoding.chunks import ChunkReader
from llm_g4f.decoding.error_context import ErrorContext
from llm_g4f.decoding.response import Answer
from llm_g4f.decoding.template import Template
from llm_g4f.errors import APIError
from llm_g4f.types import ChatCompletionChunk
from tests.support.server import chunk, event, split


@pytest.fixture(autouse=True, scope="module")
def always() -> Iterator[None]:
    """Two events are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm_g4f.decoding.response._MANY", 0)
        yield


def framed(*values: Any) -> bytes:
    return b"".join(
        b"data: %b\n\n" % value if isinstance(value, bytes) else event(value) for value in values
    )


def said(text: str, **fields: Any) -> bytes:
    return json.dumps({"content": text, **fields}).encode()


def content(data: bytes) -> str | None:
    found = json.loads(data).get("content")
    return found if isinstance(found, str) else None


def template(data: bytes = said("x", id=1)) -> Template:
    found = Template.of(data, content)
    assert found is not None
    return found


TEXTS = ["", "plain", "ü €", "\n", '"', "\\", '\\"', '","', '"content": "', "data: x\n\n", "\x00"]


def test_the_texts_of_events_of_one_form() -> None:
    data = framed(*(said(text, id=1) for text in TEXTS))
    assert template().texts(data) == (TEXTS, b"")


def test_what_is_behind_them_is_given_back() -> None:
    data = framed(said("a", id=1), said("b", id=1))
    rest = framed(said("c", id=2))
    assert template().texts(data + rest) == (["a", "b"], rest)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        framed(said("a", id=1))[:-1],
        framed(said("a", id=2)),
        framed(b'{"kontent": "a", "id": 1}'),
        b": comment\n\n" + framed(said("a", id=1)),
        framed(said("a", id=1), said("b", id=2), said("c", id=1)),
        framed(said("a", id=1), b"[DONE]", said("c", id=1)),
        framed(said("a", id=1)) + b"event: error\n" + framed(said("c", id=1)),
        # Neither JSON nor UTF-8.
        framed(b'{"content": "\n", "id": 1}'),
        framed(b'{"content": "\xff", "id": 1}'),
        framed(b'{"content": "\\x", "id": 1}'),
        framed(b'{"content": "a","b", "id": 1}'),
    ],
)
def test_other_events_are_left_to_those_who_understand_them(data: bytes) -> None:
    assert template().texts(data) == ([], data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"id": 1}',
        b'{"content": null}',
        # The last one of two counts.
        b'{"content": "a", "content": "b"}',
        b'{"other": {"content": "a"}, "content": null}',
        said("a" * 5_000),
    ],
)
def test_an_event_that_is_long_or_has_its_text_elsewhere_makes_no_template(data: bytes) -> None:
    assert Template.of(data, content) is None


@pytest.mark.parametrize(
    ("many", "read"),
    [
        # The first text might have been the beginning of <think>; the second is as all others are.
        (4096, ["role", "word 0", "word 1", "[DONE]"]),
        (100_000, ["role", *["word"] * 50, "[DONE]"]),
    ],
)
def test_many_events_at_once_take_the_short_way(
    many: int, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_g4f.decoding.response._MANY", many)
    texts = [f"word {i}" for i in range(50)]
    data = framed(chunk("", role="assistant"), *map(chunk, texts), b"[DONE]")
    usual = ChunkReader.piece
    seen: list[bytes] = []

    def piece(self: ChunkReader, one: bytes) -> ChatCompletionChunk | None:
        seen.append(one)
        return usual(self, one)

    monkeypatch.setattr(ChunkReader, "piece", piece)
    chunks = answer(data)
    assert [one.choices[0].delta.content for one in chunks] == ["", *texts]
    assert len(seen) == len(read)


class Reads:
    """A body that comes in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.left = pieces

    async def read(self) -> bytes | None:
        return self.left.pop(0) if self.left else None

    async def drain(self) -> None:
        self.left.clear()


def batches(*pieces: bytes) -> list[Any]:
    """The chunks of each read of a stream, and the error at its end."""

    async def read() -> list[Any]:
        found: list[Any] = []
        body: Any = Reads([*pieces])
        try:
            async for batch in Answer(ErrorContext("a", "m", "http://a"), body, 1).batches():
                found += [batch]
        except APIError as error:
            found.append([(type(error), str(error))])
        return found

    return asyncio.run(read())


def answer(*pieces: bytes) -> list[Any]:
    return [one for batch in batches(*pieces) for one in batch]


def test_an_event_that_began_in_an_earlier_read_is_read_whole() -> None:
    begun = framed(*map(chunk, "abc"))
    *chunks, error = answer(begun, b"event: error\n", framed(chunk("d")))
    assert len(chunks) == len("abc")
    assert issubclass(error[0], APIError)


@pytest.mark.parametrize("missing", [1, 2])
def test_the_last_event_counts_without_its_blank_line(missing: int) -> None:
    data = framed(*map(chunk, "abc"), chunk(finish="stop"))
    assert answer(data[:-missing]) == answer(data)


def test_no_event_waits_for_the_next_read() -> None:
    last = framed(chunk("d")).replace(b"\n", b"\r\n")
    batch = batches(framed(*map(chunk, "abc")) + last, b"data: [DONE]\n\n")[0]
    assert [one.choices[0].delta.content for one in batch] == [*"abcd"]


TEXT = st.text(max_size=6) | st.sampled_from(TEXTS)
ODD = st.sampled_from(
    [
        chunk(role="assistant"),
        chunk(finish="stop"),
        chunk(reasoning="hm"),
        chunk("x", role="assistant"),
        chunk("x") | {"model": "another"},
        chunk("x") | {"obfuscation": "qwert"},
        chunk("x") | {"id": "chatcmpl-2"},
        {"error": {"message": "broken"}},
        b"[DONE]",
        b'{"choices": [{"delta": {"content": "\xff"}}]}',
        b'{"choices": [{"delta": {"content": "\\ud83d"}}]}',
        b"nonsense",
    ]
)
OTHER = st.sampled_from(
    [
        b": comment\n\n",
        b"\n",
        b"\r\n",
        b"event: error\n",
        b"event: message\n",
        b"data: ",
        b"\xef\xbb\xbf",
    ]
)


def run(form: dict[str, Any], texts: list[str], end: bytes) -> bytes:
    """Events of one form."""
    return framed(*(chunk(text) | form for text in texts)).replace(b"\n", end)


def spoken(texts: list[str]) -> bytes:
    return framed(*(chunk(text, role="assistant") for text in texts))


FORMS = st.sampled_from([{}, {"model": "another"}, {"service_tier": "flex"}, {"usage": None}])
RUNS = st.lists(TEXT, max_size=5)
EVENTS = st.lists(
    st.builds(run, FORMS, RUNS, st.sampled_from([b"\n", b"\n", b"\r\n"]))
    | RUNS.map(spoken)
    | ODD.map(framed)
    | OTHER,
    max_size=8,
).map(b"".join)


@given(EVENTS, st.integers(1, 600))
@example(
    framed(chunk("a"), chunk("b")) + b"event: error\n" + framed(chunk("c"), chunk("d")), 10_000
)
@example(framed(chunk("a"), chunk("b")) + b"data: {\r\n\r\n" + framed(chunk("c")), 300)
@example(spoken([*"abcdef"]), 10_000)
def test_however_a_stream_comes_it_is_what_every_event_by_itself_would_be(
    data: bytes, size: int
) -> None:
    short = answer(*split(data, size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChunkReader, "pieces", lambda _, data: ([], data))
        patch.setattr("llm_g4f.decoding.response.whole_events", len)
        assert short == answer(data)
