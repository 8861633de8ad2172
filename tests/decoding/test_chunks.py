"""Chunks as servers send them, and as they are decoded."""

from __future__ import annotations

import json
import math
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_g4f.accumulator import Accumulator
from llm_g4f.decoding.chunks import ChunkReader
from llm_g4f.decoding.text import parse_json, text_of, whole
from llm_g4f.errors import InvalidResponseError
from llm_g4f.types import ChatCompletionChunk, ChoiceDelta, ToolCall
from tests.support.server import chunk, completion
from tests.support.strategies import chunks_like, fragmented, mostly, texts, tool_chunk, values


def read(*values: Any, choices: int = 1) -> list[ChatCompletionChunk]:
    reader = ChunkReader("a", "asked", choices)
    return [reader.read(value) for value in values]


def delta_of(delta: Any) -> ChoiceDelta:
    return read({"choices": [{"index": 0, "delta": delta}]})[0].choices[0].delta


def calls_of(*values: Any) -> list[ToolCall]:
    accumulator = Accumulator()
    for one in read(*values):
        accumulator.add(one)
    return accumulator.completion().choices[0].message.tool_calls or []


def test_all_fields_of_a_chunk() -> None:
    tokens = {"content": [{"token": "Hi", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
    sent = chunk("Hi", role="assistant", finish="stop")
    sent |= {"system_fingerprint": "fp", "service_tier": "default"}
    sent["choices"][0]["logprobs"] = tokens
    (one,) = read(sent)
    (choice,) = one.choices
    assert (one.id, one.created, one.model) == ("chatcmpl-1", 1_790_000_000, "gpt-4o-2024-11-20")
    assert (one.system_fingerprint, one.service_tier, one.provider) == ("fp", "default", "a")
    assert choice.delta == ChoiceDelta(role="assistant", content="Hi")
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", tokens)


def test_missing_id_created_and_model_are_those_of_the_chunk_before() -> None:
    first, second = read(chunk("a"), {"choices": []})
    assert (second.id, second.created, second.model) == (first.id, first.created, first.model)


def test_a_missing_model_is_the_requested_one_and_a_missing_id_is_made_up() -> None:
    (one,) = read({"choices": [{"delta": {"content": "x"}}]})
    assert (one.model, one.id) == ("asked", "chatcmpl-none")
    assert one.created > 1_700_000_000


def test_the_first_real_id_and_model_count() -> None:
    empty = {"id": "", "model": "", "choices": []}
    chunks = read(empty, chunk("a"), chunk("b") | {"id": "other", "model": "other"})
    assert [(one.id, one.model) for one in chunks] == [
        ("", "asked"),
        *[("chatcmpl-1", "gpt-4o-2024-11-20")] * 2,
    ]
    accumulator = Accumulator()
    for one in chunks:
        accumulator.add(one)
    answer = accumulator.completion()
    assert (answer.id, answer.model) == ("chatcmpl-1", "gpt-4o-2024-11-20")


@pytest.mark.parametrize(
    "value",
    [
        {"choices": None},
        {"choices": []},
        {"choices": {}},
        {"choices": [None]},
        {"choices": ["x"]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0, "delta": "x"}]},
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 0, "delta": {"content": None}}]},
        {"choices": [{"index": 0, "delta": {"content": None, "role": None, "tool_calls": None}}]},
        {"choices": [{"index": 0, "delta": {"content": 1, "reasoning": 2, "refusal": 3}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [None, 1]}}]},
        {"usage": None},
    ],
    ids=json.dumps,
)
def test_empty_chunks_are_skipped(value: Any) -> None:
    (one,) = read(value)
    for choice in one.choices:
        assert choice.delta == ChoiceDelta()
        assert choice.finish_reason is None


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.5, "x", [], [{"choices": []}], {}, {"id": "x"}, {"detail": "no"}]
)
def test_other_json_is_an_error(value: Any) -> None:
    with pytest.raises(InvalidResponseError, match=r"^a: .*not a completion") as caught:
        read(value)
    assert (caught.value.provider, caught.value.model) == ("a", "asked")


def test_an_invalid_index_is_zero() -> None:
    for index in (None, "0", 0.0):
        (one,) = read({"choices": [{"index": index, "delta": {"content": "x"}}]})
        assert one.choices[0].index == 0


@pytest.mark.parametrize("indexes", [(0, 1, 2), (1, 1, 1), (-1, -1, -1), (None, 0, 5)])
def test_the_index_of_the_only_choice_is_zero(indexes: tuple[Any, ...]) -> None:
    values = [{"choices": [{"index": index, "delta": {"content": "x"}}]} for index in indexes]
    assert [one.choices[0].index for one in read(*values)] == [0, 0, 0]


def test_of_several_choices_in_a_chunk_the_first_is_the_only_one() -> None:
    value = {"choices": [{"index": i, "delta": {"content": str(i)}} for i in range(4)]}
    assert [choice.delta.content for choice in read(value)[0].choices] == ["0"]


def test_only_the_requested_choices_are_read() -> None:
    value = {"choices": [{"index": i, "delta": {"content": str(i)}} for i in range(4)]}
    assert [choice.index for choice in read(value, choices=3)[0].choices] == [0, 1, 2]


@pytest.mark.parametrize(
    ("delta", "content", "reasoning"),
    [
        ({"content": "a"}, "a", None),
        ({"content": "", "reasoning": "r"}, "", "r"),
        ({"reasoning_content": "r"}, None, "r"),
        ({"reasoning": "", "reasoning_content": "r"}, None, "r"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab", None),
        ({"content": ["a", {"text": "b"}, None, {"image": 1}, {"text": None}]}, "ab", None),
        ({"content": []}, None, None),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
                    {"type": "text", "text": "a"},
                ]
            },
            "a",
            "r",
        ),
        ({"content": [{"type": "thinking", "thinking": "r"}]}, None, "r"),
    ],
)
def test_content_and_reasoning_in_all_their_forms(
    delta: dict[str, Any], content: str | None, reasoning: str | None
) -> None:
    for form in (delta, {"role": "assistant", **delta}):
        found = delta_of(form)
        assert (found.content, found.reasoning) == (content, reasoning)


def test_refusals_are_kept() -> None:
    assert delta_of({"content": None, "refusal": "No."}).refusal == "No."


def test_message_in_place_of_delta() -> None:
    (one,) = read(completion("Hello"))
    assert one.choices[0].delta.content == "Hello"
    assert one.choices[0].finish_reason == "stop"
    assert one.usage is not None


@pytest.mark.parametrize("reason", ["", None, 0, {}])
def test_an_invalid_finish_reason_is_none(reason: Any) -> None:
    (one,) = read({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    assert one.choices[0].finish_reason is None


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 4}, (1, 2, 4)),
        ({"prompt_tokens": 1, "completion_tokens": 2}, (1, 2, 3)),
        ({"prompt_tokens": 1.0, "completion_tokens": 2, "total_tokens": "x"}, (1, 2, 3)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (0, 0, 0)),
        ({"prompt_tokens": 1}, None),
        ({"prompt_tokens": None, "completion_tokens": 2}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2}, None),
        ({"prompt_tokens": True, "completion_tokens": 2}, None),
        ({"prompt_tokens": math.nan, "completion_tokens": 2}, None),
        ({"prompt_tokens": math.inf, "completion_tokens": 2}, None),
        ({"prompt_tokens": 1 << 60, "completion_tokens": 2}, None),
        ({}, None),
        (None, None),
        ([1], None),
    ],
    ids=str,
)
def test_usage_is_valid_or_none(usage: Any, counted: tuple[int, int, int] | None) -> None:
    found = read({"choices": [], "usage": usage})[0].usage
    assert (found and (found.prompt_tokens, found.completion_tokens, found.total_tokens)) == counted


def test_the_last_usage_counts() -> None:
    accumulator = Accumulator()
    for count in (1, 2, 3):
        usage = {"prompt_tokens": 5, "completion_tokens": count}
        for one in read(chunk("x") | {"usage": usage}):
            accumulator.add(one)
    for one in read(chunk(finish="stop") | {"usage": None}):
        accumulator.add(one)
    found = accumulator.completion().usage
    assert found is not None
    assert (found.completion_tokens, found.total_tokens) == (3, 8)


def test_repeated_chunks_are_passed_on() -> None:
    assert [one.choices[0].delta.content for one in read(chunk("a"), chunk("a"))] == ["a", "a"]


def piece(arguments: Any = None, *, name: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {} if name is None else {"name": name}
    if arguments is not None:
        function["arguments"] = arguments
    return {**fields, "function": function}


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        (
            [[piece("", name="f", index=0, id="x")], [piece('{"a":', index=0)], [piece("1}", index=0)]],
            [("x", "f", '{"a":1}')],
        ),
        # A new id on a used index is a new call.
        (
            [[piece("{}", name="f", index=0, id="x")], [piece('{"b":2}', name="g", index=0, id="y")]],
            [("x", "f", "{}"), ("y", "g", '{"b":2}')],
        ),
        # The id and the name on every piece.
        (
            [[piece('{"a"', name="f", index=0, id="x")], [piece(":1}", name="f", index=0, id="x")]],
            [("x", "f", '{"a":1}')],
        ),
        # An id and no index.
        (
            [[piece("{", name="f", id="x")], [piece("[", name="g", id="y")], [piece("}", id="x")]],
            [("x", "f", "{}"), ("y", "g", "[")],
        ),
        # Neither id nor index: the call before it.
        (
            [[piece("{", name="f")], [piece("}")], [piece("{", name="g")], [piece("}")]],
            [("call_0", "f", "{}"), ("call_1", "g", "{}")],
        ),
        # Empty ids are none.
        (
            [[piece("{", name="f", id="", index=0)], [piece("}", id="", index=0)]],
            [("call_0", "f", "{}")],
        ),
        # Whole calls in one chunk, without index and without ids.
        (
            [[piece("{}", name="f", id="x"), piece("{}", name="g", id="y")]],
            [("x", "f", "{}"), ("y", "g", "{}")],
        ),
        ([[piece("{}", name="f"), piece("{}", name="f")]], [("call_0", "f", "{}"), ("call_1", "f", "{}")]),
        # Two whole calls that both claim index 0.
        (
            [[piece("{}", name="f", id="x", index=0), piece("{}", name="g", id="y", index=0)]],
            [("x", "f", "{}"), ("y", "g", "{}")],
        ),
        # Indexes that do not start at 0.
        (
            [[piece("{", name="f", id="x", index=1)], [piece("}", index=1)]],
            [("x", "f", "{}")],
        ),
        # Arguments as an object, missing and empty.
        ([[piece({"a": [1]}, name="f", id="x")]], [("x", "f", '{"a": [1]}')]),
        ([[piece(None, name="f", id="x")]], [("x", "f", "{}")]),
        ([[piece("  ", name="f", id="x")]], [("x", "f", "{}")]),
    ],
)  # fmt: skip
def test_tool_calls_are_put_together(
    chunks: list[list[dict[str, Any]]], calls: list[tuple[str, str, str]]
) -> None:
    found = calls_of(*(tool_chunk(*pieces) for pieces in chunks), chunk(finish="tool_calls"))
    assert [(call.id, call.function.name, call.function.arguments) for call in found] == calls


def test_each_delta_has_the_index_of_its_tool_call() -> None:
    first, second = read(
        tool_chunk(piece("{", name="f", id="x", index=7)), tool_chunk(piece("}", index=7))
    )
    (begun,), (more,) = (one.choices[0].delta.tool_calls or [] for one in (first, second))
    assert (begun.index, begun.id, begun.function.name) == (0, "x", "f")
    assert (more.index, more.id, more.function.name) == (0, None, "")


@given(fragmented())
@example(
    (
        [("call_0", "f", '{"a": 1}'), ("call_1", "f", "{}")],
        [
            tool_chunk(piece(part, name=name))
            for part, name in (('{"a": 1}', "f"), ("", "f"), ("{}", None))
        ],
    )
)
def test_any_fragmentation_gives_the_same_calls(
    case: tuple[list[tuple[str, str, str]], list[dict[str, Any]]],
) -> None:
    calls, chunks = case
    found = calls_of(*chunks, chunk(finish="tool_calls"))
    assert sorted((call.id, call.function.name, call.function.arguments) for call in found) == (
        sorted(calls)
    )


@given(st.lists(chunks_like, max_size=4))
@example([{"choices": [], "id": "\ud800"}])
@example([{"choices": [], "model": "\ud800"}])
@example([{"choices": [], "service_tier": "\ud800"}])
@example(
    [tool_chunk({"id": "\ud800", "function": {"name": "\ud800", "arguments": {"a": "\ud800"}}})]
)
@example([{"choices": [{"finish_reason": "\ud800", "delta": {"role": "\udfff"}}]}])
@example([{"choices": [{"logprobs": {"content": [{"token": "\ud800"}]}}]}])
def test_any_json_is_a_chunk_or_an_invalid_response(values: list[Any]) -> None:
    """And what comes of it can be written down: a lone surrogate in it could not."""
    reader = ChunkReader("a", "asked", 2)
    accumulator = Accumulator()
    for value in values:
        try:
            one = reader.read(parse_json(json.dumps(value).encode()))
        except InvalidResponseError:
            continue
        one.model_dump_json().encode()
        accumulator.add(one)
        accumulator.completion().model_dump_json().encode()


pieces = mostly(
    st.fixed_dictionaries(
        {"choices": st.lists(mostly(st.fixed_dictionaries({"delta": mostly(
            st.fixed_dictionaries({"content": st.text()}, optional={"role": texts, "refusal": st.none()})
        )}, optional={"index": st.integers(0, 1), "finish_reason": st.none(), "logprobs": st.none()})), max_size=2)},
        optional={
            "id": st.text(), "model": st.text(), "created": st.integers(0, 9), "usage": st.none(),
            "service_tier": st.sampled_from(["flex", "other", None]), "system_fingerprint": texts,
            "object": st.just("chat.completion.chunk"), "obfuscation": st.text(), "error": st.none(),
        },
    )
)  # fmt: skip


@given(st.lists(pieces, max_size=5), st.sampled_from([b"\xff", b'\\ud800"', b""]))
@example([{"choices": [{"delta": {"content": "a"}}]}] * 2, b"")
def test_a_piece_of_text_is_read_as_every_chunk_is(values: list[Any], spoiler: bytes) -> None:
    fast, slow = ChunkReader("a", "asked"), ChunkReader("a", "asked")
    first = chunk("Hi")
    assert fast.decode(json.dumps(first).encode()) == slow.read(first)
    for value in values:
        data = json.dumps(value).encode().replace(b'"}', spoiler + b'"}', 1)
        try:
            expected = slow.read(parse_json(data))
        except ValueError:
            continue
        except InvalidResponseError:
            assert fast.decode(data) is None
            continue
        # As texts, since NaN equals nothing.
        assert repr(fast.decode(data) or fast.read(parse_json(data))) == repr(expected)


def test_a_plain_piece_of_text_takes_the_short_way() -> None:
    reader = ChunkReader("a", "asked")
    data = json.dumps(chunk("Hello")).encode()
    assert reader.decode(data) == ChunkReader("a", "asked").read(parse_json(data))


MANY = 10_000


@pytest.mark.parametrize(
    "values",
    [
        [tool_chunk(*(piece("{}", name="f") for _ in range(MANY)))],
        [tool_chunk(*(piece("{}", name="f", id=f"{i}", index=0) for i in range(MANY)))],
        [
            tool_chunk(*(piece("{}", name="f", index=i) for i in range(MANY))),
            *(chunk(finish="tool_calls") for _ in range(MANY)),
        ],
        [
            tool_chunk(piece('{"a": "', name="f")),
            *(tool_chunk(piece("}{"[i % 2], name="f")) for i in range(MANY)),
        ],
    ],
    ids=["one chunk", "one index", "ends", "brackets in a string"],
)
def test_time_is_linear_in_the_number_of_tool_calls(values: list[dict[str, Any]]) -> None:
    before = time.process_time()
    read(*values)
    assert time.process_time() - before < 4


@pytest.mark.parametrize("depth", [10, 150, *range(200, 1000, 20), 5_000, 100_000])
def test_deep_nesting_is_a_chunk_or_an_error(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for body in (
        b'{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":%s}}]}}]}',
        b'{"choices":[{"delta":{"content":%s}}]}',
        b'{"choices":[{"delta":{},"logprobs":{"a":%s}}]}',
        b"%s",
    ):
        with suppress(ValueError, InvalidResponseError):
            ChunkReader("a", "asked").read(parse_json(body % nested))


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"{", b'{"a":}', b"[" * 100_000, b"1" * 5_000 + b"x", b"\x00", b"[DONE]", b"\xff"],
    ids=lambda data: repr(data[:10]),
)
def test_what_is_not_json_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (its words are the parser's)
        parse_json(data)


def test_a_number_of_5000_digits_is_a_value_error_at_worst() -> None:
    with suppress(ValueError):
        assert parse_json(b"9" * 5_000) > 1e300


@given(st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode()))
def test_the_parser_raises_only_value_error(data: bytes) -> None:
    with suppress(ValueError):
        parse_json(data)


@given(values)
def test_json_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    text = whole(json.dumps(value, ensure_ascii=False))
    assert repr(parse_json(text.encode())) == repr(json.loads(text))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"\ud83d"', "\ufffd"),
        (rb'"a\ude00b"', "a\ufffdb"),
        (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
        (b'"a\xffb"', "a\ufffdb"),
        ('"é😀\u2028"'.encode(), "é😀\u2028"),
    ],
)
def test_surrogates_are_joined_or_replaced(data: bytes, text: str) -> None:
    body = b'{"choices":[{"delta":{"content":%s,"reasoning":%s,"refusal":%s}}]}'
    delta = ChunkReader("a", "m").read(parse_json(body % (data, data, data))).choices[0].delta
    assert (delta.content, delta.reasoning, delta.refusal) == (text, text, text)
    assert ChunkReader("a", "m").read(
        parse_json(b'{"choices":[{"delta":{"content":%s}}]}' % data)
    ).choices[0].delta == ChoiceDelta(content=text)


@given(st.text(st.characters()))
def test_any_text_becomes_encodable(text: str) -> None:
    made = whole(text)
    made.encode()
    try:
        text.encode()
    except UnicodeEncodeError:
        assert "\ufffd" in made or any(char > "\uffff" for char in made)
    else:
        assert made == text


@pytest.mark.parametrize("value", [None, 1, {}, [], [None], {"text": 1}, [{"text": 1}]])
def test_text_of_other_values_is_none(value: Any) -> None:
    assert text_of(value) is None
