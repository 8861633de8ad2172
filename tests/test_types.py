"""Requests, completions and receipts: their shapes, which are OpenAI's."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
from typing import Any

import pytest
from openai.types.chat import ChatCompletion as OpenAICompletion
from openai.types.chat import ChatCompletionChunk as OpenAIChunk

from llm_g4f.accumulator import Accumulator
from llm_g4f.decoding.chunks import ChunkReader
from llm_g4f.receipt import Attempt, Receipt
from llm_g4f.request import ChatRequest, Secret
from llm_g4f.types import (
    ChatCompletion,
    ChatCompletionChunk,
    ChoiceDelta,
    ChunkChoice,
    Function,
    ToolCallDelta,
    Usage,
)
from tests.support.server import USAGE, chunk, completion

LOGPROBS = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]}
DETAILS = {"prompt_tokens_details": {"cached_tokens": 3}}

TOOLS = [
    {"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a":'}},
    {"index": 0, "function": {"arguments": "1}"}},
]

ANSWERS: dict[str, list[dict[str, Any]]] = {
    "text": [
        chunk("", role="assistant"),
        chunk("Hel"),
        chunk("lo"),
        chunk(finish="stop"),
        chunk(usage=USAGE | DETAILS),
    ],
    "whole": [completion("Hello")],
    "no usage": [chunk("Hello"), chunk(finish="length")],
    "reasoning": [chunk(reasoning="Hm"), chunk("Hello", finish="stop")],
    "refusal": [chunk(refusal="No."), chunk(finish="stop")],
    "tools": [*(chunk(tool_calls=[call]) for call in TOOLS), chunk(finish="tool_calls")],
    "logprobs": [
        chunk("a") | {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": LOGPROBS}]},
        chunk(finish="stop"),
    ],
    "fingerprint": [
        chunk("a", finish="stop") | {"system_fingerprint": "fp", "service_tier": "default"}
    ],
    "two choices": [
        {**chunk(), "choices": [{"index": i, "delta": {"content": str(i)}} for i in (1, 0)]},
        {**chunk(), "choices": [{"index": i, "delta": {}, "finish_reason": "stop"} for i in (0, 1)]},
    ],
}  # fmt: skip


def answer(*values: dict[str, Any]) -> tuple[list[ChatCompletionChunk], ChatCompletion]:
    reader = ChunkReader("a", "gpt-4o", 2)
    receipt = Receipt("gpt-4o", "a", "gpt-4o", True, (Attempt("a", "gpt-4o", "ok", 200),))
    accumulator = Accumulator()
    chunks = [reader.read(value) for value in values]
    for one in chunks:
        one.receipt = receipt
        accumulator.add(one)
    return chunks, accumulator.completion()


@pytest.mark.parametrize("name", ANSWERS)
def test_openais_types_accept_our_json(name: str) -> None:
    chunks, made = answer(*ANSWERS[name])
    for one in chunks:
        OpenAIChunk.model_validate(one.to_dict())
    parsed = OpenAICompletion.model_validate(made.to_dict())
    message, ours = parsed.choices[0].message, made.choices[0].message
    assert (parsed.id, parsed.object, parsed.model) == (made.id, "chat.completion", made.model)
    assert (message.content, message.refusal) == (ours.content, ours.refusal)
    assert parsed.choices[0].finish_reason == made.choices[0].finish_reason
    assert (parsed.usage and parsed.usage.total_tokens) == (made.usage and made.usage.total_tokens)


@pytest.mark.parametrize("name", ANSWERS)
def test_to_dict_model_dump_and_json_are_equal(name: str) -> None:
    chunks, made = answer(*ANSWERS[name])
    for one in (*chunks, made):
        assert one.model_dump() == one.to_dict()
        assert json.loads(one.model_dump_json()) == one.to_dict()
        assert json.loads(one.model_dump_json(indent=2)) == one.to_dict()
        assert "\n" in one.model_dump_json(indent=2)


@pytest.mark.parametrize("name", ANSWERS)
def test_openais_types_and_ours_dump_the_same_without_none(name: str) -> None:
    _, made = answer(*ANSWERS[name])
    theirs = OpenAICompletion.model_validate(made.to_dict()).model_dump(exclude_none=True)
    ours = made.model_dump(exclude_none=True, warnings=False, mode="json", by_alias=True)
    assert without_ours(ours) == without_ours(theirs)


def without_ours(data: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "receipt"}


def test_every_type_has_the_methods_of_openais() -> None:
    chunks, made = answer(*ANSWERS["tools"][:-1], chunk(finish="tool_calls", usage=None))
    _, counted = answer(*ANSWERS["text"])
    message = made.choices[0].message
    assert message.tool_calls is not None
    assert counted.usage is not None
    delta = chunks[0].choices[0].delta
    assert delta.tool_calls is not None
    for value in (
        *(made, made.choices[0], message, message.tool_calls[0], message.tool_calls[0].function),
        *(chunks[0], chunks[0].choices[0], delta, delta.tool_calls[0]),
        *(counted.usage, counted.receipt, counted.receipt.attempts[0]),
    ):
        data = value.model_dump()
        assert data == value.to_dict() == json.loads(value.model_dump_json())
        assert json.loads(value.to_json()) == data
        assert "\n" in value.to_json()
        assert None not in value.to_dict(exclude_none=True).values()
        [first, *_] = data
        assert value.model_dump(include={first}) == {first: data[first]}
        assert first not in value.model_dump(exclude={first})
        assert dict(value) == value.dict() == data
        assert json.loads(value.json(exclude_none=True)) == value.to_dict(exclude_none=True)
        assert value.model_copy() == value.model_copy(deep=True) == value
        assert value.model_copy(update={value.__struct_fields__[0]: 1}) != value
        for other in (copy.deepcopy(value), copy.copy(value), pickle.loads(pickle.dumps(value))):
            assert other == value
            assert type(other) is type(value)


def test_details_and_logprobs_are_objects_and_attributes() -> None:
    _, made = answer(*ANSWERS["text"])
    assert made.usage is not None
    assert made.usage.prompt_tokens_details is not None
    assert made.usage.prompt_tokens_details["cached_tokens"] == 3
    assert made.usage.prompt_tokens_details.cached_tokens == 3
    with pytest.raises(AttributeError, match="no field nothing"):
        _ = made.usage.prompt_tokens_details.nothing
    chunks, made = answer(*ANSWERS["logprobs"])
    for choice in (made.choices[0], chunks[0].choices[0]):
        assert choice.logprobs is not None
        assert choice.logprobs == LOGPROBS
        assert choice.logprobs.content[0].token == "a"
        assert copy.deepcopy(choice) == pickle.loads(pickle.dumps(choice)) == choice


# What servers are known to say besides OpenAI's own words.
@pytest.mark.parametrize(
    "fields",
    [
        {"service_tier": "on_demand"},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "eos"}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "end_turn"}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "STOP"}]},
        {"choices": [{"index": 0, "delta": {"role": "model", "content": "a"}}]},
    ],
    ids=json.dumps,
)
def test_openais_types_accept_the_values_of_other_servers(fields: dict[str, Any]) -> None:
    chunks, made = answer(chunk("a") | fields, chunk(finish="stop"))
    for one in chunks:
        OpenAIChunk.model_validate(one.to_dict())
    OpenAICompletion.model_validate(made.to_dict())


def test_an_answer_has_its_provider_and_receipt() -> None:
    chunks, made = answer(*ANSWERS["text"])
    for one in (*chunks, made):
        said = one.to_dict()
        assert said["provider"] == "a"
        assert said["receipt"]["attempts"][0]["outcome"] == "ok"


def test_json_text_is_not_escaped() -> None:
    assert "é😀" in answer(chunk("é😀", finish="stop"))[1].model_dump_json()


def test_chunks_become_a_completion() -> None:
    _, made = answer(*ANSWERS["text"])
    (choice,) = made.choices
    assert choice.message.content == "Hello"
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert (choice.message.reasoning, choice.message.refusal) == (None, None)
    assert choice.message.tool_calls is None
    assert made.usage == Usage(7, 2, 9, {"cached_tokens": 3})
    assert made.to_dict()["usage"] == {**USAGE, **DETAILS}
    assert (made.id, made.created, made.provider) == ("chatcmpl-1", 1_790_000_000, "a")
    assert made.receipt is not None


def test_reasoning_is_beside_the_text() -> None:
    message = answer(*ANSWERS["reasoning"])[1].to_dict()["choices"][0]["message"]
    assert (message["content"], message["reasoning"]) == ("Hello", "Hm")


def test_a_refusal_is_kept() -> None:
    message = answer(*ANSWERS["refusal"])[1].choices[0].message
    assert (message.content, message.refusal) == ("", "No.")


def test_tool_calls_leave_content_none() -> None:
    message = answer(*ANSWERS["tools"])[1].to_dict()["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    ]


def test_text_beside_tool_calls_is_kept() -> None:
    message = answer(chunk("Wait."), *ANSWERS["tools"])[1].choices[0].message
    assert message.content == "Wait."
    assert message.tool_calls


def test_choices_are_in_order() -> None:
    _, made = answer(*ANSWERS["two choices"])
    assert [(one.index, one.message.content) for one in made.choices] == [(0, "0"), (1, "1")]


def test_logprobs_are_joined() -> None:
    one = chunk("a")
    one["choices"][0]["logprobs"] = LOGPROBS | {"refusal": None}
    _, made = answer(one, one, chunk(finish="stop"))
    found = made.choices[0].logprobs
    assert found is not None
    assert found == {"content": LOGPROBS["content"] * 2, "refusal": None}
    OpenAICompletion.model_validate(made.to_dict())


def test_late_logprobs_are_kept() -> None:
    early, late = chunk("a"), chunk("b")
    early["choices"][0]["logprobs"] = {"content": None, "refusal": None}
    late["choices"][0]["logprobs"] = LOGPROBS
    found = answer(early, late, early, chunk(finish="stop"))[1].choices[0].logprobs
    assert found == LOGPROBS | {"refusal": None}


def test_logprobs_of_the_chunks_are_not_changed() -> None:
    one = chunk("a")
    one["choices"][0]["logprobs"] = copy.deepcopy(LOGPROBS)
    chunks, _ = answer(one, copy.deepcopy(one), chunk(finish="stop"))
    assert [part.choices[0].logprobs for part in chunks[:2]] == [LOGPROBS, LOGPROBS]


def test_the_accumulator_knows_the_text_so_far() -> None:
    accumulator = Accumulator()
    assert accumulator.text == ""
    with pytest.raises(IndexError):
        accumulator.completion()
    for text in ("Hel", "lo"):
        choice = ChunkChoice(0, ChoiceDelta(content=text))
        accumulator.add(ChatCompletionChunk("1", 1, "m", [choice]))
    assert accumulator.text == "Hello"
    assert accumulator.completion().choices[0].finish_reason is None
    assert accumulator.completion().to_dict() == accumulator.completion().to_dict()


def test_a_tool_call_without_an_id_gets_one() -> None:
    accumulator = Accumulator()
    call = ToolCallDelta(2, None, Function("f", ""))
    accumulator.add(
        ChatCompletionChunk("1", 1, "m", [ChunkChoice(0, ChoiceDelta(tool_calls=[call]))])
    )
    calls = accumulator.completion().choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].id
    assert calls[0].function == Function("f", "{}")


def test_a_receipt_as_json() -> None:
    receipt = Receipt(
        "gpt-4o",
        "b",
        "gpt-4o-2024-11-20",
        True,
        (Attempt("a", "gpt-4o", "RateLimitError", 429, "no", 0.25, 7.0), Attempt("b", "m", "ok", 200)),
        ("seed",),
        0.5,
        1.5,
    )  # fmt: skip
    assert json.loads(json.dumps(receipt.to_dict())) == {
        "requested_model": "gpt-4o",
        "provider": "b",
        "model": "gpt-4o-2024-11-20",
        "exact": True,
        "attempts": [
            {
                "provider": "a",
                "model": "gpt-4o",
                "outcome": "RateLimitError",
                "status": 429,
                "message": "no",
                "seconds": 0.25,
                "retry_after": 7.0,
            },
            {
                "provider": "b",
                "model": "m",
                "outcome": "ok",
                "status": 200,
                "message": None,
                "seconds": 0.0,
                "retry_after": None,
            },
        ],
        "omitted": ["seed"],
        "successor": False,
        "warnings": [],
        "ttft": 0.5,
        "seconds": 1.5,
        "cached": None,
    }
    assert str(receipt.attempts[0]) == "a gpt-4o (0.2 s): no"
    assert str(receipt.attempts[1]) == "b m (0.0 s): ok"


KEY = "sk-canary-4711"


def test_a_secret_shows_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(KEY)
    request = ChatRequest(model="m", messages=[], key=secret)
    shown = [f"{secret}", repr(secret), str(secret), f"{secret!s:>30}", f"{secret!a}"]
    shown += [repr(request), str([secret]), str({"key": secret})]
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").debug("%s %r", secret, request)
    try:
        raise ValueError(secret, request)
    except ValueError as error:
        shown.append("".join(traceback.TracebackException.from_exception(error).format()))
    with pytest.raises(TypeError):
        json.dumps({"key": secret})
    for text in (*shown, caplog.text):
        assert "canary" not in text
        assert "Secret(" in text
    assert secret.reveal() == KEY


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_cannot_be_pickled(protocol: int) -> None:
    for value in (Secret(KEY), ChatRequest(model="m", messages=[], key=Secret(KEY))):
        out = io.BytesIO()
        with pytest.raises(TypeError):
            pickle.dump(value, out, protocol)
        assert b"canary" not in out.getvalue()


def test_a_secret_has_no_dict_to_dump() -> None:
    assert not hasattr(Secret(KEY), "__dict__")
